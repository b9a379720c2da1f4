//! The audit's checks: sound rows pass, and each single damage is named.

use hongbao_core::audit::{
    Books, Breach, EnvelopeRows, RunningBalance, check_balance, check_envelope, check_transfer, envelope_missing,
};
use hongbao_core::limits::AUDIT_CLOCKS_APART_MS_MAX;
use hongbao_core::{EntryKind, Envelope, Fen, Kind, Stage, Transfer, TransferId, TransferKind};

use crate::sample::{self, LIFETIME_MS, NEW_YEAR, Rows, fen, opener, sender, user};

pub fn check(rows: &Rows) -> Vec<Breach> {
    check_envelope(&EnvelopeRows { envelope: &rows.envelope, entries: &rows.entries, transfers: &rows.transfers })
}

/// 1,000 fen in 5 shares.
fn terms() -> Envelope {
    sample::envelope(Kind::Lucky, 1_000, 5, 20_000)
}

/// Opened to the last share.
fn finished() -> Rows {
    Rows::settled(terms(), 5)
}

/// Three openings and the refund.
fn refunded() -> Rows {
    Rows::settled(terms(), 3)
}

/// Breaks sound rows, and expects this to be among what is found.
#[track_caller]
fn assert_named(mut rows: Rows, damage: impl FnOnce(&mut Rows), invariant: &str, code: &str) {
    assert_eq!(check(&rows), [], "sound before the damage");
    damage(&mut rows);
    let found = check(&rows);
    assert!(found.iter().any(|breach| (breach.invariant, breach.code) == (invariant, code)), "{code}: {found:#?}");
    assert!(found.iter().all(|breach| breach.envelope_id == Some(rows.envelope.id) && !breach.detail.is_empty()));
}

#[test]
fn sound_envelopes_of_every_age_pass() {
    assert_eq!(check(&finished()), []);
    assert_eq!(check(&refunded()), []);
    assert_eq!(check(&Rows::settled(terms(), 0)), []);
    let equal = sample::envelope(Kind::Equal, 1_000, 5, 20_000);
    assert_eq!(check(&Rows::settled(equal.clone(), 5)), []);
    assert_eq!(check(&Rows::settled(equal, 2)), []);

    let payment = Transfer::send(&terms(), NEW_YEAR);
    let mut rows = Rows { envelope: terms(), entries: vec![], transfers: vec![] };
    rows.envelope.stage = Stage::Created;
    assert_eq!(check(&rows), [], "created");
    rows.transfers = vec![payment];
    assert_eq!(check(&rows), [], "paid, and not yet active");
    rows.envelope.stage = Stage::Active;
    assert_eq!(check(&rows), [], "active");
    rows.transfers = vec![Transfer::cancel(&rows.envelope, NEW_YEAR)];
    rows.envelope.stage = Stage::Cancelled;
    assert_eq!(check(&rows), [], "cancelled");
    rows.envelope.stage = Stage::Created;
    assert_eq!(check(&rows), [], "cancelled in the wallet, and not yet in the store");
}

#[test]
fn i6_credits_under_way_are_no_breach() {
    let whole = finished();
    for opened in 0..=5 {
        for credited in 0..=opened {
            for settled in 0..=credited {
                let mut rows = whole.clone();
                rows.envelope.stage = Stage::Active;
                rows.envelope.settled_seq = settled as u32;
                rows.entries.truncate(opened);
                rows.transfers.truncate(1 + credited);
                assert_eq!(check(&rows), [], "{opened} opened, {credited} credited, {settled} known to be");
            }
        }
    }
}

#[test]
fn i7_an_amount_that_was_not_drawn_is_named() {
    let damage = |rows: &mut Rows| rows.entries[1].amount = rows.entries[1].amount.checked_add(fen(1)).unwrap();
    assert_named(finished(), damage, "I7", "amount_wrong");
    assert_named(finished(), damage, "I1", "remaining_wrong");
    assert_named(finished(), damage, "I6", "credit_wrong");
}

#[test]
fn i7_an_amount_changed_everywhere_is_named_all_the_same() {
    let move_a_fen = |rows: &mut Rows| {
        let more = rows.entries[1].amount.checked_add(fen(1)).unwrap();
        rows.entries[1].amount = more;
        rows.entries[1].remaining = rows.entries[1].remaining.checked_sub(fen(1)).unwrap();
        rows.transfers[2].amount = more;
    };
    assert_named(finished(), move_a_fen, "I7", "amount_wrong");
    let equal = sample::envelope(Kind::Equal, 1_000, 5, 20_000);
    assert_named(Rows::settled(equal, 5), move_a_fen, "I7", "amount_wrong");
}

