//! Group commit: one task owns the writing of a ledger, and puts the calls that
//! wait into one transaction. It never waits for more: the time of a commit is
//! the window in which the next batch gathers.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use hongbao_core::event::Note;
use hongbao_core::limits::TRANSFER_BATCH_SIZE_MAX;
use hongbao_core::{DayQuota, Transfer, TransferId, TransferOutcome};
use tokio::sync::{mpsc, oneshot};

use crate::{TransferRequest, WalletError, quotas};

/// A ledger that executes transfers.
pub(crate) trait Transact: Send + Sync + 'static {
    /// Executes them in order, and writes what of the notes is new, in one transaction; durable when it returns.
    fn transact(&self, asked: Asked<'_>) -> impl Future<Output = Result<Vec<TransferOutcome>, TransactError>> + Send;
}

/// What one transaction is asked for.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub transfers: &'a [&'a Transfer],
    pub notes: &'a [&'a Note],
    /// What payments among the transfers are counted as.
    pub quotas: &'a [(TransferId, DayQuota)],
}

impl Asked<'_> {
    /// Statements that read what the quotas need to know; none where there are none.
    pub fn reads_of_quotas(&self, table: impl Fn(&str) -> String) -> Vec<String> {
        if self.quotas.is_empty() {
            return Vec::new();
        }
        let quotas: HashMap<TransferId, &DayQuota> = self.quotas.iter().map(|(id, quota)| (*id, quota)).collect();
        let counted = || self.transfers.iter().filter_map(|one| Some((*one, *quotas.get(&one.id)?)));
        let envelopes = || counted().filter_map(|(one, _)| Some((&one.user, one.id.envelope_id()?)));
        let subjects: Vec<[u8; 16]> = envelopes().map(|(_, envelope)| *envelope.as_bytes()).collect();
        quotas::reads(table, counted().map(|(one, quota)| (&one.user, quota)), &subjects, envelopes())
    }
}

/// Where a transaction failed: it says what may be done about it.
#[derive(Debug)]
pub(crate) enum TransactError {
    /// It never began.
    Begin(WalletError),
    /// Something in it failed, and it was rolled back.
    Inside(WalletError),
    /// The commit did not succeed for certain.
    Commit(WalletError),
}

impl TransactError {
    /// What the callers get.
    pub fn into_error(self) -> WalletError {
        match self {
            TransactError::Begin(error) | TransactError::Inside(error) | TransactError::Commit(error) => error,
        }
    }
}

type Answer = Result<Vec<TransferOutcome>, WalletError>;

/// One caller's transfers and notes, and where the answer goes.
struct PendingTransfers {
    request: TransferRequest,
    answer: oneshot::Sender<Answer>,
}

impl PendingTransfers {
    /// What it adds to a transaction.
    fn size(&self) -> usize {
        self.request.transfers.len() + self.request.notes.len()
    }
}

/// The way in: a bounded queue in front of the task that writes.
pub(crate) struct Queue {
    calls: mpsc::Sender<PendingTransfers>,
    /// Transfers in the queue.
    depth: Arc<AtomicUsize>,
}

impl Queue {
    /// Starts the task. It ends when the queue was dropped and is empty.
    pub fn start(ledger: impl Transact, calls_max: usize) -> Queue {
        let (calls, waiting) = mpsc::channel(calls_max);
        let depth = Arc::new(AtomicUsize::new(0));
        let writer = Writer { ledger, waiting, next: None, depth: Arc::clone(&depth) };
        tokio::spawn(writer.run());
        Queue { calls, depth }
    }

    /// Transfers that wait.
    pub fn depth(&self) -> usize {
        self.depth.load(Ordering::Relaxed)
    }

    /// Keeps a place for one call, or says that all are taken.
    pub fn place(&self) -> Result<Place<'_>, WalletError> {
        match self.calls.try_reserve() {
            Ok(permit) => Ok(Place { permit, depth: &self.depth }),
            Err(mpsc::error::TrySendError::Full(())) => Err(WalletError::Busy),
            Err(mpsc::error::TrySendError::Closed(())) => {
                Err(WalletError::Unavailable("the writer has ended".to_owned()))
            }
        }
    }
}

/// Refuses a call that would be one transaction of any length.
pub(crate) fn check_size(transfers: &[Transfer]) -> Result<(), WalletError> {
    let count = transfers.len();
    if count > TRANSFER_BATCH_SIZE_MAX {
        let reason = format!("{count} transfers in one call, at most {TRANSFER_BATCH_SIZE_MAX} are taken");
        return Err(WalletError::Unavailable(reason));
    }
    Ok(())
}

