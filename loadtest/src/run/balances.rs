//! I6, and I1 over the system: whether every balance is what it should be, and if
//! not, whether money is wrong or only late.

use std::collections::HashMap;

use super::accounts::Finding;
use super::audit::{Books, Rule};
use super::settle::{Look, Settled};
use super::shown::Shown;
use crate::Fallible;
use crate::outcome::Check;

/// Accounts that are gone through transfer by transfer because something has not
/// arrived; those of others are late, and nothing more is known of them. Who has
/// too much is always gone through.
const SHORT_JUDGED_MAX: usize = 10_000;

/// What became of the balances.
pub struct Balances {
    /// The rules.
    pub checks: [Check; 2],
    /// What was not settled in time, in words.
    pub late: Vec<String>,
}

impl Books<'_> {
    /// Checks all balances as they were last looked at.
    ///
    /// # Errors
    /// When the service does not answer what is needed.
    pub fn balances(&self, settled: &Settled, look: &Look) -> Fallible<Balances> {
        let (found, expired) = match settled.at {
            Some(_) => (HashMap::new(), 0),
            None => self.findings(look)?,
        };
        let mut each = Rule::new("every balance is what its owner was topped up with, sent, opened and got back (I6)");
        let (mut sum, mut late_users, mut late_fen) = (0, 0_u64, 0);
        for (user, (has, due)) in (0..).zip(look.has.iter().zip(&look.due)) {
            let finding = found.get(&user).unwrap_or(&Finding::Sound);
            // What is under way is nobody's loss.
            sum += if matches!(finding, Finding::Wrong(_)) { has } else { due };
            if let Finding::Late(fen) = finding {
                (late_users, late_fen) = (late_users + 1, late_fen + fen);
            }
            let topped_up = self.top_ups.get(&user).copied().unwrap_or_default();
            // Whose money never moved has no part in it.
            if *due != topped_up || *finding != Finding::Sound {
                each.look(!matches!(finding, Finding::Wrong(_)), || {
                    let words = if let Finding::Wrong(words) = finding { words } else { "" };
                    format!("{} has {has} fen and should have {due}: {words}", self.people.id(user))
                });
            }
        }
        let within_s = settled.within.as_secs();
        let mut late = Vec::new();
        if late_users > 0 {
            late.push(format!(
                "after {within_s} s, {late_fen} fen were still on their way, to or from {late_users} users"
            ));
        }
        if expired > 0 {
            late.push(format!("after {within_s} s, {expired} expired envelopes were still not refunded"));
        }
        Ok(Balances { checks: [each.0, self.whole(&look.shown, sum).0], late })
    }

    /// I1 over the system, if any money moved at all.
    fn whole(&self, shown: &[Option<Shown>], balances_fen: i64) -> Rule {
        let mut rule = Rule::new("balances and outstanding envelopes are what was topped up (I1 over the system)");
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
        rule
    }

    /// What is the matter with each account whose balance was not what it should
    /// be, and how many envelopes are expired and not refunded.
    fn findings(&self, look: &Look) -> Fallible<(HashMap<u32, Finding>, usize)> {
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
        let expired = shown.iter().flatten().filter(|shown| shown.state == "expired").count();
        Ok((found, expired))
    }
}