#[test]
fn i1_an_entry_removed_at_any_place_is_named() {
    for place in 0..5 {
        assert_named(finished(), |rows| drop(rows.entries.remove(place)), "I1", "entry_missing");
    }
    assert_named(refunded(), |rows| drop(rows.entries.pop()), "I1", "closed_with_money");
    assert_named(finished(), |rows| rows.entries.clear(), "I1", "closed_with_money");
}

#[test]
fn i1_the_last_entry_removed_is_named_while_the_envelope_is_open() {
    let open = || {
        let mut rows = finished();
        rows.envelope.stage = Stage::Active;
        rows
    };
    let removed = |rows: &mut Rows| drop(rows.entries.pop());
    assert_named(open(), removed, "I1", "entry_missing");
    // Credited, but not yet called settled: the credit tells.
    let mut credited = open();
    credited.envelope.settled_seq = 2;
    assert_named(credited, removed, "I6", "credit_without_entry");
}

#[test]
fn an_end_that_was_lost_before_it_was_credited_leaves_no_trace_in_the_rows() {
    let mut rows = finished();
    rows.envelope.stage = Stage::Active;
    rows.envelope.settled_seq = 3;
    rows.entries.truncate(4);
    rows.transfers.truncate(1 + 3);
    assert_eq!(check(&rows), []);
    rows.entries.truncate(3);
    assert_eq!(check(&rows), [], "the rows of a moment before");
}

#[test]
fn i2_a_user_who_opened_twice_is_named() {
    let again = |rows: &mut Rows| rows.entries[3].kind = EntryKind::Open(opener(&rows.entries[0]));
    assert_named(finished(), again, "I2", "user_twice");
    let found = {
        let mut rows = finished();
        again(&mut rows);
        check(&rows)
    };
    let breach = found.iter().find(|breach| breach.code == "user_twice").unwrap();
    assert_eq!(breach.user_id.as_deref(), Some(user(1).as_str()));
}

#[test]
fn i6_a_missing_credit_is_named() {
    for place in 1..=5 {
        assert_named(finished(), |rows| drop(rows.transfers.remove(place)), "I6", "credit_missing");
    }
    assert_named(refunded(), |rows| drop(rows.transfers.pop()), "I6", "credit_missing");
    // What is called settled of an envelope that is still open was credited, to the last one.
    for place in 1..=3 {
        let mut open = finished();
        open.envelope.stage = Stage::Active;
        open.envelope.settled_seq = 3;
        assert_named(open, |rows| drop(rows.transfers.remove(place)), "I6", "credit_missing");
    }
    // A settled envelope owes nothing, whatever its counter says.
    let mut low = finished();
    low.envelope.settled_seq = 0;
    assert_named(low, |rows| drop(rows.transfers.pop()), "I6", "credit_missing");
}

#[test]
fn i6_a_doubled_credit_is_named() {
    let under_another_seq = |rows: &mut Rows| {
        let id = TransferId::Envelope(rows.envelope.id, 99);
        rows.transfers.push(Transfer { id, ..rows.transfers[2].clone() });
    };
    assert_named(finished(), under_another_seq, "I6", "credit_doubled");
    let the_same_row = |rows: &mut Rows| rows.transfers.push(rows.transfers[2].clone());
    assert_named(finished(), the_same_row, "I6", "credit_doubled");
    let the_refund = |rows: &mut Rows| {
        let id = TransferId::Envelope(rows.envelope.id, 5);
        rows.transfers.push(Transfer { id, ..rows.transfers[4].clone() });
    };
    assert_named(refunded(), the_refund, "I6", "credit_doubled");
}

#[test]
fn i6_a_credit_for_no_entry_is_named() {
    let invented = |rows: &mut Rows| {
        let id = TransferId::Envelope(rows.envelope.id, 6);
        rows.transfers.push(Transfer { id, user: user(99), ..rows.transfers[1].clone() });
    };
    assert_named(finished(), invented, "I6", "credit_without_entry");
}

