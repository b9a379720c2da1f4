//! `hongbao server`: one server of a SET.

use std::process::ExitCode;
use std::sync::Arc;

use hongbao_core::ticket::TicketKey;
use hongbao_core::topology::{ServerEntry, TopologyFile};
use hongbao_envelope::http::{App, DevCalls};
use hongbao_envelope::permits::memcached::{MemcachedOptions, PermitMetrics};
use hongbao_envelope::permits::{LocalPermits, MemcachedPermits, Permits};
use hongbao_envelope::ready;
use hongbao_envelope::server::{Server, ServerParts};
use hongbao_envelope::shared::SharedViews;
use hongbao_http::{Health, HttpMetrics};
use hongbao_store::Store;
use hongbao_wallet::Wallet;

use super::{Role, Start, own_routes, serve_role};
use crate::{durability, process, stores};

/// Runs until SIGTERM or SIGINT, then drains.
pub fn run(start: &Start<'_>) -> Result<ExitCode, String> {
    super::run(start, names, server)
}

fn names(topology: &TopologyFile) -> Vec<String> {
    topology.sets.iter().flat_map(|set| &set.servers).map(|server| server.name.clone()).collect()
}

async fn server(mut role: Role, name: String) -> Result<(), String> {
    let file = role.file();
    let (set, entry) = file.server(&name).ok_or("the topology has lost this server")?;
    let installation = role.installation.clone();
    let store: Arc<dyn Store> = Arc::new(stores::open_store(&installation, set).await?);
    let wallet: Arc<dyn Wallet> = Arc::new(stores::open_wallet(&installation, &file).await?);
    tracing::info!(server = name, set = set.name, durability = durability::of(&*store, &*wallet).words, "connected");

    let (mut checks, asking) = ready::watch(store.clone(), role.clock.clone(), &mut role.registry);
    checks.push(durability::shown(store.clone(), wallet.clone(), &mut role.registry));
    let http_metrics = HttpMetrics::register(process::ROUTES, &mut role.registry);
    let shared = match &set.cache {
        Some(url) => {
            let secret = installation.tickets.secret.0.as_bytes();
            Some(SharedViews::start(url, secret, store.clone(), &mut role.registry)?)
        }
        None => None,
    };
    let permits = permits_of(&mut role, entry).await?;
    let parts = ServerParts {
        store,
        wallet,
        clock: role.clock.clone(),
        permits,
        shared,
        tickets: TicketKey::new(installation.tickets.secret.0.as_bytes()),
        limits: installation.limits.clone(),
        slots: set.slots.slots().to_vec(),
        zone_offset_s: installation.zone_offset_s.0,
        options: installation.server.clone(),
    };
    let (server, tasks) = Server::start(parts, &mut role.registry);
    let (verifier, issuer) = process::tokens(&installation.auth, &role.clock)?;
    let dev = installation.dev_calls.then_some(DevCalls { issuer });
    let health = Health::new(checks);
    let own = own_routes(&health, std::mem::take(&mut role.registry));
    let routes = hongbao_envelope::http::routes(App { server, verifier }, dev).merge(own);
    serve_role(&role, entry.address, routes, health, http_metrics).await?;
    asking.abort();
    // The routes are gone, and with them the server: its lanes answer what they hold and end.
    tasks.drained().await;
    tracing::info!("drained");
    Ok(())
}

/// Counted by the host's memcached, or in this process where the topology names none.
async fn permits_of(role: &mut Role, entry: &ServerEntry) -> Result<Arc<dyn Permits>, String> {
    let cap = role.installation.server.permit_cap;
    let Some(address) = &entry.memcached else { return Ok(Arc::new(LocalPermits::new(cap))) };
    let holder = getrandom::u64().map_err(|error| error.to_string())?;
    let metrics = PermitMetrics::register(&mut role.registry);
    let options = MemcachedOptions::new(address.as_str());
    Ok(Arc::new(MemcachedPermits::start(options, holder, cap, role.clock.clone(), metrics).await))
}
