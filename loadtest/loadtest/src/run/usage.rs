//! What a run used of processors.

use std::collections::BTreeMap;
use std::time::Duration;

use hongbao_load::metrics::Batches;
use hongbao_load::{Fallible, machine};

use super::target::Target;

/// Processor time so far, by who used it.
pub struct Usage {
    generator: Duration,
    service: Option<Duration>,
    parts: BTreeMap<String, Duration>,
}

/// Processor time that the load took.
#[derive(Default)]
pub struct Used {
    pub load_s: f64,
    pub generator: Duration,
    pub service: Option<Duration>,
    pub parts: BTreeMap<String, Duration>,
    /// Commits, and openings in them.
    pub batches: Batches,
}

impl Usage {
    /// Reads it. Relays of faults are a thread of this process, but not the generator.
    pub fn read(target: &Target) -> Fallible<Usage> {
        let relays = target.cluster().and_then(|cluster| cluster.relay_cpu_time().ok()).unwrap_or_default();
        Ok(Usage {
            generator: machine::cpu_time(std::process::id())?.saturating_sub(relays),
            service: target.cpu_time(),
            parts: target.cluster().and_then(|cluster| cluster.cpu_times().ok()).unwrap_or_default(),
        })
    }

    /// What was used in between.
    pub fn since(&self, before: &Usage, took: Duration) -> Used {
        let part = |(name, now): (&String, &Duration)| {
            let used = now.saturating_sub(before.parts.get(name).copied().unwrap_or_default());
            (name.clone(), used)
        };
        Used {
            load_s: took.as_secs_f64(),
            generator: self.generator.saturating_sub(before.generator),
            service: self.service.zip(before.service).map(|(now, before)| now.saturating_sub(before)),
            parts: self.parts.iter().map(part).collect(),
            batches: Batches::default(),
        }
    }
}

impl Used {
    /// Of all parts whose names end like this, in microseconds.
    pub fn us_of(&self, of: impl Fn(&str) -> bool) -> f64 {
        let parts = self.parts.iter().filter(|(name, _)| of(name));
        parts.map(|(_, used)| used.as_secs_f64() * 1e6).sum()
    }
}
