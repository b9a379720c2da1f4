//! The driver, with jobs made for it and with the real ones.

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use common::{World, ZONE_S};
use hongbao_core::{Limits, SystemClock};
use hongbao_database::returns::{Returning, Returns};
use hongbao_store::StoreError;
use hongbao_store::lease::Leases;
use hongbao_workers::driver::{OptionalJobs, Scheduled, WorkerOptions, WorkerSet};
use hongbao_workers::{ClockGuard, Job, JobError, LeaseHolder, Ports, RunReport, WorkerMetrics};
use prometheus_client::registry::Registry;

/// What a made-up job does in each run.
#[derive(Clone, Copy)]
enum Does {
    Nothing,
    WorksFor(Duration),
    /// The same, and this much arrived meanwhile for each row that it moved.
    WorksWhile(Duration, u32),
    Fails,
    Panics,
    Hangs,
}

struct MadeUp {
    does: Does,
    begun: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
    forgot: Arc<AtomicU32>,
    handed_over: Arc<AtomicU32>,
}

#[async_trait]
impl Job for MadeUp {
    fn forget_failures(&mut self) {
        self.forgot.fetch_add(1, Ordering::SeqCst);
    }

    fn hand_over(&mut self) {
        self.handed_over.fetch_add(1, Ordering::SeqCst);
    }

    fn name(&self) -> &'static str {
        "made_up"
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        assert_eq!(limit, 7);
        self.begun.fetch_add(1, Ordering::SeqCst);
        let mut report = RunReport::default();
        match self.does {
            Does::Nothing => {}
            Does::WorksFor(time) => {
                tokio::time::sleep(time).await;
                report = RunReport { rows: limit, more: true, ..report };
            }
            Does::WorksWhile(time, arrived_a_row) => {
                tokio::time::sleep(time).await;
                report = RunReport { rows: limit, more: true, arrived: Some(limit * arrived_a_row), ..report };
            }
            Does::Fails => return Err(StoreError::Unavailable("made up".to_owned()).into()),
            Does::Panics => panic!("made up"),
            Does::Hangs => std::future::pending().await,
        }
        self.ended.fetch_add(1, Ordering::SeqCst);
        Ok(report)
    }
}

struct Running {
    set: WorkerSet,
    begun: Arc<AtomicU32>,
    ended: Arc<AtomicU32>,
    forgot: Arc<AtomicU32>,
    handed_over: Arc<AtomicU32>,
    registry: Registry,
}

async fn start(does: Does, idle: Duration, duty_percent: u32) -> Running {
    start_as(LeaseHolder::alone(), does, idle, duty_percent).await
}

async fn start_as(tenant: LeaseHolder, does: Does, idle: Duration, duty_percent: u32) -> Running {
    start_awaiting(Returning::never(), tenant, does, idle, duty_percent).await
}

async fn start_awaiting(
    returning: Returning,
    tenant: LeaseHolder,
    does: Does,
    idle: Duration,
    duty_percent: u32,
) -> Running {
    let [begun, ended, forgot, handed_over] = [(); 4].map(|()| Arc::new(AtomicU32::new(0)));
    let job = MadeUp {
        does,
        begun: begun.clone(),
        ended: ended.clone(),
        forgot: forgot.clone(),
        handed_over: handed_over.clone(),
    };
    let mut registry = Registry::default();
    let metrics = WorkerMetrics::register(&mut registry);
    let clock = Arc::new(ClockGuard::new(&World::new().await.ports(), metrics.clone()));
    let options = WorkerOptions {
        batch_size_max: 7,
        duty_percent,
        duty_percent_max: 100,
        shutdown_ms_max: 500,
        ..WorkerOptions::default()
    };
    let jobs = vec![Scheduled::prompt(Box::new(job), idle, &options)];
    let set = WorkerSet::spawn_jobs(jobs, tenant, clock, &returning, &options, &metrics);
    Running { set, begun, ended, forgot, handed_over, registry }
}

/// A lease that several processes ask for.
#[derive(Default)]
struct OneLease(Mutex<Option<(String, Instant)>>);

#[async_trait]
impl Leases for OneLease {
    async fn hold(&self, jobs: &[&str], holder: &str, time: Duration) -> Result<Vec<bool>, StoreError> {
        assert_eq!(jobs.len(), 1);
        let could = self.could_hold(jobs, holder).await?;
        if could == [true] {
            *self.0.lock().unwrap() = Some((holder.to_owned(), Instant::now() + time));
        }
        Ok(could)
    }

    async fn hold_some(&self, jobs: &[&str], holder: &str, time: Duration) -> Result<usize, StoreError> {
        Ok(self.hold(jobs, holder, time).await?.into_iter().filter(|held| *held).count())
    }

