//! The driver: runs each job again and again on a task of its own, while this
//! process holds the job's lease and its clock is right.
//!
//! After a run that reached its bound a job goes on at once, but not without
//! rest: it works for a share of the time only, its [duty](duty_percent), so
//! that credits do not starve openings at the peak. After an idle run it waits
//! for its interval, and where the run saw that nothing is to be done for longer, up to a second. After a failure it waits longer and longer, up to five
//! seconds, with a jitter that keeps many processes from knocking together; and
//! after a few in a row it gives up its lease for a while, so that a process that
//! cannot do the job does not keep one that can from doing it. Whichever of the two
//! it waits for, it goes on at once when a database comes back.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::Limits;
use hongbao_core::id::stable_hash;
use hongbao_core::limits::{
    EVENT_KEEP_DAYS, JOB_BACKOFF_MAX, JOB_BACKOFF_MIN, JOB_FAILURES_IN_A_ROW_MAX, JOB_QUIET_REST_MAX, JOB_REST_MAX,
    JOB_SKIPPED_REST_MIN, LATE_JOB_REST_MAX, SEAL_AFTER_DAYS, WORKER_BATCH_SIZE_DEFAULT, WORKER_BATCH_SIZE_MAX,
};
use hongbao_core::settings::{self, setting};
use hongbao_database::returns::Returning;
use hongbao_provider::{Endpoint, Payments};
use hongbao_trace::{Fields, Span, SpanKind, TraceContext, Value, export, in_span, millis, within};
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::activate::Activate;
use crate::clock::ClockGuard;
use crate::credit::Credit;
use crate::expiring_soon::ExpiringSoon;
use crate::export::Export;
use crate::forget_keys::ForgetKeys;
use crate::job::{Job, JobError, Ports, RunReport, catch_panic};
use crate::lease::{self, Lease, LeaseHolder};
use crate::metrics::WorkerMetrics;
use crate::orders::Orders;
use crate::purge::Purge;
use crate::purge_events::PurgeEvents;
use crate::refund::Refund;
use crate::seal::Seal;
use crate::seal_months::SealMonths;
use crate::webhook::Webhook;

/// Purges, seals, exports and what forgets keys may be late, and look for work so many times less often than other jobs.
const LATE_IDLE_FACTOR: u32 = 50;

/// The shares of the time that a job works, in percent: with as much to do as arrives, and when nothing arrives.
type Duty = RangeInclusive<u32>;

/// What an operator may configure of the background jobs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WorkerOptions {
    /// Rows of one run at most.
    pub batch_size_max: u32,
    /// The share of the time that a busy job works at least, in percent.
    pub duty_percent: u32,
    /// The share that it works when nothing new arrives.
    pub duty_percent_max: u32,
    /// The share of the time that each job works that may be late: purges, seals, exports and the like. In percent. It is more where
    /// a single run takes half a minute and longer, for the rest after it is ten minutes at most.
    pub late_duty_percent: u32,
    /// How often credits look for work when there is little, in milliseconds; after a quiet time they do so less and
    /// less often, up to four times a second.
    pub credit_idle_ms: u64,
    /// How often the other jobs do while something waits for them. Else they look once a second, and when the first
    /// thing is due that they have seen.
    pub idle_ms: u64,
    /// Seconds after which an envelope that was cancelled, and so never paid, is removed.
    pub purge_after_s: u32,
    /// Days after which a dated table is sealed, if nothing is left to be done in it.
    pub seal_after_days: u32,
    /// Days for which events are kept.
    pub events_keep_days: u32,
    /// How long a shutdown waits for runs that are under way, in milliseconds.
    pub shutdown_ms_max: u64,
}

impl Default for WorkerOptions {
    fn default() -> WorkerOptions {
        WorkerOptions {
            batch_size_max: WORKER_BATCH_SIZE_DEFAULT,
            // At the peak three quarters are left to openings; credits catch up after it.
            duty_percent: 25,
            duty_percent_max: 90,
            // All of them together no more than a job that users wait for at its least.
            late_duty_percent: 5,
            // Far below the second in which a credit should appear.
            credit_idle_ms: 50,
            idle_ms: 200,
            // A client that asks again the next day need not learn why it cannot pay any more.
            purge_after_s: 86_400,
            // Two months: a worker that was off for one still finds its work in tables that can be written.
            seal_after_days: 60,
            // A webhook that was down over a weekend, and a phone that was off for one, get all.
            events_keep_days: 7,
            shutdown_ms_max: 10_000,
        }
    }
}

