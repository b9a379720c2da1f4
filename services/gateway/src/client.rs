//! The connections to servers: kept, bounded, without delay.

use std::collections::HashMap;
use std::error::Error;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use axum::body::Bytes;
use hongbao_core::limits::{FORWARD_IDLE_CONNECTIONS_MAX, FORWARD_IDLE_MS_MAX};
use http::uri::{PathAndQuery, Scheme};
use http::{Request, Response, Uri};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use parking_lot::Mutex;

use crate::connect::ServerConnector;
use crate::upstream::{ServerKey, Upstream};

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
pub(crate) struct UpstreamClient {
    servers: Mutex<HashMap<ServerKey, ServerClient>>,
    connect_timeout_ms: u64,
}

/// The connections to one server.
struct ServerClient {
    server: Weak<Upstream>,
    client: Client<ServerConnector, Full<Bytes>>,
}

impl UpstreamClient {
    pub(crate) fn new(connect_timeout_ms: u64) -> UpstreamClient {
        UpstreamClient { servers: Mutex::default(), connect_timeout_ms }
    }

    fn client_of(&self, server: &Arc<Upstream>) -> Client<ServerConnector, Full<Bytes>> {
        let mut servers = self.servers.lock();
        if let Some(of_server) = servers.get(&ServerKey::of(server)) {
            return of_server.client.clone();
        }
        // Servers that are in no topology any more.
        servers.retain(|_, of_server| of_server.server.strong_count() > 0);
        let client = Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_millis(FORWARD_IDLE_MS_MAX))
            .pool_max_idle_per_host(FORWARD_IDLE_CONNECTIONS_MAX)
            // What this retries was taken back from a kept connection before a
            // byte of it was written: hyper gives a request back only then.
            .retry_canceled_requests(true)
            .build(ServerConnector::new(server, self.connect_timeout_ms));
        let of_server = ServerClient { server: Arc::downgrade(server), client: client.clone() };
        servers.insert(ServerKey::of(server), of_server);
        client
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
        self.client_of(upstream).request(request).await.map_err(|error| {
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
