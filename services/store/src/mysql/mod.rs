//! The store over the MySQL protocol: MariaDB, MySQL 8, and what speaks like
//! them: Galera, TiDB.
//!
//! One [`MysqlStore`] is the databases of one SET. They are called `db_00` and so
//! on and lie in one database server, or in a cluster of servers that looks like
//! one. Each has one connection of its own on which openings are appended, so
//! that a lane's commits queue behind nothing; everything else shares some more.

mod lease;
mod migrate;
mod promise;
mod read;
mod rows;
mod statements;
mod write;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Opened, Stage, Timestamp, UserId};
use hongbao_database::mysql::connection::{Connections, Lease, MysqlOptions, ServerStart};
use hongbao_database::returns::Returning;
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};
use tokio::sync::Mutex;

use self::promise::Complete;
use self::statements::{AllStatements, Statements};
use crate::{Append, Settlement, Store, StoreError, TailEntry, day_tables};

pub use self::lease::MysqlLeases;
pub use self::migrate::{Layout, migrate};

/// The databases of one SET.
pub struct MysqlStore {
    layout: Layout,
    connections: Arc<Connections>,
    writers: HashMap<u8, Arc<Writer>>,
    statements: AllStatements,
}

/// What appends to one database.
struct Writer {
    /// Absent after it broke, until somebody appends.
    connection: Mutex<Option<Lease>>,
    /// The start of the server that it belongs to, or belonged to.
    start: parking_lot::Mutex<ServerStart>,
    epoch: AtomicU64,
}

impl Writer {
    fn next_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::AcqRel);
    }

    /// Sees to it that nobody forgets a connection on which nothing is appended.
    /// One that is dead, or old, is left to the next append, which is fenced.
    async fn keep(&self) {
        let Ok(mut own) = self.connection.try_lock() else { return };
        *own = match own.take() {
            Some(lease) if !lease.is_worn_out() => lease.if_it_lives().await,
            _ => None,
        };
    }
}

impl MysqlStore {
    /// Connects to the databases of a SET, which [`migrate`] has made.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] in words for an operator: not reached, not
    /// durable, not migrated, or of another layout.
    pub async fn open(options: MysqlOptions, layout: Layout) -> Result<MysqlStore, StoreError> {
        let connections = Connections::open(options).await?;
        migrate::check(&connections, &layout).await?;
        let databases = layout.databases();
        let (_, first) = databases.first().ok_or_else(|| StoreError::Unavailable("this SET has no slot".to_owned()))?;
        connections.barrier_lies_in(first);
        // Opens the barrier's connection, so that the first reading is not void. A database that can only be read
        // refuses the commit, and says so again to whoever needs it.
        let _ = connections.barrier(connections.generation()).await;
        let mut writers = HashMap::new();
        for (number, _) in &databases {
            let lease = connections.dedicated().await?;
            let start = parking_lot::Mutex::new(lease.start());
            let connection = Mutex::new(Some(lease));
            writers.insert(*number, Arc::new(Writer { connection, start, epoch: AtomicU64::new(0) }));
        }
        connections.watch(Complete::all(&layout, &writers));
        let statements = AllStatements::new(&databases, layout.fold.tables());
        Ok(MysqlStore { layout, connections, writers, statements })
    }

    fn place(&self, id: EnvelopeId) -> TableRef {
        self.layout.fold.table_of(id.placement(self.layout.zone_offset_s))
    }

    fn at(&self, table: TableRef) -> Result<&Statements, StoreError> {
        self.statements.of(table).ok_or_else(|| StoreError::Unavailable(format!("this SET has no table {table:?}")))
    }

    fn writer(&self, database: u8) -> Result<&Writer, StoreError> {
        let writer = self.writers.get(&database).map(Arc::as_ref);
        writer.ok_or_else(|| StoreError::Unavailable(format!("this SET has no database {database:02}")))
    }
}

#[async_trait]
impl Barrier for MysqlStore {
    fn generations(&self) -> Generations {
        Generations(vec![self.connections.generation()])
    }

    async fn barrier(&self, since: &Generations) -> Result<bool, DatabaseError> {
        match since.0[..] {
            [since] => self.connections.barrier(since).await,
            _ => Ok(false),
        }
    }
}

#[async_trait]
impl Store for MysqlStore {
    fn table_of(&self, id: EnvelopeId) -> TableRef {
        self.place(id)
    }

    fn tables(&self) -> Vec<TableRef> {
        let databases = self.layout.databases().into_iter().map(|(number, _)| number);
        day_tables(databases, self.layout.fold.tables())
    }

    fn durability(&self) -> Durability {
        self.connections.durability()
    }

    fn refusal(&self) -> Option<String> {
        self.connections.health().refusal()
    }

    fn returns(&self) -> Returning {
        self.connections.health().returns.awaited()
    }

    fn epoch(&self, database: u8) -> u64 {
        self.writers.get(&database).map_or(0, |writer| writer.epoch.load(Ordering::Acquire))
    }

    async fn ping(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.connections.ping().await?)
    }

    async fn create(&self, envelopes: &[Envelope]) -> Result<(), StoreError> {
        write::create(self, envelopes).await
    }

    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError> {
        read::load(self, id).await
    }

    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError> {
        read::load_for(self, id, user).await
    }

    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError> {
        read::entries(self, id, after_seq, limit).await
    }

    async fn append(&self, entries: &[Entry]) -> Result<Append, StoreError> {
        write::append(self, entries).await
    }

    async fn activate(
        &self,
        id: EnvelopeId,
        expires_at: Timestamp,
    ) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
        write::activate(self, id, expires_at).await
    }

    async fn cancel(&self, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
        write::cancel(self, id).await
    }

    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError> {
        read::tail(self, table, position, limit).await
    }

    async fn tail_position(&self, table: TableRef) -> Result<i64, StoreError> {
        read::tail_position(self, table).await
    }

    async fn unsettled(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        read::unsettled(self, table, after, limit).await
    }

    async fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError> {
        write::settle(self, settlements).await
    }

    async fn unpaid(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError> {
        read::unpaid(self, table, created_before, after, limit).await
    }

    async fn cancelled(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<EnvelopeId>, StoreError> {
        read::cancelled(self, table, created_before, after, limit).await
    }

    async fn purge(&self, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError> {
        write::purge(self, table, envelopes).await
    }

    async fn expired(
        &self,
        table: TableRef,
        now: Timestamp,
        after: Option<(Timestamp, EnvelopeId)>,
        limit: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError> {
        read::expired(self, table, now, after, limit).await
    }

    async fn scan(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<(Envelope, u32)>, StoreError> {
        read::scan(self, table, after, limit).await
    }

    async fn scan_entries(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        until: EnvelopeId,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError> {
        read::scan_entries(self, table, after, until, limit).await
    }
}
