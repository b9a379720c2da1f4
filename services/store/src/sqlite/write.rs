//! The verbs that write.
//!
//! | verb | round trips to the connection |
//! |---|---|
//! | `create`, `append`, `settle`, of one table | 1: the statement commits by itself |
//! | the same over several tables | 2 and 1 a table |
//! | `activate`, `cancel` that change something | 1 |
//! | `activate`, `cancel` that come too late | 2 |
//!
//! One statement outside a transaction is one: SQLite takes the write lock,
//! writes all of its rows or none, and has flushed the log when it returns.

use std::collections::BTreeMap;

use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Stage, Timestamp};
use hongbao_database::sqlite::failure::is_unique_violation;
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, SqliteConnection};

use super::statements::{LARGEST_BATCH_ROWS, MultiRow, Statements};
use super::{SqliteStore, rows as values};
use crate::failure::{commit_failed, unavailable};
use crate::rows::{self, ENTRY_WIDTH, ENVELOPE_WIDTH};
use crate::{Append, Settlement, StoreError};

/// A kind of row that is written many at a time.
struct Batch<T> {
    text: fn(&Statements) -> &MultiRow,
    columns: usize,
    put: for<'q> fn(&mut SqliteArguments<'q>, &'q T),
    id: fn(&T) -> EnvelopeId,
}

pub async fn create(store: &SqliteStore, envelopes: &[Envelope]) -> Result<(), StoreError> {
    let batch = Batch {
        text: |statements| &statements.create,
        columns: ENVELOPE_WIDTH,
        put: values::put_envelope,
        id: |envelope: &Envelope| envelope.id,
    };
    match write_all(store, &batch, envelopes).await? {
        Append::Done => Ok(()),
        Append::Fenced => Err(StoreError::Exists),
    }
}

pub async fn append(store: &SqliteStore, entries: &[Entry]) -> Result<Append, StoreError> {
    let batch = Batch {
        text: |statements| &statements.append,
        columns: ENTRY_WIDTH,
        put: values::put_entry,
        id: |entry: &Entry| entry.envelope_id,
    };
    write_all(store, &batch, entries).await
}

pub async fn settle(store: &SqliteStore, settlements: &[Settlement]) -> Result<(), StoreError> {
    let batch = Batch {
        text: |statements| &statements.settle,
        columns: 3,
        put: values::put_settlement,
        id: |settlement: &Settlement| settlement.envelope_id,
    };
    // An update changes a row once, so the furthest settlement of each envelope goes in.
    let mut furthest: BTreeMap<EnvelopeId, Settlement> = BTreeMap::new();
    for settlement in settlements {
        let kept = furthest.entry(settlement.envelope_id).or_insert(*settlement);
        if (kept.settled_seq, kept.ended) < (settlement.settled_seq, settlement.ended) {
            *kept = *settlement;
        }
    }
    let furthest: Vec<Settlement> = furthest.into_values().collect();
    write_all(store, &batch, &furthest).await?;
    Ok(())
}

pub async fn activate(
    store: &SqliteStore,
    id: EnvelopeId,
    expires_at: Timestamp,
) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
    let (file, statements) = store.writable(store.place(id))?;
    let mut writer = file.writer().await?;
    let change = sqlx::query(&statements.activate).bind(id.as_bytes().as_slice()).bind(expires_at.millis());
    let changed = change.execute(&mut *writer).await.map_err(commit_failed)?.rows_affected();
    writer.committed()?;
    if changed > 0 {
        return Ok(Some((Stage::Active, Some(expires_at))));
    }
    in_force(&mut writer, statements, id).await
}

pub async fn cancel(store: &SqliteStore, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
    let (file, statements) = store.writable(store.place(id))?;
    let mut writer = file.writer().await?;
    let change = sqlx::query(&statements.plain.cancel).bind(id.as_bytes().as_slice());
    let changed = change.execute(&mut *writer).await.map_err(commit_failed)?.rows_affected();
    writer.committed()?;
    if changed > 0 {
        return Ok(Some(Stage::Cancelled));
    }
    Ok(in_force(&mut writer, statements, id).await?.map(|(stage, _)| stage))
}

