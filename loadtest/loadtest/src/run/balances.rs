//! I6, and I1 over the system: whether every balance is what it should be, and if
//! not, whether money is wrong or only late.

use std::collections::HashMap;

use hongbao_load::Fallible;

use super::accounts::Finding;
use super::books::Books;
use super::rule::Rule;
use super::settle::{Look, Settled};
use super::shown::Shown;
use crate::outcome::Check;

/// Accounts that are gone through transfer by transfer because something has not
/// arrived; those of others are late, and nothing more is known of them. Who has
/// too much is always gone through.
const SHORT_JUDGED_MAX: usize = 10_000;

pub struct Balances {
    pub checks: [Check; 2],
    /// What was not settled in time.
    pub late: Vec<String>,
    /// How many fen have not arrived; `None` if nothing is late.
    pub late_fen: Option<u64>,
    /// What could not be checked for that.
    pub notes: Vec<String>,
}

impl Books<'_> {
    /// Checks all balances as they were last looked at.
    ///
    /// # Errors
    /// When the service does not answer what is needed.
    pub fn balances(&self, settled: &Settled, look: &Look) -> Fallible<Balances> {
        let (found, (expired, expired_fen)) = match settled.at {
            Some(_) => (HashMap::new(), (0, 0)),
            None => self.findings(look)?,
        };
        let mut each = Rule::new("every balance is what its owner was topped up with, sent, opened and got back (I6)");
        let (mut sum, mut late_users, mut late_fen) = (0, 0_u64, 0_u64);
        for (user, (has, due)) in (0..).zip(look.has.iter().zip(&look.due)) {
            let finding = found.get(&user).unwrap_or(&Finding::Sound);
            if let Finding::Late(fen) = finding {
                // Whether it will be right is not known yet.
                (late_users, late_fen) = (late_users + 1, late_fen + fen.unsigned_abs());
                continue;
            }
            // What arrived after the look was gone through transfer by transfer.
            sum += if matches!(finding, Finding::Wrong(_)) { has } else { due };
            let topped_up = self.top_ups.get(&user).copied().unwrap_or_default();
            // Whose money never moved has no part in it.
            if *due != topped_up || *finding != Finding::Sound {
                each.look(!matches!(finding, Finding::Wrong(_)), || {
                    let reason = if let Finding::Wrong(reason) = finding { reason } else { "" };
                    format!("{} has {has} fen and should have {due}: {reason}", self.users.id(user))
                });
            }
        }
        let within_s = settled.within.as_secs();
        let (mut late, mut notes) = (Vec::new(), Vec::new());
        if late_users > 0 {
            notes.push("balances were not added up (I1 over the system), since money was still on its way".to_owned());
            late.push(format!(
                "after {within_s} s, {late_fen} fen were still on their way, to or from {late_users} users"
            ));
        }
        if expired > 0 {
            late.push(format!("after {within_s} s, {expired} expired envelopes were still not refunded"));
        }
        let mut whole = Rule::new("balances and outstanding envelopes are what was topped up (I1 over the system)");
        if late_users == 0 {
            self.look_at_whole(&mut whole, &look.shown, sum);
        }
        let late_fen = (!late.is_empty()).then_some(late_fen + expired_fen);
        Ok(Balances { checks: [each.0, whole.0], late, late_fen, notes })
    }

    /// I1 over the system, if any money moved at all.
    fn look_at_whole(&self, rule: &mut Rule, shown: &[Option<Shown>], balances_fen: i64) {
        let top_ups: i64 = self.top_ups.values().sum();
        let paid: Vec<&Shown> = shown.iter().flatten().filter(|shown| shown.is_paid()).collect();
        let kept = paid.iter().filter(|shown| shown.state != "refunded");
        let outstanding: i64 = kept.map(|shown| shown.unopened_fen()).sum();
        let off = balances_fen + outstanding - top_ups;
        if !paid.is_empty() || off != 0 {
            rule.look(off == 0, || {
                format!("balances {balances_fen} + outstanding {outstanding} is not {top_ups}: off by {off}")
            });
        }
    }

    /// What is the matter with each account whose balance was not what it should
    /// be, and how many envelopes are expired and not refunded, with how many fen.
    fn findings(&self, look: &Look) -> Fallible<(HashMap<u32, Finding>, (usize, u64))> {
        let off = |user: &u32| look.has[*user as usize] - look.due[*user as usize];
        let too_much = (0..self.plan.users).filter(|user| off(user) > 0);
        let mut short = (0..self.plan.users).filter(|user| off(user) < 0);
        let users: Vec<u32> = too_much.chain(short.by_ref().take(SHORT_JUDGED_MAX)).collect();
        let accounts = self.read_accounts(&users, |user| look.has[user as usize])?;
        // After the accounts: whatever is on them must be on these envelopes.
        let shown = self.read_envelopes()?;
        let expected = self.expected(&users, &shown);
        let judged = accounts.iter().zip(expected).map(|(account, expected)| account.judge(expected));
        let mut found: HashMap<u32, Finding> = users.iter().copied().zip(judged).collect();
        found.extend(short.map(|user| (user, Finding::Late(-off(&user)))));
        let expired: Vec<&Shown> = shown.iter().flatten().filter(|shown| shown.state == "expired").collect();
        let expired_fen = expired.iter().map(|shown| shown.unopened_fen().unsigned_abs()).sum();
        Ok((found, (expired.len(), expired_fen)))
    }
}
