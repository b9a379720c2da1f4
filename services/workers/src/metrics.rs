//! What the jobs tell Prometheus.

use std::sync::atomic::AtomicU64;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

/// The label of everything that each job has. `job` alone is the label by which Prometheus names what it scrapes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct JobLabel {
    worker_job: &'static str,
}

/// The metrics of all jobs of one process. Clones share their values.
#[derive(Clone)]
pub struct WorkerMetrics {
    runs: Family<JobLabel, Counter>,
    rows: Family<JobLabel, Counter>,
    errors: Family<JobLabel, Counter>,
    run_seconds: Family<JobLabel, Histogram>,
    settled_lag_seconds: Gauge<f64, AtomicU64>,
    credits_refused: Counter,
    envelopes_stuck: Gauge,
    webhook_events: Counter,
    webhook_refused: Counter,
    webhook_lost: Counter,
    webhook_behind: Gauge,
    lease_held: Family<JobLabel, Gauge>,
    stepped_aside: Family<JobLabel, Counter>,
    clock_ahead_seconds: Gauge<f64, AtomicU64>,
    runs_skipped: Family<JobLabel, Counter>,
    orders_unfinished: Gauge,
    orders_oldest_seconds: Gauge<f64, AtomicU64>,
    orders_need_attention: Gauge,
}

impl Default for WorkerMetrics {
    fn default() -> WorkerMetrics {
        WorkerMetrics {
            runs: Family::default(),
            rows: Family::default(),
            errors: Family::default(),
            // 1 ms to 16 s.
            run_seconds: Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.001, 2.0, 15))),
            settled_lag_seconds: Gauge::default(),
            credits_refused: Counter::default(),
            envelopes_stuck: Gauge::default(),
            webhook_events: Counter::default(),
            webhook_refused: Counter::default(),
            webhook_lost: Counter::default(),
            webhook_behind: Gauge::default(),
            lease_held: Family::default(),
            stepped_aside: Family::default(),
            clock_ahead_seconds: Gauge::default(),
            runs_skipped: Family::default(),
            orders_unfinished: Gauge::default(),
            orders_oldest_seconds: Gauge::default(),
            orders_need_attention: Gauge::default(),
        }
    }
}

impl WorkerMetrics {
    /// Makes the metrics known under `hongbao_...`.
    pub fn register(registry: &mut Registry) -> WorkerMetrics {
        let metrics = WorkerMetrics::default();
        registry.register("hongbao_worker_runs", "Runs of a background job", metrics.runs.clone());
        registry.register(
            "hongbao_worker_rows",
            "Rows that a job moved forward; those of the job credit are openings and refunds",
            metrics.rows.clone(),
        );
        registry.register("hongbao_worker_errors", "Failures of a job", metrics.errors.clone());
        registry.register("hongbao_worker_run_seconds", "Seconds of a run of a job", metrics.run_seconds.clone());
        registry.register(
            "hongbao_settled_lag_seconds",
            "Every opening that is older than so many seconds has been credited",
            metrics.settled_lag_seconds.clone(),
        );
        registry.register(
            "hongbao_credits_refused",
            "Credits that the wallet refused, repeats included",
            metrics.credits_refused.clone(),
        );
        registry.register(
            "hongbao_credit_stuck_envelopes",
            "Envelopes with a credit that the wallet refuses: look for them in the log and the audit",
            metrics.envelopes_stuck.clone(),
        );
        registry.register(
            "hongbao_webhook_events",
            "Events that the webhook has taken",
            metrics.webhook_events.clone(),
        );
        registry.register(
            "hongbao_webhook_refused",
            "Requests to the webhook that it has not taken, or not in time",
            metrics.webhook_refused.clone(),
        );
        registry.register(
            "hongbao_webhook_lost",
            "Times that events were removed before the webhook had taken them",
            metrics.webhook_lost.clone(),
        );
        registry.register(
            "hongbao_webhook_behind",
            "Rows of events that the webhook has not taken yet, in all databases of the wallet",
            metrics.webhook_behind.clone(),
        );
        registry.register(
            "hongbao_worker_lease_held",
            "1 while this process runs the job, 0 while it stands by",
            metrics.lease_held.clone(),
        );
        registry.register(
            "hongbao_worker_stepped_aside",
            "Times that this process failed in a row and left the job to another one",
            metrics.stepped_aside.clone(),
        );
        registry.register(
            "hongbao_worker_clock_ahead_seconds",
            "Seconds that this machine's clock is ahead of the database's",
            metrics.clock_ahead_seconds.clone(),
        );
        registry.register(
            "hongbao_worker_runs_skipped",
            "Runs that were left out because the clock is far off",
            metrics.runs_skipped.clone(),
        );
        registry.register(
            "hongbao_orders_unfinished",
            "Orders at the provider whose outcome is not known",
            metrics.orders_unfinished.clone(),
        );
        registry.register(
            "hongbao_orders_oldest_seconds",
            "The age of the oldest order whose outcome is not known",
            metrics.orders_oldest_seconds.clone(),
        );
        registry.register(
            "hongbao_orders_need_attention",
            "Orders that a person has to look at",
            metrics.orders_need_attention.clone(),
        );
        metrics
    }

