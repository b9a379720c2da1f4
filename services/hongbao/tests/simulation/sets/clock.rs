//! The clocks of machines, each a little off.

use std::sync::Arc;

use hongbao_core::time::ManualClock;
use hongbao_core::{Clock, Timestamp};

/// The one clock of the simulation as a machine shows it.
#[derive(Clone)]
pub struct ShiftedClock {
    clock: Arc<ManualClock>,
    by_ms: i64,
}

impl ShiftedClock {
    pub fn new(clock: &Arc<ManualClock>, by_ms: i64) -> ShiftedClock {
        ShiftedClock { clock: clock.clone(), by_ms }
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> Timestamp {
        self.clock.now().plus_millis(self.by_ms)
    }
}
