//! The port: what is asked of a payment provider, whichever it is.

use ::http::HeaderMap;
use async_trait::async_trait;
use hongbao_core::Timestamp;
use hongbao_core::date::Date;
use hongbao_core::order::{Answer, Order, OrderId};

/// A payment provider. Each verb is one request, bounded in time, and none of them repeats itself: when an order is
/// asked for again is the worker's concern.
#[async_trait]
pub trait Provider: Send + Sync + 'static {
    /// Sends the order: a charge, a payout or a refund. Under a number that the provider has already nothing happens
    /// twice, and it answers as the order stands.
    ///
    /// # Errors
    /// See [`ProviderError`]; after [`ProviderError::Unknown`] it may have happened.
    async fn send(&self, order: &Order) -> Result<Answer, ProviderError>;

    /// Asks that it never happens; answers as it then stands, which is failed with the reason `closed` if it is closed.
    ///
    /// # Errors
    /// See [`ProviderError`].
    async fn close(&self, order: &Order) -> Result<Answer, ProviderError>;

    /// What has become of it, by its number.
    ///
    /// # Errors
    /// See [`ProviderError`].
    async fn query(&self, order: &Order) -> Result<Answer, ProviderError>;

    /// The bill of a day, in the provider's own format.
    ///
    /// # Errors
    /// See [`ProviderError`].
    async fn bill(&self, date: Date) -> Result<String, ProviderError>;

    /// Checks who sent a notification and when. It is a hint: what it says of the order is not taken from it, but asked.
    ///
    /// # Errors
    /// Why it is not taken.
    fn notification(&self, headers: &HeaderMap, body: &[u8], now: Timestamp) -> Result<Notification, BadNotification>;
}

/// Why there is no answer about an order.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProviderError {
    /// It may have arrived, and what it asks for may have happened.
    #[error("the outcome is not known: {0}")]
    Unknown(String),
    /// It was certainly not sent: the circuit is open, the connection was refused, too many are under way.
    #[error("not sent: {0}")]
    NotSent(String),
    /// The provider asks to come later.
    #[error("the provider asks to come again in {retry_after_s} s")]
    RateLimited {
        /// Seconds from now.
        retry_after_s: u32,
    },
    /// The provider refuses the request as such, such as for its signature or a field: our configuration is wrong. It
    /// says nothing about the order.
    #[error("the provider refuses the request: {0}")]
    Rejected(String),
}

/// A notification whose sender and time are known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notification {
    /// Its own id, the same each time that it is sent: what is replayed is known by it.
    pub id: String,
    /// The order that it hints at.
    pub order: OrderId,
}

/// Why a notification is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadNotification {
    /// It has no signature, or one that cannot be read.
    #[error("the notification has no signature")]
    NotSigned,
    /// Its signature is not the provider's.
    #[error("the signature of the notification is wrong")]
    WrongSignature,
    /// It was signed too long ago, or by a clock that is ahead.
    #[error("the time of the notification is not now")]
    NotNow,
    /// It is the provider's, and not what the protocol says.
    #[error("the notification cannot be read")]
    Unreadable,
}
