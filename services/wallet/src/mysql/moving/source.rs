//! The database that slots leave.

use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_database::mysql::row::put;

use super::place::{Place, Write};
use super::rows::{COLUMNS, CopiedRow, PAGE, Page};
use super::target::TargetState;
use crate::WalletError;
use crate::mysql::fence::{FENCE_COLUMNS, Fence};
use crate::mysql::layout::{ShardPlan, slot_of};
use crate::mysql::migrate;
use crate::mysql::slots::SlotSet;

/// A source, and the slots that leave it.
pub(super) struct Source {
    place: Place,
    slots: SlotSet,
}

/// Its ledger and what it knows of a move, under the lock.
struct Ledger {
    last_position: i64,
    transactions: i64,
    clearing_fen: i64,
    top_ups_fen: i64,
    fence: Fence,
    /// It knows this move.
    is_known: bool,
    /// What was taken out of its balances, if that was done.
    taken: Option<(i64, i64)>,
}

impl Source {
    /// One that is what it should be.
    pub async fn open(
        options: MysqlOptions,
        plan: &ShardPlan,
        databases: u8,
        slots: SlotSet,
    ) -> Result<Source, WalletError> {
        let place = Place::open(options, plan.name()).await?;
        migrate::check(&place.connections, plan, databases).await?;
        Ok(Source { place, slots })
    }

    /// The last position that is visible.
    pub async fn last_position(&self) -> Result<i64, WalletError> {
        let sql = format!("SELECT /* move */ last_position FROM {}.ledger WHERE one = 1", self.place.db);
        let rows = self.place.fetch(&sql).await?;
        Ok(rows.first().ok_or_else(|| self.damaged())?.int(0)?)
    }

    /// Refuses where it holds some of the slots no more, before a database is made that could not be filled.
    pub async fn check_holder(&self) -> Result<(), WalletError> {
        let sql = format!("SELECT /* move */ {FENCE_COLUMNS} FROM {}.fence f WHERE f.one = 1", self.place.db);
        let rows = self.place.fetch(&sql).await?;
        let fence = rows.first().map(|row| Fence::read(row, 0)).transpose()?.flatten();
        fence.ok_or_else(|| self.damaged())?.check_all(&self.place.db, self.slots)
    }

    /// The rows of the slots behind a position, and up to another one; durable here.
    pub async fn page(&self, after: i64, end: i64) -> Result<Page, WalletError> {
        let sql = format!(
            "SELECT /* move */ {COLUMNS} FROM {}.transfer WHERE position > {after} AND position <= {end} \
             ORDER BY position LIMIT {PAGE}",
            self.place.db
        );
        let rows = self.place.fetch_durably(&sql).await?;
        let all = rows.iter().map(CopiedRow::read).collect::<Result<Vec<_>, _>>()?;
        let until = if all.len() < PAGE as usize { end } else { all[all.len() - 1].position };
        let rows = all.into_iter().filter(|row| self.slots.contains(slot_of(&row.user))).collect();
        Ok(Page { rows, until })
    }

    /// From here on no transaction of any process writes for the slots.
    pub async fn fence(&self, id: &str) -> Result<(), WalletError> {
        let (db, slots) = (&self.place.db, self.slots);
        self.transact(id, |ledger| {
            if ledger.fence.is_arriving {
                return Err(self.refused("is being filled itself"));
            }
            if !ledger.is_known && !ledger.fence.moved.and(slots).is_empty() {
                return Err(self.refused("has moved some of these slots to another database already"));
            }
            let moved = ledger.fence.moved.or(slots);
            // Also where it was set before: this commit makes durable what was only visible.
            let fence = format!("UPDATE /* move */ {db}.fence SET moved_slots = '{moved}' WHERE one = 1");
            let (mut sql, mut rows) = (format!("{}; {fence}", self.update(ledger, "")), 2);
            if !ledger.is_known {
                rows += 1;
                put(
                    &mut sql,
                    format_args!(
                        "; INSERT INTO {db}.slot_move (id, arrival, slots, compared_to) \
                         VALUES ('{id}', NULL, '{slots}', 0)"
                    ),
                );
            }
            Ok(Write { sql, rows, value: () })
        })
        .await
    }

