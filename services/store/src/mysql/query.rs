//! Statements that only read. Each is one round trip, and sees one moment.

use hongbao_core::id::TableRef;
use hongbao_core::limits::TABLES_AT_ONCE_MAX;
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::within;
use hongbao_database::mysql::row::put;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Executor as _, Row as _};

use super::statements::{Statement, Statements};
use super::store::MysqlStore;
use crate::StoreError;
use crate::failure::reading;

impl MysqlStore {
    /// The row that a statement finds.
    pub(super) async fn one(&self, query: Statement<'_>) -> Result<Option<MySqlRow>, StoreError> {
        let mut lease = self.connections.lease().await?;
        let asked = within(lease.limit(), query.fetch_optional(lease.connection())).await;
        lease.done(asked).map_err(reading)
    }

    /// What the rows that a statement finds stand for.
    pub(super) async fn all<T>(
        &self,
        query: Statement<'_>,
        parse: impl Fn(&MySqlRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut lease = self.connections.lease().await?;
        let asked = within(lease.limit(), query.fetch_all(lease.connection())).await;
        lease.done(asked).map_err(reading)?.iter().map(parse).collect()
    }

    /// The rows that a text without values finds; none for an empty one. No connection keeps it prepared.
    pub(super) async fn all_of_text(&self, text: &str) -> Result<Vec<MySqlRow>, StoreError> {
        if text.is_empty() {
            return Ok(Vec::new());
        }
        let mut lease = self.connections.lease().await?;
        let asked = within(lease.limit(), rows_of(lease.connection(), text)).await;
        lease.done(asked).map_err(reading)
    }

    /// What expressions say of each of these tables, in their order: many tables in one round trip. `name` is the
    /// statement's.
    pub(super) async fn of_each<T>(
        &self,
        name: &str,
        tables: &[TableRef],
        expressions: impl Fn(&Statements) -> &str,
        parse: impl Fn(&MySqlRow) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        let mut said = Vec::with_capacity(tables.len());
        for some in tables.chunks(TABLES_AT_ONCE_MAX) {
            let mut text = String::new();
            for (number, table) in some.iter().enumerate() {
                let union = if number == 0 { "" } else { " UNION ALL " };
                let statements = self.at(*table)?;
                put(&mut text, format_args!("{union}SELECT /* {name} */ {}, {number}", expressions(&statements)));
            }
            let mut rows = self.all_of_text(&text).await?;
            // No database promises an order of what it unites.
            rows.sort_by_cached_key(|row| row.int(row.len() - 1).unwrap_or(i64::MAX));
            if rows.len() != some.len() {
                return Err(StoreError::Damaged(format!("{} rows of {} tables", rows.len(), some.len())));
            }
            for row in &rows {
                said.push(parse(row)?);
            }
        }
        Ok(said)
    }
}

async fn rows_of(connection: &mut MySqlConnection, text: &str) -> Result<Vec<MySqlRow>, sqlx::Error> {
    connection.fetch_all(sqlx::raw_sql(text)).await
}
