//! One batch: decided in memory, written in one transaction.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use hongbao_core::envelope::OpenDecision;
use hongbao_core::{Entry, EnvelopeId, Journal, Opened, Timestamp, UserId};
use hongbao_store::{Append, StoreError};

use super::queue::OpenJob;
use crate::answer::{OpenAnswer, answer_to};
use crate::context::OpeningContext;
use crate::live::LiveEnvelope;
use crate::permits::PermitGuard;
use crate::refund::{may_be_due, refund, refund_time};

/// Why a batch as a whole came to nothing that may be answered.
#[derive(Debug, thiserror::Error)]
pub(super) enum BatchFailed {
    /// Another writer was first, or the database is another than before: what
    /// is remembered is old.
    #[error("what is remembered is old")]
    Fenced,
    /// The store failed.
    #[error(transparent)]
    Store(StoreError),
}

impl BatchFailed {
    /// It may have been committed nevertheless.
    pub(super) fn is_in_doubt(&self) -> bool {
        matches!(self, BatchFailed::Store(StoreError::Unknown(_)))
    }

    /// Another transaction holds a row of one of its envelopes.
    pub(super) fn is_lock_timeout(&self) -> bool {
        matches!(self, BatchFailed::Store(StoreError::Locked(_)))
    }
}

/// One envelope of a batch: what is remembered, and what the batch adds to it.
struct EnvelopeBatch {
    live: Arc<LiveEnvelope>,
    fold: Journal,
    entries: Vec<Entry>,
}

/// Decides the openings in order and commits them in one transaction. An error
/// means that none of the answers may be given; what was remembered is forgotten.
pub(super) async fn attempt(
    context: &OpeningContext,
    batch: &[OpenJob],
    now: Timestamp,
) -> Result<Vec<OpenAnswer>, BatchFailed> {
    let (ids, index_of) = envelopes_of(batch);
    let (_guard, entered) = PermitGuard::enter(&*context.permits, &ids).await;
    // An envelope that is over its cap has none.
    let mut groups: Vec<Option<EnvelopeBatch>> = vec![];
    groups.resize_with(ids.len(), || None);

    let refund_at = match batch.iter().any(|job| may_be_due(&job.live.envelope, now)) {
        true => refund_time(context, now).await,
        false => Ok(now),
    };
    let mut opened_in_batch: HashMap<(usize, &UserId), Opened> = HashMap::new();
    let mut answers = Vec::with_capacity(batch.len());
    for job in batch {
        let index = index_of[&job.live.envelope.id];
        if !entered[index] {
            answers.push(OpenAnswer::Busy);
            continue;
        }
        let group = groups[index].get_or_insert_with(|| {
            // Another copy may have replaced the one that the job came with.
            let live = context.live.get(ids[index], &*context.store, now).unwrap_or_else(|| job.live.clone());
            let fold = live.journal().fold;
            EnvelopeBatch { live, fold, entries: Vec::new() }
        });
        let before = match opened_in_batch.get(&(index, &job.user)) {
            Some(opened) => Some(opened.clone()),
            None => group.live.journal().opened_by(&job.user),
        };
        let decision = group.live.envelope.decide_open(&group.fold, before.as_ref(), &job.user, now);
        let entry = match &decision {
            OpenDecision::Append(_) if !job.opens => {
                // By the memory of now it has not expired.
                answers.push(OpenAnswer::Busy);
                continue;
            }
            OpenDecision::Append(entry) => {
                let opened = Opened { seq: entry.seq, amount: entry.amount, at: entry.at };
                opened_in_batch.insert((index, &job.user), opened);
                Some(entry.clone())
            }
            OpenDecision::Expired if !group.fold.has_ended() => {
                let due = refund_at.clone().and_then(|at| refund(&group.live.envelope, &group.fold, at));
                match due {
                    Ok(refund) => Some(refund),
                    Err(answer) => {
                        answers.push(answer);
                        continue;
                    }
                }
            }
            _ => None,
        };
        if let Some(entry) = entry {
            group.fold = Journal::after(&entry);
            group.entries.push(entry);
        }
        answers.push(answer_to(decision));
    }

    let groups: Vec<EnvelopeBatch> = groups.into_iter().flatten().collect();
    let committed = commit(context, &groups).await;
    if committed.is_err() {
        for group in &groups {
            context.live.forget(group.live.envelope.id);
        }
    }
    committed.map(|()| answers)
}

/// The envelopes of a batch, each once, and the place of each.
fn envelopes_of(batch: &[OpenJob]) -> (Vec<EnvelopeId>, HashMap<EnvelopeId, usize>) {
    let (mut ids, mut index_of) = (Vec::new(), HashMap::new());
    for job in batch {
        let id = job.live.envelope.id;
        index_of.entry(id).or_insert_with(|| {
            ids.push(id);
            ids.len() - 1
        });
    }
    (ids, index_of)
}

async fn commit(context: &OpeningContext, groups: &[EnvelopeBatch]) -> Result<(), BatchFailed> {
    // Checked after the decisions, just before they are written: the store
    // refuses what was decided before its connection was made anew, and that
    // no older decision comes after it is up to us.
    if groups.iter().any(|group| group.live.is_outdated(&*context.store)) {
        return Err(BatchFailed::Fenced);
    }
    let entries: Vec<Entry> = groups.iter().flat_map(|group| group.entries.iter().cloned()).collect();
    if entries.is_empty() {
        return Ok(());
    }
    let started = Instant::now();
    let appended = context.store.append(&entries).await;
    context.metrics.commit_time.observe(started.elapsed().as_secs_f64());
    context.metrics.batch_size.observe(entries.len() as f64);
    match appended {
        Ok(Append::Done) => {
            for group in groups.iter().filter(|group| !group.entries.is_empty()) {
                context.live.committed(&group.live, group.entries.iter());
            }
            Ok(())
        }
        Ok(Append::Fenced) => Err(BatchFailed::Fenced),
        Err(error) => Err(BatchFailed::Store(error)),
    }
}
