//! Who follows the events of a service: clients with a stream each, and the endpoint of a webhook.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::routing::post;
use hongbao_load::Fallible;
use memchr::memmem;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;

/// What the endpoint of the webhook verifies signatures with, did it verify them.
const WEBHOOK_SECRET: &str = "a secret of a webhook that lives for one bench";

/// Clients and an endpoint, on a thread of their own. They end with this value.
pub struct Listeners {
    runtime: Runtime,
    webhook_addr: SocketAddr,
    streamed: Arc<AtomicU64>,
    delivered: Arc<AtomicU64>,
}

impl Listeners {
    /// Starts the endpoint.
    pub fn start() -> Fallible<Listeners> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let delivered = Arc::new(AtomicU64::new(0));
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let webhook_addr = listener.local_addr()?;
        let count = delivered.clone();
        let take = async move |body: Bytes| {
            count.fetch_add(memmem::find_iter(&body, br#""type":"#).count() as u64, Ordering::Relaxed);
            StatusCode::NO_CONTENT
        };
        runtime.spawn(async { axum::serve(listener, Router::new().route("/", post(take))).await });
        Ok(Listeners { runtime, webhook_addr, streamed: Arc::default(), delivered })
    }

    /// The settings of a service that is to send its events to the endpoint, as TOML.
    pub fn webhook_settings(&self) -> String {
        format!("[webhook]\nurl = \"http://{}\"\nsecret = \"{WEBHOOK_SECRET}\"\n", self.webhook_addr)
    }

    /// Opens a stream for each token. Each has been answered when this returns.
    pub fn open_streams(&self, addr: SocketAddr, tokens: &[String]) -> Fallible<()> {
        for token in tokens {
            let stream = self.runtime.block_on(open_stream(addr, token))?;
            self.runtime.spawn(count_events(stream, self.streamed.clone()));
        }
        Ok(())
    }

    /// Events that came in all streams, and those that came to the endpoint.
    pub fn events(&self) -> (u64, u64) {
        (self.streamed.load(Ordering::Relaxed), self.delivered.load(Ordering::Relaxed))
    }
}

async fn open_stream(addr: SocketAddr, token: &str) -> Fallible<BufReader<TcpStream>> {
    let mut stream = BufReader::new(TcpStream::connect(addr).await?);
    let request = format!("GET /v1/events/stream HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut status = String::new();
    stream.read_line(&mut status).await?;
    match status.starts_with("HTTP/1.1 200 ") {
        true => Ok(stream),
        false => Err(format!("a stream was answered {:?}", status.trim()).into()),
    }
}

/// Reads to the end of a stream: each event has a line with its type.
async fn count_events(stream: BufReader<TcpStream>, count: Arc<AtomicU64>) {
    let mut lines = stream.split(b'\n');
    while let Ok(Some(line)) = lines.next_segment().await {
        if line.starts_with(b"data:") {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}
