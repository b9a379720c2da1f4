//! What pages of other origins may do here (CORS, <https://fetch.spec.whatwg.org/#http-cors-protocol>).
//!
//! A browser lets a page read an answer only if the answer names the page's origin. That
//! is for every answer, errors too, and many of those are made outside of the router: so
//! this is no layer of the router, but a part of [`crate::Outer`].
//!
//! Cookies are not let through: who asks is in `Authorization`, which a page has to put there itself.

use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse as _, Response};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};

use crate::problem::{Code, Problem};

/// What pages call by.
const METHODS: HeaderValue = HeaderValue::from_static("GET, POST");
/// What pages may say beside what every page may.
const REQUEST_HEADERS: HeaderValue =
    HeaderValue::from_static("authorization, content-type, idempotency-key, traceparent, x-request-id");
/// What pages may read beside what every page may.
const RESPONSE_HEADERS: HeaderValue = HeaderValue::from_static("retry-after, x-request-id");
/// Any origin.
const ANY: &str = "*";

/// Whose pages may read what we answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cors {
    /// `None`: everyone's.
    origins: Option<Vec<HeaderValue>>,
    max_age: HeaderValue,
}

/// How an answer is marked: with the origin that may read it, if any.
#[derive(Debug)]
pub(crate) struct Mark {
    allowed: Option<HeaderValue>,
    varies: bool,
}

impl Cors {
    /// For the pages of these origins, `https://app.example`, or of any: `*` alone. A browser asks again after `max_age`.
    ///
    /// # Errors
    /// What is wrong with an origin, for the operator.
    pub fn new(origins: &[String], max_age: Duration) -> Result<Cors, String> {
        let max_age = HeaderValue::from(max_age.as_secs());
        if origins == [ANY] {
            return Ok(Cors { origins: None, max_age });
        }
        let origins: Result<Vec<HeaderValue>, String> = origins.iter().map(|origin| parse(origin)).collect();
        Ok(Cors { origins: Some(origins?), max_age })
    }

    /// What a request that comes from a page is answered with; `None` for every other request.
    pub(crate) fn mark(&self, headers: &HeaderMap) -> Option<Mark> {
        let mut named = headers.get_all(ORIGIN).iter();
        let origin = named.next()?;
        let allowed = match &self.origins {
            None => Some(HeaderValue::from_static(ANY)),
            Some(origins) => (named.next().is_none() && origins.contains(origin)).then(|| origin.clone()),
        };
        Some(Mark { allowed, varies: self.origins.is_some() })
    }

    /// The answer to a browser that asks beforehand whether a page may send a request, whatever the request.
    pub(crate) fn preflight(&self, method: &Method, headers: &HeaderMap, mark: &Mark) -> Option<Response> {
        if method != Method::OPTIONS || !headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            return None;
        }
        if mark.allowed.is_none() {
            return Some(Problem::new(Code::Forbidden, "pages of this `Origin` may not call us").into_response());
        }
        let mut response = Response::new(Body::empty());
        *response.status_mut() = StatusCode::NO_CONTENT;
        let headers = response.headers_mut();
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, METHODS);
        headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, REQUEST_HEADERS);
        headers.insert(ACCESS_CONTROL_MAX_AGE, self.max_age.clone());
        Some(response)
    }
}

impl Mark {
    /// Says in the answer who may read it.
    pub(crate) fn write(self, response: &mut Response) {
        let headers = response.headers_mut();
        if self.varies {
            headers.append(VARY, HeaderValue::from_static("origin"));
        }
        if let Some(origin) = self.allowed {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, RESPONSE_HEADERS);
        }
    }
}

