//! `hongbao dev`: gateway, server and workers in one process on SQLite.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use hongbao_core::routing::Topology;
use hongbao_core::ticket::TicketKey;
use hongbao_core::{Clock, Slot, SystemClock};
use hongbao_envelope::http::{App, DevCalls};
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::server::{Server, ServerParts, ServerTasks};
use hongbao_gateway::edge::{Edge, edge};
use hongbao_gateway::rate::{UserRates, forget_quiet_forever};
use hongbao_http::{Health, HttpMetrics, metrics, serve};
use hongbao_store::Store;
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::sqlite::file::Mode;
use hongbao_wallet::Wallet;
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_workers::driver::WorkerSet;
use hongbao_workers::job::Ports;
use hongbao_workers::lease::Tenant;
use prometheus_client::registry::Registry;

use crate::config::dev::{Config, Flags};
use crate::process;

/// Runs until SIGTERM or SIGINT, then drains. An error is one that kept it from starting.
pub fn run(file: Option<&Path>, flags: Flags, check: bool) -> Result<ExitCode, String> {
    let config = Config::load(file, std::env::vars(), flags)?;
    if check {
        print!("{}", config.shown());
        return Ok(ExitCode::SUCCESS);
    }
    process::run(&config.log.clone(), serve_until_stopped(config))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve_until_stopped(config: Config) -> Result<(), String> {
    let (listener, address) = process::listen(config.listen.0)?;

    let mut registry = Registry::default();
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let (store, wallet) = open_stores(&config).await?;
    let http_metrics = HttpMetrics::register(process::ROUTES, &mut registry);
    let ports = Ports { store: store.clone(), wallet: wallet.clone(), clock: clock.clone() };
    let zone_offset_s = config.zone_offset_s.0;
    let workers =
        WorkerSet::spawn(ports, Tenant::alone(), zone_offset_s, &config.limits.0, &config.workers, &mut registry);
    let (server, server_tasks) = start_server(&config, store.clone(), wallet, clock.clone(), &mut registry);
    let health = Health::new(Vec::new());
    let (routes, forgetting) = routes(&config, server, clock, health.clone(), registry)?;
    // Before anybody can know that we serve: a signal would end us undrained until then.
    let stop = process::stop_signal(health)?;

    println!("listening on http://{address}");
    tracing::info!(%address, data = %config.data.0.display(), durability = store.durability().words, "ready");

    serve(listener, routes, config.http.options(http_metrics), stop).await;

    // The routes are gone, and with them the server: its lanes answer what they hold and end.
    server_tasks.drained().await;
    workers.shutdown().await;
    if let Some(forgetting) = forgetting {
        forgetting.abort();
    }
    tracing::info!("drained");
    Ok(())
}

async fn open_stores(config: &Config) -> Result<(Arc<dyn Store>, Arc<dyn Wallet>), String> {
    let dir = &config.data.0;
    let fold = config.storage.fold()?;
    let store = SqliteStore::open(dir, fold, config.zone_offset_s.0, Mode::Durable).await;
    let store = store.map_err(|error| error.to_string())?;
    let wallet = SqliteWallet::open(dir, Mode::Durable).await.map_err(|error| error.to_string())?;
    Ok((Arc::new(store), Arc::new(wallet)))
}

fn start_server(
    config: &Config,
    store: Arc<dyn Store>,
    wallet: Arc<dyn Wallet>,
    clock: Arc<dyn Clock>,
    registry: &mut Registry,
) -> (Arc<Server>, ServerTasks) {
    let topology = Topology::single("dev", "dev");
    let set = topology.set_of(Slot::all().next().expect("there are slots"));
    let parts = ServerParts {
        store,
        wallet,
        clock,
        permits: Arc::new(LocalPermits::new(config.server.permit_cap)),
        shared: None,
        tickets: TicketKey::new(config.tickets.secret.0.as_bytes()),
        limits: config.limits.0.clone(),
        slots: set.slots.clone(),
        zone_offset_s: config.zone_offset_s.0,
        options: config.server.clone(),
    };
    Server::start(parts, registry)
}

type Forgetting = tokio::task::JoinHandle<()>;

/// Everything that is served, the edge in front of it.
fn routes(
    config: &Config,
    server: Arc<Server>,
    clock: Arc<dyn Clock>,
    health: Health,
    registry: Registry,
) -> Result<(Router, Option<Forgetting>), String> {
    let (verifier, issuer) = process::tokens(&config.auth, &clock)?;
    let rates = config.rate_limit.as_ref().map(|limits| Arc::new(UserRates::new(limits)));
    let forgetting = rates.clone().map(|rates| tokio::spawn(forget_quiet_forever(rates)));
    let at_the_edge = Arc::new(Edge { verifier: verifier.clone(), rates, clock });
    let routes = hongbao_envelope::http::routes(App { server, verifier }, Some(DevCalls { issuer }))
        .layer(from_fn_with_state(at_the_edge, edge))
        .merge(health.router())
        .merge(metrics::metrics_router(registry));
    Ok((routes, forgetting))
}
