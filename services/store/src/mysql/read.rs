//! The verbs that read. Each is one statement, and so sees one moment.

use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, Timestamp, UserId};
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::within;
use sqlx::mysql::{MySql, MySqlArguments, MySqlRow};
use sqlx::query::Query;

use super::MysqlStore;
use crate::failure::reading;
use crate::rows::{self, envelope_and_journal};
use crate::{StoreError, TailEntry};

/// A statement with its values.
pub type Statement<'q> = Query<'q, MySql, MySqlArguments>;

pub async fn load(store: &MysqlStore, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
    let statements = store.at(store.place(id))?;
    let id = id.as_bytes().as_slice();
    let query = sqlx::query(&statements.load).bind(id).bind(id);
    one(store, query).await?.map(|row| envelope_and_journal(&row)).transpose()
}

pub async fn load_for(
    store: &MysqlStore,
    id: EnvelopeId,
    user: &UserId,
) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
    let statements = store.at(store.place(id))?;
    let id = id.as_bytes().as_slice();
    let query = sqlx::query(&statements.load_for).bind(id).bind(user.as_str()).bind(id);
    let Some(row) = one(store, query).await? else { return Ok(None) };
    let (envelope, journal) = envelope_and_journal(&row)?;
    Ok(Some((envelope, journal, rows::opened(&row)?)))
}

pub async fn entries(store: &MysqlStore, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
    let statements = store.at(store.place(id))?;
    let query = sqlx::query(&statements.plain.entries).bind(id.as_bytes().as_slice()).bind(after_seq).bind(limit);
    all(store, query, |row| rows::entry(row, 0)).await
}

pub async fn tail(
    store: &MysqlStore,
    table: TableRef,
    position: i64,
    limit: u32,
) -> Result<Vec<TailEntry>, StoreError> {
    let query = sqlx::query(&store.at(table)?.plain.tail).bind(position).bind(limit);
    all(store, query, rows::tail_entry).await
}

pub async fn tail_position(store: &MysqlStore, table: TableRef) -> Result<i64, StoreError> {
    let row = one(store, sqlx::query(&store.at(table)?.tail_position)).await?;
    Ok(row.map(|row| row.int_or_null(0)).transpose()?.flatten().unwrap_or(0))
}

pub async fn unsettled(
    store: &MysqlStore,
    table: TableRef,
    after: Option<EnvelopeId>,
    limit: u32,
) -> Result<Vec<Envelope>, StoreError> {
    let query = sqlx::query(&store.at(table)?.plain.unsettled).bind(rows::cursor(&after)).bind(limit);
    all(store, query, |row| rows::envelope(row, 0)).await
}

pub async fn unpaid(
    store: &MysqlStore,
    table: TableRef,
    created_before: Timestamp,
    after: Option<EnvelopeId>,
    limit: u32,
) -> Result<Vec<Envelope>, StoreError> {
    let query = sqlx::query(&store.at(table)?.plain.unpaid)
        .bind(rows::cursor(&after))
        .bind(created_before.millis())
        .bind(limit);
    all(store, query, |row| rows::envelope(row, 0)).await
}

pub async fn cancelled(
    store: &MysqlStore,
    table: TableRef,
    created_before: Timestamp,
    after: Option<EnvelopeId>,
    limit: u32,
) -> Result<Vec<EnvelopeId>, StoreError> {
    let query = sqlx::query(&store.at(table)?.plain.cancelled)
        .bind(rows::cursor(&after))
        .bind(created_before.millis())
        .bind(limit);
    all(store, query, |row| rows::envelope_id(row, 0)).await
}

pub async fn expired(
    store: &MysqlStore,
    table: TableRef,
    now: Timestamp,
    after: Option<(Timestamp, EnvelopeId)>,
    limit: u32,
) -> Result<Vec<(Envelope, Journal)>, StoreError> {
    let (after_ms, after_id) = after.map_or((i64::MIN, None), |(at, id)| (at.millis(), Some(id)));
    let query = sqlx::query(&store.at(table)?.expired).bind(now.millis()).bind(after_ms).bind(after_ms);
    let query = query.bind(rows::cursor(&after_id)).bind(limit);
    all(store, query, envelope_and_journal).await
}

pub async fn scan(
    store: &MysqlStore,
    table: TableRef,
    after: Option<EnvelopeId>,
    limit: u32,
) -> Result<Vec<(Envelope, u32)>, StoreError> {
    let query = sqlx::query(&store.at(table)?.scan).bind(rows::cursor(&after)).bind(limit);
    all(store, query, rows::envelope_and_last_seq).await
}

pub async fn scan_entries(
    store: &MysqlStore,
    table: TableRef,
    after: Option<EnvelopeId>,
    until: EnvelopeId,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let query = sqlx::query(&store.at(table)?.plain.scan_entries);
    let query = query.bind(rows::cursor(&after)).bind(until.as_bytes().as_slice()).bind(limit);
    all(store, query, |row| rows::entry(row, 0)).await
}

/// The row that a statement finds.
pub async fn one(store: &MysqlStore, query: Statement<'_>) -> Result<Option<MySqlRow>, StoreError> {
    let mut lease = store.connections.lease().await?;
    let asked = within(lease.limit(), query.fetch_optional(lease.connection())).await;
    lease.done(asked).map_err(reading)
}

async fn fetch(store: &MysqlStore, query: Statement<'_>) -> Result<Vec<MySqlRow>, StoreError> {
    let mut lease = store.connections.lease().await?;
    let asked = within(lease.limit(), query.fetch_all(lease.connection())).await;
    lease.done(asked).map_err(reading)
}

async fn all<T>(
    store: &MysqlStore,
    query: Statement<'_>,
    parse: fn(&MySqlRow) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    fetch(store, query).await?.iter().map(parse).collect()
}
