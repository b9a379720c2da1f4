//! `replay FILE`: visits as they were recorded, a line each.

use std::path::Path;

use serde::Deserialize;

use super::{EXPIRES_IN_S, SHARE_FEN_MEAN, Wish, phases};
use crate::Fallible;
use crate::run::plan::{Manners, Plan, PlannedEnvelope, Visit, What};

/// Users and envelopes are numbered; no number is higher.
const NUMBER_MAX: u32 = 5_000_000;
/// Shares of an envelope that no line sends.
const SHARES: u32 = 100;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at_ms: u64,
    call: Call,
    envelope: u32,
    user: u32,
    /// Of a send: how many shares.
    shares: Option<u32>,
    /// Of a send: how much, in fen.
    total_fen: Option<i64>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Call {
    Send,
    Grab,
    Open,
    View,
}

/// Reads the plan. An envelope that no line sends is sent ahead, by user 0.
pub fn plan(path: &Path, wish: &Wish) -> Fallible<Plan> {
    let text = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut plan = Plan::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let bad = |what: &str| format!("{}:{}: {what}", path.display(), number + 1);
        let line: Line = serde_json::from_str(line).map_err(|error| bad(&error.to_string()))?;
        if line.envelope > NUMBER_MAX || line.user > NUMBER_MAX {
            return Err(bad(&format!("a number above {NUMBER_MAX}")).into());
        }
        while plan.envelopes.len() <= line.envelope as usize {
            plan.envelopes.push(planned(0, SHARES.min(wish.shares_max), None));
        }
        plan.users = plan.users.max(line.user + 1);
        let what = match line.call {
            Call::Grab => What::Grab,
            Call::Open => What::Open,
            Call::View => What::View,
            Call::Send => {
                let envelope = &mut plan.envelopes[line.envelope as usize];
                if !envelope.sent_ahead {
                    return Err(bad("the envelope is sent twice").into());
                }
                let shares = line.shares.unwrap_or(SHARES).clamp(1, wish.shares_max);
                *envelope = PlannedEnvelope { sent_ahead: false, ..planned(line.user, shares, line.total_fen) };
                What::Send
            }
        };
        let (at_us, envelope, user) = (line.at_ms * 1_000, line.envelope, line.user);
        plan.visits.push(Visit { at_us, envelope, user, what, manners: Manners::default() });
    }
    let last_us = plan.visits.iter().map(|visit| visit.at_us).max();
    let last_us = last_us.ok_or_else(|| format!("{}: no visits", path.display()))?;
    plan.phases = phases(&[("load", last_us as f64 / 1e6 + 0.001)]);
    plan.parameters.insert("recorded in".to_owned(), path.display().to_string());
    plan.parameters.insert("visits".to_owned(), plan.visits.len().to_string());
    Ok(plan)
}

fn planned(sender: u32, shares: u32, total_fen: Option<i64>) -> PlannedEnvelope {
    let total_fen = total_fen.unwrap_or(i64::from(shares) * SHARE_FEN_MEAN);
    PlannedEnvelope { sender, shares, total_fen, group: None, expires_in_s: EXPIRES_IN_S, sent_ahead: true }
}

#[cfg(test)]
mod tests {
    use super::super::tests::wish;
    use super::*;

    fn read(text: &str) -> Result<Plan, String> {
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
        for (text, words) in [
            (format!("{send}\n{send}"), ":2: the envelope is sent twice"),
            (r#"{"at_ms":1,"call":"steal","envelope":0,"user":0}"#.to_owned(), ":1: unknown variant"),
            (r#"{"at_ms":1,"call":"open","envelope":0,"user":0,"x":1}"#.to_owned(), "unknown field"),
            (r#"{"at_ms":1,"call":"open","envelope":4294967295,"user":0}"#.to_owned(), "a number above"),
            (String::new(), "no visits"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }
}
