//! Statements that only read. Each sees one moment.

use hongbao_database::sqlite::file::SqliteFile;
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Sqlite, query::Query};

use crate::StoreError;
use crate::failure::unavailable;

/// The row that a statement finds.
pub async fn one<'a>(
    file: &SqliteFile,
    query: Query<'a, Sqlite, SqliteArguments<'a>>,
) -> Result<Option<SqliteRow>, StoreError> {
    query.fetch_optional(file.readers()).await.map_err(unavailable)
}

/// What the rows that a statement finds stand for.
pub async fn all<'a, T>(
    file: &SqliteFile,
    query: Query<'a, Sqlite, SqliteArguments<'a>>,
    parse: impl Fn(&SqliteRow) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let rows = query.fetch_all(file.readers()).await.map_err(unavailable)?;
    rows.iter().map(parse).collect()
}
