//! The verbs over months, in statements that every database here understands.
//!
//! | verb | statements |
//! |---|---|
//! | `ledger_end`, and a page of what is read | 1 |
//! | `begin_month` | a transaction, and 1 for each 1,000 rows that an attempt before has left, 3 at least |
//! | `put_month`, `seal_month` | a transaction of 2 or 3 |

use hongbao_core::limits::MONTH_ROWS_AT_ONCE_MAX;
use hongbao_core::manifest::{Block, Month, Tie};
use hongbao_core::{Date, UserId};
use hongbao_database::row::StoredRow;

use super::rows::{MONTH_COLUMNS, balance, block, month_row, month_values, part_values, stored_month, tie, user_at};
use super::{LedgerEnd, MonthAttempt, MonthPart, MonthRow, ShardPlace, UserAt};
use crate::WalletError;

/// What an attempt writes, and the tables that it may have left rows in.
const PARTS: [&str; 3] = ["month_block", "month_balance", "month_tie"];

/// A database with months.
pub(crate) trait MonthTables: Send + Sync {
    /// Its rows.
    type Row: StoredRow + Send + Sync;

    /// Which it is.
    fn place(&self) -> ShardPlace;

    /// A table's name in a statement.
    fn table(&self, name: &str) -> String;

    /// The rows that a statement finds, and the slots of users who have left.
    fn rows(&self, sql: &str) -> impl Future<Output = Result<(Vec<Self::Row>, String), WalletError>> + Send;

    /// Whether a user of this name has left, when these slots have.
    fn has_left(&self, moved_slots: &str, name: &str) -> bool;

    /// Locks the row of `month_attempt`, and with `of_ledger` that of the ledger before it; reads what was locked,
    /// and then `sql`. Writes what comes of it, in one transaction, durable when it returns; false where nothing does.
    fn transact(
        &self,
        of_ledger: bool,
        sql: &str,
        decide: impl Fn(&Locked, &[Self::Row]) -> Result<Option<Writes>, WalletError> + Send + Sync,
    ) -> impl Future<Output = Result<bool, WalletError>> + Send;

    /// The statement that removes at most `limit` rows of a table.
    fn delete(&self, table: &str, condition: &str, limit: usize) -> String;
}

/// What a transaction has locked.
#[derive(Clone, Debug)]
pub(crate) struct Locked {
    /// The attempt that may write, and how often it has.
    pub attempt: i64,
    pub writes: i64,
    /// The slots of users who have left; empty where the ledger was not locked.
    pub moved_slots: String,
}

/// What a transaction writes.
#[derive(Debug)]
pub(crate) struct Writes {
    /// Statements, the last of which writes `month_attempt`, if what was locked stands there.
    pub sql: String,
    /// The rows that they touch together.
    pub rows: u64,
}

/// How far a database has come.
pub(crate) async fn ledger_end(tables: &impl MonthTables) -> Result<LedgerEnd, WalletError> {
    let (months, transfers) = (tables.table("sealed_month"), tables.table("transfer"));
    let sql = format!(
        "SELECT /* ledger_end */ t.last_position AS last_transfer, m.* \
         FROM (SELECT COALESCE(MAX(position), 0) AS last_position FROM {transfers}) t \
         LEFT JOIN (SELECT {MONTH_COLUMNS} FROM {months} ORDER BY number DESC LIMIT 1) m ON 1 = 1"
    );
    let (rows, moved_slots) = tables.rows(&sql).await?;
    let row = rows.first().expect("a maximum is one row");
    let last = row.int_or_null(1)?.map(|_| stored_month(tables.place().database, &Behind(row))).transpose()?;
    Ok(LedgerEnd { moved_slots, last_position: row.int(0)?, last })
}

/// A row without its first column.
struct Behind<'a, R>(&'a R);

impl<R: StoredRow> StoredRow for Behind<'_, R> {
    fn int_or_null(&self, column: usize) -> Result<Option<i64>, hongbao_database::DatabaseError> {
        self.0.int_or_null(column + 1)
    }

    fn text_or_null(&self, column: usize) -> Result<Option<&str>, hongbao_database::DatabaseError> {
        self.0.text_or_null(column + 1)
    }

    fn bytes_or_null(&self, column: usize) -> Result<Option<&[u8]>, hongbao_database::DatabaseError> {
        self.0.bytes_or_null(column + 1)
    }
}

