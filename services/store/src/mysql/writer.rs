//! The connections on which openings are appended.
//!
//! The databases of a SET share a few. A transaction costs nearly the same for one row as for ten; where each of many
//! databases had its own, all would be small. On Galera, where a transaction of several statements is
//! slow, each database has its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hongbao_core::id::SLOTS;
use hongbao_core::limits::WRITERS_OF_A_SET_MAX;
use hongbao_database::DatabaseError;
use hongbao_database::mysql::connection::{Connections, Lease, ServerStart};
use tokio::sync::Mutex;

/// What appends to the databases of a SET.
pub struct Writers {
    writers: Vec<Arc<Writer>>,
    /// The writer of each database, by number.
    of_database: [Option<u8>; SLOTS as usize],
}

impl Writers {
    /// Connects the writers of these databases, of which there is at least one.
    pub async fn open(connections: &Arc<Connections>, databases: &[u8]) -> Result<Writers, DatabaseError> {
        let first = connections.dedicated().await?;
        // There several statements are as many round trips.
        let most = if first.is_of_galera() { databases.len() } else { WRITERS_OF_A_SET_MAX };
        let mut writers = vec![Arc::new(Writer::new(first))];
        for _ in 1..databases.len().min(most) {
            writers.push(Arc::new(Writer::new(connections.dedicated().await?)));
        }
        let mut of_database = [None; SLOTS as usize];
        for (place, database) in databases.iter().enumerate() {
            of_database[usize::from(*database)] = Some((place % most) as u8);
        }
        Ok(Writers { writers, of_database })
    }

    /// The number of a database's writer; `None` if it is not one of these databases.
    pub fn number_of(&self, database: u8) -> Option<u8> {
        self.of_database.get(usize::from(database)).copied().flatten()
    }

    /// A database's writer; `None` if it is not one of these databases.
    pub fn of(&self, database: u8) -> Option<&Arc<Writer>> {
        self.writers.get(usize::from(self.number_of(database)?))
    }

    /// The writer that is kept alive when this database is looked at; `None` if another one is looked at for it.
    pub fn kept_with(&self, database: u8) -> Option<&Arc<Writer>> {
        let number = self.number_of(database)?;
        let first = self.of_database.iter().position(|writer| *writer == Some(number));
        self.of(database).filter(|_| first == Some(usize::from(database)))
    }
}

/// What appends to some databases.
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
