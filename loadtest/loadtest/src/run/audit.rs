//! The audit that closes a run: what was answered against what the
//! service says now. It trusts neither the other side nor itself: journals and
//! balances are asked for over HTTP and compared with the history.

use std::collections::HashMap;

use hongbao_load::{Answered, Fallible, RequestBuffer};
use serde::Deserialize;

use super::books::Books;
use super::order::in_order;
use super::request::UserCall;
use super::rule::Rule;
use super::settle::Settled;
use super::shown::Shown;
use crate::outcome::Check;

/// What an audit found.
#[derive(Default)]
pub struct Audit {
    pub checks: Vec<Check>,
    /// What was not settled in time: not wrong, and not known to be right.
    pub late: Vec<String>,
    /// How many fen have not arrived; `None` if nothing is late.
    pub late_fen: Option<u64>,
    /// What could not be checked.
    pub notes: Vec<String>,
    /// Why it was not done to the end, if it was not; of the rules only the broken ones are there then.
    pub undone: Option<String>,
}

/// Everything that was said to one user about one envelope.
#[derive(Default)]
pub struct Said {
    /// Openings that were acknowledged, also by a grab: seq and amount.
    pub opened: Vec<(u32, i64)>,
    /// Whether an opening was asked for whose outcome is not known.
    pub unknown: bool,
    /// Whether there may be an opening: it was asked for, and not refused.
    pub may_exist: bool,
}

