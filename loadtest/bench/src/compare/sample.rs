//! What one run of a scheme gave.

use serde::Serialize;

use super::audit::Audit;
use super::scheme::Scheme;
use crate::measure;

/// What one run gave. What could not be measured is absent.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Sample {
    /// Of first openings; what was sent counts from the end of the warm-up.
    #[serde(flatten)]
    pub load: measure::Sample,
    /// The share of the requests that got no opening.
    pub error_share: f64,
    /// Pairs that the next figure is a share of.
    pub pairs: u64,
    /// See the legend.
    pub unfair_share: f64,
    /// See the legend.
    pub overtaken_p99: u32,
    pub envelopes_opened: usize,
    /// Processor time of MariaDB for an opening, in microseconds.
    pub database_cpu_us: Option<f64>,
    /// What the database held afterwards; absent where nothing is kept.
    pub audit: Option<Audit>,
}

impl Sample {
    /// Whether there was anything to check and it was checked, or nothing is kept.
    pub fn is_audited(&self, scheme: Scheme) -> bool {
        !scheme.keeps_openings() || self.audit.as_ref().is_some_and(|audit| audit.acknowledged > 0)
    }
}
