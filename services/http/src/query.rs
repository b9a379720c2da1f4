//! The query part of an address, as a typed value.

use std::error::Error as _;

use axum::extract::FromRequestParts;
use axum::extract::rejection::QueryRejection;
use http::request::Parts;
use serde::de::DeserializeOwned;

use crate::json::field_of;
use crate::problem::{Code, Problem, bounded};

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

/// The cause reads `path: reason`, or only `reason` where no parameter is to blame.
fn blame(rejection: &QueryRejection) -> Problem {
    let cause = rejection.source().map_or_else(|| bounded(rejection), bounded);
    let (path, reason) = match cause.split_once(": ") {
        Some((path, reason)) if !path.contains(' ') => (path, reason),
        _ => ("", cause.as_str()),
    };
    match field_of(path, reason) {
        Some(field) => Problem::invalid_field(field, reason.to_owned()),
        None => Problem::new(Code::InvalidRequest, reason.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use http::Request;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Page {
        limit: Option<u32>,
        role: Option<String>,
    }

    async fn read(uri: &str) -> Result<Page, Problem> {
        let (mut parts, ()) = Request::get(uri).body(()).unwrap().into_parts();
        Query::from_request_parts(&mut parts, &()).await.map(|Query(page)| page)
    }

    #[tokio::test]
    async fn a_good_query_is_read() {
        assert_eq!(read("/x").await, Ok(Page { limit: None, role: None }));
        assert_eq!(read("/x?limit=5&role=sent").await, Ok(Page { limit: Some(5), role: Some("sent".into()) }));
    }

    #[tokio::test]
    async fn a_wrong_parameter_is_named() {
        for (uri, field) in [
            ("/x?limit=five", "limit"),
            ("/x?limit=-1", "limit"),
            ("/x?colour=red", "colour"),
            ("/x?limit=1&limit=2", "limit"),
        ] {
            let problem = read(uri).await.unwrap_err();
            assert_eq!(problem.code, Code::InvalidRequest);
            assert_eq!(problem.field.as_deref(), Some(field), "{uri}: {}", problem.detail);
        }
    }
}