#[test]
fn many_credits_that_are_younger_than_a_long_journal_are_checked_in_a_moment() {
    const OPENED: u32 = 200_000;
    let mut rows = Rows::settled(sample::envelope(Kind::Lucky, 20_000_000, 2 * OPENED, 20_000), 2 * OPENED);
    rows.envelope.stage = Stage::Active;
    rows.envelope.settled_seq = OPENED;
    rows.entries.truncate(OPENED as usize);
    let id = TransferId::Envelope(rows.envelope.id, 2 * OPENED + 1);
    rows.transfers.push(Transfer { id, ..rows.transfers[1].clone() });
    let began = std::time::Instant::now();
    let found = check(&rows);
    let took = began.elapsed();
    let (last, younger) = found.split_last().unwrap();
    assert_eq!((last.code, younger.len()), ("credit_doubled", OPENED as usize));
    assert!(younger.iter().all(|breach| breach.code == "credit_without_entry"));
    // It is seconds of processor time; if each were compared with all others it would be far more.
    assert!(took.as_secs() < 120, "{took:?}");
}

#[test]
fn i6_a_credit_of_another_amount_or_user_or_kind_is_named() {
    assert_named(finished(), |rows| rows.transfers[3].amount = fen(1), "I6", "credit_wrong");
    assert_named(finished(), |rows| rows.transfers[3].user = user(99), "I6", "credit_wrong");
    assert_named(finished(), |rows| rows.transfers[3].kind = TransferKind::Refund, "I6", "credit_wrong");
    assert_named(refunded(), |rows| rows.transfers[4].user = user(1), "I6", "credit_wrong");
}

#[test]
fn i1_a_payment_that_is_missing_or_wrong_or_doubled_or_lost_is_named() {
    assert_named(finished(), |rows| drop(rows.transfers.remove(0)), "I1", "payment_missing");
    assert_named(finished(), |rows| rows.transfers[0].amount = fen(999), "I1", "payment_wrong");
    assert_named(finished(), |rows| rows.transfers[0].user = user(1), "I1", "payment_wrong");
    assert_named(finished(), |rows| rows.transfers[0].kind = TransferKind::Cancel, "I1", "payment_missing");
    assert_named(finished(), |rows| rows.transfers[0].kind = TransferKind::Open, "I1", "payment_wrong");
    assert_named(finished(), |rows| rows.transfers.push(rows.transfers[0].clone()), "I1", "payment_doubled");
    assert_named(finished(), |rows| rows.envelope.stage = Stage::Cancelled, "I1", "payment_lost");
    assert_named(finished(), |rows| rows.envelope.sender = user(1), "I1", "payment_wrong");
}

#[test]
fn i1_a_cancel_that_moved_money_is_named() {
    let mut rows = Rows { envelope: terms(), entries: vec![], transfers: vec![] };
    rows.envelope.stage = Stage::Cancelled;
    rows.transfers = vec![Transfer::cancel(&rows.envelope, NEW_YEAR)];
    assert_named(rows, |rows| rows.transfers[0].amount = fen(1_000), "I1", "payment_wrong");
}

#[test]
fn i1_remaining_money_that_does_not_add_up_is_named() {
    assert_named(finished(), |rows| rows.entries[2].remaining = fen(1), "I1", "remaining_wrong");
    assert_named(finished(), |rows| rows.entries[2].remaining = Fen::ZERO, "I1", "entry_after_end");
    assert_named(finished(), |rows| rows.entries[4].remaining = fen(1), "I1", "remaining_wrong");
}

#[test]
fn i1_a_refund_that_is_not_the_rest_is_named() {
    assert_named(refunded(), |rows| rows.entries[3].amount = fen(1), "I1", "refund_wrong");
    assert_named(finished(), |rows| rows.entries[1].kind = EntryKind::Refund, "I1", "refund_wrong");
}

#[test]
fn i1_an_entry_after_the_end_is_named() {
    let opened_after = |rows: &mut Rows| {
        let mut entry = rows.entries[0].clone();
        entry.seq = rows.entries.len() as u32 + 1;
        entry.kind = EntryKind::Open(user(99));
        rows.entries.push(entry);
    };
    assert_named(refunded(), opened_after, "I1", "entry_after_end");
    assert_named(finished(), opened_after, "I1", "entry_after_end");
}

#[test]
fn i1_openings_of_an_envelope_that_was_never_paid_are_named() {
    assert_named(finished(), |rows| rows.envelope.stage = Stage::Created, "I1", "opened_unpaid");
    assert_named(finished(), |rows| rows.envelope.stage = Stage::Cancelled, "I1", "opened_unpaid");
}

