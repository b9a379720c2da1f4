//! Sealing: closing a table is two round trips, its manifest is one.

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::manifest::Manifest;
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::within;
use sqlx::mysql::MySqlRow;

use super::store::MysqlStore;
use super::transaction::execute;
use crate::day_tables::Found;
use crate::exported;
use crate::failure::{committing, reading};
use crate::manifests::{ManifestStatements, closing, date_of_dated, manifest, manifest_row, outline, sealed_table};
use crate::place::{DayTableStore as _, has_been_exported};
use crate::{Closed, ManifestRow, Outline, Seal, Sealing, StoreError, StoredManifest};

#[async_trait]
impl Sealing for MysqlStore {
    async fn is_quiet(&self, table: TableRef) -> Result<bool, StoreError> {
        if !self.day_tables().is_sorted(table) {
            return Ok(false);
        }
        let statements = self.at(table)?;
        let row = self.one(sqlx::query(&statements.plain.pending)).await?;
        row.map_or(Ok(false), |row| Ok(row.int(0)? == 0))
    }

    async fn close(&self, table: TableRef) -> Result<Option<Closed>, StoreError> {
        let (y, date) = (table.table, date_of_dated(table)?);
        let manifests = self.layout.manifests(table.database);
        let close = format!("INSERT /* close */ INTO {manifests} (y, date) VALUES ({y}, {date})");
        let mut lease = self.connections.lease().await?;
        let done = execute(&mut lease, close).await;
        match lease.done(done) {
            Ok(_) => {}
            // It was closed before, by this process or another.
            Err(broken) if broken.is_duplicate() => {}
            Err(broken) => return Err(committing(broken)),
        }
        match self.found_closing(table).await? {
            Some(found) => Ok(found),
            None => Err(StoreError::Locked("a closed table was opened again".to_owned())),
        }
    }

    async fn closing(&self, table: TableRef) -> Result<Option<Closed>, StoreError> {
        Ok(self.found_closing(table).await?.flatten())
    }

    async fn reopen(&self, closed: Closed) -> Result<(), StoreError> {
        let date = date_of_dated(closed.table)?;
        let sql = self.manifest_statements(closed.table.database).reopen(closed, date);
        let mut lease = self.connections.lease().await?;
        let done = execute(&mut lease, sql).await;
        lease.done(done).map_err(committing).map(|_| ())
    }

    async fn seal(&self, closed: Closed, manifest: &Manifest) -> Result<Seal, StoreError> {
        let sql = self.manifest_statements(closed.table.database).seal(closed, manifest);
        let mut lease = self.connections.lease().await?;
        let done = execute(&mut lease, sql).await;
        match lease.done(done) {
            Ok(0) => Ok(Seal::Fenced),
            Ok(_) => {
                self.day_tables().learn(Found { sealed: vec![closed.table], ..Found::default() });
                Ok(Seal::Done)
            }
            Err(broken) if broken.is_duplicate() => Ok(Seal::Fenced),
            Err(broken) => Err(committing(broken)),
        }
    }

    async fn outline(&self, table: TableRef) -> Result<Option<Outline>, StoreError> {
        if self.day_tables().is_exported(table) {
            return exported::outline(self, table).await.map(Some);
        }
        let statements = self.at(table)?;
        let mut lease = self.connections.lease().await?;
        let query = sqlx::query(&statements.plain.outline);
        let asked = within(lease.limit(), query.fetch_one(lease.connection())).await;
        match lease.done(asked) {
            Ok(row) => outline(&row).map(Some),
            Err(_) if has_been_exported(self, table).await => exported::outline(self, table).await.map(Some),
            Err(broken) if broken.is_missing() => Ok(None),
            Err(broken) => Err(reading(broken)),
        }
    }

    async fn manifests(&self, database: u8, after: u64, limit: u32) -> Result<Vec<ManifestRow>, StoreError> {
        let statements = self.manifest_statements(database);
        self.all(sqlx::query(&statements.page).bind(after).bind(limit), |row| manifest_row(database, row)).await
    }

    async fn last_manifest(&self, database: u8) -> Result<Option<StoredManifest>, StoreError> {
        let statements = self.manifest_statements(database);
        let row = self.one(sqlx::query(&statements.last)).await?;
        row.map(|row| manifest(database, &row)).transpose()
    }
}

impl MysqlStore {
    pub(super) fn manifest_statements(&self, database: u8) -> ManifestStatements {
        ManifestStatements::new(&self.layout.manifests(database), &self.layout.exported(database))
    }

    /// The closing of a table, which is `None` where it is sealed.
    pub(super) async fn found_closing(&self, table: TableRef) -> Result<Option<Option<Closed>>, StoreError> {
        let sql = self.manifest_statements(table.database).closing(table.table, date_of_dated(table)?);
        self.one(sqlx::query(&sql)).await?.map(|row| closing(table, &row)).transpose()
    }

    /// Reads which tables of a database are sealed, and which are exported.
    pub(super) async fn find_sealed(&self, database: u8, found: &mut Found) -> Result<(), StoreError> {
        let statements = self.manifest_statements(database);
        let place = |row: &MySqlRow| Ok(sealed_table(database, row));
        found.sealed.extend(self.all(sqlx::query(&statements.sealed), place).await?.into_iter().flatten());
        found.exported.extend(self.all(sqlx::query(&statements.exported), place).await?.into_iter().flatten());
        Ok(())
    }

    /// Reads whether a dated table is exported.
    pub(super) async fn find_exported(&self, table: TableRef, found: &mut Found) -> Result<(), StoreError> {
        let sql = self.manifest_statements(table.database).exported_place(table.table, date_of_dated(table)?);
        let row = self.one(sqlx::query(&sql)).await?;
        found.exported.extend(row.and_then(|row| sealed_table(table.database, &row)));
        Ok(())
    }
}
