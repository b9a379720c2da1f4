//! A gateway, put together.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use axum::Router;
use axum::extract::Request;
use hongbao_core::Clock;
use hongbao_http::health::Check;
use hongbao_http::tls::TlsTowardsServers;
use hongbao_http::{HotCalls, Routes, Verifier};
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use crate::canary;
use crate::edge::{Edge, RehearsalEdge};
use crate::fleet::Fleets;
use crate::metrics::GatewayMetrics;
use crate::options::GatewayOptions;
use crate::proxy::{Proxy, Shared};
use crate::rate::{UserRates, forget_quiet_forever};
use crate::topology::TopologyWatcher;
use crate::transport::Transport;

/// What a gateway is made of.
pub struct GatewayParts {
    /// Checks tokens.
    pub verifier: Verifier,
    /// Dates the ids.
    pub clock: Arc<dyn Clock>,
    /// Where the servers are.
    pub topology: Arc<TopologyWatcher>,
    /// Counts requests; `None` when rates are not limited.
    pub rates: Option<Arc<UserRates>>,
    /// How rehearsals are treated; `None` where none is taken.
    pub rehearsal: Option<RehearsalEdge>,
    /// Whether the calls of development are offered.
    pub dev_calls: bool,
    /// Speaks TLS with servers; `None` where they are spoken to without.
    pub tls: Option<TlsTowardsServers>,
    /// What an operator has set.
    pub options: GatewayOptions,
}

/// A running gateway. Cheap to clone.
#[derive(Clone)]
pub struct Gateway {
    shared: Arc<Shared>,
}

/// What runs in the background: probes, and the looks at the topology.
pub struct GatewayTasks {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Gateway {
    /// Starts the probes and the looks at the topology, on the runtime that this
    /// is called on.
    pub async fn start(parts: GatewayParts, registry: &mut Registry) -> (Gateway, GatewayTasks) {
        let GatewayParts { verifier, clock, topology, rates, rehearsal, dev_calls, tls, options } = parts;
        let fleets = Arc::new(Fleets::start(topology.clone(), options.clone(), tls).await);
        topology.register(registry);
        let metrics = GatewayMetrics::register(fleets.clone(), registry);
        let mut tasks = vec![
            tokio::spawn(topology.watch_forever(options.topology_poll())),
            tokio::spawn(fleets.clone().follow_forever()),
            tokio::spawn(fleets.clone().follow_names_forever()),
            tokio::spawn(canary::judge_forever(fleets.clone())),
        ];
        let rehearsed = rehearsal.as_ref().and_then(|edge| edge.rates.as_ref());
        for rates in rates.iter().chain(rehearsed) {
            tasks.push(tokio::spawn(forget_quiet_forever(rates.clone())));
        }
        let edge = Edge { verifier, rates, rehearsal, dev_calls, clock };
        let turn = AtomicU64::new(0);
        let shared = Arc::new(Shared { edge, fleets, options, metrics, turn });
        (Gateway { shared: shared.clone() }, GatewayTasks { shared, tasks })
    }

    /// What `/readyz` asks: whether any server can be asked.
    pub fn check(&self) -> Check {
        let fleets = self.shared.fleets.clone();
        Check::new("servers", move || match fleets.current().all().iter().any(|server| server.is_up()) {
            true => Ok(()),
            false => Err("no server is up".to_owned()),
        })
    }

    /// Everything that a gateway serves: `own` are the routes that it answers
    /// itself, such as `/healthz` and `/metrics`. Each call makes connections of
    /// its own: one router for each thread that has a runtime to itself.
    pub fn routes(&self, own: Router) -> Routes {
        let transport = Transport::new(&self.shared.options, &self.shared.metrics);
        let proxy = Arc::new(Proxy { shared: self.shared.clone(), transport });
        let hot: Arc<dyn HotCalls> = proxy.clone();
        let router = own.fallback(move |request: Request| {
            let proxy = proxy.clone();
            async move { proxy.answer(request).await }
        });
        Routes { router, hot: Some(hot) }
    }
}

impl GatewayTasks {
    /// Ends everything in the background: to be called when nothing is served any more.
    pub async fn shutdown(self) {
        self.shared.fleets.stop();
        for task in &self.tasks {
            task.abort();
        }
        for task in self.tasks {
            // It was aborted; how it ended is of no interest.
            let _ = task.await;
        }
    }
}