/// Manifests behind the one of this number.
pub(crate) async fn months(tables: &impl MonthTables, after: u64, limit: u32) -> Result<Vec<MonthRow>, WalletError> {
    let sql = format!(
        "SELECT /* months */ {MONTH_COLUMNS} FROM {} WHERE number > {after} ORDER BY number LIMIT {limit}",
        tables.table("sealed_month")
    );
    let database = tables.place().database;
    let (rows, moved_slots) = tables.rows(&sql).await?;
    rows.iter().map(|row| month_row(database, &moved_slots, row)).collect()
}

/// The blocks of a month.
pub(crate) async fn blocks(tables: &impl MonthTables, number: u64) -> Result<Vec<Block>, WalletError> {
    let sql = format!(
        "SELECT /* month_blocks */ last_position, transfers, rows_hash FROM {} WHERE number = {number} \
         ORDER BY last_position",
        tables.table("month_block")
    );
    tables.rows(&sql).await?.0.iter().map(block).collect()
}

/// The ties of a month.
pub(crate) async fn ties(tables: &impl MonthTables, number: u64) -> Result<Vec<(Date, Tie)>, WalletError> {
    let sql = format!(
        "SELECT /* month_ties */ date, transfers, amount_fen, hash FROM {} WHERE number = {number} ORDER BY date",
        tables.table("month_tie")
    );
    tables.rows(&sql).await?.0.iter().map(tie).collect()
}

/// The balances of a month.
pub(crate) async fn balances(
    tables: &impl MonthTables,
    number: u64,
    after: &str,
    limit: u32,
) -> Result<Vec<(String, i64)>, WalletError> {
    let sql = format!(
        "SELECT /* month_balances */ user_id, balance_fen FROM {} WHERE number = {number} AND user_id > '{}' \
         ORDER BY user_id LIMIT {limit}",
        tables.table("month_balance"),
        literal(after)?
    );
    tables.rows(&sql).await?.0.iter().map(balance).collect()
}

/// Users as they were at a position. `names` is the statement that lists so many behind one.
pub(crate) async fn users_at(
    tables: &impl MonthTables,
    names: impl Fn(&str, u32) -> String,
    after: &str,
    (position, number): (i64, u64),
    limit: u32,
) -> Result<Vec<UserAt>, WalletError> {
    let (transfers, balances) = (tables.table("transfer"), tables.table("month_balance"));
    let (mut page, mut after) = (Vec::new(), after.to_owned());
    loop {
        let room = limit - page.len() as u32;
        let last = |column: &str| {
            format!(
                "(SELECT t.{column} FROM {transfers} t WHERE t.user_id = p.user_id AND t.position <= {position} \
                 ORDER BY t.position DESC LIMIT 1)"
            )
        };
        let sql = format!(
            "SELECT /* users_at */ p.user_id, {}, {}, (SELECT m.balance_fen FROM {balances} m \
               WHERE m.user_id = p.user_id AND m.number < {number} ORDER BY m.number DESC LIMIT 1) \
             FROM ({}) p ORDER BY p.user_id",
            last("position"),
            last("balance_fen"),
            names(literal(&after)?, room)
        );
        let (rows, moved_slots) = tables.rows(&sql).await?;
        for row in &rows {
            let user = user_at(row)?;
            after.clone_from(&user.user);
            if !tables.has_left(&moved_slots, &user.user) {
                page.push(user);
            }
        }
        if rows.len() < room as usize || page.len() == limit as usize {
            return Ok(page);
        }
    }
}

/// Begins an attempt.
pub(crate) async fn begin(tables: &impl MonthTables) -> Result<MonthAttempt, WalletError> {
    let months = tables.table("sealed_month");
    let sql = format!(
        "SELECT /* begin_month */ number, moved_slots, (SELECT COUNT(*) FROM {months}) FROM {months} \
         ORDER BY number DESC LIMIT 1"
    );
    let begun = parking_lot::Mutex::new(None);
    tables
        .transact(true, &sql, |locked, rows| {
            let (mut number, mut removes, mut rows_removed) = (1, String::new(), 0);
            if let Some(last) = rows.first() {
                if last.text(1)? == locked.moved_slots {
                    number = last.int(0)?.unsigned_abs() + 1;
                } else {
                    (removes, rows_removed) = (format!("DELETE FROM {months}; "), last.int(2)?.unsigned_abs());
                }
            }
            let attempt = locked.attempt + 1;
            let shard = tables.place().shard;
            *begun.lock() = Some(MonthAttempt { shard, attempt, number, moved_slots: locked.moved_slots.clone() });
            let sql = format!("{removes}{}", step(tables, locked, attempt));
            Ok(Some(Writes { sql, rows: rows_removed + 1 }))
        })
        .await?;
    let attempt = begun.into_inner().expect("the transaction has decided");
    for part in PARTS {
        remove(tables, &attempt, part).await?;
    }
    Ok(attempt)
}

