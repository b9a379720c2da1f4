//! Holding the leases of jobs, beside the jobs.
//!
//! Of several processes of a SET one runs a job, and another takes it over when
//! the first dies. Each process asks for the leases again and again, all of them at once, on a task of
//! its own, so that a long run does not lose one. It holds a lease for as long
//! as the database said, counted from before it asked, and by no clock but that
//! of its own machine's uptime: a process that was stopped finds its leases over.
//! Who may not run jobs, because its clock is wrong, leaves the leases to others.

use std::sync::{Arc, Weak};
use std::time::Duration;

use hongbao_database::returns::Returning;
use hongbao_store::StoreError;
use hongbao_store::lease::{Alone, Leases};
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use crate::clock::ClockGuard;
use crate::metrics::WorkerMetrics;

/// How long a lease is good for. A holder that dies is followed after this and one
/// [`ASK_EVERY`] at most.
const LEASE_TIME: Duration = Duration::from_millis(2_000);
/// How often the leases are asked for; several times within their life, so that one lost
/// answer loses nothing.
const ASK_EVERY: Duration = Duration::from_millis(500);

/// Where others hold some of the leases, a count is all that tells in most of the asks that nothing has changed; in each
/// of so many it is asked which they are.
const ASK_WHICH_EVERY: u32 = 4;

/// For how long it is left to others by a process whose runs fail: long enough
/// for one that lives to take it.
const YIELDED_FOR: Duration = Duration::from_millis(4_000);

/// Who competes for leases, and where.
#[derive(Clone)]
pub struct LeaseHolder {
    /// Hands them out.
    pub leases: Arc<dyn Leases>,
    /// The name of this process, unlike those of the others. One that is
    /// started again under its name goes on at once.
    pub holder: String,
}

impl LeaseHolder {
    /// The one process that there is.
    pub fn alone() -> LeaseHolder {
        LeaseHolder { leases: Arc::new(Alone), holder: "alone".to_owned() }
    }
}

/// What asks for the leases of a process, as long as one of its [`Lease`]s is there.
struct Keeper {
    lease_holder: LeaseHolder,
    clock: Arc<ClockGuard>,
    metrics: WorkerMetrics,
    jobs: Vec<JobLease>,
    /// Held while the database is asked: what is given back is not renewed at the same time.
    asking: tokio::sync::Mutex<()>,
    /// A lease that was left to others is wanted again.
    wanted: Notify,
}

