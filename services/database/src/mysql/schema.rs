//! What databases of all kinds have, and what is checked of their tables.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use hongbao_core::limits::KEY_LOOKS_MAX;

use super::connection::{Connections, MysqlOptions, within};
use super::failure::reading;
use super::promise::Unkept;
use crate::{DatabaseError, StoredRow as _};

/// Between two looks at one table.
const KEY_LOOK_PAUSE: Duration = Duration::from_millis(50);

/// Makes the table of the barrier, which lies in databases of all kinds.
pub const BARRIER: &str = include_str!("../../../../sql/mysql/barrier.sql");
/// That table and its key.
pub const BARRIER_KEY: (&str, &str) = ("barrier", "place");

/// Making tables is slow on a busy cluster, and no request waits for it.
pub fn patient(options: MysqlOptions) -> MysqlOptions {
    MysqlOptions { statement_timeout: options.statement_timeout * 12, ..options }
}

/// Whether one of these databases has been made: it says what it is.
///
/// # Errors
/// [`DatabaseError::Unavailable`]: the server could not be asked.
pub async fn is_any_made(options: MysqlOptions, databases: &[String]) -> Result<bool, DatabaseError> {
    let mut lease = Connections::open(options).await?.lease().await?;
    let limit = lease.limit();
    let text = format!(
        "SELECT 1 FROM information_schema.tables WHERE table_name = 'meta' AND table_schema IN ('{}') LIMIT 1",
        databases.join("', '")
    );
    let found = within(limit, lease.connection().fetch_optional(sqlx::raw_sql(&text))).await;
    Ok(lease.done(found).map_err(reading)?.is_some())
}

/// Refuses a database one of whose tables is of another engine, and so perhaps
/// without transactions: an operator may have converted it, or restored it
/// from a dump that says otherwise. Refuses it, too, where `beside`, a database that belongs to it, is not there, or
/// our user may not see it.
///
/// # Errors
/// [`Unkept::Broken`] that names the table or the database.
pub async fn check_engines(
    connection: &mut MySqlConnection,
    limit: Duration,
    name: &str,
    beside: Option<&str>,
) -> Result<(), Unkept> {
    let other = "SELECT min(concat(table_name, ' must be of the engine InnoDB; its engine is ', \
                 coalesce(engine, 'not known'))) FROM information_schema.tables \
                 WHERE table_type = 'BASE TABLE' AND coalesce(engine, '') <> 'InnoDB'";
    let text = format!(
        "SELECT ({other} AND table_schema = '{name}'), \
         (SELECT count(*) FROM information_schema.schemata WHERE schema_name = '{}')",
        beside.unwrap_or(name)
    );
    let row = within(limit, connection.fetch_one(sqlx::raw_sql(&text))).await.map_err(Unkept::Unasked)?;
    if row.int(1)? == 0 {
        return Err(refused(beside.unwrap_or(name), "is not there"));
    }
    row.text_or_null(0)?.map_or(Ok(()), |table| Err(Unkept::Broken(format!("{name}.{table}"))))
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
    let found = unique_keys(connection, limit, name, "").await?;
    let has = |found: &HashSet<(String, String)>, (table, key): &(String, &str)| {
        found.contains(&(table.clone(), (*key).to_owned()))
    };
    for key in keys.iter().filter(|key| !has(&found, key)) {
        let (table, columns) = key;
        let mut looks = 1;
        // A look at all tables goes from one to the next, and misses one that is renamed meanwhile.
        while !has(&unique_keys(connection, limit, name, table).await?, key) {
            looks += 1;
            if looks > KEY_LOOKS_MAX {
                let reason = format!("is not there or has no unique key ({columns})");
                return Err(refused(&format!("{name}.{table}"), &reason));
            }
            tokio::time::sleep(KEY_LOOK_PAUSE).await;
        }
    }
    Ok(())
}

/// The unique keys of one table, or of all where no table is named.
async fn unique_keys(
    connection: &mut MySqlConnection,
    limit: Duration,
    name: &str,
    table: &str,
) -> Result<HashSet<(String, String)>, Unkept> {
    let of_table = if table.is_empty() { String::new() } else { format!("AND table_name = '{table}' ") };
    let text = format!(
        "SELECT table_name, group_concat(column_name ORDER BY seq_in_index) FROM information_schema.statistics \
         WHERE table_schema = '{name}' {of_table}AND non_unique = 0 GROUP BY table_name, index_name"
    );
    let rows = within(limit, connection.fetch_all(sqlx::raw_sql(&text))).await.map_err(Unkept::Unasked)?;
    rows.iter().map(|row| Ok((row.text(0)?.to_owned(), row.text(1)?.to_owned()))).collect()
}

/// A database breaks a promise; the message begins with its name.
pub fn refused(name: &str, reason: &str) -> Unkept {
    Unkept::Broken(format!("{name} {reason}"))
}