impl WorkerOptions {
    /// Checks that each setting is in its range and fits to the others.
    pub fn check(&self) -> Result<(), String> {
        settings::check(
            "workers",
            &[
                setting("batch_size_max", self.batch_size_max, 1..=WORKER_BATCH_SIZE_MAX),
                setting("duty_percent", self.duty_percent, 1..=100),
                setting("duty_percent_max", self.duty_percent_max, self.duty_percent..=100)
                    .because("it must not be less than duty_percent"),
                setting("late_duty_percent", self.late_duty_percent, 1..=100),
                setting("credit_idle_ms", self.credit_idle_ms, 1..=60_000),
                setting("idle_ms", self.idle_ms, 1..=60_000),
                setting("purge_after_s", self.purge_after_s, 1..=20 * 86_400),
                setting("seal_after_days", self.seal_after_days, SEAL_AFTER_DAYS),
                setting("events_keep_days", self.events_keep_days, EVENT_KEEP_DAYS),
                setting("shutdown_ms_max", self.shutdown_ms_max, 1..=600_000),
            ],
        )
    }
}

/// A job, how often it looks for work, and how much of the time it works.
pub struct Scheduled {
    job: Box<dyn Job>,
    /// The wait after a run that found little.
    idle: Duration,
    duty: Duty,
    /// The rest after a long run, however small the duty.
    rest_max: Duration,
}

impl Scheduled {
    /// One on which users wait: it looks for work after `idle`, and works the more the less arrives.
    pub fn prompt(job: Box<dyn Job>, idle: Duration, options: &WorkerOptions) -> Scheduled {
        Scheduled { job, idle, duty: options.duty_percent..=options.duty_percent_max, rest_max: JOB_REST_MAX }
    }

    /// One that may be late.
    pub fn late(job: Box<dyn Job>, options: &WorkerOptions) -> Scheduled {
        let idle = Duration::from_millis(options.idle_ms) * LATE_IDLE_FACTOR;
        let duty = options.late_duty_percent..=options.late_duty_percent;
        Scheduled { job, idle, duty, rest_max: LATE_JOB_REST_MAX }
    }

    /// How long to wait after a run that took so long.
    fn rest_after(&self, report: &RunReport, took: Duration) -> Duration {
        let duty = duty_percent(report, &self.duty);
        let rest = (took * (100 - duty) / duty).min(self.rest_max);
        let quiet = report.quiet_for.map_or(self.idle, |quiet| quiet.min(JOB_QUIET_REST_MAX).max(self.idle));
        if report.more { rest } else { rest.max(quiet) }
    }
}

/// Jobs that an installation may do without.
#[derive(Clone, Default)]
pub struct OptionalJobs {
    /// Days after which a table is exported; `None`: none is.
    pub export_after_days: Option<u32>,
    /// The payment provider, whose orders are driven.
    pub payments: Option<Payments>,
    /// Where events are sent.
    pub webhook: Option<Endpoint>,
}