    /// Shows a job that has done nothing yet: what counts from 0 is seen to rise when it first happens.
    pub(crate) fn begin(&self, job: &'static str) {
        let label = JobLabel { worker_job: job };
        for family in [&self.runs, &self.rows, &self.errors, &self.stepped_aside, &self.runs_skipped] {
            drop(family.get_or_create(&label));
        }
        drop(self.run_seconds.get_or_create(&label));
    }

    /// A run of a job is over.
    pub(crate) fn ran(&self, job: &'static str, took: Duration, rows: u32, failures: u32) {
        let label = JobLabel { worker_job: job };
        self.runs.get_or_create(&label).inc();
        self.rows.get_or_create(&label).inc_by(u64::from(rows));
        self.errors.get_or_create(&label).inc_by(u64::from(failures));
        self.run_seconds.get_or_create(&label).observe(took.as_secs_f64());
    }

    /// How far behind the credits are.
    pub(crate) fn settled_lag(&self, lag_ms: i64) {
        self.settled_lag_seconds.set(lag_ms as f64 / 1_000.0);
    }

    /// A credit was refused.
    pub(crate) fn credit_refused(&self) {
        self.credits_refused.inc();
    }

    /// Orders that are not over, the age of the oldest, and those that a person has to look at.
    pub(crate) fn orders(&self, unfinished: u64, oldest_ms: i64, need_attention: u64) {
        self.orders_unfinished.set(unfinished.min(i64::MAX as u64) as i64);
        self.orders_oldest_seconds.set(oldest_ms as f64 / 1_000.0);
        self.orders_need_attention.set(need_attention.min(i64::MAX as u64) as i64);
    }

    /// How many envelopes cannot be settled.
    pub(crate) fn stuck(&self, envelopes: usize) {
        self.envelopes_stuck.set(envelopes as i64);
    }

    /// The webhook has taken so many events.
    pub(crate) fn webhook_sent(&self, events: u32) {
        self.webhook_events.inc_by(u64::from(events));
    }

    /// The webhook has not taken a request.
    pub(crate) fn webhook_refused(&self) {
        self.webhook_refused.inc();
    }

    /// Events are gone that the webhook has not taken.
    pub(crate) fn webhook_lost(&self) {
        self.webhook_lost.inc();
    }

    /// How far behind the webhook is.
    pub(crate) fn webhook_behind(&self, rows: i64) {
        self.webhook_behind.set(rows);
    }

    /// Whether this process holds the lease of a job.
    pub(crate) fn lease_held(&self, job: &'static str, is_held: bool) {
        self.lease_held.get_or_create(&JobLabel { worker_job: job }).set(i64::from(is_held));
    }

    /// A job is left to another process.
    pub(crate) fn stepped_aside(&self, job: &'static str) {
        self.stepped_aside.get_or_create(&JobLabel { worker_job: job }).inc();
    }

    /// How far our clock is ahead of the database's; below zero when it is behind.
    pub(crate) fn clock_ahead(&self, ahead_ms: i64) {
        self.clock_ahead_seconds.set(ahead_ms as f64 / 1_000.0);
    }

    /// A run was left out because the clock is far off.
    pub(crate) fn skipped(&self, job: &'static str) {
        self.runs_skipped.get_or_create(&JobLabel { worker_job: job }).inc();
    }
}
