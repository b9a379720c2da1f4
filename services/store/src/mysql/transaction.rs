//! Texts that write rows and commit: one statement in one round trip, several in two.
//!
//! The commit of several is a command of its own. On Galera a node may take a transaction back between two statements
//! of a text, and a `COMMIT` at its end then succeeds and commits nothing.
//!
//! A transaction that met another one and was taken back (error 1213, on a
//! cluster also at its commit) is tried again as it is, a few times, after a pause.
//!
//! Rows for a dated table come in only while it is not closed: their transaction puts a row
//! into the table of manifests, whose key `sealed_table` lets it, or the closing, come first.

use std::time::Duration;

use hongbao_core::EnvelopeId;
use hongbao_core::id::TableRef;
use hongbao_core::limits::{DEADLOCK_PAUSE_MAX, DEADLOCK_TRIES_MAX};
use hongbao_database::mysql::connection::{Lease, within};
use hongbao_database::mysql::failure::QueryError;
use hongbao_database::mysql::row::put;
use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;
use tokio::time::sleep;

use super::statements::Statements;
use super::store::MysqlStore;
use crate::StoreError;
use crate::day_tables::date_of;
use crate::place::DayTableStore as _;

/// The key of a closed table.
pub const SEALED_TABLE: &str = "sealed_table";

impl MysqlStore {
    /// The text that inserts rows of one database, all of them or none, and the
    /// number of that database; `None` without rows.
    pub(super) fn insertion<T>(
        &self,
        items: &[T],
        id_of: fn(&T) -> EnvelopeId,
        head: impl Fn(&Statements) -> String,
        put_row: impl Fn(&mut String, &T),
    ) -> Result<Option<(u8, String)>, StoreError> {
        let mut by_table: Vec<(TableRef, Vec<&T>)> = Vec::new();
        for item in items {
            let table = self.table_for(id_of(item));
            match by_table.iter_mut().find(|(other, _)| *other == table) {
                Some((_, part)) => part.push(item),
                None => by_table.push((table, vec![item])),
            }
        }
        let Some(database) = by_table.first().map(|(table, _)| table.database) else { return Ok(None) };
        let mut sql = Transaction::default();
        for (table, part) in by_table {
            sql.in_database(table.database)?;
            let guard = date_of(table).map(|date| (self.layout.manifests(table.database), table.table, date));
            if let Some((manifests, y, date)) = &guard {
                put(
                    sql.statement(),
                    format_args!("INSERT /* guard */ INTO {manifests} (y, date) VALUES ({y}, {date})"),
                );
            }
            let text = sql.statement();
            text.push_str(&head(&*self.at(table)?));
            for (number, item) in part.into_iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                put_row(text, item);
            }
            if let Some((manifests, y, date)) = &guard {
                let text = sql.statement();
                put(text, format_args!("DELETE FROM {manifests} WHERE y = {y} AND date = {date} AND number IS NULL"));
            }
        }
        Ok(sql.finish().map(|sql| (database, sql)))
    }
}

/// Statements that stand or fall together. One alone commits by itself; several
/// are one text that begins a transaction, and their commit follows.
#[derive(Default)]
pub struct Transaction {
    database: Option<u8>,
    statements: Vec<String>,
}

impl Transaction {
    /// Refuses a second database.
    pub fn in_database(&mut self, database: u8) -> Result<(), StoreError> {
        if *self.database.get_or_insert(database) != database {
            let reason = "the batch spans two databases, which no transaction of ours does";
            return Err(StoreError::Unavailable(reason.to_owned()));
        }
        Ok(())
    }

    /// The next statement, still empty.
    pub fn statement(&mut self) -> &mut String {
        self.statements.push(String::with_capacity(1_024));
        self.statements.last_mut().expect("it was just pushed")
    }

    /// The text; `None` without statements.
    pub fn finish(mut self) -> Option<String> {
        match self.statements.len() {
            0 => None,
            1 => self.statements.pop(),
            _ => Some(format!("START TRANSACTION; {}", self.statements.join("; "))),
        }
    }
}

/// Runs a text that commits; gives the number of rows that it found.
pub async fn execute(lease: &mut Lease, sql: &str) -> Result<u64, QueryError> {
    let mut tries = 1;
    loop {
        let limit = lease.limit();
        match within(limit, run(lease.connection(), sql)).await {
            Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => {
                sleep(pause_after(tries)).await;
                tries += 1;
            }
            done => return done,
        }
    }
}

/// Those that met must not meet again: writers of one dated table all meet at its guard, where all but one of
/// those that waited are taken back at the same moment.
fn pause_after(tries: u32) -> Duration {
    let longest = DEADLOCK_PAUSE_MAX * 2_u32.pow(tries - 1);
    // Without randomness the longest is as good as any.
    getrandom::u32().map_or(longest, |random| longest.mul_f64(f64::from(random) / f64::from(u32::MAX)))
}

async fn run(connection: &mut MySqlConnection, sql: &str) -> Result<u64, sqlx::Error> {
    let mut done = connection.execute(sqlx::raw_sql(sql)).await;
    if sql.starts_with("START") {
        if done.is_ok()
            && let Err(error) = connection.execute("COMMIT").await
        {
            done = Err(error);
        }
        if done.is_err() {
            // The connection may be inside the transaction.
            // If this fails the connection has broken, which the next statement notices.
            let _ = connection.execute("ROLLBACK").await;
        }
    }
    done.map(|done| done.rows_affected())
}
