//! `hongbao server`: one server of a SET, for live and for shadow traffic.

use std::process::ExitCode;
use std::sync::Arc;

use hongbao_core::calls::Call;
use hongbao_core::limits::ROTATION_AHEAD_DAYS_MIN;
use hongbao_core::topology::{ServerEntry, SetEntry, TopologyFile};
use hongbao_core::{Clock, Traffic};
use hongbao_envelope::http::{App, DevCalls, LiveCalls};
use hongbao_envelope::permits::memcached::{MemcachedOptions, PermitMetrics};
use hongbao_envelope::permits::{LocalPermits, MemcachedPermits, Permits};
use hongbao_envelope::ready;
use hongbao_envelope::server::{Server, ServerParts, ServerTasks};
use hongbao_envelope::shared::SnapshotCache;
use hongbao_http::{Health, HotCalls, HttpMetrics, Routes};
use hongbao_store::Store;
use hongbao_wallet::Wallet;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use super::{Role, RoleTls, Start, own_routes, serve_role};
use crate::config::installation::Installation;
use crate::config::tls::Tls;
use crate::otlp::Process;
use crate::rotation::Rotator;
use crate::tokens::Tokens;
use crate::{durability, fences, process, provider, stores};

/// Runs until SIGTERM or SIGINT, then drains.
pub fn run(start: &Start<'_>) -> Result<ExitCode, String> {
    super::run(start, names, itself, tls, process::role_threads, server)
}

fn names(topology: &TopologyFile) -> Vec<String> {
    topology.sets.iter().flat_map(|set| &set.servers).map(|server| server.name.clone()).collect()
}

fn itself(topology: &TopologyFile, name: String) -> Process {
    let set = topology.server(&name).map(|(set, _)| set.name.clone());
    Process { role: "server", name, set }
}

fn tls(tls: &Tls) -> Result<RoleTls, String> {
    Ok(RoleTls { listener: tls.of_server()?, towards_servers: None })
}

async fn server(mut role: Role, name: String) -> Result<(), String> {
    let file = role.file();
    let (set, entry) = file.server(&name).ok_or("the topology has lost this server")?;
    let http_metrics = HttpMetrics::register(&Call::ALL, &mut role.registry);
    let real = start_in(&mut role, &file, set, entry, Traffic::Live).await?;
    // A rehearsal that is in trouble is no reason to get no requests.
    let (mut checks, asking) = ready::watch(real.store.clone(), role.clock.clone(), &mut role.registry);
    checks.extend(durability::shown(real.store, real.wallet, &mut role.registry));
    let (rehearsal, rehearsal_tasks) = match role.installation.rehearsal.enabled {
        true => {
            let started = start_in(&mut role, &file, set, entry, Traffic::Shadow).await?;
            (Some(started.server), Some((started.tasks, started.rotating)))
        }
        false => (None, None),
    };
    let _watching = role.tokens.watch(&mut role.registry)?;
    let Tokens { verifier, issuer, .. } = role.tokens.clone();
    let dev = role.installation.dev_calls.then_some(DevCalls { issuer });
    let health = Health::new(checks);
    let own = own_routes(&health, std::mem::take(&mut role.registry));
    let app = App::new(real.server, rehearsal, verifier);
    let hot: Arc<dyn HotCalls> = Arc::new(LiveCalls::new(app.clone()));
    let routes = Routes { router: hongbao_envelope::http::routes(app, dev).merge(own), hot: Some(hot) };
    serve_role(&role, &entry.listens_at(), routes, health, http_metrics).await?;
    asking.abort();
    real.rotating.abort();
    // The routes are gone, and with them the servers: their lanes answer what they hold and end.
    real.tasks.drained().await;
    if let Some((tasks, rotating)) = rehearsal_tasks {
        rotating.abort();
        tasks.drained().await;
    }
    tracing::info!("drained");
    Ok(())
}

/// A server for one kind of traffic, and what it works with.
struct Started {
    server: Arc<Server>,
    tasks: ServerTasks,
    store: Arc<dyn Store>,
    wallet: Arc<dyn Wallet>,
    rotating: JoinHandle<()>,
}

/// Starts one with everything of its own: databases, wallet, cache, permits, tickets.
async fn start_in(
    role: &mut Role,
    file: &TopologyFile,
    set: &SetEntry,
    entry: &ServerEntry,
    traffic: Traffic,
) -> Result<Started, String> {
    let installation = role.installation.clone();
    let store = stores::open_store(&installation, file, set, traffic).await?;
    fences::warn_of_version(file, set, &store).await?;
    fences::check_left(&installation, file, set, traffic).await?;
    let store: Arc<dyn Store> = Arc::new(store);
    let wallet: Arc<dyn Wallet> = Arc::new(stores::open_wallet(&installation, file, traffic).await?);
    let fence = store.fence().await.map_err(|error| format!("SET {:?}: its fence: {error}", set.name))?;
    tracing::info!(
        server = entry.name,
        set = set.name,
        traffic = traffic.name(),
        durability = durability::of(&*store, &*wallet).settings,
        "connected"
    );

    let registry = process::measures(&mut role.registry, traffic);
    let zone_offset_s = installation.zone_offset_s.0;
    // The workers are ahead of it, unless none has run for days.
    let rotator = Rotator::new(store.clone(), role.clock.clone(), zone_offset_s, ROTATION_AHEAD_DAYS_MIN, registry);
    let rotating = rotator.start().await?;
    let shared = match &set.cache {
        Some(url) => {
            let key = installation.tickets.snapshot_key(traffic);
            Some(SnapshotCache::start_with(traffic, installation.cache.options(url), key, store.clone(), registry)?)
        }
        None => None,
    };
    // What is rehearsed moves no money.
    let payments = match traffic {
        Traffic::Live => provider::of_installation(&installation.provider, role.clock.clone(), registry)?,
        Traffic::Shadow => None,
    };
    let permits = permits_of(&installation, entry, traffic, role.clock.clone(), registry).await?;
    let parts = ServerParts {
        store: store.clone(),
        wallet: wallet.clone(),
        clock: role.clock.clone(),
        permits,
        shared,
        tickets: installation.tickets.ticket_key(traffic),
        limits: installation.limits.clone(),
        zone_offset_s: installation.zone_offset_s.0,
        fence,
        payments,
        options: installation.server.clone(),
    };
    let (server, tasks) = Server::start(parts, registry);
    Ok(Started { server, tasks, store, wallet, rotating })
}

/// Counted by the host's memcached, or in this process where the topology names none.
async fn permits_of(
    installation: &Installation,
    entry: &ServerEntry,
    traffic: Traffic,
    clock: Arc<dyn Clock>,
    registry: &mut Registry,
) -> Result<Arc<dyn Permits>, String> {
    let cap = installation.server.permit_cap;
    let Some(address) = &entry.memcached else { return Ok(Arc::new(LocalPermits::new(cap))) };
    let holder = getrandom::u64().map_err(|error| error.to_string())?;
    let metrics = PermitMetrics::register(registry);
    let lanes = installation.server.lanes;
    let options = MemcachedOptions { traffic, lanes, ..MemcachedOptions::new(address.as_str()) };
    Ok(Arc::new(MemcachedPermits::start(options, holder, cap, clock, metrics).await))
}
