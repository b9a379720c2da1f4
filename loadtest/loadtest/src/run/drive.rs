//! What a drive needs besides the plan, and what it brings.

use hongbao_load::{RequestBuffer, Site};
use rand::rngs::SmallRng;

use super::history::HistoryEvent;
use super::recorder::{Gauges, Recorder};
use crate::outcome::Second;

/// How visits follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace {
    /// When the plan says so.
    Open,
    /// So many at a time, each when another has ended: finds the ceiling.
    Closed(u32),
}

/// What the engine needs besides the plan.
pub struct Equipment<'a> {
    /// Where the service is reached.
    pub site: Site,
    /// Of each user the bearer token.
    pub tokens: &'a RequestBuffer,
    /// Of each visit the ticket, made ahead; an empty one is to be grabbed.
    pub tickets: &'a RequestBuffer,
    /// The ids of envelopes that were sent ahead; `None` for those to be sent.
    pub envelopes: Vec<Option<String>>,
    /// A further header line with its line end, or nothing.
    pub header: String,
    pub connections: usize,
    /// How often a refused request is sent again.
    pub retries: u8,
    pub random: SmallRng,
    /// Where the engine asks what the service says of itself.
    pub gauges: &'a dyn Fn() -> Gauges,
    /// Is called each second.
    pub on_second: &'a mut dyn FnMut(&Second),
}

pub struct Driven {
    /// All counts and times.
    pub recorder: Recorder,
    /// What was answered about money.
    pub history: Vec<HistoryEvent>,
    /// The ids of all envelopes that came to be.
    pub envelopes: Vec<Option<String>>,
    /// What went over the wires.
    pub traffic: Traffic,
    /// Tickets made ahead that were no longer valid.
    pub tickets_renewed: u64,
    /// How long the load lasted, in seconds: as planned, or until the plan had been used up.
    pub load_s: f64,
    /// Closed loop: when the plan had no more visits, if that was before its end.
    pub used_up_s: Option<f64>,
}

/// What went over the wires, as the generator sees it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Traffic {
    pub requests: u64,
    pub bytes_in: u64,
    pub bytes_out: u64,
}
