//! The drain: after the load it is waited until everything that was opened is
//! credited, and what had expired is back. Only balances decide whether it is: the
//! service's own count of credits does not survive the worker that counted. When the
//! last credit came is known from that count where it holds all that the last look shows
//! (`rehearsal.rs`), and otherwise from that look.

use std::collections::{BTreeSet, HashSet};
use std::time::{Duration, Instant};

use hongbao_load::{Answered, Fallible, interrupt};

use super::books::Books;
use super::shown::Shown;

/// Users whose balances are watched, before those of all are asked for: that is
/// work for a service that is still crediting.
const SAMPLE: usize = 256;
/// After so many looks at them that show nothing new, those of all are asked for
/// nevertheless: what was acknowledged need not be true.
const LOOKS_ALIKE: u32 = 3;
/// Between two looks at them.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// Between two looks whether the run was interrupted.
const STEP: Duration = Duration::from_millis(100);

/// What the service shows at one time.
pub struct Look {
    pub shown: Vec<Option<Shown>>,
    /// Of each user the balance, read after the envelopes.
    pub has: Vec<i64>,
    /// Of each user what the envelopes say that it should be.
    pub due: Vec<i64>,
}

/// Users by whose balances it is seen when to look at all.
struct Sample {
    users: Vec<u32>,
    /// Of each what was acknowledged, in fen.
    acknowledged: Vec<i64>,
    /// Of each the balance, as it was last seen.
    has: Vec<i64>,
    /// Looks in a row that showed the same.
    looks_alike: u32,
}

/// How the drain ended.
pub struct Settled {
    /// When everything was seen to be settled; `None` if it was not in time.
    pub at: Option<Instant>,
    /// How long it was given.
    pub within: Duration,
    /// The last look, or why there is none.
    pub look: Fallible<Look>,
}

impl Look {
    fn is_settled(&self) -> bool {
        let is_expired = |shown: &Shown| shown.state == "expired";
        self.has == self.due && !self.shown.iter().flatten().any(is_expired)
    }
}

impl Settled {
    /// Openings and refunds that the last look shows: each is a credit. `None` where there is no look.
    pub fn credits(&self) -> Option<u64> {
        let shown = self.look.as_ref().ok()?.shown.iter().flatten();
        Some(shown.map(|shown| shown.opens.len() as u64 + u64::from(shown.state == "refunded")).sum())
    }
}

impl Books<'_> {
    /// Waits until everything is settled, for so long at most after the last fault:
    /// `is_disturbed` says whether one is in force.
    pub fn settle(&self, within: Duration, is_disturbed: &(dyn Fn() -> bool + Sync)) -> Settled {
        let was_disturbed = is_disturbed();
        let first = self.quiesce(within, is_disturbed);
        let (Some(at), Ok(seen), true) = (first.at, &first.look, was_disturbed) else { return first };
        // What a fault holds may be done when it is over: the audit needs what is seen then.
        while is_disturbed() && interrupt::check().is_ok() {
            std::thread::sleep(STEP);
        }
        let last = self.quiesce(within, &|| false);
        let nothing_new = last.look.as_ref().is_ok_and(|look| look.due == seen.due);
        Settled { at: last.at.map(|later| if nothing_new { at } else { later }), ..last }
    }

    fn quiesce(&self, within: Duration, is_disturbed: &dyn Fn() -> bool) -> Settled {
        let (mut undisturbed_since, mut sample) = (Instant::now(), self.sample());
        loop {
            if let Err(error) = interrupt::check() {
                return Settled { at: None, within, look: Err(error) };
            }
            let asked = Instant::now();
            let disturbed = is_disturbed();
            if disturbed {
                undisturbed_since = asked;
            }
            let is_last = !disturbed && undisturbed_since.elapsed() >= within;
            let look = match self.is_at_rest(&mut sample) {
                Ok(false) if !is_last => None,
                Ok(_) => Some(self.look()),
                Err(error) => Some(Err(error)),
            };
            match look {
                Some(Ok(look)) if look.is_settled() => {
                    return Settled { at: Some(Instant::now()), within, look: Ok(look) };
                }
                Some(look) if is_last => return Settled { at: None, within, look },
                _ => (),
            }
            // A service that answers for all balances again and again credits none.
            let again = Instant::now() + LOOK_AGAIN.max(asked.elapsed());
            while Instant::now() < again && interrupt::check().is_ok() {
                std::thread::sleep(STEP);
            }
        }
    }

    /// Users with what was acknowledged to them: the last of all, and others of the
    /// whole run. No sender is among them, since that changes a balance, too.
    fn sample(&self) -> Sample {
        let opened = self.history.iter().filter_map(|event| match event.answer {
            Answered::Opened { amount_fen, .. } => Some((event.user, event.envelope, amount_fen)),
            _ => None,
        });
        let opened = opened.filter(|(user, _, _)| !self.top_ups.contains_key(user));
        let openers: Vec<u32> = opened.clone().map(|(user, _, _)| user).collect();
        let spread = openers.iter().step_by(openers.len().div_ceil(SAMPLE / 2).max(1));
        let users: BTreeSet<u32> = spread.chain(openers.iter().rev().take(SAMPLE / 2)).copied().collect();
        let users: Vec<u32> = users.into_iter().collect();
        let (mut acknowledged, mut counted) = (vec![0; users.len()], HashSet::new());
        for (user, envelope, amount_fen) in opened {
            // What was acknowledged twice is there once.
            if let Ok(place) = users.binary_search(&user)
                && counted.insert((user, envelope))
            {
                acknowledged[place] += amount_fen;
            }
        }
        Sample { users, acknowledged, has: Vec::new(), looks_alike: 0 }
    }

    /// Whether all of the sample have what was acknowledged, or no more seems to come.
    fn is_at_rest(&self, sample: &mut Sample) -> Fallible<bool> {
        let has = self.users.balances(&sample.users)?;
        sample.looks_alike = if has == sample.has { sample.looks_alike + 1 } else { 0 };
        sample.has = has;
        let all = sample.has.iter().zip(&sample.acknowledged).all(|(has, due)| has >= due);
        Ok(all || sample.looks_alike.is_multiple_of(LOOKS_ALIKE) && sample.looks_alike > 0)
    }

    /// Looks at all envelopes, and then at all balances: what is credited in between
    /// only makes a balance right.
    pub fn look(&self) -> Fallible<Look> {
        let shown = self.read_envelopes()?;
        let users: Vec<u32> = (0..self.plan.users).collect();
        let has = self.users.balances(&users)?;
        let due = self.due(&shown);
        Ok(Look { shown, has, due })
    }

    /// Of each user what it was topped up with, sent, opened and got back.
    fn due(&self, shown: &[Option<Shown>]) -> Vec<i64> {
        let mut due = vec![0; self.plan.users as usize];
        for (user, fen) in &self.top_ups {
            due[*user as usize] += fen;
        }
        for (planned, shown) in self.plan.envelopes.iter().zip(shown) {
            let Some(shown) = shown.as_ref().filter(|shown| shown.is_paid()) else { continue };
            for (_, id, amount_fen) in &shown.opens {
                let user = self.users.number(id).and_then(|user| due.get_mut(user as usize));
                user.into_iter().for_each(|due| *due += amount_fen);
            }
            due[planned.sender as usize] -= shown.total_fen;
            if shown.state == "refunded" {
                due[planned.sender as usize] += shown.unopened_fen();
            }
        }
        due
    }
}
