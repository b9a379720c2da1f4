//! A lane: the FIFO that openings of its envelopes pass through.
//!
//! A lane takes what is waiting, up to a bound and without waiting for more: the
//! time of the previous commit is the window in which a batch gathers. It
//! decides the whole batch in memory, writes it in one transaction, and answers
//! only after the commit. One opener is a batch of one; there is no other path.
//!
//! What it decides rests on what it remembers. If the batch fails, what is
//! remembered of its envelopes is dropped and read again, and the batch is
//! decided once more as a whole; if that fails, too, or if somebody holds a row
//! of one of its envelopes, its openings are decided one by one, those of an
//! envelope always in the same order.

mod batch;
mod queue;
mod span;

use std::collections::HashSet;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use futures_util::FutureExt as _;
use hongbao_core::limits::{
    ALONE_AT_ONCE, FENCE_RETRIES_MAX, LANE_FAILURES_IN_A_ROW_MAX, OPEN_BATCH_SIZE_MAX, RELOADS_AT_ONCE,
};
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_trace::{Span, export, in_current, in_span, millis, within};
use indexmap::IndexMap;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinSet};

use self::batch::{BatchFailed, attempt};
pub use self::queue::{Accepted, LaneQueue, OpenJob, Place};
use self::span::{BatchFields, batch_span, tell_requests};
use crate::answer::{OpenAnswer, exhausted, failed, settled};
use crate::context::OpeningContext;
use crate::live::NotLive;

/// What the openings of a failed batch know of each other.
struct IsolatedBatch {
    failed: BatchFailed,
    /// An attempt may have been committed.
    in_doubt: bool,
    /// Openings that failed one after the other.
    in_a_row: AtomicU32,
}

/// Another transaction holds a row of the envelope: this is the answer, and the
/// openings behind this one need not wait for the same.
struct LockTimeout(OpenAnswer);

/// The worker of one lane.
pub struct Lane {
    context: Arc<OpeningContext>,
}

impl Lane {
    /// A lane of a server.
    pub fn new(context: Arc<OpeningContext>) -> Lane {
        Lane { context }
    }

    /// Works until the queue is closed and empty.
    pub async fn run(self, mut queue: mpsc::Receiver<OpenJob>) {
        let mut batch = Vec::with_capacity(OPEN_BATCH_SIZE_MAX);
        while queue.recv_many(&mut batch, OPEN_BATCH_SIZE_MAX).await > 0 {
            // What has come in over other connections by now is read first, and comes along.
            tokio::task::yield_now().await;
            while batch.len() < OPEN_BATCH_SIZE_MAX
                && let Ok(job) = queue.try_recv()
            {
                batch.push(job);
            }
            self.context.metrics.queue_depth.set((queue.len() + batch.len()) as i64);
            self.process(&mut batch).await;
            self.context.metrics.queue_depth.set(queue.len() as i64);
        }
    }

    /// Decides, commits and answers one batch, and leaves it empty.
    pub async fn process(&self, batch: &mut Vec<OpenJob>) {
        let now = self.context.clock.now();
        let dequeued = Instant::now();
        for job in batch.iter() {
            self.context.metrics.queue_wait.observe((dequeued - job.accepted).as_secs_f64());
        }
        self.drop_late(batch, now, false);
        if batch.is_empty() {
            return;
        }
        let span = batch_span(batch);
        let decided = in_span(span.clone(), AssertUnwindSafe(self.decide(batch, now, &span)).catch_unwind()).await;
        let failure = decided.unwrap_or_else(|_| {
            // A defect. Those that wait get `outcome_unknown`, and the lane goes on: a dead
            // one would refuse its envelopes for good.
            tell_requests(batch, &span);
            within(span.clone(), || tracing::error!("a batch panicked"));
            batch.clear();
            Some("the batch panicked")
        });
        export::end(&span, failure);
    }

