//! What an operator sees of a gateway.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hongbao_core::{Clock as _, SystemClock, Traffic};
use hongbao_http::Code;
use hongbao_http::link::LinkMetrics;
use hongbao_http::metrics::Latency;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::fleet::Fleets;
use crate::upstream::Upstream;

/// How a request ended: a server's answer was passed on, the gateway refused
/// it, it may have happened, or no server could answer.
const OUTCOMES: [&str; 4] = ["forwarded", "refused", "unknown", "unavailable"];
/// Why a request was sent again.
const RETRIES: [&str; 2] = ["connection_refused", "misdirected"];

/// Counts of a gateway, under `hongbao_gateway_*`; those of the rehearsal under
/// `rehearsal_hongbao_gateway_*`. A request costs a few additions and no lock.
pub struct GatewayMetrics {
    fleets: Arc<Fleets>,
    real: Counts,
    rehearsal: Counts,
    links: LinkMetrics,
    links_opening: AtomicU64,
}

/// What is counted in each kind of traffic.
#[derive(Debug, Default)]
pub struct Counts {
    outcomes: [AtomicU64; OUTCOMES.len()],
    retries: [AtomicU64; RETRIES.len()],
    upstream: Latency,
}

impl GatewayMetrics {
    pub(crate) fn register(fleets: Arc<Fleets>, registry: &mut Registry) -> Arc<GatewayMetrics> {
        let (real, rehearsal) = (Counts::default(), Counts::default());
        let (links, links_opening) = (LinkMetrics::default(), AtomicU64::new(0));
        let metrics = Arc::new(GatewayMetrics { fleets, real, rehearsal, links, links_opening });
        registry.register_collector(Box::new(metrics.clone()));
        metrics
    }

    /// The counts of a request, which may be marked as a rehearsal.
    pub(crate) fn of(&self, is_marked: bool) -> &Counts {
        if is_marked { &self.rehearsal } else { &self.real }
    }

    /// The counts of links, of both kinds of traffic.
    pub(crate) fn links(&self) -> &LinkMetrics {
        &self.links
    }

    /// Counts a link that is being opened from now on, or is no more.
    pub(crate) fn link_opening(&self, begins: bool) {
        match begins {
            true => self.links_opening.fetch_add(1, Ordering::Relaxed),
            false => self.links_opening.fetch_sub(1, Ordering::Relaxed),
        };
    }
}

impl Counts {
    /// Counts a request whose answer is a server's.
    pub(crate) fn forwarded(&self) {
        self.outcomes[0].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request whose answer is the gateway's own.
    pub(crate) fn answered_here(&self, code: Code) {
        let outcome = match code {
            Code::OutcomeUnknown => 2,
            Code::Unavailable => 3,
            _ => 1,
        };
        self.outcomes[outcome].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that goes to the next server.
    pub(crate) fn retried_after_refusal(&self) {
        self.retries[0].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a request that goes to another SET.
    pub(crate) fn retried_after_misdirection(&self) {
        self.retries[1].fetch_add(1, Ordering::Relaxed);
    }

    /// Takes in how long a server took.
    pub(crate) fn observe_upstream(&self, time: Duration) {
        self.upstream.observe(time);
    }

    fn encode(&self, prefix: &str, encoder: &mut DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut counts = |name: &str, help, label, names: &[&str], counts: &[AtomicU64]| {
            let name = format!("{prefix}{name}");
            let mut family = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for (value, count) in names.iter().zip(counts) {
                let count = ConstCounter::new(count.load(Ordering::Relaxed));
                count.encode(family.encode_family(&[(label, *value)])?)?;
            }
            Ok::<(), fmt::Error>(())
        };
        counts("hongbao_gateway_requests", "Requests, by how they ended.", "outcome", &OUTCOMES, &self.outcomes)?;
        let help = "Requests that were sent to another server, by why.";
        counts("hongbao_gateway_retries", help, "after", &RETRIES, &self.retries)?;

        let help = "Seconds from sending a request to a server to the head of its answer.";
        let name = format!("{prefix}hongbao_gateway_upstream_seconds");
        self.upstream.encode(encoder.encode_descriptor(&name, help, None, MetricType::Histogram)?)
    }
}

impl fmt::Debug for GatewayMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("GatewayMetrics");
        shown.field("real", &self.real).field("rehearsal", &self.rehearsal).finish_non_exhaustive()
    }
}

impl Collector for GatewayMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        self.real.encode("", &mut encoder)?;
        self.rehearsal.encode("rehearsal_", &mut encoder)?;
        self.links.encode("hongbao_gateway", &mut encoder)?;
        let opening = ConstGauge::new(self.links_opening.load(Ordering::Relaxed));
        let (name, help) = ("hongbao_gateway_links_opening", "Links that are being opened.");
        opening.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;

