//! What each file says of the folder that it belongs to: the table `folder`,
//! which the wallet's file has like the others.

use std::path::Path;

use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Row as _};

use super::failure::{commit_failed, unavailable};
use super::file::SqliteFile;
use super::seen::beside;
use crate::DatabaseError;

/// Which folder a file belongs to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The folder's own number, drawn when it was made.
    pub id: [u8; 16],
    /// The names of all its files, the first one first.
    pub files: Vec<String>,
    /// How often the folder was opened to be written; 0 until it has taken the file in.
    pub starts: i64,
    /// In the first file: all files agree.
    pub complete: bool,
}

/// What was found under a file's name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// No file.
    Absent,
    /// A database without a table, as SQLite leaves it when it is stopped while making one.
    Empty,
    /// A database of before there were marks.
    Unmarked,
    /// A database with its mark.
    Marked(Mark),
}

impl Found {
    /// Whether there is nothing that could be lost.
    pub fn is_nothing(&self) -> bool {
        matches!(self, Found::Absent | Found::Empty)
    }
}

/// Looks at a file. It is not changed, unless it `may_be_mended`: what a process
/// that was stopped half way through making it has left is then taken back.
///
/// # Errors
/// A message that names it: it is no database, or its log is there and it is not.
pub async fn find(path: &Path, may_be_mended: bool) -> Result<Found, String> {
    let bytes = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let log = beside(path, "-wal");
    if bytes(path) == 0 && bytes(&log) > 0 {
        // SQLite would make the file anew and throw the log away.
        return Err(format!("{} is missing or empty, though its log {} is there", path.display(), log.display()));
    }
    if !path.exists() {
        return Ok(Found::Absent);
    }
    if bytes(path) == 0 {
        return Ok(Found::Empty);
    }
    let is_half_made = bytes(&beside(path, "-journal")) > 0;
    read(path, !(may_be_mended && is_half_made)).await.map_err(|error| format!("{}: {error}", path.display()))
}

async fn read(path: &Path, read_only: bool) -> Result<Found, sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(path).read_only(read_only).disable_statement_logging();
    let mut connection = options.connect().await?;
    let found = read_from(&mut connection).await;
    connection.close().await?;
    found
}

async fn read_from(connection: &mut SqliteConnection) -> Result<Found, sqlx::Error> {
    let count = "SELECT count(*), coalesce(sum(name = 'folder'), 0) FROM sqlite_schema WHERE type = 'table'";
    let row = sqlx::query(count).fetch_one(&mut *connection).await?;
    let (tables, of_this_name): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
    if tables == 0 {
        return Ok(Found::Empty);
    }
    if of_this_name == 0 {
        return Ok(Found::Unmarked);
    }
    let row = sqlx::query("SELECT id, files, starts, complete FROM folder").fetch_one(connection).await?;
    let id: Vec<u8> = row.try_get(0)?;
    let files: String = row.try_get(1)?;
    Ok(Found::Marked(Mark {
        id: id.try_into().map_err(|_| sqlx::Error::Protocol("the folder's id is damaged".to_owned()))?,
        files: files.split_whitespace().map(str::to_owned).collect(),
        starts: row.try_get(2)?,
        complete: row.try_get(3)?,
    }))
}

/// Writes the mark into a file; durable when it returns.
pub async fn write(file: &SqliteFile, mark: &Mark) -> Result<(), DatabaseError> {
    let mut writer = file.writer().await?;
    write_to(&mut writer, mark).await?;
    writer.committed()
}

/// The same into a file that no process serves.
pub async fn put(path: &Path, mark: &Mark) -> Result<(), DatabaseError> {
    let options = SqliteConnectOptions::new().filename(path).disable_statement_logging();
    let mut connection = options.connect().await.map_err(unavailable)?;
    write_to(&mut connection, mark).await?;
    connection.close().await.map_err(unavailable)
}

async fn write_to(connection: &mut SqliteConnection, mark: &Mark) -> Result<(), DatabaseError> {
    let query = sqlx::query("UPDATE folder SET id = ?, files = ?, starts = ?, complete = ?")
        .bind(mark.id.as_slice())
        .bind(mark.files.join(" "))
        .bind(mark.starts)
        .bind(mark.complete);
    let written = query.execute(connection).await.map_err(commit_failed)?;
    if written.rows_affected() == 1 { Ok(()) } else { Err(unavailable(sqlx::Error::RowNotFound)) }
}
