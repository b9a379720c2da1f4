//! `hongbao gateway`: in front of the SETs. It opens no database.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::Arc;

use hongbao_core::calls::Call;
use hongbao_core::limits::LISTEN_BACKLOG_MAX;
use hongbao_core::topology::TopologyFile;
use hongbao_gateway::rate::UserRates;
use hongbao_gateway::{Gateway, GatewayParts};
use hongbao_http::{Health, HttpMetrics, Listeners, ServeOptions, serve_on_threads};
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use super::{ADDRESS_SET_BY, Role, RoleTls, Start, announce, own_routes};
use crate::config::tls::Tls;
use crate::otlp::Process;
use crate::process;

/// Runs until SIGTERM or SIGINT, then drains.
pub fn run(start: &Start<'_>) -> Result<ExitCode, String> {
    // It serves on threads of its own.
    super::run(start, names, itself, tls, |_| Ok(1), gateway)
}

fn names(topology: &TopologyFile) -> Vec<String> {
    topology.gateways.iter().map(|gateway| gateway.name.clone()).collect()
}

fn itself(_: &TopologyFile, name: String) -> Process {
    Process { role: "gateway", name, set: None }
}

fn tls(tls: &Tls) -> Result<RoleTls, String> {
    Ok(RoleTls { listener: tls.of_gateway()?, towards_servers: tls.towards_servers()? })
}

async fn gateway(mut role: Role, name: String) -> Result<(), String> {
    let file = role.file();
    let address = process::resolve(&file.gateway(&name).ok_or("the topology has lost this gateway")?.listens_at())?;
    let http_metrics = HttpMetrics::register(&Call::ALL, &mut role.registry);
    let _watching = role.tokens.watch(&mut role.registry)?;
    let parts = GatewayParts {
        verifier: role.tokens.verifier.clone(),
        clock: role.clock.clone(),
        topology: role.topology.clone(),
        rates: Some(Arc::new(UserRates::new(&role.installation.rate_limit))),
        rehearsal: role.installation.rehearsal.edge(Some(&role.installation.rate_limit)),
        dev_calls: role.installation.dev_calls,
        tls: role.tls.towards_servers.clone(),
        options: role.installation.gateway.clone(),
    };
    let (gateway, tasks) = Gateway::start(parts, &mut role.registry).await;
    let health = Health::new(vec![gateway.check()]);
    let own = own_routes(&health, std::mem::take(&mut role.registry));
    let rereading = reread_on_hangup(&role)?;
    // A request is mostly passed on: each processor serves its connections by itself.
    let threads = match NonZeroUsize::new(role.installation.http.threads) {
        Some(threads) => threads,
        None => std::thread::available_parallelism().map_err(|error| error.to_string())?,
    };
    let listeners = Listeners::bind(address, threads, LISTEN_BACKLOG_MAX);
    let listeners = listeners.map_err(|error| process::cannot_listen(address, ADDRESS_SET_BY, &error))?;
    let stop = process::stop_signal(health)?;
    let pulses = listeners.pulses();
    announce(listeners.address(), role.tls.listener.as_ref(), move || pulses.beat_since_asked());
    let RoleTls { listener, towards_servers } = role.tls;
    let mut following = JoinSet::new();
    listener.clone().map(|tls| following.spawn(tls.follow_forever()));
    towards_servers.map(|tls| following.spawn(tls.follow_forever()));
    let installation = &role.installation;
    let cors = installation.cors.cors()?;
    let options = ServeOptions { tls: listener, cors, ..installation.http.options(http_metrics) };
    let served = serve_on_threads(listeners, || gateway.routes(own.clone()), options, stop).await;
    rereading.abort();
    tasks.shutdown().await;
    tracing::info!("drained");
    served.map_err(|error| error.to_string())
}

/// SIGHUP: read the topology again, now.
fn reread_on_hangup(role: &Role) -> Result<tokio::task::JoinHandle<()>, String> {
    let mut hangup = signal(SignalKind::hangup()).map_err(|error| error.to_string())?;
    let topology = role.topology.clone();
    Ok(tokio::spawn(async move {
        while hangup.recv().await.is_some() {
            let topology = topology.clone();
            // Reading does not panic; without it the last good version stays.
            let _ = tokio::task::spawn_blocking(move || topology.reread()).await;
        }
    }))
}
