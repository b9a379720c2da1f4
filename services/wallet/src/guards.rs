//! What stands between a user's request and the ledger, in the user's shard: the keys under which requests are repeated,
//! and how many envelopes of a user wait for their payment.
//!
//! It is decided under the lock under which the shard's transfers are executed, so it is exact however many processes
//! ask for the same user at the same time.

use async_trait::async_trait;
use hongbao_core::{Date, EnvelopeId, KeyedRequest, Timestamp, UserId};

use crate::WalletError;

/// How many envelopes of a user may wait for their payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct UnpaidQuota {
    /// At most so many, the new one included; `None` where this user's are only counted.
    pub count_max: Option<u32>,
    /// Until when the new one can be paid, and is counted unless it is paid before.
    pub until: Timestamp,
}

/// An envelope that is about to be made, under the key of a client or where those that wait for payment are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEnvelope {
    /// Who makes it.
    pub user: UserId,
    /// Its id, if the key is new.
    pub id: EnvelopeId,
    /// What the client names the request by, if it has a key.
    pub request: Option<KeyedRequest>,
    /// How many may wait for payment, if they are counted.
    pub quota: Option<UnpaidQuota>,
    /// The time.
    pub now: Timestamp,
}

/// What is known of a request under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The key is new, or there is none: it stands for the id from now on, and the envelope is counted.
    New,
    /// The same request was made before, and stands for this id. What is to be there under it may not be made yet.
    Repeated(EnvelopeId),
    /// The key stands for another request. Nothing was written.
    KeyConflict,
    /// Too many envelopes of the user wait for their payment: none of them is counted any more from this time on, the
    /// first one; `None` where none may wait. Nothing was written.
    TooManyUnpaid(Option<Timestamp>),
}

/// The keys of requests.
#[async_trait]
pub trait WalletGuards: Send + Sync {
    /// Stores a key with its id and counts the envelope, or tells the id that the key stands for. Either is durable when
    /// it returns.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] when it may have been written: asking again with the same key settles it. After the
    /// others nothing was.
    async fn reserve(&self, envelope: &NewEnvelope) -> Result<Reserved, WalletError>;

    /// Forgets keys of one shard that are older than `before`, at most `limit` of them; gives how many.
    async fn purge_keys(&self, shard: u8, before: Timestamp, limit: u32) -> Result<u32, WalletError>;

    /// Forgets what was counted in one shard on days before `date`, and envelopes that could be paid until a time before
    /// `until`, at most `limit` of each kind; gives how many.
    async fn purge_counts(&self, shard: u8, date: Date, until: Timestamp, limit: u32) -> Result<u32, WalletError>;
}
