//! Rows that are written many at a time.
//!
//! One statement outside a transaction is one: SQLite takes the write lock,
//! writes all of its rows or none, and has flushed the log when it returns. Rows of
//! several tables are a transaction: two round trips to the connection, and one a table.

use hongbao_core::EnvelopeId;
use hongbao_core::id::TableRef;
use hongbao_database::sqlite::failure::{is_raised, is_unique_violation, violates};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, SqliteConnection};

use super::rows::put;
use super::sealing::SEALED;
use super::statements::{LARGEST_BATCH_ROWS, MultiRow, Statements};
use super::store::SqliteStore;
use crate::StoreError;
use crate::day_tables::{OTHER_DATE, sealed};
use crate::failure::{commit_failed, unavailable};
use crate::place::DayTableStore as _;

/// What became of rows that were to be written: all of them or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// They are durable.
    Done,
    /// A key was taken.
    Taken,
    /// A table holds another date by now.
    OtherDate,
}

/// A kind of row that is written many at a time.
pub struct Batch<T> {
    pub text: fn(&Statements) -> &MultiRow,
    pub columns: usize,
    pub put: for<'q> fn(&mut SqliteArguments<'q>, &'q T),
    pub id: fn(&T) -> EnvelopeId,
}

impl SqliteStore {
    /// Writes rows of one database in one transaction.
    pub(super) async fn write_all<T>(&self, batch: &Batch<T>, items: &[T]) -> Result<Written, StoreError> {
        let parts = self.by_table(batch, items);
        let Some((first, _)) = parts.first() else {
            return Ok(Written::Done);
        };
        if parts.iter().any(|(table, _)| table.database != first.database) {
            return Err(StoreError::Unavailable("the batch spans two databases, which no transaction does".to_owned()));
        }
        if parts.iter().any(|(table, _)| self.day_tables().is_exported(*table)) {
            return Err(sealed());
        }
        let (file, _) = self.writable(*first)?;
        if let [(table, part)] = parts.as_slice() {
            let (_, statements) = self.at(*table)?;
            let mut writer = file.writer().await?;
            let written = fenced(write_part(&mut writer, &statements, batch, part).await, commit_failed)?;
            // Nothing was written when it was fenced: either way the writer is through with it.
            writer.committed()?;
            return Ok(written);
        }
        let mut transaction = file.begin().await?;
        for (table, part) in &parts {
            let (_, statements) = self.at(*table)?;
            let written = fenced(write_part(&mut transaction, &statements, batch, part).await, unavailable);
            if !matches!(written, Ok(Written::Done)) {
                transaction.rollback().await;
                return written;
            }
        }
        transaction.commit().await?;
        Ok(Written::Done)
    }

    /// The items by table, in order, in parts that fit into a statement.
    fn by_table<'a, T>(&self, batch: &Batch<T>, items: &'a [T]) -> Vec<(TableRef, Vec<&'a T>)> {
        let mut parts: Vec<(TableRef, Vec<&T>)> = Vec::new();
        for item in items {
            let table = self.table_for((batch.id)(item));
            match parts.iter_mut().rfind(|(other, _)| *other == table) {
                Some((_, part)) if part.len() < LARGEST_BATCH_ROWS => part.push(item),
                _ => parts.push((table, vec![item])),
            }
        }
        parts
    }
}

async fn write_part<T>(
    writer: &mut SqliteConnection,
    statements: &Statements,
    batch: &Batch<T>,
    part: &[&T],
) -> Result<(), sqlx::Error> {
    let mut arguments = SqliteArguments::default();
    arguments.reserve(1 + part.len() * batch.columns, 0);
    put(&mut arguments, part.len() as i64);
    for item in part {
        (batch.put)(&mut arguments, item);
    }
    sqlx::query_with((batch.text)(statements).text(part.len()), arguments).execute(writer).await?;
    Ok(())
}

fn fenced(written: Result<(), sqlx::Error>, failed: fn(sqlx::Error) -> StoreError) -> Result<Written, StoreError> {
    match written {
        Ok(()) => Ok(Written::Done),
        Err(error) if is_unique_violation(&error) => Ok(Written::Taken),
        Err(error) if violates(&error, OTHER_DATE) => Ok(Written::OtherDate),
        Err(error) if is_raised(&error, SEALED) => Err(sealed()),
        Err(error) => Err(failed(error)),
    }
}
