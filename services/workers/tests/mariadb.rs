//! Workers on a real MariaDB: who runs a job, who follows whom, and that nothing
//! is doubled without any lease.

mod common;

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::service::Made;
use common::{World, ZONE_S};
use hongbao_core::id::Fold;
use hongbao_core::{Limits, Slot, SystemClock};
use hongbao_parts::Part;
use hongbao_store::lease::Leases as _;
use hongbao_store::mysql::connection::MysqlOptions;
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_workers::{Ports, Tenant, WorkerOptions, WorkerSet};
use prometheus_client::registry::Registry;
use tokio::sync::Mutex;

const LEASE: Duration = Duration::from_millis(400);

/// Each test has a SET of its own in the one MariaDB: the databases of one slot.
async fn set(slot: u8) -> Arc<MysqlStore> {
    static MARIADB: OnceLock<Part> = OnceLock::new();
    static MIGRATION: Mutex<()> = Mutex::const_new(());
    let node = MARIADB.get_or_init(|| Part::mariadb(&[])).node();
    let options = MysqlOptions {
        nodes: vec![node.parse().unwrap()],
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        ..MysqlOptions::default()
    };
    let fold = Fold::new(10, 1).unwrap();
    let layout = Layout { fold, slots: vec![Slot::new(slot).unwrap()], zone_offset_s: ZONE_S };
    let one_at_a_time = MIGRATION.lock().await;
    migrate(options.clone(), &layout).await.unwrap();
    drop(one_at_a_time);
    Arc::new(MysqlStore::open(options, layout).await.unwrap())
}

async fn world(slot: u8, store: Arc<MysqlStore>) -> World {
    let mut world = World::on(store, tempfile::tempdir().unwrap()).await;
    world.slots = vec![Slot::new(slot).unwrap()];
    world
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_ends_or_is_given_back() {
    let (one, two) = (set(0).await.leases(), set(0).await.leases());
    assert!(one.hold("credit", "one", LEASE).await.unwrap());
    assert!(!two.hold("credit", "two", LEASE).await.unwrap());
    assert!(two.hold("refund", "two", LEASE).await.unwrap(), "each job has a lease of its own");

    two.give_back("credit", "two").await.unwrap();
    assert!(!two.hold("credit", "two", LEASE).await.unwrap(), "nobody gives back another's lease");
    one.give_back("credit", "one").await.unwrap();
    assert!(two.hold("credit", "two", LEASE).await.unwrap());
    assert!(!one.hold("credit", "one", LEASE).await.unwrap());

    pause(500).await;
    assert!(one.hold("credit", "one", LEASE).await.unwrap(), "it ended, and nobody renewed it");
    for _ in 0..4 {
        pause(200).await;
        assert!(one.hold("credit", "one", LEASE).await.unwrap(), "renewed, it goes on");
        assert!(!two.hold("credit", "two", LEASE).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_ask_at_once_one_gets_the_lease() {
    let leases = Arc::new(set(1).await.leases());
    for job in ["a", "b", "c", "d", "e"] {
        let mut asking = Vec::new();
        for number in 0..8 {
            let leases = leases.clone();
            asking.push(tokio::spawn(async move {
                leases.hold(job, &format!("holder-{number}"), Duration::from_secs(60)).await.unwrap()
            }));
        }
        let mut holders = 0;
        for asking in asking {
            holders += u32::from(asking.await.unwrap());
        }
        assert_eq!(holders, 1);
    }
}

/// A process with workers. Dropped, it dies without a word.
struct Process {
    runtime: Option<tokio::runtime::Runtime>,
    set: Option<WorkerSet>,
    registry: Registry,
}

impl Process {
    async fn start(world: &World, store: Arc<MysqlStore>, holder: Option<&str>) -> Process {
        let tenant = match holder {
            Some(holder) => Tenant { leases: Arc::new(store.leases()), holder: holder.to_owned() },
            None => Tenant::alone(),
        };
        let ports = Ports { store, wallet: world.wallet.clone(), clock: Arc::new(SystemClock) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut registry = Registry::default();
        let set = {
            let _inside = runtime.enter();
            let options = WorkerOptions { credit_idle_ms: 10, idle_ms: 10, ..WorkerOptions::default() };
            WorkerSet::spawn(ports, tenant, ZONE_S, &Limits::default(), &options, &mut registry)
        };
        Process { runtime: Some(runtime), set: Some(set), registry }
    }

    fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    fn leases(&self) -> u64 {
        ["activate", "credit", "refund"]
            .map(|job| self.metric(&format!("hongbao_worker_lease_held{{job=\"{job}\"}}")))
            .into_iter()
            .sum()
    }

    async fn shutdown(mut self) {
        assert!(self.set.take().unwrap().shutdown().await);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // Its tasks are gone, so it can tell nobody.
        self.set.take();
    }
}

async fn wait_for(mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came");
        pause(5).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_runs_and_the_other_follows_when_it_dies_or_goes() {
    let world = world(2, set(2).await).await;
    let mut made = Made::default();
    let one = Process::start(&world, set(2).await, Some("one")).await;
    wait_for(|| one.leases() == 3).await;
    let two = Process::start(&world, set(2).await, Some("two")).await;
    made.round(&world, 0).await;
    made.assert_done_once(&world).await;
    pause(700).await;
    assert_eq!((one.leases(), two.leases()), (3, 0));
    assert_eq!(two.metric("hongbao_worker_runs_total{job=\"credit\"}"), 0, "it stands by");

    drop(one);
    made.round(&world, 1).await;
    let without_a_worker = wait_for(|| two.leases() == 3).await;
    assert!(without_a_worker < Duration::from_secs(4), "{without_a_worker:?}");
    made.assert_done_once(&world).await;

    let three = Process::start(&world, set(2).await, Some("three")).await;
    pause(600).await;
    assert_eq!(three.leases(), 0);
    two.shutdown().await;
    let handed_over = wait_for(|| three.leases() == 3).await;
    assert!(handed_over < Duration::from_millis(1_800), "it need not wait for the leases to end: {handed_over:?}");
    made.round(&world, 2).await;
    made.assert_done_once(&world).await;
    three.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_two_workers_without_a_lease_double_nothing() {
    let world = world(3, set(3).await).await;
    let one = Process::start(&world, set(3).await, None).await;
    let two = Process::start(&world, set(3).await, None).await;
    let mut made = Made::default();
    for round in 0..15 {
        made.round(&world, round).await;
    }
    made.assert_done_once(&world).await;
    one.shutdown().await;
    two.shutdown().await;
    world.assert_sound().await;
}
