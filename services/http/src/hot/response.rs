//! An answer as hyper would write it.

use std::cell::RefCell;
use std::time::SystemTime;

use axum::response::Response;
use hongbao_core::limits::LINK_FRAME_BYTES_MAX;
use http::StatusCode;
use http::header::{CONNECTION, CONTENT_LENGTH, DATE};
use http_body_util::{BodyExt as _, Limited};

use super::{Found, HotAnswer};
use crate::hop::ACCEPTED;
use crate::request_id::{RequestId, X_REQUEST_ID};

/// The body broke off, or is longer than any answer to the three calls: the client must not take what there is for all of it.
pub(super) struct BrokenOff;

/// Appends an answer to `out`, as one that ends its connection if it is the `last`; gives
/// whether the connection ends with it.
pub(super) async fn write(out: &mut Vec<u8>, answer: HotAnswer, id: &RequestId, last: bool) -> Result<bool, BrokenOff> {
    match answer {
        HotAnswer::Found(found) => {
            write_found(out, &found, id);
            write_end(out, last);
            out.extend_from_slice(&found.body);
            Ok(last)
        }
        HotAnswer::Other(response) => write_other(out, response, last).await,
    }
}

fn write_found(out: &mut Vec<u8>, found: &Found, id: &RequestId) {
    out.extend_from_slice(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n");
    if let Some(accepted) = &found.accepted {
        write_header(out, ACCEPTED.as_str(), accepted.as_bytes());
    }
    write_length(out, found.body.len());
    write_header(out, X_REQUEST_ID.as_str(), id.as_str().as_bytes());
}

async fn write_other(out: &mut Vec<u8>, response: Response, last: bool) -> Result<bool, BrokenOff> {
    let (parts, body) = response.into_parts();
    let body = Limited::new(body, LINK_FRAME_BYTES_MAX).collect().await.map_err(|_| BrokenOff)?.to_bytes();
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(parts.status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(reason(parts.status).as_bytes());
    out.extend_from_slice(b"\r\n");
    let ends = parts.headers.get(CONNECTION).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"close"));
    for (name, value) in parts.headers.iter().filter(|(name, _)| **name != CONTENT_LENGTH && **name != DATE) {
        write_header(out, name.as_str(), value.as_bytes());
    }
    write_length(out, body.len());
    write_end(out, last && !ends);
    out.extend_from_slice(&body);
    Ok(last || ends)
}

fn reason(status: StatusCode) -> &'static str {
    status.canonical_reason().unwrap_or("<none>")
}

fn write_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

fn write_length(out: &mut Vec<u8>, body_len: usize) {
    out.extend_from_slice(b"content-length: ");
    write_number(out, body_len);
    out.extend_from_slice(b"\r\n");
}

/// The headers that every answer ends with.
fn write_end(out: &mut Vec<u8>, closes: bool) {
    if closes {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"date: ");
    LAST_DATE.with_borrow_mut(|(second, text)| {
        let now = now();
        let now_s = now.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        if *second != now_s {
            (*second, *text) = (now_s, httpdate::fmt_http_date(now));
        }
        out.extend_from_slice(text.as_bytes());
    });
    out.extend_from_slice(b"\r\n\r\n");
}

#[expect(clippy::disallowed_methods, reason = "the header of an answer, as hyper writes it; nothing is decided by it")]
fn now() -> SystemTime {
    SystemTime::now()
}

thread_local! {
    /// The second whose date was written last, and its text.
    static LAST_DATE: RefCell<(u64, String)> = const { RefCell::new((0, String::new())) };
}

fn write_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0; 20];
    let (mut left, mut first) = (number, digits.len());
    loop {
        first -= 1;
        digits[first] = b'0' + (left % 10) as u8;
        left /= 10;
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[first..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_in_decimal() {
        for number in [0, 7, 10, 1_000_000, usize::MAX] {
            let mut out = Vec::new();
            write_number(&mut out, number);
            assert_eq!(out, number.to_string().into_bytes());
        }
    }
}
