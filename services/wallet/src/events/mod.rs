//! Events: the verbs that read the feeds of users and groups. They are written by [`Wallet::transfer_noting`].
//!
//! [`Wallet::transfer_noting`]: crate::Wallet::transfer_noting

mod plan;
mod rows;

use async_trait::async_trait;
use hongbao_core::event::{EventRow, Feed};
use hongbao_core::{Slot, Timestamp};

pub(crate) use self::plan::{EventPlan, NewEvent, looked_up};
pub(crate) use self::rows::{EVENT_COLUMNS, event_row, page};
use crate::WalletError;

/// What of some feeds one shard has, as of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedsPage {
    /// The slots of those of the feeds that lie in the shard.
    pub slots: Vec<Slot>,
    /// Rows of these feeds in the order of their positions.
    pub rows: Vec<EventRow>,
    /// No row of these feeds up to here is missing.
    pub read_to: i64,
    /// Up to which position rows were removed.
    pub purged_to: i64,
    /// All of these had happened before.
    pub purged_before: Timestamp,
}

/// Reads feeds.
#[async_trait]
pub trait WalletEvents: Send + Sync {
    /// Rows of these feeds, of each those behind a position: from each shard that has any of the feeds a page of at
    /// most `rows_max`. What it gives is durable, and `read_to` is.
    async fn read_feeds(&self, feeds: &[(Feed, i64)], rows_max: u32) -> Result<Vec<FeedsPage>, WalletError>;

    /// Where these feeds end now: pages without rows. What `read_to` says is durable.
    async fn ends_of_feeds(&self, feeds: &[Feed]) -> Result<Vec<FeedsPage>, WalletError>;
}
