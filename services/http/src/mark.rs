//! The mark of a rehearsal: a header that moves a request into shadow traffic.
//!
//! A request that carries it is never served as a real one, whatever is wrong
//! with it: it is refused instead.

use hongbao_core::Traffic;
use http::{HeaderMap, HeaderName, HeaderValue};

use crate::problem::{Code, Problem};
use crate::token::Verifier;

/// Marks a request as part of a rehearsal; its value is an operator's token.
pub const REHEARSAL: HeaderName = HeaderName::from_static("x-hongbao-rehearsal");

/// Whether these headers carry the mark, good or not.
pub fn is_marked(headers: &HeaderMap) -> bool {
    headers.contains_key(REHEARSAL)
}

/// The mark of these headers, if there is one.
///
/// # Errors
/// 403 `rehearsal_refused` if it is given more than once.
pub fn mark_of(headers: &HeaderMap) -> Result<Option<&HeaderValue>, Problem> {
    // Nearly no request has one.
    if !is_marked(headers) {
        return Ok(None);
    }
    let mut marks = headers.get_all(REHEARSAL).iter();
    match (marks.next(), marks.next()) {
        (mark, None) => Ok(mark),
        _ => Err(Problem::new(Code::RehearsalRefused, "the request is marked as a rehearsal more than once")),
    }
}

/// The traffic that a request with these headers belongs to.
///
/// # Errors
/// 403: `rehearsal_off` if it is marked and this process takes no rehearsals,
/// `rehearsal_refused` if its mark is not a good token of an operator.
pub fn traffic_of(headers: &HeaderMap, verifier: &Verifier, takes_rehearsals: bool) -> Result<Traffic, Problem> {
    let Some(mark) = mark_of(headers)? else { return Ok(Traffic::Live) };
    if !takes_rehearsals {
        return Err(Problem::new(Code::RehearsalOff, "rehearsals are switched off here"));
    }
    let caller = mark.to_str().ok().and_then(|token| verifier.verify(token).ok());
    if !caller.is_some_and(|caller| caller.operator) {
        return Err(Problem::new(Code::RehearsalRefused, "only an operator's token marks a rehearsal"));
    }
    Ok(Traffic::Shadow)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use hongbao_core::wire::Role;
    use hongbao_core::{SystemClock, UserId};

    use super::*;
    use crate::token::{Issuer, Parties};

    const SECRET: &[u8] = b"0123456789012345678901234567890123456789";

    fn marked(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(REHEARSAL, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn a_mark_is_made_for_this_service_too() {
        let ours = Parties { audience: Some("hongbao".to_owned()), issuer: None };
        let verifier = Verifier::hs256(SECRET, Arc::new(SystemClock)).unwrap().between(ours);
        let operator = marked(&[&token(Some(Role::Operator), SECRET)]);
        assert_eq!(traffic_of(&operator, &verifier, true).unwrap_err().code, Code::RehearsalRefused);
    }

    fn code(headers: &HeaderMap, takes_rehearsals: bool) -> Result<Traffic, Code> {
        let verifier = Verifier::hs256(SECRET, Arc::new(SystemClock)).unwrap();
        traffic_of(headers, &verifier, takes_rehearsals).map_err(|problem| problem.code)
    }

    fn token(role: Option<Role>, secret: &[u8]) -> String {
        let issuer = Issuer::hs256(secret, Arc::new(SystemClock)).unwrap();
        issuer.issue(&UserId::parse("who").unwrap(), &[], role, 60)
    }

    #[test]
    fn only_an_operators_token_marks_a_rehearsal() {
        let operator = token(Some(Role::Operator), SECRET);
        assert_eq!(code(&marked(&[]), true), Ok(Traffic::Live));
        assert_eq!(code(&marked(&[&operator]), true), Ok(Traffic::Shadow));
        let foreign = token(Some(Role::Operator), &[7; 40]);
        for mark in ["", "true", &token(None, SECRET), &foreign, &format!("Bearer {operator}"), &operator[1..]] {
            assert_eq!(code(&marked(&[mark]), true), Err(Code::RehearsalRefused), "{mark}");
        }
        assert_eq!(code(&marked(&[&operator, &operator]), true), Err(Code::RehearsalRefused), "twice");
    }

    #[test]
    fn where_rehearsals_are_off_no_mark_makes_a_real_request() {
        let operator = token(Some(Role::Operator), SECRET);
        assert_eq!(code(&marked(&[&operator]), false), Err(Code::RehearsalOff));
        assert_eq!(code(&marked(&["true"]), false), Err(Code::RehearsalOff));
        assert_eq!(code(&marked(&["true", "true"]), false), Err(Code::RehearsalRefused));
        assert_eq!(code(&marked(&[]), false), Ok(Traffic::Live));
    }
}
