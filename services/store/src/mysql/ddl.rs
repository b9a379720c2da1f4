//! Statements that make, change and rename tables.

use hongbao_core::limits::ROTATION_STATEMENT_TIMES;
use hongbao_database::mysql::connection::{Lease, within};
use hongbao_database::mysql::failure::QueryError;
use sqlx::Executor as _;

/// Executes one, which may take its time.
pub async fn execute(lease: &mut Lease, text: &str) -> Result<(), QueryError> {
    let limit = lease.limit() * ROTATION_STATEMENT_TIMES;
    within(limit, lease.connection().execute(sqlx::raw_sql(text))).await.map(|_| ())
}