    async fn could_hold(&self, _jobs: &[&str], holder: &str) -> Result<Vec<bool>, StoreError> {
        let held = self.0.lock().unwrap();
        Ok(vec![!held.as_ref().is_some_and(|(by, until)| by != holder && *until > Instant::now())])
    }

    async fn give_back(&self, _job: &str, holder: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().take_if(|(by, _)| by == holder);
        Ok(())
    }
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test]
async fn an_idle_job_looks_for_work_at_its_interval() {
    let running = start(Does::Nothing, Duration::from_millis(20), 50).await;
    pause(300).await;
    let runs = running.begun.load(Ordering::SeqCst);
    assert!((2..=16).contains(&runs), "{runs}");
    assert!(running.set.shutdown().await);
}

#[tokio::test]
async fn a_busy_job_goes_on_at_once_but_rests_for_its_share() {
    let run = Duration::from_millis(20);
    let running = start(Does::WorksFor(run), Duration::from_secs(60), 25).await;
    pause(800).await;
    let runs = running.ended.load(Ordering::SeqCst);
    assert!((2..=10).contains(&runs), "20 ms of work and 60 ms of rest: {runs} runs in 800 ms");
    assert!(running.set.shutdown().await);
}

#[tokio::test]
async fn a_busy_job_hardly_rests_when_nothing_new_arrives() {
    let run = Duration::from_millis(20);
    let mut ended = Vec::new();
    for arrived_a_row in [0, 4] {
        let running = start(Does::WorksWhile(run, arrived_a_row), Duration::from_secs(60), 25).await;
        pause(800).await;
        ended.push(running.ended.load(Ordering::SeqCst));
        assert!(running.set.shutdown().await);
    }
    assert!(ended[0] >= ended[1] * 2, "20 ms of work and none of rest, or 60: {ended:?} runs in 800 ms");
}

#[tokio::test]
async fn a_job_that_fails_or_panics_is_tried_again_less_and_less_often() {
    for does in [Does::Fails, Does::Panics] {
        let running = start(does, Duration::from_millis(1), 100).await;
        pause(700).await;
        let runs = running.begun.load(Ordering::SeqCst);
        assert!(runs <= 6, "after 50..100, 100..200, 200..400 ms: {runs}");
        // On a busy machine it takes longer: with the third run two have failed.
        wait_for(async || running.begun.load(Ordering::SeqCst) > 2).await;
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &running.registry).unwrap();
        let errors = text.lines().find(|line| line.starts_with("hongbao_worker_errors_total{worker_job=\"made_up\"}"));
        let errors: u32 = errors.unwrap().rsplit(' ').next().unwrap().parse().unwrap();
        assert!(errors >= 2, "{text}");
        assert!(running.set.shutdown().await);
    }
}

#[tokio::test]
async fn a_process_that_cannot_do_a_job_leaves_it_to_one_that_can() {
    let leases = Arc::new(OneLease::default());
    let tenant = |holder: &str| LeaseHolder { leases: leases.clone(), holder: holder.to_owned() };
    let idle = Duration::from_millis(20);
    let unable = start_as(tenant("unable"), Does::Fails, idle, 100).await;
    wait_for(async || unable.begun.load(Ordering::SeqCst) > 0).await;
    let before = unable.handed_over.load(Ordering::SeqCst);
    let able = start_as(tenant("able"), Does::Nothing, idle, 100).await;
    let took = wait_for(async || able.ended.load(Ordering::SeqCst) > 0).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert_eq!(unable.begun.load(Ordering::SeqCst), 5, "failed runs in a row");
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &unable.registry).unwrap();
    assert!(text.contains("hongbao_worker_stepped_aside_total{worker_job=\"made_up\"} 1"), "{text}");
    assert!(text.contains("hongbao_worker_lease_held{worker_job=\"made_up\"} 0"), "{text}");
    assert_eq!(unable.handed_over.load(Ordering::SeqCst), before + 1, "its gauges are no longer its to set");
    assert!(able.set.shutdown().await);
    wait_for(async || unable.begun.load(Ordering::SeqCst) > 5).await;
    assert!(unable.set.shutdown().await, "with nobody else there it tries again");
}

/// However long it has failed, and even if it has stood aside: nobody waits for
/// the money longer than the database was gone.
#[tokio::test]
async fn a_job_that_waits_after_failures_goes_on_at_once_when_its_database_is_back() {
    let returns = Returns::new();
    let never_by_itself = Duration::from_secs(60);
    let running = start_awaiting(returns.awaited(), LeaseHolder::alone(), Does::Fails, never_by_itself, 100).await;
    for runs in 1..=8 {
        wait_for(async || running.begun.load(Ordering::SeqCst) >= runs).await;
        // It waits for 50 ms at least by itself, from the fifth on for four seconds.
        pause(10).await;
        let before = running.begun.load(Ordering::SeqCst);
        returns.tell();
        let took = wait_for(async || running.begun.load(Ordering::SeqCst) > before).await;
        assert!(took < Duration::from_millis(1_500), "after {before} failures it took {took:?}");
        assert!(running.forgot.load(Ordering::SeqCst) >= runs, "what it left out is tried again");
    }
    assert!(running.set.shutdown().await);
}

