//! The life of an envelope: random lists of operations against a simple model.

use std::collections::HashMap;

use hongbao_core::envelope::OpenDecision;
use hongbao_core::{
    Audience, Entry, EntryKind, Envelope, Fen, GroupId, Journal, Kind, Opened, Stage, State, Timestamp,
};
use proptest::prelude::*;

use crate::sample::{self, LIFETIME_MS, NEW_YEAR, fen, sender, user};

#[derive(Clone, Debug)]
enum Op {
    Pay,
    Cancel,
    Open(u32),
    Refund,
    Wait(i64),
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        2 => Just(Op::Pay),
        1 => Just(Op::Cancel),
        12 => (0..12_u32).prop_map(Op::Open),
        2 => Just(Op::Refund),
        3 => prop_oneof![Just(1), Just(LIFETIME_MS), Just(LIFETIME_MS - 1), 0..LIFETIME_MS / 2].prop_map(Op::Wait),
    ];
    // Most lives begin with a payment, or there would be little to see.
    (any::<bool>(), proptest::collection::vec(op, 0..60)).prop_map(|(pays_first, mut ops)| {
        if pays_first {
            ops.insert(0, Op::Pay);
        }
        ops
    })
}

/// An envelope whose journal is kept by hand, as a store would, next to what
/// the model knows by its own means.
struct Life {
    envelope: Envelope,
    journal: Journal,
    entries: Vec<Entry>,
    now: Timestamp,
    opened: HashMap<u32, Opened>,
    refunded: bool,
}

impl Life {
    fn new(kind: Kind, total: i64, shares: u32, cap: i64) -> Life {
        let mut envelope = sample::envelope(kind, total, shares, cap);
        envelope.stage = Stage::Created;
        envelope.expires_at = None;
        let journal = Journal::new(envelope.total);
        Life { envelope, journal, entries: Vec::new(), now: NEW_YEAR, opened: HashMap::new(), refunded: false }
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Pay if self.envelope.stage == Stage::Created => {
                self.envelope.stage = Stage::Active;
                self.envelope.expires_at = Some(self.now.plus_millis(self.envelope.lifetime_ms));
            }
            Op::Cancel if self.envelope.stage == Stage::Created => self.envelope.stage = Stage::Cancelled,
            Op::Pay | Op::Cancel => {}
            Op::Wait(millis) => self.now = self.now.plus_millis(*millis),
            Op::Open(number) => self.open(*number),
            Op::Refund => self.refund(),
        }
    }

    /// The state as API.md describes it, told without looking at the journal.
    fn expected_state(&self) -> State {
        let in_time = self.envelope.expires_at.is_some_and(|expires_at| self.now < expires_at);
        match self.envelope.stage {
            Stage::Created => State::Created,
            Stage::Cancelled => State::Cancelled,
            _ if self.refunded => State::Refunded,
            _ if self.opened.len() as u32 == self.envelope.shares => State::Finished,
            _ if in_time => State::Active,
            _ => State::Expired,
        }
    }

    fn open(&mut self, number: u32) {
        let before = self.opened.get(&number);
        let decision = self.envelope.decide_open(&self.journal, before, &user(number), self.now);
        if let Some(opened) = before {
            assert_eq!(decision, OpenDecision::Replay(opened.clone()), "for ever the same answer");
            return;
        }
        match self.expected_state() {
            State::Created | State::Cancelled => assert_eq!(decision, OpenDecision::NotActive),
            State::Finished => assert_eq!(decision, OpenDecision::Empty),
            State::Expired | State::Refunded => assert_eq!(decision, OpenDecision::Expired),
            State::Active => {
                let OpenDecision::Append(entry) = decision else { panic!("an active envelope answers {decision:?}") };
                assert_eq!(entry.kind, EntryKind::Open(user(number)));
                assert!(entry.amount >= fen(1) && entry.amount <= self.envelope.share_cap);
                let opened = Opened { seq: entry.seq, amount: entry.amount, at: entry.at };
                self.append(entry);
                self.opened.insert(number, opened);
            }
        }
    }

    fn refund(&mut self) {
        let refund = self.envelope.decide_refund(&self.journal, self.now);
        assert_eq!(refund.is_some(), self.expected_state() == State::Expired, "only when expired, and only once");
        if let Some(entry) = refund {
            assert_eq!(entry.kind, EntryKind::Refund);
            assert_eq!(entry.amount, self.journal.remaining, "everything that is left");
            self.append(entry);
            self.refunded = true;
        }
    }

    fn append(&mut self, entry: Entry) {
        assert!(!self.journal.has_ended(), "no entry follows the last one");
        assert_eq!(entry.seq as usize, self.entries.len() + 1, "no gap");
        assert_eq!((entry.envelope_id, entry.at), (self.envelope.id, self.now));
        self.journal = Journal::after(&entry);
        self.entries.push(entry);
    }

    fn check(&self) {
        let paid_out: i64 = self.entries.iter().map(|entry| entry.amount.get()).sum();
        assert_eq!(paid_out + self.journal.remaining.get(), self.envelope.total.get(), "I1");
        let opens = self.entries.iter().filter(|entry| entry.kind != EntryKind::Refund).count();
        assert_eq!(opens, self.opened.len(), "I2: one opening a user");
        assert_eq!(self.envelope.state(&self.journal, self.now), self.expected_state());
        let ended = matches!(self.expected_state(), State::Finished | State::Refunded);
        let left = if ended { 0 } else { self.envelope.shares - opens as u32 };
        assert_eq!(self.envelope.shares_left(&self.journal), left);
        assert_eq!(self.journal.has_ended(), ended);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn i1_and_i2_hold_at_each_step_of_every_life(
        (total, shares, cap) in sample::terms(10),
        equal: bool,
        ops in ops(),
    ) {
        let kind = if equal { Kind::Equal } else { Kind::Lucky };
        let total = if equal { total - total % i64::from(shares) } else { total };
        let mut life = Life::new(kind, total, shares, cap);
        life.check();
        for op in &ops {
            life.apply(op);
            life.check();
        }
        // What was answered once is answered for ever, whatever became of the envelope.
        life.apply(&Op::Wait(100 * LIFETIME_MS));
        for number in life.opened.clone().into_keys() {
            life.open(number);
        }
    }

    #[test]
    fn an_opener_gets_what_the_place_draws_and_not_what_the_user_is((total, shares, cap) in sample::terms(10)) {
        let envelope = sample::envelope(Kind::Lucky, total, shares, cap);
        let journal = Journal::new(envelope.total);
        let amount = |number: u32, at: Timestamp| match envelope.decide_open(&journal, None, &user(number), at) {
            OpenDecision::Append(entry) => entry.amount,
            other => panic!("{other:?}"),
        };
        prop_assert_eq!(amount(1, NEW_YEAR), amount(2, NEW_YEAR.plus_millis(LIFETIME_MS - 1)));
    }
}

