//! A lane: the FIFO that openings of its envelopes pass through.
//!
//! A lane takes what is waiting, up to a bound and without waiting for more: the
//! time of the previous commit is the window in which a batch gathers. It
//! decides the whole batch in memory, writes it in one transaction, and answers
//! only after the commit. One opener is a batch of one; there is no other path.
//!
//! What it decides rests on what it remembers. If the batch fails, what is
//! remembered of its envelopes is dropped, and its openings are decided one by
//! one from what the database says, in the same order.

use std::collections::HashMap;
use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use hongbao_core::envelope::OpenDecision;
use hongbao_core::limits::{FENCE_RETRIES_MAX, OPEN_BATCH_SIZE_MAX};
use hongbao_core::{Clock, Entry, EnvelopeId, Journal, Opened, Timestamp, UserId};
use hongbao_store::{Append, Store, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::direct;
use crate::live::{LiveEnvelope, LiveEnvelopes, NotLive};
use crate::metrics::LaneMetrics;
use crate::permits::{Inside, Permits};

/// An opening that waits for its turn.
pub struct OpenJob {
    /// The envelope, as it was live when the opening was accepted.
    pub live: Arc<LiveEnvelope>,
    /// Who opens.
    pub user: UserId,
    /// When it was accepted, to measure the wait.
    pub accepted: Instant,
    /// Past this time it is dropped before the transaction.
    pub deadline: Timestamp,
    /// Where the answer goes. Nobody may be waiting any more; the opening happens all the same.
    pub answer: oneshot::Sender<OpenAnswer>,
}

/// How an opening ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenAnswer {
    /// The user has this share, durably.
    Opened {
        /// The share.
        opened: Opened,
        /// It had been opened before.
        replayed: bool,
    },
    /// Every share was opened by others.
    Empty,
    /// Too late.
    Expired,
    /// There is nothing to open under this id.
    NotFound,
    /// Refused for now; nothing happened.
    Busy,
    /// The database cannot be used; nothing happened. With the cause.
    Unavailable(String),
    /// It may have happened or not; asking again settles it. With the cause.
    Unknown(String),
}

/// What all lanes of a server share.
pub struct LaneContext {
    /// Where openings are written.
    pub store: Arc<dyn Store>,
    /// What the server remembers.
    pub live: Arc<LiveEnvelopes>,
    /// What caps the transactions of one envelope.
    pub permits: Arc<dyn Permits>,
    /// Tells the time of each opening.
    pub clock: Arc<dyn Clock>,
    /// Counts and times.
    pub metrics: LaneMetrics,
}

/// Why a batch as a whole came to nothing that may be answered.
#[derive(Debug, thiserror::Error)]
enum BatchFailed {
    /// Another writer was first: what is remembered is old.
    #[error("another writer was first")]
    Fenced,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl BatchFailed {
    /// It may have been committed nevertheless.
    fn is_in_doubt(&self) -> bool {
        matches!(self, BatchFailed::Store(StoreError::Unknown(_)))
    }
}

/// Openings that may fail one after the other before the rest of a failed batch
/// is refused unasked: the database is gone, not one request bad.
const FAILURES_IN_A_ROW_MAX: u32 = 3;

/// The worker of one lane.
pub struct Lane {
    context: Arc<LaneContext>,
}

/// One envelope of a batch: what is remembered, and what the batch adds to it.
struct Ledger {
    live: Arc<LiveEnvelope>,
    fold: Journal,
    entries: Vec<Entry>,
}

impl Lane {
    /// A lane of a server.
    pub fn new(context: Arc<LaneContext>) -> Lane {
        Lane { context }
    }

    /// Works until the queue is closed and empty.
    pub async fn run(self, mut queue: mpsc::Receiver<OpenJob>) {
        let mut batch = Vec::with_capacity(OPEN_BATCH_SIZE_MAX);
        while queue.recv_many(&mut batch, OPEN_BATCH_SIZE_MAX).await > 0 {
            self.context.metrics.queue_depth.set(queue.len() as i64);
            if unless_it_panics(self.process(&mut batch)).await.is_err() {
                // A defect. Whoever waits is told that the outcome is unknown, and
                // the lane goes on: a dead one would refuse its envelopes for good.
                tracing::error!(openings = batch.len(), "a batch panicked");
                batch.clear();
            }
        }
    }