pub async fn purge(store: &SqliteStore, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError> {
    let (file, statements) = store.writable(table)?;
    let ids: Vec<String> = envelopes.iter().map(|id| format!("\"{}\"", id.to_string().replace('-', ""))).collect();
    let mut writer = file.writer().await?;
    let removal = sqlx::query(&statements.purge).bind(format!("[{}]", ids.join(",")));
    let removed = removal.execute(&mut *writer).await.map_err(commit_failed)?.rows_affected();
    writer.committed()?;
    Ok(removed)
}

/// A stage that the change found beyond `Created` never goes back there, so
/// what is read after the change is in force.
async fn in_force(
    writer: &mut SqliteConnection,
    statements: &Statements,
    id: EnvelopeId,
) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
    let query = sqlx::query(&statements.plain.stage).bind(id.as_bytes().as_slice());
    let Some(row) = query.fetch_optional(writer).await.map_err(unavailable)? else {
        return Ok(None);
    };
    Ok(Some((rows::stage(&row, 0)?, rows::time(&row, 1)?)))
}

/// Writes rows of one database in one transaction: all of them, or none when a key is taken.
async fn write_all<T>(store: &SqliteStore, batch: &Batch<T>, items: &[T]) -> Result<Append, StoreError> {
    let parts = by_table(store, batch, items);
    let Some((first, _)) = parts.first() else {
        return Ok(Append::Done);
    };
    if parts.iter().any(|(table, _)| table.database != first.database) {
        return Err(StoreError::Unavailable("the batch spans two databases, which no transaction does".to_owned()));
    }
    let (file, _) = store.writable(*first)?;
    if let [(table, part)] = parts.as_slice() {
        let (_, statements) = store.at(*table)?;
        let mut writer = file.writer().await?;
        let written = fenced(write_part(&mut writer, statements, batch, part).await, commit_failed)?;
        // Nothing was written when it was fenced: either way the writer is through with it.
        writer.committed()?;
        return Ok(written);
    }
    let mut transaction = file.begin().await?;
    for (table, part) in &parts {
        let (_, statements) = store.at(*table)?;
        let written = fenced(write_part(&mut transaction, statements, batch, part).await, unavailable);
        if !matches!(written, Ok(Append::Done)) {
            transaction.rollback().await;
            return written;
        }
    }
    transaction.commit().await?;
    Ok(Append::Done)
}

/// The items by table, in order, in parts that fit into a statement.
fn by_table<'a, T>(store: &SqliteStore, batch: &Batch<T>, items: &'a [T]) -> Vec<(TableRef, Vec<&'a T>)> {
    let mut parts: Vec<(TableRef, Vec<&T>)> = Vec::new();
    for item in items {
        let table = store.place((batch.id)(item));
        match parts.iter_mut().rfind(|(other, _)| *other == table) {
            Some((_, part)) if part.len() < LARGEST_BATCH_ROWS => part.push(item),
            _ => parts.push((table, vec![item])),
        }
    }
    parts
}

async fn write_part<T>(
    writer: &mut SqliteConnection,
    statements: &Statements,
    batch: &Batch<T>,
    part: &[&T],
) -> Result<(), sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(1 + part.len() * batch.columns, 0);
    values::put(&mut arguments, part.len() as i64);
    for item in part {
        (batch.put)(&mut arguments, item);
    }
    sqlx::query_with((batch.text)(statements).text(part.len()), arguments).execute(writer).await?;
    Ok(())
}

fn fenced(written: Result<(), sqlx::Error>, failed: fn(sqlx::Error) -> StoreError) -> Result<Append, StoreError> {
    match written {
        Ok(()) => Ok(Append::Done),
        Err(error) if is_unique_violation(&error) => Ok(Append::Fenced),
        Err(error) => Err(failed(error)),
    }
}
