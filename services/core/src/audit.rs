//! The checks of the audit: pure functions from stored rows to what is broken.
//!
//! They recompute everything from the rows alone and trust no derived figure.
//!
//! What no rows can tell: entries that vanished from the end of a journal before
//! they were credited, and who opened an entry that is not credited yet. The
//! rows are then those of an envelope to which something else happened. Texts and
//! the audience are not checked, and of the terms of the draw (kind, shares, cap,
//! seed) only what they did to the amounts: of each of these there is one copy.

mod books;
mod findings;
mod orders;
mod sealed;
mod times;

use std::collections::{HashMap, HashSet};

use crate::envelope::{EntryKind, Kind, Stage};
use crate::id::EnvelopeId;
use crate::split;
use crate::transfer::{Transfer, TransferId, TransferKind};
use crate::user::UserId;

use self::findings::Findings;

pub use self::books::{Books, RunningBalance, account_missing, check_balance, check_sealed_balance, check_transfer};
pub use self::findings::{Breach, EnvelopeRows};
pub use self::orders::{check_order, ids_of_order, order_missing};
pub use self::sealed::{
    exported_file_wrong, manifest_broken, manifest_unreadable, sealed_month_changed, sealed_table_changed,
    sealed_table_missing, sealed_transfers_wrong,
};

/// Checks one envelope: I1, I2, I3, I6 and I7.
pub fn check_envelope(rows: &EnvelopeRows<'_>) -> Vec<Breach> {
    let mut found = Findings { envelope_id: rows.envelope.id, breaches: Vec::new() };
    check_journal(rows, &mut found);
    check_payment(rows, &mut found);
    check_credits(rows, &mut found);
    times::check(rows, &mut found);
    found.breaches
}

fn check_journal(rows: &EnvelopeRows<'_>, found: &mut Findings) {
    let envelope = rows.envelope;
    let (total, cap) = (envelope.total, envelope.share_cap);
    let divides = envelope.kind == Kind::Lucky || total.get() % i64::from(envelope.shares.max(1)) == 0;
    if !split::splits(total, envelope.shares, cap) || !divides {
        found.add("I7", "envelope_impossible", None, format!("{} fen in {} shares", total.get(), envelope.shares));
        return;
    }
    if matches!(envelope.stage, Stage::Created | Stage::Cancelled) && !rows.entries.is_empty() {
        found.add("I1", "opened_unpaid", None, format!("{} entries, but it was never paid", rows.entries.len()));
    }
    let mut users = HashSet::new();
    let mut remaining = total;
    for (expected_seq, entry) in (1_u32..).zip(rows.entries) {
        if entry.seq != expected_seq {
            let detail = format!("entry {expected_seq} is missing: the journal goes on with {}", entry.seq);
            found.add("I1", "entry_missing", None, detail);
            return;
        }
        if remaining.is_zero() {
            found.add("I1", "entry_after_end", None, format!("entry {} follows the last one", entry.seq));
            return;
        }
        match &entry.kind {
            EntryKind::Open(user) => {
                if !users.insert(user) {
                    found.add("I2", "user_twice", Some(user), format!("entry {} is the user's second", entry.seq));
                }
                let shares_left = envelope.shares.saturating_sub(entry.seq - 1);
                if split::splits(remaining, shares_left, cap) {
                    let drawn = envelope.share(entry.seq, remaining);
                    if entry.amount != drawn {
                        let detail =
                            format!("entry {} has {} fen, drawn were {}", entry.seq, entry.amount.get(), drawn.get());
                        found.add("I7", "amount_wrong", Some(user), detail);
                    }
                }
            }
            EntryKind::Refund if entry.amount != remaining => {
                let detail = format!("{} fen refunded of {}", entry.amount.get(), remaining.get());
                found.add("I1", "refund_wrong", None, detail);
            }
            EntryKind::Refund => {}
        }
        if remaining.checked_sub(entry.amount) != Some(entry.remaining) {
            let detail = format!(
                "entry {}: {} fen before it, less {}, leaves {}",
                entry.seq,
                remaining.get(),
                entry.amount.get(),
                entry.remaining.get()
            );
            found.add("I1", "remaining_wrong", None, detail);
        }
        remaining = entry.remaining;
    }
    if envelope.settled_seq as usize > rows.entries.len() {
        let detail = format!("settled up to {}, but the journal has {}", envelope.settled_seq, rows.entries.len());
        found.add("I1", "entry_missing", None, detail);
    }
    if envelope.stage == Stage::Settled && !remaining.is_zero() {
        found.add("I1", "closed_with_money", None, format!("settled, but {} fen remain", remaining.get()));
    }
}

