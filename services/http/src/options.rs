//! How a server treats its connections.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::limits;

use crate::cors::Cors;
use crate::metrics::HttpMetrics;
use crate::refused::Refused;
use crate::tls::ServerTls;

/// How a server treats its connections. The defaults stand in [`limits`].
#[derive(Clone, Debug)]
pub struct ServeOptions {
    /// Connections at the same time; more get `busy` and are closed.
    pub connections_max: usize,
    /// Refusals at the same time; connections beyond them are closed without an answer.
    pub refusals_max: usize,
    /// Bytes of a head at most.
    pub head_bytes_max: usize,
    /// Headers of a request at most.
    pub headers_max: usize,
    /// From the first byte of a head, or from the opening of the connection, to the head's end.
    pub head_timeout: Duration,
    /// From an answer to the first byte of the next head; also for a client that does not take its answer.
    pub idle_timeout: Duration,
    /// From the moment a handler reads the body to the body's end.
    pub body_timeout: Duration,
    /// How long a closed connection is still read when the client was not done sending.
    pub linger_timeout: Duration,
    /// How long requests may take to finish after the shutdown began.
    pub drain_timeout: Duration,
    /// Where requests are counted.
    pub metrics: HttpMetrics,
    /// Where refusals with a `Retry-After` are remembered; threads that serve the same share it.
    pub refused: Refused,
    /// Whether one that comes too early may wait: at the front door.
    pub lets_wait: bool,
    /// Whether grabs, openings and looks are answered past hyper, where the routes can.
    pub fast_path: bool,
    /// Whose web pages may call: at the front door. `None`: those of no other origin.
    pub cors: Option<Arc<Cors>>,
    /// Links at the same time; 0 where none is offered.
    pub links_max: usize,
    /// Clients speak TLS.
    pub tls: Option<ServerTls>,
}

impl Default for ServeOptions {
    fn default() -> ServeOptions {
        ServeOptions {
            connections_max: limits::CONNECTIONS_MAX,
            refusals_max: limits::REFUSALS_MAX,
            head_bytes_max: limits::HEAD_BYTES_MAX,
            headers_max: limits::HEADERS_MAX,
            head_timeout: Duration::from_millis(limits::HEAD_READ_MS_MAX),
            idle_timeout: Duration::from_millis(limits::IDLE_MS_MAX),
            body_timeout: Duration::from_millis(limits::BODY_READ_MS_MAX),
            linger_timeout: Duration::from_millis(limits::LINGER_MS_MAX),
            drain_timeout: Duration::from_millis(limits::DRAIN_MS_MAX),
            metrics: HttpMetrics::default(),
            refused: Refused::default(),
            lets_wait: true,
            fast_path: true,
            cors: None,
            links_max: 0,
            tls: None,
        }
    }
}

impl ServeOptions {
    /// The same for a server behind a gateway: what a client may send to the gateway fits
    /// with what the gateway adds to it, and gateways may have links.
    pub fn behind_a_gateway(self) -> ServeOptions {
        ServeOptions {
            head_bytes_max: self.head_bytes_max + limits::HOP_HEAD_BYTES_MAX,
            headers_max: self.headers_max + limits::HOP_HEADERS_MAX,
            lets_wait: false,
            links_max: limits::LINKS_MAX,
            ..self
        }
    }
}
