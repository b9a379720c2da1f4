//! The audit that closes a run: what the harness was told against what the
//! service says now. It trusts neither the other side nor itself: journals and
//! balances are asked for over HTTP and compared with the history.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde::Deserialize;

use super::history::{Answered, Told};
use super::people::People;
use super::plan::Plan;
use crate::arena::Arena;
use crate::outcome::Check;
use crate::{Fallible, interrupt};

/// Openings that a page of the detail holds.
const PAGE: u32 = 500;
/// Broken things that are shown by name.
const EXAMPLES_MAX: usize = 10;
/// How long balances may take to come right once everything is credited.
const BALANCES_WITHIN: Duration = Duration::from_secs(300);
/// Between two looks at them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// What is audited.
pub struct Books<'a> {
    /// What was to be done.
    pub plan: &'a Plan,
    /// Who took part.
    pub people: &'a People,
    /// The ids of the envelopes that came to be.
    pub envelopes: &'a [Option<String>],
    /// What was said to each request to open.
    pub history: &'a [Told],
    /// What each user was topped up with, in fen.
    pub top_ups: &'a BTreeMap<u32, i64>,
}

/// An envelope as the service shows it.
struct Shown {
    state: String,
    total_fen: i64,
    remaining_fen: i64,
    /// By seq: who, and how much.
    opens: Vec<(u32, String, i64)>,
}

/// Everything that was said to one user about one envelope.
#[derive(Default)]
struct Said {
    opened: Vec<(u32, i64)>,
    unknown: bool,
}

/// A rule, while it is checked.
struct Rule(Check);

impl Rule {
    fn new(words: &str) -> Rule {
        Rule(Check { rule: words.to_owned(), checked: 0, broken: 0, examples: Vec::new() })
    }

    /// Looks at one thing; `why` names it if it is broken.
    fn look(&mut self, holds: bool, why: impl FnOnce() -> String) {
        self.0.checked += 1;
        if !holds {
            self.0.broken += 1;
            if self.0.examples.len() < EXAMPLES_MAX {
                self.0.examples.push(why());
            }
        }
    }
}

