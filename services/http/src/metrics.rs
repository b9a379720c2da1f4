//! Prometheus metrics: what is counted of every request.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hongbao_core::calls::{Call, CallInfo};
use http::{Method, StatusCode};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::link::LinkMetrics;

/// Upper bounds of the latency buckets, in microseconds.
const LATENCY_BOUNDS_US: [u64; 16] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000,
    5_000_000, 10_000_000,
];

/// `1xx` to `5xx`.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// Requests by route and class of status, and their latency. Cheap to clone;
/// a request costs three additions and no lock.
#[derive(Clone, Debug, Default)]
pub struct HttpMetrics(Arc<Figures>);

#[derive(Debug, Default)]
struct Figures {
    real: Vec<Route>,
    /// The same routes, for what is marked as a rehearsal.
    rehearsal: Vec<Route>,
    connections: AtomicU64,
    connections_refused: AtomicU64,
    came_early: AtomicU64,
    fast: AtomicU64,
    links: LinkMetrics,
}

impl HttpMetrics {
    /// Counts these calls one by one, and what is for none of them as `other`.
    pub fn new(calls: &[Call]) -> HttpMetrics {
        // The last one is for what matches none of the others.
        let all = || calls.iter().map(|call| Route::of(*call)).chain([Route::other()]).collect();
        HttpMetrics(Arc::new(Figures { real: all(), rehearsal: all(), ..Figures::default() }))
    }

