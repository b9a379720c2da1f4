//! How to reach a database, and the bounds of doing so.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hongbao_core::limits::{MYSQL_STATEMENTS_MAX, ROW_LOCK_WAIT_S};
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlSslMode};

pub use super::tls::{TlsLevel, TlsOptions};

/// Where a node of a database listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Node {
    /// TCP, without delay (TCP_NODELAY).
    Tcp {
        /// Name or address.
        host: String,
        /// Port.
        port: u16,
    },
    /// A unix socket on this host.
    Unix(PathBuf),
}

impl FromStr for Node {
    type Err = String;

    /// `host:port` or `unix:/path/to/socket`.
    fn from_str(text: &str) -> Result<Node, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            return Ok(Node::Unix(PathBuf::from(path)));
        }
        let parts = text.rsplit_once(':').and_then(|(host, port)| Some((host, port.parse().ok()?)));
        let (host, port) = parts.ok_or_else(|| format!("{text:?} is neither host:port nor unix:/path"))?;
        Ok(Node::Tcp { host: host.to_owned(), port })
    }
}

impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Node::Tcp { host, port } => write!(f, "{host}:{port}"),
            Node::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How to reach a database, and the bounds of doing so.
#[derive(Clone)]
pub struct MysqlOptions {
    /// Its nodes, the preferred one first.
    pub nodes: Vec<Node>,
    /// Who we are.
    pub user: String,
    /// With this password.
    pub password: String,
    /// How connections over TCP are protected.
    pub tls: TlsOptions,
    /// Accepts a database that may lose commits when the power goes.
    pub allow_weak_durability: bool,
    /// Leases at the same time, besides those that are held for good: those that
    /// append openings, the one that [`Connections::ping`] keeps, and the barrier's.
    pub connections_max: usize,
    /// For a connection to be made and set up.
    pub connect_timeout: Duration,
    /// For a statement to be answered. The database ends it a little earlier.
    pub statement_timeout: Duration,
    /// For a row that another transaction has locked, in seconds.
    pub row_lock_wait_s: u32,
    /// For a lease to come free.
    pub acquire_timeout: Duration,
}

impl Default for MysqlOptions {
    fn default() -> MysqlOptions {
        MysqlOptions {
            nodes: Vec::new(),
            user: String::new(),
            password: String::new(),
            tls: TlsOptions::default(),
            allow_weak_durability: false,
            connections_max: 32,
            connect_timeout: Duration::from_secs(2),
            statement_timeout: Duration::from_secs(5),
            row_lock_wait_s: ROW_LOCK_WAIT_S,
            acquire_timeout: Duration::from_secs(2),
        }
    }
}

impl fmt::Debug for MysqlOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nodes: Vec<String> = self.nodes.iter().map(Node::to_string).collect();
        f.debug_struct("MysqlOptions").field("nodes", &nodes).field("user", &self.user).finish_non_exhaustive()
    }
}

impl MysqlOptions {
    /// Why a node could not be connected to, for the operator.
    pub(super) fn explain(&self, node: usize, error: &sqlx::Error) -> String {
        match self.nodes[node] {
            Node::Tcp { .. } => self.tls.explain(error),
            Node::Unix(_) => error.to_string(),
        }
    }

    /// What sqlx needs to reach a node.
    pub(super) fn connect_options(&self, node: &Node) -> MySqlConnectOptions {
        let options = MySqlConnectOptions::new()
            .username(&self.user)
            .statement_cache_capacity(MYSQL_STATEMENTS_MAX)
            // The session is set up in one go by `session`.
            .pipes_as_concat(false)
            .no_engine_substitution(false)
            // sqlx logs slow statements with all their values: users and amounts.
            .disable_statement_logging();
        // An empty password is none at all, which is not the same to the server.
        let options = if self.password.is_empty() { options } else { options.password(&self.password) };
        match node {
            Node::Tcp { host, port } => self.tls.apply(options.host(host).port(*port)),
            Node::Unix(path) => options.socket(path).ssl_mode(MySqlSslMode::Disabled),
        }
    }
}
