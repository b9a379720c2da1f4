//! Frozen users: an operator's decision that somebody's money stays where it is.
//!
//! It lies in the user's shard. A payment reads it in the transaction that would make it; who may open is read by
//! servers again and again, for openings do not ask the wallet.

use async_trait::async_trait;
use hongbao_core::{Timestamp, UserId};

use crate::WalletError;

/// That an operator froze a user, or set one free.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FreezeChange {
    /// Whose money it is about.
    pub user: UserId,
    /// Whether it is frozen from then on.
    pub is_frozen: bool,
    /// Why, as the operator says: at most [`FREEZE_REASON_CHARS_MAX`](hongbao_core::limits::FREEZE_REASON_CHARS_MAX)
    /// characters.
    pub reason: String,
    /// Who did it.
    pub operator: UserId,
    /// When.
    pub at: Timestamp,
}

/// What became of a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetFrozen {
    /// It is in force, and in the log.
    Changed,
    /// It was so already, for the same reason: nothing was written.
    Unchanged,
}

/// How far a shard's log of freezes has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FreezeVersion {
    /// The shard.
    pub shard: u8,
    /// It changes with every change.
    pub number: i64,
}

/// Freezes of users.
#[async_trait]
pub trait WalletFreezes: Send + Sync {
    /// Freezes a user or sets one free; durable when it returns. From then on no payment of a frozen user is executed.
    async fn set_frozen(&self, change: &FreezeChange) -> Result<SetFrozen, WalletError>;

    /// What was done about a user, newest first.
    async fn freeze_log(&self, user: &UserId, limit: u32) -> Result<Vec<FreezeChange>, WalletError>;

    /// How far the logs of all shards have come; those that cannot be read are missing.
    async fn freeze_versions(&self) -> Vec<FreezeVersion>;

    /// The users of a shard who are frozen, by id, each with the change that froze it; at most
    /// [`FROZEN_USERS_MAX`](hongbao_core::limits::FROZEN_USERS_MAX) of them.
    async fn frozen_users(&self, shard: u8) -> Result<Vec<FreezeChange>, WalletError>;
}

/// Whether a change is one, given the newest of its user: whether it is frozen, and why.
pub(crate) fn changes(newest: Option<(bool, &str)>, change: &FreezeChange) -> bool {
    match newest {
        None => change.is_frozen,
        Some((is_frozen, reason)) => is_frozen != change.is_frozen || (is_frozen && reason != change.reason),
    }
}
