//! The verbs that read. Each is one statement, and so sees one moment.

use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, Timestamp, UserId};
use hongbao_database::StoredRow as _;
use hongbao_database::sqlite::file::SqliteFile;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, query::Query};

use super::SqliteStore;
use crate::failure::unavailable;
use crate::rows::{self, envelope_and_journal};
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
    Ok(row.int(0)?)
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

pub async fn cancelled(
    store: &SqliteStore,
    table: TableRef,
    created_before: Timestamp,
    after: Option<EnvelopeId>,
    limit: u32,
) -> Result<Vec<EnvelopeId>, StoreError> {
    let (file, statements) = store.at(table)?;
    let query =
        sqlx::query(&statements.plain.cancelled).bind(rows::cursor(&after)).bind(created_before.millis()).bind(limit);
    all(file, query, |row| rows::envelope_id(row, 0)).await
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
) -> Result<Vec<(Envelope, u32)>, StoreError> {
    let (file, statements) = store.at(table)?;
    let query = sqlx::query(&statements.scan).bind(rows::cursor(&after)).bind(limit);
    all(file, query, rows::envelope_and_last_seq).await
}

pub async fn scan_entries(
    store: &SqliteStore,
    table: TableRef,
    after: Option<EnvelopeId>,
    until: EnvelopeId,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let (file, statements) = store.at(table)?;
    let query = sqlx::query(&statements.plain.scan_entries);
    let query = query.bind(rows::cursor(&after)).bind(until.as_bytes().as_slice()).bind(limit);
    all(file, query, |row| rows::entry(row, 0)).await
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