    /// The same, exposed as `hongbao_http_requests_total` and
    /// `hongbao_http_request_seconds`; what is marked as a rehearsal with
    /// `rehearsal_` before these names, as soon as there is any.
    pub fn register(calls: &[Call], registry: &mut Registry) -> HttpMetrics {
        let metrics = HttpMetrics::new(calls);
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    /// The place of a request's route.
    pub(crate) fn route_of(&self, method: &Method, path: &str) -> usize {
        let routes = &self.0.real;
        routes.iter().position(|route| route.matches(method, path)).unwrap_or(routes.len().saturating_sub(1))
    }

    /// The place of this call's route.
    pub(crate) fn route_of_call(&self, call: Call) -> usize {
        let (routes, info) = (&self.0.real, call.info());
        let is_of = |route: &Route| route.call.is_some_and(|of| (of.method, of.path) == (info.method, info.path));
        routes.iter().position(is_of).unwrap_or(routes.len().saturating_sub(1))
    }

    /// Counts a request that was answered; it may be marked as a rehearsal.
    pub(crate) fn observe(&self, route: usize, is_marked: bool, status: StatusCode, latency: Duration) {
        let routes = if is_marked { &self.0.rehearsal } else { &self.0.real };
        let Some(route) = routes.get(route) else { return };
        let class = usize::from(status.as_u16() / 100).clamp(1, CLASSES.len()) - 1;
        route.by_class[class].fetch_add(1, Ordering::Relaxed);
        route.latency.observe(latency);
    }

    /// Counts a connection that is open from now on.
    pub(crate) fn connection_opened(&self) {
        self.0.connections.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts one of them that has ended.
    pub(crate) fn connection_ended(&self) {
        self.0.connections.fetch_sub(1, Ordering::Relaxed);
    }

    /// Counts a request that came before its `Retry-After`.
    pub(crate) fn came_early(&self) {
        self.0.came_early.fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that was answered past hyper.
    pub(crate) fn answered_fast(&self) {
        self.0.fast.fetch_add(1, Ordering::Relaxed);
    }

    /// The counts of links.
    pub(crate) fn links(&self) -> &LinkMetrics {
        &self.0.links
    }

    /// Counts a connection over the limit.
    pub(crate) fn refused_connection(&self) {
        self.0.connections_refused.fetch_add(1, Ordering::Relaxed);
    }
}

/// One call and its figures.
#[derive(Debug)]
struct Route {
    /// `POST /v1/envelopes/{id}/open`
    label: String,
    /// `None` for what is none of the others.
    call: Option<CallInfo>,
    by_class: [AtomicU64; CLASSES.len()],
    latency: Latency,
}

impl Route {
    fn of(call: Call) -> Route {
        let call = call.info();
        Route { label: call.label(), call: Some(call), ..Route::other() }
    }

    fn other() -> Route {
        Route { label: "other".to_owned(), call: None, by_class: Default::default(), latency: Latency::default() }
    }

    fn matches(&self, method: &Method, path: &str) -> bool {
        self.call.is_none_or(|call| call.method.as_str() == method.as_str() && call.matches(path).is_some())
    }
}

/// A histogram without a lock: the one of prometheus-client has one, which
/// every core would wait for.
#[derive(Debug, Default)]
pub struct Latency {
    buckets: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

impl Latency {
    /// Takes in one time.
    pub fn observe(&self, latency: Duration) {
        let us = latency.as_micros() as u64;
        let bucket = LATENCY_BOUNDS_US.iter().position(|bound| us <= *bound).unwrap_or(LATENCY_BOUNDS_US.len());
        self.buckets[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }
}

impl EncodeMetric for Latency {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let bounds = LATENCY_BOUNDS_US.iter().map(|us| *us as f64 / 1e6).chain([f64::INFINITY]);
        let counts = self.buckets.iter().map(|count| count.load(Ordering::Relaxed));
        let buckets: Vec<(f64, u64)> = bounds.zip(counts).collect();
        let count = buckets.iter().map(|(_, count)| count).sum();
        let sum_s = self.sum_us.load(Ordering::Relaxed) as f64 / 1e6;
        encoder.encode_histogram::<NoLabelSet>(sum_s, count, &buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl Collector for HttpMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let open = ConstGauge::new(self.0.connections.load(Ordering::Relaxed));
        let help = "Connections that are open.";
        open.encode(encoder.encode_descriptor("hongbao_http_connections", help, None, MetricType::Gauge)?)?;
        let refused = ConstCounter::new(self.0.connections_refused.load(Ordering::Relaxed));
        let help = "Connections over the limit.";
        refused.encode(encoder.encode_descriptor(
            "hongbao_http_connections_refused",
            help,
            None,
            MetricType::Counter,
        )?)?;
        let early = ConstCounter::new(self.0.came_early.load(Ordering::Relaxed));
        let help = "Requests before their Retry-After: they were delayed until then, or refused where an equal one was delayed.";
        early.encode(encoder.encode_descriptor("hongbao_http_requests_early", help, None, MetricType::Counter)?)?;
        let fast = ConstCounter::new(self.0.fast.load(Ordering::Relaxed));
        let help = "Grabs, openings and looks that were written as usual and answered past hyper and the router.";
        fast.encode(encoder.encode_descriptor("hongbao_http_requests_fast", help, None, MetricType::Counter)?)?;
        self.0.links.encode("hongbao_http", &mut encoder)?;
        encode_routes(&self.0.real, "", &mut encoder)?;
        let is_used = |route: &Route| route.by_class.iter().any(|count| count.load(Ordering::Relaxed) > 0);
        if self.0.rehearsal.iter().any(is_used) {
            encode_routes(&self.0.rehearsal, "rehearsal_", &mut encoder)?;
        }
        Ok(())
    }
}

fn encode_routes(routes: &[Route], prefix: &str, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
    let help = "Requests answered, by route and class of status.";
    let name = format!("{prefix}hongbao_http_requests");
    let mut requests = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
    for route in routes {
        for (class, count) in CLASSES.iter().zip(&route.by_class) {
            let count = count.load(Ordering::Relaxed);
            if count > 0 {
                let labels = [("route", route.label.as_str()), ("status", *class)];
                ConstCounter::new(count).encode(requests.encode_family(&labels)?)?;
            }
        }
    }
    let help = "Seconds from the head of a request to its answer, by route.";
    let name = format!("{prefix}hongbao_http_request_seconds");
    let mut latencies = encoder.encode_descriptor(&name, help, None, MetricType::Histogram)?;
    for route in routes {
        route.latency.encode(latencies.encode_family(&[("route", route.label.as_str())])?)?;
    }
    Ok(())
}
