//! Which bytes are one of the three calls.

use hongbao_core::EnvelopeId;
use hongbao_core::calls::Call;
use hongbao_core::limits::{HOT_REQUEST_HEADERS_MAX, HOT_REQUEST_LENGTH_DIGITS_MAX};

use super::HotRequest;
use crate::head::is_host;

const ENVELOPES: &str = "/v1/envelopes/";
/// Headers that change no answer to the three calls, in small letters.
const WITHOUT_EFFECT: [&str; 5] = ["accept", "accept-encoding", "accept-language", "content-type", "user-agent"];

/// The request, if these bytes are one of the three calls and nothing else. Whatever is
/// unusual is `None`: it is hyper's to understand or to refuse.
pub(super) fn read(bytes: &[u8]) -> Option<HotRequest<'_>> {
    let mut headers = [httparse::EMPTY_HEADER; HOT_REQUEST_HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let Ok(httparse::Status::Complete(head_len)) = request.parse(bytes) else { return None };
    if request.version != Some(1) {
        return None;
    }
    let path = request.path?;
    let rest = path.strip_prefix(ENVELOPES)?;
    let (id, verb) = rest.split_once('/').map_or((rest, None), |(id, verb)| (id, Some(verb)));
    let call = match (request.method?, verb) {
        ("POST", Some("open")) => Call::Open,
        ("POST", Some("grab")) => Call::Grab,
        ("GET", None) => Call::Detail,
        _ => return None,
    };
    let (mut authorization, mut length, mut host) = (None, None, None);
    for header in request.headers.iter() {
        let known = |name: &str| header.name.eq_ignore_ascii_case(name);
        let place = if known("authorization") {
            &mut authorization
        } else if known("content-length") {
            &mut length
        } else if known("host") {
            &mut host
        } else if WITHOUT_EFFECT.into_iter().any(known) {
            continue;
        } else {
            return None;
        };
        if place.replace(header.value).is_some() {
            return None;
        }
    }
    let authorization = std::str::from_utf8(authorization?).ok()?;
    let token =
        authorization.strip_prefix("Bearer ").filter(|token| token.bytes().all(|byte| byte.is_ascii_graphic()))?;
    let body = &bytes[head_len..];
    let length = match call {
        Call::Detail => length.map_or(Some(0), length_of).filter(|length| *length == 0),
        _ => length_of(length?),
    };
    (is_host(host?) && length == Some(body.len())).then_some(())?;
    Some(HotRequest {
        call,
        path,
        id: EnvelopeId::parse(id)?,
        authorization,
        token,
        body,
        request_id: None,
        traceparent: None,
        time_left: None,
    })
}

