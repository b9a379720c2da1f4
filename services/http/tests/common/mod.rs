//! A real server on a free port, and a client that speaks bytes.

// Each test file uses its own part of this.
#![allow(dead_code)]

pub mod link;

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::routing::{get, post};
use hongbao_http::{Json, Problem, RequestId, ServeOptions, json_response, serve};
use http::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Longer than anything that should happen takes.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server that is serving.
pub struct Server {
    pub address: SocketAddr,
    pub stop: oneshot::Sender<()>,
    pub done: JoinHandle<()>,
}

/// Timeouts that a test can wait for.
pub fn quick() -> ServeOptions {
    ServeOptions {
        head_timeout: Duration::from_millis(150),
        idle_timeout: Duration::from_millis(600),
        body_timeout: Duration::from_millis(150),
        linger_timeout: Duration::from_millis(500),
        drain_timeout: Duration::from_secs(5),
        ..ServeOptions::default()
    }
}

/// Timeouts that no test reaches.
pub fn patient() -> ServeOptions {
    ServeOptions {
        head_timeout: PATIENCE,
        idle_timeout: PATIENCE,
        body_timeout: PATIENCE,
        drain_timeout: PATIENCE,
        ..ServeOptions::default()
    }
}

pub async fn start(router: Router, options: ServeOptions) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel();
    let done = tokio::spawn(serve(listener, router, options, async {
        let _ = stopped.await;
    }));
    Server { address, stop, done }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Greeting {
    name: String,
    times: Option<u8>,
}

/// A small role.
pub fn router() -> Router {
    Router::new()
        .route("/hello", get(|| async { "hello" }))
        .route("/ignore", post(|| async { StatusCode::NO_CONTENT }))
        .route("/id", get(|id: RequestId| async move { json_response(StatusCode::OK, &json!({"id": id.as_str()})) }))
        .route("/greet", post(greet))
        .route(
            "/panic",
            get(|| async {
                if true {
                    panic!("as asked")
                }
            }),
        )
        .route("/number/{n}", get(|axum::extract::Path(n): axum::extract::Path<u8>| async move { n.to_string() }))
        .route(
            "/slow",
            get(|| async {
                tokio::time::sleep(Duration::from_millis(300)).await;
                "slow"
            }),
        )
        .route("/stuck", get(|| async { std::future::pending::<()>().await }))
}

async fn greet(Json(greeting): Json<Greeting>) -> Result<String, Problem> {
    Ok(format!("hello {} x{}", greeting.name, greeting.times.unwrap_or(1)))
}

/// An answer as it came over the wire.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Reply {
    pub fn header(&self, name: &str) -> Option<&str> {
        let mut values = self.headers.iter().filter(|(key, _)| key == name);
        let value = values.next().map(|(_, value)| value.as_str());
        assert!(values.next().is_none(), "{name} stands there twice");
        value
    }

    /// The problem document, checked for what every one of them must have.
    pub fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!((self.status, self.header("content-type")), (status, Some("application/problem+json")), "{self:?}");
        let body: Value = serde_json::from_str(&self.body).unwrap();
        assert_eq!(body["code"], code);
        assert_eq!(body["status"], status);
        assert_eq!(body["type"], format!("urn:hongbao:problem:{code}"));
        assert_eq!(body["request_id"].as_str(), self.header("x-request-id"));
        assert!(!body["title"].as_str().unwrap().is_empty() && !body["detail"].as_str().unwrap().is_empty());
        assert!(body["retryable"].is_boolean());
        assert_eq!(self.header("retry-after").is_some(), matches!(status, 429 | 503));
        body
    }
}

/// A connection that sends what it is told and reads answers.
pub struct Wire {
    stream: TcpStream,
    buffer: Vec<u8>,
}

impl Wire {
    pub async fn open(server: &Server) -> Wire {
        Wire::to(server.address).await
    }

    pub async fn to(address: SocketAddr) -> Wire {
        Wire { stream: TcpStream::connect(address).await.unwrap(), buffer: Vec::new() }
    }

    pub async fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.stream.write_all(bytes.as_ref()).await.unwrap();
    }

    /// As [`Wire::send`], for a server that may already be gone.
    pub async fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> bool {
        self.stream.write_all(bytes.as_ref()).await.is_ok()
    }

    pub async fn get(&mut self, path: &str) -> Reply {
        self.send(format!("GET {path} HTTP/1.1\r\nhost: x\r\n\r\n")).await;
        self.reply().await
    }

    pub async fn post(&mut self, path: &str, body: &str) -> Reply {
        let len = body.len();
        self.send(format!("POST {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {len}\r\n\r\n{body}")).await;
        self.reply().await
    }

    pub async fn reply(&mut self) -> Reply {
        self.try_reply().await.expect("an answer, not the end of the connection")
    }

    /// The next answer; `None` if the connection ended before it.
    pub async fn try_reply(&mut self) -> Option<Reply> {
        tokio::time::timeout(PATIENCE, self.read_reply()).await.expect("an answer in time")
    }

    async fn read_reply(&mut self) -> Option<Reply> {
        let head_len = loop {
            match self.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                Some(at) => break at + 4,
                None if !self.fill().await => return None,
                None => {}
            }
        };
        let head = String::from_utf8(self.buffer.drain(..head_len).collect()).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap())
            .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
            .collect();
        let mut reply = Reply { status, headers, body: String::new() };
        let body_len: usize = reply.header("content-length").map_or(0, |text| text.parse().unwrap());
        while self.buffer.len() < body_len {
            assert!(self.fill().await, "the connection ended within a body");
        }
        reply.body = String::from_utf8(self.buffer.drain(..body_len).collect()).unwrap();
        Some(reply)
    }

    /// Whether more came, as against the end.
    async fn fill(&mut self) -> bool {
        let mut piece = [0; 4_096];
        match self.stream.read(&mut piece).await {
            Ok(0) | Err(_) => false,
            Ok(n) => {
                self.buffer.extend_from_slice(&piece[..n]);
                true
            }
        }
    }

    /// Waits for the end of the connection; says how long it took.
    pub async fn closed(&mut self) -> Duration {
        let started = std::time::Instant::now();
        let more = tokio::time::timeout(PATIENCE, self.fill()).await.expect("the end of the connection in time");
        assert!(!more, "more came: {}", String::from_utf8_lossy(&self.buffer));
        started.elapsed()
    }
}
