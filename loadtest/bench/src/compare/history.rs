//! What was answered, request by request, and how fair the order was.

use std::collections::HashMap;

use hongbao_load::{Answer, Answered};
use memchr::memmem;

use crate::prepare::Opening;
use crate::workload::Expect;

/// What became of each request of a run, in the order in which they were sent.
pub struct History(Vec<Answered>);

/// How often the order of sending was not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fairness {
    /// Pairs of openings of one envelope that stand next to each other in seq.
    pub pairs: u64,
    /// Of these, those whose earlier seq was sent later.
    pub inverted: u64,
    /// Of all openings but one in a hundred, how many later ones overtook it at most.
    pub overtaken_p99: u32,
}

impl History {
    /// Nothing known yet of so many requests.
    pub fn new(requests: usize) -> History {
        History(vec![Answered::Unknown; requests])
    }

    /// Takes an answer in. Refuses, by a label, what is not a first opening.
    pub fn take(&mut self, index: usize, answer: &Answer<'_>) -> Result<(), String> {
        if let Err(label) = Expect::Opened.check(answer) {
            // After these it is not known what happened.
            if !matches!(answer.status, 500 | 502 | 504) {
                self.0[index] = Answered::Refused;
            }
            return Err(label);
        }
        let number = |name: &[u8]| number_after(answer.body, name);
        let (Some(seq), Some(amount_fen)) = (number(b"\"seq\":"), number(b"\"amount_fen\":")) else {
            return Err("200 without seq or amount".into());
        };
        let amount_fen = i64::from(amount_fen);
        self.0[index] = Answered::Opened { seq, amount_fen, replayed: false, accepted: None };
        Ok(())
    }

    /// What was answered to the request at `index`.
    pub fn answer(&self, index: usize) -> Answered {
        self.0[index]
    }

    /// Acknowledged openings so far.
    pub fn opened(&self) -> u64 {
        self.0.iter().filter(|answer| matches!(answer, Answered::Opened { .. })).count() as u64
    }

    /// Envelopes of which at least one opening was acknowledged.
    pub fn envelopes_opened(&self, openings: &[Opening]) -> usize {
        self.by_envelope(openings).len()
    }

    /// Compares the order of seq with the order of sending, envelope by envelope.
    pub fn fairness(&self, openings: &[Opening]) -> Fairness {
        let mut fairness = Fairness::default();
        let mut overtaken = Vec::new();
        for mut places in self.by_envelope(openings).into_values() {
            places.sort_unstable();
            fairness.pairs += places.len() as u64 - 1;
            fairness.inverted += places.windows(2).filter(|pair| pair[0].1 > pair[1].1).count() as u64;
            let mut sent: Vec<usize> = places.iter().map(|(_, index)| *index).collect();
            sent.sort_unstable();
            overtaken.extend(places.iter().enumerate().map(|(place, (_, index))| {
                let turn = sent.binary_search(index).expect("the list holds each of them");
                place.saturating_sub(turn) as u32
            }));
        }
        overtaken.sort_unstable();
        fairness.overtaken_p99 = overtaken.get(overtaken.len() * 99 / 100).copied().unwrap_or(0);
        fairness
    }

    /// Of each envelope its openings, as (seq, place in the order of sending).
    fn by_envelope(&self, openings: &[Opening]) -> HashMap<u32, Vec<(u32, usize)>> {
        let mut places = HashMap::<u32, Vec<(u32, usize)>>::new();
        for (index, (opening, answer)) in openings.iter().zip(&self.0).enumerate() {
            if let Answered::Opened { seq, .. } = answer {
                places.entry(opening.envelope).or_default().push((*seq, index));
            }
        }
        places
    }
}

/// The number that follows `name`. Searches for text only: parsing each answer
/// would cost the generator more than sending the request.
fn number_after(body: &[u8], name: &[u8]) -> Option<u32> {
    let digits = &body[memmem::find(body, name)? + name.len()..];
    let end = digits.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(digits.len());
    std::str::from_utf8(&digits[..end]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(seqs: &[(u32, u32)]) -> (History, Vec<Opening>) {
        let mut history = History::new(seqs.len());
        let openings =
            seqs.iter().enumerate().map(|(user, (envelope, _))| Opening { user: user as u32, envelope: *envelope });
        for (index, (_, seq)) in seqs.iter().enumerate() {
            let body = format!(r#"{{"outcome":"opened","amount_fen":7,"seq":{seq},"replayed":false}}"#);
            history.take(index, &Answer::of(200, body.as_bytes())).unwrap();
        }
        (history, openings.collect())
    }

    #[test]
    fn who_is_served_in_the_order_of_sending_is_treated_fairly() {
        let (history, openings) = events(&[(0, 1), (1, 1), (0, 2), (1, 2), (0, 3)]);
        assert_eq!(history.fairness(&openings), Fairness { pairs: 3, inverted: 0, overtaken_p99: 0 });
        assert_eq!((history.opened(), history.envelopes_opened(&openings)), (5, 2));
        let fifth = Answered::Opened { seq: 3, amount_fen: 7, replayed: false, accepted: None };
        assert_eq!(history.answer(4), fifth);
    }

    #[test]
    fn who_is_overtaken_is_counted_once_as_a_pair_and_with_how_many_came_before() {
        // The first that was sent is served last.
        let (history, openings) = events(&[(0, 4), (0, 1), (0, 2), (0, 3)]);
        assert_eq!(history.fairness(&openings), Fairness { pairs: 3, inverted: 1, overtaken_p99: 3 });
        // The other way round altogether.
        let (history, openings) = events(&[(0, 3), (0, 2), (0, 1)]);
        assert_eq!(history.fairness(&openings), Fairness { pairs: 2, inverted: 2, overtaken_p99: 2 });
    }

    #[test]
    fn a_refusal_is_remembered_as_such_and_an_unknown_outcome_is_not() {
        let mut history = History::new(3);
        let mut take = |index, status, body: &str| history.take(index, &Answer::of(status, body.as_bytes()));
        assert_eq!(take(0, 503, r#"{"code":"busy"}"#), Err("503 busy".into()));
        assert_eq!(take(1, 504, r#"{"code":"outcome_unknown"}"#), Err("504 outcome_unknown".into()));
        assert!(take(2, 200, r#"{"outcome":"opened","replayed":false}"#).is_err());
        use Answered::{Refused, Unknown};
        assert_eq!([0, 1, 2].map(|index| history.answer(index)), [Refused, Unknown, Unknown]);
        assert_eq!(history.opened(), 0);
    }
}