#[test]
fn the_last_millisecond_still_opens_and_the_next_one_refunds() {
    let envelope = sample::envelope(Kind::Equal, 100, 10, 20_000);
    let journal = Journal::new(envelope.total);
    let last = NEW_YEAR.plus_millis(LIFETIME_MS - 1);
    assert!(matches!(envelope.decide_open(&journal, None, &user(1), last), OpenDecision::Append(_)));
    assert_eq!(envelope.decide_refund(&journal, last), None);
    let expiry = last.plus_millis(1);
    assert_eq!(envelope.decide_open(&journal, None, &user(1), expiry), OpenDecision::Expired);
    assert_eq!(envelope.decide_refund(&journal, expiry).unwrap().amount, fen(100));
}

#[test]
fn a_settled_envelope_answers_as_before() {
    let rows = sample::Rows::settled(sample::envelope(Kind::Lucky, 100, 3, 20_000), 3);
    let journal = Journal::after(rows.entries.last().unwrap());
    let late = NEW_YEAR.plus_millis(9 * LIFETIME_MS);
    assert_eq!(rows.envelope.state(&journal, late), State::Finished);
    assert_eq!(rows.envelope.decide_open(&journal, None, &user(9), late), OpenDecision::Empty);
    assert_eq!(rows.envelope.decide_refund(&journal, late), None);

    let rows = sample::Rows::settled(sample::envelope(Kind::Lucky, 100, 3, 20_000), 2);
    let journal = Journal::after(rows.entries.last().unwrap());
    assert_eq!(rows.envelope.state(&journal, late), State::Refunded);
    assert_eq!(rows.envelope.decide_open(&journal, None, &user(9), late), OpenDecision::Expired);
}

#[test]
fn a_fold_of_the_last_entry_is_the_fold_of_the_journal() {
    let rows = sample::Rows::settled(sample::envelope(Kind::Lucky, 1_000, 5, 20_000), 4);
    let mut remaining = rows.envelope.total;
    for entry in &rows.entries {
        remaining = remaining.checked_sub(entry.amount).unwrap();
        let refunded = entry.kind == EntryKind::Refund;
        assert_eq!(Journal::after(entry), Journal { last_seq: entry.seq, remaining, refunded });
    }
    assert_eq!(remaining, Fen::ZERO);
}

#[test]
fn the_audience_and_the_sender_are_let_in() {
    let mut envelope = sample::envelope(Kind::Lucky, 100, 10, 20_000);
    let group = |name: &str| GroupId::parse(name).unwrap();
    assert!(envelope.admits(&user(1), &[]), "everybody with the link");

    envelope.audience = Audience::Group(group("family"));
    assert!(envelope.admits(&user(1), &[group("work"), group("family")]));
    assert!(!envelope.admits(&user(1), &[group("work")]));
    assert!(!envelope.admits(&user(1), &[]));
    assert!(envelope.admits(&sender(), &[]), "the sender may open it too");

    envelope.audience = Audience::User(user(2));
    assert!(envelope.admits(&user(2), &[]));
    assert!(!envelope.admits(&user(1), &[group("user_2")]));
    assert!(envelope.admits(&sender(), &[]));
}
