//! Jobs run by a clock, and not by one that is far from the database's.

mod common;

use std::time::Duration;

use common::{LIFETIME_MS, World, ZONE_S};
use hongbao_core::{Limits, Timestamp};
use hongbao_workers::{ClockGuard, LeaseHolder, OptionalJobs, WorkerMetrics, WorkerOptions, WorkerSet};
use prometheus_client::registry::Registry;

const HOUR_MS: i64 = 3_600_000;

#[tokio::test]
async fn half_a_minute_is_tolerated_and_more_is_not() {
    for (ahead_ms, is_far_off) in
        [(0, false), (30_000, false), (-30_000, false), (30_001, true), (-30_001, true), (HOUR_MS, true)]
    {
        let world = World::new().await;
        *world.faults.database_clock.lock().unwrap() = Some(world.now().plus_millis(-ahead_ms));
        let guard = ClockGuard::new(&world.ports(), WorkerMetrics::default());
        assert_eq!(guard.is_far_off().await, is_far_off, "{ahead_ms} ms");
    }
}

#[tokio::test]
async fn a_database_without_a_clock_has_ours() {
    let guard = ClockGuard::new(&World::new().await.ports(), WorkerMetrics::default());
    assert!(!guard.is_far_off().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_refunded_an_hour_early() {
    let world = World::new().await;
    let right: Timestamp = world.now();
    let id = world.active(1_000, 10).await;
    // Our clock goes an hour and a bit ahead; the database's stays.
    *world.faults.database_clock.lock().unwrap() = Some(right);
    world.clock.advance_millis(LIFETIME_MS + 1_000);

    let mut registry = Registry::default();
    let set = WorkerSet::spawn(
        world.ports(),
        LeaseHolder::alone(),
        ZONE_S,
        &Limits::default(),
        &WorkerOptions::default(),
        OptionalJobs::default(),
        &mut registry,
    );
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(world.journal(id).await, [], "no job has run");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    assert!(text.contains("hongbao_worker_clock_ahead_seconds 3601.0"), "{text}");
    assert!(text.contains("hongbao_worker_runs_skipped_total{worker_job=\"refund\"}"), "{text}");
    let runs: Vec<&str> = text.lines().filter(|line| line.starts_with("hongbao_worker_runs_total{")).collect();
    assert!(!runs.is_empty() && runs.iter().all(|line| line.ends_with(" 0")), "{text}");

    // Now the database agrees.
    *world.faults.database_clock.lock().unwrap() = Some(world.now());
    let refunded = async {
        while world.journal(id).await.is_empty() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), refunded).await.expect("it is refunded by itself");
    assert!(set.shutdown().await);
    world.assert_sound().await;
}
