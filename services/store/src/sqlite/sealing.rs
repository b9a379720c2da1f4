//! Sealing: closing a table is one transaction, its manifest one statement.

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::manifest::Manifest;
use hongbao_database::StoredRow as _;
use hongbao_database::sqlite::failure::is_unique_violation;
use hongbao_database::sqlite::file::SqliteFile;
use sqlx::{Executor as _, SqliteConnection};

use super::query::{all, one};
use super::store::SqliteStore;
use crate::day_tables::Found;
use crate::exported;
use crate::failure::{commit_failed, unavailable};
use crate::manifests::{ManifestStatements, closing, date_of_dated, manifest, manifest_row, outline, sealed_table};
use crate::place::{DayTableStore as _, has_been_exported};
use crate::{Closed, ManifestRow, Outline, Seal, Sealing, StoreError, StoredManifest};

const TRIGGERS: &str = include_str!("../../../../sql/sqlite/envelope/sealed.sql");
/// What they say.
pub const SEALED: &str = "the table is sealed";
pub(super) const MANIFESTS: &str = "manifest";
pub(super) const EXPORTED: &str = "exported";

#[async_trait]
impl Sealing for SqliteStore {
    async fn is_quiet(&self, table: TableRef) -> Result<bool, StoreError> {
        if !self.day_tables().is_sorted(table) {
            return Ok(false);
        }
        let (file, statements) = self.at(table)?;
        let row = one(file, sqlx::query(&statements.plain.pending)).await?;
        row.map_or(Ok(false), |row| Ok(row.int(0)? == 0))
    }

    async fn close(&self, table: TableRef) -> Result<Option<Closed>, StoreError> {
        let (file, _) = self.writable(table)?;
        let mut transaction = file.begin().await?;
        match close(&mut transaction, table).await {
            Ok(closed) => {
                transaction.commit_tables().await?;
                Ok(closed)
            }
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }

    async fn closing(&self, table: TableRef) -> Result<Option<Closed>, StoreError> {
        let (file, _) = self.at(table)?;
        let sql = statements().closing(table.table, date_of_dated(table)?);
        let row = none_before(one(file, sqlx::query(&sql)).await)?;
        row.map_or(Ok(None), |row| closing(table, &row))
    }

    async fn reopen(&self, closed: Closed) -> Result<(), StoreError> {
        let (file, _) = self.writable(closed.table)?;
        let mut writer = file.writer().await?;
        let reopen = statements().reopen(closed, date_of_dated(closed.table)?);
        sqlx::query(&reopen).execute(&mut *writer).await.map_err(commit_failed)?;
        Ok(writer.committed()?)
    }

    async fn seal(&self, closed: Closed, manifest: &Manifest) -> Result<Seal, StoreError> {
        let (file, _) = self.writable(closed.table)?;
        let mut writer = file.writer().await?;
        let seal = statements().seal(closed, manifest);
        let done = sqlx::query(&seal).execute(&mut *writer).await;
        writer.committed()?;
        match done {
            Ok(done) if done.rows_affected() == 0 => Ok(Seal::Fenced),
            Ok(_) => {
                self.day_tables().learn(Found { sealed: vec![closed.table], ..Found::default() });
                Ok(Seal::Done)
            }
            Err(error) if is_unique_violation(&error) => Ok(Seal::Fenced),
            Err(error) => Err(commit_failed(error)),
        }
    }

    async fn outline(&self, table: TableRef) -> Result<Option<Outline>, StoreError> {
        if self.day_tables().is_exported(table) {
            return exported::outline(self, table).await.map(Some);
        }
        let (file, statements) = self.at(table)?;
        let row = match one(file, sqlx::query(&statements.plain.outline)).await {
            Err(_) if has_been_exported(self, table).await => return exported::outline(self, table).await.map(Some),
            read => none_without(read, "")?,
        };
        row.map(|row| outline(&row)).transpose()
    }

    async fn manifests(&self, database: u8, after: u64, limit: u32) -> Result<Vec<ManifestRow>, StoreError> {
        let page = statements().page;
        let query = sqlx::query(&page).bind(after as i64).bind(limit);
        none_before(all(self.file_of(database)?, query, |row| manifest_row(database, row)).await)
    }

    async fn last_manifest(&self, database: u8) -> Result<Option<StoredManifest>, StoreError> {
        let last = statements().last;
        let row = none_before(one(self.file_of(database)?, sqlx::query(&last)).await)?;
        row.map(|row| manifest(database, &row)).transpose()
    }
}

impl SqliteStore {
    pub(super) fn file_of(&self, database: u8) -> Result<&SqliteFile, StoreError> {
        let file = self.files.get(usize::from(database)).map(AsRef::as_ref);
        let file = file.ok_or_else(|| StoreError::Unavailable(format!("the fold has no database {database}")))?;
        file.usable()?;
        Ok(file)
    }
}

/// The statements about manifests and exported tables.
pub fn statements() -> ManifestStatements {
    ManifestStatements::new(MANIFESTS, EXPORTED)
}

/// Closes a table, unless it is; `None` if it is sealed.
async fn close(connection: &mut SqliteConnection, table: TableRef) -> Result<Option<Closed>, StoreError> {
    let (y, date) = (table.table, date_of_dated(table)?);
    let of = |name: &str| {
        let table = format!("{name}_{y}_{date}");
        TRIGGERS.replace("{table}", &table).replace("{y}", &y.to_string()).replace("{date}", &date.to_string())
    };
    let text =
        format!("INSERT OR IGNORE INTO {MANIFESTS} (y, date) VALUES ({y}, {date}); {} {}", of("envelope"), of("entry"));
    connection.execute(sqlx::raw_sql(&text)).await.map_err(unavailable)?;
    let closing_of = statements().closing(y, date);
    let row = sqlx::query(&closing_of).fetch_one(connection).await.map_err(unavailable)?;
    closing(table, &row)
}

/// Reads which tables are sealed, and which are exported.
pub async fn find_sealed(connection: &mut SqliteConnection, database: u8, found: &mut Found) -> Result<(), StoreError> {
    let statements = statements();
    let sealed = sqlx::query(&statements.sealed).fetch_all(&mut *connection).await.map_err(unavailable);
    let rows = none_before(sealed)?;
    found.sealed.extend(rows.iter().filter_map(|row| sealed_table(database, row)));
    let exported = sqlx::query(&statements.exported).fetch_all(connection).await.map_err(unavailable);
    let rows = none_without(exported, EXPORTED)?;
    found.exported.extend(rows.iter().filter_map(|row| sealed_table(database, row)));
    Ok(())
}

/// A file that is only read may be of a version that had no manifests.
fn none_before<T: Default>(read: Result<T, StoreError>) -> Result<T, StoreError> {
    none_without(read, MANIFESTS)
}

/// Nothing, where a table whose name begins so is not there.
pub(super) fn none_without<T: Default>(read: Result<T, StoreError>, table: &str) -> Result<T, StoreError> {
    match read {
        Err(StoreError::Unavailable(reason)) if reason.contains(&format!("no such table: {table}")) => Ok(T::default()),
        read => read,
    }
}
