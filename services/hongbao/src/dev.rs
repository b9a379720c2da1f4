//! `hongbao dev`: gateway, server and workers in one process on SQLite.

use std::net::SocketAddr;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use axum::middleware::from_fn_with_state;
use hongbao_core::calls::Call;
use hongbao_core::fence::Fence;
use hongbao_core::limits::ROTATION_AHEAD_DAYS;
use hongbao_core::order::LateCharges;
use hongbao_core::{Clock, SystemClock, Traffic};
use hongbao_envelope::http::{App, DevCalls, LiveCalls};
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::server::{Server, ServerParts, ServerTasks};
use hongbao_gateway::edge::{Edge, edge};
use hongbao_gateway::rate::{UserRates, forget_quiet_forever};
use hongbao_http::health::Check;
use hongbao_http::hot::Answering;
use hongbao_http::{Health, HotAnswer, HotCalls, HotRequest, HttpMetrics, Routes, ServeOptions, metrics_router, serve};
use hongbao_provider::Payments;
use hongbao_provider::sandbox::{Chances, Pace, Sandbox, SandboxOptions, page};
use hongbao_store::Store;
use hongbao_wallet::Wallet;
use hongbao_workers::driver::{OptionalJobs, WorkerSet};
use hongbao_workers::job::Ports;
use hongbao_workers::lease::LeaseHolder;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use crate::config::dev::{Config, Flags};
use crate::folder::{self, Folder, folder_of};
use crate::otlp::Process;
use crate::process;
use crate::rotation::Rotator;
use crate::stores::warn_of_archive;
use crate::tokens::Tokens;
use crate::{durability, log, notify};

/// What its files are called after in an archive.
pub const DEV_SET: &str = "dev";
/// Where in its folder the books of its sandbox are.
pub const SANDBOX_FOLDER: &str = "sandbox";
/// Its notifications are signed with a secret that no other process has.
const SANDBOX_SECRET_BYTES: usize = 32;
/// What an operator chooses the address by.
const LISTEN_SET_BY: &str = "--listen, HONGBAO_LISTEN or `listen` in the settings file";

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
    let (log, otlp) = (config.log.clone(), config.otlp.clone());
    let itself = Process { role: "dev", name: "dev".to_owned(), set: None };
    process::run(&log, &otlp, &itself, process::processors()?.max(2), serve_until_stopped(config, tokens, clock))?;
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
    config.passed_over.log();
    let (listener, address) = process::listen(config.listen.0, LISTEN_SET_BY)?;

    let mut registry = process::registry();
    let http_metrics = HttpMetrics::register(&Call::ALL, &mut registry);
    let _watching = tokens.watch(&mut registry)?;
    // First of all: it says whether another process has the folder, and with it the sandbox's books.
    let folder = open_folder(Traffic::Live, &config).await?;
    let sandbox = config.offers_dev_calls().then(|| open_sandbox(&config, address, &clock)).transpose()?;
    let payments = sandbox
        .as_ref()
        .map(|(sandbox, _)| Payments { provider: Arc::new(sandbox.clone()), late_charges: LateCharges::default() });
    let real = start_in(Traffic::Live, &config, (folder, payments), &clock, &mut registry).await?;
    let (store, wallet): (Arc<dyn Store>, Arc<dyn Wallet>) = (real.folder.store.clone(), real.folder.wallet.clone());
    let reason = durability::of(&*store, &*wallet).settings;
    // A rehearsal that is in trouble is no reason to get no requests: its trouble is logged alone.
    let mut checks = vec![real.check];
    checks.extend(durability::shown(store, wallet, &mut registry));
    let mut running =
        vec![Running { tasks: real.tasks, workers: real.workers, background: real.background, folder: real.folder }];
    let rehearsal = match config.rehearsal.enabled {
        true => {
            let folder = open_folder(Traffic::Shadow, &config).await?;
            let Started { server, tasks, workers, background, folder, .. } =
                start_in(Traffic::Shadow, &config, (folder, None), &clock, &mut registry).await?;
            running.push(Running { tasks, workers, background, folder });
            Some(server)
        }
        false => None,
    };
    let health = Health::new(checks);
    registry.register_collector(Box::new(health.clone()));
    let (mut routes, forgetting) = routes(&config, (real.server, rehearsal), (tokens, clock), health.clone(), registry);
    if let Some((sandbox, _)) = &sandbox {
        routes.router = routes.router.merge(page::router(sandbox.clone()));
    }
    // Before anybody can know that we serve: a signal would end us undrained until then.
    let stop = process::stop_signal(health)?;

    println!("listening on http://{address}");
    notify::ready(address, || true);
    tracing::info!(%address, data = %config.data.0.display(), durability = reason, "ready");
    if !config.offers_dev_calls() {
        tracing::info!("no calls of development: others issue tokens, and money is not made out of nothing");
    }

    let options = ServeOptions { cors: config.cors.cors()?, ..config.http.options(http_metrics) };
    serve(listener, routes, options, stop).await;

    if let Some((_, running)) = sandbox {
        running.abort();
    }
    // The routes are gone, and with them the servers: their lanes answer what they hold and end.
    for forgetting in forgetting {
        forgetting.abort();
    }
    let mut failures = Vec::new();
    for Running { tasks, workers, background, folder } in running {
        tasks.drained().await;
        workers.shutdown().await;
        background.iter().for_each(JoinHandle::abort);
        failures.extend(folder.close().await.err());
    }
    // All that was acknowledged is safe; but a copy of the files alone would miss some of it.
    if !failures.is_empty() {
        return Err(format!("stopped, with commits in the write-ahead logs alone: {}", failures.join("; ")));
    }
    tracing::info!("drained");
    Ok(())
}

