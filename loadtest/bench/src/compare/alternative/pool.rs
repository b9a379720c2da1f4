//! Connections to MariaDB, handed out in the order of asking.
//!
//! sqlx's own pool asks the server at every release whether it lives, a round
//! trip an opening; no adherent of a lock would pay that. A lease that is not
//! given back closes its connection, and the server rolls back what was open.

use std::str::FromStr as _;

use hongbao_core::wire::Outcome;
use hongbao_load::Fallible;
use parking_lot::Mutex;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlDatabaseError, MySqlSslMode};
use sqlx::{ConnectOptions as _, Executor as _};
use tokio::sync::Semaphore;

use super::failure::Failure;
use crate::compare::scheme::Scheme;

/// As the service sets its sessions up.
const SESSION: &str = "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED; \
                       SET SESSION innodb_lock_wait_timeout = 3; \
                       SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'; SET NAMES utf8mb4";

/// The first statement begins a transaction, without a round trip for saying so.
const NO_AUTOCOMMIT: &str = "SET autocommit = 0";

/// Another row with this key.
pub const DUPLICATE: u16 = 1062;
/// A lock was not to be had, at once or in time: MariaDB's number for both.
pub const LOCKED: u16 = 1205;
/// The same in MySQL 8, for NOWAIT.
pub const LOCKED_NOWAIT: u16 = 3572;
/// The transaction was rolled back, because two waited for each other.
pub const DEADLOCK: u16 = 1213;

/// How to reach an alternative's database.
///
/// # Errors
/// When `node` is neither `host:port` nor `unix:/path`.
pub fn options(node: &str, scheme: Scheme) -> Fallible<MySqlConnectOptions> {
    Ok(server_options(node)?.database(&scheme.database()))
}

/// How to reach the server, without a database.
pub fn server_options(node: &str) -> Fallible<MySqlConnectOptions> {
    let options = MySqlConnectOptions::new()
        .username("hongbao")
        .password("hongbao")
        .ssl_mode(MySqlSslMode::Disabled)
        .pipes_as_concat(false)
        .no_engine_substitution(false);
    if let Some(path) = node.strip_prefix("unix:") {
        return Ok(options.socket(path));
    }
    let address = std::net::SocketAddr::from_str(node)?;
    Ok(options.host(&address.ip().to_string()).port(address.port()))
}

/// Connects and sets the session up.
pub async fn connect(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = options.connect().await?;
    connection.execute(sqlx::raw_sql(SESSION)).await?;
    Ok(connection)
}

async fn connect_for_transactions(options: &MySqlConnectOptions) -> Result<MySqlConnection, sqlx::Error> {
    let mut connection = connect(options).await?;
    connection.execute(sqlx::raw_sql(NO_AUTOCOMMIT)).await?;
    Ok(connection)
}

/// MariaDB's number of an error, if it is one of MariaDB's.
pub fn number(error: &sqlx::Error) -> Option<u16> {
    let error = error.as_database_error()?.try_downcast_ref::<MySqlDatabaseError>()?;
    Some(error.number())
}

/// A fixed number of connections, whose first statement begins a transaction.
pub struct Pool {
    options: MySqlConnectOptions,
    idle: Mutex<Vec<MySqlConnection>>,
    permits: Semaphore,
}

impl Pool {
    /// Opens all of them, so that no request waits for one to be made.
    pub async fn open(options: MySqlConnectOptions, connections: usize) -> Fallible<Pool> {
        let mut idle = Vec::with_capacity(connections);
        for _ in 0..connections {
            idle.push(connect_for_transactions(&options).await?);
        }
        Ok(Pool { options, idle: Mutex::new(idle), permits: Semaphore::new(connections) })
    }

    /// Opens on the next free connection. Waits behind those who asked before; the number of HTTP
    /// connections bounds how many can.
    ///
    /// The connection is used again where every answer is read and no lock is held. After any other
    /// failure it is closed, and with it whatever was begun.
    pub async fn on_connection(
        &self,
        open: impl AsyncFnOnce(&mut MySqlConnection) -> Result<Outcome, Failure>,
    ) -> Result<Outcome, Failure> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let idle = self.idle.lock().pop();
        let mut connection = match idle {
            Some(connection) => connection,
            None => connect_for_transactions(&self.options).await?,
        };
        let done = open(&mut connection).await;
        if matches!(done, Ok(_) | Err(Failure::Busy | Failure::NotFound)) {
            self.idle.lock().push(connection);
        }
        done
    }
}
