//! Connections to one database, whichever of its nodes serves it.
//!
//! A connection is *leased*. Its holder gives it back when it knows that it is
//! clean, that is outside of a transaction and with every answer read. Whatever
//! else happens to a lease, an error, a timeout, a future that is dropped half
//! way, closes the connection. The server takes back what was not committed,
//! but only when it notices: a statement that waits there for a lock goes on
//! until the session's own limits end it, which are a little shorter than ours
//! (see `session`). This is why there is no general pool here: sqlx's asks the server
//! at every release whether it lives, a round trip an opening, and a cancelled
//! `begin` can leave one of its connections inside a transaction.
//!
//! New connections and leases go to one node, the one that was reached last; one
//! that is held for good stays with its node until it breaks. When a connection
//! breaks, those that wait in idleness are closed too, and the next one tries the
//! nodes in order, beginning with the present one; a node that can only be read
//! is taken when there is no other.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use hongbao_core::Timestamp;
use hongbao_core::limits::ROW_LOCK_WAIT_S;
use parking_lot::Mutex;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{ConnectOptions as _, Row as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::barrier::Barrier;
use super::failure::{Broken, reading};
use super::session::{self, Said, ServerStart};
use crate::{Durability, StoreError};

/// Prepared statements that a connection keeps: a dozen for each of the few
/// tables that are in use. The database allows 16,382 over all connections
/// (`max_prepared_stmt_count`), and a SET has some processes with some dozens
/// of connections each.
const STATEMENTS_KEPT_MAX: usize = 96;

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
    /// Accepts a database that may lose commits when the power goes.
    pub allow_weak_durability: bool,
    /// Leases at the same time, besides those that are held for good and the one that [`Connections::ping`] keeps.
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
    fn connect_options(&self, node: &Node) -> MySqlConnectOptions {
        let options = MySqlConnectOptions::new()
            .username(&self.user)
            .ssl_mode(MySqlSslMode::Disabled)
            .statement_cache_capacity(STATEMENTS_KEPT_MAX)
            // The session is set up in one go by `session`.
            .pipes_as_concat(false)
            .no_engine_substitution(false);
        // An empty password is none at all, which is not the same to the server.
        let options = if self.password.is_empty() { options } else { options.password(&self.password) };
        match node {
            Node::Tcp { host, port } => options.host(host).port(*port),
            Node::Unix(path) => options.socket(path),
        }
    }
}

/// The connections of this process to one database. See the module.
pub struct Connections {
    options: MysqlOptions,
    idle: Mutex<Vec<Idle>>,
    /// For [`Connections::ping`] alone, which so never waits behind openings.
    asks: tokio::sync::Mutex<Option<Idle>>,
    room: Arc<Semaphore>,
    /// The node that was reached last, by its place in the options.
    node: AtomicUsize,
    was_reached: AtomicBool,
    durability: Mutex<Durability>,
    /// The start of the server that was reached last.
    start: Mutex<Option<ServerStart>>,
    generation: AtomicU64,
    barrier: Barrier,
    me: Weak<Connections>,
}

/// A connection that nobody uses.
pub(super) struct Idle {
    node: usize,
    start: ServerStart,
    pub connection: MySqlConnection,
}

impl Connections {
    /// Connects once, to see that the database is there and durable.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] that says of each node what was wrong with it.
    pub async fn open(options: MysqlOptions) -> Result<Arc<Connections>, StoreError> {
        let connections = Connections::later(options);
        connections.lease().await?.give_back();
        Ok(connections)
    }

    /// Leaves it to the first lease to connect: the database may be down until then.
    pub fn later(options: MysqlOptions) -> Arc<Connections> {
        Arc::new_cyclic(|me| Connections {
            idle: Mutex::default(),
            asks: tokio::sync::Mutex::default(),
            room: Arc::new(Semaphore::new(options.connections_max)),
            node: AtomicUsize::new(0),
            was_reached: AtomicBool::new(false),
            durability: Mutex::new(Durability { words: "not reached yet".to_owned(), full: false }),
            start: Mutex::new(None),
            generation: AtomicU64::new(0),
            barrier: Barrier::new(),
            me: me.clone(),
            options,
        })
    }

    /// Changes when the server may have been started anew or another node has
    /// taken its place: what was read before may be gone.
    pub fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn next_generation(&self) {
        self.generation.fetch_add(1, Ordering::AcqRel);
    }

    /// A connection to the server broke: those that wait have likely broken too, and
    /// what was read before may be gone.
    pub(super) fn lost(&self) {
        self.idle.lock().clear();
        self.next_generation();
    }

    /// Makes durable what was read over these connections since the generation
    /// was `since`. False when the generation has changed. See [`Barrier`](crate::durable::Barrier).
    ///
    /// # Errors
    /// See there.
    pub async fn barrier(&self, since: u64) -> Result<bool, StoreError> {
        self.barrier.pass(&self.me, since).await
    }

    /// The barrier's commits go to a table of this database, unless another was named before.
    pub fn barrier_lies_in(&self, database: &str) {
        self.barrier.lies_in(database);
    }

    /// Whether a connection belongs to the start of the server that was reached last.
    pub(super) fn is_current(&self, idle: &Idle) -> bool {
        *self.start.lock() == Some(idle.start)
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        self.options.statement_timeout
    }

    /// Whether a node has ever served us, be it one that was refused for its durability.
    pub fn was_reached(&self) -> bool {
        self.was_reached.load(Ordering::Relaxed)
    }

    /// The durability of the node that was reached last.
    pub fn durability(&self) -> Durability {
        self.durability.lock().clone()
    }

