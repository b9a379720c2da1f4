//! Rows that make no sense: no panic, and no money leaves them.

use hongbao_core::envelope::OpenDecision;
use hongbao_core::{Entry, Envelope, Fen, Journal, Kind, Stage, Timestamp};
use proptest::prelude::*;

use crate::sample::{self, LIFETIME_MS, NEW_YEAR, fen, user};

fn open(envelope: &Envelope, journal: &Journal) -> OpenDecision {
    envelope.decide_open(journal, None, &user(1), NEW_YEAR)
}

fn refund(envelope: &Envelope, journal: &Journal) -> Option<Entry> {
    envelope.decide_refund(journal, NEW_YEAR.plus_millis(LIFETIME_MS))
}

fn journal(last_seq: u32, remaining: i64) -> Journal {
    Journal { last_seq, remaining: fen(remaining), refunded: false }
}

#[test]
fn money_that_does_not_fit_the_shares_left_stays_where_it_is() {
    let lucky = sample::envelope(Kind::Lucky, 100, 10, 20);
    let equal = sample::envelope(Kind::Equal, 100, 10, 20);
    let damaged = [
        (&lucky, journal(10, 1), "no share is left"),
        (&lucky, journal(11, 50), "more entries than shares"),
        (&lucky, journal(u32::MAX, 50), "the next place does not exist"),
        (&lucky, journal(5, 4), "less than a fen for each"),
        (&lucky, journal(9, 21), "more than the cap for each"),
        (&lucky, journal(0, 101), "more than was paid"),
        (&lucky, journal(0, i64::MAX), "far more than was paid"),
        (&equal, journal(5, 51), "not the shares left"),
        (&equal, journal(5, 5), "less than a share"),
        (&equal, journal(0, 110), "more than was paid"),
    ];
    for (envelope, journal, reason) in damaged {
        assert_eq!(open(envelope, &journal), OpenDecision::NotActive, "{reason}");
        assert_eq!(refund(envelope, &journal), None, "{reason}");
    }
}

#[test]
fn an_envelope_without_shares_pays_nobody() {
    for kind in [Kind::Lucky, Kind::Equal] {
        let mut envelope = sample::envelope(kind, 100, 10, 20);
        envelope.shares = 0;
        assert_eq!(open(&envelope, &journal(0, 100)), OpenDecision::NotActive);
        assert_eq!(refund(&envelope, &journal(0, 100)), None);
    }
}

#[test]
fn an_active_envelope_without_an_expiry_is_expired() {
    let mut envelope = sample::envelope(Kind::Lucky, 100, 10, 20);
    envelope.expires_at = None;
    assert_eq!(open(&envelope, &journal(0, 100)), OpenDecision::Expired);
    assert_eq!(refund(&envelope, &journal(0, 100)).unwrap().amount, fen(100), "the sender has it back");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]

    #[test]
    fn no_row_makes_a_decision_panic_or_pay_more_than_is_left(
        equal: bool,
        total in prop_oneof![0..200_i64, 0..=i64::MAX],
        shares in prop_oneof![0..20_u32, any::<u32>()],
        cap in prop_oneof![0..30_i64, 0..=i64::MAX],
        last_seq in prop_oneof![0..20_u32, any::<u32>()],
        remaining in prop_oneof![0..200_i64, 0..=i64::MAX],
        refunded: bool,
        stage in prop_oneof![Just(Stage::Active), Just(Stage::Settled), Just(Stage::Created)],
        now: i64,
    ) {
        let mut envelope = sample::envelope(if equal { Kind::Equal } else { Kind::Lucky }, total, shares, cap);
        envelope.stage = stage;
        let journal = Journal { last_seq, remaining: fen(remaining), refunded };
        for now in [Timestamp::from_millis(now), NEW_YEAR, NEW_YEAR.plus_millis(LIFETIME_MS)] {
            envelope.shares_left(&journal);
            if let OpenDecision::Append(entry) = envelope.decide_open(&journal, None, &user(1), now) {
                prop_assert!(entry.amount > Fen::ZERO && entry.amount <= envelope.share_cap);
                prop_assert_eq!(entry.amount.checked_add(entry.remaining), Some(journal.remaining));
                prop_assert!(entry.seq <= shares && journal.remaining <= envelope.total);
            }
            if let Some(entry) = envelope.decide_refund(&journal, now) {
                prop_assert!(entry.amount <= envelope.total && entry.seq <= shares);
            }
        }
    }
}
