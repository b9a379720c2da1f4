//! Links: connections on which a gateway hands openings and grabs to a server in frames.
//!
//! On a connection of HTTP each request costs either side a read and a write. On a link,
//! which is such a connection after an upgrade ([`LINK_PATH`], [`LINK_PROTOCOL`]), as many
//! frames as have come are read at once, their requests are answered concurrently, and all
//! answers that are ready go out in one write. What a request means is the same on both.
//!
//! Every request gets exactly one frame back, an answer or that there is none; a place
//! ([`Number`]) is free again when that has come. A server that goes away says so, and
//! answers what it is sent until the gateway, which sends no more requests, closes the link.
//!
//! Reading order: [`frame`], [`answer`], [`metrics`], `upgrade`, `serve_one`, `under_way`, `server`.

pub mod answer;
pub mod frame;
pub mod metrics;
mod serve_one;
mod server;
#[cfg(test)]
mod tests;
mod under_way;
mod upgrade;

pub use answer::{LinkAnswer, OtherAnswer, ToGateway};
pub use frame::{FrameError, LinkRequest, Number, ToServer};
pub use metrics::LinkMetrics;
pub(crate) use server::serve_link;
pub(crate) use upgrade::{Agreed, LinkDoor};

/// Where a gateway asks a server for a link. No client gets there: it is none of the calls.
pub const LINK_PATH: &str = "/internal/link";
/// The protocol of the upgrade.
pub const LINK_PROTOCOL: &str = "hongbao-link/1";
