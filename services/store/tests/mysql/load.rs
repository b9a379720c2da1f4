//! A steady load of appends, and the account of what was said about each.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hongbao_core::{Entry, Envelope, EnvelopeId, Journal};
use hongbao_store::{Append, Store, StoreError};
use hongbao_testkit::store_suite::journal_of;
use tokio::task::JoinHandle;

use crate::common::entries;

/// Entries that are written at once.
const BATCH: u32 = 4;

/// Openings that go on through every fault, in one task an envelope.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    tasks: Vec<JoinHandle<Account>>,
}

/// What one task was told.
struct Account {
    envelope_id: EnvelopeId,
    /// Acknowledged: each must be there.
    done: Vec<Entry>,
    /// Refused or fenced: none may be there.
    not_written: Vec<Entry>,
    /// The longest time between two acknowledgements.
    longest_gap: Duration,
}

impl Load {
    /// Starts it; ends with [`Load::end`].
    pub fn start(store: &Arc<dyn Store>, envelopes: Vec<Envelope>) -> Load {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let tasks = envelopes
            .into_iter()
            .map(|envelope| tokio::spawn(open_steadily(store.clone(), envelope, stop.clone(), done.clone())))
            .collect();
        Load { stop, done, tasks }
    }

    /// Waits until so many more batches have been acknowledged.
    pub async fn goes_on_for(&self, batches: usize) {
        let enough = self.done.load(Ordering::Relaxed) + batches;
        let until = Instant::now() + Duration::from_secs(40);
        while self.done.load(Ordering::Relaxed) < enough {
            assert!(Instant::now() < until, "the load does not go on");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// Ends it and holds what was said against what `store` reads: every journal
    /// is gapless, has all that was acknowledged, and nothing of what was not
    /// written (I1, I3). Gives the longest time that a task was not served.
    pub async fn end(self, store: &Arc<dyn Store>) -> Duration {
        self.stop.store(true, Ordering::Relaxed);
        let mut longest_gap = Duration::ZERO;
        for task in self.tasks {
            let account = task.await.unwrap();
            longest_gap = longest_gap.max(account.longest_gap);
            let journal = journal_of(store, account.envelope_id).await;
            for (entry, seq) in journal.iter().zip(1..) {
                assert_eq!(entry.seq, seq, "the journal is gapless");
            }
            for entry in &account.done {
                assert_eq!(journal.get(entry.seq as usize - 1), Some(entry), "acknowledged, so it is there");
            }
            for entry in &account.not_written {
                assert_ne!(journal.get(entry.seq as usize - 1), Some(entry), "it was said not to be written");
            }
        }
        longest_gap
    }
}

async fn open_steadily(
    store: Arc<dyn Store>,
    envelope: Envelope,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<AtomicUsize>,
) -> Account {
    let (mut done, mut not_written) = (Vec::new(), Vec::new());
    let mut known: Option<Journal> = None;
    let (mut last, mut longest_gap) = (Instant::now(), Duration::ZERO);
    for turn in 0_u32.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
        let Some(journal) = known.take() else {
            known = store.load(envelope.id).await.ok().flatten().map(|(_, journal)| journal);
            continue;
        };
        let first = journal.last_seq + 1;
        let batch = entries(&envelope, first..=first + BATCH - 1, &format!("turn{turn}"));
        match store.append(&batch).await {
            Ok(Append::Done) => {
                known = batch.last().map(Journal::after);
                longest_gap = longest_gap.max(last.elapsed());
                last = Instant::now();
                done.extend(batch);
                acknowledged.fetch_add(1, Ordering::Relaxed);
            }
            Ok(Append::Fenced) | Err(StoreError::Unavailable(_)) => not_written.extend(batch),
            Err(StoreError::Unknown(_)) => {}
            Err(error) => panic!("{error:?}"),
        }
    }
    Account { envelope_id: envelope.id, done, not_written, longest_gap }
}
