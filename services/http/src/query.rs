//! The query part of an address, as a typed value.

use std::error::Error as _;

use axum::extract::FromRequestParts;
use axum::extract::rejection::QueryRejection;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::json::wrong;
use crate::problem::Problem;

/// The query of the request. Wrong in itself: 422, naming the parameter.
#[derive(Clone, Copy, Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Query<T>, Problem> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(value)) => Ok(Query(value)),
            Err(rejection) => Err(blame(&rejection)),
        }
    }
}

/// The query of a call that has none. An empty one may stand there; every field
/// is unknown: 422, naming it.
#[derive(Clone, Copy, Debug)]
pub struct NoQuery;

/// No field at all.
#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Nothing {}

impl<S: Sync> FromRequestParts<S> for NoQuery {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<NoQuery, Problem> {
        if parts.uri.query().is_none_or(str::is_empty) {
            return Ok(NoQuery);
        }
        Query::<Nothing>::from_request_parts(parts, state).await.map(|_| NoQuery)
    }
}

/// The cause reads `path: reason`, or only `reason` where no parameter is to blame.
fn blame(rejection: &QueryRejection) -> Problem {
    let cause = rejection.source().map_or_else(|| rejection.to_string(), |source| source.to_string());
    let (path, reason) = match cause.split_once(": ") {
        Some((path, reason)) if !path.contains(' ') => (path, reason),
        _ => ("", cause.as_str()),
    };
    wrong(path, reason)
}

#[cfg(test)]
mod tests {
    use http::Request;
    use serde::Deserialize;

    use super::*;
    use crate::Code;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        limit: Option<String>,
        role: Role,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "snake_case")]
    enum Role {
        Sent,
        Received,
    }

    async fn read(uri: &str) -> Result<Page, Problem> {
        let (mut parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
        Query::from_request_parts(&mut parts, &()).await.map(|Query(page)| page)
    }

    #[tokio::test]
    async fn a_good_query_is_read() {
        assert_eq!(read("/x?role=received").await, Ok(Page { limit: None, role: Role::Received }));
        assert_eq!(read("/x?limit=5&role=sent").await, Ok(Page { limit: Some("5".into()), role: Role::Sent }));
    }

    #[tokio::test]
    async fn a_wrong_parameter_is_named_and_what_is_wanted_is_said() {
        for (uri, field, detail) in [
            ("/x", "role", "`role` is missing"),
            ("/x?role=both", "role", "`role` must be `sent` or `received`"),
            ("/x?role=both%20at%20line%201%3A%20x", "role", "`role` must be `sent` or `received`"),
            ("/x?role=", "role", "`role` must be `sent` or `received`"),
            ("/x?role=sent&colour=red", "colour", "`colour` is not known here; known are `limit` or `role`"),
            ("/x?role=sent&limit=1&limit=2", "limit", "`limit` is there more than once"),
        ] {
            let problem = read(uri).await.unwrap_err();
            assert_eq!(problem.code, Code::InvalidRequest);
            assert_eq!((problem.field.as_deref(), &*problem.detail), (Some(field), detail), "{uri}");
        }
    }

    #[tokio::test]
    async fn a_call_without_a_query_refuses_every_field_by_name() {
        let read = async |uri: &str| {
            let (mut parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
            NoQuery::from_request_parts(&mut parts, &()).await.map(|_| ())
        };
        for uri in ["/x", "/x?", "/x?&"] {
            assert_eq!(read(uri).await, Ok(()), "{uri}");
        }
        for (uri, field) in [("/x?user_id=li", "user_id"), ("/x?a", "a"), ("/x?b=1&c=2", "b")] {
            let problem = read(uri).await.unwrap_err();
            assert_eq!((problem.code, problem.field.as_deref()), (Code::InvalidRequest, Some(field)), "{uri}");
            assert_eq!(problem.detail, format!("`{field}` is not known here"));
        }
    }
}
