//! `replay FILE`: visits as they were recorded, a line each.

use std::path::Path;

use hongbao_load::{Fallible, files};
use serde::Deserialize;

use super::wish::{ENVELOPES_MAX, SHARE_FEN_MEAN, VISITS_MAX, Wish, ahead, phases};
use crate::run::plan::{ClientBehaviour, PlannedEnvelope, RunPlan, Visit, What};

/// Users are numbered; no number is higher.
const USER_MAX: u32 = 5_000_000;
/// The same of envelopes.
const ENVELOPE_MAX: u32 = ENVELOPES_MAX as u32 - 1;
/// No recording is longer than a day.
const AT_MS_MAX: u64 = 86_400_000;
/// More money than any envelope holds, in fen; that of all envelopes together can still be added up.
const TOTAL_FEN_MAX: i64 = 1_000_000_000_000;
/// Shares of an envelope that no line sends.
const SHARES: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at_ms: u64,
    call: ReplayedCall,
    envelope: u32,
    user: u32,
    /// Of a send: how many shares.
    shares: Option<u32>,
    /// Of a send: how much, in fen.
    total_fen: Option<i64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum ReplayedCall {
    Send,
    Grab,
    Open,
    View,
}

impl Line {
    /// How many shares a send makes.
    fn shares(&self, wish: &Wish) -> u32 {
        self.shares.unwrap_or(SHARES.min(wish.shares_max))
    }

    fn total_fen(&self, wish: &Wish) -> i64 {
        self.total_fen.unwrap_or(i64::from(self.shares(wish)) * SHARE_FEN_MEAN)
    }

    /// What cannot be played is refused: played otherwise, it would be another load.
    fn check(&self, wish: &Wish) -> Result<(), String> {
        let (shares, most, total_fen) = (self.shares(wish), wish.shares_max, self.total_fen(wish));
        if self.at_ms > AT_MS_MAX {
            return Err(format!("at_ms is above {AT_MS_MAX}, a day"));
        }
        if self.user > USER_MAX {
            return Err(format!("a user's number above {USER_MAX}"));
        }
        if self.envelope > ENVELOPE_MAX {
            return Err(format!("an envelope's number above {ENVELOPE_MAX}"));
        }
        if !matches!(self.call, ReplayedCall::Send) && (self.shares.is_some() || self.total_fen.is_some()) {
            return Err("only a send has shares and total_fen".to_owned());
        }
        if !(1..=most).contains(&shares) {
            return Err(format!("{shares} shares: an envelope has 1 to {most}, see --shares-max"));
        }
        if !(i64::from(shares)..=TOTAL_FEN_MAX).contains(&total_fen) {
            return Err(format!(
                "a total_fen of {total_fen} for {shares} shares: at least 1 for each, at most {TOTAL_FEN_MAX}"
            ));
        }
        Ok(())
    }
}

/// Reads the plan. An envelope that no line sends is sent ahead, by user 0.
pub fn plan(path: &Path, wish: &Wish) -> Fallible<RunPlan> {
    let text = files::read("replay", path)?;
    let mut plan = RunPlan::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |what: &str| format!("{}:{}: {what}", path.display(), number + 1);
        let line: Line = serde_json::from_str(line).map_err(|error| bad(&error.to_string()))?;
        line.check(wish).map_err(|what| bad(&what))?;
        if plan.visits.len() == VISITS_MAX {
            return Err(bad(&format!("more than {VISITS_MAX} visits")).into());
        }
        while plan.envelopes.len() <= line.envelope as usize {
            plan.envelopes.push(ahead(SHARES.min(wish.shares_max)));
        }
        plan.users = plan.users.max(line.user + 1);
        let what = match line.call {
            ReplayedCall::Grab => What::Grab,
            ReplayedCall::Open => What::Open,
            ReplayedCall::View => What::View,
            ReplayedCall::Send => {
                let envelope = &mut plan.envelopes[line.envelope as usize];
                if !envelope.sent_ahead {
                    return Err(bad("the envelope is sent twice").into());
                }
                let (shares, total_fen) = (line.shares(wish), line.total_fen(wish));
                *envelope = PlannedEnvelope { sender: line.user, total_fen, sent_ahead: false, ..ahead(shares) };
                What::Send
            }
        };
        let (at_us, envelope, user) = (line.at_ms * 1_000, line.envelope, line.user);
        plan.visits.push(Visit { at_us, envelope, user, what, behaviour: ClientBehaviour::default() });
    }
    let last_us = plan.visits.iter().map(|visit| visit.at_us).max();
    let last_us = last_us.ok_or_else(|| format!("{}: no visits", path.display()))?;
    plan.phases = phases(&[("load", last_us as f64 / 1e6 + 0.001)]);
    plan.parameters.insert("recorded in".to_owned(), path.display().to_string());
    plan.parameters.insert("visits".to_owned(), plan.visits.len().to_string());
    Ok(plan)
}

