//! Statements that only read. Each is one round trip, and sees one moment.

use hongbao_database::mysql::connection::within;
use sqlx::Executor as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use super::statements::Statement;
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
}

async fn rows_of(connection: &mut MySqlConnection, text: &str) -> Result<Vec<MySqlRow>, sqlx::Error> {
    connection.fetch_all(sqlx::raw_sql(text)).await
}
