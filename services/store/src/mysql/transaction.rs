//! Statements that write rows and commit.
//!
//! One commits by itself; several are a transaction, in one text and one round trip. On Galera each of
//! several is a command of its own, and so is the commit. A node may take a transaction back between two statements
//! of a text; the rest of the text would run by itself, and a `COMMIT` at its end succeed.
//!
//! A database that is given a text runs all of it, also when its client has given up meanwhile: the outcome of a text
//! that took too long is unknown.
//!
//! A transaction that met another one and was taken back (error 1213, on a
//! cluster also at its commit) is tried again as it is, a few times, after a pause.
//!
//! Rows for a dated table come in only while it is not closed: their transaction puts a row
//! into the table of manifests, whose key `sealed_table` lets it, or the closing, come first.

use std::collections::BTreeMap;
use std::time::Duration;

use hongbao_core::EnvelopeId;
use hongbao_core::id::TableRef;
use hongbao_core::limits::{DEADLOCK_PAUSE_MAX, DEADLOCK_TRIES_MAX};
use hongbao_database::mysql::connection::{Lease, within};
use hongbao_database::mysql::failure::QueryError;
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

/// Rows that are to be inserted.
pub type RowsByTable<'a, T> = BTreeMap<TableRef, Vec<&'a T>>;

impl MysqlStore {
    /// Rows by table, and the tables in their order, so that two processes meet in the same order.
    pub(super) fn by_table<'a, T>(&self, items: &'a [T], id_of: fn(&T) -> EnvelopeId) -> RowsByTable<'a, T> {
        let mut by_table = RowsByTable::new();
        for item in items {
            by_table.entry(self.table_for(id_of(item))).or_default().push(item);
        }
        by_table
    }

    /// What inserts rows, all of them or none; `None` without rows.
    pub(super) fn insertion<T>(
        &self,
        by_table: &RowsByTable<'_, T>,
        head: impl Fn(&Statements) -> String,
        put_row: impl Fn(&mut String, &T),
    ) -> Result<Option<Transaction>, StoreError> {
        let mut statements = Vec::new();
        for (&table, part) in by_table {
            let guard = date_of(table).map(|date| (self.layout.manifests(table.database), table.table, date));
            if let Some((manifests, y, date)) = &guard {
                statements.push(format!("INSERT /* guard */ INTO {manifests} (y, date) VALUES ({y}, {date})"));
            }
            let mut text = head(&*self.at(table)?);
            for (number, item) in part.iter().enumerate() {
                if number > 0 {
                    text.push(',');
                }
                put_row(&mut text, item);
            }
            statements.push(text);
            if let Some((manifests, y, date)) = &guard {
                statements.push(format!("DELETE FROM {manifests} WHERE y = {y} AND date = {date} AND number IS NULL"));
            }
        }
        Ok(Transaction::of(statements))
    }
}

/// Statements that stand or fall together; at least one.
pub struct Transaction(Vec<String>);

impl From<String> for Transaction {
    fn from(statement: String) -> Transaction {
        Transaction(vec![statement])
    }
}

impl Transaction {
    /// That of these statements; `None` if there are none.
    pub fn of(statements: Vec<String>) -> Option<Transaction> {
        (!statements.is_empty()).then_some(Transaction(statements))
    }

    /// The commands that a node is given: each is a text of one or more statements.
    fn commands(self, is_of_galera: bool) -> Vec<String> {
        match self {
            Transaction(alone) if alone.len() == 1 => alone,
            Transaction(statements) if is_of_galera => {
                let begun = ["START TRANSACTION".to_owned()].into_iter().chain(statements);
                begun.chain(["COMMIT".to_owned()]).collect()
            }
            Transaction(statements) => vec![format!("START TRANSACTION; {}; COMMIT", statements.join("; "))],
        }
    }
}

/// Runs a transaction; gives the number of rows that it found.
pub async fn execute(lease: &mut Lease, transaction: impl Into<Transaction>) -> Result<u64, QueryError> {
    let transaction = transaction.into();
    let is_alone = transaction.0.len() == 1;
    let commands = transaction.commands(lease.is_of_galera());
    let mut tries = 1;
    loop {
        let limit = lease.limit();
        match within(limit, run(lease.connection(), &commands, is_alone)).await {
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

async fn run(connection: &mut MySqlConnection, commands: &[String], is_alone: bool) -> Result<u64, sqlx::Error> {
    let mut found = 0;
    for command in commands {
        match connection.execute(sqlx::raw_sql(command)).await {
            Ok(done) => found += done.rows_affected(),
            Err(error) => {
                if !is_alone {
                    // The connection may be inside the transaction.
                    // If this fails the connection has broken, which the next statement notices.
                    let _ = connection.execute("ROLLBACK").await;
                }
                return Err(error);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(statements: &[&str], is_of_galera: bool) -> Vec<String> {
        let statements = statements.iter().map(|statement| (*statement).to_owned()).collect();
        Transaction::of(statements).map_or_else(Vec::new, |transaction| transaction.commands(is_of_galera))
    }

    #[test]
    fn several_statements_are_one_text_and_on_galera_a_command_each() {
        assert_eq!(commands(&["a", "b"], false), ["START TRANSACTION; a; b; COMMIT"]);
        assert_eq!(commands(&["a", "b"], true), ["START TRANSACTION", "a", "b", "COMMIT"]);
        for is_of_galera in [false, true] {
            assert_eq!(commands(&["a"], is_of_galera), ["a"]);
            assert_eq!(commands(&[], is_of_galera), [""; 0]);
        }
    }
}
