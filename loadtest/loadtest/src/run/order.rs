//! I4: openings have the order in which they were accepted.

use std::collections::{BTreeMap, HashMap};

use hongbao_load::Answered;

use super::history::HistoryEvent;
use super::request::UserCall;
use super::rule::Rule;
use crate::outcome::Check;

pub struct Order {
    /// By the clock of who asked, and by the order that servers report. What is
    /// counted are openings that had another one to be compared with.
    pub checks: [Check; 2],
    /// What could not be checked.
    pub note: Option<String>,
}

/// Looks at the order in which openings were committed.
pub fn in_order(history: &[HistoryEvent]) -> Order {
    let (mut openings, mut silent) = (0_u64, 0_u64);
    let mut by_clock = Rule::new("an opening that was answered before another was sent has the lower seq (I4)");
    let mut by_server = Rule::new("openings were committed in the order in which a server says it accepted them (I4)");
    let mut of_envelopes: BTreeMap<u32, Vec<(u32, &HistoryEvent)>> = BTreeMap::new();
    for event in history {
        if let (UserCall::Open, Answered::Opened { seq, replayed: false, .. }) = (event.call, event.answer) {
            of_envelopes.entry(event.envelope).or_default().push((seq, event));
        }
    }
    for (envelope, mut opened) in of_envelopes {
        opened.sort_by_key(|(seq, _)| *seq);
        let mut first_answer_after: Option<u64> = None;
        for (seq, event) in opened.iter().rev() {
            if let Some(answered_us) = first_answer_after {
                by_clock.look(event.sent_us <= answered_us, || {
                    format!("envelope {envelope}: seq {seq} was sent after a later one was answered")
                });
            }
            first_answer_after =
                Some(first_answer_after.map_or(event.answered_us, |first| first.min(event.answered_us)));
        }
        openings += opened.len() as u64;
        let mut last: HashMap<u64, u64> = HashMap::new();
        for (seq, event) in opened {
            let Answered::Opened { accepted: Some(accepted), .. } = event.answer else {
                silent += 1;
                continue;
            };
            if let Some(before) = last.insert(accepted.lane, accepted.place) {
                by_server.look(before < accepted.place, || {
                    format!("envelope {envelope}: seq {seq} was accepted before an earlier one")
                });
            }
        }
    }
    let note = match silent {
        0 => None,
        _ if silent == openings => {
            Some("no server said in which order it accepted openings: I4 holds by the client's clock alone".to_owned())
        }
        _ => Some(format!(
            "of {silent} of {openings} openings no server said in which order it accepted them: there I4 holds by the client's clock alone"
        )),
    };
    Order { checks: [by_clock.0, by_server.0], note }
}

#[cfg(test)]
mod tests {
    use hongbao_load::Accepted;

    use super::*;

    fn event(seq: u32, sent_us: u64, answered_us: u64, place: u64) -> HistoryEvent {
        let accepted = Some(Accepted { lane: 1, place });
        let answer = Answered::Opened { seq, amount_fen: 1, replayed: false, accepted };
        HistoryEvent { call: UserCall::Open, envelope: 0, user: seq, sent_us, answered_us, answer }
    }

    #[test]
    fn openings_in_their_order_pass() {
        let order = in_order(&[event(2, 5, 9, 11), event(1, 0, 9, 10), event(3, 5, 8, 12)]);
        let [clock, server] = order.checks;
        let pairs = (clock.checked, clock.broken, server.checked, server.broken);
        assert_eq!((pairs, order.note), ((2, 0, 2, 0), None), "three openings make two pairs");
        let [clock, server] = in_order(&[event(1, 0, 9, 10)]).checks;
        assert_eq!((clock.checked, server.checked), (0, 0), "one alone has no order");
    }

    #[test]
    fn openings_without_a_servers_order_are_told_of() {
        let silent = |seq| {
            let answer = Answered::Opened { seq, amount_fen: 1, replayed: false, accepted: None };
            HistoryEvent { answer, ..event(seq, 0, 9, 0) }
        };
        let note = |history: &[HistoryEvent]| in_order(history).note.unwrap();
        assert!(note(&[event(1, 0, 9, 1), silent(2), silent(3)]).starts_with("of 2 of 3 openings no server said"));
        assert!(note(&[silent(1)]).starts_with("no server said"));
    }

    #[test]
    fn who_overtakes_is_found_by_either_clock() {
        let [clock, server] = in_order(&[event(1, 100, 110, 10), event(2, 50, 60, 9)]).checks;
        assert_eq!((clock.broken, server.broken), (1, 1));
        let [_, server] = in_order(&[event(1, 0, 9, 10), event(2, 0, 9, 10)]).checks;
        assert_eq!(server.broken, 1, "no two have the same place");
        assert!(clock.examples[0].contains("seq 1 was sent after"), "{}", clock.examples[0]);
    }
}