impl Books<'_> {
    /// Checks every rule.
    ///
    /// # Errors
    /// When the service does not answer what is needed: nothing is known then.
    pub fn audit(&self) -> Fallible<Vec<Check>> {
        let shown = self.read_envelopes()?;
        let said = self.said();
        let mut checks = vec![
            self.acknowledged(&shown, &said),
            self.nothing_else(&shown, &said),
            self.conserved(&shown),
            self.once_each(&shown),
        ];
        checks.push(self.settled(&shown, &said)?);
        checks.extend(in_order(self.history));
        checks.extend(self.balances()?);
        Ok(checks)
    }

    fn said(&self) -> HashMap<(u32, u32), Said> {
        let mut said: HashMap<(u32, u32), Said> = HashMap::new();
        for told in self.history {
            let said = said.entry((told.envelope, told.user)).or_default();
            match told.answer {
                Answered::Opened { seq, amount_fen, .. } => said.opened.push((seq, amount_fen)),
                Answered::Unknown => said.unknown = true,
                Answered::Nothing | Answered::Refused => (),
            }
        }
        said
    }

    /// I3: what was acknowledged is there, as it was acknowledged.
    fn acknowledged(&self, shown: &[Option<Shown>], said: &HashMap<(u32, u32), Said>) -> Check {
        let mut rule = Rule::new("an acknowledged opening exists once, with the amount that was told");
        let journals: Vec<HashMap<(&str, u32), i64>> = shown
            .iter()
            .map(|shown| {
                let opens = shown.iter().flat_map(|shown| &shown.opens);
                opens.map(|(seq, user, amount)| ((user.as_str(), *seq), *amount)).collect()
            })
            .collect();
        for ((envelope, user), said) in said {
            for (seq, amount_fen) in &said.opened {
                let id = self.people.id(*user);
                let found = journals[*envelope as usize].get(&(id.as_str(), *seq));
                rule.look(found == Some(amount_fen), || {
                    let name = self.name(*envelope);
                    format!("{name}: {id} was told {amount_fen} fen as seq {seq}, the journal has {found:?}")
                });
            }
        }
        rule.0
    }

    /// Nothing happened to whom nothing was promised.
    fn nothing_else(&self, shown: &[Option<Shown>], said: &HashMap<(u32, u32), Said>) -> Check {
        let mut rule = Rule::new("what was refused, or never asked for, does not exist");
        for (envelope, shown) in shown.iter().enumerate() {
            for (seq, id, amount_fen) in shown.iter().flat_map(|shown| &shown.opens) {
                let said = self.people.number(id).and_then(|user| said.get(&(envelope as u32, user)));
                let may_exist = said.is_some_and(|said| said.unknown || !said.opened.is_empty());
                rule.look(may_exist, || {
                    format!("{}: {id} has {amount_fen} fen as seq {seq}", self.name(envelope as u32))
                });
            }
        }
        rule.0
    }

    /// I1 for each envelope, and a journal without gaps.
    fn conserved(&self, shown: &[Option<Shown>]) -> Check {
        let mut rule = Rule::new("of each envelope, openings and what remains are what was paid (I1)");
        for (envelope, shown) in shown.iter().enumerate() {
            let Some(shown) = shown else { continue };
            let opened: i64 = shown.opens.iter().map(|(_, _, amount)| amount).sum();
            let adds_up = match shown.state.as_str() {
                "refunded" => opened <= shown.total_fen && shown.remaining_fen == 0,
                "created" | "cancelled" => shown.opens.is_empty(),
                _ => opened + shown.remaining_fen == shown.total_fen,
            };
            let gapless = shown.opens.iter().zip(1..).all(|((seq, _, amount), next)| *seq == next && *amount > 0);
            let as_planned = shown.total_fen == self.plan.envelopes[envelope].total_fen;
            rule.look(adds_up && gapless && as_planned, || {
                format!(
                    "{}: {} with {} fen: {opened} opened in {} entries, {} remain",
                    self.name(envelope as u32),
                    shown.state,
                    shown.total_fen,
                    shown.opens.len(),
                    shown.remaining_fen
                )
            });
        }
        rule.0
    }

    /// I2.
    fn once_each(&self, shown: &[Option<Shown>]) -> Check {
        let mut rule = Rule::new("nobody opened an envelope twice (I2)");
        for (envelope, shown) in shown.iter().enumerate() {
            let mut seen = HashMap::new();
            for (seq, id, _) in shown.iter().flat_map(|shown| &shown.opens) {
                let before = seen.insert(id, seq);
                rule.look(before.is_none(), || {
                    format!("{}: {id} has seq {before:?} and {seq}", self.name(envelope as u32))
                });
            }
        }
        rule.0
    }

    /// Asks again for every opening whose outcome is unknown.
    fn settled(&self, shown: &[Option<Shown>], said: &HashMap<(u32, u32), Said>) -> Fallible<Check> {
        let mut rule = Rule::new("an opening of unknown outcome has settled: asking again says what the journal says");
        let unknown = said.iter().filter(|(_, said)| said.unknown && said.opened.is_empty());
        let unknown: Vec<(u32, u32)> = unknown.map(|(key, _)| *key).collect();
        let mut asks = Arena::default();
        for (envelope, user) in &unknown {
            self.people.push_as(&mut asks, *user, "POST", &format!("{}/grab", self.path(*envelope)), "");
        }
        let answers = self.people.ask_all("an opening of unknown outcome", &asks)?;
        for ((envelope, user), body) in unknown.iter().zip(answers) {
            #[derive(Deserialize)]
            struct Now<'a> {
                outcome: &'a str,
                amount_fen: Option<i64>,
            }
            let now: Now<'_> = serde_json::from_slice(&body)?;
            let id = self.people.id(*user);
            let opens = shown[*envelope as usize].iter().flat_map(|shown| &shown.opens);
            let in_journal = opens.filter(|(_, user, _)| *user == id).map(|(_, _, amount)| *amount).next();
            let holds = if now.outcome == "opened" { in_journal == now.amount_fen } else { in_journal.is_none() };
            rule.look(holds, || {
                format!("{}: {id} is told {} now, the journal has {in_journal:?}", self.name(*envelope), now.outcome)
            });
        }
        Ok(rule.0)
    }

    /// I1 and I6 over the system: balances are waited for, because credits and
    /// refunds take their time, and envelopes are read again with them.
    fn balances(&self) -> Fallible<[Check; 3]> {
        let started = Instant::now();
        loop {
            let checks = self.balances_now()?;
            if checks.iter().all(|check| check.broken == 0) || started.elapsed() > BALANCES_WITHIN {
                return Ok(checks);
            }
            interrupt::check()?;
            std::thread::sleep(LOOK_AGAIN);
        }
    }

    fn balances_now(&self) -> Fallible<[Check; 3]> {
        let mut refunds = Rule::new("what had expired was refunded");
        let mut due: Vec<i64> = vec![0; self.plan.users as usize];
        let top_ups: i64 = self.top_ups.values().sum();
        for (user, fen) in self.top_ups {
            due[*user as usize] += fen;
        }
        let mut outstanding = 0;
        for (number, (planned, shown)) in self.plan.envelopes.iter().zip(self.read_envelopes()?).enumerate() {
            let Some(shown) = shown.filter(|shown| !matches!(shown.state.as_str(), "created" | "cancelled")) else {
                continue;
            };
            if matches!(shown.state.as_str(), "expired" | "refunded") {
                refunds.look(shown.state == "refunded", || format!("{} is {}", self.name(number as u32), shown.state));
            }
            let mut left = shown.total_fen;
            for (_, id, amount_fen) in &shown.opens {
                left -= amount_fen;
                if let Some(user) = self.people.number(id) {
                    due[user as usize] += amount_fen;
                }
            }
            due[planned.sender as usize] -= shown.total_fen;
            if shown.state == "refunded" {
                due[planned.sender as usize] += left;
            } else {
                outstanding += left;
            }
        }
        let mut rule = Rule::new("every balance is what its owner was topped up with, sent, opened and got back (I6)");
        let mut asks = Arena::default();
        (0..self.plan.users).for_each(|user| self.people.push_as(&mut asks, user, "GET", "/v1/wallet", ""));
        let mut sum = 0;
        for (user, body) in self.people.ask_all("a balance", &asks)?.iter().enumerate() {
            #[derive(Deserialize)]
            struct Wallet {
                balance_fen: i64,
            }
            let has = serde_json::from_slice::<Wallet>(body)?.balance_fen;
            sum += has;
            let due = due[user];
            rule.look(has == due, || format!("{} has {has} fen and should have {due}", self.people.id(user as u32)));
        }
        let mut whole = Rule::new("balances and outstanding envelopes are what was topped up (I1 over the system)");
        whole.look(sum + outstanding == top_ups, || {
            format!(
                "balances {sum} + outstanding {outstanding} is not {top_ups}: off by {}",
                sum + outstanding - top_ups
            )
        });
        Ok([rule.0, whole.0, refunds.0])
    }

    /// All envelopes, as their senders see them, with all openings.
    fn read_envelopes(&self) -> Fallible<Vec<Option<Shown>>> {
        #[derive(Deserialize)]
        struct Detail {
            envelope: View,
            opens: Vec<Open>,
            next_seq: Option<u32>,
        }
        #[derive(Deserialize)]
        struct View {
            state: String,
            total_fen: i64,
            remaining_fen: i64,
        }
        #[derive(Deserialize)]
        struct Open {
            seq: u32,
            user_id: String,
            amount_fen: i64,
        }
        let mut all: Vec<Option<Shown>> = self.envelopes.iter().map(|_| None).collect();
        let ids = self.envelopes.iter().enumerate().filter(|(_, id)| id.is_some());
        let mut pages: Vec<(u32, u32)> = ids.map(|(envelope, _)| (envelope as u32, 0)).collect();
        while !pages.is_empty() {
            let mut asks = Arena::default();
            for (envelope, after) in &pages {
                let sender = self.plan.envelopes[*envelope as usize].sender;
                let path = format!("{}?after_seq={after}&limit={PAGE}", self.path(*envelope));
                self.people.push_as(&mut asks, sender, "GET", &path, "");
            }
            let mut next = Vec::new();
            for ((envelope, _), body) in pages.iter().zip(self.people.ask_all("an envelope", &asks)?) {
                let detail: Detail = serde_json::from_slice(&body)?;
                let View { state, total_fen, remaining_fen } = detail.envelope;
                let shown = all[*envelope as usize].get_or_insert_with(|| Shown {
                    state: String::new(),
                    total_fen,
                    remaining_fen,
                    opens: Vec::new(),
                });
                // The last page tells: the envelope may have gone on in between.
                (shown.state, shown.remaining_fen) = (state, remaining_fen);
                shown.opens.extend(detail.opens.into_iter().map(|open| (open.seq, open.user_id, open.amount_fen)));
                next.extend(detail.next_seq.map(|after| (*envelope, after)));
            }
            pages = next;
        }
        Ok(all)
    }

    fn path(&self, envelope: u32) -> String {
        format!("/v1/envelopes/{}", self.name(envelope))
    }

    fn name(&self, envelope: u32) -> &str {
        self.envelopes[envelope as usize].as_deref().unwrap_or("an envelope that was never made")
    }
}

