//! I4: openings have the order in which they were accepted.

use std::collections::{BTreeMap, HashMap};

use super::audit::Rule;
use super::history::{Answered, Told};
use super::request::Call;
use crate::outcome::Check;

/// Twice: by the clock of who asked, and by the order that servers report.
pub fn in_order(history: &[Told]) -> [Check; 2] {
    let mut by_clock = Rule::new("an opening that was answered before another was sent has the lower seq (I4)");
    let mut by_server = Rule::new("openings were committed in the order in which a server says it accepted them (I4)");
    let mut of_envelopes: BTreeMap<u32, Vec<(u32, &Told)>> = BTreeMap::new();
    for told in history {
        if let (Call::Open, Answered::Opened { seq, replayed: false, .. }) = (told.call, told.answer) {
            of_envelopes.entry(told.envelope).or_default().push((seq, told));
        }
    }
    for (envelope, mut opened) in of_envelopes {
        opened.sort_by_key(|(seq, _)| *seq);
        let mut first_answer_after = u64::MAX;
        for (seq, told) in opened.iter().rev() {
            by_clock.look(told.sent_us <= first_answer_after, || {
                format!("envelope {envelope}: seq {seq} was sent after a later one was answered")
            });
            first_answer_after = first_answer_after.min(told.answered_us);
        }
        let mut last: HashMap<u64, u64> = HashMap::new();
        for (seq, told) in opened {
            let Answered::Opened { accepted: Some(accepted), .. } = told.answer else { continue };
            let before = last.insert(accepted.lane, accepted.place);
            by_server.look(before.is_none_or(|before| before < accepted.place), || {
                format!("envelope {envelope}: seq {seq} was accepted before an earlier one")
            });
        }
    }
    [by_clock.0, by_server.0]
}

#[cfg(test)]
mod tests {
    use super::super::history::Accepted;
    use super::*;

    fn told(seq: u32, sent_us: u64, answered_us: u64, place: u64) -> Told {
        let accepted = Some(Accepted { lane: 1, place });
        let answer = Answered::Opened { seq, amount_fen: 1, replayed: false, accepted };
        Told { call: Call::Open, envelope: 0, user: seq, sent_us, answered_us, answer }
    }

    #[test]
    fn openings_in_their_order_pass() {
        let [clock, server] = in_order(&[told(2, 5, 9, 11), told(1, 0, 9, 10), told(3, 5, 8, 12)]);
        assert_eq!((clock.checked, clock.broken, server.checked, server.broken), (3, 0, 3, 0));
    }

    #[test]
    fn who_overtakes_is_found_by_either_clock() {
        let [clock, server] = in_order(&[told(1, 100, 110, 10), told(2, 50, 60, 9)]);
        assert_eq!((clock.broken, server.broken), (1, 1));
        assert!(clock.examples[0].contains("seq 1 was sent after"), "{}", clock.examples[0]);
    }
}
