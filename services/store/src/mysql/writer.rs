//! The connection on which a lane appends.

use std::sync::atomic::{AtomicU64, Ordering};

use hongbao_database::mysql::connection::{Lease, ServerStart};
use tokio::sync::Mutex;

/// What appends to one database.
pub struct Writer {
    /// Absent after it broke, until the next append.
    pub connection: Mutex<Option<Lease>>,
    /// The start of the server that it belongs to, or belonged to.
    pub start: parking_lot::Mutex<ServerStart>,
    epoch: AtomicU64,
}

impl Writer {
    /// One that appends on this connection.
    pub fn new(lease: Lease) -> Writer {
        let start = parking_lot::Mutex::new(lease.start());
        Writer { start, connection: Mutex::new(Some(lease)), epoch: AtomicU64::new(0) }
    }

    /// How often what was read before became old.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// What was decided before may rest on rows that the database does not have any more.
    pub fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Keeps a connection alive on which nothing is appended.
    /// One that is dead, or old, is left to the next append, which is fenced.
    pub async fn keep(&self) {
        let Ok(mut own) = self.connection.try_lock() else { return };
        *own = match own.take() {
            Some(lease) if !lease.is_worn_out() => lease.if_it_lives().await,
            _ => None,
        };
    }
}
