//! Two workers of a SET at once, without any lease: each opens the same files
//! as a process of its own would, and nothing is done twice.

mod common;

use std::sync::Arc;

use common::service::Made;
use common::{World, ZONE_S, open_store};
use hongbao_core::{Limits, SystemClock};
use hongbao_database::sqlite::file::Mode;
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_workers::{LeaseHolder, OptionalJobs, Ports, WorkerOptions, WorkerSet};
use prometheus_client::registry::Registry;

/// The workers of one process over the files of a world.
async fn process(world: &World) -> WorkerSet {
    let ports = Ports {
        store: open_store(world.dir.path(), 2).await,
        wallet: Arc::new(SqliteWallet::open(world.dir.path(), Mode::Volatile).await.unwrap()),
        clock: Arc::new(SystemClock),
    };
    let options = WorkerOptions { credit_idle_ms: 1, idle_ms: 1, ..WorkerOptions::default() };
    WorkerSet::spawn(
        ports,
        LeaseHolder::alone(),
        ZONE_S,
        &Limits::default(),
        &options,
        OptionalJobs::default(),
        &mut Registry::default(),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn i6_two_workers_without_a_lease_double_nothing() {
    let world = World::with_databases(2).await;
    let (one, two) = (process(&world).await, process(&world).await);
    let mut made = Made::default();
    for round in 0..30 {
        made.round(&world, round).await;
    }
    made.assert_done_once(&world).await;
    assert!(one.shutdown().await && two.shutdown().await);
    world.assert_sound().await;
}
