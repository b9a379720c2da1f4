//! The gateway: checks tokens, limits rates, mints ids, and hands each request
//! to the server that owns its envelope. It never sees a store.
//!
//! In the all-in-one process [`mod@edge`] is a layer in front of the server's
//! routes: a function call, not a hop. As a process of its own, a gateway reads
//! the [`topology`], probes the servers in it, and forwards; nothing on a
//! request's way asks any but the one server that answers it.
//!
//! Reading order: [`mod@edge`], [`rate`], [`topology`], [`options`], `call` (what is
//! asked), `names`, `sets` and `fleet` (who is asked), `births` (where new envelopes are placed), `answers` and `canary` (when a SET loses its weight), `probe_answer` and `probe` (who can be), `forward`, `connect`, `client`, `links` and `transport` (how), `proxy`
//! (all of it), [`gateway`].

pub mod edge;
pub mod rate;

pub mod topology;

pub mod options;

mod answers;
mod births;
mod canary;
mod client;
mod connect;
mod deadline_body;
mod fleet;
mod forward;
mod headers;
mod links;
mod names;
mod probe;
mod probe_answer;
mod proxy;
mod sets;
mod transport;
mod upstream;

pub mod gateway;
pub mod metrics;

pub use gateway::{Gateway, GatewayParts, GatewayTasks};
pub use options::GatewayOptions;
pub use topology::TopologyWatcher;