/// Jobs that are running. Dropped, it stops them after their present run.
pub struct WorkerSet {
    stop: watch::Sender<bool>,
    tasks: Vec<(&'static str, JoinHandle<()>)>,
    shutdown_within: Duration,
}

impl WorkerSet {
    /// Starts all jobs of a SET. Needs a tokio runtime with time.
    pub fn spawn(
        ports: Ports,
        lease_holder: LeaseHolder,
        zone_offset_s: i32,
        limits: &Limits,
        options: &WorkerOptions,
        optional: OptionalJobs,
        registry: &mut Registry,
    ) -> WorkerSet {
        let metrics = WorkerMetrics::register(registry);
        let clock = Arc::new(ClockGuard::new(&ports, metrics.clone()));
        let returning = ports.store.returns().and(ports.wallet.returns());
        let credit = Credit::new(ports.clone(), zone_offset_s, limits).measured_by(metrics.clone());
        let refund = Refund::new(ports.clone(), zone_offset_s, limits);
        let purge = Purge::new(ports.clone(), zone_offset_s, limits, options.purge_after_s);
        let seal = Seal::new(ports.clone(), zone_offset_s, options.seal_after_days);
        let export = optional.export_after_days.map(|days| Export::new(ports.clone(), zone_offset_s, days));
        let seal_months = SealMonths::new(ports.clone(), zone_offset_s);
        let orders =
            optional.payments.map(|payments| Orders::new(ports.clone(), payments).measured_by(metrics.clone()));
        let webhook = optional.webhook.and_then(|endpoint| match Webhook::new(ports.clone(), endpoint) {
            Ok(job) => Some(job.measured_by(metrics.clone())),
            Err(error) => {
                tracing::error!(error, "events are not sent to the webhook");
                None
            }
        });
        let forget_keys = ForgetKeys::new(ports.clone());
        let expiring_soon = ExpiringSoon::new(ports.clone(), zone_offset_s, limits);
        let purge_events = PurgeEvents::new(ports.clone(), options.events_keep_days);
        let activate = Activate::new(ports, zone_offset_s, limits);
        let [idle, credit_idle] = [options.idle_ms, options.credit_idle_ms].map(Duration::from_millis);
        let mut jobs = vec![
            Scheduled::prompt(Box::new(credit), credit_idle, options),
            Scheduled::prompt(Box::new(refund), idle, options),
            Scheduled::prompt(Box::new(activate), idle, options),
            Scheduled::late(Box::new(purge), options),
            Scheduled::late(Box::new(seal), options),
            Scheduled::late(Box::new(seal_months), options),
            Scheduled::late(Box::new(forget_keys), options),
            Scheduled::late(Box::new(expiring_soon), options),
            Scheduled::late(Box::new(purge_events), options),
        ];
        jobs.extend(orders.map(|job| Scheduled::prompt(Box::new(job), idle, options)));
        jobs.extend(webhook.map(|job| Scheduled::prompt(Box::new(job), idle, options)));
        jobs.extend(export.map(|job| Scheduled::late(Box::new(job), options)));
        WorkerSet::spawn_jobs(jobs, lease_holder, clock, &returning, options, &metrics)
    }

    /// Starts these jobs, each on a task of its own; `returning` tells when a
    /// database that they need comes back.
    pub fn spawn_jobs(
        jobs: Vec<Scheduled>,
        lease_holder: LeaseHolder,
        clock: Arc<ClockGuard>,
        returning: &Returning,
        options: &WorkerOptions,
        metrics: &WorkerMetrics,
    ) -> WorkerSet {
        let (stop, stopped) = watch::channel(false);
        let names: Vec<&'static str> = jobs.iter().map(|scheduled| scheduled.job.name()).collect();
        names.iter().for_each(|job| metrics.begin(job));
        let leases = lease::leases(lease_holder, &names, clock.clone(), returning.clone(), metrics.clone());
        let tasks = jobs
            .into_iter()
            .zip(leases)
            .map(|(scheduled, lease)| {
                let name = scheduled.job.name();
                let task = Task {
                    scheduled,
                    lease,
                    clock: clock.clone(),
                    returning: returning.clone(),
                    came_back: false,
                    options: options.clone(),
                    metrics: metrics.clone(),
                    failures: 0,
                    stopped: stopped.clone(),
                };
                (name, tokio::spawn(task.run()))
            })
            .collect();
        WorkerSet { stop, tasks, shutdown_within: Duration::from_millis(options.shutdown_ms_max) }
    }

    /// Lets the runs under way finish and starts no others. True if all ended
    /// in time; one that did not is broken off, which loses nothing.
    pub async fn shutdown(self) -> bool {
        self.stop.send_replace(true);
        let deadline = tokio::time::Instant::now() + self.shutdown_within;
        let mut clean = true;
        for (job, mut task) in self.tasks {
            if tokio::time::timeout_at(deadline, &mut task).await.is_err() {
                tracing::warn!(job, "a run did not end in time and is broken off");
                task.abort();
                clean = false;
            }
        }
        clean
    }
}

struct Task {
    scheduled: Scheduled,
    lease: Lease,
    clock: Arc<ClockGuard>,
    returning: Returning,
    /// A database came back while the next run was waited for.
    came_back: bool,
    options: WorkerOptions,
    metrics: WorkerMetrics,
    /// Failed runs in a row.
    failures: u32,
    /// An error says that the `WorkerSet` was dropped.
    stopped: watch::Receiver<bool>,
}

impl Task {
    async fn run(mut self) {
        while !*self.stopped.borrow() {
            let next = if self.lease.is_held() { self.turn().await } else { self.stand_by().await };
            let Some(rest) = next else { break };
            let has_failed = self.failures > 0;
            tokio::select! {
                () = tokio::time::sleep(rest) => {}
                () = self.returning.next(), if has_failed => self.came_back = true,
                changed = self.stopped.changed() => if changed.is_err() { break },
            }
        }
        self.lease.give_back().await;
    }

