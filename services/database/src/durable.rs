//! What was read, and is still there after a crash.
//!
//! InnoDB shows a commit to readers before its redo log has reached the disk. A
//! crash takes such a commit back, and a process that had read it and then wrote to
//! another database, or answered a client, has acted on something that never was.
//! So between the reading and the acting comes a *barrier*: a commit that begins
//! after the reading, on the same start of the same database server, and changes
//! a row. The redo log is sequential: when that commit is on the disk, so is
//! everything that was visible before it.
//!
//! ```text
//! let reading = Reading::begin(store);          // which start of the server answers from here on
//! let row = store.load(id).await?;              // visible, perhaps not durable
//! let row = reading.end(row).await?;            // Some(Durable(row)): a crash takes nothing of it back
//! ```
//!
//! [`durably`] does all of it, and reads again when the server was started anew
//! in the meantime. Functions that act on what was read take a [`Durable`].

use std::ops::Deref;

use async_trait::async_trait;

use crate::DatabaseError;
use hongbao_core::limits::DURABLE_READ_TRIES_MAX;

/// A value that was read from a database and is durable there: no crash takes it
/// back. A barrier makes one ([`Reading::end`], [`durably`]), or rows that a worker
/// has acted on behind a barrier of its own ([`Reading::end_proven`]).
#[derive(Clone, Debug)]
pub struct Durable<T>(T);

impl<T> Durable<T> {
    /// The value, for what does not act on it any more.
    pub fn into_inner(self) -> T {
        self.0
    }

    /// What follows from the value alone.
    pub fn map<U>(self, follows: impl FnOnce(T) -> U) -> Durable<U> {
        Durable(follows(self.0))
    }
}

impl<T> Deref for Durable<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Which start of which database server answers, for each server of a store or wallet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generations(pub Vec<u64>);

/// A store or wallet whose commits may be visible before they are durable.
#[async_trait]
pub trait Barrier: Send + Sync {
    /// The generations of its database servers now. One changes when a server may
    /// have been started anew, or another node has taken its place.
    fn generations(&self) -> Generations;

    /// Makes durable what was read since its generations were `since`: with a
    /// commit that begins after this call. False when a generation has changed:
    /// what was read may be gone and has to be read again.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] when the server cannot be reached or refuses
    /// the commit, [`DatabaseError::Unknown`] when it does not confirm the commit in
    /// time. Either way it is not known whether what was read is durable.
    async fn barrier(&self, since: &Generations) -> Result<bool, DatabaseError>;
}

/// A reading that is to become durable, from before its first statement.
pub struct Reading<'a> {
    database: &'a dyn Barrier,
    since: Generations,
}

impl<'a> Reading<'a> {
    /// Begins: what is read from here on is covered by [`Reading::end`].
    pub fn begin(database: &'a dyn Barrier) -> Reading<'a> {
        Reading { database, since: database.generations() }
    }

    /// Makes durable what was read since the beginning. `None` when its server was
    /// started anew meanwhile: it has to be read again.
    ///
    /// # Errors
    /// As [`Barrier::barrier`].
    pub async fn end<T>(self, read: T) -> Result<Option<Durable<T>>, DatabaseError> {
        Ok(self.database.barrier(&self.since).await?.then_some(Durable(read)))
    }

    /// For what the rows themselves prove to be durable, because a worker has acted
    /// on all of it behind a barrier of its own: a journal that is credited to its
    /// end, or nothing that was not known before.
    pub fn end_proven<T>(self, read: T) -> Durable<T> {
        Durable(read)
    }
}

/// Reads, and makes durable what was found; where nothing was found, nothing is
/// committed. Read again where the server was started anew meanwhile.
///
/// # Errors
/// Those of the reading and of [`Barrier::barrier`]; [`DatabaseError::Unavailable`]
/// when the server does not stay the same for as long as it takes.
pub async fn durably<T, E: From<DatabaseError>, F: Future<Output = Result<Option<T>, E>>>(
    database: &dyn Barrier,
    mut read: impl FnMut() -> F,
) -> Result<Option<Durable<T>>, E> {
    for _ in 0..DURABLE_READ_TRIES_MAX {
        let reading = Reading::begin(database);
        let Some(found) = read().await? else { return Ok(None) };
        if let Some(durable) = reading.end(found).await? {
            return Ok(Some(durable));
        }
    }
    Err(read_across_a_start().into())
}

/// The error of a reading during which the database server was started anew.
pub fn read_across_a_start() -> DatabaseError {
    DatabaseError::Unavailable(
        "the database was started anew, or replaced by another node, while it was read".to_owned(),
    )
}
