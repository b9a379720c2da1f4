//! One transaction: read what the batch touches, decide in memory, write once.

use std::collections::HashSet;
use std::sync::LazyLock;

use hongbao_core::{Fen, Transfer, TransferId, TransferOutcome, UserId};
use sqlx::sqlite::SqliteConnection;

use super::row::{code_of, content, field, json_list};
use crate::ledger::{Ledger, contra_of};
use crate::{CLEARING, TOP_UPS, WalletError};

const BEGIN: &str = "BEGIN IMMEDIATE /* wallet transfer */";
const COMMIT: &str = "COMMIT /* wallet transfer */";
const ROLLBACK: &str = "ROLLBACK /* wallet transfer */";

/// Which of the ids are taken, and by what.
const HELD: &str = "SELECT id, user_id, kind, amount_fen FROM transfer \
     WHERE id IN (SELECT unhex(value) FROM json_each(?1))";
const BALANCES: &str = "SELECT account, balance_fen FROM account WHERE account IN (SELECT value FROM json_each(?1))";

/// Row counts of the multi-row statements. There are few, so that all their
/// texts stay in the connection's statement cache.
const ROW_COUNTS: [usize; 5] = [256, 64, 16, 4, 1];

static INSERT_TRANSFERS: LazyLock<[String; 5]> = LazyLock::new(|| {
    texts(
        if std::env::var("ORR").is_ok() {
            "INSERT OR ROLLBACK INTO transfer (id, user_id, kind, amount_fen, contra, at_ms) VALUES "
        } else {
            "INSERT INTO transfer (id, user_id, kind, amount_fen, contra, at_ms) VALUES "
        },
        "(?,?,?,?,?,?)",
        "",
    )
});
static UPSERT_BALANCES: LazyLock<[String; 5]> = LazyLock::new(|| {
    texts(
        "INSERT INTO account (account, balance_fen) VALUES ",
        "(?,?)",
        " ON CONFLICT (account) DO UPDATE SET balance_fen = excluded.balance_fen",
    )
});

/// Where a transaction failed: it says what may be done about it.
#[derive(Debug)]
pub(super) enum Failure {
    /// It never began.
    Begin(WalletError),
    /// Something in it failed, and it was rolled back.
    Inside(WalletError),
    /// The commit did not succeed for certain.
    Commit(WalletError),
}

impl Failure {
    /// What the callers are told.
    pub fn into_error(self) -> WalletError {
        match self {
            Failure::Begin(error) | Failure::Inside(error) | Failure::Commit(error) => error,
        }
    }
}

/// Executes transfers in order, in one transaction; durable when it returns.
///
/// The transaction is opened in plain SQL. When the disk is full SQLite rolls
/// back on its own, and a connection that counts transactions by itself would
/// then wait for ever for the end of one that is gone.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    transfers: &[&Transfer],
) -> Result<Vec<TransferOutcome>, Failure> {
    let done = attempt(connection, transfers).await;
    if done.is_err() {
        // Fails when SQLite has rolled back already: either way nothing is open after it.
        let _ = sqlx::query(ROLLBACK).execute(connection).await;
    }
    done
}

async fn attempt(connection: &mut SqliteConnection, transfers: &[&Transfer]) -> Result<Vec<TransferOutcome>, Failure> {
    sqlx::query(BEGIN).execute(&mut *connection).await.map_err(|error| Failure::Begin(unavailable(error)))?;
    let mut ledger = load(connection, transfers).await.map_err(Failure::Inside)?;
    let outcomes: Vec<_> = transfers.iter().map(|transfer| ledger.execute(transfer)).collect();
    let done: Vec<&Transfer> = transfers
        .iter()
        .zip(&outcomes)
        .filter(|(_, outcome)| **outcome == TransferOutcome::Done)
        .map(|(transfer, _)| *transfer)
        .collect();
    insert_transfers(connection, &done).await.map_err(|error| Failure::Inside(unavailable(error)))?;
    upsert_balances(connection, &ledger.changes()).await.map_err(|error| Failure::Inside(unavailable(error)))?;
    let committed = sqlx::query(COMMIT).execute(&mut *connection).await;
    committed.map_err(|error| Failure::Commit(WalletError::Unknown(error.to_string())))?;
    Ok(outcomes)
}

