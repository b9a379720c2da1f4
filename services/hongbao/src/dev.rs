//! `hongbao dev`: gateway, server and workers in one process on SQLite.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn_with_state;
use hongbao_core::routing::Topology;
use hongbao_core::ticket::TicketKey;
use hongbao_core::{Clock, Slot, SystemClock, World};
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
use crate::log;
use crate::process::{self, Tokens};

/// What an operator chooses the address by.
const LISTEN_SET_BY: &str = "--listen, HONGBAO_LISTEN or `listen` in the settings file";

/// Where the files of the rehearsal are, in the folder of the real ones.
const SHADOW_FOLDER: &str = "shadow";

/// Runs until SIGTERM or SIGINT, then drains. An error is one that kept it from starting.
pub fn run(file: Option<&Path>, flags: Flags, check: bool) -> Result<ExitCode, String> {
    let config = Config::load(file, std::env::vars_os(), flags)?;
    // What `--check` takes does not keep it from starting later.
    log::directives(&config.log)?;
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let tokens = Tokens::load(&config.auth, &clock)?;
    check_folder(&config.data.0)?;
    if check {
        print!("{}", config.shown());
        return Ok(ExitCode::SUCCESS);
    }
    process::run(&config.log.clone(), serve_until_stopped(config, tokens, clock))?;
    Ok(ExitCode::SUCCESS)
}

/// A folder that is not there yet is made.
fn check_folder(data: &Path) -> Result<(), String> {
    match std::fs::metadata(data) {
        Ok(found) if !found.is_dir() => Err(format!("data: {} is not a folder", data.display())),
        _ => Ok(()),
    }
}

async fn serve_until_stopped(config: Config, tokens: Tokens, clock: Arc<dyn Clock>) -> Result<(), String> {
    let (listener, address) = process::listen(config.listen.0, LISTEN_SET_BY)?;

    let mut registry = process::registry();
    let http_metrics = HttpMetrics::register(process::ROUTES, &mut registry);
    let real = start_in(World::Real, &config, &clock, &mut registry).await?;
    let durability = real.durability;
    let mut running = vec![(real.tasks, real.workers)];
    let rehearsal = match config.rehearsal.enabled {
        true => {
            let started = start_in(World::Rehearsal, &config, &clock, &mut registry).await?;
            running.push((started.tasks, started.workers));
            Some(started.server)
        }
        false => None,
    };
    let health = Health::new(Vec::new());
    let (routes, forgetting) = routes(&config, (real.server, rehearsal), (tokens, clock), health.clone(), registry);
    // Before anybody can know that we serve: a signal would end us undrained until then.
    let stop = process::stop_signal(health)?;

    println!("listening on http://{address}");
    tracing::info!(%address, data = %config.data.0.display(), durability, "ready");
    if !config.offers_dev_calls() {
        tracing::info!("no calls of development: others issue tokens, and money is not made out of nothing");
    }

    serve(listener, routes, config.http.options(http_metrics), stop).await;

    // The routes are gone, and with them the servers: their lanes answer what they hold and end.
    for (server_tasks, workers) in running {
        server_tasks.drained().await;
        workers.shutdown().await;
    }
    for forgetting in forgetting {
        forgetting.abort();
    }
    tracing::info!("drained");
    Ok(())
}

/// Everything of one world.
struct Started {
    server: Arc<Server>,
    tasks: ServerTasks,
    workers: WorkerSet,
    durability: String,
}

async fn start_in(
    world: World,
    config: &Config,
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
) -> Result<Started, String> {
    let (store, wallet) = open_stores(config, world).await?;
    let durability = store.durability().words;
    let registry = process::measures(registry, world);
    let ports = Ports { store: store.clone(), wallet: wallet.clone(), clock: clock.clone() };
    let zone_offset_s = config.zone_offset_s.0;
    let workers = WorkerSet::spawn(ports, Tenant::alone(), zone_offset_s, &config.limits.0, &config.workers, registry);
    let (server, tasks) = start_server(world, config, store, wallet, clock.clone(), registry);
    Ok(Started { server, tasks, workers, durability })
}

/// Where the files of a world are, of those in `data`.
pub fn folder_of(data: &Path, world: World) -> PathBuf {
    match world {
        World::Real => data.to_owned(),
        World::Rehearsal => data.join(SHADOW_FOLDER),
    }
}

async fn open_stores(config: &Config, world: World) -> Result<(Arc<dyn Store>, Arc<dyn Wallet>), String> {
    let dir = &folder_of(&config.data.0, world);
    let fold = config.storage.fold()?;
    let store = SqliteStore::open(dir, fold, config.zone_offset_s.0, Mode::Durable).await;
    let store = store.map_err(|error| format!("data: {error}"))?;
    let wallet = SqliteWallet::open(dir, Mode::Durable).await.map_err(|error| format!("data: {error}"))?;
    Ok((Arc::new(store), Arc::new(wallet)))
}

fn start_server(
    world: World,
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
        tickets: TicketKey::new(&world.secret(config.tickets.secret.0.as_bytes())),
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
    (server, rehearsal): (Arc<Server>, Option<Arc<Server>>),
    (Tokens { verifier, issuer }, clock): (Tokens, Arc<dyn Clock>),
    health: Health,
    registry: Registry,
) -> (Router, Vec<Forgetting>) {
    let rates = config.rate_limit.as_ref().map(|limits| Arc::new(UserRates::new(limits)));
    let rehearsal_edge = config.rehearsal.edge(config.rate_limit.as_ref());
    let rehearsed = rehearsal_edge.as_ref().and_then(|edge| edge.rates.as_ref());
    let forgetting = rates.iter().chain(rehearsed).cloned().map(|rates| tokio::spawn(forget_quiet_forever(rates)));
    let forgetting = forgetting.collect();
    let dev_calls = config.offers_dev_calls();
    let at_the_edge = Arc::new(Edge { verifier: verifier.clone(), rates, rehearsal: rehearsal_edge, dev_calls, clock });
    let app = App::new(server, rehearsal, verifier);
    let routes = hongbao_envelope::http::routes(app, dev_calls.then_some(DevCalls { issuer }))
        .layer(from_fn_with_state(at_the_edge, edge))
        .merge(health.router())
        .merge(metrics::metrics_router(registry));
    (routes, forgetting)
}