        let fleet = self.fleets.current();
        for (prefix, traffic) in [("", Traffic::Live), ("rehearsal_", Traffic::Shadow)] {
            let name = format!("{prefix}hongbao_gateway_births");
            let help = "Ids of new envelopes, by the SET that they were minted for.";
            let mut births = encoder.encode_descriptor(&name, help, None, MetricType::Counter)?;
            for set in fleet.sets() {
                let count = ConstCounter::new(set.births.of(traffic));
                count.encode(births.encode_family(&[("set", set.name.as_str())])?)?;
            }
        }
        let help = "Whether new envelopes are placed in a SET now.";
        let mut open = encoder.encode_descriptor("hongbao_gateway_set_takes_new", help, None, MetricType::Gauge)?;
        let now = SystemClock.now();
        for (number, set) in fleet.sets().iter().enumerate() {
            let takes_new = ConstGauge::new(u64::from(fleet.open_weight(number, now).is_ok()));
            takes_new.encode(open.encode_family(&[("set", set.name.as_str())])?)?;
        }
        fn labels(server: &Upstream) -> [(&str, &str); 2] {
            [("set", &server.set), ("server", &server.name)]
        }
        let help = "Whether a canary SET has lost its weight by its rule.";
        let mut lost = encoder.encode_descriptor("hongbao_gateway_canary_withdrawn", help, None, MetricType::Gauge)?;
        for set in fleet.sets().iter().filter(|set| set.canary.is_some()) {
            let withdrawn = ConstGauge::new(u64::from(set.is_withdrawn()));
            withdrawn.encode(lost.encode_family(&[("set", set.name.as_str())])?)?;
        }
        let help = "Whether a server is believed to be up.";
        let mut up = encoder.encode_descriptor("hongbao_gateway_server_up", help, None, MetricType::Gauge)?;
        for server in fleet.all() {
            ConstGauge::new(u64::from(server.is_up())).encode(up.encode_family(&labels(server))?)?;
        }
        let help = "Requests that are at a server.";
        let mut at = encoder.encode_descriptor("hongbao_gateway_in_flight", help, None, MetricType::Gauge)?;
        for server in fleet.all() {
            ConstGauge::new(server.in_flight() as u64).encode(at.encode_family(&labels(server))?)?;
        }
        let help = "Requests that may be at a server, at the rate at which it answers now.";
        let mut most = encoder.encode_descriptor("hongbao_gateway_in_flight_max", help, None, MetricType::Gauge)?;
        for server in fleet.all() {
            ConstGauge::new(server.in_flight_max() as u64).encode(most.encode_family(&labels(server))?)?;
        }
        let (name, help) = ("hongbao_gateway_server_changes", "Changes of what a server is believed to be.");
        let mut changes = encoder.encode_descriptor(name, help, None, MetricType::Counter)?;
        for server in fleet.all() {
            ConstCounter::new(server.changes()).encode(changes.encode_family(&labels(server))?)?;
        }
        Ok(())
    }
}
