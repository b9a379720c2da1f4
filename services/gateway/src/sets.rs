//! One SET as a gateway sees it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use hongbao_core::Traffic;
use hongbao_core::topology::{Canary, SetEntry};

use crate::upstream::Upstream;

/// A SET of the topology in force.
#[derive(Debug)]
pub(crate) struct SetState {
    pub(crate) name: String,
    pub(crate) servers: Vec<Arc<Upstream>>,
    /// When it loses this weight.
    pub(crate) canary: Option<Canary>,
    /// It has.
    is_withdrawn: AtomicBool,
    /// They outlive a change of the topology.
    pub(crate) births: Arc<Births>,
}

/// Why a SET gets no new envelopes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Closed {
    /// No slot is its own.
    HoldsNothing,
    /// Its weight is 0.
    Drained,
    /// It is a canary that has broken its rule.
    Withdrawn,
    /// None of its servers is up.
    Down,
    /// Those that are up say that they cannot make envelopes.
    TakesNoNew,
}

impl Closed {
    /// In words, for an operator.
    pub(crate) fn reason(self) -> &'static str {
        match self {
            Closed::HoldsNothing => "it holds no slot",
            Closed::Drained => "its weight is 0",
            Closed::Withdrawn => "it is a canary that has lost its weight",
            Closed::Down => "none of its servers is up",
            Closed::TakesNoNew => "its database does not answer",
        }
    }
}

impl SetState {
    pub(crate) fn new(set: &SetEntry, servers: Vec<Arc<Upstream>>, births: Arc<Births>) -> SetState {
        SetState {
            name: set.name.clone(),
            servers,
            canary: set.canary.clone(),
            is_withdrawn: AtomicBool::new(false),
            births,
        }
    }

    /// It gets no new envelopes as long as this topology is in force.
    pub(crate) fn withdraw(&self) {
        self.is_withdrawn.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_withdrawn(&self) -> bool {
        self.is_withdrawn.load(Ordering::Relaxed)
    }

    /// Whether it can take new envelopes, if it has a weight; or why not.
    pub(crate) fn check_open(&self) -> Result<(), Closed> {
        if self.is_withdrawn() {
            return Err(Closed::Withdrawn);
        }
        if self.servers.iter().any(|server| server.is_up() && server.takes_new()) {
            return Ok(());
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
