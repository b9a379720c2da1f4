//! Sealed months: what is kept of them beside the transfers, and how one is made.
//!
//! A month is sealed by an *attempt*, of which there is one at a time in a database: beginning one ends
//! all others, and every write of an attempt that was ended is refused. What it writes (blocks, balances,
//! ties) counts for nothing until its manifest is there, which comes last, and is removed by the next attempt otherwise.

pub(crate) mod rows;
pub(crate) mod tables;

use std::collections::BTreeMap;

use async_trait::async_trait;
use hongbao_core::Date;
use hongbao_core::manifest::{Block, Hash, Month, MonthEnd, Tie};

use crate::WalletError;

/// A part of the wallet, with months of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardPlace {
    /// Which it is.
    pub shard: u8,
    /// The number of its database.
    pub database: u8,
    /// What is added to a position of the database to tell it from those of other parts.
    pub base: i64,
}

impl ShardPlace {
    /// The cursor of [`scan`](crate::WalletScans::scan) behind a position of the database, `None` for its beginning.
    pub fn behind(&self, position: Option<i64>) -> i64 {
        match position {
            Some(position) => self.base.saturating_add(position),
            // Damage may lie below the first position that there can be.
            None if self.base == 0 => i64::MIN,
            None => self.base,
        }
    }
}

/// A manifest as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredMonth {
    /// What it says.
    pub month: Month,
    /// The hash that is stored with it.
    pub hash: Hash,
}

/// A row of the manifests.
#[derive(Clone, Debug)]
pub struct MonthRow {
    /// Its place in the chain.
    pub number: u64,
    /// What it says, or why it cannot be read.
    pub month: Result<StoredMonth, String>,
    /// Users have left the database since, so it counts no more.
    pub is_void: bool,
}

/// How far a database has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LedgerEnd {
    /// The slots of users who have left it, "52 56".
    pub moved_slots: String,
    /// The position of its last transfer; 0 without any.
    pub last_position: i64,
    /// The last manifest, whatever slots had left by then.
    pub last: Option<StoredMonth>,
}

impl LedgerEnd {
    /// The last manifest that counts: no others have left since.
    pub fn sealed(&self) -> Option<&StoredMonth> {
        self.last.as_ref().filter(|last| last.month.moved_slots == self.moved_slots)
    }
}

/// An attempt to seal the next month of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MonthAttempt {
    /// The part of the wallet.
    pub shard: u8,
    /// Its own number.
    pub attempt: i64,
    /// The place in the chain that the month will have.
    pub number: u64,
    /// The slots of users who have left: none may leave before the month is sealed.
    pub moved_slots: String,
}

/// What an attempt writes before its manifest. At most
/// [`MONTH_ROWS_AT_ONCE_MAX`](hongbao_core::limits::MONTH_ROWS_AT_ONCE_MAX) at once.
#[derive(Clone, Debug)]
pub enum MonthPart {
    /// Transfers that follow each other.
    Block(Block),
    /// Balances of users at the end of the month.
    Balances(Vec<(String, i64)>),
    /// Ties to envelopes.
    Ties(Vec<(Date, Tie)>),
}

/// A user up to a position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserAt {
    /// The user's id.
    pub user: String,
    /// The position of the last transfer up to there, and the balance that it leads to; `None` without one.
    pub last: Option<(i64, i64)>,
    /// The balance at the end of the month before, if there was one.
    pub sealed_fen: Option<i64>,
}

/// Up to where the transfers of a database are taken by their months.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Boundary {
    /// The database.
    pub place: ShardPlace,
    /// The place of the last month in the chain.
    pub number: u64,
    /// The position in the database at which it ends.
    pub position: i64,
    /// The zone of its dates.
    pub zone_offset_s: i32,
    /// The balances at its end.
    pub end: MonthEnd,
}

/// The boundaries of a wallet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Boundaries(pub BTreeMap<u8, Boundary>);

impl Boundaries {
    /// The boundary at or above a position as callers see it; `None` for one that belongs to no sealed month.
    pub fn covering(&self, position: i64) -> Option<&Boundary> {
        // Bases rise with the numbers of the parts.
        let below = self.0.values().rev().find(|boundary| boundary.place.behind(None) < position)?;
        (position <= below.place.base + below.position).then_some(below)
    }
}

/// Sealed months of the wallet. Positions are those of the database here.
#[async_trait]
pub trait WalletMonths: Send + Sync {
    /// The parts of the wallet, in the order of their numbers.
    fn shards(&self) -> Vec<ShardPlace>;

    /// How far a database has come.
    async fn ledger_end(&self, shard: u8) -> Result<LedgerEnd, WalletError>;

    /// Manifests behind the one of this number, in order.
    async fn months(&self, shard: u8, after: u64, limit: u32) -> Result<Vec<MonthRow>, WalletError>;

    /// The blocks of a month, in order.
    async fn month_blocks(&self, shard: u8, number: u64) -> Result<Vec<Block>, WalletError>;

    /// The ties of a month, in order.
    async fn month_ties(&self, shard: u8, number: u64) -> Result<Vec<(Date, Tie)>, WalletError>;

    /// The balances of a month behind this user's, in order. A page is short only at the end.
    async fn month_balances(
        &self,
        shard: u8,
        number: u64,
        after: &str,
        limit: u32,
    ) -> Result<Vec<(String, i64)>, WalletError>;

    /// Users behind this one, in order, as they were at a position and at the end of the month before the one
    /// of this number. A page is short only at the end.
    async fn users_at(
        &self,
        shard: u8,
        after: &str,
        position: i64,
        number: u64,
        limit: u32,
    ) -> Result<Vec<UserAt>, WalletError>;

    /// Begins an attempt to seal the next month, ends all others, and removes what they have left. Manifests that
    /// count no more are removed first.
    async fn begin_month(&self, shard: u8) -> Result<MonthAttempt, WalletError>;

    /// Writes a part; false where another attempt has begun since, or users have left.
    async fn put_month(&self, attempt: &MonthAttempt, part: MonthPart) -> Result<bool, WalletError>;

    /// Ends an attempt with its manifest; false as in [`WalletMonths::put_month`].
    async fn seal_month(&self, attempt: &MonthAttempt, month: &Month) -> Result<bool, WalletError>;
}
