//! What both sides say of a run: the plan, and what was answered.

use std::collections::BTreeMap;

use super::history::HistoryEvent;
use super::plan::RunPlan;
use super::users::Users;

pub struct Books<'a> {
    pub plan: &'a RunPlan,
    pub users: &'a Users,
    /// The ids of the envelopes that came to be.
    pub envelopes: &'a [Option<String>],
    /// What was said about money.
    pub history: &'a [HistoryEvent],
    /// What each user was topped up with, in fen.
    pub top_ups: BTreeMap<u32, i64>,
}

impl Books<'_> {
    /// Where the service shows an envelope.
    pub fn path(&self, envelope: u32) -> String {
        format!("/v1/envelopes/{}", self.name(envelope))
    }

    /// What the service calls an envelope.
    pub fn name(&self, envelope: u32) -> &str {
        self.envelopes[envelope as usize].as_deref().unwrap_or("an envelope that was never made")
    }
}
