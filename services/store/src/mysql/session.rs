//! What is said and asked on a new connection.

use sqlx::mysql::MySqlConnection;
use sqlx::{Executor as _, Row as _};

use crate::Durability;

/// The database's clock in milliseconds since 1970. Arithmetic on UTC alone: no
/// zone of the session comes into it, and all databases have these functions.
pub const CLOCK: &str = "SELECT /* ping */ CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) \
                         DIV 1000 AS SIGNED)";

/// What decides over durability, and what kind of database it is.
const VARIABLES: &str = "SHOW VARIABLES WHERE Variable_name IN ('innodb_flush_log_at_trx_commit', \
                         'innodb_flush_method', 'innodb_doublewrite', 'log_bin', 'sync_binlog', 'wsrep_on', \
                         'tidb_txn_mode')";

/// Every session: each statement sees what was committed before it; nobody
/// waits long for a row; text is UTF-8 in both directions.
///
/// A process that stands still, or whose machine has lost its power, between two
/// statements of a transaction holds locks, and its connection looks alive for
/// hours. MariaDB ends such a transaction before those who wait give up; the
/// comment is a statement for MariaDB alone, as nobody else has this variable.
const SETTINGS: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                        SET SESSION innodb_lock_wait_timeout = 3 \
                        /*M!100300 , SESSION idle_transaction_timeout = 2 */; SET NAMES utf8mb4; SET autocommit = 1";

/// On Galera a read waits until this node has applied what the others have
/// committed: after a failover nobody may be told what is no longer so.
const GALERA_SETTINGS: &str = "SET SESSION wsrep_sync_wait = 1";

/// Sets the session up; gives the durability in force.
pub async fn set_up(connection: &mut MySqlConnection) -> Result<Durability, sqlx::Error> {
    connection.execute(sqlx::raw_sql(SETTINGS)).await?;
    let rows = connection.fetch_all(sqlx::raw_sql(VARIABLES)).await?;
    let variables: Vec<(String, String)> =
        rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect::<Result<_, sqlx::Error>>()?;
    if value(&variables, "wsrep_on").is_some_and(is_on) {
        let status = connection.fetch_optional(sqlx::raw_sql("SHOW STATUS LIKE 'wsrep_ready'")).await?;
        let ready: String = status.map(|row| row.try_get(1)).transpose()?.unwrap_or_default();
        if !is_on(&ready) {
            return Err(sqlx::Error::Protocol("this node is not part of its cluster (wsrep_ready is OFF)".to_owned()));
        }
        connection.execute(sqlx::raw_sql(GALERA_SETTINGS)).await?;
    }
    Ok(durability(&variables))
}

/// Full is: the log is flushed at every commit, also the binary log if there is
/// one (it decides at recovery what was committed), and pages cannot be torn.
/// TiDB commits through Raft, whatever these variables say there.
fn durability(variables: &[(String, String)]) -> Durability {
    let words: Vec<String> = variables.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let words = words.join(" ");
    if value(variables, "tidb_txn_mode").is_some() {
        return Durability { words, full: true };
    }
    let binlog_is_safe =
        !value(variables, "log_bin").is_some_and(is_on) || value(variables, "sync_binlog") == Some("1");
    let full = value(variables, "innodb_flush_log_at_trx_commit") == Some("1")
        && !matches!(value(variables, "innodb_flush_method"), Some("nosync" | "littlesync"))
        && !value(variables, "innodb_doublewrite").is_some_and(|value| value == "OFF" || value == "0")
        && binlog_is_safe;
    Durability { words, full }
}

fn value<'v>(variables: &'v [(String, String)], name: &str) -> Option<&'v str> {
    variables.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

fn is_on(value: &str) -> bool {
    value == "ON" || value == "1"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_full(variables: &[(&str, &str)]) -> bool {
        let owned: Vec<_> = variables.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        durability(&owned).full
    }

    #[test]
    fn durability_is_full_when_every_flush_happens() {
        let flush = ("innodb_flush_log_at_trx_commit", "1");
        assert!(is_full(&[flush, ("log_bin", "OFF"), ("sync_binlog", "0"), ("innodb_doublewrite", "ON")]));
        assert!(is_full(&[flush, ("log_bin", "ON"), ("sync_binlog", "1")]));
        assert!(is_full(&[("tidb_txn_mode", "pessimistic")]));
        assert!(!is_full(&[flush, ("log_bin", "ON"), ("sync_binlog", "0")]));
        assert!(!is_full(&[flush, ("innodb_doublewrite", "OFF")]));
        assert!(!is_full(&[flush, ("innodb_flush_method", "nosync")]));
        assert!(!is_full(&[("innodb_flush_log_at_trx_commit", "2")]));
        assert!(!is_full(&[]), "what cannot be read is not trusted");
    }
}
