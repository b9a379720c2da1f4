//! JSON in and out.

use std::fmt::Display;

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::body::read_body;
use crate::problem::{Code, Problem, bounded};

/// The type of what is answered.
pub(crate) const JSON: &str = "application/json";

/// Reads a JSON object; a refusal names the field that is wrong where there is one.
pub fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Problem> {
    // Derived types would take an array for an object; the contract does not.
    if body.trim_ascii_start().first() != Some(&b'{') {
        let reason = if body.is_empty() { "the body is empty: a JSON object is needed" } else { "not a JSON object" };
        return Err(Problem::new(Code::InvalidRequest, reason));
    }
    serde_json::from_slice(body).map_err(|_| blame::<T>(body))
}

/// Reads it again, slowly, to find out where it is wrong.
fn blame<T: DeserializeOwned>(body: &[u8]) -> Problem {
    let not_json = |error: &dyn Display| Problem::new(Code::InvalidRequest, bounded(&format!("not JSON: {error}")));
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => return not_json(&"something follows the object"),
        Err(error) => error,
    };
    // serde_json calls some values of a wrong type syntax errors: a number for a
    // name out of a list, a number that no type can hold. But they have a field.
    let is_json = error.inner().is_data() || serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if !is_json {
        return not_json(error.inner());
    }
    let reason = error.inner().to_string();
    // Where in the body it stands, says the field.
    let reason = reason.rsplit_once(" at line ").map_or(reason.as_str(), |(reason, _)| reason);
    wrong(&error.path().to_string(), reason)
}

/// The refusal for what serde says is wrong at a path.
pub(crate) fn wrong(path: &str, reason: &str) -> Problem {
    match field_of(path, reason) {
        Some(field) => Problem::invalid_field(field, &in_our_words(reason)),
        None => Problem::new(Code::InvalidRequest, bounded(&in_our_words(reason))),
    }
}

/// What serde says, without the types that only we know. What is wanted stands
/// last in its sentences, behind whatever the client wrote.
fn in_our_words(reason: &str) -> String {
    let wanted = reason.rsplit_once(", expected ").map(|(_, wanted)| wanted);
    match reason.split(' ').next() {
        Some("missing") => "is missing".to_owned(),
        Some("duplicate") => "is there more than once".to_owned(),
        Some("unknown") if reason.starts_with("unknown field") => match wanted {
            Some(known) => format!("is not known here; known are {}", known.trim_start_matches("one of ")),
            None => "is not known here".to_owned(),
        },
        _ => match wanted {
            Some("a sequence") => "must be a list".to_owned(),
            Some(wanted) => format!("must be {wanted}"),
            // A number, null or a list in the place of a name out of a list.
            None if reason == "expected value" => "must be a string".to_owned(),
            None if reason == "number out of range" => "must be a number that fits into 64 bits".to_owned(),
            None => reason.to_owned(),
        },
    }
}

/// The wrong field: the path that serde was on, and the name that it mentions
/// when a field is unknown, missing or there twice.
fn field_of(path: &str, reason: &str) -> Option<String> {
    let parent = if path == "." || path == "?" { "" } else { path };
    let named = ["unknown field `", "missing field `", "duplicate field `"]
        .iter()
        .find_map(|start| reason.strip_prefix(start))
        .and_then(|rest| rest.split('`').next());
    let field = match named {
        // The path already ends with the unknown field's own name.
        Some(name) if parent == name || parent.ends_with(&format!(".{name}")) => parent.to_owned(),
        Some(name) if parent.is_empty() => name.to_owned(),
        Some(name) => format!("{parent}.{name}"),
        None if parent.is_empty() => return None,
        None => parent.to_owned(),
    };
    Some(bounded(&field))
}

/// A JSON body of at most [`hongbao_core::limits::BODY_BYTES_MAX`] bytes that arrives in time,
/// whatever content type it claims.
///
/// Over the limit: 413. Too slow: 408. Wrong in itself: 422.
#[derive(Clone, Copy, Debug)]
pub struct Json<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, _: &S) -> Result<Json<T>, Problem> {
        parse(&read_body(request.into_body()).await?).map(Json)
    }
}

