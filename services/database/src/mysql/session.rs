//! What is said and asked on a new connection, and asked again while it runs.

use std::time::Duration;

use hongbao_core::Timestamp;
use hongbao_core::id::stable_hash;
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Executor as _, Row as _};

use crate::Durability;

/// The database's clock in milliseconds since 1970. Arithmetic on UTC alone: no
/// zone of the session comes into it, and all databases have these functions.
pub const CLOCK: &str = "SELECT /* ping */ CAST(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(3)) \
                         DIV 1000 AS SIGNED)";

/// What decides over durability.
const DURABILITY: [&str; 6] =
    ["innodb_flush_log_at_trx_commit", "innodb_flush_method", "innodb_doublewrite", "log_bin", "sync_binlog", TIDB];

/// The clock, as long as no session sets it.
const TIMESTAMP: &str = "timestamp";

/// Only TiDB has this variable.
const TIDB: &str = "tidb_txn_mode";

/// One of them is on where nothing can be written.
const READ_ONLY: [&str; 3] = ["read_only", "super_read_only", "innodb_read_only"];

/// Whether a session's commits go to the other nodes of a Galera cluster.
const REPLICATES: &str = "wsrep_on";

/// Every session: each statement sees what was committed before it; no
/// statement waits long for a row or a table; a value that does not fit is refused, not
/// cut off; text is UTF-8 in both directions. `statement` is how long the client
/// waits for a statement, `row_lock_wait_s` how long a statement waits for a row.
///
/// A database does not notice that a client has gone while its statement waits
/// for a lock, on a table that is being changed or under `FLUSH TABLES WITH READ
/// LOCK`: the statement would go on long after its client has given up. So it
/// ends by itself, a little earlier. (Each statement of a text has this time.)
///
/// A process that stands still, or whose machine has lost its power, between two
/// statements of a transaction holds locks, and its connection looks alive for
/// hours. MariaDB ends such a transaction before those who wait long give up; the
/// comment is a statement for MariaDB alone, as no other server has these variables.
fn settings(statement: Duration, row_lock_wait_s: u32) -> String {
    // Whole seconds, which is all there is: three of the usual five.
    let table_lock_wait_s = (statement * 3 / 5).as_secs().max(1);
    let idle_s = row_lock_wait_s.saturating_sub(1).max(1);
    format!(
        "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
         SET SESSION innodb_lock_wait_timeout = {row_lock_wait_s}, SESSION lock_wait_timeout = {table_lock_wait_s} \
         /*M!100300 , SESSION idle_transaction_timeout = {idle_s}, SESSION max_statement_time = {}, SESSION check_constraint_checks = 1 */; \
         SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'; \
         SET NAMES utf8mb4; SET autocommit = 1",
        ends_after_s(statement)
    )
}

/// When a statement ends by itself whose client waits so long, in seconds.
fn ends_after_s(statement: Duration) -> f64 {
    (statement * 4 / 5).as_secs_f64()
}

/// What stands before a single statement for which the client waits so long,
/// instead of as long as for all others.
pub fn patient(statement: Duration) -> String {
    format!("/*M!100300 SET STATEMENT max_statement_time = {} FOR */ ", ends_after_s(statement))
}

/// On Galera a read, and a change of rows that are there, waits until this node
/// has applied what the others have committed (1 and 2): after a failover no
/// answer may be older than one before it. An insert need not wait, for its keys are
/// compared with those of the whole cluster at its commit; and the fence that it may read is right for minutes.
const GALERA_SETTINGS: &str = "SET SESSION wsrep_sync_wait = 3";

/// Which start of which server a connection belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ServerStart(u64);

/// The last groups of a UUID of version 1 are the host and a number that a
/// server draws when it starts: the same for all connections, another one after
/// a restart.
const START: &str = "SELECT CONCAT_WS(':', @@hostname, @@port, SUBSTRING(UUID(), 20))";

/// Asks a new connection which start of which server it belongs to.
pub async fn server_start(connection: &mut MySqlConnection) -> Result<ServerStart, sqlx::Error> {
    let start: String = connection.fetch_one(sqlx::raw_sql(START)).await?.try_get(0)?;
    Ok(ServerStart(stable_hash(start.as_bytes())))
}

/// What a node says about itself.
pub struct NodeStatus {
    /// The durability in force.
    pub durability: Durability,
    /// It takes no writes.
    pub is_read_only: bool,
    /// It is of a Galera cluster: another node's commit may take a transaction back between two of its statements.
    pub is_of_galera: bool,
}

/// Sets the session up; gives what the node says about itself.
pub async fn set_up(
    connection: &mut MySqlConnection,
    statement: Duration,
    row_lock_wait_s: u32,
) -> Result<NodeStatus, sqlx::Error> {
    connection.execute(sqlx::raw_sql(&settings(statement, row_lock_wait_s))).await?;
    let variables = variables(&connection.fetch_all(sqlx::raw_sql(&show())).await?)?;
    if value(&variables, REPLICATES).is_some_and(is_on) {
        if !is_status_on(connection, "wsrep_ready").await? {
            return Err(sqlx::Error::Protocol("this node is not part of its cluster (wsrep_ready is OFF)".to_owned()));
        }
        connection.execute(sqlx::raw_sql(GALERA_SETTINGS)).await?;
    } else if value(&variables, REPLICATES).is_some() && is_status_on(connection, "wsrep_connected").await? {
        // `SET GLOBAL wsrep_on = OFF` is for sessions that begin after it: what they write, the other nodes never have.
        return Err(sqlx::Error::Protocol("this node keeps its writes to itself (wsrep_on is OFF)".to_owned()));
    }
    Ok(said(&variables))
}

