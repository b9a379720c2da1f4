//! The payment provider: where money enters and leaves.
//!
//! [`Provider`] is the port, which says what is asked of a provider and what an answer means. [`HttpProvider`] speaks
//! Hongbao's provider protocol; [`sandbox`] is the other side of it, with books of its own. What a provider says has
//! happened on a day is its [`bill`].
//!
//! Reading order: [`port`], [`signature`], [`wire`], `circuit`, [`metrics`], [`connect`], `guarded`, [`http`],
//! [`bill`], [`sandbox`].

pub mod port;

pub mod signature;
pub mod wire;

mod circuit;
mod guarded;

pub mod connect;
pub mod http;
pub mod metrics;

pub mod bill;

pub mod sandbox;

pub use self::http::{HttpOptions, HttpProvider};
pub use metrics::ProviderMetrics;
pub use port::{BadNotification, Notification, Provider, ProviderError};
