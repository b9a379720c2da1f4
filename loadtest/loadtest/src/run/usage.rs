//! What a run used of processors.

use std::collections::BTreeMap;
use std::time::Duration;

use hongbao_load::{Batches, Fallible, machine};

use super::target::Target;

/// Processor time, by who used it.
#[derive(Default)]
pub struct Usage {
    pub generator: Duration,
    pub service: Option<Duration>,
    pub parts: BTreeMap<String, Duration>,
}

/// What the load took.
#[derive(Default)]
pub struct Used {
    pub load_s: f64,
    pub cpu: Usage,
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

    pub fn since(&self, before: &Usage) -> Usage {
        let part = |(name, now): (&String, &Duration)| {
            (name.clone(), now.saturating_sub(before.parts.get(name).copied().unwrap_or_default()))
        };
        Usage {
            generator: self.generator.saturating_sub(before.generator),
            service: self.service.zip(before.service).map(|(now, before)| now.saturating_sub(before)),
            parts: self.parts.iter().map(part).collect(),
        }
    }

    /// That of all parts with such names, in microseconds.
    pub fn us_of(&self, of: impl Fn(&str) -> bool) -> f64 {
        let parts = self.parts.iter().filter(|(name, _)| of(name));
        parts.map(|(_, used)| used.as_secs_f64() * 1e6).sum()
    }
}
