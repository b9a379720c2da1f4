//! Statements that only read. Each sees one moment.

use hongbao_core::EnvelopeId;
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
    rows_of(file, query).await?.iter().map(parse).collect()
}

/// The rows that a statement finds.
pub async fn rows_of<'a>(
    file: &SqliteFile,
    query: Query<'a, Sqlite, SqliteArguments<'a>>,
) -> Result<Vec<SqliteRow>, StoreError> {
    query.fetch_all(file.readers()).await.map_err(unavailable)
}

/// Ids as one value: a JSON list of their hexadecimal digits.
pub fn json_list(ids: &[EnvelopeId]) -> String {
    let ids: Vec<String> = ids.iter().map(|id| format!("\"{}\"", id.to_string().replace('-', ""))).collect();
    format!("[{}]", ids.join(","))
}
