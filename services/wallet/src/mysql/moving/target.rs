//! The database that slots come to. It is made by the move, and refuses everything
//! until it has all of their transfers.

use hongbao_core::SystemBalances;
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_database::mysql::failure::reading;
use hongbao_database::mysql::migration::{fetch_insisting, insist};
use hongbao_database::{DatabaseError, StoredRow as _};
use sqlx::mysql::MySqlRow;

use super::place::{Place, new_id};
use super::rows::{COLUMNS, CopiedRow, Page, insert, system_of};
use crate::mysql::fence::{FENCE_COLUMNS, Fence};
use crate::mysql::layout::ShardPlan;
use crate::mysql::migrate::{self, SCHEMA, check_identity, claim, guard_transfers};
use crate::mysql::transact::Write;
use crate::{WalletError, system};

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
    /// Names this database: made anew it has another name.
    pub target_id: String,
    /// Whether it serves, and what it has given up again since.
    pub fence: Fence,
    /// Up to here the source was copied.
    pub last_position: i64,
    /// Up to here it was compared.
    pub compared_to: i64,
    transactions: i64,
    /// The balances of the system, as the rows here make them.
    pub system: SystemBalances,
}

impl Target {
    pub async fn open(options: MysqlOptions, plan: &ShardPlan, databases: u8) -> Result<Target, WalletError> {
        let place = Place::open(options, plan.name()).await?;
        Ok(Target { place, plan: plan.clone(), databases })
    }

    /// What it has, once the move has ended: then a user may have been written for, and nothing is touched any more.
    pub async fn opened(&self) -> Result<Option<TargetState>, WalletError> {
        if !self.is_made().await? {
            return Ok(None);
        }
        // A crash must not take back what an operator is shown.
        let state = self.read_state(self.place.fetch_durably(&self.text_of_state()).await?)?;
        Ok((!state.fence.is_arriving).then_some(state))
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
        let text = format!("SELECT slots FROM {}.meta", self.place.db);
        match fetch_insisting(lease.connection(), limit, &text).await {
            Err(broken) if broken.is_missing() => return Ok(0),
            rows => {
                let rows = rows.map_err(reading)?;
                let Some(row) = rows.first() else { return Ok(0) };
                // Those of the next file, all of them and no others, were copied and compared.
                if row.text(0)? != self.plan.slot_set().to_string() {
                    let reason = format!("was made for the slots {}, and not those of the next file", row.text(0)?);
                    return Err(self.refused(&reason));
                }
            }
        }
        let found = check_identity(lease.connection(), limit, &self.plan, self.databases).await;
        let version = found.map_err(DatabaseError::from)?.unwrap_or(0);
        lease.give_back();
        Ok(version)
    }

    /// Makes the database for a move that its source knows by this id. It refuses before it is complete, and before that no process uses it.
    pub async fn make(&self, id: &str) -> Result<(), WalletError> {
        let db = &self.place.db;
        let mut lease = self.place.connections.lease().await?;
        claim(&mut lease, &self.plan, self.databases).await?;
        SCHEMA.prepare(&mut lease, db, &[]).await?;
        guard_transfers(&mut lease, db).await?;
        let (slots, target_id) = (self.plan.slot_set(), new_id());
        // Of two runs one names the database, and none closes again what another one has filled.
        let named = format!(
            "INSERT IGNORE INTO {db}.slot_move (id, arrival, slots, target_id, compared_to) \
             VALUES ('{id}', 1, '{slots}', '{target_id}', 0)"
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
        Ok(())
    }

    /// Refuses a database that is not what its slots need.
    pub async fn check(&self) -> Result<(), WalletError> {
        migrate::check(&self.place.connections, &self.plan, self.databases).await
    }

    /// What it has so far.
    pub async fn state(&self) -> Result<TargetState, WalletError> {
        self.read_state(self.place.fetch(&self.text_of_state()).await?)
    }

    fn text_of_state(&self) -> String {
        let db = &self.place.db;
        format!(
            "SELECT /* move */ m.id, m.target_id, m.slots, l.last_position, m.compared_to, l.transactions, {}, \
             {FENCE_COLUMNS} FROM {db}.ledger l JOIN {db}.fence f ON f.one = l.one \
             JOIN {db}.slot_move m ON m.arrival = 1 WHERE l.one = 1",
            system::columns_of("l")
        )
    }

    fn read_state(&self, rows: Vec<MySqlRow>) -> Result<TargetState, WalletError> {
        let Some(row) = rows.first() else {
            return Err(WalletError::Unavailable(format!(
                "{} is there already and was not made by a move: slots come to a new database alone",
                self.place.db
            )));
        };
        if row.text(2)? != self.plan.slot_set().to_string() {
            return Err(self.refused(&format!("gets the slots {}, and not those of the next file", row.text(2)?)));
        }
        let damaged = || WalletError::Damaged(format!("{}.fence has no row that makes sense", self.place.db));
        Ok(TargetState {
            id: row.text(0)?.to_owned(),
            target_id: row.text(1)?.to_owned(),
            last_position: row.int(3)?,
            compared_to: row.int(4)?,
            transactions: row.int(5)?,
            system: system::balances(row, 6)?,
            fence: Fence::read(row, 10)?.ok_or_else(damaged)?,
        })
    }

    /// Adds a page to what a state has.
    pub async fn append(&self, state: &TargetState, page: &Page) -> Result<(), WalletError> {
        let db = &self.place.db;
        let system = state.system.zip_with(system_of(&page.rows)?, i64::checked_add);
        let system = system.ok_or_else(|| self.refused("would overflow"))?;
        let mut sql = format!(
            "UPDATE /* move */ {db}.ledger SET last_position = {}, {}, transactions = transactions + 1 \
             WHERE one = 1 AND transactions = {}",
            page.until,
            system::assignments("", system),
            state.transactions
        );
        // The ledger comes last: it never says that there are rows which are not.
        if !page.rows.is_empty() {
            sql = format!("{}; {sql}", insert(db, &page.rows));
        }
        self.transact(state, sql, page.rows.len() as u64 + 1).await
    }

    /// Where it is.
    pub fn place(&self) -> &Place {
        &self.place
    }

    /// Adds rows beside transfers: a statement that touches so many, or finds them there.
    pub async fn add(&self, sql: String, rows: u64) -> Result<(), WalletError> {
        let state = self.state().await?;
        let ledger = format!(
            "UPDATE /* move */ {}.ledger SET transactions = transactions + 1 WHERE one = 1 AND transactions = {}",
            self.place.db, state.transactions
        );
        self.transact(&state, format!("{sql}; {ledger}"), rows + 1).await
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
        let sql = format!(
            "UPDATE /* move */ {0}.ledger l JOIN {0}.slot_move m ON m.arrival = 1 SET m.compared_to = {1}, \
             l.transactions = l.transactions + 1 WHERE l.one = 1 AND l.transactions = {2}",
            self.place.db, state.last_position, state.transactions
        );
        // Found, be it changed or not.
        self.transact(state, sql, 2).await
    }

    /// Serves from here on, with all that the state has.
    pub async fn open_for_users(&self, state: &TargetState) -> Result<(), WalletError> {
        if state.compared_to < state.last_position {
            return Err(self.refused("has transfers that were not compared"));
        }
        let sql = format!(
            "UPDATE /* move */ {0}.ledger l JOIN {0}.fence f ON f.one = l.one SET f.is_arriving = 0, \
             l.transactions = l.transactions + 1 WHERE l.one = 1 AND l.transactions = {1}",
            self.place.db, state.transactions
        );
        self.transact(state, sql, 2).await
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
