//! One transaction: read what the batch touches, decide in memory, write once.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use hongbao_core::{Transfer, TransferId, TransferOutcome, UserId};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use hongbao_database::row::StoredRow as _;

use super::noting;
use crate::WalletError;
use crate::ledger::{Post, PostingPlan, asked_if_frozen};
use crate::orders::tables::Writes;
use crate::quotas::{self, Guard};
use crate::row::{self, code_of, content, hex};
use crate::system::{self, ACCOUNTS};
use crate::writer::{Asked, TransactError};

const BEGIN: &str = "BEGIN IMMEDIATE /* wallet transfer */";
const COMMIT: &str = "COMMIT /* wallet transfer */";
const ROLLBACK: &str = "ROLLBACK /* wallet transfer */";

/// Which of the ids are taken, and by what.
const HELD: &str = "SELECT id, user_id, kind, amount_fen FROM transfer \
     WHERE id IN (SELECT unhex(value) FROM json_each(?1))";
const WHO_IS_FROZEN: &str = "SELECT value FROM json_each(?1) \
     WHERE (SELECT is_frozen FROM freeze_log WHERE user_id = value ORDER BY number DESC LIMIT 1)";
const BALANCES: &str = "SELECT value, \
       (SELECT balance_fen FROM transfer WHERE user_id = value ORDER BY position DESC LIMIT 1) FROM json_each(?1)";
static SYSTEM: LazyLock<String> = LazyLock::new(|| format!("SELECT {}", system_balances(ACCOUNTS.len())));
static SET_SYSTEM: LazyLock<String> = LazyLock::new(|| {
    let [clearing, top_ups, provider, payouts] = ACCOUNTS;
    format!(
        "UPDATE system_account SET balance_fen = CASE account \
           WHEN '{clearing}' THEN ?1 WHEN '{top_ups}' THEN ?2 WHEN '{provider}' THEN ?3 WHEN '{payouts}' THEN ?4 END"
    )
});

/// Row counts of the insert. There are few, so that all its texts stay in the
/// connection's statement cache.
const ROW_COUNTS: [usize; 5] = [256, 64, 16, 4, 1];

/// One text for each of [`ROW_COUNTS`]. A failure rolls all of it back, which
/// spares SQLite a copy of every page for undoing the statement alone.
static INSERTS: LazyLock<[String; 5]> = LazyLock::new(|| {
    ROW_COUNTS.map(|count| {
        let rows = vec!["(?,?,?,?,?,?)"; count].join(",");
        format!("INSERT OR ROLLBACK INTO transfer (id, user_id, kind, amount_fen, balance_fen, at_ms) VALUES {rows}")
    })
});

/// The balances of the system's [`ACCOUNTS`]; one without a row is null, or zero behind the first so many.
pub(super) fn system_balances(count: usize) -> String {
    let of = |(place, account): (usize, &&str)| {
        let balance = format!("(SELECT balance_fen FROM system_account WHERE account = '{account}')");
        if place < count { balance } else { format!("coalesce({balance}, 0)") }
    };
    ACCOUNTS.iter().enumerate().map(of).collect::<Vec<_>>().join(", ")
}

/// Executes transfers in order and writes what of the notes is new, in one transaction; durable when it returns.
///
/// The transaction is opened in plain SQL. When the disk is full SQLite rolls
/// back on its own, and a connection that counts transactions by itself would
/// then wait for ever for the end of one that is gone.
pub(super) async fn run(
    connection: &mut SqliteConnection,
    asked: Asked<'_>,
) -> Result<Vec<TransferOutcome>, TransactError> {
    let done = attempt(connection, asked).await;
    if done.is_err() {
        // Fails when SQLite has rolled back already: either way nothing is open after it.
        let _ = sqlx::query(ROLLBACK).execute(connection).await;
    }
    done
}