fn check_payment(rows: &EnvelopeRows<'_>, found: &mut Findings) {
    let envelope = rows.envelope;
    let mut payments = rows.transfers.iter().filter(|transfer| transfer.id == TransferId::Envelope(envelope.id, 0));
    let payment = payments.next();
    if let Some(second) = payments.next() {
        found.add("I1", "payment_doubled", Some(&second.user), format!("{} fen moved again", second.amount.get()));
    }
    if let Some(payment) = payment {
        let due = match payment.kind {
            TransferKind::Cancel => Transfer::cancel(envelope, payment.at),
            _ => Transfer::send(envelope, payment.at),
        };
        if *payment != due {
            let detail = format!(
                "{} moved {} fen as {:?}, due were {} of {}",
                payment.user,
                payment.amount.get(),
                payment.kind,
                due.amount.get(),
                due.user
            );
            found.add("I1", "payment_wrong", Some(&payment.user), detail);
        }
    }
    let paid = payment.is_some_and(|payment| payment.kind == TransferKind::Send);
    match envelope.stage {
        Stage::Active | Stage::Settled if !paid => {
            found.add("I1", "payment_missing", Some(&envelope.sender), "open for business, but not paid".to_owned());
        }
        Stage::Cancelled if paid => {
            found.add("I1", "payment_lost", Some(&envelope.sender), "paid, but cancelled".to_owned());
        }
        Stage::Cancelled if payment.is_none() => {
            let detail = "cancelled, but it could still be paid".to_owned();
            found.add("I1", "cancel_missing", Some(&envelope.sender), detail);
        }
        // Paid and not yet active is the state between two steps of a payment.
        _ => {}
    }
}

fn check_credits(rows: &EnvelopeRows<'_>, found: &mut Findings) {
    let envelope = rows.envelope;
    let mut credits: HashMap<u32, &Transfer> = HashMap::new();
    for transfer in rows.transfers {
        if let TransferId::Envelope(_, seq @ 1..) = transfer.id
            && credits.insert(seq, transfer).is_some()
        {
            found.add("I6", "credit_doubled", Some(&transfer.user), format!("entry {seq} is credited twice"));
        }
    }
    for entry in rows.entries {
        let due = Transfer::credit(entry, &envelope.sender);
        match credits.remove(&entry.seq) {
            Some(credit) if *credit == due => {}
            Some(credit) if (credit.kind, &credit.user, credit.amount) == (due.kind, &due.user, due.amount) => {
                let detail = format!("entry {} is of {}, its credit of {}", entry.seq, entry.at, credit.at);
                found.add("I3", "entry_time_wrong", Some(&credit.user), detail);
            }
            Some(credit) => {
                let detail = format!(
                    "entry {}: {} got {} fen, {} is owed {}",
                    entry.seq,
                    credit.user,
                    credit.amount.get(),
                    due.user,
                    due.amount.get()
                );
                found.add("I6", "credit_wrong", Some(&credit.user), detail);
            }
            None if entry.seq <= envelope.settled_seq || envelope.stage == Stage::Settled => {
                let detail =
                    format!("entry {}: {} fen are called settled, but were not credited", entry.seq, due.amount.get());
                found.add("I6", "credit_missing", Some(&due.user), detail);
            }
            // Not credited yet: the worker will come to it.
            None => {}
        }
    }
    if credits.is_empty() {
        return;
    }
    // What is left was credited for no entry: a second time for the same user, or for nothing.
    // Of a journal that is being credited this may be much, so each side is gone through once.
    let mut strays: Vec<_> = credits.into_iter().collect();
    strays.sort_by_key(|(seq, _)| *seq);
    let mut never_due: HashSet<(TransferKind, UserId)> =
        strays.iter().map(|(_, stray)| (stray.kind, stray.user.clone())).collect();
    for entry in rows.entries {
        let due = Transfer::credit(entry, &envelope.sender);
        never_due.remove(&(due.kind, due.user));
    }
    for (seq, stray) in strays {
        let again = !never_due.contains(&(stray.kind, stray.user.clone()));
        let code = if again { "credit_doubled" } else { "credit_without_entry" };
        let detail = format!("{} fen were credited for entry {seq}, which does not exist", stray.amount.get());
        found.add("I6", code, Some(&stray.user), detail);
    }
}

/// Entries of an envelope that does not exist (I1).
pub fn entry_without_envelope(id: EnvelopeId, place: &str) -> Breach {
    Breach {
        invariant: "I1",
        code: "entry_without_envelope",
        envelope_id: Some(id),
        user_id: None,
        detail: format!("{place} has entries of an envelope that does not lie there"),
    }
}

/// A transfer that names an envelope which does not exist (I6).
pub fn envelope_missing(transfer: &Transfer) -> Breach {
    Breach {
        invariant: "I6",
        code: "envelope_missing",
        envelope_id: transfer.id.envelope_id(),
        user_id: Some(transfer.user.to_string()),
        detail: format!("{} fen moved for an envelope that does not exist", transfer.amount.get()),
    }
}

/// An envelope that lies where its id does not lead: who follows the id
/// finds none, or another one, and so it may have two orders (I5). `code` is
/// `wrong_set` or `wrong_table`.
pub fn misplaced(code: &'static str, id: EnvelopeId, detail: String) -> Breach {
    Breach { invariant: "I5", code, envelope_id: Some(id), user_id: None, detail }
}

/// Rows that cannot be read, so that it is unknown what became of their money (I1).
pub fn unreadable(envelope_id: Option<EnvelopeId>, detail: String) -> Breach {
    Breach { invariant: "I1", code: "unreadable", envelope_id, user_id: None, detail }
}
