//! One SET as a gateway sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hongbao_core::Traffic;

use crate::upstream::Upstream;

/// A SET of the topology in force.
#[derive(Debug)]
pub(crate) struct SetState {
    pub(crate) name: String,
    pub(crate) servers: Vec<Arc<Upstream>>,
    /// In millionths, as the topology says.
    weight: u64,
    /// They outlive a change of the topology.
    pub(crate) births: Arc<Births>,
}

/// Why a SET gets no new envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// Its weight is 0.
    Drained,
    /// None of its servers is up.
    Down,
    /// Those that are up say that they cannot make envelopes.
    TakesNoNew,
}

impl Closed {
    /// In words, for an operator.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Closed::Drained => "its weight is 0",
            Closed::Down => "none of its servers is up",
            Closed::TakesNoNew => "its database does not answer",
        }
    }
}

impl SetState {
    pub(crate) fn new(name: &str, weight: u64, servers: Vec<Arc<Upstream>>, births: Arc<Births>) -> SetState {
        SetState { name: name.to_owned(), servers, weight, births }
    }

    /// Its weight among the SETs that new envelopes are placed in, above 0; or why it gets none.
    pub(crate) fn open_weight(&self) -> Result<u64, Closed> {
        if self.weight == 0 {
            return Err(Closed::Drained);
        }
        if self.servers.iter().any(|server| server.is_up() && server.takes_new()) {
            return Ok(self.weight);
        }
        let is_up = self.servers.iter().any(|server| server.is_up());
        Err(if is_up { Closed::TakesNoNew } else { Closed::Down })
    }
}

/// How many ids were minted for a SET, by kind of traffic.
#[derive(Debug, Default)]
pub(crate) struct Births {
    live: AtomicU64,
    shadow: AtomicU64,
}

impl Births {
    pub(crate) fn count(&self, traffic: Traffic) {
        self.counter(traffic).fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn of(&self, traffic: Traffic) -> u64 {
        self.counter(traffic).load(Ordering::Relaxed)
    }

    fn counter(&self, traffic: Traffic) -> &AtomicU64 {
        match traffic {
            Traffic::Live => &self.live,
            Traffic::Shadow => &self.shadow,
        }
    }
}
