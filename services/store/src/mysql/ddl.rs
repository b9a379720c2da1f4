//! Statements that make, change and rename tables.

use hongbao_core::limits::{DEADLOCK_TRIES_MAX, ROTATION_STATEMENT_TIMES};
use hongbao_database::mysql::connection::{Lease, within};
use hongbao_database::mysql::failure::QueryError;
use sqlx::Executor as _;

/// Executes one, which may take its time, and is tried again where another statement has taken it back.
pub async fn execute(lease: &mut Lease, text: &str) -> Result<(), QueryError> {
    let limit = lease.limit() * ROTATION_STATEMENT_TIMES;
    let mut tries = 1;
    loop {
        match within(limit, lease.connection().execute(sqlx::raw_sql(text))).await {
            Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => tries += 1,
            done => return done.map(|_| ()),
        }
    }
}