/// A place in the queue.
pub(crate) struct Place<'a> {
    permit: mpsc::Permit<'a, PendingTransfers>,
    depth: &'a AtomicUsize,
}

impl Place<'_> {
    /// Queues the transfers. From here on they are executed even if the caller goes away.
    pub fn fill(self, request: TransferRequest) -> Waiting {
        let (answer, outcome) = oneshot::channel();
        // Counted first: once it is sent, the writer may take it and count it off.
        self.depth.fetch_add(request.transfers.len(), Ordering::Relaxed);
        self.permit.send(PendingTransfers { request, answer });
        Waiting(outcome)
    }
}

/// A call that is queued.
pub(crate) struct Waiting(oneshot::Receiver<Answer>);

impl Waiting {
    /// Waits for the outcomes.
    pub async fn outcomes(self) -> Answer {
        self.0.await.unwrap_or_else(|_| Err(WalletError::Unknown("the writer ended before it answered".to_owned())))
    }
}

/// The task that owns the writing.
struct Writer<L> {
    ledger: L,
    waiting: mpsc::Receiver<PendingTransfers>,
    /// A call that the last batch had no room for.
    next: Option<PendingTransfers>,
    depth: Arc<AtomicUsize>,
}

impl<L: Transact> Writer<L> {
    async fn run(mut self) {
        while let Some(calls) = self.take().await {
            let count = calls.iter().map(|call| call.request.transfers.len()).sum();
            self.depth.fetch_sub(count, Ordering::Relaxed);
            self.commit(calls).await;
        }
    }

    /// The calls that wait, in order, up to a transaction's size; `None` at the end.
    async fn take(&mut self) -> Option<Vec<PendingTransfers>> {
        let first = match self.next.take() {
            Some(call) => call,
            None => self.waiting.recv().await?,
        };
        let mut size = first.size();
        let mut calls = vec![first];
        while let Ok(call) = self.waiting.try_recv() {
            size += call.size();
            if size > TRANSFER_BATCH_SIZE_MAX {
                self.next = Some(call);
                break;
            }
            calls.push(call);
        }
        Some(calls)
    }

    /// One transaction for all. If something in it fails, each call gets one of
    /// its own, so that one bad caller cannot fail its neighbours. A failed
    /// begin or commit is no call's fault and would only fail again.
    async fn commit(&self, calls: Vec<PendingTransfers>) {
        let requests = || calls.iter().map(|call| &call.request);
        let transfers: Vec<&Transfer> = requests().flat_map(|request| &request.transfers).collect();
        let notes: Vec<&Note> = requests().flat_map(|request| &request.notes).collect();
        let quotas: Vec<_> = requests().flat_map(|request| request.quotas.iter().copied()).collect();
        match self.ledger.transact(Asked { transfers: &transfers, notes: &notes, quotas: &quotas }).await {
            Ok(outcomes) => answer_all(calls, &outcomes),
            Err(TransactError::Inside(error)) if calls.len() > 1 => {
                tracing::warn!(%error, calls = calls.len(), "a wallet transaction failed; its calls run one by one");
                self.replay(calls).await;
            }
            Err(failure) => refuse_all(calls, &failure.into_error()),
        }
    }

    async fn replay(&self, calls: Vec<PendingTransfers>) {
        let mut calls = calls.into_iter();
        while let Some(call) = calls.next() {
            let TransferRequest { transfers, notes, quotas } = &call.request;
            let transfers: Vec<&Transfer> = transfers.iter().collect();
            let notes: Vec<&Note> = notes.iter().collect();
            match self.ledger.transact(Asked { transfers: &transfers, notes: &notes, quotas }).await {
                Ok(outcomes) => answer_all(vec![call], &outcomes),
                Err(TransactError::Inside(error)) => refuse_all(vec![call], &error),
                Err(failure) => {
                    let error = failure.into_error();
                    let untried = WalletError::Unavailable(format!("not tried, after another call failed: {error}"));
                    refuse_all(vec![call], &error);
                    return refuse_all(calls.collect(), &untried);
                }
            }
        }
    }
}

/// Gives each call its part of the outcomes. Who has gone away needs none.
fn answer_all(calls: Vec<PendingTransfers>, mut outcomes: &[TransferOutcome]) {
    for call in calls {
        let (own, rest) = outcomes.split_at(call.request.transfers.len());
        outcomes = rest;
        let _ = call.answer.send(Ok(own.to_vec()));
    }
}

fn refuse_all(calls: Vec<PendingTransfers>, error: &WalletError) {
    tracing::warn!(%error, calls = calls.len(), "a wallet transaction failed");
    for call in calls {
        let _ = call.answer.send(Err(error.clone()));
    }
}
