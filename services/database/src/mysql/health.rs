//! Whether a database keeps what its commits promise, as it was read last.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use hongbao_core::limits::RECONNECT_MS;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::returns::Returns;
use crate::{DatabaseError, Durability};

/// What a refusal is about that concerns the server as a whole.
const SERVER: &str = "";

/// What is known of a database server.
pub struct HealthState {
    durability: Mutex<Durability>,
    /// Why nothing is lent: of the server, and of databases by their names.
    refusals: Mutex<BTreeMap<String, String>>,
    is_refusing: AtomicBool,
    /// It did not answer when it was asked last.
    is_away: AtomicBool,
    /// When it was last tried whether the server has become durable.
    tried_at: Mutex<Option<Instant>>,
    /// A broken connection wakes the watcher.
    pub probe_now: Notify,
    /// How often it came back after it did not answer.
    pub returns: Returns,
}

impl HealthState {
    /// Nothing is known yet.
    pub fn new(returns: Returns) -> HealthState {
        HealthState {
            durability: Mutex::new(Durability { settings: "not reached yet".to_owned(), full: false }),
            refusals: Mutex::default(),
            is_refusing: AtomicBool::new(false),
            is_away: AtomicBool::new(false),
            tried_at: Mutex::new(None),
            probe_now: Notify::new(),
            returns,
        }
    }

    /// The durability in force; not full while commits are refused.
    pub fn durability(&self) -> Durability {
        let read = self.durability.lock().clone();
        let refusals = self.refusals.lock();
        let of_databases = refusals.iter().filter(|(what, _)| *what != SERVER);
        let reason = of_databases.fold(read.settings, |all, (_, reason)| format!("{all}; {reason}"));
        Durability { settings: reason, full: read.full && !self.is_refusing() }
    }

    /// Why commits are refused, if they are.
    pub fn refusal(&self) -> Option<String> {
        if !self.is_refusing() {
            return None;
        }
        let reason: Vec<String> = self.refusals.lock().values().cloned().collect();
        (!reason.is_empty()).then(|| reason.join("; "))
    }

    /// Whether commits are refused.
    pub fn is_refusing(&self) -> bool {
        self.is_refusing.load(Ordering::Acquire)
    }

    /// Whether the server did not answer when it was asked last, which may be a moment's matter.
    pub fn is_away(&self) -> bool {
        self.is_away.load(Ordering::Relaxed)
    }

    /// The server has answered, or not; gives whether it was away before.
    pub fn set_away(&self, is_away: bool) -> bool {
        self.is_away.swap(is_away, Ordering::Relaxed)
    }

    /// An error while commits are refused.
    pub fn check(&self) -> Result<(), DatabaseError> {
        self.refusal().map_or(Ok(()), |reason| Err(DatabaseError::Unavailable(reason)))
    }

    /// The same for who is going to connect anew, and so finds out whether the
    /// server is durable again: one may try now and then.
    pub fn check_unless_it_is_to_be_tried(&self) -> Result<(), DatabaseError> {
        let is_of_server_alone = self.is_refusing() && self.refusals.lock().keys().all(|what| what == SERVER);
        if is_of_server_alone {
            let mut tried_at = self.tried_at.lock();
            if tried_at.is_none_or(|at| at.elapsed() >= Duration::from_millis(RECONNECT_MS)) {
                *tried_at = Some(Instant::now());
                return Ok(());
            }
        }
        self.check()
    }

    /// The server says this about its durability, which is full or allowed to be less.
    pub fn commits(&self, durability: Durability) {
        let before = std::mem::replace(&mut *self.durability.lock(), durability.clone());
        if before.full && !durability.full {
            tracing::error!(durability = durability.settings, "commits may be lost with the power now");
        }
        self.keeps(SERVER);
    }

    /// The server is less durable than is allowed.
    pub fn is_weak(&self, durability: Durability, reason: String) {
        *self.durability.lock() = durability;
        self.breaks(SERVER, reason);
    }

    /// A database does not keep a promise: commits are refused until it does.
    pub fn breaks(&self, database: &str, reason: String) {
        let mut refusals = self.refusals.lock();
        if refusals.get(database) != Some(&reason) {
            tracing::error!(
                database,
                error = reason,
                "a database breaks a promise: nothing is committed until it keeps it again"
            );
            refusals.insert(database.to_owned(), reason);
        }
        self.is_refusing.store(true, Ordering::Release);
    }

    /// A database keeps its promises, as far as it has been looked at.
    pub fn keeps(&self, database: &str) {
        if !self.is_refusing() {
            return;
        }
        let mut refusals = self.refusals.lock();
        if let Some(reason) = refusals.remove(database) {
            tracing::warn!(database, error = reason, "a database keeps its promise again");
        }
        if refusals.is_empty() {
            self.is_refusing.store(false, Ordering::Release);
        }
    }

    /// Whether a database breaks a promise.
    pub fn is_broken(&self, database: &str) -> bool {
        self.is_refusing() && self.refusals.lock().contains_key(database)
    }
}
