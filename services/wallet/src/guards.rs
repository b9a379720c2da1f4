//! What stands between a user's request and the ledger, in the user's shard: the keys under which requests are repeated.
//!
//! It is decided under the lock under which the shard's transfers are executed, so it is exact however many processes
//! ask for the same user at the same time.

use async_trait::async_trait;
use hongbao_core::{EnvelopeId, KeyedRequest, Timestamp, UserId};

use crate::WalletError;

/// An envelope that is about to be made under the key of a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEnvelope {
    /// Who makes it.
    pub user: UserId,
    /// Its id, if the key is new.
    pub id: EnvelopeId,
    /// What the client names the request by.
    pub request: KeyedRequest,
    /// The time.
    pub now: Timestamp,
}

/// What is known of a request under a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reserved {
    /// The key is new: it stands for the id from now on.
    New,
    /// The same request was made before, and stands for this id. What is to be there under it may not be made yet.
    Repeated(EnvelopeId),
    /// The key stands for another request. Nothing was written.
    KeyConflict,
}

/// The keys of requests.
#[async_trait]
pub trait WalletGuards: Send + Sync {
    /// Stores a key with its id, or tells the id that it stands for. Either is durable when it returns.
    ///
    /// # Errors
    /// [`WalletError::Unknown`] when it may have been written: asking again with the same key settles it. After the
    /// others nothing was.
    async fn reserve(&self, envelope: &NewEnvelope) -> Result<Reserved, WalletError>;

    /// Forgets keys of one shard that are older than `before`, at most `limit` of them; gives how many.
    async fn purge_keys(&self, shard: u8, before: Timestamp, limit: u32) -> Result<u32, WalletError>;
}
