//! The database that slots come to. It is made by the move, and refuses everything
//! until it has all of their transfers.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_database::mysql::failure::reading;
use hongbao_database::mysql::migration::{fetch_insisting, insist};
use hongbao_database::{DatabaseError, StoredRow as _};
use sqlx::mysql::MySqlRow;

use super::place::{Place, Write};
use super::rows::{COLUMNS, CopiedRow, Page, System, insert};
use crate::WalletError;
use crate::mysql::layout::ShardPlan;
use crate::mysql::migrate::{self, SCHEMA, check_identity, claim, guard_transfers};

/// A target.
pub(super) struct Target {
    place: Place,
    plan: ShardPlan,
    databases: u8,
}

/// What it has so far.
pub(super) struct TargetState {
    /// Names the move, here and at the source.
    pub id: String,
    is_arriving: bool,
    /// Up to here the source was copied.
    pub last_position: i64,
    /// Up to here it was compared.
    pub compared_to: i64,
    transactions: i64,
    /// The balances of the system, as the rows here make them.
    pub system: System,
}

impl Target {
    pub async fn open(options: MysqlOptions, plan: &ShardPlan, databases: u8) -> Result<Target, WalletError> {
        let place = Place::open(options, plan.name()).await?;
        Ok(Target { place, plan: plan.clone(), databases })
    }

    /// Whether the move has ended: then a user may have been written for, and nothing is touched any more.
    pub async fn is_open(&self) -> Result<bool, WalletError> {
        // A crash must not take back what an operator is shown.
        Ok(self.is_made().await?
            && !self.read_state(self.place.fetch_durably(&self.text_of_state()).await?)?.is_arriving)
    }

    /// Whether the database is there, and complete.
    pub async fn is_made(&self) -> Result<bool, WalletError> {
        Ok(self.version().await? > 0)
    }

    /// The version of the database; 0 while it is missing or incomplete.
    async fn version(&self) -> Result<i64, WalletError> {
        let mut lease = self.place.connections.lease().await?;
        let limit = lease.limit();
        // A run that was killed may have left a table that says nothing yet.
        let text = format!("SELECT 1 FROM {}.meta", self.place.db);
        match fetch_insisting(lease.connection(), limit, &text).await {
            Err(broken) if broken.is_missing() => return Ok(0),
            rows => {
                if rows.map_err(reading)?.is_empty() {
                    return Ok(0);
                }
            }
        }
        let found = check_identity(lease.connection(), limit, &self.plan, self.databases).await;
        let version = found.map_err(DatabaseError::from)?.unwrap_or(0);
        lease.give_back();
        Ok(version)
    }

    /// Makes the database. It refuses before it is complete, and before that no process uses it.
    pub async fn make(&self) -> Result<(), WalletError> {
        let db = &self.place.db;
        if !self.is_made().await? {
            let mut lease = self.place.connections.lease().await?;
            claim(&mut lease, &self.plan, self.databases).await?;
            SCHEMA.prepare(&mut lease, db, &[]).await?;
            guard_transfers(&mut lease, db).await?;
            let slots = self.plan.slot_set();
            // Of two runs one names the move, and none closes again what another one has filled.
            let named = format!(
                "INSERT IGNORE INTO {db}.slot_move (id, arrival, slots, compared_to) VALUES ('{}', 1, '{slots}', 0)",
                new_id()
            );
            let closed = format!(
                "UPDATE {db}.ledger l JOIN {db}.fence f ON f.one = l.one SET f.is_arriving = 1, l.transactions = 1 \
                 WHERE l.one = 1 AND l.transactions = 0"
            );
            for statement in [named, closed] {
                insist(&mut lease, &statement).await.map_err(reading)?;
            }
            SCHEMA.complete(&mut lease, db).await?;
            lease.give_back();
        }
        migrate::check(&self.place.connections, &self.plan, self.databases).await
    }

    /// What it has so far.
    pub async fn state(&self) -> Result<TargetState, WalletError> {
        self.read_state(self.place.fetch(&self.text_of_state()).await?)
    }

    fn text_of_state(&self) -> String {
        let db = &self.place.db;
        format!(
            "SELECT /* move */ m.id, f.is_arriving, l.last_position, m.compared_to, l.transactions, l.clearing_fen, \
             l.top_ups_fen FROM {db}.ledger l JOIN {db}.fence f ON f.one = l.one \
             JOIN {db}.slot_move m ON m.arrival = 1 WHERE l.one = 1"
        )
    }

