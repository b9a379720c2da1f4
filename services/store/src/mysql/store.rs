//! The databases of one SET, and what they are as a whole.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use async_trait::async_trait;
use hongbao_core::fence::Fence;
use hongbao_core::id::TableRef;
use hongbao_core::{Date, EnvelopeId, Timestamp};
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_database::returns::Returning;
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};

use super::fence;
use super::layout::Layout;
use super::lease::MysqlLeases;
use super::migrate;
use super::promise::Complete;
use super::rotation_lease::RotationLease;
use super::statements::{AllStatements, Statements};
use super::writer::{Writer, Writers};
use crate::day_tables::DayTables;
use crate::exported::{ExportedReads, ExportedSource};
use crate::failure::reading;
use crate::place::DayTableStore;
use crate::statements::day_tables;
use crate::{Archive, Exported, Exporting as _, LeftStore, Store, StoreError};

/// The databases of one SET.
pub struct MysqlStore {
    pub(super) layout: Layout,
    pub(super) connections: Arc<Connections>,
    writers: Writers,
    statements: AllStatements,
    days: DayTables,
    /// The generation of the connections in which they were looked at.
    pub(super) looked_in: AtomicU64,
    pub(super) rotation: RotationLease,
    /// SETs that have left, whose envelopes are read here.
    left: Vec<Arc<LeftStore>>,
}

impl MysqlStore {
    /// Connects to the databases of a SET, which [`migrate`] has made.
    ///
    /// # Errors
    /// [`StoreError::Unavailable`] for the operator: not reached, not
    /// durable, not migrated, or of another layout.
    pub async fn open(options: MysqlOptions, layout: Layout) -> Result<MysqlStore, StoreError> {
        let connections = Connections::open(options).await?;
        migrate::check(&connections, &layout).await?;
        let databases = layout.databases();
        let first = layout.first_database();
        let first = first.ok_or_else(|| StoreError::Unavailable("this SET has no slot".to_owned()))?;
        connections.barrier_lies_in(&first);
        // Opens the barrier's connection, so that the first reading is not void. A database that can only be read
        // refuses the commit, and says so again when it is needed.
        let _ = connections.barrier(connections.generation()).await;
        let numbers: Vec<u8> = databases.iter().map(|(number, _)| *number).collect();
        let writers = Writers::open(&connections, &numbers).await?;
        connections.watch(Complete::all(&layout, &writers));
        let statements = AllStatements::new(&layout);
        let rotation = RotationLease::new(MysqlLeases::new(&connections, &first))?;
        let days = DayTables::default();
        let (looked_in, left) = (AtomicU64::new(0), Vec::new());
        let store = MysqlStore { layout, connections, writers, statements, days, looked_in, rotation, left };
        store.look_at_all().await?;
        Ok(store)
    }

    /// Exported tables are read in this archive, and go to it.
    pub fn archive_in(&self, archive: Arc<dyn Archive>) {
        self.days.exported_reads().read_in(archive);
    }

    /// Envelopes of SETs that have left are read here, too.
    pub fn answering_for(self, left: Vec<Arc<LeftStore>>) -> MysqlStore {
        MysqlStore { left, ..self }
    }

    /// The SET that has left and had this envelope.
    pub(super) fn left_with(&self, id: EnvelopeId) -> Option<&LeftStore> {
        self.left.iter().find(|left| left.held(id)).map(Arc::as_ref)
    }

    /// The leases of this SET.
    pub fn leases(&self) -> MysqlLeases {
        let database = self.layout.first_database().expect("a SET that was opened has a slot");
        MysqlLeases::new(&self.connections, &database)
    }

    /// The latest version of the topology to which a fence of the SET has come.
    ///
    /// # Errors
    /// When they cannot be read.
    pub async fn fence_version(&self) -> Result<u64, StoreError> {
        let of_database = |(_, name)| format!("SELECT narrowed, widened FROM {name}.slot_fence_version");
        let all: Vec<String> = self.layout.databases().into_iter().map(of_database).collect();
        let text = format!("SELECT max(GREATEST(narrowed, widened)) FROM ({}) v", all.join(" UNION ALL "));
        let row = self.one(sqlx::query(&text)).await?;
        Ok(row.map(|row| row.int(0)).transpose()?.unwrap_or(0).unsigned_abs())
    }

    pub(super) fn at(&self, table: TableRef) -> Result<Arc<Statements>, StoreError> {
        self.statements.of(table).ok_or_else(|| StoreError::Unavailable(format!("this SET has no table {table:?}")))
    }

    pub(super) fn writer(&self, database: u8) -> Result<&Writer, StoreError> {
        let writer = self.writers.of(database).map(Arc::as_ref);
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

impl ExportedSource for MysqlStore {
    fn exported_reads(&self) -> &ExportedReads {
        self.days.exported_reads()
    }

    async fn exported_as(&self, table: TableRef) -> Result<Option<Exported>, StoreError> {
        self.exported(table).await
    }
}

impl DayTableStore for MysqlStore {
    fn day_tables(&self) -> &DayTables {
        &self.days
    }

    fn day_table_of(&self, id: EnvelopeId) -> (TableRef, Date) {
        self.layout.day_table_of(id)
    }

    async fn look_at(&self, day_table: TableRef, date: Date) -> Result<(), StoreError> {
        self.look_for(day_table, day_table.dated(date)).await
    }
}

#[async_trait]
impl Store for MysqlStore {
    fn table_of(&self, id: EnvelopeId) -> TableRef {
        self.table_for(id)
    }

    fn may_lie_in(&self, table: TableRef, id: EnvelopeId) -> bool {
        self.may_hold(table, id)
    }

    fn tables(&self) -> Vec<TableRef> {
        let databases = self.layout.databases().into_iter().map(|(number, _)| number);
        let mut tables = day_tables(databases, self.layout.tables());
        tables.extend(self.days.dated());
        tables
    }

    fn unsealed_tables(&self) -> Vec<TableRef> {
        let databases = self.layout.databases().into_iter().map(|(number, _)| number);
        let mut tables = day_tables(databases, self.layout.tables());
        tables.extend(self.days.unsealed());
        tables
    }

    fn durability(&self) -> Durability {
        self.connections.durability()
    }

    fn refusal(&self) -> Option<String> {
        self.connections.health().refusal()
    }

    fn is_away(&self) -> bool {
        self.connections.health().is_away()
    }

    fn returns(&self) -> Returning {
        self.connections.health().returns.awaited()
    }

    fn epoch(&self, database: u8) -> u64 {
        self.writers.of(database).map_or(0, |writer| writer.epoch())
    }

    fn writer_of(&self, database: u8) -> Option<u8> {
        self.writers.number_of(database)
    }

    async fn fence(&self) -> Result<Fence, StoreError> {
        let mut lease = self.connections.lease().await?;
        let read = fence::read(&mut lease, &self.layout).await;
        let (rows, read_at) = lease.done(read).map_err(reading)??;
        let left = self.left.iter().map(|left| left.held_slots().clone()).collect();
        Ok(Fence::new(&self.layout.held, &rows, read_at).with_left(left))
    }

    async fn clock(&self) -> Result<Option<RangeInclusive<Timestamp>>, StoreError> {
        Ok(Some(self.connections.clock().await?))
    }
}