/// Asks a session that is set up for the clock, and anew what the node says
/// about itself: one statement, and one more where the clock is not among the variables.
pub async fn ask_again(connection: &mut MySqlConnection) -> Result<(Timestamp, NodeStatus), sqlx::Error> {
    let variables = variables(&connection.fetch_all(sqlx::raw_sql(&show())).await?)?;
    let clock = match value(&variables, TIMESTAMP).and_then(millis) {
        Some(millis) => millis,
        None => connection.fetch_one(sqlx::raw_sql(CLOCK)).await?.try_get(0)?,
    };
    Ok((Timestamp::from_millis(clock), said(&variables)))
}

/// The clock of a statement, in seconds since 1970 with a fraction: in milliseconds. `None` for what is no time: the
/// default of a database that does not follow its clock here.
fn millis(timestamp: &str) -> Option<i64> {
    let (seconds, fraction) = timestamp.split_once('.').unwrap_or((timestamp, ""));
    let thousandths: String = fraction.chars().chain("000".chars()).take(3).collect();
    let millis = seconds.parse::<i64>().ok()?.checked_mul(1_000)?.checked_add(thousandths.parse().ok()?)?;
    Some(millis).filter(|millis| *millis > 0)
}

async fn is_status_on(connection: &mut MySqlConnection, name: &str) -> Result<bool, sqlx::Error> {
    let status = connection.fetch_optional(sqlx::raw_sql(&format!("SHOW STATUS LIKE '{name}'"))).await?;
    let status: Option<String> = status.map(|row| row.try_get(1)).transpose()?;
    Ok(status.is_some_and(|status| is_on(&status)))
}

fn show() -> String {
    let names = [&DURABILITY[..], &READ_ONLY, &[REPLICATES, TIMESTAMP]].concat().join("', '");
    format!("SHOW /* ping */ VARIABLES WHERE Variable_name IN ('{names}')")
}

fn variables(rows: &[MySqlRow]) -> Result<Vec<(String, String)>, sqlx::Error> {
    rows.iter().map(|row| Ok((row.try_get(0)?, row.try_get(1)?))).collect()
}

fn said(variables: &[(String, String)]) -> NodeStatus {
    let is_read_only = READ_ONLY.iter().any(|name| value(variables, name).is_some_and(is_on));
    let is_of_galera = value(variables, REPLICATES).is_some_and(is_on);
    NodeStatus { durability: durability(variables), is_read_only, is_of_galera }
}

/// Full is: the log is flushed at every commit, also the binary log if there is
/// one (it decides at recovery what was committed), and pages cannot be torn.
/// TiDB commits through Raft, whatever these variables say there.
fn durability(variables: &[(String, String)]) -> Durability {
    let known = DURABILITY.iter().filter_map(|name| Some(format!("{name}={}", value(variables, name)?)));
    let reason = known.collect::<Vec<_>>().join(" ");
    if value(variables, TIDB).is_some() {
        return Durability { settings: reason, full: true };
    }
    let binlog_is_safe =
        !value(variables, "log_bin").is_some_and(is_on) || value(variables, "sync_binlog") == Some("1");
    let full = value(variables, "innodb_flush_log_at_trx_commit") == Some("1")
        && !matches!(value(variables, "innodb_flush_method"), Some("nosync" | "littlesync"))
        // Anything else writes pages over one another that a crash may tear.
        && matches!(value(variables, "innodb_doublewrite"), None | Some("ON" | "1" | "DETECT_AND_RECOVER"))
        && binlog_is_safe;
    Durability { settings: reason, full }
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
    fn the_clock_is_read_to_the_millisecond() {
        assert_eq!(millis("1764239800.123456"), Some(1_764_239_800_123));
        assert_eq!(millis("1764239800.05"), Some(1_764_239_800_050));
        assert_eq!(millis("1764239800"), Some(1_764_239_800_000));
        for no_time in ["0", "0.000000", "", "DEFAULT"] {
            assert_eq!(millis(no_time), None);
        }
    }

    #[test]
    fn durability_is_full_when_every_flush_happens() {
        let flush = ("innodb_flush_log_at_trx_commit", "1");
        assert!(is_full(&[flush, ("log_bin", "OFF"), ("sync_binlog", "0"), ("innodb_doublewrite", "ON")]));
        assert!(is_full(&[flush, ("log_bin", "ON"), ("sync_binlog", "1")]));
        assert!(is_full(&[("tidb_txn_mode", "pessimistic")]));
        assert!(!is_full(&[flush, ("log_bin", "ON"), ("sync_binlog", "0")]));
        assert!(!is_full(&[flush, ("innodb_doublewrite", "OFF")]));
        assert!(!is_full(&[flush, ("innodb_doublewrite", "DETECT_ONLY")]));
        assert!(!is_full(&[flush, ("innodb_flush_method", "nosync")]));
        assert!(!is_full(&[("innodb_flush_log_at_trx_commit", "2")]));
        assert!(!is_full(&[]), "what cannot be read is not trusted");
    }
}
