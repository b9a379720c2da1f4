//! What databases of all kinds have, and what is checked of their tables.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use super::connection::{MysqlOptions, within};
use super::promise::Unkept;
use crate::StoredRow as _;

/// Makes the table of the barrier, which lies in databases of all kinds.
pub const BARRIER: &str = include_str!("../../../../sql/mysql/barrier.sql");
/// That table and its key.
pub const BARRIER_KEY: (&str, &str) = ("barrier", "place");

/// Making tables is slow on a busy cluster, and no request waits for it.
pub fn patient(options: MysqlOptions) -> MysqlOptions {
    MysqlOptions { statement_timeout: options.statement_timeout * 12, ..options }
}

/// Refuses a database one of whose tables is of another engine, and so perhaps
/// without transactions: an operator may have converted it, or restored it
/// from a dump that says otherwise.
///
/// # Errors
/// [`Unkept::Broken`] that names the table.
pub async fn check_engines(connection: &mut MySqlConnection, limit: Duration, name: &str) -> Result<(), Unkept> {
    let text = format!(
        "SELECT table_name, coalesce(engine, 'not known') FROM information_schema.tables WHERE table_schema = '{name}' \
         AND table_type = 'BASE TABLE' AND coalesce(engine, '') <> 'InnoDB' ORDER BY table_name LIMIT 1"
    );
    let found = within(limit, connection.fetch_optional(sqlx::raw_sql(&text))).await.map_err(Unkept::Unasked)?;
    let Some(row) = found else { return Ok(()) };
    let (table, engine) = (row.text(0)?, row.text(1)?);
    Err(refused(&format!("{name}.{table}"), &format!("must be of the engine InnoDB; its engine is {engine}")))
}

/// Refuses a database one of whose tables is not there or lacks a unique key, given by
/// its columns: two writers, or a writer and its own repetition, would both succeed.
///
/// # Errors
/// [`Unkept::Broken`] that names the table and the key.
pub async fn check_keys(
    connection: &mut MySqlConnection,
    limit: Duration,
    name: &str,
    keys: &[(String, &str)],
) -> Result<(), Unkept> {
    let text = format!(
        "SELECT table_name, group_concat(column_name ORDER BY seq_in_index) FROM information_schema.statistics \
         WHERE table_schema = '{name}' AND non_unique = 0 GROUP BY table_name, index_name"
    );
    let rows = within(limit, connection.fetch_all(sqlx::raw_sql(&text))).await.map_err(Unkept::Unasked)?;
    let found: HashSet<(&str, &str)> =
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_, Unkept>>()?;
    match keys.iter().find(|(table, key)| !found.contains(&(table.as_str(), *key))) {
        Some((table, key)) => {
            Err(refused(&format!("{name}.{table}"), &format!("is not there or has no unique key ({key})")))
        }
        None => Ok(()),
    }
}

/// A database breaks a promise; the message begins with its name.
pub fn refused(name: &str, reason: &str) -> Unkept {
    Unkept::Broken(format!("{name} {reason}"))
}
