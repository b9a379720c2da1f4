//! Reading an envelope and its journal, and appending to it.

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, UserId};

use super::query::{all, json_list, one, rows_of};
use super::rows::put_entry;
use super::store::SqliteStore;
use super::transaction::{Batch, Written};
use crate::exported;
use crate::many::{self, ByDayTable};
use crate::place::find_by_id;
use crate::rows::{self, ENTRY_WIDTH, envelope_and_journal};
use crate::{Append, Journals, StoreError};

#[async_trait]
impl Journals for SqliteStore {
    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
        let load = |table| async move {
            let (file, statements) = self.at(table)?;
            let query = sqlx::query(&statements.load).bind(id.as_bytes().as_slice());
            one(file, query).await?.map(|row| envelope_and_journal(&row)).transpose()
        };
        find_by_id(self, id, load, |envelope, journal| (envelope.clone(), exported::fold(envelope, journal))).await
    }

    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
        let load = |table| async move {
            let (file, statements) = self.at(table)?;
            let query = sqlx::query(&statements.load_for).bind(id.as_bytes().as_slice()).bind(user.as_str());
            let Some(row) = one(file, query).await? else {
                return Ok(None);
            };
            let (envelope, journal) = envelope_and_journal(&row)?;
            Ok(Some((envelope, journal, rows::opened(&row)?)))
        };
        let in_file = |envelope: &Envelope, journal: &[Entry]| {
            (envelope.clone(), exported::fold(envelope, journal), exported::opened_by(journal, user))
        };
        find_by_id(self, id, load, in_file).await
    }

    async fn load_many(
        &self,
        ids: &[EnvelopeId],
    ) -> Result<HashMap<EnvelopeId, Option<(Envelope, Journal)>>, StoreError> {
        let (hot, mut found) = (ByDayTable::new(self, ids.iter().copied()), Vec::new());
        for (table, ids) in &hot.tables {
            let (file, statements) = self.at(*table)?;
            found.extend(rows_of(file, sqlx::query(&statements.load_many).bind(json_list(ids))).await?);
        }
        Ok(hot.envelopes(&found))
    }

    async fn load_journals(
        &self,
        ids: &[EnvelopeId],
        through_seq: u32,
    ) -> Result<HashMap<EnvelopeId, Vec<Entry>>, StoreError> {
        let mut found = Vec::new();
        for (table, ids) in &ByDayTable::new(self, ids.iter().copied()).tables {
            let (file, statements) = self.at(*table)?;
            let query = sqlx::query(&statements.load_journals).bind(json_list(ids)).bind(through_seq);
            found.extend(rows_of(file, query).await?);
        }
        Ok(many::journals(&found))
    }

    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        let read = |table| async move {
            let (file, statements) = self.at(table)?;
            let query = sqlx::query(&statements.plain.entries);
            let query = query.bind(id.as_bytes().as_slice()).bind(after_seq).bind(limit);
            Ok(Some(all(file, query, |row| rows::entry(row, 0)).await?).filter(|entries| !entries.is_empty()))
        };
        Ok(find_by_id(self, id, read, |_, journal| exported::page(journal, after_seq, limit))
            .await?
            .unwrap_or_default())
    }

    async fn append(&self, entries: &[Entry]) -> Result<Append, StoreError> {
        let batch = Batch {
            text: |statements| &statements.append,
            columns: ENTRY_WIDTH,
            put: put_entry,
            id: |entry: &Entry| entry.envelope_id,
        };
        match self.write_all(&batch, entries).await? {
            Written::Done => Ok(Append::Done),
            Written::Taken => Ok(Append::Fenced),
            Written::OtherDate => {
                self.look_at_all().await?;
                Ok(Append::Fenced)
            }
        }
    }
}