    /// The last position at which there can be a transfer of the slots; the fence is durable.
    pub async fn fenced_position(&self, id: &str) -> Result<i64, WalletError> {
        self.transact(id, |ledger| {
            if !ledger.is_known || !ledger.fence.moved.includes(self.slots) {
                return Err(self.refused("is not fenced by this move"));
            }
            let sql = self.update(ledger, "");
            Ok(Write { sql, rows: 1, value: ledger.last_position })
        })
        .await
    }

    /// Takes out of the system's balances, once, what belongs to transfers that have moved:
    /// the balances that the target has.
    pub async fn settle(&self, target: &TargetState) -> Result<(), WalletError> {
        let db = &self.place.db;
        self.transact(&target.id, |ledger| {
            if !ledger.is_known {
                return Err(self.refused("is not fenced by this move"));
            }
            if ledger.taken.is_some() {
                return Ok(Write { sql: self.update(ledger, ""), rows: 1, value: () });
            }
            let (clearing, top_ups) = (target.system.clearing, target.system.top_ups);
            let left = (ledger.clearing_fen.checked_sub(clearing)).zip(ledger.top_ups_fen.checked_sub(top_ups));
            let (clearing_left, top_ups_left) = left.ok_or_else(|| self.damaged())?;
            let balances = format!("clearing_fen = {clearing_left}, top_ups_fen = {top_ups_left}, ");
            let sql = format!(
                "{}; UPDATE {db}.slot_move SET clearing_fen = {clearing}, top_ups_fen = {top_ups} \
                 WHERE id = '{}' AND clearing_fen IS NULL",
                self.update(ledger, &balances),
                target.id
            );
            Ok(Write { sql, rows: 2, value: () })
        })
        .await
    }

    /// Refuses to go on where the target has other balances than were taken out here.
    pub async fn check_settled(&self, target: &TargetState) -> Result<(), WalletError> {
        self.transact(&target.id, |ledger| {
            if ledger.taken != Some((target.system.clearing, target.system.top_ups)) {
                return Err(self.refused("has not given up what the target has"));
            }
            Ok(Write { sql: self.update(ledger, ""), rows: 1, value: () })
        })
        .await
    }

    /// Sets columns of the ledger, each with a comma behind it, and in any case its version: so the commit changes a row.
    fn update(&self, ledger: &Ledger, set: &str) -> String {
        format!(
            "UPDATE /* move */ {}.ledger SET {set}transactions = transactions + 1 \
             WHERE one = 1 AND transactions = {}",
            self.place.db, ledger.transactions
        )
    }

    async fn transact<T>(
        &self,
        id: &str,
        decide: impl Fn(&Ledger) -> Result<Write<T>, WalletError>,
    ) -> Result<T, WalletError> {
        let db = &self.place.db;
        // The row of the move is written under the lock of the ledger alone.
        let read = format!(
            "SELECT /* move */ l.last_position, l.transactions, l.clearing_fen, l.top_ups_fen, {FENCE_COLUMNS} \
             FROM {db}.ledger l JOIN {db}.fence f ON f.one = l.one WHERE l.one = 1 FOR UPDATE; \
             SELECT /* move */ 0, clearing_fen, top_ups_fen FROM {db}.slot_move WHERE id = '{id}' AND arrival IS NULL"
        );
        self.place
            .transact(&read, |rows| {
                let row = rows.first().ok_or_else(|| self.damaged())?;
                let known = rows.get(1);
                let taken = match known {
                    Some(known) => known.int_or_null(1)?.zip(known.int_or_null(2)?),
                    None => None,
                };
                decide(&Ledger {
                    last_position: row.int(0)?,
                    transactions: row.int(1)?,
                    clearing_fen: row.int(2)?,
                    top_ups_fen: row.int(3)?,
                    fence: Fence::read(row, 4)?.ok_or_else(|| self.damaged())?,
                    is_known: known.is_some(),
                    taken,
                })
            })
            .await
    }

    fn refused(&self, reason: &str) -> WalletError {
        WalletError::Unavailable(format!("the source, {} with the slots {}, {reason}", self.place.db, self.slots))
    }

    fn damaged(&self) -> WalletError {
        WalletError::Damaged(format!("{0}.ledger or {0}.fence has no row that makes sense", self.place.db))
    }
}