    /// Decides, commits and answers one batch, and leaves it empty.
    pub async fn process(&self, batch: &mut Vec<OpenJob>) {
        let now = self.context.clock.now();
        self.drop_late(batch, now);
        if batch.is_empty() {
            return;
        }
        match self.attempt(batch, now).await {
            Ok(answers) => {
                for (job, answer) in batch.drain(..).zip(answers) {
                    let answer = self.confirmed(&job, answer, now, false).await;
                    self.answer(job, answer);
                }
            }
            Err(failed) => {
                self.context.metrics.failed_batches.inc();
                self.one_by_one(batch, failed).await;
            }
        }
    }

    /// After a failed batch, so that one bad request cannot fail its neighbours.
    async fn one_by_one(&self, batch: &mut Vec<OpenJob>, failed: BatchFailed) {
        let in_doubt = failed.is_in_doubt();
        match &failed {
            // Everyday life where an envelope has two owners.
            BatchFailed::Fenced => tracing::debug!(openings = batch.len(), "another writer was first"),
            BatchFailed::Store(error) => tracing::warn!(openings = batch.len(), %error, "a batch failed"),
        }
        let mut failures_in_a_row = 0;
        for job in batch.drain(..) {
            let answer = match &failed {
                BatchFailed::Store(error) if failures_in_a_row >= FAILURES_IN_A_ROW_MAX => {
                    direct::failed(error, in_doubt)
                }
                _ => self.alone(&job, in_doubt).await,
            };
            match answer {
                OpenAnswer::Unavailable(_) | OpenAnswer::Unknown(_) => failures_in_a_row += 1,
                _ => failures_in_a_row = 0,
            }
            self.answer(job, answer);
        }
    }

    /// Decides one opening from what the database says now.
    async fn alone(&self, job: &OpenJob, mut in_doubt: bool) -> OpenAnswer {
        let id = job.live.envelope.id;
        for _ in 0..FENCE_RETRIES_MAX {
            let now = self.context.clock.now();
            if job.deadline <= now {
                break;
            }
            match self.context.live.get_or_load(id, &*self.context.store, now).await {
                Ok(_) => {}
                Err(NotLive::NotFound | NotLive::NotPaid(_)) => return OpenAnswer::NotFound,
                Err(NotLive::Busy) => break,
                Err(NotLive::Store(error)) => return direct::failed(&error, in_doubt),
            }
            match self.attempt(std::slice::from_ref(job), now).await {
                Ok(mut answers) => {
                    let answer = answers.pop().expect("one opening has one answer");
                    return self.confirmed(job, answer, now, in_doubt).await;
                }
                Err(BatchFailed::Fenced) => {}
                Err(failed) if failed.is_in_doubt() => in_doubt = true,
                Err(BatchFailed::Store(error)) => return direct::failed(&error, in_doubt),
            }
        }
        if in_doubt { OpenAnswer::Unknown("no commit was confirmed in time".to_owned()) } else { OpenAnswer::Busy }
    }

    fn drop_late(&self, batch: &mut Vec<OpenJob>, now: Timestamp) {
        let dequeued = Instant::now();
        for job in batch.iter() {
            self.context.metrics.queue_wait.observe((dequeued - job.accepted).as_secs_f64());
        }
        for job in batch.extract_if(.., |job| job.deadline <= now) {
            self.answer(job, OpenAnswer::Busy);
        }
    }

