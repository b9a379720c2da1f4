//! The verbs that write.
//!
//! | verb | round trips |
//! |---|---|
//! | `create`, `append`, of one table | 1: the statement commits by itself |
//! | the same over several tables; `settle` | 1: one text with the transaction in it |
//! | `activate`, `cancel` that change something; `purge` | 1 |
//! | `activate`, `cancel` that come too late | 2, and the barrier |
//!
//! A transaction that met another one and was taken back (error 1213, on a
//! cluster also at its commit) is tried again as it is, a few times.

use std::collections::BTreeMap;

use hongbao_core::id::TableRef;
use hongbao_core::limits::{DEADLOCK_TRIES_MAX, SQL_LIST_MAX};
use hongbao_core::{Entry, Envelope, EnvelopeId, Stage, Timestamp};
use hongbao_database::mysql::connection::{Lease, within};
use hongbao_database::mysql::failure::QueryError;
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::{Durable, durably};
use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use super::rows::{put_entry, put_envelope};
use super::statements::Statements;
use super::{MysqlStore, read};
use crate::failure::committing;
use crate::rows;
use crate::{Append, Settlement, StoreError};

pub async fn create(store: &MysqlStore, envelopes: &[Envelope]) -> Result<(), StoreError> {
    let head = |statements: &Statements| statements.create.clone();
    let Some((_, sql)) = insertion(store, envelopes, |envelope| envelope.id, head, put_envelope)? else {
        return Ok(());
    };
    let mut lease = store.connections.lease().await?;
    let done = execute(&mut lease, &sql).await;
    match lease.done(done) {
        Ok(()) => Ok(()),
        Err(broken) if broken.is_duplicate() => Err(StoreError::Exists),
        Err(broken) => Err(committing(broken)),
    }
}

/// The lane of a database has a connection of its own. Openings without a lane
/// come many at a time, and those that find it in use take one of the others.
pub async fn append(store: &MysqlStore, entries: &[Entry]) -> Result<Append, StoreError> {
    let head = |statements: &Statements| statements.append.clone();
    let Some((database, sql)) = insertion(store, entries, |entry| entry.envelope_id, head, put_entry)? else {
        return Ok(Append::Done);
    };
    store.connections.health().check()?;
    let writer = store.writer(database)?;
    let Ok(mut own) = writer.connection.try_lock() else {
        let mut lease = store.connections.lease().await?;
        if lease.start() != *writer.start.lock() {
            // As below; the writer's own connection finds out when its turn comes.
            lease.give_back();
            writer.next_epoch();
            return Ok(Append::Fenced);
        }
        let done = execute(&mut lease, &sql).await;
        return fenced(lease.done(done));
    };
    let kept = match own.take() {
        Some(lease) => lease.if_it_lives().await,
        None => None,
    };
    let Some(mut lease) = kept else {
        // What was decided may rest on rows that this database, restored or another node, does not have.
        let lease = store.connections.dedicated().await?;
        *writer.start.lock() = lease.start();
        *own = Some(lease);
        writer.next_epoch();
        return Ok(Append::Fenced);
    };
    let done = execute(&mut lease, &sql).await;
    match &done {
        Err(broken) if broken.is_of_connection() => lease.close(),
        _ => *own = Some(lease.used()),
    }
    fenced(done)
}

fn fenced(done: Result<(), QueryError>) -> Result<Append, StoreError> {
    match done {
        Ok(()) => Ok(Append::Done),
        Err(broken) if broken.is_duplicate() => Ok(Append::Fenced),
        Err(broken) => Err(committing(broken)),
    }
}

pub async fn settle(store: &MysqlStore, settlements: &[Settlement]) -> Result<(), StoreError> {
    let Some(sql) = settlement(store, settlements)? else { return Ok(()) };
    let mut lease = store.connections.lease().await?;
    let done = execute(&mut lease, &sql).await;
    lease.done(done).map_err(committing)
}

/// Envelopes that came equally far are moved by one statement, in the order of
/// their ids, so that two workers meet in the same order.
fn settlement(store: &MysqlStore, settlements: &[Settlement]) -> Result<Option<String>, StoreError> {
    let mut furthest: BTreeMap<EnvelopeId, (u32, bool)> = BTreeMap::new();
    for settlement in settlements {
        let kept = furthest.entry(settlement.envelope_id).or_default();
        *kept = (*kept).max((settlement.settled_seq, settlement.ended));
    }
    let mut groups: BTreeMap<(TableRef, u32, bool), Vec<EnvelopeId>> = BTreeMap::new();
    for (id, (settled_seq, ended)) in furthest {
        groups.entry((store.place(id), settled_seq, ended)).or_default().push(id);
    }
    let mut sql = Transaction::default();
    let lists = groups.iter().flat_map(|(group, ids)| ids.chunks(SQL_LIST_MAX).map(move |ids| (*group, ids)));
    for ((table, settled_seq, ended), ids) in lists {
        let statements = store.at(table)?;
        sql.in_database(table.database)?;
        let text = sql.statement();
        put(text, format_args!("UPDATE /* settle */ {} SET settled_seq = {settled_seq}", statements.envelope_table));
        if ended {
            text.push_str(", stage = CASE WHEN stage = 1 THEN 3 ELSE stage END");
        }
        text.push_str(" WHERE id IN (");
        for (number, id) in ids.iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            put_bytes(text, id.as_bytes());
        }
        let also_ended = if ended { format!(" OR (settled_seq = {settled_seq} AND stage = 1)") } else { String::new() };
        put(text, format_args!(") AND (settled_seq < {settled_seq}{also_ended})"));
    }
    Ok(sql.finish())
}

