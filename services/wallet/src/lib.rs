//! The wallet: a port, and the built-in double-entry ledger behind it.
//!
//! Every transfer has two sides in one append-only row: a user's account, and an account of the system: the source of
//! top-ups, the clearing account that holds the money of all envelopes, the provider, or the payouts on their way.
//! Its id is chosen by the caller and executed at most once.
//!
//! A ledger may be cut into *shards* by user. A shard holds whole transfers and
//! has system accounts of its own, so a transfer touches one shard, and the books
//! of each shard balance by themselves. [`sqlite`] is one shard; [`mysql`] is as
//! many as there are databases.

mod error;
mod events;
mod freezes;
mod guards;
mod ledger;
mod months;
pub mod mysql;
mod orders;
mod quotas;
mod request_keys;
mod row;
pub mod sqlite;
mod system;
mod writer;

pub use self::error::WalletError;
pub use self::events::{EventsBehind, FeedsPage, FeedsWritten, WalletEvents, WebhookPlace};
pub use self::freezes::{FreezeChange, FreezeVersion, SetFrozen, WalletFreezes};
pub use self::guards::{NewEnvelope, Reserved, UnpaidQuota, WalletGuards};
pub use self::months::{
    Boundaries, Boundary, LedgerEnd, MonthAttempt, MonthPart, MonthRow, ShardPlace, StoredMonth, UserAt, WalletMonths,
};
pub use self::orders::{Changed, NewOrder, OrderChange, OrderOpening, Orders, TakenUp, UnfinishedOrders};
pub use self::system::{CLEARING, PAYOUTS, PROVIDER, TOP_UPS};

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::event::Note;
use hongbao_core::{DayQuota, EnvelopeId, Fen, Timestamp, Transfer, TransferId, TransferKind, TransferOutcome, UserId};
use hongbao_database::returns::Returning;
use hongbao_database::{Barrier, Durability};

/// A transfer as it is stored, with its place in the order of writing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posted {
    /// The place: a cursor for lists, above zero. It rises with every transfer of
    /// a user, and of a shard; between shards it says nothing about time.
    pub position: i64,
    /// The transfer.
    pub transfer: Transfer,
}

/// One account, with what the audit compares.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AccountRow {
    /// A user's id, or one of the system accounts [`CLEARING`], [`TOP_UPS`], [`PROVIDER`] and [`PAYOUTS`],
    /// of which each of several shards has its own: `#clearing/07`.
    pub account: String,
    /// The balance as stored, in fen; the source of top-ups is below zero. `None`:
    /// the row of a system account is missing.
    pub balance_fen: Option<i64>,
    /// The sum of the account's transfers, recomputed: those of sealed months as they were sealed.
    pub transfers_sum_fen: i128,
    /// What a user has at the end of the sealed months: as the transfer there says, and as it was sealed.
    pub sealed: SealedBalance,
}

/// A user's balance at the end of the sealed months, in fen; nothing for a user who had none by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SealedBalance {
    /// After the user's last transfer up to there.
    pub row_fen: Option<i64>,
    /// As it was sealed.
    pub sealed_fen: Option<i64>,
}

impl AccountRow {
    /// Whether it is an account of the system and not a user's.
    pub fn is_of_system(&self) -> bool {
        self.account.starts_with('#')
    }
}

/// A transfer with what it does to its user's balance: for the audit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// As of [`Posted`].
    pub position: i64,
    /// The transfer.
    pub transfer: Transfer,
    /// What the user has after it, as stored, in fen.
    pub balance_fen: i64,
    /// What the user had after the transfer before it, as stored; zero without one.
    pub before_fen: i64,
}

/// Transfers, and what goes with them in their transaction.
#[derive(Clone, Debug, Default)]
pub struct TransferRequest {
    /// What is to be executed, in order.
    pub transfers: Vec<Transfer>,
    /// Events.
    pub notes: Vec<Note>,
    /// What payments among them are counted as, by their ids. One without is not counted.
    pub quotas: Vec<(TransferId, DayQuota)>,
}

