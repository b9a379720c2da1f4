//! Reading envelopes that are not live, many at a time.
//!
//! An envelope costs two statements and a barrier when it is read alone. After a start all
//! of them are asked for within a moment, so those that are asked for while others are being read make the next
//! batch, without waiting for more: two statements for all of them, and one barrier.
//!
//! What a batch does not find, or does not find in time, is read alone by the caller that
//! waits for it: one that lies in a table of its date or in the archive, one with a long
//! journal, and all others of a batch in which one table cannot be read. So none
//! fails for the sake of a neighbour.

use std::collections::VecDeque;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt as _;
use hongbao_core::limits::{DURABLE_READ_TRIES_MAX, LOAD_BATCH_MAX, LOAD_BATCH_WITHIN, LOAD_BATCHES_AT_ONCE};
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_database::Reading;
use hongbao_database::durable::read_across_a_start;
use hongbao_store::{Store, StoreError};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::timeout;

use crate::live_envelope::{LiveEnvelope, NotLive};

/// The readings of a server.
pub struct Loads {
    permits: Arc<Semaphore>,
    gathered: Arc<Mutex<Gathered>>,
}

#[derive(Default)]
struct Gathered {
    waiting: VecDeque<Waiting>,
    /// Batches that are being read.
    batches: usize,
}

impl Gathered {
    /// The next batch; without one the reading ends.
    fn next(&mut self) -> Option<Vec<Waiting>> {
        let next: Vec<Waiting> = self.waiting.drain(..self.waiting.len().min(LOAD_BATCH_MAX)).collect();
        if next.is_empty() {
            self.batches -= 1;
        }
        Some(next).filter(|next| !next.is_empty())
    }
}

/// An envelope that is to be read, and who waits for it.
struct Waiting {
    id: EnvelopeId,
    asked_at: Timestamp,
    answer: oneshot::Sender<Answer>,
    /// Held here, so that a caller that goes away makes no room before its envelope was read.
    permit: OwnedSemaphorePermit,
}

/// What a batch says of an envelope, and the permit for reading it alone where it says nothing.
type Answer = (Option<Result<LiveEnvelope, NotLive>>, OwnedSemaphorePermit);

impl Waiting {
    fn answer(self, found: Option<Result<LiveEnvelope, NotLive>>) {
        // The caller may be gone.
        let _ = self.answer.send((found, self.permit));
    }
}

impl Loads {
    /// At most `max` envelopes are read, or wait for it, at the same time.
    pub fn new(max: usize) -> Loads {
        Loads { permits: Arc::new(Semaphore::new(max)), gathered: Arc::default() }
    }

    /// Leave to read one envelope.
    ///
    /// # Errors
    /// Busy, when there are too many.
    pub fn permit(&self) -> Result<OwnedSemaphorePermit, NotLive> {
        self.permits.clone().try_acquire_owned().map_err(|_| NotLive::Busy)
    }

    /// Reads an envelope, with the others that are asked for meanwhile.
    pub async fn load(&self, id: EnvelopeId, store: &Arc<dyn Store>, now: Timestamp) -> Result<LiveEnvelope, NotLive> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting { id, asked_at: now, answer, permit: self.permit()? };
        let begins = {
            let mut gathered = self.gathered.lock();
            gathered.waiting.push_back(waiting);
            let begins = gathered.batches < LOAD_BATCHES_AT_ONCE;
            gathered.batches += usize::from(begins);
            begins
        };
        if begins {
            tokio::spawn(read_batches(self.gathered.clone(), store.clone()));
        }
        let Ok((found, _permit)) = answered.await else {
            return Err(NotLive::Store(StoreError::Unavailable("reading the envelope panicked".to_owned())));
        };
        match found {
            Some(found) => found,
            None => load_alone(id, &**store, now).await,
        }
    }
}

/// Reads batch after batch until nothing waits.
async fn read_batches(gathered: Arc<Mutex<Gathered>>, store: Arc<dyn Store>) {
    loop {
        // What has come in over other connections by now comes along.
        tokio::task::yield_now().await;
        let Some(batch) = gathered.lock().next() else { return };
        if AssertUnwindSafe(read_batch(batch, &*store)).catch_unwind().await.is_err() {
            // A defect. The next batch is read all the same.
            tracing::error!("reading a batch of envelopes panicked");
        }
    }
}

/// Reads one batch, and answers those that wait for it.
async fn read_batch(batch: Vec<Waiting>, store: &dyn Store) {
    let (reading, proven) = (Reading::begin(store), Reading::begin(store));
    let wanted: Vec<_> = batch.iter().map(|waiting| (waiting.id, waiting.asked_at)).collect();
    let found = match timeout(LOAD_BATCH_WITHIN, LiveEnvelope::read_many(&wanted, store)).await {
        Ok(Ok(found)) => found,
        Ok(Err(_)) | Err(_) => wanted.iter().map(|_| None).collect(),
    };
    let (mut waiting, mut live, mut credited) = (Vec::new(), Vec::new(), Vec::new());
    for (one, found) in batch.into_iter().zip(found) {
        match found {
            Some(Ok(envelope)) if envelope.is_credited() => credited.push((one, envelope)),
            Some(Ok(envelope)) => {
                waiting.push(one);
                live.push(envelope);
            }
            other => one.answer(other),
        }
    }
    for (one, envelope) in proven.end_proven(credited).into_inner() {
        one.answer(Some(Ok(envelope)));
    }
    if waiting.is_empty() {
        return;
    }
    match reading.end(live).await {
        Ok(Some(durable)) => {
            for (one, envelope) in waiting.into_iter().zip(durable.into_inner()) {
                one.answer(Some(Ok(envelope)));
            }
        }
        // The server was started anew meanwhile.
        Ok(None) => waiting.into_iter().for_each(|one| one.answer(None)),
        Err(error) => {
            for one in waiting {
                one.answer(Some(Err(NotLive::Store(error.clone().into()))));
            }
        }
    }
}

/// Reads one envelope, wherever it lies.
async fn load_alone(id: EnvelopeId, store: &dyn Store, now: Timestamp) -> Result<LiveEnvelope, NotLive> {
    for _ in 0..DURABLE_READ_TRIES_MAX {
        let reading = Reading::begin(store);
        let read = LiveEnvelope::read(id, store, now).await?;
        let durable = match read.is_credited() {
            true => Some(reading.end_proven(read)),
            false => reading.end(read).await.map_err(|error| NotLive::Store(error.into()))?,
        };
        if let Some(live) = durable {
            return Ok(live.into_inner());
        }
    }
    Err(NotLive::Store(read_across_a_start().into()))
}
