//! The database that slots leave.

use hongbao_core::SystemBalances;
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::MysqlOptions;
use sqlx::mysql::MySqlRow;

use super::place::{Place, new_id};
use super::rows::{COLUMNS, CopiedRow, PAGE, Page};
use super::target::TargetState;
use crate::mysql::fence::{FENCE_COLUMNS, Fence};
use crate::mysql::layout::{ShardPlan, slot_of};
use crate::mysql::migrate;
use crate::mysql::slots::SlotSet;
use crate::mysql::transact::Write;
use crate::{WalletError, system};

/// What an operator is reminded of.
const ONE_FILE: &str = "a move goes on with the two files that it was begun with";

/// A source, and the slots that leave it.
pub(super) struct Source {
    place: Place,
    slots: SlotSet,
}

/// A move away from here.
struct Leaving {
    id: String,
    slots: SlotSet,
    /// What was taken out of the balances, and the database that has got it, if that was done.
    taken: Option<(SystemBalances, String)>,
}

/// Its ledger and what it knows of moves, under the lock.
struct Ledger {
    last_position: i64,
    transactions: i64,
    system: SystemBalances,
    fence: Fence,
    leaving: Vec<Leaving>,
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

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// The last position; no crash takes it back.
    pub async fn last_position(&self) -> Result<i64, WalletError> {
        let sql = format!("SELECT /* move */ last_position FROM {}.ledger WHERE one = 1", self.place.db);
        let rows = self.place.fetch_durably(&sql).await?;
        Ok(rows.first().ok_or_else(|| self.damaged())?.int(0)?)
    }

    /// Names the move, before the target is made, or made anew because it was lost before it had got anything.
    /// Refuses where this database does not hold the slots, or has begun to move some of them otherwise.
    pub async fn announce(&self) -> Result<String, WalletError> {
        let (db, slots, new_id) = (&self.place.db, self.slots, new_id());
        self.transact(|ledger| {
            let same = |leaving: &&Leaving| leaving.slots == slots && leaving.taken.is_none();
            if let Some(known) = ledger.leaving.iter().find(same) {
                return Ok(Write { sql: self.update(ledger), rows: 1, value: known.id.clone() });
            }
            ledger.fence.check_all(db, slots)?;
            if let Some(other) = ledger.leaving.iter().find(|leaving| !leaving.slots.and(slots).is_empty()) {
                return Err(self.refused(&format!("has begun to move the slots {}: {ONE_FILE}", other.slots)));
            }
            let sql = format!(
                "INSERT INTO {db}.slot_move (id, arrival, slots, compared_to) SELECT '{new_id}', NULL, '{slots}', 0 \
                 FROM {db}.ledger WHERE one = 1 AND transactions = {}; {}",
                ledger.transactions,
                self.update(ledger)
            );
            Ok(Write { sql, rows: 2, value: new_id.clone() })
        })
        .await
    }

    /// Refuses a target that was made to be filled from another database, or with other slots.
    pub async fn check_announced(&self, id: &str) -> Result<(), WalletError> {
        self.transact(|ledger| {
            self.known(ledger, id)?;
            Ok(Write { sql: self.update(ledger), rows: 1, value: () })
        })
        .await
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
        self.transact(|ledger| {
            self.known(ledger, id)?;
            Ok(self.give_up(ledger, ()))
        })
        .await
    }

    /// The same when the target serves: this database may have been restored as it was before the fence.
    /// Refuses then, for its books need an operator; but its users are refused first.
    pub async fn stay_fenced(&self, target: &TargetState) -> Result<(), WalletError> {
        let is_settled = self
            .transact(|ledger| {
                let known = ledger.leaving.iter().find(|leaving| leaving.id == target.id);
                let taken_by = known.and_then(|known| known.taken.as_ref()).map(|(_, taken_by)| taken_by);
                Ok(self.give_up(ledger, taken_by == Some(&target.target_id)))
            })
            .await?;
        match is_settled {
            true => Ok(()),
            false => Err(self.refused(
                "was not settled with the target, which serves: it was restored as it was before, or is not the \
                 source. It refuses these slots now; its books are not right: see the handbook",
            )),
        }
    }

    /// The last position at which there can be a transfer of the slots; the fence is durable.
    pub async fn fenced_position(&self, id: &str) -> Result<i64, WalletError> {
        self.transact(|ledger| {
            self.known(ledger, id)?;
            if !ledger.fence.moved.includes(self.slots) {
                return Err(self.refused("is not fenced"));
            }
            Ok(Write { sql: self.update(ledger), rows: 1, value: ledger.last_position })
        })
        .await
    }