    fn read_state(&self, rows: Vec<MySqlRow>) -> Result<TargetState, WalletError> {
        let Some(row) = rows.first() else {
            return Err(WalletError::Unavailable(format!(
                "{} is there already and was not made by a move: slots come to a new database alone",
                self.place.db
            )));
        };
        Ok(TargetState {
            id: row.text(0)?.to_owned(),
            is_arriving: row.int(1)? != 0,
            last_position: row.int(2)?,
            compared_to: row.int(3)?,
            transactions: row.int(4)?,
            system: System { clearing: row.int(5)?, top_ups: row.int(6)? },
        })
    }

    /// Adds a page to what a state has.
    pub async fn append(&self, state: &TargetState, page: &Page) -> Result<(), WalletError> {
        let db = &self.place.db;
        let System { clearing, top_ups } = System::of(&page.rows)?;
        let sum = |one: i64, other: i64| one.checked_add(other).ok_or_else(|| self.refused("would overflow"));
        let (clearing, top_ups) = (sum(state.system.clearing, clearing)?, sum(state.system.top_ups, top_ups)?);
        let set = format!("last_position = {}, clearing_fen = {clearing}, top_ups_fen = {top_ups}, ", page.until);
        let mut sql = self.update(state, &set);
        if !page.rows.is_empty() {
            sql = format!("{sql}; {}", insert(db, &page.rows));
        }
        self.transact(state, sql, page.rows.len() as u64 + 1).await
    }

    /// Its rows behind a position, and up to another one.
    pub async fn rows(&self, after: i64, until: i64) -> Result<Vec<CopiedRow>, WalletError> {
        let sql = format!(
            "SELECT /* move */ {COLUMNS} FROM {}.transfer WHERE position > {after} AND position <= {until} \
             ORDER BY position",
            self.place.db
        );
        self.place.fetch(&sql).await?.iter().map(CopiedRow::read).collect()
    }

    /// All that the state has was found to be the same as at the source.
    pub async fn note_compared(&self, state: &TargetState) -> Result<(), WalletError> {
        let noted = format!(
            "{}; UPDATE {}.slot_move SET compared_to = {} WHERE arrival = 1",
            self.update(state, ""),
            self.place.db,
            state.last_position
        );
        self.transact(state, noted, 2).await
    }

    /// Serves from here on, with all that the state has.
    pub async fn open_for_users(&self, state: &TargetState) -> Result<(), WalletError> {
        if state.compared_to < state.last_position {
            return Err(self.refused("has transfers that were not compared"));
        }
        let open = format!("UPDATE /* move */ {}.fence SET is_arriving = 0 WHERE one = 1", self.place.db);
        self.transact(state, format!("{}; {open}", self.update(state, "")), 2).await
    }

    /// Sets columns of the ledger, each with a comma behind it, if it is as it was.
    fn update(&self, state: &TargetState, set: &str) -> String {
        format!(
            "UPDATE /* move */ {}.ledger SET {set}transactions = transactions + 1 \
             WHERE one = 1 AND transactions = {}",
            self.place.db, state.transactions
        )
    }

    async fn transact(&self, state: &TargetState, sql: String, rows: u64) -> Result<(), WalletError> {
        let read = format!(
            "SELECT /* move */ l.transactions, f.is_arriving FROM {0}.ledger l JOIN {0}.fence f ON f.one = l.one \
             WHERE l.one = 1 FOR UPDATE",
            self.place.db
        );
        self.place
            .transact(&read, |found| {
                let as_it_was = match found.first() {
                    Some(row) => row.int(0)? == state.transactions && row.int(1)? == 1,
                    None => false,
                };
                if !as_it_was {
                    return Err(self.refused("is being filled by another run, or was started anew: run it again"));
                }
                Ok(Write { sql: sql.clone(), rows, value: () })
            })
            .await
    }

    fn refused(&self, reason: &str) -> WalletError {
        WalletError::Unavailable(format!("the target, {}, {reason}", self.place.db))
    }
}

/// 32 hexadecimal digits that no other move has. Not secret: nothing rests on guessing it.
fn new_id() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}
