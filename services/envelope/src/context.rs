//! What openings need, in a lane and without one.

use std::sync::Arc;

use hongbao_core::Clock;
use hongbao_store::{DatabaseClock, Store};

use crate::live::LiveEnvelopes;
use crate::metrics::LaneMetrics;
use crate::permits::Permits;

/// What all openings of a server share.
pub struct OpeningContext {
    /// Where openings are written.
    pub store: Arc<dyn Store>,
    /// What the server remembers.
    pub live: Arc<LiveEnvelopes>,
    /// What caps the transactions of one envelope.
    pub permits: Arc<dyn Permits>,
    /// Tells the time of each opening.
    pub clock: Arc<dyn Clock>,
    /// How far that clock is from the database's.
    pub database_clock: Arc<DatabaseClock>,
    /// Counts and times.
    pub metrics: LaneMetrics,
}
