//! The two kinds of traffic of an installation: live traffic, and that of a rehearsal.
//!
//! A rehearsal runs the same code on the same machines, but nothing that is kept for
//! one kind can be found, opened or spent by the other: databases, tickets and the
//! keys of every cache carry the kind in their names.

use hmac::{Hmac, Mac as _};
use sha2::Sha256;

/// Which traffic a request, a store or a worker belongs to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Traffic {
    /// Of users: its money is real.
    #[default]
    Live,
    /// Of a rehearsal: marked by an operator, over databases, tickets and caches of its own.
    Shadow,
}

impl Traffic {
    /// Its name in the log.
    pub const fn name(self) -> &'static str {
        match self {
            Traffic::Live => "live",
            Traffic::Shadow => "shadow",
        }
    }

    /// What the names of its databases end with: `db_00`, `db_00_shadow`.
    pub const fn database_suffix(self) -> &'static str {
        match self {
            Traffic::Live => "",
            Traffic::Shadow => "_shadow",
        }
    }

    /// What its keys in memcached and Redis begin with.
    pub const fn key_prefix(self) -> &'static str {
        match self {
            Traffic::Live => "hongbao:",
            Traffic::Shadow => "hongbao:rehearsal:",
        }
    }

    /// The secret of this kind of traffic, derived from the configured one: the holder of
    /// only what one of them made can make nothing that the other takes.
    pub fn secret(self, configured: &[u8]) -> Vec<u8> {
        match self {
            Traffic::Live => configured.to_vec(),
            Traffic::Shadow => {
                let hmac = Hmac::<Sha256>::new_from_slice(configured).expect("HMAC takes a key of any length");
                // What a ticket's MAC covers is longer than this, and so never the same.
                hmac.chain_update(b"rehearsal").finalize().into_bytes().to_vec()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::EnvelopeId;
    use crate::ticket::TicketKey;
    use crate::time::Timestamp;
    use crate::user::UserId;

    #[test]
    fn the_real_world_is_named_as_it_always_was() {
        assert_eq!(Traffic::default(), Traffic::Live);
        assert_eq!((Traffic::Live.database_suffix(), Traffic::Live.key_prefix()), ("", "hongbao:"));
        assert_eq!(Traffic::Live.secret(b"secret"), b"secret");
    }

    #[test]
    fn a_ticket_of_one_world_opens_nothing_in_the_other() {
        let at = Timestamp::from_millis;
        let (id, li) = (EnvelopeId::mint(at(1), [1; 10]), UserId::parse("li").unwrap());
        let [real, rehearsal] =
            [Traffic::Live, Traffic::Shadow].map(|traffic| TicketKey::new(&traffic.secret(b"secret")));
        let [of_real, of_rehearsal] = [&real, &rehearsal].map(|key| key.issue(id, &li, at(1_000)));
        assert!(real.admits(&of_real, id, &li, at(999)) && rehearsal.admits(&of_rehearsal, id, &li, at(999)));
        assert!(!real.admits(&of_rehearsal, id, &li, at(999)));
        assert!(!rehearsal.admits(&of_real, id, &li, at(999)));
    }
}
