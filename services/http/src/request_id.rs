//! The id by which a request is found in the log.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::response::Response;
use hongbao_core::limits::REQUEST_ID_CHARS_MAX;
use http::{HeaderMap, HeaderName, HeaderValue};

/// The header that carries it, both ways.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// 1 to 64 of `A-Za-z0-9_-`. Handlers may take it as an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id; `None` for anything that does not belong into a log.
    pub fn parse(text: &[u8]) -> Option<RequestId> {
        if !is_id(text) {
            return None;
        }
        HeaderValue::from_bytes(text).ok().map(RequestId)
    }

    /// The id that the outer layer put into the headers.
    pub(crate) fn in_headers(headers: &HeaderMap) -> Option<RequestId> {
        headers.get(X_REQUEST_ID).filter(|value| is_id(value.as_bytes())).cloned().map(RequestId)
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        self.0.to_str().expect("made of A-Za-z0-9_- only")
    }

    /// The id as the value of [`X_REQUEST_ID`].
    pub fn to_header(&self) -> HeaderValue {
        self.0.clone()
    }

    /// The client's id, or a new one that takes its place in the headers: what
    /// is called from here finds it there.
    pub(crate) fn of_request(headers: &mut HeaderMap, ids: &RequestIds) -> RequestId {
        RequestId::in_headers(headers).unwrap_or_else(|| {
            let id = ids.next();
            headers.insert(X_REQUEST_ID, id.to_header());
            id
        })
    }

    /// Puts it on the response.
    pub(crate) fn mark(self, response: &mut Response) {
        response.headers_mut().insert(X_REQUEST_ID, self.0);
    }
}

fn is_id(text: &[u8]) -> bool {
    (1..=REQUEST_ID_CHARS_MAX).contains(&text.len())
        && text.iter().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-'))
}

/// Makes new ids: a prefix and a counter. Each connection has its own, so that
/// no two cores share the counter.
pub(crate) struct RequestIds {
    prefix: [u8; REQUEST_ID_CHARS_MAX],
    prefix_len: usize,
    next: AtomicU64,
}

/// Digits of a `u64` in hex at most.
const U64_HEX_DIGITS: usize = 16;

impl RequestIds {
    /// Ids that start with `process` (random, to tell processes apart) and the
    /// number of the connection.
    pub(crate) fn new(process: u64, connection: u64) -> RequestIds {
        let mut ids = RequestIds { prefix: [0; REQUEST_ID_CHARS_MAX], prefix_len: 0, next: AtomicU64::new(1) };
        for number in [process, connection] {
            ids.prefix_len += write_hex(number, &mut ids.prefix[ids.prefix_len..]);
            ids.prefix[ids.prefix_len] = b'-';
            ids.prefix_len += 1;
        }
        ids
    }

    pub(crate) fn next(&self) -> RequestId {
        const { assert!(3 * U64_HEX_DIGITS + 2 <= REQUEST_ID_CHARS_MAX) };
        let mut text = self.prefix;
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let len = self.prefix_len + write_hex(number, &mut text[self.prefix_len..]);
        RequestId(HeaderValue::from_bytes(&text[..len]).expect("hex digits and dashes"))
    }
}

/// Writes a number without leading zeros; says how many digits it took.
fn write_hex(number: u64, into: &mut [u8]) -> usize {
    let digits = (64 - number.leading_zeros()).div_ceil(4).max(1) as usize;
    for (place, digit) in into[..digits].iter_mut().enumerate() {
        *digit = b"0123456789abcdef"[(number >> (4 * (digits - 1 - place))) as usize & 0xf];
    }
    digits
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_s_id_is_kept_only_if_it_is_short_and_plain() {
        for good in ["a", "A-b_9", &"x".repeat(64)] {
            assert_eq!(RequestId::parse(good.as_bytes()).unwrap().as_str(), good);
        }
        for bad in ["", " ", "a b", "a\"b", "红", "a\r\nb", &"x".repeat(65)] {
            assert!(RequestId::parse(bad.as_bytes()).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn new_ids_count_up_behind_the_prefix_of_their_process_and_connection() {
        let ids = RequestIds::new(0xabc, 0x10);
        assert_eq!(ids.next().as_str(), "abc-10-1");
        assert_eq!(ids.next().as_str(), "abc-10-2");
        let longest = RequestIds::new(u64::MAX, u64::MAX);
        longest.next.store(u64::MAX, Ordering::Relaxed);
        assert!(RequestId::parse(longest.next().as_str().as_bytes()).is_some());
    }

    #[test]
    fn numbers_are_hex_without_leading_zeros() {
        let mut text = [0; U64_HEX_DIGITS];
        for number in [0, 1, 15, 16, 255, 256, 0x1234_5678_9abc_def0, u64::MAX] {
            let len = write_hex(number, &mut text);
            assert_eq!(std::str::from_utf8(&text[..len]).unwrap(), format!("{number:x}"));
        }
    }
}
