//! Statements that only read. Each is one round trip, and sees one moment.

use hongbao_database::mysql::connection::within;
use sqlx::mysql::MySqlRow;

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
}
