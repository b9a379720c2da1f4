//! Exporting: the note is one statement, and so is the drop of both tables.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::limits::RENAME_WAIT_S_MAX;
use hongbao_core::manifest::Manifest;

use super::ddl;
use super::store::MysqlStore;
use super::transaction::execute;
use crate::day_tables::Found;
use crate::exported::not_exported;
use crate::failure::{committing, reading};
use crate::manifests::{date_of_dated, exported, manifest};
use crate::place::{self, DayTableStore as _};
use crate::{Archive, ArchivedFile, Exported, Exporting, StoreError, StoredManifest};

#[async_trait]
impl Exporting for MysqlStore {
    fn archive(&self) -> Option<Arc<dyn Archive>> {
        self.day_tables().exported_reads().archive()
    }

    fn sealed_tables(&self) -> Vec<TableRef> {
        self.day_tables().sealed()
    }

    fn exported_tables(&self) -> Vec<TableRef> {
        self.day_tables().exported()
    }

    fn is_exported(&self, table: TableRef) -> bool {
        self.day_tables().is_exported(table)
    }

    async fn is_in_database(&self, table: TableRef) -> Result<bool, StoreError> {
        place::is_in_database(self, table).await
    }

    async fn manifest(&self, table: TableRef) -> Result<Option<StoredManifest>, StoreError> {
        let sql = self.manifest_statements(table.database).of_table(table.table, date_of_dated(table)?);
        self.one(sqlx::query(&sql)).await?.map(|row| manifest(table.database, &row)).transpose()
    }

    async fn exported(&self, table: TableRef) -> Result<Option<Exported>, StoreError> {
        let sql = self.manifest_statements(table.database).exported_as(table.table, date_of_dated(table)?);
        self.one(sqlx::query(&sql)).await?.map(|row| exported(&row)).transpose()
    }

    async fn note_exported(&self, manifest: &Manifest, file: &ArchivedFile) -> Result<bool, StoreError> {
        let table = manifest.table_ref();
        let sql = self.manifest_statements(table.database).note_exported(manifest, file);
        let mut lease = self.connections.lease().await?;
        let done = execute(&mut lease, sql).await;
        match lease.done(done) {
            Ok(0) => Ok(false),
            Ok(_) => {
                self.day_tables().learn(Found { exported: vec![table], ..Found::default() });
                Ok(true)
            }
            Err(broken) if broken.is_duplicate() => Ok(false),
            Err(broken) => Err(committing(broken)),
        }
    }

    /// One statement waits for the readers of both tables before it drops either, so that one which gives up leaves
    /// both. The table of the envelopes goes last: by it the next process finds what a server that died has left.
    async fn drop_exported(&self, table: TableRef) -> Result<bool, StoreError> {
        if self.exported(table).await?.is_none() {
            return Err(not_exported());
        }
        let names = self.layout.names(table);
        // Its session's setting is of no use to others, so it is not given back.
        let mut lease = self.connections.lease().await?;
        let wait = format!("SET SESSION lock_wait_timeout = {RENAME_WAIT_S_MAX}");
        ddl::execute(&mut lease, &wait).await.map_err(reading)?;
        let drop = format!("DROP /* exported */ TABLE IF EXISTS {}, {}", names.entry, names.envelope);
        match ddl::execute(&mut lease, &drop).await {
            Ok(()) => {
                self.day_tables().dropped(table);
                Ok(true)
            }
            Err(broken) if broken.is_locked() => Ok(false),
            Err(broken) => Err(committing(broken)),
        }
    }
}
