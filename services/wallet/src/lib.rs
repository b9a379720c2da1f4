//! The wallet: a port, and the built-in double-entry ledger behind it.
//!
//! Every transfer has two sides in one append-only row: a user's account, and
//! either the source of top-ups or the clearing account that holds the money of
//! all envelopes. Its id is chosen by the caller and executed at most once.

pub mod guarded;
mod ledger;
pub mod sqlite;
pub mod suite;

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::{EnvelopeId, Fen, Transfer, TransferId, TransferKind, TransferOutcome, UserId};

/// Why a call failed. Refusals are [`TransferOutcome`]s; this is for what went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalletError {
    /// Too many calls wait: nothing was written.
    #[error("the wallet's queue is full")]
    Busy,
    /// Nothing was written.
    #[error("the wallet cannot be used: {0}")]
    Unavailable(String),
    /// It may have been written or not: asking again with the same id settles it.
    #[error("the wallet did not confirm the commit: {0}")]
    Unknown(String),
    /// A stored row makes no sense.
    #[error("a stored row of the wallet is damaged: {0}")]
    Damaged(String),
}

/// A transfer as it is stored, with its place in the order of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The place: a cursor for lists.
    pub position: i64,
    /// The transfer.
    pub transfer: Transfer,
}

/// One account, with what the audit compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// A user's id, or one of the system accounts [`CLEARING`] and [`TOP_UPS`].
    pub account: String,
    /// The balance as stored, in fen; the source of top-ups is below zero.
    pub balance_fen: i64,
    /// The sum of the account's transfers, recomputed.
    pub transfers_sum_fen: i128,
}

/// The account that holds the money of all envelopes. No user can have this id.
pub const CLEARING: &str = "#clearing";
/// The source of top-ups. No user can have this id.
pub const TOP_UPS: &str = "#top_ups";

/// Moves money, at most once per id.
#[async_trait]
pub trait Wallet: Send + Sync + 'static {
    /// Executes transfers in order, in one transaction; durable when it returns.
    /// One outcome for each, in the same order. A refused transfer does not
    /// disturb its neighbours.
    async fn transfer(&self, transfers: Vec<Transfer>) -> Result<Vec<TransferOutcome>, WalletError>;

    /// A user's balance; zero for a user without transfers.
    async fn balance(&self, user: &UserId) -> Result<Fen, WalletError>;

    /// A user's transfers of the given kinds (all if empty) before `before`, newest first.
    async fn history(
        &self,
        user: &UserId,
        kinds: &[TransferKind],
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posted>, WalletError>;

    /// All transfers under the ids of these envelopes, by id and `seq`. For the audit.
    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Transfer>, WalletError>;

    /// Transfers that are stored, of those named. For the audit.
    async fn find(&self, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError>;

    /// Transfers by position after `after`. For the audit.
    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Posted>, WalletError>;

    /// Accounts by id after `after`, each with the sum of its transfers, as of one moment. For the audit.
    async fn accounts(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccountRow>, WalletError>;

    /// The sums over all accounts, read in one transaction: the clearing
    /// account's balance is what is outstanding, and what the source of top-ups
    /// lacks is what came from outside. For the audit.
    async fn books(&self) -> Result<Books, WalletError>;

    /// Transfers that wait for a transaction now.
    fn queue_depth(&self) -> usize;
}
