//! What the database holds against the answers to the users.

use std::collections::HashMap;

use hongbao_load::Answered;
use serde::Serialize;

use super::history::History;
use super::scheme::Scheme;
use crate::prepare::{Opening, user_id};

/// An opening as it stands in the database.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The envelope's place in the plan.
    pub envelope: u32,
    pub user: String,
    /// Its place, from 1.
    pub seq: u32,
    pub amount_fen: i64,
    /// What was left after it, where the scheme writes that down.
    pub remaining_fen: i64,
}

/// What was found. Everything but `acknowledged` should be zero.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Audit {
    pub acknowledged: u64,
    /// Of these, those that the database does not have.
    pub lost: u64,
    pub lost_fen: i64,
    /// Those that it has with another amount or place.
    pub altered: u64,
    /// Openings in the database whose user was refused.
    pub never_told: u64,
    /// Envelopes that gave more shares or money than they had, or where what was
    /// opened and what remains is not what was paid.
    pub envelopes_broken: u64,
}

impl Audit {
    /// Whether every fen is where it should be.
    pub fn holds(&self) -> bool {
        *self == Audit { acknowledged: self.acknowledged, ..Audit::default() }
    }

    pub fn holds_but_for_losses(&self) -> bool {
        Audit { lost: 0, lost_fen: 0, ..self.clone() }.holds()
    }

    pub fn of(scheme: Scheme, history: &History, openings: &[Opening], entries: &[Entry], of_each: Paid) -> Audit {
        let mut audit = Audit::default();
        let stored: HashMap<(u32, &str), &Entry> =
            entries.iter().map(|entry| ((entry.envelope, entry.user.as_str()), entry)).collect();
        // A user has one share of an envelope; a second row would hide behind the first.
        audit.envelopes_broken += (entries.len() - stored.len()) as u64;
        for (index, opening) in openings.iter().enumerate() {
            let entry = stored.get(&(opening.envelope, user_id(opening.user).as_str())).copied();
            let Answered::Opened { seq, amount_fen, .. } = history.answer(index) else {
                audit.never_told += u64::from(history.answer(index) == Answered::Refused && entry.is_some());
                continue;
            };
            audit.acknowledged += 1;
            match entry {
                None => {
                    audit.lost += 1;
                    audit.lost_fen += amount_fen;
                }
                Some(entry) => audit.altered += u64::from((entry.seq, entry.amount_fen) != (seq, amount_fen)),
            }
        }
        audit.envelopes_broken += broken(scheme, entries, of_each);
        audit
    }
}

/// What each envelope was made with.
#[derive(Clone, Copy, Debug)]
pub struct Paid {
    pub shares: u32,
    pub total_fen: i64,
}

fn broken(scheme: Scheme, entries: &[Entry], paid: Paid) -> u64 {
    #[derive(Default)]
    struct Sum {
        shares: u32,
        fen: i64,
        last: u32,
        remaining_fen: i64,
    }
    let mut sums = HashMap::<u32, Sum>::new();
    for entry in entries {
        let sum = sums.entry(entry.envelope).or_default();
        sum.shares += 1;
        sum.fen += entry.amount_fen;
        if entry.seq > sum.last {
            sum.last = entry.seq;
            sum.remaining_fen = entry.remaining_fen;
        }
    }
    let is_broken = |sum: &&Sum| {
        let too_much = sum.shares > paid.shares || sum.fen > paid.total_fen;
        let journal = scheme.journals_the_rest();
        too_much || (journal && (sum.shares != sum.last || sum.fen + sum.remaining_fen != paid.total_fen))
    };
    sums.values().filter(is_broken).count() as u64
}

#[cfg(test)]
mod tests {
    use hongbao_load::Answer;

    use super::*;

    const PAID: Paid = Paid { shares: 3, total_fen: 30 };

    fn run(acknowledged: &[(u32, i64)]) -> (History, Vec<Opening>) {
        let mut history = History::new(4);
        for (index, (seq, fen)) in acknowledged.iter().enumerate() {
            let body = format!(r#"{{"outcome":"opened","amount_fen":{fen},"seq":{seq},"replayed":false}}"#);
            history.take(index, &Answer::of(200, body.as_bytes())).unwrap();
        }
        (history, (0..4).map(|user| Opening { user, envelope: 0 }).collect())
    }

    fn entry(user: u32, seq: u32, amount_fen: i64, remaining_fen: i64) -> Entry {
        Entry { envelope: 0, user: user_id(user), seq, amount_fen, remaining_fen }
    }

    #[test]
    fn what_was_told_and_is_stored_and_sums_up_holds() {
        let (history, openings) = run(&[(1, 12), (2, 8)]);
        let entries = [entry(0, 1, 12, 18), entry(1, 2, 8, 10)];
        let audit = Audit::of(Scheme::RowLock, &history, &openings, &entries, PAID);
        assert!(audit.holds() && audit.acknowledged == 2, "{audit:?}");
    }

    #[test]
    fn an_acknowledged_opening_that_is_not_stored_is_lost_with_its_money() {
        let (history, openings) = run(&[(1, 12), (2, 8)]);
        let audit = Audit::of(Scheme::MemoryFirst, &history, &openings, &[entry(0, 1, 12, 0)], PAID);
        assert_eq!((audit.lost, audit.lost_fen, audit.holds()), (1, 8, false));
    }

    #[test]
    fn money_that_does_not_add_up_breaks_its_envelope() {
        let (history, openings) = run(&[(1, 12), (2, 8)]);
        let broken = |scheme, entries: &[Entry]| Audit::of(scheme, &history, &openings, entries, PAID).envelopes_broken;
        let sound = [entry(0, 1, 12, 18), entry(1, 2, 8, 10)];
        assert_eq!(broken(Scheme::RowLock, &sound), 0);
        let a_fen_more_remains = [entry(0, 1, 12, 18), entry(1, 2, 8, 11)];
        let a_gap = [entry(0, 1, 12, 18), entry(1, 3, 8, 10)];
        let twice = [entry(0, 1, 12, 18), entry(0, 2, 8, 10)];
        for entries in [a_fen_more_remains, a_gap, twice] {
            assert_eq!(broken(Scheme::RowLock, &entries), 1, "{entries:?}");
        }
        // It writes no remainder: only that more was given than there was shows.
        let too_much = [entry(0, 1, 12, 0), entry(1, 2, 19, 0)];
        let too_many = [entry(0, 1, 1, 0), entry(1, 2, 1, 0), entry(2, 3, 1, 0), entry(3, 4, 1, 0)];
        assert_eq!([broken(Scheme::MemoryFirst, &too_much), broken(Scheme::MemoryFirst, &too_many)], [1, 1]);
    }

    #[test]
    fn another_amount_a_share_too_many_and_an_opening_of_the_refused_are_found() {
        let (mut history, openings) = run(&[(1, 12)]);
        let refused = history.take(1, &Answer::of(503, br#"{"code":"busy"}"#));
        assert!(refused.is_err());
        let entries = [entry(0, 1, 13, 17), entry(1, 2, 8, 9), entry(2, 3, 9, 0), entry(3, 4, 1, 0)];
        let audit = Audit::of(Scheme::RowLock, &history, &openings, &entries, PAID);
        assert_eq!((audit.altered, audit.never_told, audit.envelopes_broken), (1, 1, 1));
    }
}