/// The part of the books that the transfers touch.
async fn load(connection: &mut SqliteConnection, transfers: &[&Transfer]) -> Result<Ledger, WalletError> {
    let mut ledger = Ledger::default();
    let rows = sqlx::query(HELD).bind(keys(transfers.iter().map(|transfer| transfer.id))).fetch_all(&mut *connection);
    for row in rows.await.map_err(unavailable)? {
        let (id, content) = content(&row)?;
        ledger.hold(id, content);
    }
    let users: HashSet<&str> = transfers.iter().map(|transfer| transfer.user.as_str()).collect();
    let accounts = json_list(users.into_iter().chain([CLEARING, TOP_UPS]));
    let rows = sqlx::query(BALANCES).bind(accounts).fetch_all(&mut *connection);
    for row in rows.await.map_err(unavailable)? {
        let account: &str = field(&row, 0)?;
        let balance_fen: i64 = field(&row, 1)?;
        match (UserId::parse(account), Fen::new(balance_fen)) {
            (Some(user), Some(balance)) => ledger.set_user(user, balance),
            (Some(user), None) => return Err(WalletError::Damaged(format!("account {user}: {balance_fen} fen"))),
            (None, _) => ledger.set_system(account, balance_fen),
        }
    }
    Ok(ledger)
}

/// A JSON list of keys in hexadecimal digits.
pub(super) fn keys(ids: impl Iterator<Item = TransferId>) -> String {
    let keys: Vec<_> = ids.map(|id| super::row::hex(&id.to_key())).collect();
    json_list(keys.iter().map(String::as_str))
}

async fn insert_transfers(connection: &mut SqliteConnection, transfers: &[&Transfer]) -> Result<(), sqlx::Error> {
    for (text, rows) in steps(&INSERT_TRANSFERS, transfers) {
        let mut insert = sqlx::query(text);
        for transfer in rows {
            insert = insert
                .bind(transfer.id.to_key().to_vec())
                .bind(transfer.user.as_str())
                .bind(code_of(transfer.kind))
                .bind(transfer.amount.get())
                .bind(contra_of(transfer.kind))
                .bind(transfer.at.millis());
        }
        insert.execute(&mut *connection).await?;
    }
    Ok(())
}

async fn upsert_balances(connection: &mut SqliteConnection, changes: &[(&str, i64)]) -> Result<(), sqlx::Error> {
    for (text, rows) in steps(&UPSERT_BALANCES, changes) {
        let mut upsert = sqlx::query(text);
        for (account, balance_fen) in rows {
            upsert = upsert.bind(*account).bind(*balance_fen);
        }
        upsert.execute(&mut *connection).await?;
    }
    Ok(())
}

/// One text for each of [`ROW_COUNTS`].
fn texts(before: &str, row: &str, after: &str) -> [String; 5] {
    ROW_COUNTS.map(|count| format!("{before}{}{after}", vec![row; count].join(",")))
}

/// Cuts rows into the fixed counts, the largest first, each with its text.
fn steps<'a, T>(texts: &'a [String; 5], mut rows: &'a [T]) -> Vec<(&'a str, &'a [T])> {
    let mut steps = Vec::new();
    for (text, count) in texts.iter().zip(ROW_COUNTS) {
        while let Some((step, rest)) = rows.split_at_checked(count) {
            steps.push((text.as_str(), step));
            rows = rest;
        }
    }
    steps
}

pub(super) fn unavailable(error: sqlx::Error) -> WalletError {
    WalletError::Unavailable(error.to_string())
}