impl Books<'_> {
    /// Checks every rule, on what the drain saw last.
    pub fn audit(&self, settled: &Settled) -> Audit {
        let mut audit = Audit::default();
        if let Err(error) = self.check(settled, &mut audit) {
            audit.undone = Some(error.to_string());
            // That the rest holds says nothing while not all was looked at.
            audit.checks.retain(|check| check.broken > 0);
        }
        audit
    }

    /// Fails when the service does not answer what is needed. That hides nothing that was found before.
    fn check(&self, settled: &Settled, audit: &mut Audit) -> Fallible<()> {
        let look = settled.look.as_ref().map_err(ToString::to_string)?;
        let (shown, said) = (&look.shown, self.said());
        audit.checks.extend([
            self.paid(shown),
            self.acknowledged(shown, &said),
            self.nothing_else(shown, &said),
            self.conserved(shown),
            self.once_each(shown),
        ]);
        let order = in_order(self.history);
        audit.checks.extend(order.checks);
        audit.notes.extend(order.note);
        audit.checks.push(self.unknowns(shown, &said)?);
        let balances = self.balances(settled, look)?;
        audit.checks.extend(balances.checks);
        audit.notes.extend(balances.notes);
        (audit.late, audit.late_fen) = (balances.late, balances.late_fen);
        Ok(())
    }

    pub fn said(&self) -> HashMap<(u32, u32), Said> {
        let mut said: HashMap<(u32, u32), Said> = HashMap::new();
        for event in self.history.iter().filter(|event| event.call != UserCall::Pay) {
            let said = said.entry((event.envelope, event.user)).or_default();
            // A grab shows an opening, but it never makes one.
            said.may_exist |= event.call == UserCall::Open && event.answer.may_have_opened();
            match event.answer {
                Answered::Opened { seq, amount_fen, .. } => said.opened.push((seq, amount_fen)),
                Answered::Unknown => said.unknown = true,
                Answered::Nothing | Answered::Refused | Answered::Paid => (),
            }
        }
        said
    }

    /// A payment that was acknowledged happened, before the load or in it.
    fn paid(&self, shown: &[Option<Shown>]) -> Check {
        let mut rule = Rule::new("what was acknowledged as paid is neither created nor cancelled");
        let event = self.history.iter().filter(|event| event.answer == Answered::Paid).map(|event| event.envelope);
        let ahead = (0..).zip(&self.plan.envelopes).filter(|(_, planned)| planned.sent_ahead).map(|(number, _)| number);
        for envelope in event.chain(ahead) {
            let state = shown[envelope as usize].as_ref().map(|shown| shown.state.as_str());
            let is_paid = shown[envelope as usize].as_ref().is_some_and(Shown::is_paid);
            rule.look(is_paid, || {
                format!("{} was paid for and is {}", self.name(envelope), state.unwrap_or("nowhere"))
            });
        }
        rule.0
    }

    /// I3: what was acknowledged is there, as it was acknowledged.
    fn acknowledged(&self, shown: &[Option<Shown>], said: &HashMap<(u32, u32), Said>) -> Check {
        let mut rule = Rule::new("an acknowledged opening exists once, with the amount that was answered");
        let journals: Vec<HashMap<(&str, u32), i64>> = shown
            .iter()
            .map(|shown| {
                let opens = shown.iter().flat_map(|shown| &shown.opens);
                opens.map(|(seq, user, amount)| ((user.as_str(), *seq), *amount)).collect()
            })
            .collect();
        for ((envelope, user), said) in said {
            for (seq, amount_fen) in &said.opened {
                let id = self.users.id(*user);
                let found = journals[*envelope as usize].get(&(id.as_str(), *seq));
                rule.look(found == Some(amount_fen), || {
                    let name = self.name(*envelope);
                    format!("{name}: {id} was answered {amount_fen} fen as seq {seq}, the journal has {found:?}")
                });
            }
        }
        rule.0
    }

    /// Only what was asked for, and not refused, happened.
    fn nothing_else(&self, shown: &[Option<Shown>], said: &HashMap<(u32, u32), Said>) -> Check {
        let mut rule = Rule::new("what was refused, or never asked for, does not exist");
        for (envelope, shown) in shown.iter().enumerate() {
            for (seq, id, amount_fen) in shown.iter().flat_map(|shown| &shown.opens) {
                let said = self.users.number(id).and_then(|user| said.get(&(envelope as u32, user)));
                rule.look(said.is_some_and(|said| said.may_exist), || {
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
        let mut rule = Rule::new("no user opened an envelope twice (I2)");
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
    fn unknowns(&self, shown: &[Option<Shown>], said: &HashMap<(u32, u32), Said>) -> Fallible<Check> {
        let mut rule = Rule::new("an opening of unknown outcome has settled: asking again says what the journal says");
        let unknown = said.iter().filter(|(_, said)| said.unknown && said.opened.is_empty());
        let unknown: Vec<(u32, u32)> = unknown.map(|(key, _)| *key).collect();
        let mut asks = RequestBuffer::default();
        for (envelope, user) in &unknown {
            self.users.push_as(&mut asks, *user, "POST", &format!("{}/grab", self.path(*envelope)), "");
        }
        let answers = self.users.ask_all("an opening of unknown outcome", &asks)?;
        for ((envelope, user), body) in unknown.iter().zip(answers) {
            #[derive(Deserialize)]
            struct Now<'a> {
                outcome: &'a str,
                amount_fen: Option<i64>,
            }
            let now: Now<'_> = serde_json::from_slice(&body)?;
            let id = self.users.id(*user);
            let opens = shown[*envelope as usize].iter().flat_map(|shown| &shown.opens);
            let in_journal = opens.filter(|(_, user, _)| *user == id).map(|(_, _, amount)| *amount).next();
            let holds = if now.outcome == "opened" { in_journal == now.amount_fen } else { in_journal.is_none() };
            rule.look(holds, || {
                format!(
                    "{}: {id} is answered {} now, the journal has {in_journal:?}",
                    self.name(*envelope),
                    now.outcome
                )
            });
        }
        Ok(rule.0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hongbao_load::Signer;

    use super::super::history::HistoryEvent;
    use super::super::plan::{PlannedEnvelope, RunPlan};
    use super::super::users::Users;
    use super::*;

    /// One envelope of 10 fen in 3 shares, sent by user 0; users 1 and 2 were answered 4 and 3 fen.
    fn broken_rules(change: impl FnOnce(&mut Shown, &mut Vec<HistoryEvent>)) -> Vec<String> {
        let planned =
            PlannedEnvelope { sender: 0, shares: 3, total_fen: 10, group: None, expires_in_s: 60, sent_ahead: false };
        let plan = RunPlan { envelopes: vec![planned], users: 4, ..RunPlan::default() };
        let nowhere = std::net::SocketAddr::from(([127, 0, 0, 1], 9));
        let users = Users::new(nowhere, 1, &plan, Some(&Signer::new("s", None, None)), String::new()).unwrap();
        let event =
            |user, answer| HistoryEvent { call: UserCall::Open, envelope: 0, user, sent_us: 0, answered_us: 1, answer };
        let opened = |seq, amount_fen| Answered::Opened { seq, amount_fen, replayed: false, accepted: None };
        let mut history = vec![
            event(1, opened(1, 4)),
            event(2, opened(2, 3)),
            event(3, Answered::Refused),
            HistoryEvent { call: UserCall::Pay, ..event(0, Answered::Paid) },
            HistoryEvent { call: UserCall::Grab, ..event(1, opened(1, 4)) },
        ];
        let opens = vec![(1, users.id(1), 4), (2, users.id(2), 3)];
        let mut shown = Shown { state: "active".into(), total_fen: 10, remaining_fen: 3, opens };
        change(&mut shown, &mut history);
        let envelopes = [Some("an-id".to_owned())];
        let books =
            Books { plan: &plan, users: &users, envelopes: &envelopes, history: &history, top_ups: BTreeMap::new() };
        let (shown, said) = ([Some(shown)], books.said());
        let checks = [
            books.paid(&shown),
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
        // A user without an answer may have opened.
        let unknown = |_: &mut Shown, history: &mut Vec<HistoryEvent>| history[1].answer = Answered::Unknown;
        assert_eq!(broken_rules(unknown), Vec::<String>::new());
    }

    #[test]
    fn each_way_to_lose_or_make_money_breaks_its_rule() {
        let broken = |change: fn(&mut Shown, &mut Vec<HistoryEvent>)| broken_rules(change).join("; ");
        let lost = broken(|shown, _| {
            shown.opens.pop();
            shown.remaining_fen = 6;
        });
        assert!(lost.contains("an acknowledged opening exists once"), "{lost}");
        let other_amount = broken(|shown, _| {
            shown.opens[0].2 = 5;
            shown.remaining_fen = 2;
        });
        assert!(other_amount.contains("with the amount that was answered"), "{other_amount}");
        let refused_and_there = broken(|_, history| history[1].answer = Answered::Refused);
        assert!(refused_and_there.contains("what was refused"), "{refused_and_there}");
        let opened_and_refused = broken(|_, history| {
            history[0].answer = Answered::Refused;
        });
        assert!(opened_and_refused.contains("what was refused"), "a grab that shows it excuses nothing");
        let grabbed_other_amount = broken(|_, history| {
            history[4].answer = Answered::Opened { seq: 1, amount_fen: 5, replayed: true, accepted: None };
        });
        assert!(grabbed_other_amount.contains("with the amount that was answered"), "{grabbed_other_amount}");
        for state in ["created", "cancelled"] {
            let unpaid = broken_rules(|shown, history| {
                shown.state = state.into();
                shown.opens.clear();
                history.retain(|event| event.call == UserCall::Pay);
            });
            assert_eq!(unpaid, ["what was acknowledged as paid is neither created nor cancelled"]);
        }
        let not_refunded = broken(|shown, _| shown.state = "refunded".into());
        assert!(not_refunded.contains("(I1)"), "{not_refunded}");
        let paid_otherwise = broken(|shown, _| (shown.total_fen, shown.remaining_fen) = (11, 4));
        assert!(paid_otherwise.contains("(I1)"), "{paid_otherwise}");
        let a_fen_too_few = broken(|shown, _| shown.remaining_fen = 2);
        assert!(a_fen_too_few.contains("(I1)"), "{a_fen_too_few}");
        let an_empty_share = broken(|shown, history| {
            history.truncate(1);
            history[0].answer = Answered::Opened { seq: 1, amount_fen: 4, replayed: false, accepted: None };
            shown.opens[1] = (2, shown.opens[0].1.replace("-1", "-2"), 0);
            shown.remaining_fen = 6;
        });
        assert!(an_empty_share.contains("(I1)"), "{an_empty_share}");
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
    #[test]
    fn an_unknown_opening_is_asked_for_again_and_must_be_what_the_journal_says() {
        let plan = RunPlan { envelopes: Vec::new(), users: 2, ..RunPlan::default() };
        let broken = |journal: Option<i64>, now: serde_json::Value| {
            let grab = async move || axum::Json(now);
            let service = axum::Router::new().route("/v1/envelopes/{id}/grab", axum::routing::post(grab));
            let secret = Signer::new("s", None, None);
            let users =
                Users::new(hongbao_load_testkit::serve(service), 1, &plan, Some(&secret), String::new()).unwrap();
            let envelopes = [Some("an-id".to_owned())];
            let (answer, sent_us, answered_us) = (Answered::Unknown, 0, 1);
            let history = [HistoryEvent { call: UserCall::Open, envelope: 0, user: 1, sent_us, answered_us, answer }];
            let top_ups = BTreeMap::new();
            let books = Books { plan: &plan, users: &users, envelopes: &envelopes, history: &history, top_ups };
            let opens = journal.map(|amount_fen| (1, users.id(1), amount_fen)).into_iter().collect();
            let shown = [Some(Shown { state: "active".into(), total_fen: 9, remaining_fen: 5, opens })];
            let rule = books.unknowns(&shown, &books.said()).unwrap();
            assert_eq!(rule.checked, 1);
            rule.broken
        };
        let opened = |amount_fen: i64| serde_json::json!({ "outcome": "opened", "amount_fen": amount_fen });
        let nothing = |outcome: &str| serde_json::json!({ "outcome": outcome });
        assert_eq!(
            [broken(Some(4), opened(4)), broken(None, nothing("ready")), broken(None, nothing("empty"))],
            [0; 3]
        );
        assert_eq!([broken(Some(4), opened(5)), broken(None, opened(4)), broken(Some(4), nothing("ready"))], [1; 3]);
    }
}
