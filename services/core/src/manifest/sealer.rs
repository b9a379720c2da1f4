//! What a table holds, from its rows in order.

use sha2::{Digest as _, Sha256};

use super::bytes::Bytes;
use super::content::Content;
use super::tie::Tie;
use crate::envelope::{Audience, Entry, EntryKind, Envelope, Kind, Stage};
use crate::id::EnvelopeId;
use crate::time::Timestamp;
use crate::transfer::Transfer;

/// Whether nothing will ever happen to an envelope again: its journal has ended, and
/// each entry has reached a balance.
fn is_closed(envelope: &Envelope, entries: &[Entry]) -> bool {
    let ended = entries.last().is_some_and(|last| last.remaining.is_zero() && last.seq == envelope.settled_seq);
    envelope.stage == Stage::Settled && ended && paid_at(envelope).is_some()
}

/// When a settled envelope was paid: its lifetime began then.
fn paid_at(envelope: &Envelope) -> Option<Timestamp> {
    envelope.expires_at.map(|expires_at| expires_at.plus_millis(-envelope.lifetime_ms))
}

/// Reads the rows of a table in the order of their ids, and says what it holds.
#[derive(Clone, Debug)]
pub struct Sealer {
    rows: Sha256,
    content: Content,
    not_closed: Option<EnvelopeId>,
}

impl Default for Sealer {
    fn default() -> Sealer {
        let content = Content {
            envelopes: 0,
            entries: 0,
            paid_fen: 0,
            opened_fen: 0,
            refunded_fen: 0,
            ends: None,
            rows_hash: [0; 32],
            tie: Tie::default(),
        };
        Sealer { rows: Sha256::new(), content, not_closed: None }
    }
}

impl Sealer {
    /// Takes the next envelope with its whole journal.
    pub fn add(&mut self, envelope: &Envelope, entries: &[Entry]) {
        if !is_closed(envelope, entries) {
            self.not_closed = self.not_closed.or(Some(envelope.id));
        }
        let mut bytes = Bytes::default();
        put_envelope(&mut bytes, envelope);
        let content = &mut self.content;
        content.envelopes += 1;
        content.paid_fen = content.paid_fen.saturating_add(envelope.total.get());
        content.ends = Some((content.ends.map_or(envelope.id, |(first, _)| first), envelope.id));
        if let Some(paid_at) = paid_at(envelope) {
            content.tie.add(&Transfer::send(envelope, paid_at));
        }
        for entry in entries {
            put_entry(&mut bytes, entry);
            content.entries += 1;
            let sum = match entry.kind {
                EntryKind::Open(_) => &mut content.opened_fen,
                EntryKind::Refund => &mut content.refunded_fen,
            };
            *sum = sum.saturating_add(entry.amount.get());
            content.tie.add(&Transfer::credit(entry, &envelope.sender));
        }
        self.rows.update(bytes.take());
    }

    /// Rows that were taken, envelopes and entries.
    pub fn rows(&self) -> u64 {
        self.content.envelopes + self.content.entries
    }

    /// The first envelope to which something may still happen. With one the table must not be sealed.
    pub fn not_closed(&self) -> Option<EnvelopeId> {
        self.not_closed
    }

    /// What the table holds, after its last row.
    pub fn content(&self) -> Content {
        Content { rows_hash: self.rows.clone().finalize().into(), ..self.content.clone() }
    }
}

/// Every column of an envelope's row.
fn put_envelope(bytes: &mut Bytes, envelope: &Envelope) {
    let Envelope { id, sender, kind, total, shares, share_cap, greeting, audience, seed, .. } = envelope;
    let kind: u8 = match kind {
        Kind::Lucky => 1,
        Kind::Equal => 2,
    };
    let stage: u8 = match envelope.stage {
        Stage::Created => 0,
        Stage::Active => 1,
        Stage::Cancelled => 2,
        Stage::Settled => 3,
    };
    let (audience, who): (u8, &str) = match audience {
        Audience::Link => (1, ""),
        Audience::Group(group) => (2, group.as_str()),
        Audience::User(user) => (3, user.as_str()),
    };
    bytes.number(1_u8).raw(id.as_bytes()).text(sender.as_str()).number(kind).signed(total.get()).number(*shares);
    bytes.signed(share_cap.get()).text(greeting).number(audience).text(who).raw(seed.as_bytes());
    bytes.signed(envelope.created_at.millis()).signed(envelope.lifetime_ms).number(stage);
    match envelope.expires_at {
        Some(at) => bytes.number(1_u8).signed(at.millis()),
        None => bytes.number(0_u8),
    };
    bytes.number(envelope.settled_seq);
}

/// Every column of an entry but its position, which is a hint and is not read.
fn put_entry(bytes: &mut Bytes, entry: &Entry) {
    let (kind, user): (u8, &str) = match &entry.kind {
        EntryKind::Open(user) => (1, user.as_str()),
        EntryKind::Refund => (2, ""),
    };
    bytes.number(2_u8).raw(entry.envelope_id.as_bytes()).number(entry.seq).number(kind).text(user);
    bytes.signed(entry.amount.get()).signed(entry.remaining.get()).signed(entry.at.millis());
}
