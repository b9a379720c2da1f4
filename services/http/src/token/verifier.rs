//! Checks tokens, and remembers those that were found good.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use hongbao_core::limits::{GROUPS_MAX, TOKEN_CACHE_BYTES_MAX, TOKEN_YEARS_MAX};
use hongbao_core::{Clock, GroupId, Timestamp, UserClass};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use parking_lot::RwLock;
use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::caller::Caller;
use super::claims::{Claims, Parties};
use super::keys::{KeyError, TokenKey, TokenKeys};
use crate::problem::{Code, Problem};
use crate::request_log::note_user;

const YEAR_MS: i64 = 365 * 86_400_000;

/// A token that was found good, and when it ceases to be.
#[derive(Clone)]
struct Verified {
    caller: Caller,
    exp: Timestamp,
}

/// Checks tokens. Cheap to clone; clones check with the same keys, also when these change.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    in_force: RwLock<InForce>,
    parties: Parties,
    cache_bytes_max: usize,
    clock: Arc<dyn Clock>,
}

/// Keys, and the tokens that were found good with them: both go at the same moment.
struct InForce {
    keys: Arc<TokenKeys>,
    verified: Cache<Box<str>, Verified, Weight>,
}

impl Verifier {
    /// Accepts tokens of these keys, between these parties alone.
    pub fn new(keys: TokenKeys, parties: Parties, clock: Arc<dyn Clock>) -> Verifier {
        Verifier::with_cache(Arc::new(keys), parties, clock, TOKEN_CACHE_BYTES_MAX)
    }

    /// Accepts HS256 tokens signed with `secret`, of at least 32 bytes, that name no key.
    pub fn hs256(secret: &[u8], clock: Arc<dyn Clock>) -> Result<Verifier, KeyError> {
        Verifier::of_key(TokenKey::hs256(None, secret)?, clock)
    }

    /// Accepts EdDSA (Ed25519) tokens signed by the owner of a public key in PEM, that name no key.
    pub fn eddsa(public_key_pem: &[u8], clock: Arc<dyn Clock>) -> Result<Verifier, KeyError> {
        Verifier::of_key(TokenKey::eddsa_pem(None, public_key_pem)?, clock)
    }

    fn of_key(key: TokenKey, clock: Arc<dyn Clock>) -> Result<Verifier, KeyError> {
        Ok(Verifier::new(TokenKeys::new(vec![key])?, Parties::default(), clock))
    }

    fn with_cache(keys: Arc<TokenKeys>, parties: Parties, clock: Arc<dyn Clock>, cache_bytes_max: usize) -> Verifier {
        let in_force = RwLock::new(InForce { keys, verified: remembered(cache_bytes_max) });
        Verifier(Arc::new(Inner { in_force, parties, cache_bytes_max, clock }))
    }

    /// The same, for tokens between these parties alone. It has found none good yet.
    pub fn between(self, parties: Parties) -> Verifier {
        Verifier::with_cache(self.keys(), parties, self.0.clock.clone(), self.0.cache_bytes_max)
    }

    /// The keys that are in force.
    pub fn keys(&self) -> Arc<TokenKeys> {
        self.0.in_force.read().keys.clone()
    }

    /// Accepts tokens of these keys alone from now on, whatever was found good before.
    pub fn replace_keys(&self, keys: TokenKeys) {
        let next = InForce { keys: Arc::new(keys), verified: remembered(self.0.cache_bytes_max) };
        let before = std::mem::replace(&mut *self.0.in_force.write(), next);
        // A full cache takes a while to drop: no request waits for it.
        drop(before);
    }

    /// The caller that a token stands for; 401 if it is not good.
    pub fn verify(&self, token: &str) -> Result<Caller, Problem> {
        self.verified(token).map(|verified| verified.caller)
    }

    fn verified(&self, token: &str) -> Result<Verified, Problem> {
        let now = self.0.clock.now();
        let in_force = self.0.in_force.read();
        let verified = match in_force.verified.get(token) {
            Some(verified) => verified,
            None => self.decode(&in_force, token, now)?,
        };
        if now >= verified.exp {
            return Err(refuse("the token has expired"));
        }
        Ok(verified)
    }

    /// The caller of a request with these headers; 401 if it has no good token.
    pub fn verify_headers(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        self.verify(bearer(headers)?)
    }

    /// The caller of a request with these headers, if its token has been found good
    /// before: costs no hash of it.
    pub fn remembered(&self, headers: &HeaderMap) -> Option<Caller> {
        self.remembered_of(bearer(headers).ok()?)
    }

    /// The same of a token.
    pub fn remembered_of(&self, token: &str) -> Option<Caller> {
        let verified = self.0.in_force.read().verified.get(token)?;
        (self.0.clock.now() < verified.exp).then_some(verified.caller)
    }

