//! Tickets: what a grab answers with, and an open needs.
//!
//! A ticket says that this user was let in to this envelope until a given time.
//! It is `base64url(expiry in ms, 8 bytes ‖ MAC, 16 bytes)`, the MAC being the
//! first half of HMAC-SHA256 over expiry, envelope id and user id. It throttles
//! and it carries the invitation; the database alone decides who gets a share.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac};
use sha2::Sha256;

use crate::id::EnvelopeId;
use crate::time::Timestamp;
use crate::user::UserId;

const EXPIRY_BYTES: usize = 8;
const MAC_BYTES: usize = 16;
const TICKET_BYTES: usize = EXPIRY_BYTES + MAC_BYTES;
/// Characters of a ticket.
pub const TICKET_CHARS: usize = TICKET_BYTES / 3 * 4;
const _: () = assert!(TICKET_BYTES.is_multiple_of(3), "base64 without padding");

/// Makes and checks tickets with one secret, shared by the servers of a SET.
#[derive(Clone)]
pub struct TicketKey {
    signing: Hmac<Sha256>,
    /// What other servers of the SET sign with, while the secret is changed.
    also_accepted: Option<Hmac<Sha256>>,
}

impl TicketKey {
    /// From a secret of any length.
    pub fn new(secret: &[u8]) -> TicketKey {
        TicketKey { signing: hmac(secret), also_accepted: None }
    }

    /// The same, which accepts the tickets of another secret as well, and makes none with it.
    pub fn also_accepting(self, secret: &[u8]) -> TicketKey {
        TicketKey { also_accepted: Some(hmac(secret)), ..self }
    }

    /// A ticket for `user` to open `envelope` before `expires_at`.
    pub fn issue(&self, envelope: EnvelopeId, user: &UserId, expires_at: Timestamp) -> String {
        let mut bytes = [0; TICKET_BYTES];
        bytes[..EXPIRY_BYTES].copy_from_slice(&expires_at.millis().to_be_bytes());
        let mac = mac(&self.signing, &bytes[..EXPIRY_BYTES], envelope, user).finalize().into_bytes();
        bytes[EXPIRY_BYTES..].copy_from_slice(&mac[..MAC_BYTES]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// Whether `ticket` lets `user` open `envelope` at `now`. Compares in constant time.
    pub fn admits(&self, ticket: &str, envelope: EnvelopeId, user: &UserId, now: Timestamp) -> bool {
        let mut bytes = [0; TICKET_BYTES];
        match URL_SAFE_NO_PAD.decode_slice(ticket, &mut bytes) {
            Ok(TICKET_BYTES) => {}
            _ => return false,
        }
        let (expiry, of_ticket) = bytes.split_at(EXPIRY_BYTES);
        let is_of = |key| mac(key, expiry, envelope, user).verify_truncated_left(of_ticket).is_ok();
        if !is_of(&self.signing) && !self.also_accepted.as_ref().is_some_and(is_of) {
            return false;
        }
        let expires_at = i64::from_be_bytes(expiry.try_into().expect("the expiry has 8 bytes"));
        now < Timestamp::from_millis(expires_at)
    }
}

fn hmac(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")
}

fn mac(key: &Hmac<Sha256>, expiry: &[u8], envelope: EnvelopeId, user: &UserId) -> Hmac<Sha256> {
    // Fixed-length parts first, so that no two inputs run together.
    key.clone().chain_update(expiry).chain_update(envelope.as_bytes()).chain_update(user.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ticket_fits_one_user_one_envelope_and_its_time() {
        let key = TicketKey::new(b"secret");
        let at = Timestamp::from_millis;
        let (a, b) = (EnvelopeId::mint(at(1), [1; 10]), EnvelopeId::mint(at(1), [2; 10]));
        let (li, wang) = (UserId::parse("li").unwrap(), UserId::parse("wang").unwrap());
        let ticket = key.issue(a, &li, at(1_000));

        assert!(key.admits(&ticket, a, &li, at(999)));
        assert!(!key.admits(&ticket, a, &li, at(1_000)), "expired");
        assert!(!key.admits(&ticket, a, &wang, at(999)), "another user");
        assert!(!key.admits(&ticket, b, &li, at(999)), "another envelope");
        assert!(!TicketKey::new(b"other").admits(&ticket, a, &li, at(999)), "another secret");
        for forged in ["", "x", "====", &ticket[1..], &format!("{ticket}A"), &"A".repeat(32)] {
            assert!(!key.admits(forged, a, &li, at(999)), "{forged}");
        }
    }

    #[test]
    fn while_a_secret_is_changed_tickets_of_both_are_accepted_and_made_with_one() {
        let at = Timestamp::from_millis;
        let (id, li) = (EnvelopeId::mint(at(1), [1; 10]), UserId::parse("li").unwrap());
        let key = |secret: &str| TicketKey::new(secret.as_bytes());
        let issue = |key: &TicketKey| key.issue(id, &li, at(1_000));
        let both = key("new").also_accepting(b"old");
        assert_eq!(issue(&both), issue(&key("new")));
        for secret in ["new", "old"] {
            assert!(both.admits(&issue(&key(secret)), id, &li, at(999)), "{secret}");
            assert!(!both.admits(&issue(&key(secret)), id, &li, at(1_000)), "{secret} expired");
        }
        assert!(!both.admits(&issue(&key("other")), id, &li, at(999)));
        assert!(!key("new").admits(&issue(&key("old")), id, &li, at(999)), "it is accepted no more");
    }
}
