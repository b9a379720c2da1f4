//! What a run will do, fixed before it starts: who comes when, and for what.

use std::collections::BTreeMap;

use crate::outcome::Phase;

/// A whole run, on paper. The same seed makes the same plan.
#[derive(Debug, Default)]
pub struct RunPlan {
    /// The scenario's parameters, by name.
    pub parameters: BTreeMap<String, String>,
    /// The envelopes that it needs, by their numbers.
    pub envelopes: Vec<PlannedEnvelope>,
    /// Of each user the group; empty where there are no groups.
    pub groups: Vec<u32>,
    pub users: u32,
    /// Who comes, in the order of time.
    pub visits: Vec<Visit>,
    /// Parts of the run, without gaps.
    pub phases: Vec<Phase>,
}

/// An envelope that a run needs.
#[derive(Clone, Debug, PartialEq)]
pub struct PlannedEnvelope {
    /// Who sends it.
    pub sender: u32,
    pub shares: u32,
    /// Money in it, in fen.
    pub total_fen: i64,
    /// Who may open it; all users with the link, if it is for no group.
    pub group: Option<u32>,
    /// Seconds until it expires.
    pub expires_in_s: u32,
    /// Whether it is sent before the load begins, or by a visit.
    pub sent_ahead: bool,
}

/// One arrival of one user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Visit {
    /// When, in microseconds since the load began.
    pub at_us: u64,
    pub envelope: u32,
    pub user: u32,
    pub what: What,
    pub behaviour: ClientBehaviour,
}

/// What somebody comes for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// Makes the envelope and pays for it.
    Send,
    /// Grabs, and opens if there is something; with a ticket made ahead, opens at once.
    Open,
    Grab,
    /// Looks who got what.
    View,
}

/// How somebody behaves.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ClientBehaviour {
    /// Taps twice: the same opening is sent over two connections at once.
    pub double: bool,
    /// Sends half a request, and the rest after a while.
    pub slow: bool,
}

impl RunPlan {
    /// Puts the visits in the order of time.
    pub fn sorted(mut self) -> RunPlan {
        self.visits.sort_by_key(|visit| visit.at_us);
        self
    }

    /// How long the load lasts, in seconds: to the end of its last phase.
    pub fn load_s(&self) -> f64 {
        self.phases.last().map_or(0.0, |phase| phase.to_s)
    }

    /// The phases of a load that lasted so long, in seconds.
    pub fn phases_until(&self, load_s: f64) -> Vec<Phase> {
        let begun = self.phases.iter().filter(|phase| phase.from_s < load_s);
        begun.map(|phase| Phase { to_s: phase.to_s.min(load_s), ..phase.clone() }).collect()
    }

    /// The place of the phase that a moment belongs to.
    pub fn phase_at(&self, at_us: u64) -> usize {
        let at_s = at_us as f64 / 1e6;
        let after = self.phases.iter().position(|phase| at_s < phase.to_s);
        after.unwrap_or(self.phases.len().saturating_sub(1))
    }

    /// What each sender needs, in fen, by user number.
    pub fn money(&self) -> BTreeMap<u32, i64> {
        let mut needs = BTreeMap::new();
        for envelope in &self.envelopes {
            *needs.entry(envelope.sender).or_default() += envelope.total_fen;
        }
        needs
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_that_ended_early_has_shorter_phases() {
        let phase = |name: &str, from_s, to_s| Phase { name: name.into(), from_s, to_s };
        let phases = vec![phase("ramp", 0.0, 2.0), phase("peak", 2.0, 5.0), phase("tail", 5.0, 9.0)];
        let plan = RunPlan { phases, ..RunPlan::default() };
        assert_eq!(plan.phases_until(9.0), plan.phases);
        assert_eq!(plan.phases_until(3.0), [phase("ramp", 0.0, 2.0), phase("peak", 2.0, 3.0)]);
    }
}
