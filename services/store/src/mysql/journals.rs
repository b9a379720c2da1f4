//! Reading an envelope and its journal, and appending to it: each is one round trip; on Galera
//! appending to several tables is one for each statement, and two more.

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, UserId};
use hongbao_database::mysql::failure::QueryError;

use super::rows::put_entry;
use super::statements::Statements;
use super::store::MysqlStore;
use super::transaction::{RowsByTable, SEALED_TABLE, execute};
use super::writer::Writer;
use crate::day_tables::{OTHER_DATE, sealed};
use crate::exported;
use crate::failure::committing;
use crate::many;
use crate::place::{DayTableStore as _, find_by_id, look_for_renamed};
use crate::rows::{self, envelope_and_journal};
use crate::{Append, Journals, StoreError};

#[async_trait]
impl Journals for MysqlStore {
    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
        if let Some(left) = self.left_with(id) {
            let _turn = self.day_tables().old_read().await?;
            return left.load(id).await;
        }
        let load = |table| async move {
            let (statements, id) = (self.at(table)?, id.as_bytes().as_slice());
            let query = sqlx::query(&statements.load).bind(id).bind(id);
            self.one(query).await?.map(|row| envelope_and_journal(&row)).transpose()
        };
        find_by_id(self, id, load, |envelope, journal| (envelope.clone(), exported::fold(envelope, journal))).await
    }

    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
        if let Some(left) = self.left_with(id) {
            let _turn = self.day_tables().old_read().await?;
            return left.load_for(id, user).await;
        }
        let load = |table| async move {
            let (statements, id) = (self.at(table)?, id.as_bytes().as_slice());
            let query = sqlx::query(&statements.load_for).bind(id).bind(user.as_str()).bind(id);
            let Some(row) = self.one(query).await? else { return Ok(None) };
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
        let hot = self.hot(ids);
        let text = self.together(&hot, |statements| &statements.load_many, ")")?;
        Ok(hot.envelopes(&self.all_of_text(&text).await?))
    }

    async fn load_journals(
        &self,
        ids: &[EnvelopeId],
        through_seq: u32,
    ) -> Result<HashMap<EnvelopeId, Vec<Entry>>, StoreError> {
        let tail = format!(") AND j.seq <= {through_seq}");
        let text = self.together(&self.hot(ids), |statements| &statements.load_journals, &tail)?;
        Ok(many::journals(&self.all_of_text(&text).await?))
    }

    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        if let Some(left) = self.left_with(id) {
            let _turn = self.day_tables().old_read().await?;
            return left.entries(id, after_seq, limit).await;
        }
        let read = |table| async move {
            let statements = self.at(table)?;
            let query = sqlx::query(&statements.plain.entries);
            let query = query.bind(id.as_bytes().as_slice()).bind(after_seq).bind(limit);
            Ok(Some(self.all(query, |row| rows::entry(row, 0)).await?).filter(|entries| !entries.is_empty()))
        };
        Ok(find_by_id(self, id, read, |_, journal| exported::page(journal, after_seq, limit))
            .await?
            .unwrap_or_default())
    }

    /// A lane has a connection of its own. Openings without a lane
    /// come many at a time, and those that find it in use take one of the others.
    async fn append(&self, entries: &[Entry]) -> Result<Append, StoreError> {
        let head = |statements: &Statements| statements.append.clone();
        let by_table = self.by_table(entries, |entry| entry.envelope_id);
        let Some(transaction) = self.insertion(&by_table, head, put_entry)? else { return Ok(Append::Done) };
        self.connections.health().check()?;
        let writer = self.writer_for(&by_table)?;
        let epoch = writer.epoch();
        let Ok(mut own) = writer.connection.try_lock() else {
            let mut lease = self.connections.lease().await?;
            if lease.start() != *writer.start.lock() {
                // As below; the writer's own connection finds out when its turn comes.
                lease.give_back();
                writer.next_epoch();
                return Ok(Append::Fenced);
            }
            if writer.epoch() != epoch {
                // The writer has found it out meanwhile, and fenced only its own append.
                lease.give_back();
                return Ok(Append::Fenced);
            }
            let done = execute(&mut lease, transaction).await;
            return self.fenced(lease.done(done), entries).await;
        };
        let kept = match own.take() {
            Some(lease) => lease.if_it_lives().await,
            None => None,
        };
        let Some(mut lease) = kept else {
            // What was decided may rest on rows that this database, restored or another node, does not have.
            let lease = self.connections.dedicated().await?;
            *writer.start.lock() = lease.start();
            *own = Some(lease);
            writer.next_epoch();
            return Ok(Append::Fenced);
        };
        let done = execute(&mut lease, transaction).await;
        match &done {
            Err(broken) if broken.is_of_connection() => lease.close(),
            _ => *own = Some(lease.used()),
        }
        drop(own);
        self.fenced(done, entries).await
    }
}

impl MysqlStore {
    /// What appends these entries, of which there are some.
    fn writer_for(&self, by_table: &RowsByTable<'_, Entry>) -> Result<&Writer, StoreError> {
        let mut writers = by_table.keys().map(|table| self.writer(table.database));
        let writer = writers.next().expect("there are some")?;
        for other in writers {
            if !std::ptr::eq(other?, writer) {
                return Err(StoreError::Unavailable("the entries are of two writers' databases".to_owned()));
            }
        }
        Ok(writer)
    }

    /// What became of these entries. A table that holds another date by now fences them too.
    async fn fenced(&self, done: Result<u64, QueryError>, entries: &[Entry]) -> Result<Append, StoreError> {
        match done {
            Ok(_) => Ok(Append::Done),
            Err(broken) if broken.takes_key(SEALED_TABLE) => Err(sealed()),
            Err(broken) if broken.is_duplicate() => Ok(Append::Fenced),
            Err(broken) if broken.violates(OTHER_DATE) => {
                look_for_renamed(self, entries.iter().map(|entry| entry.envelope_id)).await?;
                Ok(Append::Fenced)
            }
            Err(broken) => Err(committing(broken)),
        }
    }
}
