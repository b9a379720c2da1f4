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
//! is taken when there is no other. When one may be lent, says [`super::idle`]; that
//! none is lent of a database that has become less than it promised, [`super::watch`].

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use hongbao_core::Timestamp;
use hongbao_core::limits::CLOCK_KNOWN_MS_MAX;
use parking_lot::Mutex;
use sqlx::ConnectOptions as _;
use sqlx::mysql::MySqlConnection;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

pub use super::options::{MysqlOptions, Node, TlsLevel, TlsOptions};
pub use super::session::ServerStart;

use super::barrier_queue::BarrierQueue;
use super::clock_read::ClockRead;
use super::failure::{QueryError, reading};
use super::health::HealthState;
use super::idle::Idle;
use super::promise::{Promise, Unkept};
use super::session::{self, NodeStatus};
use crate::returns::Returns;
use crate::{DatabaseError, Durability};

/// The connections of this process to one database. See the module.
pub struct Connections {
    options: MysqlOptions,
    idle: Mutex<Vec<Idle>>,
    /// For [`Connections::ping`] alone, which so never waits behind openings.
    asks: tokio::sync::Mutex<Option<Idle>>,
    /// The last answer to it.
    clock_read: Mutex<Option<ClockRead>>,
    permits: Arc<Semaphore>,
    /// The node that was reached last, by its place in the options.
    node: AtomicUsize,
    was_reached: AtomicBool,
    health: Arc<HealthState>,
    /// The start of the server that was reached last.
    start: Mutex<Option<ServerStart>>,
    generation: AtomicU64,
    pub(super) barrier: BarrierQueue,
    pub(super) me: Weak<Connections>,
}

/// Why a node is not used.
enum NotUsed {
    /// Its commits may be lost with the power, which is not allowed.
    Weak(Durability, String),
    /// It could not be reached, or said no.
    Other(String),
}

impl Connections {
    /// Connects once, to see that the database is there and durable.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] that says of each node what was wrong with it.
    pub async fn open(options: MysqlOptions) -> Result<Arc<Connections>, DatabaseError> {
        let connections = Connections::lazy(options);
        connections.lease().await?.give_back();
        Ok(connections)
    }

    /// Leaves it to the first lease to connect: the database may be down until then.
    pub fn lazy(options: MysqlOptions) -> Arc<Connections> {
        Connections::telling(options, Returns::new())
    }

