//! A transaction that reads under a lock, decides, and writes.

use hongbao_core::limits::DEADLOCK_TRIES_MAX;
use hongbao_database::mysql::connection::{Lease, within};
use hongbao_database::mysql::failure::{committing, reading};
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use crate::WalletError;

/// What a transaction writes after it has read.
pub(super) struct Write<T> {
    /// Statements, each of which does nothing, or nothing new, where the version that was read is no more: a
    /// node of a cluster may end the transaction between two of them, and runs the rest alone. Empty where
    /// nothing is to be written.
    pub sql: String,
    /// The rows that they touch together.
    pub rows: u64,
    /// What comes of it.
    pub value: T,
}

/// Reads under a lock, decides, and writes; durable when it returns. `db` is for what is said of it.
pub(super) async fn transact<T, E: Into<WalletError>, F: Future<Output = Result<Lease, E>>>(
    db: &str,
    lease: impl Fn() -> F,
    read: &str,
    decide: impl Fn(&[MySqlRow]) -> Result<Write<T>, WalletError>,
) -> Result<T, WalletError> {
    let mut tries = 1;
    loop {
        let mut lease = lease().await.map_err(Into::into)?;
        let limit = lease.limit();
        let text = format!("START TRANSACTION; {read}");
        let asked = within(limit, lease.connection().fetch_all(sqlx::raw_sql(&text))).await;
        let rows = match asked {
            Err(broken) if (broken.is_deadlock() || broken.is_locked()) && tries < DEADLOCK_TRIES_MAX => {
                tries += 1;
                lease.close();
                continue;
            }
            rows => rows.map_err(reading)?,
        };
        // A lease that is dropped is closed, and what it had begun is rolled back.
        let Write { sql, rows: expected, value } = decide(&rows)?;
        if sql.is_empty() {
            return Ok(value);
        }
        let written = within(limit, lease.connection().execute(sqlx::raw_sql(&sql))).await;
        let (mut failed, mut is_whole) = (None, false);
        match written {
            Ok(done) => is_whole = done.rows_affected() == expected,
            Err(broken) => failed = Some(broken),
        }
        if is_whole {
            // A command of its own: where a node of a cluster has ended the transaction before it, this fails. As a
            // further statement of one text it would succeed, and commit nothing.
            failed = within(limit, lease.connection().execute("COMMIT")).await.err();
        }
        match failed {
            None if is_whole => {
                lease.give_back();
                return Ok(value);
            }
            // It was taken back; or another one was first, and what is read again shows what is there.
            None if tries < DEADLOCK_TRIES_MAX => {}
            Some(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => {}
            Some(broken) => return Err(committing(broken).into()),
            None => {
                let reason = format!("{db}: another node or another process was first: run it again");
                return Err(WalletError::Unknown(reason));
            }
        }
        tries += 1;
        lease.close();
    }
}
