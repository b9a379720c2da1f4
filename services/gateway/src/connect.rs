//! Makes connections to one server.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
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
    /// Its IP address and port as a URI; or its name, if that leads nowhere.
    to: Result<Uri, String>,
}

impl ServerConnector {
    pub(crate) fn new(server: &Upstream, connect_timeout_ms: u64) -> ServerConnector {
        let mut tcp = HttpConnector::new();
        tcp.set_nodelay(true);
        let (time, interval, retries) = KEEPALIVE;
        tcp.set_keepalive(Some(time));
        tcp.set_keepalive_interval(Some(interval));
        tcp.set_keepalive_retries(Some(retries));
        tcp.set_connect_timeout(Some(Duration::from_millis(connect_timeout_ms)));
        let to = match server.reached {
            Some(reached) => Ok(format!("http://{reached}/").parse().expect("an IP address and a port are in a URI")),
            None => Err(format!("the name in {} leads to no IP address", server.address)),
        };
        ServerConnector { tcp, to }
    }
}

impl Service<Uri> for ServerConnector {
    type Response = TokioIo<TcpStream>;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<TokioIo<TcpStream>, BoxError>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(context).map_err(BoxError::from)
    }

    fn call(&mut self, _: Uri) -> Self::Future {
        match &self.to {
            Ok(to) => {
                let connecting = self.tcp.call(to.clone());
                Box::pin(async move { Ok(connecting.await?) })
            }
            // As if no process listened there: nothing was sent.
            Err(reason) => {
                let error = io::Error::new(io::ErrorKind::HostUnreachable, reason.clone());
                Box::pin(async move { Err(error.into()) })
            }
        }
    }
}