    /// Gives why the batch failed as a whole, if it did; its openings are answered then, too.
    async fn decide(&self, batch: &mut Vec<OpenJob>, now: Timestamp, span: &Span<BatchFields>) -> Option<&'static str> {
        let failed = match attempt(&self.context, batch, now).await {
            Ok(answers) => {
                self.answer_all(batch, answers, false);
                return None;
            }
            Err(failed) => failed,
        };
        self.context.metrics.failed_batches.inc();
        tell_requests(batch, span);
        let elapsed_ms = millis(span.started.elapsed());
        match &failed {
            BatchFailed::Store(error) if !failed.is_lock_timeout() => {
                tracing::warn!(%error, elapsed_ms, "a batch failed");
            }
            // Everyday life where an envelope has two owners, or another transaction holds its row.
            BatchFailed::Fenced | BatchFailed::Store(_) => {
                tracing::debug!(error = %failed, elapsed_ms, "a batch is decided again");
            }
        }
        if failed.is_lock_timeout() {
            // As a whole it would wait for the same row again, and be late.
            self.isolate(batch, failed, false).await;
        } else {
            self.retry_batch(batch, failed).await;
        }
        Some("the batch failed as a whole")
    }

    /// Decides a failed batch again, as a whole, from what the database says now.
    async fn retry_batch(&self, batch: &mut Vec<OpenJob>, failed: BatchFailed) {
        let in_doubt = failed.is_in_doubt();
        self.drop_late(batch, self.context.clock.now(), in_doubt);
        self.reload(batch).await;
        let now = self.context.clock.now();
        self.drop_late(batch, now, in_doubt);
        match attempt(&self.context, batch, now).await {
            Ok(answers) => self.answer_all(batch, answers, in_doubt),
            Err(failed) => {
                let in_doubt = in_doubt || failed.is_in_doubt();
                self.isolate(batch, failed, in_doubt).await;
            }
        }
    }

    /// Reads the envelopes of a batch again, several at a time, until the store fails:
    /// a database that is silent costs its time-out once, not once for each of them.
    /// What was not read is read where it is needed.
    async fn reload(&self, batch: &[OpenJob]) {
        let now = self.context.clock.now();
        let ids: HashSet<_> = batch.iter().map(|job| job.live.envelope.id).collect();
        let mut loads = JoinSet::new();
        for id in ids {
            if loads.len() >= RELOADS_AT_ONCE
                && let Some(Ok(Err(NotLive::Store(_)))) = loads.join_next().await
            {
                break;
            }
            let context = self.context.clone();
            loads.spawn(in_current(async move { context.live.get_or_load(id, &context.store, now).await.map(|_| ()) }));
        }
        while let Some(loaded) = loads.join_next().await {
            if let Ok(Err(NotLive::Store(_))) = loaded {
                // Those under way end with their set.
                break;
            }
        }
    }

    /// After a batch that failed as a whole, so that one bad request, or one
    /// envelope that somebody holds, cannot fail its neighbours. Those of an
    /// envelope keep their order; some envelopes go at the same time, since one
    /// that is held takes long.
    async fn isolate(&self, batch: &mut Vec<OpenJob>, failed: BatchFailed, in_doubt: bool) {
        let mut by_envelope: IndexMap<EnvelopeId, Vec<OpenJob>> = IndexMap::new();
        for job in batch.drain(..) {
            by_envelope.entry(job.live.envelope.id).or_default().push(job);
        }
        let failure = Arc::new(IsolatedBatch { failed, in_doubt, in_a_row: AtomicU32::new(0) });
        let mut envelopes = JoinSet::new();
        for jobs in by_envelope.into_values() {
            if envelopes.len() >= ALONE_AT_ONCE {
                note_panic(envelopes.join_next().await);
            }
            let (lane, failure) = (Lane::new(self.context.clone()), failure.clone());
            envelopes.spawn(in_current(async move { lane.each_alone(jobs, &failure).await }));
        }
        while !envelopes.is_empty() {
            note_panic(envelopes.join_next().await);
        }
    }

    /// Decides and answers openings of one envelope, one after the other.
    async fn each_alone(&self, jobs: Vec<OpenJob>, failure: &IsolatedBatch) {
        let in_doubt = failure.in_doubt;
        let mut is_lock_timeout = false;
        for job in jobs {
            let answer = match &failure.failed {
                _ if is_lock_timeout => exhausted(in_doubt),
                BatchFailed::Store(error) if failure.in_a_row.load(Ordering::Relaxed) >= LANE_FAILURES_IN_A_ROW_MAX => {
                    failed(error, in_doubt)
                }
                _ => self.process_single(&job, in_doubt).await.unwrap_or_else(|LockTimeout(answer)| {
                    is_lock_timeout = true;
                    answer
                }),
            };
            match answer {
                _ if is_lock_timeout => {}
                OpenAnswer::Unavailable(_) | OpenAnswer::Unknown(_) => {
                    failure.in_a_row.fetch_add(1, Ordering::Relaxed);
                }
                _ => failure.in_a_row.store(0, Ordering::Relaxed),
            }
            self.answer(job, answer);
        }
    }

    /// Decides one opening from what the database says now.
    async fn process_single(&self, job: &OpenJob, mut in_doubt: bool) -> Result<OpenAnswer, LockTimeout> {
        let id = job.live.envelope.id;
        for _ in 0..FENCE_RETRIES_MAX {
            let now = self.context.clock.now();
            if job.deadline <= now {
                break;
            }
            match self.context.live.get_or_load(id, &self.context.store, now).await {
                Ok(_) => {}
                Err(NotLive::NotFound | NotLive::NotPaid(_)) => return Ok(OpenAnswer::NotFound),
                Err(NotLive::Busy) => break,
                Err(NotLive::Store(error)) => return Ok(failed(&error, in_doubt)),
            }
            match attempt(&self.context, std::slice::from_ref(job), now).await {
                Ok(mut answers) => {
                    let answer = answers.pop().expect("one opening has one answer");
                    return Ok(settled(answer, in_doubt));
                }
                Err(BatchFailed::Fenced) => {}
                Err(failed) if failed.is_in_doubt() => in_doubt = true,
                Err(failed) if failed.is_lock_timeout() => return Err(LockTimeout(exhausted(in_doubt))),
                Err(BatchFailed::Store(error)) => return Ok(failed(&error, in_doubt)),
            }
        }
        Ok(exhausted(in_doubt))
    }

    fn drop_late(&self, batch: &mut Vec<OpenJob>, now: Timestamp, in_doubt: bool) {
        for job in batch.extract_if(.., |job| job.deadline <= now) {
            self.answer(job, exhausted(in_doubt));
        }
    }

    fn answer_all(&self, batch: &mut Vec<OpenJob>, answers: Vec<OpenAnswer>, in_doubt: bool) {
        for (job, answer) in batch.drain(..).zip(answers) {
            self.answer(job, settled(answer, in_doubt));
        }
    }

    fn answer(&self, job: OpenJob, answer: OpenAnswer) {
        self.context.metrics.count(&answer);
        if let (Some(place), false) = (&job.place, matches!(answer, OpenAnswer::Unavailable(_))) {
            place.measure();
        }
        // Free before the client hears, so that it finds room for what it asks next.
        drop(job.place);
        // The client may be gone; the opening has happened all the same.
        let _ = job.answer.send(answer);
    }
}

/// A defect. Whoever waited for the openings of the envelope is told that the outcome is unknown.
fn note_panic(done: Option<Result<(), JoinError>>) {
    if let Some(Err(error)) = done {
        tracing::error!(%error, "openings of an envelope panicked");
    }
}
