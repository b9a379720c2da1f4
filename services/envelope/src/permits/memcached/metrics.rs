//! What the counting of entries costs, and who counts.

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// Counts and times of [`super::MemcachedPermits`].
#[derive(Clone)]
pub struct PermitMetrics {
    /// Questions to memcached.
    pub round_trips: Counter,
    /// Seconds that a batch of entries waited for memcached.
    pub wait: Histogram,
    /// Entries that were decided without memcached.
    pub fallbacks: Counter,
    /// Entries that were refused.
    pub refused: Counter,
    /// 1 while memcached is away and this process counts for itself.
    pub local: Gauge,
    /// Envelopes of which permits are held.
    pub held: Gauge,
    /// 1 while this process holds a permit of every envelope.
    pub standing: Gauge,
}

impl PermitMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> PermitMetrics {
        let metrics = PermitMetrics {
            round_trips: Counter::default(),
            wait: Histogram::new(exponential_buckets(0.000_05, 2.0, 14)),
            fallbacks: Counter::default(),
            refused: Counter::default(),
            local: Gauge::default(),
            held: Gauge::default(),
            standing: Gauge::default(),
        };
        let named = &metrics;
        registry.register("hongbao_permit_round_trips", "Questions to memcached", named.round_trips.clone());
        registry.register(
            "hongbao_permit_wait_seconds",
            "Seconds that a batch of entries waited for memcached",
            named.wait.clone(),
        );
        registry.register("hongbao_permit_fallbacks", "Entries decided without memcached", named.fallbacks.clone());
        registry.register("hongbao_permit_refused", "Entries over the cap", named.refused.clone());
        registry.register(
            "hongbao_permits_local",
            "1 while memcached is away and this process counts for itself",
            named.local.clone(),
        );
        registry.register("hongbao_permits_held", "Envelopes of which permits are held", named.held.clone());
        let standing = "1 while this process holds a permit of every envelope";
        registry.register("hongbao_permits_standing", standing, named.standing.clone());
        metrics
    }
}
