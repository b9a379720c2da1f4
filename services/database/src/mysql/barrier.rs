//! The barrier of one database server: the small commits that make durable what
//! was read from it. Why, see [`durable`](crate::durable).
//!
//! One task commits for all readers of all databases of the server. It takes the
//! calls that wait and then begins one commit for them; a call that comes while
//! that is under way waits for the next. So a commit covers only readings that
//! had returned before it began, and many readers cost one commit.
//!
//! The task keeps one connection, and asks now and then whether it lives. Its commits
//! speak for a reading only when that connection belongs to the same start of the same
//! server as the reader's, without a gap since the reading began: whenever it was lost,
//! and whenever any connection reaches another start, the generation of the
//! [`Connections`] moves, and what was read before is void. One that is only old is
//! replaced by another to the same start ([`follow`]), and then nothing is.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Weak;
use std::time::Duration;

use hongbao_core::limits::{BARRIER_WAITING_MAX, DEADLOCK_TRIES_MAX, PROMISE_ROUND, PROMISES_READ_MS};
use sqlx::Executor as _;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::barrier_queue::PendingRead;
use super::connection::{Connections, within};
use super::failure::{QueryError, committing};
use super::idle::Idle;
use crate::DatabaseError;

/// Rows of the table. Each process changes one, so that those of a cluster seldom meet.
const PLACES: u64 = 64;
/// How often a connection on which nothing is committed is asked whether it lives.
const KEPT_ALIVE_EVERY: Duration = Duration::from_millis(PROMISES_READ_MS * PROMISE_ROUND as u64);

impl Connections {
    /// The barrier's commits go to the table `barrier` of this database, unless another was named before.
    pub fn barrier_lies_in(&self, database: &str) {
        self.barrier.database.get_or_init(|| database.to_owned());
    }

    /// Makes durable what was read over these connections since the generation
    /// was `since`. False when the generation has changed. A caller that goes away
    /// stops nothing. See [`Barrier`](crate::durable::Barrier).
    ///
    /// # Errors
    /// See there.
    pub async fn barrier(&self, since: u64) -> Result<bool, DatabaseError> {
        let database = self.barrier.database.get();
        let database = database.ok_or_else(|| unavailable("no table was named for the barrier"))?;
        let calls = self.barrier.calls.get_or_init(|| start(self.me.clone(), database));
        let (answer, outcome) = oneshot::channel();
        calls
            .try_send(PendingRead { since, answer })
            .map_err(|_| unavailable("too many readings wait for the barrier"))?;
        outcome.await.unwrap_or_else(|_| Err(unavailable("the barrier's task has ended")))
    }
}

fn start(connections: Weak<Connections>, database: &str) -> mpsc::Sender<PendingRead> {
    let (calls, waiting) = mpsc::channel(BARRIER_WAITING_MAX);
    // Not the process id: in containers all have the same.
    let place = RandomState::new().build_hasher().finish() % PLACES;
    let sql = format!(
        "INSERT /* barrier */ INTO {database}.barrier (place, commits) VALUES ({place}, 1) \
         ON DUPLICATE KEY UPDATE commits = commits + 1"
    );
    tokio::spawn(serve(connections, sql, waiting));
    calls
}

async fn serve(connections: Weak<Connections>, sql: String, mut waiting: mpsc::Receiver<PendingRead>) {
    let mut own = None;
    let mut calls = Vec::new();
    loop {
        let Ok(received) = timeout(KEPT_ALIVE_EVERY, waiting.recv_many(&mut calls, BARRIER_WAITING_MAX)).await else {
            keep_alive(&mut own).await;
            continue;
        };
        if received == 0 {
            return;
        }
        let Some(connections) = connections.upgrade() else { return };
        let committed = commit(&connections, &mut own, &sql).await;
        for PendingRead { since, answer } in calls.drain(..) {
            // The reader may have gone away.
            let _ = answer.send(match &committed {
                Ok(generation) => Ok(*generation == Some(since)),
                Err(error) => Err(error.clone()),
            });
        }
    }
}

/// What reads for long, such as an audit, rests on this connection, and a server or a
/// firewall closes what lies idle.
async fn keep_alive(own: &mut Option<Idle>) {
    if let Some(idle) = own.take() {
        *own = idle.if_it_lives().await;
    }
}

/// Commits a change; gives the generation for which it speaks, `None` if for none.
async fn commit(connections: &Connections, own: &mut Option<Idle>, sql: &str) -> Result<Option<u64>, DatabaseError> {
    // What a server commits that breaks its promise is not durable: only a new connection, which reads what is
    // promised now, may try.
    if connections.health().is_refusing() {
        *own = None;
        connections.health().check_unless_it_is_to_be_tried()?;
    }
    // Out of its place: it goes back when its commit was confirmed.
    let kept = match own.take().filter(|idle| connections.is_current(idle)) {
        Some(idle) if idle.is_worn() => follow(connections, idle).await?,
        Some(idle) => idle.if_it_lives().await,
        None => None,
    };
    let mut idle = match kept {
        Some(idle) => idle,
        None => {
            let idle = connections.connect().await?;
            connections.next_generation();
            idle
        }
    };
    let generation = connections.generation();
    let mut tries = 1;
    loop {
        match within(connections.statement_timeout(), idle.connection.execute(sqlx::raw_sql(sql))).await {
            Ok(_) => break,
            Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => tries += 1,
            // Its server may have been started anew: reading again shows it.
            Err(QueryError::Sql(error)) if error.as_database_error().is_none() => {
                connections.probe_now();
                connections.next_generation();
                return Ok(None);
            }
            Err(broken) if broken.is_of_connection() => {
                connections.probe_now();
                connections.next_generation();
                return Err(DatabaseError::Unknown(format!("what was read is not known to be durable: {broken}")));
            }
            Err(broken) => {
                *own = Some(idle.used());
                return Err(committing(broken));
            }
        }
    }
    let is_same = connections.is_current(&idle) && connections.generation() == generation;
    *own = Some(idle.used());
    Ok(is_same.then_some(generation))
}

/// A new connection in the place of one that lay idle for long or is old. If both
/// belong to the same start of the server, and the old one was used a moment ago or
/// still answers, nothing that was read is void.
async fn follow(connections: &Connections, old: Idle) -> Result<Option<Idle>, DatabaseError> {
    let new = connections.connect().await?;
    let old = if new.start == old.start { old.if_it_lives().await } else { None };
    match old {
        Some(old) => old.retire(),
        None => connections.next_generation(),
    }
    Ok(Some(new))
}

fn unavailable(reason: &str) -> DatabaseError {
    DatabaseError::Unavailable(reason.to_owned())
}
