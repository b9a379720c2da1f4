//! The connections to servers: kept, bounded, without delay.

use std::error::Error;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Bytes;
use hongbao_core::limits::{FORWARD_IDLE_CONNECTIONS_MAX, FORWARD_IDLE_MS_MAX};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};

use crate::upstream::Upstream;

/// Why there is no answer.
#[derive(Debug)]
pub(crate) enum SendError {
    /// No process listens there: nothing was sent, another may be asked.
    Refused(String),
    /// No connection could be made, and not because of the server.
    Local(String),
    /// It may have been sent.
    Broken(String),
}

/// The connections of one thread, by server.
#[derive(Clone)]
pub(crate) struct UpstreamClient {
    client: Client<HttpConnector, Full<Bytes>>,
}

/// How long a connection is silent before the system asks whether the other side is
/// there, and between two such questions, of which this many have no answer before
/// the connection is broken.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(2), 3);

/// Makes TCP connections, without Nagle's delay, and kept alive.
pub(crate) fn connector(connect_timeout_ms: u64) -> HttpConnector {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let (time, interval, retries) = KEEPALIVE;
    connector.set_keepalive(Some(time));
    connector.set_keepalive_interval(Some(interval));
    connector.set_keepalive_retries(Some(retries));
    connector.set_connect_timeout(Some(Duration::from_millis(connect_timeout_ms)));
    connector
}

impl UpstreamClient {
    pub(crate) fn new(connect_timeout_ms: u64) -> UpstreamClient {
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(FORWARD_IDLE_MS_MAX))
            .pool_max_idle_per_host(FORWARD_IDLE_CONNECTIONS_MAX)
            // What this retries was taken back from a kept connection before a
            // byte of it was written: hyper gives a request back only then.
            .retry_canceled_requests(true)
            .build(connector(connect_timeout_ms));
        UpstreamClient { client }
    }

    /// Sends a request whose URI is a path, and waits for the head of the answer.
    pub(crate) async fn send(
        &self,
        upstream: &Arc<Upstream>,
        mut request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, SendError> {
        let mut uri = std::mem::take(request.uri_mut()).into_parts();
        uri.scheme = Some(Scheme::HTTP);
        uri.authority = Some(upstream.authority.clone());
        uri.path_and_query.get_or_insert(PathAndQuery::from_static("/"));
        *request.uri_mut() = Uri::from_parts(uri).expect("scheme, authority and path are a URI");
        self.client.request(request).await.map_err(|error| {
            let text = hongbao_http::error_chain(&error);
            match error.is_connect() {
                true if is_of_the_server(&error) => SendError::Refused(text),
                true => SendError::Local(text),
                false => SendError::Broken(text),
            }
        })
    }
}

/// Whether a connection failed for a reason that lies with the other side.
fn is_of_the_server(error: &(dyn Error + 'static)) -> bool {
    use io::ErrorKind as Kind;
    let mut cause = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return matches!(
                error.kind(),
                Kind::ConnectionRefused
                    | Kind::ConnectionReset
                    | Kind::ConnectionAborted
                    | Kind::HostUnreachable
                    | Kind::NetworkUnreachable
                    | Kind::TimedOut
            );
        }
        cause = error.source();
    }
    false
}
