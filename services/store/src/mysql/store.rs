//! The databases of one SET, and what they are as a whole.

use std::collections::HashMap;
use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_database::returns::Returning;
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};

use super::migrate::{self, Layout};
use super::promise::Complete;
use super::statements::{AllStatements, Statements};
use super::writer::Writer;
use crate::statements::day_tables;
use crate::{Store, StoreError};

/// The databases of one SET.
pub struct MysqlStore {
    pub(super) layout: Layout,
    pub(super) connections: Arc<Connections>,
    writers: HashMap<u8, Arc<Writer>>,
    statements: AllStatements,
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
        let (_, first) = databases.first().ok_or_else(|| StoreError::Unavailable("this SET has no slot".to_owned()))?;
        connections.barrier_lies_in(first);
        // Opens the barrier's connection, so that the first reading is not void. A database that can only be read
        // refuses the commit, and says so again when it is needed.
        let _ = connections.barrier(connections.generation()).await;
        let mut writers = HashMap::new();
        for (number, _) in &databases {
            let lease = connections.dedicated().await?;
            writers.insert(*number, Arc::new(Writer::new(lease)));
        }
        connections.watch(Complete::all(&layout, &writers));
        let statements = AllStatements::new(&databases, layout.fold.tables());
        Ok(MysqlStore { layout, connections, writers, statements })
    }

    pub(super) fn place(&self, id: EnvelopeId) -> TableRef {
        self.layout.fold.table_of(id.placement(self.layout.zone_offset_s))
    }

    pub(super) fn at(&self, table: TableRef) -> Result<&Statements, StoreError> {
        self.statements.of(table).ok_or_else(|| StoreError::Unavailable(format!("this SET has no table {table:?}")))
    }

    pub(super) fn writer(&self, database: u8) -> Result<&Writer, StoreError> {
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

    fn is_away(&self) -> bool {
        self.connections.health().is_away()
    }

    fn returns(&self) -> Returning {
        self.connections.health().returns.awaited()
    }

    fn epoch(&self, database: u8) -> u64 {
        self.writers.get(&database).map_or(0, |writer| writer.epoch())
    }

    async fn ping(&self) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.connections.ping().await?)
    }
}
