//! Signatures of the protocol: HMAC-SHA256 with a shared secret over what a message is, when it was made, and its body.
//!
//! The header is `hongbao-signature: t=<seconds since 1970>,k=<id of the key>,v1=<64 hexadecimal digits>`. What is
//! signed begins with the purpose, so that no message stands for one of another purpose:
//!
//! | message | what is signed |
//! |---|---|
//! | request | `request`, t, the method, path and query, the body |
//! | answer | `answer`, t, the `v1` of the request, the status, the body |
//! | notification | `notification`, t, the body |
//! | events of a webhook | `events`, t, the body |
//!
//! each followed by a line feed, except for the body. The header of events has no `k`. An answer names the request that it answers, since an older
//! answer would be as genuine.

use ::http::HeaderMap;
use hmac::{Hmac, Mac as _};
use hongbao_core::Timestamp;
use hongbao_core::limits::{PROVIDER_CLOCK_APART_MS_MAX, PROVIDER_REQUEST_AGE_MS_MAX};
use sha2::Sha256;

/// The header.
pub const SIGNATURE: &str = "hongbao-signature";

/// A secret that both sides have, under an id.
#[derive(Clone)]
pub struct SigningKey {
    id: String,
    mac: Hmac<Sha256>,
}

/// What a message is.
#[derive(Clone, Copy, Debug)]
pub enum Signed<'a> {
    /// A request.
    Request {
        /// `POST`.
        method: &'a str,
        /// Path and query.
        path: &'a str,
    },
    /// An answer.
    Answer {
        /// The signature of the request.
        of: &'a str,
        /// The status.
        status: u16,
    },
    /// A notification.
    Notification,
    /// Events, for the owner of the installation.
    Events,
}

/// Why a signature is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadSignature {
    /// There is none, or two.
    #[error("there is no signature")]
    Missing,
    /// It cannot be read.
    #[error("the signature cannot be read")]
    Unreadable,
    /// It is of a key that is not known.
    #[error("the key of the signature is not known")]
    OtherKey,
    /// It is of another secret or of another message.
    #[error("the signature is wrong")]
    Wrong,
    /// It was made too long ago, or by a clock that is ahead.
    #[error("the signature is not of now")]
    NotNow,
}

impl SigningKey {
    /// The key with this id and secret.
    pub fn new(id: &str, secret: &[u8]) -> SigningKey {
        let mac = Hmac::new_from_slice(secret).expect("HMAC takes keys of any length");
        SigningKey { id: id.to_owned(), mac }
    }

    /// The value of the header, and the signature alone, which the answer names.
    pub fn sign(&self, what: Signed<'_>, at: Timestamp, body: &[u8]) -> (String, String) {
        let seconds = at.millis().div_euclid(1_000);
        let signature = hex(&self.mac_of(what, seconds, body).finalize().into_bytes());
        (format!("t={seconds},k={},v1={signature}", self.id), signature)
    }

    /// The value of the header of events, without the id of a key: the owner of an installation has one secret for them.
    pub fn sign_events(&self, at: Timestamp, body: &[u8]) -> String {
        let seconds = at.millis().div_euclid(1_000);
        let signature = hex(&self.mac_of(Signed::Events, seconds, body).finalize().into_bytes());
        format!("t={seconds},v1={signature}")
    }

    /// Checks the signature of a message that has arrived; gives the signature alone, and when it was made.
    ///
    /// # Errors
    /// Why it is not taken.
    pub fn check(
        &self,
        headers: &HeaderMap,
        what: Signed<'_>,
        body: &[u8],
        now: Timestamp,
    ) -> Result<(String, Timestamp), BadSignature> {
        let mut values = headers.get_all(SIGNATURE).iter();
        let (Some(value), None) = (values.next(), values.next()) else { return Err(BadSignature::Missing) };
        let value = value.to_str().map_err(|_| BadSignature::Unreadable)?;
        let (seconds, id, signature) = parts(value).ok_or(BadSignature::Unreadable)?;
        if id != self.id {
            return Err(BadSignature::OtherKey);
        }
        let bytes = unhex(signature).ok_or(BadSignature::Unreadable)?;
        self.mac_of(what, seconds, body).verify_slice(&bytes).map_err(|_| BadSignature::Wrong)?;
        is_now(seconds, now)
            .then(|| (signature.to_owned(), Timestamp::from_millis(seconds * 1_000)))
            .ok_or(BadSignature::NotNow)
    }

