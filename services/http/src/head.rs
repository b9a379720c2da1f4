//! What RFC 9112 and RFC 9110 ask of a request's head beyond what hyper looks at,
//! and one spelling for paths that are equivalent (RFC 3986, 6.2.2.2).
//!
//! Every role does it before its router, so that a client gets the same from a
//! gateway, the all-in-one process and a server.

use http::header::{HOST, TRANSFER_ENCODING};
use http::uri::PathAndQuery;
use http::{HeaderMap, Uri, Version};

use crate::problem::{Code, Problem};

/// Refuses a head that could be understood in two ways.
///
/// # Errors
/// 400 for an HTTP/1.1 request without a `Host`, with more than one, or with one
/// that names no host (RFC 9112, 3.2), and for a body in any transfer coding but
/// `chunked`, once (6.1, which would also allow 501; but the service has not
/// failed). What has both a transfer coding and a length hyper reads by the
/// coding, and closes the connection (6.3).
pub(crate) fn check(version: Version, headers: &HeaderMap) -> Result<(), Problem> {
    let mut hosts = headers.get_all(HOST).iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) if is_host(host.as_bytes()) => {}
        (Some(_), None) => return Err(bad("the Host header names no host")),
        (Some(_), Some(_)) => return Err(bad("there is more than one Host header")),
        (None, _) if version < Version::HTTP_11 => {}
        (None, _) => return Err(bad("a request needs a Host header")),
    }
    // Nearly no request has one.
    if headers.contains_key(TRANSFER_ENCODING) {
        check_codings(headers)?;
    }
    Ok(())
}

fn check_codings(headers: &HeaderMap) -> Result<(), Problem> {
    let values = headers.get_all(TRANSFER_ENCODING).iter();
    let mut chunked = 0;
    for coding in values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',')) {
        let coding = coding.trim_ascii();
        if coding.eq_ignore_ascii_case(b"chunked") {
            chunked += 1;
        } else if !coding.is_empty() {
            return Err(bad("the only transfer coding is `chunked`"));
        }
    }
    if chunked == 1 { Ok(()) } else { Err(bad("a body is chunked once")) }
}

fn bad(detail: &'static str) -> Problem {
    Problem::new(Code::BadRequest, detail)
}

/// Whether it is made as RFC 9110, 7.2 wants it: `uri-host [ ":" port ]`, or nothing.
pub(crate) fn is_host(text: &[u8]) -> bool {
    let (host, port) = match text {
        [b'[', rest @ ..] => match rest.iter().position(|byte| *byte == b']') {
            Some(end) => (&rest[..end], &rest[end + 1..]),
            None => return false,
        },
        _ => text.split_at(text.iter().position(|byte| *byte == b':').unwrap_or(text.len())),
    };
    let is_literal = text.first() == Some(&b'[');
    let of_host = |byte: &u8| match byte {
        b':' => is_literal,
        b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=' | b'%' => true,
        other => is_unreserved(*other),
    };
    let is_port = |port: &[u8]| match port {
        [] => true,
        [b':', digits @ ..] => digits.iter().all(u8::is_ascii_digit),
        _ => false,
    };
    host.iter().all(of_host) && is_port(port)
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

/// The address with every percent-encoded character that need not be encoded as
/// itself; `None` if it is that already. What stays encoded is never decoded
/// here, so that a second look at the result changes nothing.
pub(crate) fn normalised(uri: &Uri) -> Option<Uri> {
    let path = uri.path();
    if !path.contains('%') {
        return None;
    }
    let mut plain = String::with_capacity(path.len());
    let mut rest = path;
    while let Some((before, encoded)) = rest.split_once('%') {
        plain.push_str(before);
        let byte = encoded.get(..2).filter(|digits| digits.bytes().all(|digit| digit.is_ascii_hexdigit()));
        match byte.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            Some(byte) if is_unreserved(byte) => {
                plain.push(char::from(byte));
                rest = &encoded[2..];
            }
            _ => {
                plain.push('%');
                rest = encoded;
            }
        }
    }
    plain.push_str(rest);
    if let Some(query) = uri.query() {
        plain.push('?');
        plain.push_str(query);
    }
    let mut parts = uri.clone().into_parts();
    parts.path_and_query = Some(PathAndQuery::try_from(plain).ok()?);
    Uri::from_parts(parts).ok()
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn checked(version: Version, lines: &[(http::HeaderName, &str)]) -> Result<(), Code> {
        let mut headers = HeaderMap::new();
        for (name, value) in lines {
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        check(version, &headers).map_err(|problem| problem.code)
    }

    #[test]
    fn a_request_names_one_host() {
        for host in ["", "hongbao", "127.0.0.1:8080", "[::1]", "[::1]:80", "a.b-c_d~e:", "x%20y"] {
            assert_eq!(checked(Version::HTTP_11, &[(HOST, host)]), Ok(()), "{host}");
        }
        for host in ["a b", "a/b", "a:b", "user@a", "a:80:80", "[::1", "[::1]x", "a?b", "a,b c", "::1"] {
            assert_eq!(checked(Version::HTTP_11, &[(HOST, host)]), Err(Code::BadRequest), "{host}");
        }
        assert_eq!(checked(Version::HTTP_11, &[]), Err(Code::BadRequest));
        assert_eq!(checked(Version::HTTP_11, &[(HOST, "a"), (HOST, "a")]), Err(Code::BadRequest));
        assert_eq!(checked(Version::HTTP_10, &[]), Ok(()));
        assert_eq!(checked(Version::HTTP_10, &[(HOST, "a"), (HOST, "b")]), Err(Code::BadRequest));
    }

    #[test]
    fn a_body_is_chunked_once_or_not_at_all() {
        let coded = |values: &[&str]| {
            let mut lines = vec![(HOST, "a")];
            lines.extend(values.iter().map(|value| (TRANSFER_ENCODING, *value)));
            checked(Version::HTTP_11, &lines)
        };
        for values in [&[][..], &["chunked"], &["Chunked"], &[" chunked , "]] {
            assert_eq!(coded(values), Ok(()), "{values:?}");
        }
        for values in [
            &["chunked, chunked"][..],
            &["chunked", "chunked"],
            &["gzip, chunked"],
            &["gzip", "chunked"],
            &["chunked", "gzip"],
            &["identity"],
            &["x"],
            &[""],
        ] {
            assert_eq!(coded(values), Err(Code::BadRequest), "{values:?}");
        }
    }

    #[test]
    fn what_need_not_be_encoded_is_decoded_once() {
        let read = |text: &str| normalised(&text.parse().unwrap()).map(|uri| uri.to_string());
        for plain in ["/", "/v1/wallet", "/v1/wallet?cursor=%30", "*"] {
            assert_eq!(read(plain), None, "{plain}");
        }
        for (encoded, plain) in [
            ("/v1/%77allet", "/v1/wallet"),
            ("/v1/envelopes/%30199?x=%30#", "/v1/envelopes/0199?x=%30"),
            ("/%7e%7E%2d%5f%2E", "/~~-_."),
            ("/%2530", "/%2530"),
            ("/a%2fb%3f%23%25", "/a%2fb%3f%23%25"),
            ("/%zz%3%", "/%zz%3%"),
            ("/%e7%ba%a2", "/%e7%ba%a2"),
            ("http://h/%61", "http://h/a"),
        ] {
            assert_eq!(read(encoded).as_deref(), Some(plain), "{encoded}");
            assert_eq!(read(plain).as_deref().unwrap_or(plain), plain, "{encoded}: twice is as once");
        }
    }
}