/// What is known of the lease of a job.
struct JobLease {
    job: &'static str,
    /// Held until then; `None` while it is another's.
    until: watch::Sender<Option<Instant>>,
    wanted: Mutex<Wanted>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wanted {
    Now,
    /// From then on, or when a database comes back, whose absence may be all that kept this process from its work.
    From(Instant),
    Never,
}

/// A lease that is being held, or waited for. Dropped, it is not renewed any more.
pub(crate) struct Lease {
    keeper: Arc<Keeper>,
    /// The job, by its place.
    place: usize,
    until: watch::Receiver<Option<Instant>>,
}

/// Begins to ask for the leases of these jobs. `returning` tells when a database comes back that may have kept them from
/// being held.
pub(crate) fn leases(
    lease_holder: LeaseHolder,
    jobs: &[&'static str],
    clock: Arc<ClockGuard>,
    returning: Returning,
    metrics: WorkerMetrics,
) -> Vec<Lease> {
    let of_job =
        |job: &&'static str| JobLease { job, until: watch::Sender::new(None), wanted: Mutex::new(Wanted::Now) };
    let jobs: Vec<JobLease> = jobs.iter().map(of_job).collect();
    let (asking, wanted) = (tokio::sync::Mutex::default(), Notify::new());
    let keeper = Arc::new(Keeper { lease_holder, clock, metrics, jobs, asking, wanted });
    tokio::spawn(keep(Arc::downgrade(&keeper), returning));
    let lease =
        |(place, job): (usize, &JobLease)| Lease { keeper: keeper.clone(), place, until: job.until.subscribe() };
    keeper.jobs.iter().enumerate().map(lease).collect()
}

impl Lease {
    /// Whether it is held now.
    pub fn is_held(&self) -> bool {
        is_held(*self.until.borrow())
    }

    /// Waits until it is held.
    pub async fn held(&mut self) {
        // Its sender lives as long as the keeper.
        if self.until.wait_for(|until| is_held(*until)).await.is_err() {
            std::future::pending().await
        }
    }

    /// Lets the next one have it. Waits a moment at most: it ends by itself, too.
    pub async fn give_back(self) {
        self.keeper.let_go(self.place, Wanted::Never).await;
    }

    /// Lets another one have it, who may be able to do what this process cannot,
    /// and asks for it again only after a while, or when a database comes back.
    pub async fn yield_lease(&mut self) {
        self.keeper.let_go(self.place, Wanted::From(Instant::now() + YIELDED_FOR)).await;
        self.keeper.wanted.notify_one();
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        *self.keeper.jobs[self.place].wanted.lock() = Wanted::Never;
    }
}

fn is_held(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

impl Keeper {
    async fn let_go(&self, place: usize, wanted: Wanted) {
        let JobLease { job, until, wanted: now_wanted } = &self.jobs[place];
        *now_wanted.lock() = wanted;
        let given = async {
            // Else it would be taken again.
            let _asking = self.asking.lock().await;
            self.lease_holder.leases.give_back(job, &self.lease_holder.holder).await
        };
        match tokio::time::timeout(LEASE_TIME, given).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(job, %error, "the lease is not given back, and ends by itself"),
            Err(_) => tracing::warn!(job, "the lease is not given back in time, and ends by itself"),
        }
        until.send_replace(None);
        self.metrics.lease_held(job, false);
    }

    /// The jobs whose leases are wanted now.
    fn wanted(&self) -> Vec<&JobLease> {
        let now = Instant::now();
        let is_wanted = |job: &&JobLease| {
            let mut wanted = job.wanted.lock();
            if matches!(*wanted, Wanted::From(at) if at <= now) {
                *wanted = Wanted::Now;
            }
            *wanted == Wanted::Now
        };
        self.jobs.iter().filter(is_wanted).collect()
    }

    /// When the first lease is wanted that was left to others.
    fn wanted_at(&self) -> Option<Instant> {
        let at = |job: &JobLease| match *job.wanted.lock() {
            Wanted::From(at) => Some(at),
            Wanted::Now | Wanted::Never => None,
        };
        self.jobs.iter().filter_map(at).min()
    }

    /// What was left to others because of a database is wanted again.
    fn want_all(&self) {
        for job in &self.jobs {
            let mut wanted = job.wanted.lock();
            if let Wanted::From(_) = *wanted {
                *wanted = Wanted::Now;
            }
        }
    }

    /// Asks, for the `asks`th time, for all leases that are wanted; gives whether there was an answer.
    async fn ask(&self, asks: u32, was_failing: bool) -> bool {
        let _asking = self.asking.lock().await;
        let jobs = self.wanted();
        if self.clock.is_far_off().await {
            for JobLease { job, until, .. } in jobs {
                if until.send_replace(None).is_some() {
                    // What cannot be given back ends by itself, as it is not renewed.
                    let _ = self.lease_holder.leases.give_back(job, &self.lease_holder.holder).await;
                }
                self.metrics.lease_held(job, false);
                self.metrics.skipped(job);
            }
            return true;
        }
        let answer = self.hold_what_is_free(&jobs, asks).await;
        match &answer {
            // Another process was asking at the same moment; what is held stays so.
            Err(StoreError::Locked(error)) => tracing::debug!(error, "the leases are asked for again"),
            Err(error) if !was_failing => tracing::error!(%error, "the leases cannot be asked for"),
            _ => {}
        }
        for job in jobs {
            self.metrics.lease_held(job.job, is_held(*job.until.borrow()));
        }
        answer.is_ok()
    }

    /// Renews those of these that are held, and takes those that no process holds. Where all are as they were this is
    /// one statement, which writes nothing for a process that holds none.
    async fn hold_what_is_free(&self, jobs: &[&JobLease], asks: u32) -> Result<(), StoreError> {
        let LeaseHolder { leases, holder } = &self.lease_holder;
        let held: Vec<&JobLease> = jobs.iter().copied().filter(|job| is_held(*job.until.borrow())).collect();
        if held.is_empty() && !jobs.is_empty() {
            let could = leases.could_hold(&names(jobs), holder).await?;
            let free: Vec<&JobLease> =
                jobs.iter().zip(could).filter_map(|(job, could)| could.then_some(*job)).collect();
            return self.hold(&free).await;
        }
        if held.len() < jobs.len() && !asks.is_multiple_of(ASK_WHICH_EVERY) {
            let asked_at = Instant::now();
            let count = leases.hold_some(&names(jobs), holder, LEASE_TIME).await?;
            // As many are the same ones only where none of them can have ended before the answer.
            if count == held.len() && held.iter().all(|job| is_held(*job.until.borrow())) {
                held.iter().for_each(|job| job.renewed(asked_at));
                return Ok(());
            }
        }
        self.hold(jobs).await
    }

    /// Takes or renews these. After an error what is held stays held until it ends.
    async fn hold(&self, jobs: &[&JobLease]) -> Result<(), StoreError> {
        if jobs.is_empty() {
            return Ok(());
        }
        let LeaseHolder { leases, holder } = &self.lease_holder;
        let asked_at = Instant::now();
        let held = leases.hold(&names(jobs), holder, LEASE_TIME).await?;
        for (lease, held) in jobs.iter().zip(held) {
            let (job, was_held) = (lease.job, is_held(*lease.until.borrow()));
            match (was_held, held) {
                (false, true) => tracing::info!(job, "this process runs the job now"),
                (true, false) => tracing::warn!(job, "another process runs the job now"),
                _ => {}
            }
            if held {
                lease.renewed(asked_at);
            } else {
                lease.until.send_replace(None);
            }
        }
        Ok(())
    }
}

impl JobLease {
    /// It is held, unless it was let go meanwhile.
    fn renewed(&self, asked_at: Instant) {
        let is_wanted = *self.wanted.lock() == Wanted::Now;
        self.until.send_replace(is_wanted.then_some(asked_at + LEASE_TIME));
    }
}

fn names(jobs: &[&JobLease]) -> Vec<&'static str> {
    jobs.iter().map(|job| job.job).collect()
}

async fn keep(keeper: Weak<Keeper>, mut returning: Returning) {
    let (mut failing, mut asks) = (false, 0);
    while let Some(keeper) = keeper.upgrade() {
        if returning.seen() {
            keeper.want_all();
        }
        failing = !keeper.ask(asks, failing).await;
        asks = asks.wrapping_add(1);
        let next = Instant::now() + ASK_EVERY;
        let next = keeper.wanted_at().map_or(next, |at| next.min(at));
        tokio::select! {
            () = tokio::time::sleep_until(next) => {}
            () = returning.next() => keeper.want_all(),
            () = keeper.wanted.notified() => {}
        }
    }
}