    /// Checks signature and claims, and remembers a token that is good.
    fn decode(&self, in_force: &InForce, token: &str, now: Timestamp) -> Result<Verified, Problem> {
        let claims: Claims = in_force.keys.claims(token).map_err(refuse)?;
        self.0.parties.check(&claims).map_err(refuse)?;
        if claims.groups.len() > GROUPS_MAX {
            return Err(refuse("the token names too many groups"));
        }
        if claims.nbf.is_some_and(|nbf| seconds(nbf) > now) {
            return Err(refuse("the token is not valid yet"));
        }
        let caller = Caller {
            user: claims.sub,
            groups: claims.groups.into(),
            operator: claims.role.as_deref() == Some("operator"),
            class: claims.class.as_deref().and_then(UserClass::parse),
        };
        let verified = Verified { caller, exp: seconds(claims.exp) };
        if now < verified.exp {
            if verified.exp.millis_since(now) > TOKEN_YEARS_MAX * YEAR_MS {
                return Err(refuse("the token's `exp` is too far ahead: it must be in seconds, not milliseconds"));
            }
            in_force.verified.insert(token.into(), verified.clone());
        }
        Ok(verified)
    }
}

/// A NumericDate; out of range it stops at the ends.
fn seconds(numeric_date: f64) -> Timestamp {
    Timestamp::from_millis((numeric_date * 1_000.0) as i64)
}

/// The one token of the `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(refuse("there is no Authorization header")) };
    if values.next().is_some() {
        return Err(refuse("there is more than one Authorization header"));
    }
    match value.to_str().ok().and_then(|text| text.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(refuse("the Authorization header is not `Bearer` and a token")),
    }
}

fn refuse(detail: &'static str) -> Problem {
    Problem::new(Code::Unauthorized, detail)
}

/// An empty memory for tokens that were found good.
fn remembered(bytes_max: usize) -> Cache<Box<str>, Verified, Weight> {
    Cache::with_weighter(bytes_max / TOKEN_BYTES_USUAL, bytes_max as u64, Weight)
}

/// What a remembered token takes when it names few groups.
const TOKEN_BYTES_USUAL: usize = 512;

/// How much a remembered token takes, roughly, in bytes.
#[derive(Clone)]
struct Weight;

impl Weighter<Box<str>, Verified> for Weight {
    fn weight(&self, token: &Box<str>, verified: &Verified) -> u64 {
        let groups: usize =
            verified.caller.groups.iter().map(|group| size_of::<GroupId>() + group.as_str().len()).sum();
        (size_of::<(Box<str>, Verified)>() + token.len() + groups + 64) as u64
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    /// Takes the caller that the gateway has put into the extensions, if it has.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Caller, Problem> {
        match parts.extensions.get::<Caller>() {
            Some(caller) => Ok(caller.clone()),
            None => {
                let caller: Caller = Verifier::from_ref(state).verify_headers(&parts.headers)?;
                note_user(&caller.user);
                Ok(caller)
            }
        }
    }
}

/// When the token of a request ceases to be good, for an answer that goes on until then.
#[derive(Clone, Copy, Debug)]
pub struct TokenExpiry(pub Timestamp);

impl<S> FromRequestParts<S> for TokenExpiry
where
    S: Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<TokenExpiry, Problem> {
        let verifier = Verifier::from_ref(state);
        verifier.verified(bearer(&parts.headers)?).map(|verified| TokenExpiry(verified.exp))
    }
}

#[cfg(test)]
mod tests {
    use hongbao_core::limits::TOKEN_SECRET_BYTES_MIN;
    use hongbao_core::{SystemClock, UserId};

    use super::*;
    use crate::token::issuer::Issuer;

    #[test]
    fn remembered_tokens_take_bounded_memory() {
        let (secret, clock) = ([7; TOKEN_SECRET_BYTES_MIN], Arc::new(SystemClock));
        let cache_bytes_max = 256 * 1024;
        let keys = Arc::new(TokenKeys::new(vec![TokenKey::hs256(None, &secret).unwrap()]).unwrap());
        let verifier = Verifier::with_cache(keys, Parties::default(), clock.clone(), cache_bytes_max);
        let issuer = Issuer::hs256(&secret, clock).unwrap();
        let groups: Vec<GroupId> = (0..50).map(|n| GroupId::parse(&format!("group-{n}")).unwrap()).collect();
        for n in 0..2_000 {
            let user = UserId::parse(&format!("user-{n}")).unwrap();
            let token = issuer.issue(&user, if n % 2 == 0 { &groups } else { &[] }, None, 60);
            assert_eq!(verifier.verify(&token).unwrap().user, user);
        }
        let (weight, held) = {
            let in_force = verifier.0.in_force.read();
            (in_force.verified.weight(), in_force.verified.len())
        };
        assert!((1..=cache_bytes_max as u64).contains(&weight), "{weight}");
        assert!(held < 1_000, "{held}");
    }
}
