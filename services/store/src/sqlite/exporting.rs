//! Exporting: the note is one statement, and the drop one transaction.

use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::manifest::Manifest;
use hongbao_database::sqlite::failure::is_unique_violation;
use sqlx::Executor as _;

use super::query::one;
use super::sealing::{EXPORTED, MANIFESTS, none_without, statements};
use super::store::SqliteStore;
use crate::day_tables::Found;
use crate::exported::not_exported;
use crate::failure::{commit_failed, unavailable};
use crate::manifests::{date_of_dated, exported, manifest};
use crate::place::{self, DayTableStore as _};
use crate::{Archive, ArchivedFile, Exported, Exporting, StoreError, StoredManifest};

#[async_trait]
impl Exporting for SqliteStore {
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
        let sql = statements().of_table(table.table, date_of_dated(table)?);
        let row = none_without(one(self.file_of(table.database)?, sqlx::query(&sql)).await, MANIFESTS)?;
        row.map(|row| manifest(table.database, &row)).transpose()
    }

    async fn exported(&self, table: TableRef) -> Result<Option<Exported>, StoreError> {
        let sql = statements().exported_as(table.table, date_of_dated(table)?);
        let row = none_without(one(self.file_of(table.database)?, sqlx::query(&sql)).await, EXPORTED)?;
        row.map(|row| exported(&row)).transpose()
    }

    async fn note_exported(&self, manifest: &Manifest, file: &ArchivedFile) -> Result<bool, StoreError> {
        let table = manifest.table_ref();
        let (database, _) = self.writable(table)?;
        let mut writer = database.writer().await?;
        let note = statements().note_exported(manifest, file);
        let done = sqlx::query(&note).execute(&mut *writer).await;
        writer.committed()?;
        match done {
            Ok(done) if done.rows_affected() == 0 => Ok(false),
            Ok(_) => {
                self.day_tables().learn(Found { exported: vec![table], ..Found::default() });
                Ok(true)
            }
            Err(error) if is_unique_violation(&error) => Ok(false),
            Err(error) => Err(commit_failed(error)),
        }
    }

    async fn drop_exported(&self, table: TableRef) -> Result<bool, StoreError> {
        if self.exported(table).await?.is_none() {
            return Err(not_exported());
        }
        let (file, _) = self.writable(table)?;
        let TableRef { table: y, span, .. } = table;
        let text = format!("DROP TABLE IF EXISTS entry_{y}_{span}; DROP TABLE IF EXISTS envelope_{y}_{span};");
        let mut transaction = file.begin().await?;
        let dropped = transaction.execute(sqlx::raw_sql(&text)).await;
        match dropped {
            Ok(_) => transaction.commit_tables().await?,
            Err(error) => {
                transaction.rollback().await;
                return Err(unavailable(error));
            }
        }
        self.day_tables().dropped(table);
        Ok(true)
    }
}
