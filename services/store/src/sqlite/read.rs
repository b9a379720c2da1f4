//! The verbs that read. Each sees one moment: it is one statement, or a read
//! transaction where it takes two.

use std::collections::HashMap;

use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, Timestamp, UserId};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, query::Query};

use super::failure::unavailable;
use super::{SqliteStore, file::SqliteFile};
use crate::rows::{self, StoredRow as _, envelope_and_journal};
use crate::{StoreError, TailEntry};

pub async fn load(store: &SqliteStore, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
    let (file, statements) = store.at(store.place(id))?;
    let query = sqlx::query(&statements.load).bind(id.as_bytes().as_slice());
    one(file, query).await?.map(|row| envelope_and_journal(&row)).transpose()
}

pub async fn load_for(
    store: &SqliteStore,
    id: EnvelopeId,
    user: &UserId,
) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
    let (file, statements) = store.at(store.place(id))?;
    let query = sqlx::query(&statements.load_for).bind(id.as_bytes().as_slice()).bind(user.as_str());
    let Some(row) = one(file, query).await? else {
        return Ok(None);
    };
    let (envelope, journal) = envelope_and_journal(&row)?;
    Ok(Some((envelope, journal, rows::opened(&row)?)))
}

pub async fn load_journal(store: &SqliteStore, id: EnvelopeId) -> Result<Option<(Envelope, Vec<Entry>)>, StoreError> {
    let (file, statements) = store.at(store.place(id))?;
    let mut snapshot = file.readers().begin().await.map_err(unavailable)?;
    let query = sqlx::query(&statements.envelope).bind(id.as_bytes().as_slice());
    let Some(row) = query.fetch_optional(&mut *snapshot).await.map_err(unavailable)? else {
        return Ok(None);
    };
    let envelope = rows::envelope(&row, 0)?;
    let query = sqlx::query(&statements.plain.entries).bind(id.as_bytes().as_slice()).bind(0).bind(-1);
    let entries = query.fetch_all(&mut *snapshot).await.map_err(unavailable)?;
    snapshot.rollback().await.map_err(unavailable)?;
    Ok(Some((envelope, entries.iter().map(|row| rows::entry(row, 0)).collect::<Result<_, _>>()?)))
}

pub async fn entries(
    store: &SqliteStore,
    id: EnvelopeId,
    after_seq: u32,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let (file, statements) = store.at(store.place(id))?;
    let query = sqlx::query(&statements.plain.entries).bind(id.as_bytes().as_slice()).bind(after_seq).bind(limit);
    all(file, query, |row| rows::entry(row, 0)).await
}

pub async fn tail(
    store: &SqliteStore,
    table: TableRef,
    position: i64,
    limit: u32,
) -> Result<Vec<TailEntry>, StoreError> {
    let (file, statements) = store.at(table)?;
    all(file, sqlx::query(&statements.plain.tail).bind(position).bind(limit), rows::tail_entry).await
}

pub async fn tail_position(store: &SqliteStore, table: TableRef) -> Result<i64, StoreError> {
    let (file, statements) = store.at(table)?;
    let row = sqlx::query(&statements.tail_position).fetch_one(file.readers()).await.map_err(unavailable)?;
    row.int(0)
}

pub async fn unsettled(
    store: &SqliteStore,
    table: TableRef,
    after: Option<EnvelopeId>,
    limit: u32,
) -> Result<Vec<Envelope>, StoreError> {
    let (file, statements) = store.at(table)?;
    all(file, sqlx::query(&statements.plain.unsettled).bind(rows::cursor(&after)).bind(limit), |row| {
        rows::envelope(row, 0)
    })
    .await
}

pub async fn unpaid(
    store: &SqliteStore,
    table: TableRef,
    created_before: Timestamp,
    after: Option<EnvelopeId>,
    limit: u32,
) -> Result<Vec<Envelope>, StoreError> {
    let (file, statements) = store.at(table)?;
    all(
        file,
        sqlx::query(&statements.plain.unpaid).bind(rows::cursor(&after)).bind(created_before.millis()).bind(limit),
        |row| rows::envelope(row, 0),
    )
    .await
}

pub async fn expired(
    store: &SqliteStore,
    table: TableRef,
    now: Timestamp,
    after: Option<(Timestamp, EnvelopeId)>,
    limit: u32,
) -> Result<Vec<(Envelope, Journal)>, StoreError> {
    let (after_ms, after_id) = after.map_or((i64::MIN, None), |(at, id)| (at.millis(), Some(id)));
    let (file, statements) = store.at(table)?;
    let query =
        sqlx::query(&statements.expired).bind(now.millis()).bind(after_ms).bind(rows::cursor(&after_id)).bind(limit);
    all(file, query, envelope_and_journal).await
}

pub async fn scan(
    store: &SqliteStore,
    table: TableRef,
    after: Option<EnvelopeId>,
    limit: u32,
) -> Result<Vec<(Envelope, Vec<Entry>)>, StoreError> {
    let (file, statements) = store.at(table)?;
    let mut snapshot = file.readers().begin().await.map_err(unavailable)?;
    let query = sqlx::query(&statements.scan).bind(rows::cursor(&after)).bind(limit);
    let envelopes = query.fetch_all(&mut *snapshot).await.map_err(unavailable)?;
    let query = sqlx::query(&statements.scan_entries).bind(rows::cursor(&after)).bind(limit);
    let entries = query.fetch_all(&mut *snapshot).await.map_err(unavailable)?;
    snapshot.rollback().await.map_err(unavailable)?;

    let mut journals: HashMap<EnvelopeId, Vec<Entry>> = HashMap::with_capacity(envelopes.len());
    for row in &entries {
        let entry = rows::entry(row, 0)?;
        journals.entry(entry.envelope_id).or_default().push(entry);
    }
    let with_journal = |row| {
        let envelope = rows::envelope(row, 0)?;
        let journal = journals.remove(&envelope.id).unwrap_or_default();
        Ok((envelope, journal))
    };
    envelopes.iter().map(with_journal).collect()
}

async fn one<'a>(
    file: &SqliteFile,
    query: Query<'a, Sqlite, SqliteArguments<'a>>,
) -> Result<Option<SqliteRow>, StoreError> {
    query.fetch_optional(file.readers()).await.map_err(unavailable)
}

async fn all<'a, T>(
    file: &SqliteFile,
    query: Query<'a, Sqlite, SqliteArguments<'a>>,
    parse: fn(&SqliteRow) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let rows = query.fetch_all(file.readers()).await.map_err(unavailable)?;
    rows.iter().map(parse).collect()
}