#[test]
fn i7_terms_that_cannot_be_split_are_named() {
    assert_named(finished(), |rows| rows.envelope.shares = 0, "I7", "envelope_impossible");
    assert_named(finished(), |rows| rows.envelope.shares = 1_001, "I7", "envelope_impossible");
    assert_named(finished(), |rows| rows.envelope.share_cap = fen(199), "I7", "envelope_impossible");
    assert_named(finished(), |rows| rows.envelope.total = Fen::ZERO, "I7", "envelope_impossible");
    let equal = sample::envelope(Kind::Equal, 1_000, 5, 20_000);
    assert_named(Rows::settled(equal, 0), |rows| rows.envelope.shares = 3, "I7", "envelope_impossible");
}

#[test]
fn i7_another_seed_is_named() {
    assert_named(finished(), |rows| rows.envelope.seed = sample::seed(8), "I7", "amount_wrong");
}

#[test]
fn i3_an_expiry_that_was_moved_is_named_to_the_millisecond() {
    for by in [-LIFETIME_MS, -1, 1, LIFETIME_MS] {
        let moved = |rows: &mut Rows| rows.envelope.expires_at = rows.envelope.expires_at.map(|at| at.plus_millis(by));
        assert_named(finished(), moved, "I3", "expiry_wrong");
        assert_named(finished(), |rows| rows.envelope.lifetime_ms += by, "I3", "expiry_wrong");
        assert_named(finished(), |rows| rows.transfers[0].at = NEW_YEAR.plus_millis(by), "I3", "expiry_wrong");
    }
    assert_named(finished(), |rows| rows.envelope.expires_at = None, "I3", "expiry_wrong");
}

#[test]
fn i3_an_entry_that_is_dated_otherwise_than_its_credit_is_named() {
    for place in 0..4 {
        let moved = |rows: &mut Rows| rows.entries[place].at = rows.entries[place].at.plus_millis(1);
        assert_named(refunded(), moved, "I3", "entry_time_wrong");
    }
}

/// Entry and credit agree, or there is no credit yet.
#[test]
fn i3_an_entry_at_an_impossible_time_is_named_whatever_its_credit_says() {
    let expiry = NEW_YEAR.plus_millis(LIFETIME_MS);
    let apart = AUDIT_CLOCKS_APART_MS_MAX;
    for (place, at, wrong) in [
        (0, NEW_YEAR.plus_millis(-400 * LIFETIME_MS), true),
        (0, NEW_YEAR.plus_millis(-apart - 1), true),
        (0, NEW_YEAR.plus_millis(-apart), false),
        (2, NEW_YEAR.plus_millis(-apart + 1), true),
        (2, NEW_YEAR.plus_millis(-apart + 2), false),
        (2, expiry, true),
        (2, expiry.plus_millis(-1), false),
        (3, expiry.plus_millis(-1), true),
        (3, expiry.plus_millis(30 * LIFETIME_MS), false),
    ] {
        let mut rows = refunded();
        rows.entries[place].at = at;
        rows.transfers[place + 1].at = at;
        let named = check(&rows).iter().any(|breach| (breach.invariant, breach.code) == ("I3", "entry_time_wrong"));
        assert_eq!(named, wrong, "entry {} at {at}", place + 1);
    }
    // What is dated late makes nobody who follows it early but once.
    let mut rows = finished();
    rows.entries[1].at = NEW_YEAR.plus_millis(-400 * LIFETIME_MS);
    rows.transfers[2].at = rows.entries[1].at;
    assert_eq!(check(&rows).len(), 1);
}

#[test]
fn i3_a_row_or_a_payment_of_another_time_than_the_id_is_named() {
    let day = LIFETIME_MS;
    for (days, code) in [(-400, "created_at_wrong"), (31, "created_at_wrong"), (1, "payment_time_wrong")] {
        let moved = |rows: &mut Rows| rows.envelope.created_at = NEW_YEAR.plus_millis(days * day);
        assert_named(finished(), moved, "I3", code);
    }
    assert_named(finished(), |rows| rows.transfers[0].at = NEW_YEAR.plus_millis(31 * day), "I3", "payment_time_wrong");
    assert_named(finished(), |rows| rows.envelope.lifetime_ms = 8 * day, "I3", "lifetime_wrong");
    assert_named(finished(), |rows| rows.envelope.lifetime_ms = -1, "I3", "lifetime_wrong");
}

#[test]
fn i1_a_cancelled_envelope_that_could_still_be_paid_is_named() {
    let mut rows = Rows { envelope: terms(), entries: vec![], transfers: vec![] };
    rows.envelope.stage = Stage::Cancelled;
    rows.transfers = vec![Transfer::cancel(&rows.envelope, NEW_YEAR)];
    assert_named(rows, |rows| rows.transfers.clear(), "I1", "cancel_missing");
}