    /// The same, telling these when the database comes back.
    pub fn telling(options: MysqlOptions, returns: Returns) -> Arc<Connections> {
        Arc::new_cyclic(|me| Connections {
            idle: Mutex::default(),
            asks: tokio::sync::Mutex::default(),
            clock_read: Mutex::new(None),
            permits: Arc::new(Semaphore::new(options.connections_max)),
            node: AtomicUsize::new(0),
            was_reached: AtomicBool::new(false),
            health: Arc::new(HealthState::new(returns)),
            start: Mutex::new(None),
            generation: AtomicU64::new(0),
            barrier: BarrierQueue::default(),
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

    /// Whether a connection belongs to the start of the server that was reached last.
    pub(super) fn is_current(&self, idle: &Idle) -> bool {
        *self.start.lock() == Some(idle.start)
    }

    pub(super) fn statement_timeout(&self) -> Duration {
        self.options.statement_timeout
    }

    /// What is known of the server.
    pub fn health(&self) -> Arc<HealthState> {
        self.health.clone()
    }

    /// Whether a node has ever served us, be it one that was refused for its durability.
    pub fn was_reached(&self) -> bool {
        self.was_reached.load(Ordering::Relaxed)
    }

    /// The durability of the node that was reached last, as it was read last.
    pub fn durability(&self) -> Durability {
        self.health.durability()
    }

    /// A connection, idle or new.
    pub async fn lease(self: &Arc<Self>) -> Result<Lease, DatabaseError> {
        self.health.check_unless_it_is_to_be_tried()?;
        let permit = self.permits.clone().acquire_owned();
        let permit = match tokio::time::timeout(self.options.acquire_timeout, permit).await {
            Ok(permit) => permit.expect("the semaphore is never closed"),
            Err(_) => return Err(DatabaseError::Unavailable("all connections are in use".to_owned())),
        };
        let idle = match self.waiting() {
            Some(idle) => self.unless_it_is_dead(idle).await,
            None => None,
        };
        let idle = match idle {
            Some(idle) => idle,
            None => self.connect().await?,
        };
        Ok(Lease { connections: self.clone(), idle, _permit: Some(permit) })
    }

    /// The idle connection that was used last, of those that may be lent.
    fn waiting(&self) -> Option<Idle> {
        self.close_worn();
        self.idle.lock().pop()
    }

    /// Closes idle connections that are not to be lent any more.
    pub(super) fn close_worn(&self) {
        let node = self.node.load(Ordering::Relaxed);
        let mut waiting = self.idle.lock();
        let worn: Vec<Idle> =
            waiting.extract_if(.., |idle| idle.node != node || !self.is_current(idle) || idle.is_worn()).collect();
        drop(waiting);
        worn.into_iter().for_each(Idle::retire);
    }

    /// Gives a connection back if its server answers on it. What broke one that
    /// was idle has likely broken the others.
    async fn unless_it_is_dead(&self, idle: Idle) -> Option<Idle> {
        let living = idle.if_it_lives().await;
        if living.is_none() {
            self.probe_now();
        }
        living
    }

    /// A connection broke: the idle ones may be broken too, and the watcher probes.
    pub(super) fn probe_now(&self) {
        self.idle.lock().clear();
        self.health.probe_now.notify_one();
    }

    /// A new connection that is to be held for good; it takes no permit of the others.
    pub async fn dedicated(self: &Arc<Self>) -> Result<Lease, DatabaseError> {
        let idle = self.connect().await?;
        Ok(Lease { connections: self.clone(), idle, _permit: None })
    }

    /// Between which moments the database's clock is. The watcher asks once a second, so that is mostly known; where
    /// the last answer is older, the database is asked.
    pub async fn clock(&self) -> Result<RangeInclusive<Timestamp>, DatabaseError> {
        let known = *self.clock_read.lock();
        let read = match known.filter(|read| read.answered.elapsed() <= Duration::from_millis(CLOCK_KNOWN_MS_MAX)) {
            Some(read) => read,
            None => self.read_clock().await?,
        };
        Ok(read.clock_at(Instant::now()))
    }

    /// Asks whether the database answers, and what its commits promise, on a
    /// connection of its own; tells its clock.
    pub async fn ping(&self) -> Result<Timestamp, DatabaseError> {
        Ok(self.read_clock().await?.clock)
    }

    async fn read_clock(&self) -> Result<ClockRead, DatabaseError> {
        let own = tokio::time::timeout(self.options.acquire_timeout, self.asks.lock()).await;
        let mut own = own.map_err(|_| DatabaseError::Unavailable("it is being asked already".to_owned()))?;
        // Out of its place while it is in use: it is dropped with a future that is cancelled half way.
        let node = self.node.load(Ordering::Relaxed);
        let mut idle = match own.take().filter(|idle| idle.node == node) {
            Some(idle) => idle,
            None => self.connect().await?,
        };
        let asked = Instant::now();
        let answer = within(self.options.statement_timeout, session::ask_again(&mut idle.connection)).await;
        let (clock, said) = answer.map_err(|broken| {
            if broken.is_of_connection() {
                self.probe_now();
            }
            reading(broken)
        })?;
        let answered = Instant::now();
        match self.judge(said.durability) {
            Ok(durability) => self.health.commits(durability),
            Err((durability, reason)) => {
                self.refuse_weak(durability, reason);
                idle.retire();
                // Another node may be as it should.
                idle = self.connect().await?;
            }
        }
        *own = Some(idle.used());
        let read = ClockRead { clock, asked, answered };
        *self.clock_read.lock() = Some(read);
        Ok(read)
    }

    /// Looks whether a database keeps a promise, on the same connection; `None` while that is gone.
    pub(super) async fn look(&self, promise: &dyn Promise) -> Option<Result<(), Unkept>> {
        let mut own = self.asks.lock().await;
        let mut idle = own.take()?;
        let looked = promise.look(&mut idle.connection, self.options.statement_timeout).await;
        match &looked {
            Err(Unkept::Unasked(broken)) if broken.is_of_connection() => self.probe_now(),
            _ => *own = Some(idle.used()),
        }
        Some(looked)
    }

    /// What commits promise, if that is enough; else also why it is not.
    fn judge(&self, durability: Durability) -> Result<Durability, (Durability, String)> {
        if durability.full || self.options.allow_weak_durability {
            return Ok(durability);
        }
        let reason = format!(
            "what it commits may be lost when the power goes ({}); see allow_weak_durability",
            durability.settings
        );
        Err((durability, reason))
    }

    /// From now on only what is connected anew, and so reads what is promised then, is lent.
    fn refuse_weak(&self, durability: Durability, reason: String) {
        self.health.is_weak(durability, reason);
        self.idle.lock().clear();
        // What was read may rest on commits that are not durable.
        self.next_generation();
    }

    pub(super) async fn connect(&self) -> Result<Idle, DatabaseError> {
        let first = self.node.load(Ordering::Relaxed);
        let count = self.options.nodes.len();
        let mut refusals = Vec::new();
        let (mut reached, mut weak) = (None, None);
        for node in (first..first + count).map(|place| place % count) {
            let reason = match self.connect_to(node).await {
                // It can be read from, if no other node can be written to.
                Ok((idle, said)) if said.is_read_only => {
                    reached.get_or_insert((idle, said));
                    continue;
                }
                Ok(writable) => {
                    reached = Some(writable);
                    break;
                }
                Err(NotUsed::Weak(durability, reason)) => {
                    weak.get_or_insert((durability, reason.clone()));
                    reason
                }
                Err(NotUsed::Other(reason)) => reason,
            };
            refusals.push(format!("{}: {reason}", self.options.nodes[node]));
        }
        let Some((idle, said)) = reached else {
            if let Some((durability, reason)) = weak {
                self.refuse_weak(durability, reason);
            }
            self.health.probe_now.notify_one();
            return Err(DatabaseError::Unavailable(refusals.join("; ")));
        };
        let node = idle.node;
        if self.node.swap(node, Ordering::Relaxed) != node {
            tracing::warn!(node = %self.options.nodes[node], "the database is served by another node now");
        }
        self.health.commits(said.durability);
        if self.start.lock().replace(idle.start) != Some(idle.start) {
            self.next_generation();
        }
        Ok(idle)
    }

    async fn connect_to(&self, node: usize) -> Result<(Idle, NodeStatus), NotUsed> {
        let connect = async {
            let mut connection = self.options.connect_options(&self.options.nodes[node]).connect().await?;
            let said =
                session::set_up(&mut connection, self.options.statement_timeout, self.options.row_lock_wait_s).await?;
            let start = session::server_start(&mut connection).await?;
            Ok::<_, sqlx::Error>((Idle::new(node, start, said.is_of_galera, connection), said))
        };
        let connected = tokio::time::timeout(self.options.connect_timeout, connect).await;
        let connected = connected.map_err(|_| NotUsed::Other("no connection in time".to_owned()))?;
        let (idle, said) = connected.map_err(|error| NotUsed::Other(self.options.explain(node, &error)))?;
        self.was_reached.store(true, Ordering::Relaxed);
        let judged = self.judge(said.durability);
        let durability = judged.map_err(|(durability, reason)| NotUsed::Weak(durability, reason))?;
        Ok((idle, NodeStatus { durability, ..said }))
    }
}

/// A connection in use. Closed when it is dropped; see [`Lease::done`].
pub struct Lease {
    connections: Arc<Connections>,
    idle: Idle,
    /// Held until the connection is back; absent when it is held for good.
    _permit: Option<OwnedSemaphorePermit>,
}

impl Lease {
    /// The connection.
    pub fn connection(&mut self) -> &mut MySqlConnection {
        &mut self.idle.connection
    }

    /// Which start of which server it belongs to.
    pub fn start(&self) -> ServerStart {
        self.idle.start
    }

    /// Whether it leads to a node of a Galera cluster, where another node's commit may take a transaction back between
    /// two of its statements.
    pub fn is_of_galera(&self) -> bool {
        self.idle.is_of_galera
    }

    /// How long a statement may take.
    pub fn limit(&self) -> Duration {
        self.connections.options.statement_timeout
    }

    /// What is to stand before a single statement, without values, that may take
    /// so many times as long as others; and how long that is.
    pub fn with_timeout_factor(&self, times: u32) -> (String, Duration) {
        let limit = self.limit() * times;
        (session::patient(limit), limit)
    }

    /// After statements that leave no transaction open: the next one may have
    /// the connection, unless it broke.
    pub fn done<T>(self, outcome: Result<T, QueryError>) -> Result<T, QueryError> {
        match &outcome {
            Err(broken) if broken.is_of_connection() => self.close(),
            _ => self.give_back(),
        }
        outcome
    }

    /// It broke, and what broke it has likely broken those that wait.
    pub fn close(self) {
        self.connections.probe_now();
    }

    /// It is clean: the next one may have it.
    pub fn give_back(self) {
        let mut waiting = self.connections.idle.lock();
        // Nothing is lent that was made before a promise was broken.
        if !self.connections.health.is_refusing() {
            waiting.push(self.idle.used());
        }
    }

    /// For one that is held for good, before it is used after a while: gives it
    /// back if it leads to the node that is in use, and its server answers.
    pub async fn if_it_lives(self) -> Option<Lease> {
        if self.idle.node != self.connections.node.load(Ordering::Relaxed) {
            self.idle.retire();
            return None;
        }
        let Lease { connections, idle, _permit } = self;
        let idle = connections.unless_it_is_dead(idle).await?;
        Some(Lease { connections, idle, _permit })
    }

    /// The same where it has been used for the last time.
    pub fn used(self) -> Lease {
        Lease { idle: self.idle.used(), ..self }
    }

    /// It lies idle and has reached its greatest age: the next one is to be new.
    pub fn is_worn_out(&self) -> bool {
        self.idle.has_rested() && self.idle.is_old()
    }
}

/// Waits for an answer from the database, but not for ever.
pub async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, sqlx::Error>>) -> Result<T, QueryError> {
    match tokio::time::timeout(limit, work).await {
        Ok(done) => done.map_err(QueryError::Sql),
        Err(_) => Err(QueryError::TooSlow(limit)),
    }
}

#[cfg(test)]
mod tests;
