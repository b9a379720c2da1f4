//! What an operator sees of the envelope server.

use hongbao_core::UserLimit;
use hongbao_wallet::{OrderOpening, Reserved};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::answer::OpenAnswer;

/// The ways in which an opening can end, as labels, in the order of [`place_of`].
const OUTCOMES: [&str; 8] = ["opened", "replayed", "empty", "expired", "not_found", "busy", "unavailable", "unknown"];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LaneLabels {
    lane: u32,
}

/// Counts and times of one lane; the outcomes are shared by all.
#[derive(Clone)]
pub struct LaneMetrics {
    /// Openings that wait for their batch or for its commit.
    pub queue_depth: Gauge,
    /// Seconds from acceptance to the start of the batch.
    pub queue_wait: Histogram,
    /// Openings written by one transaction.
    pub batch_size: Histogram,
    /// Seconds of one transaction.
    pub commit_time: Histogram,
    /// Batches that failed as a whole.
    pub failed_batches: Counter,
    outcomes: [Counter; OUTCOMES.len()],
}

impl LaneMetrics {
    /// Counts one answer.
    pub fn count(&self, answer: &OpenAnswer) {
        self.outcomes[place_of(answer)].inc();
    }
}

/// The place of an answer in [`OUTCOMES`].
fn place_of(answer: &OpenAnswer) -> usize {
    match answer {
        OpenAnswer::Opened { replayed: false, .. } => 0,
        OpenAnswer::Opened { replayed: true, .. } => 1,
        OpenAnswer::Empty => 2,
        OpenAnswer::Expired => 3,
        OpenAnswer::NotFound => 4,
        OpenAnswer::Busy => 5,
        OpenAnswer::Unavailable(_) => 6,
        OpenAnswer::Unknown(_) => 7,
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KeyedLabels {
    outcome: &'static str,
}

/// Counts requests under a key by what was known of it.
#[derive(Clone)]
pub struct KeyedMetrics {
    new: Counter,
    repeated: Counter,
    conflict: Counter,
}

impl KeyedMetrics {
    fn register(registry: &mut Registry) -> KeyedMetrics {
        let outcomes: Family<KeyedLabels, Counter> = Family::default();
        let counter = |outcome| outcomes.get_or_create_owned(&KeyedLabels { outcome });
        let metrics =
            KeyedMetrics { new: counter("new"), repeated: counter("repeated"), conflict: counter("conflict") };
        registry.register(
            "hongbao_keyed_requests",
            "Requests with an `Idempotency-Key`, by what it stood for",
            outcomes,
        );
        metrics
    }

    /// Counts one for a charge or a payout. One that is refused leaves no key.
    pub fn count_order(&self, opening: &OrderOpening) {
        match opening {
            OrderOpening::Opened(_) => &self.new,
            OrderOpening::Repeated(_) => &self.repeated,
            OrderOpening::KeyConflict => &self.conflict,
            _ => return,
        }
        .inc();
    }

    /// Counts one for an envelope.
    pub fn count(&self, reserved: Reserved) {
        match reserved {
            Reserved::New => &self.new,
            Reserved::Repeated(_) => &self.repeated,
            Reserved::KeyConflict => &self.conflict,
            Reserved::TooManyUnpaid(_) => return,
        }
        .inc();
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LimitLabels {
    limit: &'static str,
}

/// Counts refusals by the limit of users that would have been exceeded.
#[derive(Clone)]
pub struct LimitedMetrics(Family<LimitLabels, Counter>);

impl LimitedMetrics {
    fn register(registry: &mut Registry) -> LimitedMetrics {
        let refusals: Family<LimitLabels, Counter> = Family::default();
        for limit in UserLimit::ALL {
            refusals.get_or_create_owned(&LimitLabels { limit: limit.as_str() });
        }
        registry.register(
            "hongbao_limits_exceeded",
            "Requests refused because of a limit of their user",
            refusals.clone(),
        );
        LimitedMetrics(refusals)
    }

    /// Counts one.
    pub fn count(&self, limit: UserLimit) {
        self.0.get_or_create(&LimitLabels { limit: limit.as_str() }).inc();
    }
}

/// All metrics of the envelope server, registered once.
pub struct ServerMetrics {
    queue_depth: Family<LaneLabels, Gauge>,
    shared: LaneMetrics,
    /// Envelopes in memory.
    pub live_envelopes: Gauge,
    /// Requests under a key.
    pub keyed: KeyedMetrics,
    /// Requests refused because of a limit.
    pub limited: LimitedMetrics,
    /// Users who are frozen, as far as it is known here.
    pub frozen_users: Gauge,
}

impl ServerMetrics {
    /// Registers the metrics; `durability` is what the store read back.
    pub fn register(registry: &mut Registry, durability: &str) -> ServerMetrics {
        let outcomes: Family<OutcomeLabels, Counter> = Family::default();
        let handles = OUTCOMES.map(|outcome| outcomes.get_or_create_owned(&OutcomeLabels { outcome }));
        let metrics = ServerMetrics {
            queue_depth: Family::default(),
            live_envelopes: Gauge::default(),
            keyed: KeyedMetrics::register(registry),
            limited: LimitedMetrics::register(registry),
            frozen_users: Gauge::default(),
            shared: LaneMetrics {
                queue_depth: Gauge::default(),
                queue_wait: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
                batch_size: Histogram::new(exponential_buckets(1.0, 2.0, 11)),
                commit_time: Histogram::new(exponential_buckets(0.000_1, 2.0, 16)),
                failed_batches: Counter::default(),
                outcomes: handles,
            },
        };
        let shared = &metrics.shared;
        registry.register("hongbao_open_outcomes", "Openings by how they ended", outcomes);
        registry.register(
            "hongbao_open_queue_depth",
            "Openings that wait for their batch or for its commit, by lane",
            metrics.queue_depth.clone(),
        );
        registry.register(
            "hongbao_open_queue_wait_seconds",
            "Seconds from the acceptance of an opening to its batch",
            shared.queue_wait.clone(),
        );
        registry.register("hongbao_open_batch_size", "Openings in one transaction", shared.batch_size.clone());
        registry.register(
            "hongbao_open_commit_seconds",
            "Seconds of one transaction of openings",
            shared.commit_time.clone(),
        );
        registry.register(
            "hongbao_open_failed_batches",
            "Batches that failed and were decided again",
            shared.failed_batches.clone(),
        );
        registry.register("hongbao_frozen_users", "Users whose openings are refused", metrics.frozen_users.clone());
        registry.register("hongbao_live_envelopes", "Envelopes in memory", metrics.live_envelopes.clone());
        let durability = Info::new(vec![("durability", durability.to_owned())]);
        registry.register(
            "hongbao_store_durability",
            "Durability when the process started, read back from the store",
            durability,
        );
        metrics
    }

    /// The metrics of the lane of a writer.
    pub fn lane(&self, writer: u8) -> LaneMetrics {
        let queue_depth = self.queue_depth.get_or_create_owned(&LaneLabels { lane: writer.into() });
        LaneMetrics { queue_depth, ..self.shared.clone() }
    }

    /// The metrics of openings that pass through no lane.
    pub fn direct(&self) -> LaneMetrics {
        LaneMetrics { queue_depth: Gauge::default(), ..self.shared.clone() }
    }
}
