//! What the outside world knows: what it asked for, and what it was told.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use hongbao_core::request::CreateEnvelope;
use hongbao_core::wire::{Detail, Outcome};
use hongbao_core::{Entry, EntryKind, Envelope, EnvelopeId, Fen, Stage, State, UserId};

/// The outside world's memory of one seed.
#[derive(Default)]
pub struct Model {
    pub envelopes: Vec<EnvelopeId>,
    pub of: HashMap<EnvelopeId, Known>,
    pub senders: Vec<UserId>,
    pub openers: Vec<UserId>,
}

/// What is known of one envelope.
pub struct Known {
    pub sender: UserId,
    pub total: Fen,
    pub shares: u32,
    /// What it was asked for with.
    pub request: CreateEnvelope,
    /// The create was acknowledged, or it was shown.
    pub exists: bool,
    /// A payment was acknowledged, or it was shown to be paid for.
    pub paid: bool,
    /// Acknowledged openings: amount and seq.
    pub opened: BTreeMap<UserId, (Fen, u32)>,
    /// Openings that anybody was shown, by seq.
    pub shown: BTreeMap<u32, (UserId, Fen)>,
    /// Users who got the answer that it is empty.
    pub answered_empty: BTreeSet<UserId>,
    /// Users who got the answer that it has expired.
    pub answered_expired: BTreeSet<UserId>,
}

/// What each user should have.
pub type Balances = BTreeMap<UserId, i64>;

impl Known {
    /// It was asked for, and nothing is known but that.
    pub fn asked(sender: UserId, request: CreateEnvelope, total: Fen, shares: u32) -> Known {
        Known {
            sender,
            total,
            shares,
            request,
            exists: false,
            paid: false,
            opened: BTreeMap::new(),
            shown: BTreeMap::new(),
            answered_empty: BTreeSet::new(),
            answered_expired: BTreeSet::new(),
        }
    }

    /// The row and the journal of a settled envelope agree with what was acknowledged; their money goes into `balances`.
    pub fn check(&self, id: EnvelopeId, envelope: &Envelope, entries: &[Entry], balances: &mut Balances) {
        if self.paid {
            assert_eq!(envelope.stage, Stage::Settled, "{id} was paid and is not settled");
        }
        assert!(matches!(envelope.stage, Stage::Settled | Stage::Cancelled), "{id} is {:?}", envelope.stage);
        let moved: i64 = entries.iter().map(|entry| entry.amount.get()).sum();
        if envelope.stage == Stage::Settled {
            assert_eq!(moved, self.total.get(), "I1: opened + refunded of {id}");
            *balances.entry(self.sender.clone()).or_default() -= self.total.get();
        }
        for (user, (amount, seq)) in &self.opened {
            let entry = &entries[*seq as usize - 1];
            assert_eq!((&entry.kind, entry.amount), (&EntryKind::Open(user.clone()), *amount), "I3: {id}");
        }
        for (seq, (user, amount)) in &self.shown {
            let entry = entries.get(*seq as usize - 1).map(|entry| (&entry.kind, entry.amount));
            assert_eq!(entry, Some((&EntryKind::Open(user.clone()), *amount)), "I3: seq {seq} of {id} was shown");
        }
        for entry in entries {
            let payee = match &entry.kind {
                EntryKind::Open(user) => user.clone(),
                EntryKind::Refund => self.sender.clone(),
            };
            *balances.entry(payee).or_default() += entry.amount.get();
        }
    }
}

impl Model {
    /// Takes note of an acknowledged outcome, and checks it against what was told before.
    pub fn acknowledge(&mut self, id: EnvelopeId, user: &UserId, outcome: &Outcome) {
        let known = self.of.get_mut(&id).expect("only known envelopes are opened");
        match outcome {
            Outcome::Opened { amount_fen, seq, replayed, .. } => {
                match known.opened.get(user) {
                    Some(before) => {
                        assert_eq!(*before, (*amount_fen, *seq), "I2: a repeated open answers the same");
                        assert!(replayed, "I2: {user} was paid twice from {id}");
                    }
                    None => {
                        let taken = known.opened.values().any(|(_, other)| other == seq);
                        assert!(!taken, "I4: two users hold seq {seq} of {id}");
                        let refused = [&known.answered_empty, &known.answered_expired];
                        assert!(!refused.iter().any(|users| users.contains(user)), "I3: {user} had no share of {id}");
                        // A first acknowledgement may be a replay: the answer before it was lost.
                        assert!(
                            *replayed || known.answered_empty.is_empty(),
                            "I1: {id} was told to be empty, and then opened by {user}"
                        );
                        assert!(
                            *replayed || known.answered_expired.is_empty(),
                            "{id} was told to have expired, and then opened by {user}"
                        );
                    }
                }
                known.opened.insert(user.clone(), (*amount_fen, *seq));
                assert!(known.opened.len() <= known.shares as usize, "I1: {id} was opened too often");
                let sum: i64 = known.opened.values().map(|(amount, _)| amount.get()).sum();
                assert!(sum <= known.total.get(), "I1: more was opened than is in {id}");
            }
            Outcome::Empty => {
                known.answered_empty.insert(user.clone());
                assert!(known.answered_expired.is_empty(), "{id} had expired, and then was empty");
                assert!(!known.opened.contains_key(user), "I3: the opening of {user} was forgotten");
            }
            Outcome::Expired => {
                known.answered_expired.insert(user.clone());
                assert!(known.answered_empty.is_empty(), "{id} was empty, and then had expired");
                assert!(!known.opened.contains_key(user), "I3: the opening of {user} was forgotten");
            }
        }
    }

    /// Takes note of what somebody was shown.
    pub fn shown(&mut self, id: EnvelopeId, detail: &Detail) {
        let known = self.of.get_mut(&id).expect("only known envelopes are looked at");
        known.exists = true;
        known.paid |= !matches!(detail.envelope.state, State::Created | State::Cancelled);
        for open in &detail.opens {
            let shown = (open.user_id.clone(), open.amount_fen);
            let before = known.shown.entry(open.seq).or_insert_with(|| shown.clone());
            assert_eq!(*before, shown, "I3: seq {} of {id} was shown before", open.seq);
        }
    }
}
