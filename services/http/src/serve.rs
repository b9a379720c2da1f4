//! Accepts connections, bounds them, and lets them finish at the end.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::limits;
use hyper::server::conn::http1;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::{Id, JoinSet};

use crate::connection;
use crate::hot::Routes;
use crate::link::LinkDoor;
use crate::log_budget::LogBudget;
use crate::options::ServeOptions;
use crate::outer::Outer;
use crate::problem::{Code, Problem, on_the_wire};
use crate::request_id::RequestId;

/// How long accepting pauses when the machine has run out of something.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves `routes` on `listener` until `shutdown` resolves and the requests in
/// flight are answered, at most [`ServeOptions::drain_timeout`] later.
///
/// Shortly after the shutdown ([`limits::LAST_CALL_MS`]) nothing is accepted any
/// more, and idle connections are closed. Not at once, because a request that was
/// sent before may not have been seen yet: its connection waits to be accepted,
/// or its bytes wait to be read, and closing would throw them away.
pub async fn serve(
    listener: TcpListener,
    routes: impl Into<Routes>,
    options: ServeOptions,
    shutdown: impl Future<Output = ()> + Send,
) {
    let options = Arc::new(options);
    let outer = Arc::new(Outer::over(routes, &options));
    let links = Arc::new(LinkDoor::new(options.links_max, options.metrics.clone()));
    let mut server = Server {
        http: http(&options),
        outer,
        links,
        options,
        connections: JoinSet::new(),
        quits: HashMap::new(),
        refusals: JoinSet::new(),
        next_number: 1,
    };
    let after_the_last_call = async {
        shutdown.await;
        tokio::time::sleep(Duration::from_millis(limits::LAST_CALL_MS)).await;
    };
    server.accept_until(&listener, after_the_last_call).await;
    drop(listener);
    server.drain().await;
}

/// Of HTTP/1.1; HTTP/2 is a matter of `http2.rs`.
fn http(options: &ServeOptions) -> http1::Builder {
    let mut http = http1::Builder::new();
    // See connection.rs, which minds the time instead.
    http.header_read_timeout(None).max_headers(options.headers_max);
    http.max_header_size(options.head_bytes_max).max_buf_size(options.head_bytes_max);
    http
}

struct Server {
    http: http1::Builder,
    outer: Arc<Outer>,
    links: Arc<LinkDoor>,
    options: Arc<ServeOptions>,
    connections: JoinSet<()>,
    /// Dropping one tells its connection to finish.
    quits: HashMap<Id, oneshot::Sender<()>>,
    refusals: JoinSet<()>,
    next_number: u64,
}

impl Server {
    async fn accept_until(&mut self, listener: &TcpListener, shutdown: impl Future<Output = ()> + Send) {
        let mut shutdown = std::pin::pin!(shutdown);
        let log = LogBudget::new(1);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => return,
                Some(ended) = self.connections.join_next_with_id() => {
                    let id = match ended {
                        Ok((id, ())) => id,
                        Err(error) => error.id(),
                    };
                    self.quits.remove(&id);
                    self.options.metrics.connection_ended();
                }
                Some(_) = self.refusals.join_next() => {}
                stream = accept(listener, &log) => self.admit(stream),
            }
        }
    }

    fn admit(&mut self, stream: TcpStream) {
        // Without it a pipelined answer waits 40 ms for the client's acknowledgement.
        // If it fails the connection is dead, which its first read will find out.
        let _ = stream.set_nodelay(true);
        if self.connections.len() >= self.options.connections_max {
            self.options.metrics.refused_connection();
            // What is sent before a handshake no client of TLS could read.
            if self.options.tls.is_none() && self.refusals.len() < self.options.refusals_max {
                self.refusals.spawn(refuse(stream, self.outer.next_id(), self.options.linger_timeout));
            }
            return;
        }
        let (sender, quit) = oneshot::channel();
        let number = self.next_number;
        self.next_number += 1;
        let (http, outer, links) = (self.http.clone(), self.outer.clone(), self.links.clone());
        let options = self.options.clone();
        let task = self.connections.spawn(connection::drive(http, stream, number, outer, links, options, quit));
        self.quits.insert(task.id(), sender);
        self.options.metrics.connection_opened();
    }

    async fn drain(mut self) {
        self.quits.clear();
        let metrics = &self.options.metrics;
        let finished = async {
            while self.connections.join_next().await.is_some() {
                metrics.connection_ended();
            }
        };
        if tokio::time::timeout(self.options.drain_timeout, finished).await.is_err() {
            tracing::warn!(connections = self.connections.len(), "cut: not done within the drain timeout");
        }
        self.connections.shutdown().await;
    }
}

/// The next connection. What goes wrong with one of them does not concern the
/// others; when the machine has run out of file handles or memory, it waits.
async fn accept(listener: &TcpListener, log: &LogBudget) -> TcpStream {
    loop {
        let error = match listener.accept().await {
            Ok((stream, _)) => return stream,
            Err(error) => error,
        };
        use io::ErrorKind;
        if matches!(
            error.kind(),
            ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset | ErrorKind::ConnectionRefused
        ) {
            continue;
        }
        if let Some(suppressed) = log.take() {
            tracing::warn!(%error, suppressed, "cannot accept connections");
        }
        tokio::time::sleep(ACCEPT_PAUSE).await;
    }
}

/// Tells a connection over the limit so, before its request was read; then
/// reads until the client is done, so that the answer is not lost.
async fn refuse(mut stream: TcpStream, id: RequestId, linger_timeout: Duration) {
    let refusal = on_the_wire(&Problem::new(Code::Busy, "too many connections"), &id);
    let talk = async {
        stream.write_all(refusal.as_bytes()).await?;
        stream.shutdown().await?;
        let mut waste = [0; 4_096];
        while stream.read(&mut waste).await? > 0 {}
        io::Result::Ok(())
    };
    // Whether it took the answer is the client's concern.
    let _ = tokio::time::timeout(linger_timeout, talk).await;
}