    /// A connection, idle or new.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease, StoreError> {
        let room = self.room.clone().acquire_owned();
        let room = match tokio::time::timeout(self.options.acquire_timeout, room).await {
            Ok(room) => room.expect("the semaphore is never closed"),
            Err(_) => return Err(StoreError::Unavailable("all connections are in use".to_owned())),
        };
        let node = self.node.load(Ordering::Relaxed);
        let idle = {
            let mut waiting = self.idle.lock();
            waiting.retain(|idle| idle.node == node && self.is_current(idle));
            waiting.pop()
        };
        let idle = match idle {
            Some(idle) => idle,
            None => self.connect().await?,
        };
        Ok(Lease { home: self.clone(), idle, _room: Some(room) })
    }

    /// A new connection that is to be held for good; it takes no room from the others.
    pub async fn dedicated(self: &Arc<Self>) -> Result<Lease, StoreError> {
        let idle = self.connect().await?;
        Ok(Lease { home: self.clone(), idle, _room: None })
    }

    /// Asks whether the database answers, on a connection of its own; tells its clock.
    pub async fn ping(&self) -> Result<Option<Timestamp>, StoreError> {
        let own = tokio::time::timeout(self.options.acquire_timeout, self.asks.lock()).await;
        let mut own = own.map_err(|_| StoreError::Unavailable("it is being asked already".to_owned()))?;
        // Out of its place while it is in use: whoever drops this half way takes it along.
        let node = self.node.load(Ordering::Relaxed);
        let mut idle = match own.take().filter(|idle| idle.node == node) {
            Some(idle) => idle,
            None => self.connect().await?,
        };
        let clock = sqlx::query(session::CLOCK).fetch_one(&mut idle.connection);
        let row = match within(self.options.statement_timeout, clock).await {
            Ok(row) => row,
            Err(broken) => {
                if broken.is_of_connection() {
                    self.idle.lock().clear();
                }
                return Err(reading(broken));
            }
        };
        *own = Some(idle);
        let millis: i64 = row.try_get(0).map_err(|error| reading(Broken::Sql(error)))?;
        Ok(Some(Timestamp::from_millis(millis)))
    }

    pub(super) async fn connect(&self) -> Result<Idle, StoreError> {
        let first = self.node.load(Ordering::Relaxed);
        let count = self.options.nodes.len();
        let mut refusals = Vec::new();
        let mut reached = None;
        for node in (first..first + count).map(|place| place % count) {
            match self.connect_to(&self.options.nodes[node]).await {
                // It can be read from, if no other node can be written to.
                Ok((connection, said)) if said.is_read_only => {
                    reached.get_or_insert((node, connection, said));
                }
                Ok((connection, said)) => {
                    reached = Some((node, connection, said));
                    break;
                }
                Err(words) => refusals.push(format!("{}: {words}", self.options.nodes[node])),
            }
        }
        let (node, connection, said) = reached.ok_or_else(|| StoreError::Unavailable(refusals.join("; ")))?;
        if self.node.swap(node, Ordering::Relaxed) != node {
            tracing::warn!(node = %self.options.nodes[node], "the database is served by another node now");
        }
        *self.durability.lock() = said.durability;
        if self.start.lock().replace(said.start) != Some(said.start) {
            self.next_generation();
        }
        Ok(Idle { node, start: said.start, connection })
    }

    async fn connect_to(&self, node: &Node) -> Result<(MySqlConnection, Said), String> {
        let connect = async {
            let mut connection = self.options.connect_options(node).connect().await?;
            let said =
                session::set_up(&mut connection, self.options.statement_timeout, self.options.row_lock_wait_s).await?;
            Ok::<_, sqlx::Error>((connection, said))
        };
        let connected = tokio::time::timeout(self.options.connect_timeout, connect).await;
        let (connection, said) =
            connected.map_err(|_| "no connection in time".to_owned())?.map_err(|error| error.to_string())?;
        self.was_reached.store(true, Ordering::Relaxed);
        let durability = &said.durability;
        if !durability.full && !self.options.allow_weak_durability {
            return Err(format!(
                "what it commits may be lost when the power goes ({}); see allow_weak_durability",
                durability.words
            ));
        }
        Ok((connection, said))
    }
}

/// A connection in use. Closed when it is dropped; see [`Lease::done`].
pub struct Lease {
    home: Arc<Connections>,
    idle: Idle,
    /// Held until the connection is back; absent when it is held for good.
    _room: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// The connection.
    pub fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.idle.connection
    }

    /// How long a statement may take.
    pub fn limit(&self) -> Duration {
        self.home.options.statement_timeout
    }

    /// What is to stand before a single statement, without values, that may take
    /// so many times as long as others; and how long that is.
    pub fn patience(&self, times: u32) -> (String, Duration) {
        let limit = self.limit() * times;
        (session::patient(limit), limit)
    }

    /// After statements that leave no transaction open: the next one may have
    /// the connection, unless it broke.
    pub fn done<T>(self, outcome: Result<T, Broken>) -> Result<T, Broken> {
        match &outcome {
            Err(broken) if broken.is_of_connection() => self.close(),
            _ => self.give_back(),
        }
        outcome
    }

    /// It broke, and what broke it has likely broken those that wait.
    pub fn close(self) {
        self.home.idle.lock().clear();
    }

    /// It is clean: the next one may have it.
    pub fn give_back(self) {
        self.home.idle.lock().push(self.idle);
    }
}

/// Waits for an answer from the database, but not for ever.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, Broken> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(Broken::Sql),
        Err(_) => Err(Broken::TooSlow(limit)),
    }
}
