//! What every HTTP role shares: serving, problems, tokens, request ids, metrics.
//!
//! A request comes in through [`serve()`], which owns the connections and their
//! time limits. [`Outer`] gives it an id, hands it to the role's router, turns
//! whatever went wrong into a [`Problem`] document, counts and logs. Handlers
//! take a [`Caller`] and a [`Json`] or [`Query`], and answer with
//! [`json_response`] or a [`Problem`].
//!
//! One request costs about half a microsecond here, its token included: two
//! requests share no lock that they would wait for, no timer is armed, and
//! nothing is boxed that axum would not box anyway.
//!
//! Reading order: [`problem`], [`body`], [`json`], [`query`], [`token`], [`mark`], [`local`], [`cors`], [`hop`], [`request_id`],
//! [`request_log`], [`request_span`], [`refused`], [`outer`], [`hot`], [`stream`], [`tls`], `socket`, [`link`], `connection`, `http2`, [`serve`](mod@serve), [`threads`], [`log_budget`], [`metrics`], [`exposition`], [`health`].

pub mod problem;

pub mod body;
pub mod json;
pub mod query;

pub mod token;

pub mod cors;
pub mod local;
pub mod mark;

mod errors;
mod head;
pub mod hop;
pub mod outer;
pub mod refused;
pub mod request_id;
pub mod request_log;
pub mod request_span;

mod socket;
pub mod stream;
pub mod tls;

pub mod link;

mod connection;
pub mod hot;
mod http2;
pub mod log_budget;
mod options;
pub mod serve;
pub mod threads;

pub mod exposition;
pub mod health;
pub mod metrics;

pub use body::read_body;
pub use errors::error_chain;
pub use exposition::metrics_router;
pub use health::Health;
pub use hot::{HotAnswer, HotCalls, HotRequest, Routes};
pub use json::{Json, json_response, parse};
pub use metrics::HttpMetrics;
pub use options::ServeOptions;
pub use outer::Outer;
pub use problem::{Code, Problem};
pub use query::{NoQuery, Query};
pub use request_id::RequestId;
pub use serve::serve;
pub use stream::Stream;
pub use threads::{Listeners, Pulses, serve_on_threads};
pub use token::{Caller, Issuer, KeyFile, Parties, TokenExpiry, TokenKey, TokenKeys, Verifier};
