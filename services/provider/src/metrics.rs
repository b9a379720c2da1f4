//! What an operator sees of the provider, under `hongbao_provider_*`.

use std::time::Duration;

use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::port::ProviderError;

/// Upper bounds of the histogram, in seconds.
const SECONDS: [f64; 9] = [0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 20.0];

/// How a request ended.
const OUTCOMES: [&str; 5] = ["answered", "unknown", "not_sent", "rate_limited", "rejected"];

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, EncodeLabelValue)]
pub enum Verb {
    /// An order.
    #[expect(non_camel_case_types, reason = "it is written like this")]
    send,
    /// That an order never happens.
    #[expect(non_camel_case_types, reason = "it is written like this")]
    close,
    /// What became of an order.
    #[expect(non_camel_case_types, reason = "it is written like this")]
    query,
    /// The bill of a day.
    #[expect(non_camel_case_types, reason = "it is written like this")]
    bill,
}

impl Verb {
    const ALL: [Verb; 4] = [Verb::send, Verb::close, Verb::query, Verb::bill];
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    verb: Verb,
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OfVerb {
    verb: Verb,
}

/// The counts.
#[derive(Clone, Debug)]
pub struct ProviderMetrics {
    requests: Family<Labels, Counter>,
    seconds: Family<OfVerb, Histogram>,
    in_flight: Gauge,
    circuit_open: Gauge,
}

impl ProviderMetrics {
    /// Registers them.
    pub fn register(registry: &mut Registry) -> ProviderMetrics {
        let metrics = ProviderMetrics {
            requests: Family::default(),
            seconds: Family::new_with_constructor(|| Histogram::new(SECONDS)),
            in_flight: Gauge::default(),
            circuit_open: Gauge::default(),
        };
        // From zero on, so that the first one of a kind is a rise.
        for verb in Verb::ALL {
            for outcome in OUTCOMES {
                drop(metrics.requests.get_or_create(&Labels { verb, outcome }));
            }
            drop(metrics.seconds.get_or_create(&OfVerb { verb }));
        }
        let ProviderMetrics { requests, seconds, in_flight, circuit_open } = metrics.clone();
        registry.register(
            "hongbao_provider_requests",
            "Requests to the payment provider, by what was asked and how it ended: answered, unknown (it may have \
             happened), not_sent, rate_limited, rejected",
            requests,
        );
        registry.register("hongbao_provider_request_seconds", "How long requests that were sent took", seconds);
        registry.register("hongbao_provider_requests_in_flight", "Requests that are under way", in_flight);
        registry.register(
            "hongbao_provider_circuit_open",
            "1 while nothing is sent because the provider did not answer",
            circuit_open,
        );
        metrics
    }

    pub(crate) fn ended<T>(&self, verb: Verb, result: &Result<T, ProviderError>) {
        let outcome = OUTCOMES[match result {
            Ok(_) => 0,
            Err(ProviderError::Unknown(_)) => 1,
            Err(ProviderError::NotSent(_)) => 2,
            Err(ProviderError::RateLimited { .. }) => 3,
            Err(ProviderError::Rejected(_)) => 4,
        }];
        self.requests.get_or_create(&Labels { verb, outcome }).inc();
    }

    pub(crate) fn took(&self, verb: Verb, time: Duration) {
        self.seconds.get_or_create(&OfVerb { verb }).observe(time.as_secs_f64());
    }

    pub(crate) fn in_flight(&self) -> &Gauge {
        &self.in_flight
    }

    pub(crate) fn circuit_is_open(&self, is_open: bool) {
        self.circuit_open.set(i64::from(is_open));
    }
}
