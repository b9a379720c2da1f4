//! What one run of a scheme gave.

use std::collections::BTreeMap;

use serde::Serialize;

use super::audit::Audit;
use super::scheme::Scheme;

/// What one run gave. What could not be measured is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// First openings a second.
    pub per_second: f64,
    /// Latency of successes, in microseconds.
    pub p50_us: Option<f64>,
    /// Latency of successes, in microseconds.
    pub p99_us: Option<f64>,
    /// Requests that were sent in the measured time.
    pub sent: u64,
    /// The share of them that got no opening.
    pub error_share: f64,
    /// Answers that were no openings, by label, those of the warm-up included.
    pub errors: BTreeMap<String, u64>,
    /// Pairs that the next figure is a share of.
    pub pairs: u64,
    /// See the legend.
    pub unfair_share: f64,
    /// See the legend.
    pub overtaken_p99: u32,
    /// Envelopes that were opened.
    pub envelopes_opened: usize,
    /// Processor time of MariaDB for an opening.
    pub database_cpu_us: Option<f64>,
    /// Processor time of the HTTP server for an opening.
    pub server_cpu_us: Option<f64>,
    /// The share of one processor that the generator used.
    pub generator_share: f64,
    /// The share of one processor that all others used.
    pub others_share: f64,
    /// Seconds of full load.
    pub elapsed_s: f64,
    /// Whether the prepared requests were used up early.
    pub used_up: bool,
    /// Seconds until the scheme had done in the background what it had put off.
    pub caught_up_s: Option<f64>,
    /// What the database held afterwards; absent for who keeps nothing.
    pub audit: Option<Audit>,
}

impl Sample {
    /// Whether there was anything to check and it was checked, or nothing is kept.
    pub fn is_audited(&self, scheme: Scheme) -> bool {
        !scheme.keeps_openings() || self.audit.as_ref().is_some_and(|audit| audit.acknowledged > 0)
    }
}
