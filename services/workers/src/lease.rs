//! Holding the lease of a job, beside the job.
//!
//! Of several processes of a SET one runs a job, and another takes it over when
//! the first dies. Each process asks for the lease again and again, on a task of
//! its own, so that a long run does not lose it. It holds the lease for as long
//! as the database said, counted from before it asked, and by no clock but that
//! of its own machine's uptime: a process that was stopped finds its lease over.
//! Who may not run jobs, because its clock is wrong, leaves the lease to others.

use std::sync::Arc;
use std::time::Duration;

use hongbao_database::returns::Returning;
use hongbao_store::lease::{Alone, Leases};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::clock::ClockGuard;
use crate::metrics::WorkerMetrics;

/// How long a lease is good for. A holder that dies is followed after this and one
/// [`ASK_EVERY`] at most.
const LEASE_TIME: Duration = Duration::from_millis(2_000);
/// How often it is asked for; several times within its life, so that one lost
/// answer loses nothing.
const ASK_EVERY: Duration = Duration::from_millis(500);

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

/// A lease that is being held, or waited for. Dropped, it is not renewed any more.
pub(crate) struct Lease {
    lease_holder: LeaseHolder,
    job: &'static str,
    clock: Arc<ClockGuard>,
    /// Held until then; `None` while it is another's.
    until: watch::Receiver<Option<Instant>>,
    keeper: JoinHandle<()>,
    /// Tells when a database comes back that may have kept it from being held.
    returning: Returning,
    metrics: WorkerMetrics,
}

impl Lease {
    /// Begins to ask for the lease of a job.
    pub fn of(
        lease_holder: LeaseHolder,
        job: &'static str,
        clock: Arc<ClockGuard>,
        returning: Returning,
        metrics: WorkerMetrics,
    ) -> Lease {
        let (tell, until) = watch::channel(None);
        let keeper =
            tokio::spawn(keep(lease_holder.clone(), job, clock.clone(), returning.clone(), tell, metrics.clone()));
        Lease { lease_holder, job, clock, until, keeper, returning, metrics }
    }

    /// Whether it is held now.
    pub fn is_held(&self) -> bool {
        is_held(*self.until.borrow())
    }

    /// Waits until it is held.
    pub async fn held(&mut self) {
        // The keeper ends only with the lease.
        if self.until.wait_for(|until| is_held(*until)).await.is_err() {
            std::future::pending().await
        }
    }

    /// Lets the next one have it. Waits a moment at most: it ends by itself, too.
    pub async fn give_back(self) {
        self.let_go().await;
    }

    /// Lets another one have it, who may be able to do what this process cannot,
    /// and asks for it again only after a while, or when a database comes back,
    /// whose absence may be all that kept it from its work.
    pub async fn yield_lease(&mut self) {
        self.let_go().await;
        let (tell, until) = watch::channel(None);
        self.until = until;
        let (clock, mut returning) = (self.clock.clone(), self.returning.clone());
        returning.seen();
        let keeper = keep(self.lease_holder.clone(), self.job, clock, returning.clone(), tell, self.metrics.clone());
        self.keeper = tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(YIELDED_FOR) => {}
                () = returning.next() => {}
            }
            keeper.await;
        });
    }

    async fn let_go(&self) {
        // Else it would take the lease again.
        self.keeper.abort();
        self.metrics.lease_held(self.job, false);
        let given = self.lease_holder.leases.give_back(self.job, &self.lease_holder.holder);
        match tokio::time::timeout(LEASE_TIME, given).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(job = self.job, %error, "the lease is not given back, and ends by itself"),
            Err(_) => tracing::warn!(job = self.job, "the lease is not given back in time, and ends by itself"),
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.keeper.abort();
    }
}

fn is_held(until: Option<Instant>) -> bool {
    until.is_some_and(|until| Instant::now() < until)
}

async fn keep(
    lease_holder: LeaseHolder,
    job: &'static str,
    clock: Arc<ClockGuard>,
    mut returning: Returning,
    tell: watch::Sender<Option<Instant>>,
    metrics: WorkerMetrics,
) {
    let mut failing = false;
    loop {
        if clock.is_far_off().await {
            if tell.send_replace(None).is_some() {
                // What cannot be given back ends by itself, as it is not renewed.
                let _ = lease_holder.leases.give_back(job, &lease_holder.holder).await;
            }
            metrics.lease_held(job, false);
            metrics.skipped(job);
            tokio::time::sleep(ASK_EVERY).await;
            continue;
        }
        returning.seen();
        let asked_at = Instant::now();
        let answer = lease_holder.leases.hold(job, &lease_holder.holder, LEASE_TIME).await;
        let held = is_held(*tell.borrow());
        match answer {
            Ok(true) => {
                if !held {
                    tracing::info!(job, "this process runs the job now");
                }
                tell.send_replace(Some(asked_at + LEASE_TIME));
            }
            Ok(false) => {
                if held {
                    tracing::warn!(job, "another process runs the job now");
                }
                tell.send_replace(None);
            }
            // What is held stays held until it ends.
            Err(ref error) if !failing => tracing::error!(job, %error, "the lease cannot be asked for"),
            Err(_) => {}
        }
        failing = answer.is_err();
        metrics.lease_held(job, is_held(*tell.borrow()));
        tokio::select! {
            () = tokio::time::sleep(ASK_EVERY) => {}
            () = returning.next(), if failing => {}
        }
    }
}
