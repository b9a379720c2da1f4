//! As much of HTTP/1.1 as a load generator needs: requests written once,
//! answers with a content-length read in place.

use std::fmt::Display;
use std::io::Write;

use crate::request_buffer::RequestBuffer;

/// Header lines that an answer may have.
const HEADERS_MAX: usize = 32;
/// Bytes that an answer may have, head and body.
pub const ANSWER_BYTES_MAX: usize = 1 << 20;

/// One answer, borrowed from the bytes that came in.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// The status code.
    pub status: u16,
    /// The whole body.
    pub body: &'a [u8],
    /// The header `x-hongbao-accepted`; empty if there is none.
    pub accepted: &'a [u8],
}

impl<'a> Answer<'a> {
    /// An answer of a status and a body.
    pub fn of(status: u16, body: &'a [u8]) -> Answer<'a> {
        Answer { status, body, accepted: b"" }
    }
}

/// A request, as it is written.
#[derive(Clone, Copy)]
pub struct Request<'a, P> {
    /// What stands in `Host`.
    pub host: &'a str,
    /// The method.
    pub method: &'a str,
    /// The path, with its query.
    pub path: P,
    /// The bearer token; an empty one sends no token.
    pub token: &'a str,
    /// A further header line with its line end, or nothing.
    pub header: &'a str,
    /// The body, JSON. An empty one is sent as such.
    pub body: &'a str,
}

impl<P: Display> Request<'_, P> {
    /// Appends it to `out`.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Request { host, method, path, token, header, body } = self;
        let (bearer, end) = if token.is_empty() { ("", "") } else { ("authorization: Bearer ", "\r\n") };
        let content_type = if body.is_empty() { "" } else { "content-type: application/json\r\n" };
        let length = body.len();
        write!(
            out,
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\n{bearer}{token}{end}{header}{content_type}\
             content-length: {length}\r\n\r\n{body}"
        )
        .expect("a Vec takes every write");
    }
}

/// Adds a request without a further header to `out`. It names no port, so that two servers of this machine can
/// be sent the very same bytes.
pub fn push_request(out: &mut RequestBuffer, method: &str, path: &str, token: &str, body: &str) {
    out.push(|bytes| Request { host: "127.0.0.1", method, path, token, header: "", body }.write(bytes));
}

/// Reads the answer at the front of `bytes`: the answer and how many bytes it
/// took, or `None` while it is not complete.
///
/// # Errors
/// Names what is not understood; the connection is then of no use.
pub fn parse(bytes: &[u8]) -> Result<Option<(Answer<'_>, usize)>, &'static str> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut response = httparse::Response::new(&mut headers);
    let head = match response.parse(bytes) {
        Ok(httparse::Status::Complete(head)) => head,
        Ok(httparse::Status::Partial) if bytes.len() < ANSWER_BYTES_MAX => return Ok(None),
        Ok(httparse::Status::Partial) => return Err("head too long"),
        Err(_) => return Err("not HTTP"),
    };
    let status = response.code.expect("a complete head has a status");
    let (mut length, mut accepted) = (None, &b""[..]);
    for header in response.headers.iter() {
        if header.name.eq_ignore_ascii_case("transfer-encoding") {
            return Err("chunked answer");
        }
        if header.name.eq_ignore_ascii_case("content-length") {
            length = Some(decimal(header.value).ok_or("bad content-length")?);
        }
        if header.name.eq_ignore_ascii_case("x-hongbao-accepted") {
            accepted = header.value;
        }
    }
    let length = length.ok_or("no content-length")?;
    if length > ANSWER_BYTES_MAX - head.min(ANSWER_BYTES_MAX) {
        return Err("answer too long");
    }
    Ok(bytes.get(head..head + length).map(|body| (Answer { status, body, accepted }, head + length)))
}

fn decimal(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\nx-request-id: 7\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn an_answer_is_read_however_it_is_split() {
        for cut in 0..ANSWER.len() {
            assert_eq!(parse(&ANSWER[..cut]), Ok(None), "cut at {cut}");
        }
        assert_eq!(parse(ANSWER), Ok(Some((Answer::of(200, b"hello"), ANSWER.len()))));
    }

    #[test]
    fn what_follows_an_answer_is_left_for_the_next() {
        let both = [ANSWER, b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n"].concat();
        let (first, used) = parse(&both).unwrap().unwrap();
        assert_eq!(first.body, b"hello");
        let (second, rest) = parse(&both[used..]).unwrap().unwrap();
        assert_eq!(second, Answer::of(503, b""));
        assert_eq!(used + rest, both.len());
    }

    #[test]
    fn what_cannot_be_measured_is_refused_in_words() {
        let cases: [(&[u8], &str); 6] = [
            (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "chunked answer"),
            (b"HTTP/1.1 200 OK\r\n\r\n", "no content-length"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n", "bad content-length"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n", "answer too long"),
            (b"HTTP/1.1 200 OK\r\ncontent-length: 9999999\r\n\r\n", "answer too long"),
            (b"SSH-2.0-OpenSSH\r\n", "not HTTP"),
        ];
        for (bytes, message) in cases {
            assert_eq!(parse(bytes), Err(message));
        }
        let mut endless = b"HTTP/1.1 200 OK\r\nx: ".to_vec();
        endless.resize(ANSWER_BYTES_MAX, b'a');
        assert_eq!(parse(&endless), Err("head too long"));
    }

    #[test]
    fn a_request_says_its_length_and_a_type_only_with_a_body() {
        let mut out = RequestBuffer::default();
        push_request(&mut out, "POST", "/v1/x", "t", "{}");
        push_request(&mut out, "POST", "/v1/x", "t", "");
        let head = "POST /v1/x HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer t\r\n";
        let with = format!("{head}content-type: application/json\r\ncontent-length: 2\r\n\r\n{{}}");
        assert_eq!(out.get(0), with.as_bytes());
        assert_eq!(out.get(1), format!("{head}content-length: 0\r\n\r\n").as_bytes());
    }

    #[test]
    fn a_request_bears_a_further_header_and_nobodys_has_no_token() {
        let mut out = Vec::new();
        let (host, path) = ("pay.example", format_args!("/{}", 7));
        Request { host, method: "GET", path, token: "", header: "x: y\r\n", body: "" }.write(&mut out);
        assert_eq!(out, b"GET /7 HTTP/1.1\r\nhost: pay.example\r\nx: y\r\ncontent-length: 0\r\n\r\n");
    }
}
