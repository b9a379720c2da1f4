//! Tickets: nothing but the one that was issued lets anybody in.

use hongbao_core::ticket::TicketKey;
use hongbao_core::{EnvelopeId, Timestamp};
use proptest::prelude::*;

use crate::sample::{NEW_YEAR, scrambled, user};

proptest! {
    #[test]
    fn a_ticket_lets_its_user_in_until_it_expires(secret: Vec<u8>, random: [u8; 10], number: u32, life in 1..100_000_i64) {
        let (key, id) = (TicketKey::new(&secret), EnvelopeId::mint(NEW_YEAR, random));
        let expires_at = NEW_YEAR.plus_millis(life);
        let ticket = key.issue(id, &user(number), expires_at);
        prop_assert!(key.admits(&ticket, id, &user(number), expires_at.plus_millis(-1)));
        prop_assert!(!key.admits(&ticket, id, &user(number), expires_at));
        prop_assert!(!key.admits(&ticket, id, &user(number ^ 1), NEW_YEAR));
        let other = EnvelopeId::mint(NEW_YEAR.plus_millis(1), random);
        prop_assert!(!key.admits(&ticket, other, &user(number), NEW_YEAR));
    }

    #[test]
    fn a_changed_ticket_lets_nobody_in(place in 0..32_usize, other in any::<char>(), life in 1..100_000_i64) {
        let (key, id) = (TicketKey::new(b"secret"), EnvelopeId::mint(NEW_YEAR, scrambled(1)));
        let ticket = key.issue(id, &user(1), NEW_YEAR.plus_millis(life));
        let changed: String =
            ticket.chars().enumerate().map(|(at, same)| if at == place { other } else { same }).collect();
        prop_assume!(changed != ticket);
        prop_assert!(!key.admits(&changed, id, &user(1), NEW_YEAR));
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in ".{0,80}", now: i64) {
        let (key, id) = (TicketKey::new(b"secret"), EnvelopeId::mint(NEW_YEAR, scrambled(1)));
        prop_assert!(!key.admits(&text, id, &user(1), Timestamp::from_millis(now)));
    }
}