/// The sandbox of the folder, which pays what it is asked for, and the task that it runs on.
fn open_sandbox(
    config: &Config,
    address: SocketAddr,
    clock: &Arc<dyn Clock>,
) -> Result<(Sandbox, JoinHandle<()>), String> {
    let mut secret = vec![0; SANDBOX_SECRET_BYTES];
    getrandom::fill(&mut secret).map_err(|error| format!("no randomness: {error}"))?;
    let options = SandboxOptions {
        key_id: "dev".to_owned(),
        secret,
        pages_at: format!("http://{address}"),
        notify_url: Some(format!("http://{address}{}", Call::ProviderNotification.path())),
        zone_offset_s: config.zone_offset_s.0,
        pace: Pace::default(),
        seed: 1,
        chances: Chances::default(),
        by_hand: false,
        wechat: None,
    };
    let sandbox = Sandbox::open(&config.data.0.join(SANDBOX_FOLDER), options, clock.clone())?;
    let running = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.run().await }
    });
    Ok((sandbox, running))
}

/// What of one kind of traffic must be ended in order.
struct Running {
    tasks: ServerTasks,
    workers: WorkerSet,
    background: [JoinHandle<()>; 2],
    folder: Folder,
}

/// Everything of one kind of traffic.
struct Started {
    server: Arc<Server>,
    tasks: ServerTasks,
    workers: WorkerSet,
    check: Check,
    background: [JoinHandle<()>; 2],
    folder: Folder,
}

async fn open_folder(traffic: Traffic, config: &Config) -> Result<Folder, String> {
    let path = folder_of(&config.data.0, traffic);
    let folder = Folder::open(&path, config.storage.fold()?, config.zone_offset_s.0).await;
    folder.map_err(|error| format!("data: {error}"))
}

