//! The payment provider: where money enters and leaves.
//!
//! [`Provider`] is the port, which says what is asked of a provider and what an answer means. [`HttpProvider`] speaks
//! Hongbao's provider protocol, [`Wechat`] that of WeChat Pay; [`sandbox`] is the other side of both, with books of its
//! own. What a provider says has happened on a day is its [`bill`], and [`reconcile`] compares it with our orders.
//!
//! Reading order: [`port`], [`signature`], [`wire`], `circuit`, [`metrics`], [`connect`], `guarded`, [`http`],
//! [`fn@ask`], [`bill`], [`reconcile`], [`wechat`], [`sandbox`].

pub mod port;

pub mod signature;
pub mod wire;

mod circuit;
mod guarded;

pub mod connect;
pub mod http;
pub mod metrics;

mod ask;
pub mod bill;
mod endpoint;
pub mod reconcile;

pub mod wechat;

pub mod sandbox;

use std::sync::Arc;

use hongbao_core::order::LateCharges;

pub use self::ask::ask;
pub use self::endpoint::Endpoint;
pub use self::http::{HttpOptions, HttpProvider};
pub use metrics::ProviderMetrics;
pub use port::{BadNotification, Notification, Provider, ProviderError};
pub use wechat::{Wechat, WechatOptions};

/// The provider of an installation, and what is done with charges that come too late.
#[derive(Clone)]
pub struct Payments {
    /// The provider.
    pub provider: Arc<dyn Provider>,
    /// What becomes of a charge whose envelope it can no longer pay for.
    pub late_charges: LateCharges,
}