    /// Decides the openings in order and commits them in one transaction. An
    /// error means that none of the answers may be given.
    async fn attempt(&self, batch: &[OpenJob], now: Timestamp) -> Result<Vec<OpenAnswer>, BatchFailed> {
        let mut ledgers: Vec<Ledger> = Vec::new();
        let mut ledger_of: HashMap<EnvelopeId, Option<usize>> = HashMap::new();
        let mut permits = Vec::new();
        let mut indexes = Vec::with_capacity(batch.len());
        for job in batch {
            let id = job.live.envelope.id;
            let index = *ledger_of.entry(id).or_insert_with(|| {
                permits.push(Inside::enter(&*self.context.permits, id)?);
                // Another copy may have replaced the one that the job came with.
                let live = self.context.live.get(id, now).unwrap_or_else(|| job.live.clone());
                let fold = live.journal().fold;
                ledgers.push(Ledger { live, fold, entries: Vec::new() });
                Some(ledgers.len() - 1)
            });
            indexes.push(index);
        }

        let mut opened_in_batch: HashMap<(usize, &UserId), Opened> = HashMap::new();
        let mut answers = Vec::with_capacity(batch.len());
        for (job, index) in batch.iter().zip(indexes) {
            let Some(index) = index else {
                answers.push(OpenAnswer::Busy);
                continue;
            };
            let ledger = &mut ledgers[index];
            let before = match opened_in_batch.get(&(index, &job.user)) {
                Some(opened) => Some(opened.clone()),
                None => ledger.live.journal().opened_by(&job.user),
            };
            let decision = ledger.live.envelope.decide_open(&ledger.fold, before.as_ref(), &job.user, now);
            if let OpenDecision::Append(entry) = &decision {
                let opened = Opened { seq: entry.seq, amount: entry.amount, at: entry.at };
                opened_in_batch.insert((index, &job.user), opened);
                ledger.fold = Journal::after(entry);
                ledger.entries.push(entry.clone());
            }
            answers.push(answer_to(decision));
        }

        self.commit(&ledgers).await?;
        Ok(answers)
    }

    async fn commit(&self, ledgers: &[Ledger]) -> Result<(), BatchFailed> {
        let entries: Vec<Entry> = ledgers.iter().flat_map(|ledger| ledger.entries.iter().cloned()).collect();
        if entries.is_empty() {
            return Ok(());
        }
        let metrics = &self.context.metrics;
        let started = Instant::now();
        let appended = self.context.store.append(&entries).await;
        metrics.commit_time.observe(started.elapsed().as_secs_f64());
        metrics.batch_size.observe(entries.len() as f64);
        match appended {
            Ok(Append::Done) => {
                for ledger in ledgers.iter().filter(|ledger| !ledger.entries.is_empty()) {
                    self.context.live.committed(&ledger.live, ledger.entries.iter());
                }
                Ok(())
            }
            failed => {
                for ledger in ledgers {
                    self.context.live.forget(ledger.live.envelope.id);
                }
                Err(failed.map_or_else(BatchFailed::Store, |_| BatchFailed::Fenced))
            }
        }
    }

    /// A memory that may be old does not tell anybody to be too late.
    async fn confirmed(&self, job: &OpenJob, answer: OpenAnswer, now: Timestamp, in_doubt: bool) -> OpenAnswer {
        if answer != OpenAnswer::Expired || job.live.journal().fold.has_ended() {
            return answer;
        }
        direct::confirm_expired(&self.context, job.live.envelope.id, &job.user, now, in_doubt).await
    }

    fn answer(&self, job: OpenJob, answer: OpenAnswer) {
        self.context.metrics.count(&answer);
        // The client may be gone; the opening has happened all the same.
        let _ = job.answer.send(answer);
    }
}

/// Runs work to its end; an error if it panicked.
async fn unless_it_panics(work: impl Future<Output = ()>) -> std::thread::Result<()> {
    let mut work = pin!(work);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(context))) {
        Ok(Poll::Pending) => Poll::Pending,
        Ok(Poll::Ready(())) => Poll::Ready(Ok(())),
        Err(panic) => Poll::Ready(Err(panic)),
    })
    .await
}

/// The answer that a decision comes to, once what it appends is durable.
pub(crate) fn answer_to(decision: OpenDecision) -> OpenAnswer {
    match decision {
        OpenDecision::Append(entry) => OpenAnswer::Opened {
            opened: Opened { seq: entry.seq, amount: entry.amount, at: entry.at },
            replayed: false,
        },
        OpenDecision::Replay(opened) => OpenAnswer::Opened { opened, replayed: true },
        OpenDecision::Empty => OpenAnswer::Empty,
        OpenDecision::Expired => OpenAnswer::Expired,
        OpenDecision::NotActive => OpenAnswer::NotFound,
    }
}
