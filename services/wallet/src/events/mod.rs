//! Events: the verbs that read the feeds of users and groups. They are written by [`Wallet::transfer_noting`].
//!
//! [`Wallet::transfer_noting`]: crate::Wallet::transfer_noting

mod plan;
mod rows;

use async_trait::async_trait;
use hongbao_core::event::{EventRow, Feed};
use hongbao_core::{Slot, Timestamp};

pub(crate) use self::plan::{EventPlan, NewEvent, looked_up};
pub(crate) use self::rows::{EVENT_COLUMNS, behind, event_row, feeds_of, page, purged, webhook_place};
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
    /// Whether there may be more behind it: the page is full.
    pub is_full: bool,
    /// Up to which position rows were removed.
    pub purged_to: i64,
    /// All of these had happened before.
    pub purged_before: Timestamp,
}

/// Which feeds of a shard have got something new.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeedsWritten {
    /// The number of the shard.
    pub shard: u8,
    /// Up to where it was looked.
    pub end: i64,
    /// The feeds, each as often as it got a row. Visible, and perhaps not durable yet.
    pub feeds: Vec<Feed>,
}

/// How far the webhook has got the events of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WebhookPlace {
    /// All up to here were taken.
    pub position: i64,
    /// Deliveries in a row that were not.
    pub failures: u32,
    /// Not before this time is the next one tried.
    pub due_at: Timestamp,
}

/// The events of a shard behind a position, of each subject from one feed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventsBehind {
    /// Rows in the order of their positions, without copies.
    pub rows: Vec<EventRow>,
    /// No row up to here is missing.
    pub read_to: i64,
    /// Where the shard's events end.
    pub end: i64,
    /// Up to which position rows were removed.
    pub purged_to: i64,
}

/// Reads feeds.
#[async_trait]
pub trait WalletEvents: Send + Sync {
    /// Rows of these feeds, of each those behind a position: from each shard that has any of the feeds a page of at
    /// most `rows_max`. What it gives is durable, and `read_to` is.
    async fn read_feeds(&self, feeds: &[(Feed, i64)], rows_max: u32) -> Result<Vec<FeedsPage>, WalletError>;

    /// Where these feeds end now: pages without rows. What `read_to` says is durable.
    async fn ends_of_feeds(&self, feeds: &[Feed]) -> Result<Vec<FeedsPage>, WalletError>;

    /// What is new in a shard behind a position; `None`: only where its events end.
    async fn feeds_written(&self, shard: u8, after: Option<i64>) -> Result<FeedsWritten, WalletError>;

    /// The events of a shard behind a position, at most so many rows; durable.
    async fn events_behind(&self, shard: u8, after: i64, rows_max: u32) -> Result<EventsBehind, WalletError>;

    /// Takes up the delivery of a shard's events until a time, for the process of this name; `None` while another one
    /// has it, or before it is due.
    async fn take_webhook(
        &self,
        shard: u8,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<WebhookPlace>, WalletError>;

    /// Stores how far it has come, and leaves it to whoever is next. False if another one has taken it up meanwhile.
    async fn leave_webhook(&self, shard: u8, by: &str, place: WebhookPlace) -> Result<bool, WalletError>;

    /// Removes the first events of a shard as far as they happened before this time, at most `limit` rows; gives how
    /// many it removed.
    async fn purge_events(&self, shard: u8, before: Timestamp, limit: u32) -> Result<u32, WalletError>;
}