    /// Waits for the lease; `None` if the `WorkerSet` was dropped meanwhile.
    async fn stand_by(&mut self) -> Option<Duration> {
        self.scheduled.job.hand_over();
        tokio::select! {
            () = self.lease.held() => self.scheduled.job.start_over(),
            changed = self.stopped.changed() => changed.ok()?,
        }
        Some(Duration::ZERO)
    }

    /// Runs the job once; gives how long to wait before the next run.
    async fn turn(&mut self) -> Option<Duration> {
        let job = self.scheduled.job.name();
        if self.clock.is_far_off().await {
            self.metrics.skipped(job);
            return Some(self.scheduled.idle.max(JOB_SKIPPED_REST_MIN));
        }
        if self.returning.seen() | std::mem::take(&mut self.came_back) {
            self.scheduled.job.forget_failures();
        }
        let context = TraceContext::root(export::samples_next());
        let span = Arc::new(Span::new("run", SpanKind::Internal, context, Instant::now(), RunFields { job }));
        let run = catch_panic(self.scheduled.job.run_once(self.options.batch_size_max));
        let outcome = in_span(span.clone(), run).await;
        let took = span.started.elapsed();
        within(span.clone(), || self.note(job, &outcome, took));
        end(&span, &outcome);
        if self.failures >= JOB_FAILURES_IN_A_ROW_MAX {
            self.yield_lease(job).await;
            return Some(Duration::ZERO);
        }
        Some(self.rest(job, &outcome, took))
    }

    /// Lets another process try, if there is one.
    async fn yield_lease(&mut self, job: &'static str) {
        tracing::warn!(job, failures = self.failures, "the job is left to another process for a while");
        self.metrics.stepped_aside(job);
        self.lease.yield_lease().await;
        self.failures = 0;
    }

    /// Counts, and logs the first failure of a row.
    fn note(&mut self, job: &'static str, outcome: &Result<RunReport, JobError>, took: Duration) {
        match outcome {
            Ok(report) => {
                self.metrics.ran(job, took, report.rows, report.failures);
                if self.failures > 0 {
                    tracing::info!(job, failures = self.failures, "works again");
                }
                self.failures = 0;
            }
            Err(error) => {
                self.metrics.ran(job, took, 0, 1);
                if self.failures == 0 {
                    tracing::error!(job, %error, elapsed_ms = millis(took), "a run failed, and is tried again");
                }
                self.failures = self.failures.saturating_add(1);
            }
        }
    }