fn length_of(digits: &[u8]) -> Option<usize> {
    if digits.is_empty() || digits.len() > HOT_REQUEST_LENGTH_DIGITS_MAX || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "019b0000-0000-7000-8000-000000000001";

    fn usual() -> String {
        format!(
            "POST /v1/envelopes/{ID}/open HTTP/1.1\r\nhost: a\r\nauthorization: Bearer t.o-k_e.n\r\n\
             content-type: application/json\r\ncontent-length: 14\r\n\r\n{{\"ticket\":\"t\"}}"
        )
    }

    #[test]
    fn the_usual_request_is_read() {
        let text = usual();
        let request = read(text.as_bytes()).unwrap();
        assert_eq!((request.call, request.id.to_string().as_str()), (Call::Open, ID));
        assert_eq!((request.token, request.authorization), ("t.o-k_e.n", "Bearer t.o-k_e.n"));
        assert_eq!((request.path, request.body), (&text[5..60], &br#"{"ticket":"t"}"#[..]));
        let grab = usual().replace("/open", "/grab").replace("content-length: 14", "Content-Length: 0");
        assert_eq!(read(grab.trim_end_matches("{\"ticket\":\"t\"}").as_bytes()).unwrap().call, Call::Grab);
        let look = format!("GET /v1/envelopes/{ID} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer t\r\n\r\n");
        assert_eq!(read(look.as_bytes()).unwrap().call, Call::Detail);
        assert_eq!(
            read(look.replace("\r\n\r\n", "\r\ncontent-length: 0\r\n\r\n").as_bytes()).unwrap().call,
            Call::Detail
        );
        for other in ["GET  ", "HEAD ", "DELETE "] {
            assert!(read(look.replace("GET ", other).as_bytes()).is_none(), "{other}");
        }
        for more in ["?limit=1", "/", "/open", "/grab", "x"] {
            assert!(read(look.replace(ID, &format!("{ID}{more}")).as_bytes()).is_none(), "{more}");
        }
        assert!(read(look.replace("\r\n\r\n", "\r\ncontent-length: 1\r\n\r\nx").as_bytes()).is_none());
        assert!(read(format!("{look}x").as_bytes()).is_none());
    }

    #[test]
    fn a_path_is_that_of_the_table_of_calls() {
        for call in [Call::Open, Call::Grab, Call::Detail] {
            let (method, path) = (call.info().method.as_str(), call.path().replace("{id}", ID));
            let text =
                format!("{method} {path} HTTP/1.1\r\nhost: a\r\nauthorization: Bearer t\r\ncontent-length: 0\r\n\r\n");
            assert_eq!(read(text.as_bytes()).unwrap().call, call);
        }
    }

    #[test]
    fn a_request_that_is_cut_anywhere_or_followed_by_anything_is_not_read_here() {
        let text = usual();
        for end in 0..text.len() {
            assert!(read(&text.as_bytes()[..end]).is_none(), "cut at {end}");
        }
        assert!(read(format!("{text} ").as_bytes()).is_none());
        assert!(read(format!("{text}{text}").as_bytes()).is_none());
    }

    #[test]
    fn whatever_is_unusual_is_not_read_here() {
        for (usual_part, other) in [
            ("POST", "GET"),
            ("POST", "post"),
            ("HTTP/1.1", "HTTP/1.0"),
            ("/open", "/open?x=1"),
            ("/open", "/pay"),
            ("/open", "/open/"),
            ("/open", "/%6fpen"),
            (ID, "019B0000-0000-7000-8000-000000000001x"),
            ("host: a", "host: a b"),
            ("host: a", "host: a\r\nhost: a"),
            ("host: a", "x: a"),
            ("host: a\r\n", "host: a\r\ntransfer-encoding: chunked\r\n"),
            ("host: a\r\n", "host: a\r\nexpect: 100-continue\r\n"),
            ("host: a\r\n", "host: a\r\nconnection: close\r\n"),
            ("host: a\r\n", "host: a\r\nx-hongbao-rehearsal: t\r\n"),
            ("host: a\r\n", "host: a\r\nx-request-id: t\r\n"),
            ("host: a\r\n", "host: a\r\ntraceparent: 00-1-2-3\r\n"),
            ("host: a\r\n", "host : a\r\n"),
            ("host: a\r\n", "host: a\r\n folded\r\n"),
            ("Bearer t", "Basic t"),
            ("Bearer t", "bearer t"),
            ("Bearer t", "Bearer  t"),
            ("Bearer t.o", "Bearer t o"),
            ("authorization: Bearer t.o-k_e.n\r\n", ""),
            ("authorization:", "authorization: Bearer x\r\nauthorization:"),
            ("content-length: 14", "content-length: 14\r\ncontent-length: 14"),
            ("content-length: 14", "content-length: +14"),
            ("content-length: 14", "content-length: 14, 14"),
            ("content-length: 14", "content-length: 00014"),
            ("content-length: 14", "content-length:"),
            ("content-length: 14\r\n", ""),
        ] {
            let request = usual().replacen(usual_part, other, 1);
            assert_ne!(request, usual());
            assert!(read(request.as_bytes()).is_none(), "{request}");
        }
    }
}