async fn attempt(connection: &mut SqliteConnection, asked: Asked<'_>) -> Result<Vec<TransferOutcome>, TransactError> {
    let Asked { transfers, notes, quotas } = asked;
    sqlx::query(BEGIN).execute(&mut *connection).await.map_err(|error| TransactError::Begin(unavailable(error)))?;
    let mut plan = load(connection, transfers).await.map_err(TransactError::Inside)?;
    plan.quotas.set_quotas(quotas);
    read_beside(connection, &mut plan, &asked.reads_of_quotas(str::to_owned)).await.map_err(TransactError::Inside)?;
    let outcomes: Vec<_> = transfers.iter().map(|transfer| plan.execute(transfer)).collect();
    write(connection, &plan).await.map_err(|error| TransactError::Inside(unavailable(error)))?;
    write_beside(connection, &of_quotas(&plan)).await.map_err(TransactError::Inside)?;
    noting::note(connection, transfers, &outcomes, notes).await.map_err(TransactError::Inside)?;
    let committed = sqlx::query(COMMIT).execute(&mut *connection).await;
    committed.map_err(|error| TransactError::Commit(WalletError::Unknown(error.to_string())))?;
    Ok(outcomes)
}

/// One transaction over orders and the transfers that may be due for them: reads, decides, writes.
pub(super) async fn change<T>(
    connection: &mut SqliteConnection,
    possible: &[Transfer],
    reads: &[String],
    decide: impl for<'a> Fn(&mut PostingPlan<'a>, &'a [Transfer], &[&SqliteRow]) -> Result<Writes<T>, WalletError>,
) -> Result<T, WalletError> {
    let done = try_change(connection, possible, reads, &decide).await;
    if done.is_err() {
        // Fails when SQLite has rolled back already: either way nothing is open after it.
        let _ = sqlx::query(ROLLBACK).execute(connection).await;
    }
    done
}

async fn try_change<T>(
    connection: &mut SqliteConnection,
    possible: &[Transfer],
    reads: &[String],
    decide: &impl for<'a> Fn(&mut PostingPlan<'a>, &'a [Transfer], &[&SqliteRow]) -> Result<Writes<T>, WalletError>,
) -> Result<T, WalletError> {
    sqlx::query(BEGIN).execute(&mut *connection).await.map_err(unavailable)?;
    let transfers: Vec<&Transfer> = possible.iter().collect();
    let mut plan = load(connection, &transfers).await?;
    let rows = read_beside(connection, &mut plan, reads).await?;
    let Writes { statements, notes, value } = decide(&mut plan, possible, &rows.iter().collect::<Vec<_>>())?;
    write(connection, &plan).await.map_err(unavailable)?;
    let statements: Vec<String> = statements.iter().map(|one| one.guarded(&Guard::default())).collect();
    write_beside(connection, &statements).await?;
    write_beside(connection, &of_quotas(&plan)).await?;
    noting::note(connection, &[], &[], &notes.iter().collect::<Vec<_>>()).await?;
    let committed = sqlx::query(COMMIT).execute(&mut *connection).await;
    committed.map_err(|error| WalletError::Unknown(error.to_string()))?;
    Ok(value)
}

/// Reads into the plan what counts against limits; gives the other rows.
async fn read_beside(
    connection: &mut SqliteConnection,
    plan: &mut PostingPlan<'_>,
    reads: &[String],
) -> Result<Vec<SqliteRow>, WalletError> {
    let mut others = Vec::new();
    for read in reads {
        let rows = sqlx::query(read).persistent(false).fetch_all(&mut *connection).await.map_err(unavailable)?;
        for row in rows {
            match quotas::is_quota_row(row.int(0)?) {
                true => quotas::take_in(&mut plan.quotas, &row)?,
                false => others.push(row),
            }
        }
    }
    Ok(others)
}

fn of_quotas(plan: &PostingPlan<'_>) -> Vec<String> {
    quotas::statements(&plan.quotas, str::to_owned, &Guard::default())
}

/// Executes statements, each of which changes one row.
async fn write_beside(connection: &mut SqliteConnection, statements: &[String]) -> Result<(), WalletError> {
    for statement in statements {
        let done = sqlx::query(statement).persistent(false).execute(&mut *connection).await.map_err(unavailable)?;
        if done.rows_affected() != 1 {
            return Err(WalletError::Damaged(format!("{} rows were changed instead of one", done.rows_affected())));
        }
    }
    Ok(())
}