    fn mac_of(&self, what: Signed<'_>, seconds: i64, body: &[u8]) -> Hmac<Sha256> {
        let head = match what {
            Signed::Request { method, path } => format!("request\n{seconds}\n{method}\n{path}\n"),
            Signed::Answer { of, status } => format!("answer\n{seconds}\n{of}\n{status}\n"),
            Signed::Notification => format!("notification\n{seconds}\n"),
            Signed::Events => format!("events\n{seconds}\n"),
        };
        let mut mac = self.mac.clone();
        mac.update(head.as_bytes());
        mac.update(body);
        mac
    }
}

/// Whether a message of then may be taken now.
pub fn is_now(seconds: i64, now: Timestamp) -> bool {
    let at = seconds.saturating_mul(1_000);
    let (age_ms, ahead_ms) = (now.millis().saturating_sub(at), at.saturating_sub(now.millis()));
    age_ms <= PROVIDER_REQUEST_AGE_MS_MAX && ahead_ms <= PROVIDER_CLOCK_APART_MS_MAX
}

fn parts(value: &str) -> Option<(i64, &str, &str)> {
    let mut parts = value.split(',');
    let seconds = parts.next()?.strip_prefix("t=")?;
    let id = parts.next()?.strip_prefix("k=")?;
    let signature = parts.next()?.strip_prefix("v1=")?;
    let is_number = !seconds.is_empty() && seconds.bytes().all(|byte| byte.is_ascii_digit());
    match (parts.next(), is_number) {
        (None, true) => Some((seconds.parse().ok()?, id, signature)),
        _ => None,
    }
}

/// Lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes();
    if digits.len() != 64 || !digits.iter().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    (0..32).map(|place| u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_500);
    const REQUEST: Signed<'_> = Signed::Request { method: "POST", path: "/v1/charges" };

    fn key() -> SigningKey {
        SigningKey::new("ours", b"a secret of at least 32 bytes, yes")
    }

    fn with(value: &str) -> HeaderMap {
        [(SIGNATURE, value)].into_iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_was_signed_is_taken_and_nothing_else_is() {
        let (value, signature) = key().sign(REQUEST, NOW, b"{}");
        let taken = key().check(&with(&value), REQUEST, b"{}", NOW).unwrap();
        assert_eq!(taken, (signature.clone(), NOW.plus_millis(-500)));
        let other_path = Signed::Request { method: "POST", path: "/v1/payouts" };
        let other_method = Signed::Request { method: "PUT", path: "/v1/charges" };
        for (what, body) in [(other_path, "{}"), (other_method, "{}"), (REQUEST, "{ }"), (Signed::Notification, "{}")] {
            assert_eq!(key().check(&with(&value), what, body.as_bytes(), NOW), Err(BadSignature::Wrong), "{what:?}");
        }
        let stolen = SigningKey::new("ours", b"another secret of 32 bytes and more");
        assert_eq!(stolen.check(&with(&value), REQUEST, b"{}", NOW), Err(BadSignature::Wrong));
        let renamed = SigningKey::new("theirs", b"a secret of at least 32 bytes, yes");
        assert_eq!(renamed.check(&with(&value), REQUEST, b"{}", NOW), Err(BadSignature::OtherKey));
        let answer = |of| Signed::Answer { of, status: 200 };
        let (value, _) = key().sign(answer(&signature), NOW, b"{}");
        assert!(key().check(&with(&value), answer(&signature), b"{}", NOW).is_ok());
        assert_eq!(key().check(&with(&value), answer("another"), b"{}", NOW), Err(BadSignature::Wrong));
    }

    #[test]
    fn a_signature_is_good_for_five_minutes_and_for_clocks_that_are_a_minute_apart() {
        let (value, _) = key().sign(REQUEST, NOW, b"");
        let check = |millis| key().check(&with(&value), REQUEST, b"", NOW.plus_millis(millis)).err();
        assert_eq!([check(299_000), check(-59_000)], [None, None]);
        assert_eq!([check(301_000), check(-61_000)], [Some(BadSignature::NotNow); 2]);
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        let (value, _) = key().sign(REQUEST, NOW, b"");
        let shorter = &value[..value.len() - 1];
        let upper = value.to_uppercase();
        let signed = format!("{value},v1=0");
        for bad in ["", "t=1", "t=-1,k=ours,v1=00", "t=1,k=ours", shorter, &upper, &signed, &format!(" {value}x")] {
            let error = key().check(&with(bad), REQUEST, b"", NOW).unwrap_err();
            assert_eq!(error, BadSignature::Unreadable, "{bad:?}");
        }
        assert_eq!(key().check(&HeaderMap::new(), REQUEST, b"", NOW), Err(BadSignature::Missing));
        let mut twice = with(&value);
        twice.append(SIGNATURE, value.parse().unwrap());
        assert_eq!(key().check(&twice, REQUEST, b"", NOW), Err(BadSignature::Missing));
    }
}
