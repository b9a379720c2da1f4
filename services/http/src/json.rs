//! JSON in and out.

use axum::body::Body;
use axum::extract::{FromRequest, Request};
use axum::response::{IntoResponse as _, Response};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, StatusCode};
use serde::Serialize;
use serde::de::{DeserializeOwned, IgnoredAny};

use crate::body::read_body;
use crate::problem::{Code, Problem, bounded};

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
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let error = match serde_path_to_error::deserialize::<_, T>(&mut deserializer) {
        Ok(_) => {
            let reason = deserializer.end().err().map_or_else(|| "not JSON".to_owned(), |error| error.to_string());
            return Problem::new(Code::InvalidRequest, bounded(&reason));
        }
        Err(error) => error,
    };
    let reason = bounded(error.inner());
    // serde_json calls some values of a wrong type syntax errors: a number for a
    // name out of a list, a number that no type can hold. But they have a field.
    let is_json = error.inner().is_data() || serde_json::from_slice::<IgnoredAny>(body).is_ok();
    if !is_json {
        return Problem::new(Code::InvalidRequest, format!("not JSON: {reason}"));
    }
    match field_of(&error.path().to_string(), &reason) {
        Some(field) => Problem::invalid_field(field, reason),
        None => Problem::new(Code::InvalidRequest, reason),
    }
}

/// The wrong field: the path that serde was on, and the name that it mentions
/// when a field is unknown, missing or there twice.
pub(crate) fn field_of(path: &str, reason: &str) -> Option<String> {
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

/// A JSON response, serialised once.
pub fn json_response(status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(256);
    if let Err(error) = serde_json::to_writer(&mut bytes, body) {
        return Problem::new(Code::Internal, format!("the answer cannot be written: {error}")).into_response();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use hongbao_core::limits::PROBLEM_TEXT_CHARS_MAX;
    use hongbao_core::request::CreateEnvelope;
    use hongbao_core::wire::OpenRequest;

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
            (r#"{"kind":"lucky","total_fen":"5","shares":1}"#, "total_fen"),
            (r#"{"kind":"lucky","total_fen":5.5,"shares":1}"#, "total_fen"),
            (r#"{"kind":"lucky","total_fen":9223372036854775808,"shares":1}"#, "total_fen"),
            (r#"{"kind":"lucky","total_fen":1e400,"shares":1}"#, "total_fen"),
            (r#"{"kind":"fair","total_fen":5,"shares":1}"#, "kind"),
            (r#"{"kind":1,"total_fen":5,"shares":1}"#, "kind"),
            (r#"{"kind":null,"total_fen":5,"shares":1}"#, "kind"),
            (r#"{"kind":["lucky"],"total_fen":5,"shares":1}"#, "kind"),
            (r#"{"kind":"lucky","shares":1}"#, "total_fen"),
            (r#"{}"#, "kind"),
            (r#"{"kind":"lucky","total_fen":5,"shares":1,"colour":"red"}"#, "colour"),
            (r#"{"kind":"lucky","total_fen":5,"shares":1,"shares":2}"#, "shares"),
            (r#"{"kind":"lucky","total_fen":5,"shares":null}"#, "shares"),
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
