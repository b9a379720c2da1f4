//! What one run credits, and how far that settles each envelope.

use std::collections::BTreeMap;

use hongbao_core::event::Note;
use hongbao_core::{Audience, Entry, Envelope, EnvelopeId, Transfer, TransferOutcome, UserId};
use hongbao_store::Settlement;

/// Who sent an envelope, and for whom it is.
#[derive(Clone, Debug)]
pub(super) struct Parties {
    pub sender: UserId,
    pub audience: Audience,
}

impl Parties {
    /// Those of an envelope.
    pub fn of(envelope: Envelope) -> Parties {
        Parties { sender: envelope.sender, audience: envelope.audience }
    }
}

/// Entries of one envelope, in order.
#[derive(Debug)]
pub(super) struct EnvelopeCredits {
    pub envelope_id: EnvelopeId,
    parties: Parties,
    pub entries: Vec<Entry>,
    /// The `settled_seq` that the entries follow, if they do: the settlement may move.
    pub settled_seq: Option<u32>,
}

impl EnvelopeCredits {
    pub fn credits(&self) -> impl Iterator<Item = Transfer> {
        self.entries.iter().map(|entry| Transfer::credit(entry, &self.parties.sender))
    }

    /// What is written of them into feeds.
    pub fn notes(&self) -> Vec<Note> {
        Note::of_entries(&self.parties.sender, &self.parties.audience, &self.entries)
    }

    /// How far the envelope is settled, given what became of each credit: up to
    /// the first that was refused, or that is not in the journal.
    pub fn settlement(&self, outcomes: &[TransferOutcome]) -> Option<Settlement> {
        let settled_seq = self.settled_seq?;
        let (last, _) = (settled_seq + 1..)
            .zip(self.entries.iter().zip(outcomes))
            .take_while(|(seq, (entry, outcome))| entry.seq == *seq && is_taken(**outcome))
            .last()?
            .1;
        Some(Settlement { envelope_id: self.envelope_id, settled_seq: last.seq, ended: last.remaining.is_zero() })
    }
}

/// Whether the money has reached the balance, now or before.
pub(super) fn is_taken(outcome: TransferOutcome) -> bool {
    matches!(outcome, TransferOutcome::Done | TransferOutcome::AlreadyDone)
}

/// What one run credits.
pub(super) struct Batch {
    capacity_left: u32,
    envelopes: BTreeMap<EnvelopeId, EnvelopeCredits>,
}

impl Batch {
    pub fn new(limit: u32) -> Batch {
        Batch { capacity_left: limit, envelopes: BTreeMap::new() }
    }

    /// Entries that still fit.
    pub fn capacity_left(&self) -> u32 {
        self.capacity_left
    }

    /// Whether this run has taken up the envelope.
    pub fn has(&self, envelope_id: EnvelopeId) -> bool {
        self.envelopes.contains_key(&envelope_id)
    }

    /// Whether there is anything to credit.
    pub fn has_entries(&self) -> bool {
        !self.envelopes.is_empty()
    }

    pub fn into_envelopes(self) -> Vec<EnvelopeCredits> {
        self.envelopes.into_values().collect()
    }

    /// Takes up entries of an envelope, in order; `settled_seq` where they follow it.
    pub fn add(&mut self, envelope_id: EnvelopeId, parties: Parties, entries: Vec<Entry>, settled_seq: Option<u32>) {
        if !entries.is_empty() {
            self.capacity_left = self.capacity_left.saturating_sub(entries.len() as u32);
            self.envelopes.insert(envelope_id, EnvelopeCredits { envelope_id, parties, entries, settled_seq });
        }
    }

    /// Continues an envelope that this run has taken up. False if a gap lies between.
    pub fn extend(&mut self, envelope_id: EnvelopeId, entries: &[Entry]) -> bool {
        let credits = self.envelopes.get_mut(&envelope_id).expect("the caller has seen that the batch has it");
        for entry in entries {
            let last_seq = credits.entries.last().map_or(0, |last| last.seq);
            if entry.seq > last_seq + 1 {
                return false;
            }
            if entry.seq == last_seq + 1 {
                credits.entries.push(entry.clone());
                self.capacity_left = self.capacity_left.saturating_sub(1);
            }
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use hongbao_core::{EntryKind, Fen, Timestamp};

    use super::*;

    fn id() -> EnvelopeId {
        EnvelopeId::mint(Timestamp::from_millis(1_771_254_000_000), [7; 10])
    }

    fn entries(seqs: impl IntoIterator<Item = u32>) -> Vec<Entry> {
        let user = UserId::parse("opener").unwrap();
        let entry = |seq| Entry {
            envelope_id: id(),
            seq,
            kind: EntryKind::Open(user.clone()),
            amount: Fen::new(1).unwrap(),
            remaining: Fen::new(10 - i64::from(seq)).unwrap(),
            at: Timestamp::from_millis(0),
        };
        seqs.into_iter().map(entry).collect()
    }

    fn batch(seqs: impl IntoIterator<Item = u32>, settled_seq: Option<u32>) -> Batch {
        let mut batch = Batch::new(20);
        let parties = Parties { sender: UserId::parse("sender").unwrap(), audience: Audience::Link };
        batch.add(id(), parties, entries(seqs), settled_seq);
        batch
    }

    #[test]
    fn an_envelope_in_the_batch_goes_on_without_a_gap() {
        let mut batch = batch(3..=5, Some(2));
        assert!(batch.extend(id(), &entries(4..=7)), "what it has is passed over");
        assert_eq!(batch.capacity_left(), 15);
        assert!(!batch.extend(id(), &entries([9])), "8 is missing");
        let seqs: Vec<u32> = batch.into_envelopes()[0].entries.iter().map(|entry| entry.seq).collect();
        assert_eq!(seqs, [3, 4, 5, 6, 7]);
    }

    #[test]
    fn a_settlement_ends_before_what_was_refused_or_is_missing() {
        use TransferOutcome::{AlreadyDone, Conflict, Done};
        let settled = |seqs: &[u32], settled_seq, outcomes: &[TransferOutcome]| {
            let credits = batch(seqs.iter().copied(), settled_seq).into_envelopes().remove(0);
            credits.settlement(outcomes).map(|settlement| (settlement.settled_seq, settlement.ended))
        };
        assert_eq!(settled(&[3, 4], Some(2), &[Done, AlreadyDone]), Some((4, false)));
        assert_eq!(settled(&[9, 10], Some(8), &[Done, Done]), Some((10, true)));
        assert_eq!(settled(&[3, 4, 5], Some(2), &[Done, Conflict, Done]), Some((3, false)));
        assert_eq!(settled(&[3, 4], Some(2), &[Conflict, Done]), None);
        assert_eq!(settled(&[3, 5], Some(2), &[Done, Done]), Some((3, false)));
        assert_eq!(settled(&[4], Some(2), &[Done]), None);
        assert_eq!(settled(&[3], None, &[Done]), None);
    }
}
