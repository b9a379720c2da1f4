//! What an operator may configure of a server.

use hongbao_core::limits;
use hongbao_core::settings::{self, at_least, setting};
use serde::{Deserialize, Serialize};

/// What an operator may configure of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerOptions {
    /// Whether openings go through lanes. Off: straight to the database, slower and still correct.
    pub lanes: bool,
    /// Openings that one lane may hold, waiting or in its batch, however fast it answers them.
    pub lane_queue_max: usize,
    /// Transactions of one envelope that may be in the database at once.
    pub permit_cap: u32,
    /// Milliseconds after which a waiting opening is dropped before its transaction.
    pub open_deadline_ms: i64,
    /// Milliseconds that a client waits for an answer before it gets `outcome_unknown`.
    pub answer_within_ms: u64,
    /// Envelopes in memory at most.
    pub live_envelopes_max: usize,
    /// Milliseconds without use after which an envelope leaves memory.
    pub live_idle_ms: i64,
    /// Envelopes that may be read from the database at once.
    pub loads_max: usize,
    /// Streams of events that may be open at once.
    pub event_streams_max: usize,
    /// Streams that one user may have open here at once.
    pub event_streams_of_user_max: usize,
    /// Seconds after which a stream ends, and its client opens the next one.
    pub event_stream_s_max: u64,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            lanes: true,
            lane_queue_max: 8_192,
            permit_cap: 16,
            open_deadline_ms: 2_000,
            answer_within_ms: 10_000,
            live_envelopes_max: 1_000_000,
            live_idle_ms: 600_000,
            loads_max: 256,
            event_streams_max: 4_096,
            event_streams_of_user_max: 16,
            event_stream_s_max: 900,
        }
    }
}

impl ServerOptions {
    /// Checks that each setting is in its range and fits to the others.
    pub fn check(&self) -> Result<(), String> {
        settings::check(
            "server",
            &[
                setting("lane_queue_max", self.lane_queue_max, 1..=1_000_000),
                setting("permit_cap", self.permit_cap, 1..=limits::PERMIT_CAP_MAX),
                setting("open_deadline_ms", self.open_deadline_ms, 1..=60_000),
                setting("live_envelopes_max", self.live_envelopes_max, 1..=100_000_000),
                at_least("live_idle_ms", self.live_idle_ms, 1_000),
                setting("loads_max", self.loads_max, 1..=100_000),
                setting("event_streams_max", self.event_streams_max, 0..=100_000),
                setting("event_streams_of_user_max", self.event_streams_of_user_max, 1..=1_000),
                setting("event_stream_s_max", self.event_stream_s_max, 1..=86_400),
            ],
        )?;
        if i128::from(self.answer_within_ms) <= i128::from(self.open_deadline_ms) {
            return Err("server: answer_within_ms must exceed open_deadline_ms".to_owned());
        }
        Ok(())
    }
}
