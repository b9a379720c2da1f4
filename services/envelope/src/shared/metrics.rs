//! What an operator sees of the shared snapshots.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EventLabels {
    event: &'static str,
}

/// Counts of what happened to snapshots.
pub struct SharedMetrics {
    /// Read from Redis, and genuine.
    pub hits: Counter,
    /// Redis had none.
    pub misses: Counter,
    /// Read, but not a snapshot of this envelope by a server with our secret.
    pub rejected: Counter,
    /// Redis gave no answer in time, or an error.
    pub errors: Counter,
    /// Written to Redis.
    pub written: Counter,
    /// Rounds of snapshots that Redis refused to keep.
    pub refused: Counter,
    /// Not written: too many wait, too large, or outdated.
    pub dropped: Counter,
    /// 1 while no request asks Redis, because it failed.
    pub away: Gauge,
    /// 1 while Redis answers and keeps nothing, because it is full for example.
    pub writes_refused: Gauge,
}

impl SharedMetrics {
    /// Registers the metrics.
    pub fn register(registry: &mut Registry) -> SharedMetrics {
        let events: Family<EventLabels, Counter> = Family::default();
        let counter = |event| events.get_or_create_owned(&EventLabels { event });
        let metrics = SharedMetrics {
            hits: counter("hit"),
            misses: counter("miss"),
            rejected: counter("rejected"),
            errors: counter("error"),
            written: counter("written"),
            refused: counter("refused"),
            dropped: counter("dropped"),
            away: Gauge::default(),
            writes_refused: Gauge::default(),
        };
        registry.register("hongbao_shared_snapshots", "What happened to snapshots in Redis", events);
        registry.register("hongbao_shared_away", "1 while no request asks Redis", metrics.away.clone());
        registry.register(
            "hongbao_shared_writes_refused",
            "1 while Redis answers but refuses to keep snapshots, because it is full for example",
            metrics.writes_refused.clone(),
        );
        metrics
    }
}
