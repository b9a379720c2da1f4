//! Processes with workers: who follows whom, and that nothing is doubled without any lease.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::{Clock as _, Date, Limits, SystemClock};
use hongbao_store::mysql::MysqlStore;
use hongbao_store::{Append, Journals as _, Rotation as _};
use hongbao_testbed::Part;
use hongbao_workers::credit::Credit;
use hongbao_workers::{Job as _, LeaseHolder, OptionalJobs, Ports, WorkerOptions, WorkerSet};
use prometheus_client::registry::Registry;
use sqlx::Executor as _;

use super::databases::{pause, raw, set, set_on, world};
use crate::common::service::Made;
use crate::common::{World, ZONE_S, run_until_idle};

/// A process with workers. Dropped, it dies without a word.
struct Process {
    runtime: Option<tokio::runtime::Runtime>,
    set: Option<WorkerSet>,
    registry: Registry,
}

impl Process {
    async fn start(world: &World, store: Arc<MysqlStore>, holder: Option<&str>) -> Process {
        let often = WorkerOptions { credit_idle_ms: 10, idle_ms: 10, ..WorkerOptions::default() };
        Process::start_with(&often, world, store, holder).await
    }

    async fn start_with(
        options: &WorkerOptions,
        world: &World,
        store: Arc<MysqlStore>,
        holder: Option<&str>,
    ) -> Process {
        let tenant = match holder {
            Some(holder) => LeaseHolder { leases: Arc::new(store.leases()), holder: holder.to_owned() },
            None => LeaseHolder::alone(),
        };
        store.rotate(Date::of(SystemClock.now(), ZONE_S).plus_days(1)).await.unwrap();
        let ports = Ports { store, wallet: world.wallet.clone(), clock: Arc::new(SystemClock) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut registry = Registry::default();
        let set = {
            let _inside = runtime.enter();
            WorkerSet::spawn(ports, tenant, ZONE_S, &Limits::default(), options, OptionalJobs::default(), &mut registry)
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
            .map(|job| self.metric(&format!("hongbao_worker_lease_held{{worker_job=\"{job}\"}}")))
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
        // Its tasks are gone, so it can log nothing.
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
    let runs_of_two = || two.metric("hongbao_worker_runs_total{worker_job=\"credit\"}");
    assert_eq!(runs_of_two(), 0, "it stands by");

    drop(one);
    made.round(&world, 1).await;
    let without_a_worker = wait_for(|| two.leases() == 3).await;
    assert!(without_a_worker < Duration::from_secs(4), "{without_a_worker:?}");
    made.assert_done_once(&world).await;
    assert!(runs_of_two() > 0, "it does the work now");

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

/// Neither the waits after failures nor having stood aside add to the time that a
/// database is gone: openings and credits go on as soon as its port answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openings_and_credits_go_on_at_once_when_a_killed_database_is_back() {
    let mut own = Part::mariadb(&[]);
    let store = set_on(&own, 9).await;
    let world = world(9, store.clone()).await;
    let options = WorkerOptions::default();
    let worker = Process::start_with(&options, &world, set_on(&own, 9).await, Some("one")).await;
    wait_for(|| worker.leases() == 3).await;
    let now = hongbao_core::Clock::now(&SystemClock);
    let mut fastest = Duration::MAX;
    // After the longer one the jobs have been left to others.
    for gone_for in [Duration::from_secs(3), Duration::from_secs(7)] {
        let (id, name) = (world.active_at(now, 1_000, 1).await, format!("after_{}", gone_for.as_secs()));
        let entry = world.next_entry(id, &name, now).await.unwrap();
        own.kill();
        tokio::time::sleep(gone_for).await;
        own.restart();
        let back = Instant::now();
        while !matches!(store.append(std::slice::from_ref(&entry)).await, Ok(Append::Done)) {
            assert!(back.elapsed() < Duration::from_secs(20), "nothing can be opened");
            pause(10).await;
        }
        let opened = back.elapsed();
        while world.balance(&name).await < 1_000 {
            assert!(back.elapsed() < Duration::from_secs(20), "nothing is credited");
            pause(10).await;
        }
        println!("gone for {gone_for:?}: opened after {opened:?}, credited after {:?}", back.elapsed());
        fastest = fastest.min(back.elapsed());
    }
    // The machine may be busy with something else once.
    assert!(fastest < Duration::from_millis(1_500), "{fastest:?}");
    worker.shutdown().await;
    world.assert_sound().await;
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

/// Two servers write one table, and the one that was handed the lower positions commits last.
#[tokio::test]
async fn an_entry_that_is_committed_late_is_credited_soon() {
    let store = set(4).await;
    let world = world(4, store.clone()).await;
    let mut credit = Credit::new(world.ports(), ZONE_S, &world.limits());
    run_until_idle(&mut credit, 100).await;

    let (late, other) = (world.active(1_000, 1).await, world.active(1_000, 10).await);
    let entry = world.next_entry(late, "late", world.now()).await.unwrap();
    let table = world.table(late);
    let name = format!("db_{:02}.entry_{}_{}", table.database, table.table, table.span);
    let mut server = raw().await;
    server.execute("START TRANSACTION").await.unwrap();
    let sql = format!(
        "INSERT INTO {name} (envelope_id, seq, user_id, amount_fen, remaining_fen, at_ms) VALUES (?, 1, 'late', ?, 0, ?)"
    );
    let insert = sqlx::query(&sql).bind(late.as_bytes().as_slice()).bind(entry.amount.get()).bind(entry.at.millis());
    insert.execute(&mut server).await.unwrap();
    world.open(other, "early").await;
    run_until_idle(&mut credit, 100).await;
    assert!(world.balance("early").await > 0);
    server.execute("COMMIT").await.unwrap();
    run_until_idle(&mut credit, 100).await;
    assert_eq!(world.balance("late").await, 0, "the tail has passed it");

    world.clock.advance_millis(1_000);
    credit.run_once(100).await.unwrap();
    assert_eq!(world.balance("late").await, 1_000);
    world.assert_sound().await;
}

/// Batches of two servers commit in any order, and no last opening may wait for the slow sweep.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_two_servers_write_into_one_table_is_credited_soon() {
    let world = Arc::new(world(5, set(5).await).await);
    let worker = Process::start(&world, set(5).await, Some("one")).await;
    wait_for(|| worker.leases() == 3).await;
    let now = hongbao_core::Clock::now(&SystemClock);
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(world.active_at(now, 1_000, 1).await);
    }
    let mut servers = Vec::new();
    for part in ids.chunks(150) {
        let (world, part, store) = (world.clone(), part.to_vec(), set(5).await);
        servers.push(tokio::spawn(async move {
            for batch in part.chunks(3) {
                let mut entries = Vec::new();
                for id in batch {
                    entries.push(world.next_entry(*id, "opener", now).await.unwrap());
                }
                assert_eq!(store.append(&entries).await.unwrap(), Append::Done);
            }
        }));
    }
    for server in servers {
        server.await.unwrap();
    }
    let began = Instant::now();
    while world.balance("opener").await < 300_000 {
        assert!(began.elapsed() < Duration::from_secs(8), "{} of 300000", world.balance("opener").await);
        pause(20).await;
    }
    worker.shutdown().await;
    world.assert_sound().await;
}