/// An origin, written as browsers write it: anything else would never be equal to theirs.
fn parse(origin: &str) -> Result<HeaderValue, String> {
    let wrong = |reason: &str| Err(format!("{origin:?} {reason}"));
    if origin == ANY {
        return wrong("stands alone: it is every origin");
    }
    let Some(uri) = origin.parse::<Uri>().ok().filter(|uri| uri.scheme().is_some() && !origin.contains(ANY)) else {
        return wrong("is no origin: write it like https://app.example, without a path");
    };
    let default_port = match uri.scheme_str() {
        Some("https") => 443,
        Some("http") => 80,
        _ => return wrong("is no origin of web pages: it begins with https:// or http://"),
    };
    let written = format!("{}://{}", uri.scheme_str().unwrap_or_default(), uri.host().unwrap_or_default());
    let written = match uri.port_u16().filter(|port| *port != default_port) {
        Some(port) => format!("{written}:{port}"),
        None => written,
    };
    let written = written.to_ascii_lowercase();
    match HeaderValue::try_from(origin) {
        Ok(value) if origin == written => Ok(value),
        _ => wrong(&format!("is not written as browsers do: {written:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cors(origins: &[&str]) -> Result<Cors, String> {
        let origins: Vec<String> = origins.iter().map(|origin| origin.to_string()).collect();
        Cors::new(&origins, Duration::from_secs(600))
    }

    #[test]
    fn origins_are_taken_as_browsers_write_them_and_no_other_way() {
        for good in ["https://app.example", "http://localhost:3000", "https://[::1]:8443", "http://127.0.0.1"] {
            assert!(cors(&[good]).is_ok(), "{good}");
        }
        assert_eq!(cors(&["*"]).unwrap().origins, None);
        assert!(cors(&[]).is_ok(), "of no page");
        for (bad, reason) in [
            ("app.example", "is no origin"),
            ("", "is no origin"),
            ("null", "is no origin"),
            ("file:///index.html", "is no origin"),
            ("ftp://app.example", "https:// or http://"),
            ("https://app.example/", "\"https://app.example\""),
            ("https://app.example/shop", "\"https://app.example\""),
            ("https://app.example:443", "\"https://app.example\""),
            ("http://app.example:80", "\"http://app.example\""),
            ("https://App.Example", "\"https://app.example\""),
            ("https://me@app.example", "\"https://app.example\""),
            ("https://*.app.example", "is no origin"),
        ] {
            let error = cors(&[bad]).err().unwrap_or_else(|| panic!("{bad:?} is taken"));
            assert!(error.contains(reason), "{error}");
        }
        assert!(cors(&["https://app.example", "*"]).unwrap_err().contains("stands alone"));
    }

    #[test]
    fn only_an_origin_that_is_named_may_read_the_answer() {
        let headers = |origins: &[&str]| -> HeaderMap {
            origins.iter().map(|origin| (ORIGIN, HeaderValue::from_str(origin).unwrap())).collect()
        };
        let marked = |cors: &Cors, origins: &[&str]| {
            let mut response = Response::new(Body::empty());
            cors.mark(&headers(origins)).map(|mark| {
                mark.write(&mut response);
                let value = |name| response.headers().get(name).map(|value| value.to_str().unwrap().to_owned());
                (value(ACCESS_CONTROL_ALLOW_ORIGIN), value(VARY))
            })
        };
        let two = cors(&["https://app.example", "http://localhost:3000"]).unwrap();
        let varies = Some("origin".to_owned());
        for origin in ["https://app.example", "http://localhost:3000"] {
            assert_eq!(marked(&two, &[origin]), Some((Some(origin.to_owned()), varies.clone())));
        }
        for other in ["https://evil.example", "http://app.example", "https://app.example.evil.example", "null", "*"] {
            assert_eq!(marked(&two, &[other]), Some((None, varies.clone())), "{other}");
        }
        assert_eq!(marked(&two, &["https://app.example", "https://app.example"]), Some((None, varies)), "twice");
        assert_eq!(marked(&two, &[]), None, "no page asks");
        assert_eq!(marked(&cors(&["*"]).unwrap(), &["https://any.example"]), Some((Some("*".to_owned()), None)));
    }
}
