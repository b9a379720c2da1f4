//! `hongbao worker`: the background jobs of one SET, for live and for shadow traffic.

use std::process::ExitCode;
use std::sync::Arc;

use hongbao_core::Traffic;
use hongbao_core::limits::ROTATION_AHEAD_DAYS;
use hongbao_core::topology::TopologyFile;
use hongbao_http::{Health, HttpMetrics};
use hongbao_store::Store;
use hongbao_wallet::Wallet;
use hongbao_workers::{LeaseHolder, OptionalJobs, Ports, WorkerSet};

use super::{Role, RoleTls, Start, own_routes, serve_role};
use crate::otlp::Process;
use crate::rotation::Rotator;
use crate::{durability, fences, process, provider, stores};

/// Runs until SIGTERM or SIGINT, then finishes the runs that are under way.
pub fn run(start: &Start<'_>) -> Result<ExitCode, String> {
    super::run(start, names, itself, |_| Ok(RoleTls::default()), process::role_threads, worker)
}

fn names(topology: &TopologyFile) -> Vec<String> {
    topology.sets.iter().flat_map(|set| &set.workers).map(|worker| worker.name.clone()).collect()
}

fn itself(topology: &TopologyFile, name: String) -> Process {
    let set = topology.worker(&name).map(|(set, _)| set.name.clone());
    Process { role: "worker", name, set }
}

async fn worker(mut role: Role, name: String) -> Result<(), String> {
    let file = role.file();
    let (set, entry) = file.worker(&name).ok_or("the topology has lost this worker")?;
    let installation = role.installation.clone();
    let http_metrics = HttpMetrics::register(&[], &mut role.registry);
    let (mut traffics, mut checks) = (Vec::new(), Vec::new());
    for traffic in installation.rehearsal.traffics() {
        let store = stores::open_store(&installation, &file, set, *traffic).await?;
        fences::warn_of_version(&file, set, &store).await?;
        let tenant = LeaseHolder { leases: Arc::new(store.leases()), holder: name.clone() };
        let store: Arc<dyn Store> = Arc::new(store);
        let wallet: Arc<dyn Wallet> = Arc::new(stores::open_wallet(&installation, &file, *traffic).await?);
        tracing::info!(
            worker = name,
            set = set.name,
            traffic = traffic.name(),
            durability = durability::of(&*store, &*wallet).settings,
            "connected"
        );
        // A rehearsal's databases stand on the same servers as the real ones.
        if *traffic == Traffic::Live {
            checks.extend(durability::shown(store.clone(), wallet.clone(), &mut role.registry));
        }
        let (zone_offset_s, limits) = (installation.zone_offset_s.0, &installation.limits);
        let registry = process::measures(&mut role.registry, *traffic);
        let rotator = Rotator::new(store.clone(), role.clock.clone(), zone_offset_s, ROTATION_AHEAD_DAYS, registry);
        let rotating = rotator.start().await?;
        let ports = Ports { store, wallet, clock: role.clock.clone() };
        let workers = &installation.workers;
        // What is rehearsed moves no money.
        let (payments, webhook) = match *traffic {
            Traffic::Live => (
                provider::of_installation(&installation.provider, role.clock.clone(), registry)?,
                installation.webhook.endpoint()?,
            ),
            Traffic::Shadow => (None, None),
        };
        let optional = OptionalJobs { export_after_days: installation.archive.after_days, payments, webhook };
        let workers = WorkerSet::spawn(ports, tenant, zone_offset_s, limits, workers, optional, registry);
        traffics.push((workers, rotating));
    }
    let health = Health::new(checks);
    let own = own_routes(&health, std::mem::take(&mut role.registry));
    serve_role(&role, &entry.listens_at(), own.into(), health, http_metrics).await?;
    for (workers, rotating) in traffics {
        rotating.abort();
        workers.shutdown().await;
    }
    tracing::info!("drained");
    Ok(())
}
