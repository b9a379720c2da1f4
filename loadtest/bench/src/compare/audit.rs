//! What a scheme's record holds against the answers to the users.

use std::collections::{HashMap, HashSet};

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

/// The shares of an envelope that no user has, of a scheme that stores them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Free {
    pub shares: u32,
    pub fen: i64,
}

/// What a scheme's record holds of a run's envelopes.
#[derive(Clone, Debug)]
pub struct Stored {
    pub entries: Vec<Entry>,
    /// Of each envelope, in the plan's order, where the scheme stores its shares ahead.
    pub free: Option<Vec<Free>>,
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

    pub fn of(scheme: Scheme, history: &History, openings: &[Opening], stored: &Stored, of_each: Paid) -> Audit {
        let Stored { entries, free } = stored;
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
        audit.envelopes_broken += broken(scheme, entries, free.as_deref(), of_each);
        audit
    }
}

/// What each envelope was made with.
#[derive(Clone, Copy, Debug)]
pub struct Paid {
    pub shares: u32,
    pub total_fen: i64,
}

fn broken(scheme: Scheme, entries: &[Entry], free: Option<&[Free]>, paid: Paid) -> u64 {
    #[derive(Default)]
    struct Sum {
        seqs: HashSet<u32>,
        shares: u32,
        fen: i64,
        last: u32,
        remaining_fen: i64,
    }
    let mut sums = HashMap::<u32, Sum>::new();
    for entry in entries {
        let sum = sums.entry(entry.envelope).or_default();
        sum.seqs.insert(entry.seq);
        sum.shares += 1;
        sum.fen += entry.amount_fen;
        if entry.seq > sum.last {
            sum.last = entry.seq;
            sum.remaining_fen = entry.remaining_fen;
        }
    }
    // Where shares are stored, those of an envelope that has no entry can be wrong, too.
    for place in 0..free.map_or(0, <[Free]>::len) {
        sums.entry(place as u32).or_default();
    }
    let is_broken = |(place, sum): &(&u32, &Sum)| {
        let too_much = sum.shares > paid.shares || sum.fen > paid.total_fen;
        let journal =
            scheme.journals_the_rest() && (sum.shares != sum.last || sum.fen + sum.remaining_fen != paid.total_fen);
        let split = free.is_some_and(|free| {
            let Free { shares, fen } = free[**place as usize];
            sum.shares + shares != paid.shares || sum.fen + fen != paid.total_fen
        });
        too_much || sum.seqs.len() != sum.shares as usize || journal || split
    };
    sums.iter().filter(is_broken).count() as u64
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

    fn stored(entries: &[Entry]) -> Stored {
        Stored { entries: entries.to_vec(), free: None }
    }

    fn entry(user: u32, seq: u32, amount_fen: i64, remaining_fen: i64) -> Entry {
        Entry { envelope: 0, user: user_id(user), seq, amount_fen, remaining_fen }
    }

    #[test]
    fn what_was_told_and_is_stored_and_sums_up_holds() {
        let (history, openings) = run(&[(1, 12), (2, 8)]);
        let entries = [entry(0, 1, 12, 18), entry(1, 2, 8, 10)];
        let audit = Audit::of(Scheme::RowLock, &history, &openings, &stored(&entries), PAID);
        assert!(audit.holds() && audit.acknowledged == 2, "{audit:?}");
    }

    #[test]
    fn an_acknowledged_opening_that_is_not_stored_is_lost_with_its_money() {
        let (history, openings) = run(&[(1, 12), (2, 8)]);
        let audit = Audit::of(Scheme::MemoryFirst, &history, &openings, &stored(&[entry(0, 1, 12, 0)]), PAID);
        assert_eq!((audit.lost, audit.lost_fen, audit.holds()), (1, 8, false));
    }

    #[test]
    fn money_that_does_not_add_up_breaks_its_envelope() {
        let (history, openings) = run(&[(1, 12), (2, 8)]);
        let broken =
            |scheme, entries: &[Entry]| Audit::of(scheme, &history, &openings, &stored(entries), PAID).envelopes_broken;
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
    fn shares_that_were_split_ahead_are_taken_or_free_and_none_twice() {
        let (history, openings) = run(&[(1, 12), (3, 8)]);
        let broken = |entries: &[Entry], shares, fen| {
            let stored = Stored { entries: entries.to_vec(), free: Some(vec![Free { shares, fen }]) };
            Audit::of(Scheme::Presplit, &history, &openings, &stored, PAID).envelopes_broken
        };
        // A kill may leave a gap: what was locked is free again.
        let sound = [entry(0, 1, 12, 0), entry(1, 3, 8, 0)];
        assert_eq!([broken(&sound, 1, 10), broken(&[], 3, 30)], [0, 0]);
        assert_eq!([broken(&sound, 1, 11), broken(&sound, 0, 10), broken(&[], 2, 20)], [1, 1, 1]);
        let twice = [entry(0, 1, 12, 0), entry(1, 1, 8, 0)];
        assert_eq!(broken(&twice, 1, 10), 1);
    }

    #[test]
    fn another_amount_a_share_too_many_and_an_opening_of_the_refused_are_found() {
        let (mut history, openings) = run(&[(1, 12)]);
        let refused = history.take(1, &Answer::of(503, br#"{"code":"busy"}"#));
        assert!(refused.is_err());
        let entries = [entry(0, 1, 13, 17), entry(1, 2, 8, 9), entry(2, 3, 9, 0), entry(3, 4, 1, 0)];
        let audit = Audit::of(Scheme::RowLock, &history, &openings, &stored(&entries), PAID);
        assert_eq!((audit.altered, audit.never_told, audit.envelopes_broken), (1, 1, 1));
    }
}
