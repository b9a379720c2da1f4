//! What an operator may configure of a gateway.

use std::time::Duration;

use hongbao_core::limits;
use hongbao_core::settings::{self, setting};
use serde::{Deserialize, Serialize};

/// Times are in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GatewayOptions {
    /// That a server has for an answer; each request says so.
    pub answer_within_ms: u64,
    /// Beyond that, before the gateway gives up on the answer.
    pub answer_grace_ms: u64,
    /// For a connection to a server to be made.
    pub connect_timeout_ms: u64,
    /// Between two probes of a server. Less than [`limits::LAST_CALL_MS`], so
    /// that a server which goes away is left before it stops accepting.
    pub probe_every_ms: u64,
    /// Between a failed probe and the next.
    pub probe_again_ms: u64,
    /// For the answer to a probe.
    pub probe_timeout_ms: u64,
    /// Failed probes in a row, refused or broken, after which a server is dead.
    pub dead_after_failures: u32,
    /// Probes in a row without an answer in time, after which it is dead.
    pub dead_after_timeouts: u32,
    /// Good probes in a row after which a dead server is back.
    pub back_after: u32,
    /// Requests that may be at one server at the same time; over it, `busy`.
    pub forwards_per_server_max: usize,
    /// Between two looks at the topology file.
    pub topology_poll_ms: u64,
    /// Whether openings and grabs are handed over in frames, many in one write, to servers that take them so. Where
    /// it is false, or a server does not, each is a request of HTTP.
    pub links: bool,
}

impl Default for GatewayOptions {
    fn default() -> GatewayOptions {
        GatewayOptions {
            answer_within_ms: 5_000,
            answer_grace_ms: 250,
            connect_timeout_ms: 1_000,
            probe_every_ms: 100,
            probe_again_ms: 20,
            probe_timeout_ms: 1_000,
            dead_after_failures: 3,
            dead_after_timeouts: 3,
            back_after: 2,
            forwards_per_server_max: limits::FORWARDS_PER_SERVER_MAX,
            topology_poll_ms: 1_000,
            links: true,
        }
    }
}

impl GatewayOptions {
    /// Checks that each setting is in its range and fits to the others.
    pub fn check(&self) -> Result<(), String> {
        let minutes = 1..=600_000;
        settings::check(
            "gateway",
            &[
                setting("answer_within_ms", self.answer_within_ms, minutes.clone()),
                setting("answer_grace_ms", self.answer_grace_ms, 0..=60_000),
                setting("connect_timeout_ms", self.connect_timeout_ms, minutes),
                setting("probe_every_ms", self.probe_every_ms, 10..=limits::LAST_CALL_MS - 1)
                    .because("a server that stops accepts no longer than that"),
                setting("probe_again_ms", self.probe_again_ms, 1..=self.probe_every_ms)
                    .because("it must not exceed probe_every_ms"),
                setting("probe_timeout_ms", self.probe_timeout_ms, 10..=60_000),
                setting("dead_after_failures", self.dead_after_failures, 2..=100),
                setting("dead_after_timeouts", self.dead_after_timeouts, 2..=100),
                setting("back_after", self.back_after, 1..=100),
                setting("forwards_per_server_max", self.forwards_per_server_max, 1..=1_000_000),
                setting("topology_poll_ms", self.topology_poll_ms, 10..=600_000),
            ],
        )
    }

    pub(crate) fn topology_poll(&self) -> Duration {
        Duration::from_millis(self.topology_poll_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_together_and_leave_a_going_server_in_time() {
        let options = GatewayOptions::default();
        assert_eq!(options.check(), Ok(()));
        let late = GatewayOptions { probe_every_ms: limits::LAST_CALL_MS, ..options };
        assert!(late.check().unwrap_err().contains("probe_every_ms"));
    }

    #[test]
    fn what_does_not_fit_is_refused_in_words() {
        let options = GatewayOptions { probe_again_ms: 5_000, ..GatewayOptions::default() };
        assert!(options.check().unwrap_err().contains("probe_again_ms"));
        let options = GatewayOptions { dead_after_failures: 1, ..GatewayOptions::default() };
        assert!(options.check().unwrap_err().contains("dead_after_failures"));
    }
}