    /// Takes out of the system's balances, once and for one target, what belongs to transfers that have
    /// moved: the balances that the target has.
    pub async fn settle(&self, target: &TargetState) -> Result<(), WalletError> {
        let db = &self.place.db;
        self.transact(|ledger| {
            if self.known(ledger, &target.id)?.taken.is_some() {
                return Ok(Write { sql: self.update(ledger), rows: 1, value: () });
            }
            let left = ledger.system.zip_with(target.system, i64::checked_sub).ok_or_else(|| self.damaged())?;
            // One statement: neither is ever written without the other.
            let sql = format!(
                "UPDATE /* move */ {db}.ledger l JOIN {db}.slot_move m ON m.id = '{}' \
                 SET {}, l.transactions = l.transactions + 1, {}, m.target_id = '{}' \
                 WHERE l.one = 1 AND l.transactions = {} AND m.clearing_fen IS NULL",
                target.id,
                system::assignments("l.", left),
                system::assignments("m.", target.system),
                target.target_id,
                ledger.transactions
            );
            Ok(Write { sql, rows: 2, value: () })
        })
        .await
    }

    /// Refuses to go on where another target has got the slots, or this one has other balances than were taken out here.
    pub async fn check_settled(&self, target: &TargetState) -> Result<(), WalletError> {
        self.transact(|ledger| {
            let expected = (target.system, target.target_id.clone());
            if self.known(ledger, &target.id)?.taken != Some(expected) {
                return Err(self.refused("has not given up what this target has: another one may have got it"));
            }
            Ok(Write { sql: self.update(ledger), rows: 1, value: () })
        })
        .await
    }

    fn known<'a>(&self, ledger: &'a Ledger, id: &str) -> Result<&'a Leaving, WalletError> {
        let known = ledger.leaving.iter().find(|leaving| leaving.id == id && leaving.slots == self.slots);
        known.ok_or_else(|| self.refused(&format!("is not the source of the target that is there: {ONE_FILE}")))
    }

    /// Sets the fence, if it is not, and in any case the version of the ledger: this commit makes durable
    /// what was only visible.
    fn give_up<T>(&self, ledger: &Ledger, value: T) -> Write<T> {
        let (db, moved) = (&self.place.db, ledger.fence.moved.or(self.slots));
        if ledger.fence.moved == moved {
            return Write { sql: self.update(ledger), rows: 1, value };
        }
        let sql = format!(
            "UPDATE /* move */ {db}.ledger l JOIN {db}.fence f ON f.one = l.one SET f.moved_slots = '{moved}', \
             l.transactions = l.transactions + 1 WHERE l.one = 1 AND l.transactions = {}",
            ledger.transactions
        );
        Write { sql, rows: 2, value }
    }

    /// Changes the version of the ledger alone, so that the commit changes a row.
    fn update(&self, ledger: &Ledger) -> String {
        format!(
            "UPDATE /* move */ {}.ledger SET transactions = transactions + 1 WHERE one = 1 AND transactions = {}",
            self.place.db, ledger.transactions
        )
    }

    async fn transact<T>(&self, decide: impl Fn(&Ledger) -> Result<Write<T>, WalletError>) -> Result<T, WalletError> {
        let db = &self.place.db;
        // The rows of moves are written under the lock of the ledger alone.
        let read = format!(
            "SELECT /* move */ l.last_position, l.transactions, {}, {FENCE_COLUMNS} \
             FROM {db}.ledger l JOIN {db}.fence f ON f.one = l.one WHERE l.one = 1 FOR UPDATE; \
             SELECT /* move */ id, slots, target_id, clearing_fen, COALESCE(top_ups_fen, 0), COALESCE(provider_fen, 0), \
             COALESCE(payouts_fen, 0) FROM {db}.slot_move WHERE arrival IS NULL",
            system::columns_of("l")
        );
        self.place
            .transact(&read, |rows| {
                let row = rows.first().ok_or_else(|| self.damaged())?;
                let ledger = Ledger {
                    last_position: row.int(0)?,
                    transactions: row.int(1)?,
                    system: system::balances(row, 2)?,
                    fence: Fence::read(row, 6)?.ok_or_else(|| self.damaged())?,
                    leaving: rows[1..].iter().map(|row| self.leaving(row)).collect::<Result<_, _>>()?,
                };
                if ledger.fence.is_arriving {
                    return Err(self.refused("is being filled itself"));
                }
                decide(&ledger)
            })
            .await
    }

    fn leaving(&self, row: &MySqlRow) -> Result<Leaving, WalletError> {
        let slots = SlotSet::parse(row.text(1)?).ok_or_else(|| self.damaged())?;
        // Of a move from before there was a provider, nothing was taken out of its accounts.
        let taken = system::balances_or_null(row, 3)?.zip(row.text_or_null(2)?.map(str::to_owned));
        Ok(Leaving { id: row.text(0)?.to_owned(), slots, taken })
    }

    fn refused(&self, reason: &str) -> WalletError {
        WalletError::Unavailable(format!("the source, {} with the slots {}, {reason}", self.place.db, self.slots))
    }

    fn damaged(&self) -> WalletError {
        WalletError::Damaged(format!(
            "{0}.ledger, {0}.fence or {0}.slot_move has no row that makes sense",
            self.place.db
        ))
    }
}