#[test]
fn i1_a_running_balance_that_is_off_is_named_once() {
    let sound = [(100, 100), (-30, 70), (0, 70), (5, 75)];
    let check = |lines: &[(i64, i64)]| -> Vec<i64> {
        let mut running = RunningBalance::default();
        let wrong = (1..).zip(lines).filter_map(|(position, (change, balance))| {
            running.check("user_1", position, *change, *balance).map(|breach| {
                assert_eq!((breach.invariant, breach.code), ("I1", "running_balance_off"));
                assert_eq!(breach.user_id.as_deref(), Some("user_1"));
                position
            })
        });
        wrong.collect()
    };
    assert_eq!(check(&sound), [0; 0]);
    for place in 0..sound.len() {
        let mut off = sound;
        off[place].1 += 1;
        assert_eq!(check(&off), [place as i64 + 1], "one row");
        let mut missing = sound.to_vec();
        missing.remove(place);
        // What moved nothing, and the newest, leave no trace in the others.
        let trace = sound[place].0 != 0 && place + 1 < sound.len();
        assert_eq!(check(&missing).len(), usize::from(trace), "row {place} is missing");
    }
    assert_eq!(check(&[(i64::MAX, i64::MAX), (i64::MAX, -2)]), [2], "no overflow hides it");
}

#[test]
fn i1_a_transfer_that_contradicts_itself_is_named() {
    let rows = refunded();
    let cancel = Transfer::cancel(&rows.envelope, NEW_YEAR);
    let top_up = Transfer::top_up(uuid::Uuid::from_u128(1), user(1), fen(5), NEW_YEAR);
    for sound in rows.transfers.iter().chain([&cancel, &top_up]) {
        assert_eq!(check_transfer(sound), None);
        for kind in [TransferKind::TopUp, TransferKind::Send, TransferKind::Open, TransferKind::Cancel] {
            // Both are credits of an entry; which of them it is stands in the journal.
            let is_credit = |kind| matches!(kind, TransferKind::Open | TransferKind::Refund);
            if kind != sound.kind && !(is_credit(kind) && is_credit(sound.kind)) {
                let breach = check_transfer(&Transfer { kind, ..sound.clone() }).unwrap();
                assert_eq!((breach.invariant, breach.code), ("I1", "transfer_impossible"));
            }
        }
        let amount = if sound.kind == TransferKind::Cancel { fen(1) } else { Fen::ZERO };
        assert!(check_transfer(&Transfer { amount, ..sound.clone() }).is_some());
    }
}

#[test]
fn i1_a_balance_that_is_not_the_sum_of_its_transfers_is_named() {
    assert_eq!(check_balance("user_1", 500, 500), None);
    assert_eq!(check_balance("#top_ups", -500, -500), None);
    let breach = check_balance("user_1", 501, 500).unwrap();
    assert_eq!((breach.invariant, breach.code, breach.user_id.as_deref()), ("I1", "balance_off", Some("user_1")));
    assert!(breach.detail.contains("501") && breach.detail.contains("500"));
    assert!(check_balance("user_1", i64::MAX, i128::from(i64::MAX) + 1).is_some());
}

#[test]
fn i1_books_that_do_not_add_up_are_named() {
    let sound =
        Books { balances_fen: 600, outstanding_fen: 300, top_ups_fen: 800, provider_fen: 200, payouts_fen: 100 };
    assert_eq!(sound.check(), None);
    assert_eq!(sound.outstanding(), Some(fen(300)));
    for damaged in [
        Books { balances_fen: 701, ..sound },
        Books { outstanding_fen: 299, ..sound },
        Books { top_ups_fen: 1_001, ..sound },
        Books { provider_fen: 199, ..sound },
        Books { payouts_fen: 0, ..sound },
    ] {
        let breach = damaged.check().unwrap();
        assert_eq!((breach.invariant, breach.code), ("I1", "books_off"));
    }
    assert_eq!(Books { outstanding_fen: -1, ..sound }.outstanding(), None);
}

#[test]
fn i6_a_transfer_for_an_envelope_that_does_not_exist_is_named() {
    let transfer = Transfer::send(&terms(), NEW_YEAR);
    let breach = envelope_missing(&transfer);
    assert_eq!((breach.invariant, breach.code), ("I6", "envelope_missing"));
    assert_eq!((breach.envelope_id, breach.user_id), (Some(terms().id), Some(sender().to_string())));
}