#[cfg(test)]
mod tests {
    use super::super::tests::wish;
    use super::*;

    fn read(text: &str) -> Result<RunPlan, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("recorded");
        std::fs::write(&path, text).unwrap();
        plan(&path, &wish()).map_err(|error| error.to_string())
    }

    #[test]
    fn a_recording_becomes_a_plan() {
        let plan = read(concat!(
            "{\"at_ms\":5,\"call\":\"send\",\"envelope\":1,\"user\":3,\"shares\":2,\"total_fen\":50}\n\n",
            "{\"at_ms\":9,\"call\":\"open\",\"envelope\":1,\"user\":4}\n",
            "{\"at_ms\":7,\"call\":\"view\",\"envelope\":0,\"user\":4}\n",
        ))
        .unwrap();
        assert_eq!((plan.users, plan.visits.len()), (5, 3));
        assert!(plan.envelopes[0].sent_ahead && !plan.envelopes[1].sent_ahead);
        assert_eq!((plan.envelopes[1].sender, plan.envelopes[1].total_fen), (3, 50));
        assert!(plan.load_s() > 0.009);
    }

    #[test]
    fn a_recording_that_cannot_be_played_is_refused_by_its_line() {
        let send = r#"{"at_ms":1,"call":"send","envelope":0,"user":0}"#;
        let sends = |with: &str| format!(r#"{{"at_ms":1,"call":"send","envelope":0,"user":0,{with}}}"#);
        for (text, message) in [
            (format!("{send}\n{send}"), ":2: the envelope is sent twice"),
            (r#"{"at_ms":1,"call":"steal","envelope":0,"user":0}"#.to_owned(), ":1: unknown variant"),
            (r#"{"at_ms":1,"call":"open","envelope":0,"user":0,"x":1}"#.to_owned(), "unknown field"),
            (
                r#"{"at_ms":1,"call":"open","envelope":4000000,"user":0}"#.to_owned(),
                ":1: an envelope's number above 999999",
            ),
            (r#"{"at_ms":1,"call":"open","envelope":0,"user":4294967295}"#.to_owned(), "a user's number above"),
            (r#"{"at_ms":18446744073709551615,"call":"open","envelope":0,"user":0}"#.to_owned(), "at_ms is above"),
            (sends(r#""total_fen":-5"#), ":1: a total_fen of -5"),
            (sends(r#""shares":3,"total_fen":2"#), "a total_fen of 2 for 3 shares"),
            (sends(r#""total_fen":9223372036854775807"#), "at most"),
            (sends(r#""shares":0"#), ":1: 0 shares"),
            (sends(r#""shares":501"#), "501 shares: an envelope has 1 to 500"),
            (r#"{"at_ms":1,"call":"grab","envelope":0,"user":0,"shares":2}"#.to_owned(), "only a send has"),
            (String::new(), "no visits"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(message), "{error}");
        }
    }
}