pub async fn activate(
    store: &MysqlStore,
    id: EnvelopeId,
    expires_at: Timestamp,
) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
    let statements = store.at(store.place(id))?;
    let change = || sqlx::query(&statements.activate).bind(expires_at.millis()).bind(id.as_bytes().as_slice());
    if changes(store, change).await? {
        return Ok(Some((Stage::Active, Some(expires_at))));
    }
    in_force(store, statements, id).await
}

pub async fn cancel(store: &MysqlStore, id: EnvelopeId) -> Result<Option<Stage>, StoreError> {
    let statements = store.at(store.place(id))?;
    let change = || sqlx::query(&statements.plain.cancel).bind(id.as_bytes().as_slice());
    if changes(store, change).await? {
        return Ok(Some(Stage::Cancelled));
    }
    Ok(in_force(store, statements, id).await?.map(|(stage, _)| stage))
}

pub async fn purge(store: &MysqlStore, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError> {
    let [head, tail] = &store.at(table)?.plain.purge;
    if envelopes.is_empty() {
        return Ok(0);
    }
    let mut sql = head.clone();
    for (number, id) in envelopes.iter().enumerate() {
        if number > 0 {
            sql.push(',');
        }
        put_bytes(&mut sql, id.as_bytes());
    }
    sql.push_str(tail);
    let mut lease = store.connections.lease().await?;
    let mut tries = 1;
    let done = loop {
        match within(lease.limit(), lease.connection().execute(sqlx::raw_sql(&sql))).await {
            Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => tries += 1,
            done => break done,
        }
    };
    Ok(lease.done(done).map_err(committing)?.rows_affected())
}

/// Runs an update; whether it found a row in the stage that it came for. (sqlx
/// counts rows that were found, CLIENT_FOUND_ROWS.)
async fn changes<'q>(store: &MysqlStore, change: impl Fn() -> read::Statement<'q>) -> Result<bool, StoreError> {
    let mut lease = store.connections.lease().await?;
    let mut tries = 1;
    let done = loop {
        match within(lease.limit(), change().execute(lease.connection())).await {
            Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => tries += 1,
            done => break done,
        }
    };
    Ok(lease.done(done).map_err(committing)?.rows_affected() > 0)
}

/// A stage that the change found beyond `Created` never goes back there, so what
/// is read after the change is in force. The change committed nothing, and another
/// may have written that stage a moment ago: the verb's answer is durable only after a barrier.
async fn in_force(
    store: &MysqlStore,
    statements: &Statements,
    id: EnvelopeId,
) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError> {
    let found = durably(store, || async {
        let query = sqlx::query(&statements.plain.stage).bind(id.as_bytes().as_slice());
        let Some(row) = read::one(store, query).await? else { return Ok::<_, StoreError>(None) };
        Ok(Some((rows::stage(&row, 0)?, rows::time(&row, 1)?)))
    });
    Ok(found.await?.map(Durable::into_inner))
}

/// The text that inserts rows of one database, all of them or none, and the
/// number of that database; `None` without rows.
fn insertion<T>(
    store: &MysqlStore,
    items: &[T],
    id_of: fn(&T) -> EnvelopeId,
    head: impl Fn(&Statements) -> String,
    put_row: fn(&mut String, &T),
) -> Result<Option<(u8, String)>, StoreError> {
    let mut by_table: Vec<(TableRef, Vec<&T>)> = Vec::new();
    for item in items {
        let table = store.place(id_of(item));
        match by_table.iter_mut().find(|(other, _)| *other == table) {
            Some((_, part)) => part.push(item),
            None => by_table.push((table, vec![item])),
        }
    }
    let Some(database) = by_table.first().map(|(table, _)| table.database) else { return Ok(None) };
    let mut sql = Transaction::default();
    for (table, part) in by_table {
        sql.in_database(table.database)?;
        let text = sql.statement();
        text.push_str(&head(store.at(table)?));
        for (number, item) in part.into_iter().enumerate() {
            if number > 0 {
                text.push(',');
            }
            put_row(text, item);
        }
    }
    Ok(sql.finish().map(|sql| (database, sql)))
}

/// Statements that stand or fall together. One alone commits by itself; several
/// are one text with the transaction around them, still one round trip.
#[derive(Default)]
struct Transaction {
    database: Option<u8>,
    statements: Vec<String>,
}

impl Transaction {
    fn in_database(&mut self, database: u8) -> Result<(), StoreError> {
        if *self.database.get_or_insert(database) != database {
            let reason = "the batch spans two databases, which no transaction of ours does";
            return Err(StoreError::Unavailable(reason.to_owned()));
        }
        Ok(())
    }

    fn statement(&mut self) -> &mut String {
        self.statements.push(String::with_capacity(1_024));
        self.statements.last_mut().expect("it was just pushed")
    }

    fn finish(mut self) -> Option<String> {
        match self.statements.len() {
            0 => None,
            1 => self.statements.pop(),
            _ => Some(format!("START TRANSACTION; {}; COMMIT", self.statements.join("; "))),
        }
    }
}

/// Runs a text that commits.
async fn execute(lease: &mut Lease, sql: &str) -> Result<(), QueryError> {
    let mut tries = 1;
    loop {
        let limit = lease.limit();
        match within(limit, run(lease.connection(), sql)).await {
            Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => tries += 1,
            done => return done,
        }
    }
}

async fn run(connection: &mut MySqlConnection, sql: &str) -> Result<(), sqlx::Error> {
    let done = connection.execute(sqlx::raw_sql(sql)).await;
    if done.is_err() && sql.starts_with("START") {
        // The error ended the text before its COMMIT, and the connection is inside the transaction.
        // If this fails the connection has broken, which the next statement notices.
        let _ = connection.execute("ROLLBACK").await;
    }
    done.map(|_| ())
}