    /// How long to wait before the next run.
    fn rest(&self, job: &str, outcome: &Result<RunReport, JobError>, took: Duration) -> Duration {
        match outcome {
            Ok(report) => self.scheduled.rest_after(report, took),
            Err(_) => backoff(std::process::id(), job, self.failures),
        }
    }
}

/// What the span of a run is about.
struct RunFields {
    job: &'static str,
}

impl Fields for RunFields {
    fn visit(&self, field: &mut dyn FnMut(&'static str, Value<'_>)) {
        field("job", self.job.into());
    }
}

/// A run that found nothing to do is not worth a record.
fn end(span: &Arc<Span<RunFields>>, outcome: &Result<RunReport, JobError>) {
    match outcome {
        Ok(RunReport { rows: 0, failures: 0, .. }) => {}
        Ok(report) => {
            span.record("rows", u64::from(report.rows));
            export::end(span, (report.failures > 0).then_some("tables could not be used"));
        }
        Err(error) => export::end(span, Some(&error.to_string())),
    }
}

/// The share of the time that a job works: of all rows that moved since before,
/// those that it moved itself, the others being those that arrived. So at the
/// peak, when openings are many, it leaves most of the time to them; the fewer
/// they are the more it works; and when there are none it catches up at full speed.
fn duty_percent(report: &RunReport, duty: &Duty) -> u32 {
    let Some(arrived) = report.arrived else { return *duty.start() };
    let (moved, arrived) = (u64::from(report.rows), u64::from(arrived));
    let share = u64::from(*duty.end()) * moved / (moved + arrived).max(1);
    (share as u32).clamp(*duty.start(), *duty.end())
}

/// Twice as long after each failure, and between half and all of that; where
/// between, differs from process to process.
fn backoff(process: u32, job: &str, failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    let longest = (JOB_BACKOFF_MIN * 2_u32.pow(doublings)).min(JOB_BACKOFF_MAX);
    let mut bytes = process.to_be_bytes().to_vec();
    bytes.extend_from_slice(&failures.to_be_bytes());
    bytes.extend_from_slice(job.as_bytes());
    let per_mille = (stable_hash(&bytes) % 501) as u32;
    longest / 2 + longest * per_mille / 1_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_works_the_more_the_less_arrives() {
        let duty =
            |rows, arrived| duty_percent(&RunReport { rows, arrived, more: true, ..RunReport::default() }, &(25..=90));
        assert_eq!(duty(1_000, Some(0)), 90, "after the peak it catches up");
        assert_eq!(duty(1_000, Some(1_000)), 45, "as much arrives as it moves");
        assert_eq!(duty(1_000, Some(4_000)), 25, "at the peak it works its least share");
        assert_eq!(duty(1_000, None), 25, "who cannot tell is modest");
        assert_eq!(duty(0, Some(0)), 25);
        assert_eq!(duty(u32::MAX, Some(u32::MAX)), 45);
    }

    struct Nothing;

    #[async_trait::async_trait]
    impl Job for Nothing {
        fn name(&self) -> &'static str {
            "nothing"
        }

        async fn run_once(&mut self, _: u32) -> Result<RunReport, JobError> {
            Ok(RunReport::default())
        }
    }

    #[test]
    fn a_job_that_may_be_late_works_a_twentieth_of_the_time_also_after_long_runs() {
        let options = WorkerOptions::default();
        let [busy, idle] = [true, false].map(|more| RunReport { more, ..RunReport::default() });
        let late = Scheduled::late(Box::new(Nothing), &options);
        for (took_ms, rest_ms) in [(100, 1_900), (30_000, 570_000), (60_000, 600_000)] {
            assert_eq!(late.rest_after(&busy, Duration::from_millis(took_ms)), Duration::from_millis(rest_ms));
        }
        assert_eq!(late.rest_after(&idle, Duration::ZERO), Duration::from_secs(10), "it looks for work seldom");
        let prompt = Scheduled::prompt(Box::new(Nothing), Duration::from_millis(50), &options);
        assert_eq!(prompt.rest_after(&busy, Duration::from_millis(100)), Duration::from_millis(300));
        assert_eq!(prompt.rest_after(&busy, Duration::from_secs(10)), Duration::from_secs(1));
    }

    #[test]
    fn a_job_that_has_nothing_to_do_waits_until_it_has_and_a_second_at_most() {
        let options = WorkerOptions::default();
        let prompt = Scheduled::prompt(Box::new(Nothing), Duration::from_millis(50), &options);
        for (quiet_ms, more, rest_ms) in [(0, false, 50), (300, false, 300), (86_400_000, false, 1_000), (300, true, 0)]
        {
            let report = RunReport { more, quiet_for: Some(Duration::from_millis(quiet_ms)), ..RunReport::default() };
            assert_eq!(prompt.rest_after(&report, Duration::ZERO), Duration::from_millis(rest_ms));
        }
        let quiet = RunReport { quiet_for: Some(Duration::ZERO), ..RunReport::default() };
        let late = Scheduled::late(Box::new(Nothing), &options);
        assert_eq!(late.rest_after(&quiet, Duration::ZERO), Duration::from_secs(10), "and not before its interval");
    }

    #[test]
    fn a_failing_job_waits_longer_and_longer_up_to_five_seconds() {
        for failures in 1..200 {
            let wait = backoff(7, "credit", failures);
            assert!(wait <= JOB_BACKOFF_MAX, "{wait:?}");
            assert!(wait >= (JOB_BACKOFF_MIN * 2_u32.pow((failures - 1).min(5)) / 2), "{wait:?} after {failures}");
        }
        assert!(backoff(7, "credit", 100) >= JOB_BACKOFF_MAX / 2);
        assert_ne!(backoff(7, "credit", 9), backoff(8, "credit", 9));
    }
}
