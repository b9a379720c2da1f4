//! Entries of envelopes that do not exist: no journal is read without its row.

use hongbao_core::audit::{entry_without_envelope, unreadable};
use hongbao_core::id::TableRef;
use hongbao_core::limits::{ID_MS_MAX, JOURNAL_PAGE_MAX};
use hongbao_core::{Envelope, EnvelopeId, Timestamp};
use hongbao_store::StoreError;

use super::auditor::{Audit, is_there, words_of};
use super::gap::last_id_at;
use super::journals::id_before;
use super::set::{AuditError, SetStore};

impl Audit<'_> {
    /// Looks between envelopes that follow each other in a table, the first of them after `after`.
    pub(super) async fn strays_among(
        &mut self,
        set: &SetStore,
        table: TableRef,
        mut after: Option<EnvelopeId>,
        batch: &[(Envelope, u32)],
    ) -> Result<(), AuditError> {
        for (envelope, _) in batch {
            // Before the first id that there can be is nothing.
            if let Some(until) = id_before(envelope.id).filter(|until| after.is_none_or(|after| after < *until)) {
                self.strays(set, table, after, Some(until)).await?;
            }
            after = Some(envelope.id);
        }
        Ok(())
    }

    /// Looks for entries after `after` up to `until`, or the end of the table, where
    /// no envelope lies.
    pub(super) async fn strays(
        &mut self,
        set: &SetStore,
        table: TableRef,
        mut after: Option<EnvelopeId>,
        until: Option<EnvelopeId>,
    ) -> Result<(), AuditError> {
        let until = until.unwrap_or_else(|| last_id_at(Timestamp::from_millis(ID_MS_MAX)));
        loop {
            let entries = match set.store.scan_entries(table, after, until, JOURNAL_PAGE_MAX).await {
                Ok(entries) => entries,
                Err(StoreError::Damaged(reason)) => {
                    let detail = format!("{}, an entry of no envelope: {reason}", words_of(set, table));
                    self.tell([unreadable(None, detail)]);
                    return Ok(());
                }
                Err(error) => return Err(set.failed(error)),
            };
            let is_full = entries.len() >= JOURNAL_PAGE_MAX as usize;
            let mut ids: Vec<EnvelopeId> = entries.into_iter().map(|entry| entry.envelope_id).collect();
            ids.dedup();
            // Of the last one there may be more, which is passed with it.
            after = ids.last().copied().or(after);
            self.tell_strays(set, table, ids).await?;
            if !is_full {
                return Ok(());
            }
        }
    }

    /// Tells of those that are unknown now, too: an envelope may have been made and opened since.
    pub(super) async fn tell_strays(
        &mut self,
        set: &SetStore,
        table: TableRef,
        ids: Vec<EnvelopeId>,
    ) -> Result<(), AuditError> {
        for id in ids {
            // Where its id does not lead, it is as good as missing.
            let is_known = set.store.may_lie_in(table, id) && is_there(set, id).await?;
            if !is_known {
                self.tell([entry_without_envelope(id, &words_of(set, table))]);
            }
        }
        Ok(())
    }
}