/// The part of the books that the transfers touch.
async fn load<'a>(
    connection: &mut SqliteConnection,
    transfers: &[&'a Transfer],
) -> Result<PostingPlan<'a>, WalletError> {
    let mut plan = PostingPlan::default();
    let rows = sqlx::query(HELD).bind(keys(transfers.iter().map(|transfer| transfer.id))).fetch_all(&mut *connection);
    for row in rows.await.map_err(unavailable)? {
        let (id, content) = content(&row, 0)?;
        plan.hold(id, content);
    }
    let users: BTreeSet<&str> = transfers.iter().map(|transfer| transfer.user.as_str()).collect();
    let rows = sqlx::query(BALANCES).bind(json_list(users)).fetch_all(&mut *connection);
    for row in rows.await.map_err(unavailable)? {
        if row.int_or_null(1)?.is_none() {
            continue;
        }
        let user = UserId::parse(row.text(0)?).expect("it was asked for by this name");
        let balance = row::balance(&row, 1, &user)?;
        plan.set_user(user, balance);
    }
    let payers = asked_if_frozen(transfers);
    if !payers.is_empty() {
        for user in who_is_frozen(connection, payers.into_iter()).await? {
            plan.freeze(user);
        }
    }
    let row = sqlx::query(&SYSTEM).fetch_one(&mut *connection).await.map_err(unavailable)?;
    plan.set_system(system::balances(&row, 0)?);
    Ok(plan)
}

/// Who of these users is frozen, within a transaction that writes.
async fn who_is_frozen<'a>(
    connection: &mut SqliteConnection,
    users: impl Iterator<Item = &'a UserId>,
) -> Result<Vec<UserId>, WalletError> {
    let list = json_list(users.map(UserId::as_str));
    let rows = sqlx::query(WHO_IS_FROZEN).bind(list).fetch_all(connection).await.map_err(unavailable)?;
    let name = |row: &SqliteRow| Ok(UserId::parse(row.text(0)?).expect("it was asked for by this name"));
    rows.iter().map(name).collect()
}

async fn write(connection: &mut SqliteConnection, plan: &PostingPlan<'_>) -> Result<(), sqlx::Error> {
    let mut posts = plan.posts();
    if posts.is_empty() {
        return Ok(());
    }
    for (text, count) in INSERTS.iter().zip(ROW_COUNTS) {
        while let Some((rows, rest)) = posts.split_at_checked(count) {
            insert(connection, text, rows).await?;
            posts = rest;
        }
    }
    let set = plan.system().to_array().into_iter().fold(sqlx::query(&SET_SYSTEM), |query, fen| query.bind(fen));
    set.execute(connection).await?;
    Ok(())
}

async fn insert(connection: &mut SqliteConnection, text: &'static str, rows: &[Post<'_>]) -> Result<(), sqlx::Error> {
    let mut insert = sqlx::query(text);
    for Post { transfer, balance } in rows {
        insert = insert
            .bind(transfer.id.to_key().to_vec())
            .bind(transfer.user.as_str())
            .bind(code_of(transfer.kind))
            .bind(transfer.amount.get())
            .bind(balance.get())
            .bind(transfer.at.millis());
    }
    insert.execute(connection).await?;
    Ok(())
}

/// A JSON list of keys in hexadecimal digits.
pub(super) fn keys(ids: impl Iterator<Item = TransferId>) -> String {
    let keys: Vec<_> = ids.map(|id| hex(&id.to_key())).collect();
    json_list(keys.iter().map(String::as_str))
}

/// A JSON list of texts, for `json_each`. They must hold nothing that JSON
/// escapes, which is true of ids, account names and hexadecimal digits.
pub(super) fn json_list<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let mut list = String::from("[");
    for text in texts {
        if list.len() > 1 {
            list.push(',');
        }
        list.push('"');
        list.push_str(text);
        list.push('"');
    }
    list.push(']');
    list
}

pub(super) fn unavailable(error: sqlx::Error) -> WalletError {
    WalletError::Unavailable(error.to_string())
}