/// I4, twice: by the clock of who asked, and by the order that servers report.
fn in_order(history: &[Told]) -> [Check; 2] {
    let mut by_clock = Rule::new("an opening that was answered before another was sent has the lower seq (I4)");
    let mut by_server = Rule::new("openings were committed in the order in which a server says it accepted them (I4)");
    let mut of_envelopes: BTreeMap<u32, Vec<(u32, &Told)>> = BTreeMap::new();
    for told in history {
        if let Answered::Opened { seq, replayed: false, .. } = told.answer {
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
    use super::super::people::Passes;
    use super::super::plan::PlannedEnvelope;
    use super::*;

    fn told(seq: u32, sent_us: u64, answered_us: u64, place: u64) -> Told {
        let accepted = Some(Accepted { lane: 1, place });
        let answer = Answered::Opened { seq, amount_fen: 1, replayed: false, accepted };
        Told { envelope: 0, user: seq, sent_us, answered_us, answer }
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

    /// One envelope of 10 fen in 3 shares, sent by user 0; users 1 and 2 were told 4 and 3 fen.
    fn broken_rules(change: impl FnOnce(&mut Shown, &mut Vec<Told>)) -> Vec<String> {
        let planned =
            PlannedEnvelope { sender: 0, shares: 3, total_fen: 10, group: None, expires_in_s: 60, sent_ahead: true };
        let plan = Plan { envelopes: vec![planned], users: 4, ..Plan::default() };
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        let people = People::new(nowhere, 1, &plan, &Passes::Secret("s".into()), String::new()).unwrap();
        let told = |user, answer| Told { envelope: 0, user, sent_us: 0, answered_us: 1, answer };
        let opened = |seq, amount_fen| Answered::Opened { seq, amount_fen, replayed: false, accepted: None };
        let mut history = vec![told(1, opened(1, 4)), told(2, opened(2, 3)), told(3, Answered::Refused)];
        let opens = vec![(1, people.id(1), 4), (2, people.id(2), 3)];
        let mut shown = Shown { state: "active".into(), total_fen: 10, remaining_fen: 3, opens };
        change(&mut shown, &mut history);
        let envelopes = [Some("an-id".to_owned())];
        let books =
            Books { plan: &plan, people: &people, envelopes: &envelopes, history: &history, top_ups: &BTreeMap::new() };
        let (shown, said) = ([Some(shown)], books.said());
        let checks = [
            books.acknowledged(&shown, &said),
            books.nothing_else(&shown, &said),
            books.conserved(&shown),
            books.once_each(&shown),
        ];
        checks.into_iter().filter(|check| check.broken > 0).map(|check| check.rule).collect()
    }

    #[test]
    fn a_sound_envelope_breaks_no_rule() {
        assert_eq!(broken_rules(|_, _| ()), Vec::<String>::new());
        // Who was told nothing may have opened.
        let unknown = |_: &mut Shown, history: &mut Vec<Told>| history[1].answer = Answered::Unknown;
        assert_eq!(broken_rules(unknown), Vec::<String>::new());
    }

    #[test]
    fn each_way_to_lose_or_make_money_breaks_its_rule() {
        let broken = |change: fn(&mut Shown, &mut Vec<Told>)| broken_rules(change).join("; ");
        let lost = broken(|shown, _| {
            shown.opens.pop();
            shown.remaining_fen = 6;
        });
        assert!(lost.contains("an acknowledged opening exists once"), "{lost}");
        let other_amount = broken(|shown, _| {
            shown.opens[0].2 = 5;
            shown.remaining_fen = 2;
        });
        assert!(other_amount.contains("with the amount that was told"), "{other_amount}");
        let refused_and_there = broken(|_, history| history[1].answer = Answered::Refused);
        assert!(refused_and_there.contains("what was refused"), "{refused_and_there}");
        let a_fen_too_few = broken(|shown, _| shown.remaining_fen = 2);
        assert!(a_fen_too_few.contains("(I1)"), "{a_fen_too_few}");
        let gap = broken(|shown, history| {
            shown.opens[1].0 = 3;
            history.pop();
        });
        assert!(gap.contains("(I1)"), "{gap}");
        let twice = broken(|shown, _| {
            let again = (3, shown.opens[0].1.clone(), 3);
            shown.opens.push(again);
            shown.remaining_fen = 0;
        });
        assert!(twice.contains("(I2)"), "{twice}");
    }
}
