//! When things happened: what the rows say of it, held against one another.
//!
//! Some of it is exact, because one process wrote two rows from one look at its
//! clock: a credit has the time of its entry, an expiry is the payment's time and
//! the lifetime, an opening was decided before the expiry and a refund after it.
//! The rest may come from the clocks of different machines, which differ and are
//! set right now and then: it may be off by [`AUDIT_CLOCKS_APART_MS_MAX`].

use crate::envelope::{EntryKind, Stage};
use crate::limits::{AUDIT_CLOCKS_APART_MS_MAX, ID_AGE_DAYS_MAX, ID_AHEAD_MS_MAX, LIFETIME_S_CEILING};
use crate::time::Timestamp;
use crate::transfer::{Transfer, TransferId, TransferKind};

use super::findings::{EnvelopeRows, Findings};

pub(super) fn check(rows: &EnvelopeRows<'_>, found: &mut Findings) {
    let payment = rows.transfers.iter().find(|transfer| transfer.id == TransferId::Envelope(rows.envelope.id, 0));
    check_row(rows, found);
    check_expiry(rows, payment, found);
    check_payment(rows, payment, found);
    check_entries(rows, payment, found);
}

/// Servers take an id from a little ahead of their clock until it is too old.
fn taken_between(rows: &EnvelopeRows<'_>) -> std::ops::RangeInclusive<Timestamp> {
    let minted_at = rows.envelope.id.minted_at();
    minted_at.plus_millis(-ID_AHEAD_MS_MAX)..=minted_at.plus_millis(ID_AGE_DAYS_MAX * 86_400_000)
}

fn check_row(rows: &EnvelopeRows<'_>, found: &mut Findings) {
    let envelope = rows.envelope;
    if !taken_between(rows).contains(&envelope.created_at) {
        let detail = format!("created at {}, but its id is of {}", envelope.created_at, envelope.id.minted_at());
        found.add("I3", "created_at_wrong", None, detail);
    }
    if !(0..=i64::from(LIFETIME_S_CEILING) * 1_000).contains(&envelope.lifetime_ms) {
        found.add("I3", "lifetime_wrong", None, format!("it can be opened for {} ms", envelope.lifetime_ms));
    }
}

fn check_expiry(rows: &EnvelopeRows<'_>, payment: Option<&Transfer>, found: &mut Findings) {
    let envelope = rows.envelope;
    // Before the payment it is not read, and the payment writes it anew.
    if !matches!(envelope.stage, Stage::Active | Stage::Settled) {
        return;
    }
    // Another check reports that it was not paid.
    let Some(payment) = payment.filter(|payment| payment.kind == TransferKind::Send) else { return };
    let due = payment.at.plus_millis(envelope.lifetime_ms);
    if envelope.expires_at != Some(due) {
        let found_at = envelope.expires_at.map_or("never".to_owned(), |at| at.to_string());
        found.add("I3", "expiry_wrong", None, format!("it expires {found_at}, due was {due}"));
    }
}

fn check_payment(rows: &EnvelopeRows<'_>, payment: Option<&Transfer>, found: &mut Findings) {
    let Some(payment) = payment else { return };
    let is_early = payment.at < rows.envelope.created_at.plus_millis(-AUDIT_CLOCKS_APART_MS_MAX);
    // A cancel comes whenever a worker runs.
    let is_late = payment.kind != TransferKind::Cancel && payment.at > *taken_between(rows).end();
    if is_early || is_late {
        let detail = format!("{:?} at {}, but created at {}", payment.kind, payment.at, rows.envelope.created_at);
        found.add("I3", "payment_time_wrong", Some(&payment.user), detail);
    }
}

fn check_entries(rows: &EnvelopeRows<'_>, payment: Option<&Transfer>, found: &mut Findings) {
    let envelope = rows.envelope;
    let mut latest = payment.map_or(envelope.created_at, |payment| payment.at);
    for entry in rows.entries {
        let (user, in_time) = match (&entry.kind, envelope.expires_at) {
            (EntryKind::Open(user), expires_at) => (user, expires_at.is_none_or(|expires_at| entry.at < expires_at)),
            (EntryKind::Refund, expires_at) => {
                (&envelope.sender, expires_at.is_none_or(|expires_at| entry.at >= expires_at))
            }
        };
        if !in_time || entry.at < latest.plus_millis(-AUDIT_CLOCKS_APART_MS_MAX) {
            let detail = format!("entry {} is of {}, after one of {latest}", entry.seq, entry.at);
            found.add("I3", "entry_time_wrong", Some(user), detail);
        } else {
            latest = latest.max(entry.at);
        }
    }
}
