//! Makes connections to one server.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use hongbao_http::Stream;
use hongbao_http::tls::TlsTowardsServers;
use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::time::timeout;
use tower::{BoxError, Service};

use crate::upstream::Upstream;

/// How long a connection is silent before the system asks whether the other side is
/// there, and between two such questions, of which this many have no answer before
/// the connection is broken.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(10), Duration::from_secs(2), 3);

/// Makes connections to the server that it was made for, whatever the URI says: without Nagle's delay, kept alive.
#[derive(Clone)]
pub(crate) struct ServerConnector {
    tcp: HttpConnector,
    /// Its IP address and port as a URI; or that its name leads nowhere.
    to: Result<Uri, String>,
    /// The name or IP address that its certificate has to be of, where TLS is spoken.
    tls: Option<(TlsTowardsServers, String)>,
    connect_timeout: Duration,
}

impl ServerConnector {
    pub(crate) fn new(server: &Upstream, connect_timeout_ms: u64) -> ServerConnector {
        let connect_timeout = Duration::from_millis(connect_timeout_ms);
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let (time, interval, retries) = KEEPALIVE;
        tcp.set_keepalive(Some(time));
        tcp.set_keepalive_interval(Some(interval));
        tcp.set_keepalive_retries(Some(retries));
        tcp.set_connect_timeout(Some(connect_timeout));
        let to = match server.reached {
            Some(reached) => Ok(format!("http://{reached}/").parse().expect("an IP address and a port are in a URI")),
            None => Err(format!("the name in {} leads to no IP address", server.address)),
        };
        let tls = server.tls.clone().map(|tls| (tls, server.address.host()));
        ServerConnector { tcp, to, tls, connect_timeout }
    }
}

impl Service<Uri> for ServerConnector {
    type Response = TokioIo<Stream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<Stream>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        match &self.to {
            Ok(to) => {
                let connecting = self.tcp.call(to.clone());
                let (tls, within) = (self.tls.clone(), self.connect_timeout);
                Box::pin(async move {
                    let tcp = connecting.await?.into_inner();
                    let Some((tls, host)) = tls else { return Ok(TokioIo::new(Stream::Plain(tcp))) };
                    let shaken = timeout(within, tls.connect(tcp, &host)).await;
                    let shaken = shaken.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                    let of_tls = |error: io::Error| {
                        // No request was sent; the server is to blame, as for a connection that it refuses.
                        io::Error::new(io::ErrorKind::ConnectionAborted, format!("TLS with {host}: {error}"))
                    };
                    Ok(TokioIo::new(shaken.map_err(of_tls)?))
                })
            }
            // As if no process listened there: nothing was sent.
            Err(reason) => {
                let error = io::Error::new(io::ErrorKind::HostUnreachable, reason.clone());
                Box::pin(async move { Err(error.into()) })
            }
        }
    }
}
