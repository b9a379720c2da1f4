//! Whether a request was meant for this machine, by a program on it.
//!
//! The calls of development ask for no token, so what they stand on is that only
//! programs of this machine reach a loopback address. A browser is such a program,
//! and runs whatever page its user looks at. Three headers that no page can set
//! tell it apart:
//!
//! - `Host` names what the page believed to talk to. A page of `evil.example`,
//!   whose name suddenly leads to 127.0.0.1 (DNS rebinding), is of the same origin
//!   as its requests; only the name gives it away.
//! - `Origin` names the page, and browsers send it with every `POST`. Another port
//!   of `localhost` is another page; `null` is one that hides who it is.
//! - `Sec-Fetch-Site` says the same as the browser sees it.
//!
//! The type of the body says nothing: `curl -d` calls it a form, as a page would.

use std::net::IpAddr;

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::header::{HOST, ORIGIN};
use http::uri::Authority;
use http::{HeaderMap, HeaderName, Uri};

use crate::problem::{Code, Problem};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Whether only this machine reaches an address, also where IPv6 wraps one of IPv4.
pub fn is_loopback(ip: IpAddr) -> bool {
    ip.to_canonical().is_loopback()
}

/// Refuses a request that was not meant for this machine, or that a web page sent.
///
/// # Errors
/// 403 `forbidden`, with a detail that names the header.
pub fn check(uri: &Uri, headers: &HeaderMap) -> Result<(), Problem> {
    let refused = |reason: &'static str| Problem::new(Code::Forbidden, reason);
    const HOST_WORDS: &str =
        "this call is for programs on this machine: `Host` must be localhost or a loopback address";
    let host = only(headers, HOST).ok_or_else(|| refused(HOST_WORDS))?;
    // A client that sends the whole address in the first line means that one.
    let target = uri.authority().map(Authority::as_str);
    if ![Some(host), target].into_iter().flatten().all(is_this_machine) {
        return Err(refused(HOST_WORDS));
    }
    if headers.contains_key(ORIGIN) {
        let page = only(headers, ORIGIN).and_then(|origin| origin.strip_prefix("http://"));
        if !page.is_some_and(|page| page.eq_ignore_ascii_case(host)) {
            return Err(refused("this call is not for web pages: `Origin` names another one than `Host`"));
        }
    }
    if headers.contains_key(SEC_FETCH_SITE) && !matches!(only(headers, SEC_FETCH_SITE), Some("same-origin" | "none")) {
        return Err(refused("this call is not for web pages: `Sec-Fetch-Site` says that another one sent it"));
    }
    Ok(())
}

/// [`check`] as a layer, for `axum::middleware::from_fn`.
pub async fn guard(request: Request, next: Next) -> Response {
    match check(request.uri(), request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

/// The text of a header that stands there once.
fn only(headers: &HeaderMap, name: HeaderName) -> Option<&str> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    }
}

/// Whether `host` or `host:port` is a name or an address of this machine alone.
fn is_this_machine(text: &str) -> bool {
    let Ok(authority) = text.parse::<Authority>() else { return false };
    let host = authority.host();
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    // A user before the name is there to deceive.
    !text.contains('@')
        && match address.parse::<IpAddr>() {
            Ok(ip) => is_loopback(ip),
            Err(_) => host.strip_suffix('.').unwrap_or(host).eq_ignore_ascii_case("localhost"),
        }
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn passes(uri: &str, headers: &[(&str, &str)]) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        let told = check(&uri.parse().unwrap(), &map);
        assert!(told.as_ref().err().is_none_or(|problem| problem.code == Code::Forbidden), "{told:?}");
        told.is_ok()
    }

    const PATH: &str = "/v1/dev/token";

    #[test]
    fn only_a_host_on_this_machine_is_meant() {
        for host in [
            "localhost",
            "LocalHost:8080",
            "localhost.",
            "127.0.0.1",
            "127.0.0.1:1",
            "127.9.9.9:8080",
            "[::1]",
            "[::1]:8080",
            "[::ffff:127.0.0.1]:8080",
        ] {
            assert!(passes(PATH, &[("host", host)]), "{host}");
        }
        for host in [
            "",
            "evil.example",
            "evil.example:8080",
            "localhost.evil.example",
            "evil.localhost",
            "notlocalhost",
            "127.0.0.1.evil.example",
            "127.0.0.1@evil.example",
            "evil.example@127.0.0.1",
            "0.0.0.0:8080",
            "[::]:8080",
            "[::ffff:10.0.0.1]",
            "10.0.0.1",
            "2130706433",
            "127.1",
            "localhost,evil.example",
        ] {
            assert!(!passes(PATH, &[("host", host)]), "{host}");
        }
        assert!(!passes(PATH, &[]), "nobody is meant");
        assert!(!passes(PATH, &[("host", "localhost"), ("host", "localhost")]), "twice");
        assert!(passes("http://127.0.0.1/v1/dev/token", &[("host", "127.0.0.1")]));
        assert!(!passes("http://evil.example/v1/dev/token", &[("host", "127.0.0.1")]));
        assert!(!passes("http://127.0.0.1/v1/dev/token", &[("host", "evil.example")]));
    }

    #[test]
    fn a_web_page_is_refused_unless_it_is_of_the_service_itself() {
        let from = |host: &str, origin: &str| passes(PATH, &[("host", host), ("origin", origin)]);
        assert!(from("localhost:8080", "http://localhost:8080"));
        assert!(from("127.0.0.1:8080", "http://127.0.0.1:8080"));
        assert!(from("[::1]:8080", "http://[::1]:8080"));
        for origin in [
            "null",
            "",
            "http://evil.example",
            "http://localhost",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "https://localhost:8080",
            "file://",
            "http://localhost:8080.evil.example",
            "localhost:8080",
        ] {
            assert!(!from("localhost:8080", origin), "{origin}");
        }
        let host = ("host", "localhost:8080");
        let same = ("origin", "http://localhost:8080");
        assert!(!passes(PATH, &[host, same, same]), "twice");
        assert!(!passes(PATH, &[host, same, ("content-type", "text/plain"), ("sec-fetch-site", "cross-site")]));
        for site in ["same-origin", "none"] {
            assert!(passes(PATH, &[host, ("sec-fetch-site", site)]), "{site}");
        }
        for site in ["cross-site", "same-site", "", "elsewhere"] {
            assert!(!passes(PATH, &[host, ("sec-fetch-site", site)]), "{site}");
        }
    }
}
