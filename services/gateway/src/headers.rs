//! Which headers pass through a gateway.

use hongbao_http::mark::REHEARSAL;
use hongbao_http::request_id::X_REQUEST_ID;
use http::header::{
    AUTHORIZATION, CONNECTION, CONTENT_LENGTH, EXPECT, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName};

/// What begins so is between gateway and server: no client may say it, but for the mark of a rehearsal.
const OURS: &str = "x-hongbao-";

/// What a request means to the server, whatever its `Connection` names: one that lost its token or its mark half way
/// would be another request, and the all-in-one process, which has no hop, would answer otherwise (RFC 9110, 7.6.1:
/// no sender may name there what is meant for all recipients).
const FOR_ALL: [HeaderName; 4] = [AUTHORIZATION, HOST, REHEARSAL, X_REQUEST_ID];

/// Takes away what concerns the client's connection alone (RFC 9110, 7.6.1),
/// and what a client may not say.
pub(crate) fn strip_request(headers: &mut HeaderMap) {
    strip(headers, |name| *name == EXPECT || (name.as_str().starts_with(OURS) && *name != REHEARSAL));
    // The body is at hand by now: its length is what it is, whatever was said.
    headers.remove(CONTENT_LENGTH);
}

/// Takes away what concerns the server's connection alone.
pub(crate) fn strip_response(headers: &mut HeaderMap) {
    strip(headers, |_| false);
}

fn strip(headers: &mut HeaderMap, also: impl Fn(&HeaderName) -> bool) {
    // Nearly no request has any, so that nothing is collected.
    let unwanted: Vec<HeaderName> = headers.keys().filter(|name| is_of_one_hop(name) || also(name)).cloned().collect();
    for name in &unwanted {
        if *name == CONNECTION {
            for named in named_by_connection(headers) {
                headers.remove(named);
            }
        }
        headers.remove(name);
    }
}

fn is_of_one_hop(name: &HeaderName) -> bool {
    [CONNECTION, TRANSFER_ENCODING, TE, TRAILER, UPGRADE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION].contains(name)
        || matches!(name.as_str(), "keep-alive" | "proxy-connection")
}

/// The headers that `Connection` declares to be of this hop alone.
fn named_by_connection(headers: &HeaderMap) -> Vec<HeaderName> {
    let lists = headers.get_all(CONNECTION).iter().filter_map(|value| value.to_str().ok());
    let names = lists.flat_map(|list| list.split(',')).filter_map(|name| name.trim().parse().ok());
    names.filter(|name| !FOR_ALL.contains(name)).collect()
}

#[cfg(test)]
mod tests {
    use hongbao_http::hop::{DEADLINE_MS, ENVELOPE_ID};
    use http::HeaderValue;

    use super::*;

    fn names(headers: &HeaderMap) -> Vec<&str> {
        let mut names: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        names
    }

    #[test]
    fn what_concerns_one_connection_does_not_pass() {
        let mut headers = HeaderMap::new();
        for name in ["connection", "keep-alive", "te", "trailer", "upgrade", "transfer-encoding", "x-private", "accept"]
        {
            headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
        }
        headers.insert(CONNECTION, HeaderValue::from_static("close, X-Private"));
        let mut response = headers.clone();
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["accept"]);
        strip_response(&mut response);
        assert_eq!(names(&response), ["accept"]);
    }

    #[test]
    fn what_is_meant_for_the_server_passes_whatever_the_client_says_of_it() {
        let mut headers = HeaderMap::new();
        let mut named = "close".to_owned();
        for name in FOR_ALL {
            named += &format!(", {}", name.as_str().to_uppercase());
            headers.insert(name, HeaderValue::from_static("token"));
        }
        headers.insert(CONNECTION, HeaderValue::try_from(named).unwrap());
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["authorization", "host", "x-hongbao-rehearsal", "x-request-id"]);
        assert_eq!(headers[REHEARSAL], "token");
    }

    #[test]
    fn a_client_cannot_say_what_only_a_gateway_says() {
        let mut headers = HeaderMap::new();
        headers.insert(ENVELOPE_ID, HeaderValue::from_static("mine"));
        headers.insert(DEADLINE_MS, HeaderValue::from_static("999999"));
        headers.insert("X-Hongbao-Anything", HeaderValue::from_static("x"));
        headers.insert(EXPECT, HeaderValue::from_static("100-continue"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from_static("7"));
        headers.insert("authorization", HeaderValue::from_static("Bearer x"));
        strip_request(&mut headers);
        assert_eq!(names(&headers), ["authorization"]);
    }
}