/// Removes what attempts before have left in a table.
async fn remove(tables: &impl MonthTables, attempt: &MonthAttempt, part: &str) -> Result<(), WalletError> {
    let (name, condition) = (tables.table(part), format!("number >= {}", attempt.number));
    let sql = format!(
        "SELECT /* leftovers */ COUNT(*) FROM (SELECT 1 FROM {name} WHERE {condition} LIMIT {MONTH_ROWS_AT_ONCE_MAX}) l"
    );
    let left = std::sync::atomic::AtomicU64::new(0);
    let is_left = || left.load(std::sync::atomic::Ordering::Relaxed) > 0;
    loop {
        let is_current = tables
            .transact(false, &sql, |locked, rows| {
                let count = rows.first().map_or(Ok(0), |row| row.int(0))?.unsigned_abs();
                left.store(count, std::sync::atomic::Ordering::Relaxed);
                if locked.attempt != attempt.attempt {
                    return Ok(None);
                }
                let removes = match count {
                    0 => String::new(),
                    _ => {
                        let condition = format!("{condition} AND {}", is_held(tables, locked));
                        format!("{}; ", tables.delete(&name, &condition, MONTH_ROWS_AT_ONCE_MAX))
                    }
                };
                let sql = format!("{removes}{}", step(tables, locked, locked.attempt));
                Ok(Some(Writes { sql, rows: count + 1 }))
            })
            .await?;
        // The next write of an attempt that was ended is refused.
        if !is_current || !is_left() {
            return Ok(());
        }
    }
}

/// Writes a part.
pub(crate) async fn put(
    tables: &impl MonthTables,
    attempt: &MonthAttempt,
    part: &MonthPart,
) -> Result<bool, WalletError> {
    let (table, columns, values, rows) = part_values(attempt.number, part);
    if rows == 0 {
        return Ok(true);
    }
    let insert = format!("INSERT /* put_month */ INTO {} ({columns}) VALUES {values}; ", tables.table(table));
    tables
        .transact(false, "", |locked, _| {
            let is_current = locked.attempt == attempt.attempt;
            Ok(is_current
                .then(|| Writes { sql: format!("{insert}{}", step(tables, locked, locked.attempt)), rows: rows + 1 }))
        })
        .await
}

/// Ends an attempt with its manifest.
pub(crate) async fn seal(
    tables: &impl MonthTables,
    attempt: &MonthAttempt,
    month: &Month,
) -> Result<bool, WalletError> {
    let months = tables.table("sealed_month");
    let sql = format!("SELECT /* seal_month */ COALESCE(MAX(number), 0) FROM {months}");
    let values = month_values(month);
    tables
        .transact(true, &sql, |locked, rows| {
            let last = rows.first().map_or(Ok(0), |row| row.int(0))?;
            let goes_on = last.unsigned_abs() + 1 == attempt.number;
            if !goes_on || locked.attempt != attempt.attempt || locked.moved_slots != attempt.moved_slots {
                return Ok(None);
            }
            // On a cluster a node may end the transaction before this statement, and then runs it alone.
            let insert = format!(
                "INSERT /* seal_month */ INTO {months} ({MONTH_COLUMNS}) SELECT {values} FROM {} WHERE one = 1 AND {}; ",
                tables.table("month_attempt"),
                is_held(tables, locked)
            );
            Ok(Some(Writes { sql: format!("{insert}{}", step(tables, locked, locked.attempt)), rows: 2 }))
        })
        .await
}

/// The condition that what was locked stands there still.
fn is_held(tables: &impl MonthTables, locked: &Locked) -> String {
    let Locked { attempt, writes, .. } = locked;
    format!(
        "EXISTS (SELECT 1 FROM {} h WHERE h.one = 1 AND h.attempt = {attempt} AND h.writes = {writes})",
        tables.table("month_attempt")
    )
}

/// The write of `month_attempt` by which a transaction is the only one to go on from what it has read.
fn step(tables: &impl MonthTables, locked: &Locked, next: i64) -> String {
    let Locked { attempt, writes, .. } = locked;
    format!(
        "UPDATE /* month */ {} SET attempt = {next}, writes = writes + 1 \
         WHERE one = 1 AND attempt = {attempt} AND writes = {writes}",
        tables.table("month_attempt")
    )
}

/// A user's name, or none, as a literal can hold it. One that could not be a user's is damage.
fn literal(name: &str) -> Result<&str, WalletError> {
    match name.is_empty() || UserId::parse(name).is_some() {
        true => Ok(name),
        false => Err(WalletError::Damaged(format!("a user is called {name:?}"))),
    }
}
