//! Bare: no scheme at all, but what there is to gain and to lose without one.
//!
//! It has the HTTP and the checks of the others, counts the openings of each
//! envelope in memory, and answers. So its speed is the ceiling of everything
//! that is measured here, and its unfairness the floor: requests that are under
//! way at once are always read in another order than they were sent.

use std::collections::HashMap;

use hongbao_core::wire::Outcome;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock};
use parking_lot::Mutex;

use super::failure::Failure;
use super::tables::opened;

/// Envelopes that it counts for; more are refused.
const ENVELOPES_MAX: usize = 1_000_000;
/// The amount in every answer.
const AMOUNT_FEN: i64 = 10;

/// The counts.
#[derive(Default)]
pub struct Bare {
    counts: Mutex<HashMap<EnvelopeId, u32>>,
}

impl Bare {
    pub fn open(&self, envelope: EnvelopeId) -> Result<Outcome, Failure> {
        let mut counts = self.counts.lock();
        if counts.len() >= ENVELOPES_MAX && !counts.contains_key(&envelope) {
            return Err(Failure::Busy);
        }
        let count = counts.entry(envelope).or_default();
        *count += 1;
        Ok(opened(*count, AMOUNT_FEN, SystemClock.now(), false))
    }
}