#[tokio::test]
async fn a_shutdown_lets_the_run_under_way_finish() {
    let running = start(Does::WorksFor(Duration::from_millis(100)), Duration::from_secs(60), 100).await;
    while running.begun.load(Ordering::SeqCst) == 0 {
        pause(1).await;
    }
    assert!(running.set.shutdown().await);
    let (begun, ended) = (running.begun.load(Ordering::SeqCst), running.ended.load(Ordering::SeqCst));
    assert_eq!(begun, ended);
    pause(150).await;
    assert_eq!(running.begun.load(Ordering::SeqCst), begun, "no run begins after it");
}

#[tokio::test]
async fn i8_a_shutdown_does_not_wait_for_ever() {
    let running = start(Does::Hangs, Duration::from_millis(1), 100).await;
    while running.begun.load(Ordering::SeqCst) == 0 {
        pause(1).await;
    }
    let began = Instant::now();
    assert!(!running.set.shutdown().await, "it says that a run was broken off");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn a_dropped_set_stops_its_jobs() {
    let running = start(Does::Nothing, Duration::from_millis(5), 100).await;
    pause(20).await;
    drop(running.set);
    pause(50).await;
    let runs = running.begun.load(Ordering::SeqCst);
    assert!(runs > 0, "it had begun");
    pause(50).await;
    assert_eq!(running.begun.load(Ordering::SeqCst), runs);
}

/// The real jobs with the wall clock: an opening reaches the balance, and an
/// expired envelope comes back, with nobody stepping anything.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_credits_arrive_within_a_second_and_refunds_by_themselves() {
    let world = World::new().await;
    let clock = Arc::new(SystemClock);
    let ports = Ports { store: world.store.clone(), wallet: world.wallet.clone(), clock: clock.clone() };
    let mut registry = Registry::default();
    let set = WorkerSet::spawn(
        ports,
        LeaseHolder::alone(),
        ZONE_S,
        &Limits::default(),
        &WorkerOptions::default(),
        OptionalJobs::default(),
        &mut registry,
    );
    pause(300).await;

    let now = hongbao_core::Clock::now(&*clock);
    let id = world.active_at(now, 1_000, 10).await;
    let mut fastest = Duration::MAX;
    for name in ["a", "b", "c", "d", "e"] {
        let opened = world.open_at(id, name, now).await;
        fastest = fastest.min(wait_for(async || world.balance(name).await == opened).await);
    }
    // On a machine that does other things as well, one of five tells.
    assert!(fastest < Duration::from_secs(1), "the credits took {fastest:?}");

    let before = world.balance("sender").await;
    world.active_at(now.plus_millis(-2 * common::LIFETIME_MS), 500, 5).await;
    wait_for(async || world.balance("sender").await == before).await;

    assert!(set.shutdown().await);
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
    for name in [
        "hongbao_worker_runs_total{worker_job=\"activate\"}",
        "hongbao_worker_rows_total{worker_job=\"credit\"} 6",
        "hongbao_worker_errors_total{worker_job=\"refund\"} 0",
        "hongbao_worker_run_seconds_count{worker_job=\"credit\"}",
        "hongbao_settled_lag_seconds 0.",
        "hongbao_credit_stuck_envelopes 0",
    ] {
        assert!(text.contains(name), "{name} is not in\n{text}");
    }
    world.assert_sound().await;
}

async fn wait_for(mut holds: impl AsyncFnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came");
        pause(5).await;
    }
    began.elapsed()
}

#[test]
fn the_options_are_checked() {
    assert_eq!(WorkerOptions::default().check(), Ok(()));
    for bad in [
        WorkerOptions { batch_size_max: 0, ..WorkerOptions::default() },
        WorkerOptions { batch_size_max: 2_001, ..WorkerOptions::default() },
        WorkerOptions { duty_percent: 0, ..WorkerOptions::default() },
        WorkerOptions { duty_percent_max: 24, ..WorkerOptions::default() },
        WorkerOptions { duty_percent_max: 101, ..WorkerOptions::default() },
        WorkerOptions { late_duty_percent: 0, ..WorkerOptions::default() },
        WorkerOptions { late_duty_percent: 101, ..WorkerOptions::default() },
        WorkerOptions { credit_idle_ms: 0, ..WorkerOptions::default() },
    ] {
        assert!(bad.check().unwrap_err().starts_with("workers: "));
    }
}