async fn start_in(
    traffic: Traffic,
    config: &Config,
    (folder, payments): (Folder, Option<Payments>),
    clock: &Arc<dyn Clock>,
    registry: &mut Registry,
) -> Result<Started, String> {
    let zone_offset_s = config.zone_offset_s.0;
    if let Some(archive) = config.archive.of(DEV_SET, traffic)? {
        folder.store.archive_in(Arc::new(archive));
    }
    warn_of_archive(&*folder.store, DEV_SET);
    let (check, looking) = folder::watch(&folder);
    let (store, wallet): (Arc<dyn Store>, Arc<dyn Wallet>) = (folder.store.clone(), folder.wallet.clone());
    let registry = process::measures(registry, traffic);
    let rotator = Rotator::new(store.clone(), clock.clone(), zone_offset_s, ROTATION_AHEAD_DAYS, registry);
    let rotating = rotator.start().await?;
    let ports = Ports { store: store.clone(), wallet: wallet.clone(), clock: clock.clone() };
    let (limits, options) = (&config.limits.0, &config.workers);
    let webhook = if traffic == Traffic::Live { config.webhook.endpoint()? } else { None };
    let optional = OptionalJobs { export_after_days: config.archive.after_days, payments: payments.clone(), webhook };
    let alone = LeaseHolder::alone();
    let workers = WorkerSet::spawn(ports, alone, zone_offset_s, limits, options, optional, registry);
    let (server, tasks) = start_server(traffic, config, (store, wallet, payments), clock.clone(), registry);
    Ok(Started { server, tasks, workers, check, background: [looking, rotating], folder })
}

fn start_server(
    traffic: Traffic,
    config: &Config,
    (store, wallet, payments): (Arc<dyn Store>, Arc<dyn Wallet>, Option<Payments>),
    clock: Arc<dyn Clock>,
    registry: &mut Registry,
) -> (Arc<Server>, ServerTasks) {
    let parts = ServerParts {
        store,
        wallet,
        clock,
        permits: Arc::new(LocalPermits::new(config.server.permit_cap)),
        shared: None,
        tickets: config.tickets.ticket_key(traffic),
        limits: config.limits.0.clone(),
        zone_offset_s: config.zone_offset_s.0,
        fence: Fence::open(),
        payments,
        options: config.server.clone(),
    };
    Server::start(parts, registry)
}

type Forgetting = JoinHandle<()>;

/// Everything that is served, the edge in front of it.
fn routes(
    config: &Config,
    (server, rehearsal): (Arc<Server>, Option<Arc<Server>>),
    (Tokens { verifier, issuer, .. }, clock): (Tokens, Arc<dyn Clock>),
    health: Health,
    registry: Registry,
) -> (Routes, Vec<Forgetting>) {
    let rates = config.rate_limit.as_ref().map(|limits| Arc::new(UserRates::new(limits)));
    let rehearsal_edge = config.rehearsal.edge(config.rate_limit.as_ref());
    let rehearsed = rehearsal_edge.as_ref().and_then(|edge| edge.rates.as_ref());
    let forgetting = rates.iter().chain(rehearsed).cloned().map(|rates| tokio::spawn(forget_quiet_forever(rates)));
    let forgetting = forgetting.collect();
    let dev_calls = config.offers_dev_calls();
    let at_the_edge = Arc::new(Edge { verifier: verifier.clone(), rates, rehearsal: rehearsal_edge, dev_calls, clock });
    let app = App::new(server, rehearsal, verifier);
    let hot = EdgeCalls { edge: at_the_edge.clone(), calls: LiveCalls::new(app.clone()) };
    let router = hongbao_envelope::http::routes(app, dev_calls.then_some(DevCalls { issuer }))
        .layer(from_fn_with_state(at_the_edge, edge))
        .merge(health.router())
        .merge(metrics_router(registry));
    (Routes { router, hot: Some(Arc::new(hot)) }, forgetting)
}

/// The calls of a peak past the router, with the edge in front of them.
struct EdgeCalls {
    edge: Arc<Edge>,
    calls: LiveCalls,
}

impl HotCalls for EdgeCalls {
    fn takes(&self, call: Call) -> bool {
        self.calls.takes(call)
    }

    fn answer<'a>(&'a self, request: HotRequest<'a>) -> Answering<'a> {
        Box::pin(async move {
            match self.edge.admit_hot(request.token) {
                Ok(caller) => self.calls.answer_for(request, Some(caller)).await,
                Err(problem) => HotAnswer::from(problem),
            }
        })
    }
}
