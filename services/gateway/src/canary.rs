//! Measures the canary SETs against their rules, and takes their weight away where one is broken.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::limits::{CANARY_LOOK_EVERY_MAX, CANARY_STEPS, CANARY_WINDOW_S};
use hongbao_core::topology::Canary;
use tokio::time::sleep;

use crate::answers::AnswerTotals;
use crate::fleet::{Fleet, Fleets};
use crate::sets::SetState;

/// Measures until it is aborted. With a new topology it begins anew, and so does every SET's weight.
pub(crate) async fn judge_forever(fleets: Arc<Fleets>) {
    loop {
        let fleet = fleets.current();
        let mut judges: Vec<Judge> = (0..fleet.sets().len()).filter_map(|set| Judge::of(&fleet, set)).collect();
        let shortest_s = judges.iter().map(|judge| judge.rule.window_s).min().unwrap_or(*CANARY_WINDOW_S.start());
        while Arc::ptr_eq(&fleets.current(), &fleet) {
            sleep((Duration::from_secs(shortest_s.into()) / CANARY_STEPS).min(CANARY_LOOK_EVERY_MAX)).await;
            judges.retain_mut(|judge| judge.look(&fleet));
        }
    }
}

/// Measures one SET.
struct Judge {
    set: usize,
    rule: Canary,
    /// What was counted at the last looks, the oldest first: of the SET, and of all others.
    seen: VecDeque<(tokio::time::Instant, [AnswerTotals; 2])>,
}

impl Judge {
    /// `None` for a SET without a rule.
    fn of(fleet: &Fleet, set: usize) -> Option<Judge> {
        let rule = fleet.sets()[set].canary.clone()?;
        let seen = VecDeque::from([(tokio::time::Instant::now(), totals(fleet, set))]);
        Some(Judge { set, rule, seen })
    }

    /// Measures the time of the window; false once the SET has lost its weight.
    fn look(&mut self, fleet: &Fleet) -> bool {
        let (now, window) = (tokio::time::Instant::now(), Duration::from_secs(self.rule.window_s.into()));
        if self.seen.back().is_some_and(|(at, _)| now.duration_since(*at) < window / CANARY_STEPS) {
            return true;
        }
        let is_old = |(at, _): &(tokio::time::Instant, _)| now.duration_since(*at) >= window;
        // The last one that is older than the window is where it begins.
        while self.seen.get(1).is_some_and(is_old) {
            self.seen.pop_front();
        }
        let [own, others] = totals(fleet, self.set);
        let Some((_, [own_then, others_then])) = self.seen.front() else { return false };
        let (own_since, others_since) = ((&own - own_then).measured(), (&others - others_then).measured());
        let breach = self.rule.breach(&own_since, &others_since);
        self.seen.push_back((now, [own, others]));
        match breach {
            Some(reason) => {
                let set = &fleet.sets()[self.set];
                tracing::warn!(set = set.name, reason, "a canary has lost its weight until the topology changes");
                set.withdraw();
                false
            }
            None => true,
        }
    }
}

fn totals(fleet: &Fleet, set: usize) -> [AnswerTotals; 2] {
    let of = |set: &SetState| AnswerTotals::sum(set.servers.iter().map(|server| server.answers_by_time.totals()));
    let others = fleet.sets().iter().enumerate().filter(|(number, _)| *number != set);
    [of(&fleet.sets()[set]), AnswerTotals::sum(others.map(|(_, set)| of(set)))]
}