/// Moves money, at most once per id. What a call reads is *visible*, and durable
/// after a [`Barrier`]; the outcomes of [`Wallet::transfer`] are durable, also those
/// that say what an earlier transfer has done.
#[async_trait]
pub trait Wallet:
    WalletReads + WalletScans + WalletMonths + WalletGuards + WalletFreezes + Orders + WalletEvents + Barrier + 'static
{
    /// Executes transfers, each at most once; durable when it returns. One outcome
    /// for each, in the same order. A refused transfer does not disturb its
    /// neighbours.
    ///
    /// Those of one shard, and so all of one user, are executed in order and in
    /// one transaction. Those of several shards are a transaction in each.
    ///
    /// An id belongs to a user. Under an id of an envelope there is only one user
    /// who could be meant. The id of a top-up is the client's choice, who must not
    /// use it for two users: for the second it is a conflict in the same shard and
    /// a top-up of its own in another; either way the first one stands as it is.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] as soon as a part of it may have been written:
    /// asking again for all of it settles it. After the others nothing was.
    async fn transfer(&self, transfers: Vec<Transfer>) -> Result<Vec<TransferOutcome>, WalletError> {
        self.transfer_noting(transfers, Vec::new()).await
    }

    /// The same, and writes events, each once, however often the call is repeated: in the transaction of the shard that
    /// the feed lies in, with the transfers of that shard.
    ///
    /// # Errors
    /// As there.
    async fn transfer_noting(
        &self,
        transfers: Vec<Transfer>,
        notes: Vec<Note>,
    ) -> Result<Vec<TransferOutcome>, WalletError> {
        self.transfer_within(TransferRequest { transfers, notes, quotas: Vec::new() }).await
    }

    /// The same, of payments that count against limits of their users: one that would exceed a limit is refused.
    ///
    /// # Errors
    /// As there.
    async fn transfer_within(&self, request: TransferRequest) -> Result<Vec<TransferOutcome>, WalletError>;

    /// The durability in force; full only if it is so in all shards.
    fn durability(&self) -> Durability;

    /// Why commits are refused, where they are: a database has become less than it
    /// promised. It is so until it keeps its promises again.
    fn refusal(&self) -> Option<String> {
        None
    }

    /// Where nothing in the database keeps the transfers append-only any more, and
    /// only this program does.
    fn unguarded(&self) -> Option<String> {
        None
    }

    /// Tells when a database answers again after it did not.
    fn returns(&self) -> Returning {
        Returning::never()
    }

    /// Asks whether all databases answer; tells the clocks of those that have one of their own.
    async fn ping(&self) -> Result<Vec<Timestamp>, WalletError>;

    /// Transfers that wait for a transaction now.
    fn queue_depth(&self) -> usize;
}

/// What users and workers read.
#[async_trait]
pub trait WalletReads: Send + Sync {
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

    /// Transfers that are stored, of those named. Asks all parts of the wallet.
    async fn find(&self, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError>;
}

/// What the audit reads: all transfers, accounts and balances.
#[async_trait]
pub trait WalletScans: Send + Sync {
    /// All transfers under the ids of these envelopes, by id and `seq`.
    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Posted>, WalletError>;

    /// Transfers by position after `after`, shard by shard. A transfer that is
    /// written meanwhile is given if its shard is still to come.
    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Line>, WalletError>;

    /// Accounts after the one called `after`, shard by shard and there by name,
    /// the system's first; each with its balance and the sum of its transfers as
    /// of one moment, those up to the boundaries as they were sealed. A page is short only at the end.
    async fn accounts(
        &self,
        after: Option<&str>,
        limit: u32,
        sealed: &Boundaries,
    ) -> Result<Vec<AccountRow>, WalletError>;

    /// The sums over all accounts: the clearing account's balance is what is
    /// outstanding, and what the source of top-ups lacks is what came from
    /// outside. Each shard is read as of one moment; since the books of each
    /// balance by themselves, the sums do too. [`WalletError::Damaged`] where the
    /// row of a system account is missing.
    async fn books(&self) -> Result<Books, WalletError>;
}