/// A body, serialised once.
pub(crate) fn serialised(body: &impl Serialize) -> Result<Vec<u8>, Problem> {
    let mut bytes = Vec::with_capacity(256);
    match serde_json::to_writer(&mut bytes, body) {
        Ok(()) => Ok(bytes),
        Err(error) => Err(Problem::new(Code::Internal, format!("the answer cannot be written: {error}"))),
    }
}

/// A JSON response.
pub fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    let bytes = match serialised(body) {
        Ok(bytes) => bytes,
        Err(problem) => return problem.into_response(),
    };
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    response
}

#[cfg(test)]
mod tests {
    use hongbao_core::limits::PROBLEM_TEXT_CHARS_MAX;
    use hongbao_core::request::CreateEnvelope;
    use hongbao_core::wire::{DevTokenRequest, OpenRequest, TopUpRequest};

    use super::*;

    fn refused(body: &str) -> Problem {
        let problem = parse::<CreateEnvelope>(body.as_bytes()).unwrap_err();
        assert_eq!(problem.code, Code::InvalidRequest);
        problem
    }

    #[test]
    fn a_good_body_is_read() {
        let open: OpenRequest = parse(br#" {"ticket":"t"} "#).unwrap();
        assert_eq!(open.ticket, "t");
    }

    #[test]
    fn a_wrong_field_is_named() {
        for (body, field) in [
            (r#"{"kind":"lucky","total_fen":1e400,"shares":1}"#, "total_fen"),
            (r#"{"kind":"fair","total_fen":5,"shares":1}"#, "kind"),
            (r#"{"kind":1,"total_fen":5,"shares":1}"#, "kind"),
            (r#"{"kind":null,"total_fen":5,"shares":1}"#, "kind"),
            (r#"{"kind":["lucky"],"total_fen":5,"shares":1}"#, "kind"),
            (r#"{"kind":"lucky","shares":1}"#, "total_fen"),
            (r#"{}"#, "kind"),
            (r#"{"kind":"lucky","total_fen":5,"shares":1,"colour":"red"}"#, "colour"),
            (r#"{"kind":"lucky","total_fen":5,"shares":1,"shares":2}"#, "shares"),
            (r#"{"kind":"lucky","total_fen":5,"shares":1,"audience":{"type":"all"}}"#, "audience.type"),
            (r#"{"kind":"lucky","total_fen":5,"shares":1,"audience":{"type":5}}"#, "audience.type"),
            (r#"{"kind":"lucky","total_fen":5,"shares":1,"audience":{"id":"x"}}"#, "audience.type"),
            (r#"{"kind":"lucky","total_fen":5,"shares":1,"audience":{"type":"link","x":1}}"#, "audience.x"),
        ] {
            let problem = refused(body);
            assert_eq!(problem.field.as_deref(), Some(field), "{body}: {}", problem.detail);
        }
    }

    #[test]
    fn what_is_wanted_is_said_in_the_words_of_the_contract() {
        let known = "`kind`, `total_fen`, `shares`, `greeting`, `audience`, `expires_in_s`";
        let unknown = format!("`colour` is not known here; known are {known}");
        let an_object = r#"`audience` must be an object, such as {"type":"link"} or {"type":"group","id":"family"}"#;
        for (fields, detail) in [
            (r#""kind":"fair""#, "`kind` must be `lucky` or `equal`"),
            (r#""kind":", expected nothing""#, "`kind` must be `lucky` or `equal`"),
            (r#""kind":1"#, "`kind` must be `lucky` or `equal`"),
            (r#""kind":null"#, "`kind` must be `lucky` or `equal`"),
            (r#""kind":{"lucky":null}"#, "`kind` must be `lucky` or `equal`"),
            (r#""kind":"lucky","kind":"lucky""#, "`kind` is there more than once"),
            (r#""kind":"lucky","colour":"red at line 7""#, &unknown),
            (r#""kind":"lucky","greeting":5"#, "`greeting` must be a string"),
            (r#""kind":"lucky","audience":"link""#, an_object),
            (r#""kind":"lucky","audience":["group","family"]"#, an_object),
            (r#""kind":"lucky","audience":[]"#, an_object),
            (r#""kind":"lucky","audience":{"type":"all"}"#, "`audience.type` must be `link`, `group` or `user`"),
            (r#""kind":"lucky","audience":{"type":5}"#, "`audience.type` must be `link`, `group` or `user`"),
            (r#""kind":"lucky","audience":{"id":"x"}"#, "`audience.type` is missing"),
            (r#""kind":"lucky","audience":{"type":"user","id":5}"#, "`audience.id` must be a string"),
            (r#""kind":"lucky""#, "`total_fen` is missing"),
            (r#""kind":"lucky","total_fen":1e400"#, "`total_fen` must be a number that fits into 64 bits"),
        ] {
            assert_eq!(refused(&format!("{{{fields}}}")).detail, detail, "{fields}");
        }

        let tricky = refused(r#"{"a`, expected b":1}"#).detail;
        assert!(tricky.ends_with(&format!("is not known here; known are {known}")), "{tricky}");

        fn of<T: DeserializeOwned>(body: &str) -> String {
            parse::<T>(body.as_bytes()).err().expect("it is wrong").detail.into_owned()
        }
        assert_eq!(of::<OpenRequest>(r#"{"ticket":5}"#), "`ticket` must be a string");
        assert_eq!(of::<TopUpRequest>(r#"{"amount_fen":1,"id":"5"}"#), "`id` must be a UUID");
        assert_eq!(of::<TopUpRequest>(r#"{"amount_fen":1,"id":5}"#), "`id` must be a UUID");
        let name = |field: &str| format!("`{field}` must be 1 to 64 of A-Z a-z 0-9 _ -");
        assert_eq!(of::<DevTokenRequest>(r#"{"user_id":""}"#), name("user_id"));
        assert_eq!(of::<DevTokenRequest>(r#"{"user_id":"li","groups":["a b"]}"#), name("groups[0]"));
        assert_eq!(of::<DevTokenRequest>(r#"{"user_id":"li","groups":"family"}"#), "`groups` must be a list");
        assert_eq!(of::<DevTokenRequest>(r#"{"user_id":"li","role":"king"}"#), "`role` must be `operator`");
        assert_eq!(of::<DevTokenRequest>(r#"{"user_id":"li","role":5}"#), "`role` must be a string");
        assert_eq!(of::<OpenRequest>(r#"{"ticket":"t"} x"#), "not JSON: something follows the object");
    }

    #[test]
    fn what_is_not_a_json_object_is_refused_without_a_field() {
        for body in [
            "",
            " ",
            "kind=lucky",
            "null",
            "[]",
            "\"x\"",
            "{",
            "{\"kind\"",
            "{\"kind\":\"lucky\",}",
            "[\"lucky\",1,1]",
            "\u{feff}{}",
            r#"{"kind":"lucky","total_fen":5,"shares":1} x"#,
            r#"{"kind":"lucky","total_fen":5,"shares":1}{}"#,
        ] {
            assert_eq!(refused(body).field, None, "{body}");
        }
        assert!(parse::<OpenRequest>(b"{\"ticket\":\"\xff\xfe\"}").is_err());
    }

    #[test]
    fn a_nest_without_end_is_refused() {
        let deep = format!("{{\"audience\":{}", "[".repeat(8_000));
        refused(&deep);
    }

    #[test]
    fn what_a_client_wrote_is_cut_before_it_is_echoed() {
        let problem = refused(&format!("{{\"{}\":1}}", "红".repeat(4_000)));
        assert!(problem.detail.chars().count() <= PROBLEM_TEXT_CHARS_MAX);
        assert!(problem.field.unwrap().chars().count() <= PROBLEM_TEXT_CHARS_MAX);
    }
}
