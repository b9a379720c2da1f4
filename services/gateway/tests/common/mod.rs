//! Small servers to stand behind a gateway, a gateway in front of them, and a
//! client that speaks bytes.

// Each test file uses its own part of this.
#![allow(dead_code)]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use axum::routing::any;
use hongbao_core::limits::LINKS_MAX;
use hongbao_core::wire::Role;
use hongbao_core::{EnvelopeId, SystemClock, Timestamp, UserId};
use hongbao_gateway::edge::RehearsalEdge;
use hongbao_gateway::rate::UserRates;
use hongbao_gateway::{Gateway, GatewayOptions, GatewayParts, GatewayTasks, TopologyWatcher};
use hongbao_http::link::LINK_PATH;
use hongbao_http::{Health, HttpMetrics, Issuer, ServeOptions, Verifier, json_response, metrics_router, serve};
use http::StatusCode;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

/// Whether gateways hand openings over in frames here, and servers take them so. The tests of some files run twice: as
/// they are, and in a file whose name ends so over HTTP alone.
pub const OVER_LINKS: bool = !is_over_http(env!("CARGO_CRATE_NAME"));

const fn is_over_http(name: &str) -> bool {
    matches!(name.as_bytes(), [.., b'o', b'v', b'e', b'r', b'_', b'h', b't', b't', b'p'])
}

/// Longer than anything that should happen takes.
pub const PATIENCE: Duration = Duration::from_secs(20);
const SECRET: &[u8] = b"a secret for tests, known to all who read";

/// What a [`Backend`] does and has seen.
pub struct Script {
    pub name: String,
    pub requests: AtomicU64,
    pub draining: AtomicBool,
    pub failing: AtomicBool,
    /// Whether it answers requests with 500.
    pub breaks: AtomicBool,
    /// Whether it says that new envelopes may be placed at it.
    pub takes_new: AtomicBool,
    /// Milliseconds before it answers anything, probes included.
    pub slow_ms: AtomicU64,
    /// Milliseconds that it works for each request, for one after the other.
    pub works_ms: AtomicU64,
    pub turn: tokio::sync::Mutex<()>,
    /// Requests that it works for or that wait for their turn, and the most of them at once.
    pub under_way: AtomicU64,
    pub under_way_max: AtomicU64,
    /// Whether envelopes are another's.
    pub misdirects: AtomicBool,
    /// The last request: its head, as text.
    pub seen: Mutex<Vec<(String, String)>>,
}

impl Script {
    pub fn count(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// The values of a header of the last request.
    pub fn header(&self, name: &str) -> Vec<String> {
        let seen = self.seen.lock();
        seen.iter().filter(|(key, _)| key == name).map(|(_, value)| value.clone()).collect()
    }

    async fn readyz(&self) -> Response {
        self.dawdle().await;
        let draining = self.draining.load(Ordering::SeqCst);
        let ready = !draining && !self.failing.load(Ordering::SeqCst);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        let takes_new = ready && self.takes_new.load(Ordering::SeqCst);
        json_response(status, &json!({ "ready": ready, "draining": draining, "takes_new": takes_new, "checks": [] }))
    }

    async fn dawdle(&self) {
        tokio::time::sleep(Duration::from_millis(self.slow_ms.load(Ordering::SeqCst))).await;
    }

    async fn work(&self) {
        let works_ms = self.works_ms.load(Ordering::SeqCst);
        if works_ms > 0 {
            let under_way = 1 + self.under_way.fetch_add(1, Ordering::SeqCst);
            self.under_way_max.fetch_max(under_way, Ordering::SeqCst);
            let _turn = self.turn.lock().await;
            tokio::time::sleep(Duration::from_millis(works_ms)).await;
            self.under_way.fetch_sub(1, Ordering::SeqCst);
        }
    }

    async fn answer(&self, request: Request) -> Response {
        self.requests.fetch_add(1, Ordering::SeqCst);
        let headers = request.headers().iter();
        *self.seen.lock() =
            headers.map(|(name, value)| (name.to_string(), value.to_str().unwrap().to_owned())).collect();
        let (method, uri) = (request.method().clone(), request.uri().clone());
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await.unwrap();
        self.dawdle().await;
        self.work().await;
        if self.breaks.load(Ordering::SeqCst) {
            return hongbao_http::Problem::new(hongbao_http::Code::Internal, "a defect").into_response();
        }
        if self.misdirects.load(Ordering::SeqCst) && uri.path().starts_with("/v1/envelopes") {
            return hongbao_http::Problem::new(hongbao_http::Code::Misdirected, "not mine").into_response();
        }
        if uri.query() == Some("big") {
            return "x".repeat(300_000).into_response();
        }
        let view = json!({
            "server": self.name, "method": method.as_str(), "uri": uri.to_string(),
            "body": String::from_utf8(body.to_vec()).unwrap(),
        });
        json_response(StatusCode::OK, &view)
    }
}

/// A server that answers who it is.
pub struct Backend {
    pub script: Arc<Script>,
    pub address: SocketAddr,
    /// Links that it offers; an older server offers none.
    pub links_max: usize,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

impl Backend {
    pub async fn start(name: &str) -> Backend {
        let script = Arc::new(Script {
            name: name.to_owned(),
            requests: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            failing: AtomicBool::new(false),
            breaks: AtomicBool::new(false),
            takes_new: AtomicBool::new(true),
            slow_ms: AtomicU64::new(0),
            works_ms: AtomicU64::new(0),
            turn: tokio::sync::Mutex::default(),
            under_way: AtomicU64::new(0),
            under_way_max: AtomicU64::new(0),
            misdirects: AtomicBool::new(false),
            seen: Mutex::new(Vec::new()),
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut backend = Backend { script, address, links_max: LINKS_MAX, running: None };
        backend.begin().await;
        backend
    }

    /// Serves, on the address that it had.
    pub async fn begin(&mut self) {
        let listener = TcpListener::bind(self.address).await.unwrap();
        self.address = listener.local_addr().unwrap();
        let (script, probed) = (self.script.clone(), self.script.clone());
        let router = Router::new()
            .route("/readyz", any(move || async move { probed.readyz().await }))
            .route(LINK_PATH, any(|| async { StatusCode::NOT_FOUND }))
            .fallback(move |request: Request| async move { script.answer(request).await });
        let (stop, stopped) = oneshot::channel();
        let options = ServeOptions { links_max: self.links_max, ..ServeOptions::default() };
        let task = tokio::spawn(serve(listener, router, options, async {
            let _ = stopped.await;
        }));
        self.running = Some((stop, task));
    }

    /// Ends as on a signal, and is gone when what it was asked is answered.
    pub async fn drain(&mut self) {
        let (stop, task) = self.running.take().expect("it runs");
        let _ = stop.send(());
        let _ = task.await;
    }

    /// Is gone from one moment to the next, as a killed process.
    pub async fn kill(&mut self) {
        let (_stop, task) = self.running.take().expect("it runs");
        task.abort();
        let _ = task.await;
    }
}

/// A server of a topology: its name and address.
pub type Entry<'a> = (&'a str, SocketAddr);

/// A topology file's text; slots are given as they are written.
pub fn topology(version: u64, sets: &[(&str, &str, &[Entry<'_>])]) -> String {
    let mut text = format!("version = {version}\n");
    for (name, slots, servers) in sets {
        text += &format!("[[sets]]\nname = \"{name}\"\nslots = \"{slots}\"\n");
        text += &format!("database = [\"unix:/nowhere/{name}\"]\nservers = [\n");
        for (server, address) in *servers {
            text += &format!("  {{ name = \"{server}\", address = \"{address}\" }},\n");
        }
        text += "]\n";
    }
    text + "[[wallets]]\nname = \"w\"\nslots = \"00-99\"\ndatabase = [\"127.0.0.1:1\"]\n"
}

/// Options whose waits a test can wait for.
pub fn quick() -> GatewayOptions {
    GatewayOptions {
        answer_within_ms: 2_000,
        answer_grace_ms: 50,
        probe_every_ms: 30,
        probe_again_ms: 10,
        probe_timeout_ms: 100,
        topology_poll_ms: 30,
        links: OVER_LINKS,
        ..GatewayOptions::default()
    }
}

/// A gateway on a free port.
pub struct Front {
    pub address: SocketAddr,
    pub watcher: Arc<TopologyWatcher>,
    pub file: PathBuf,
    issuer: Issuer,
    stop: oneshot::Sender<()>,
    served: JoinHandle<()>,
    tasks: GatewayTasks,
    _dir: tempfile::TempDir,
}

impl Front {
    pub async fn start(topology: &str, options: GatewayOptions) -> Front {
        Front::start_with(topology, options, None, ServeOptions::default()).await
    }

    /// One that takes rehearsals.
    pub async fn start_rehearsing(topology: &str, options: GatewayOptions) -> Front {
        let rehearsal = Some(RehearsalEdge { rates: None });
        Front::start_as(topology, options, (None, rehearsal, false), ServeOptions::default()).await
    }

    /// One that offers the calls of development.
    pub async fn start_for_development(topology: &str, options: GatewayOptions) -> Front {
        Front::start_as(topology, options, (None, None, true), ServeOptions::default()).await
    }

    pub async fn start_with(
        topology: &str,
        options: GatewayOptions,
        rates: Option<Arc<UserRates>>,
        serving: ServeOptions,
    ) -> Front {
        Front::start_as(topology, options, (rates, None, false), serving).await
    }

    async fn start_as(
        topology: &str,
        options: GatewayOptions,
        (rates, rehearsal, dev_calls): (Option<Arc<UserRates>>, Option<RehearsalEdge>, bool),
        serving: ServeOptions,
    ) -> Front {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("topology.toml");
        std::fs::write(&file, topology).unwrap();
        let watcher = TopologyWatcher::open(&file).unwrap();
        let clock = Arc::new(SystemClock);
        let mut registry = Registry::default();
        let parts = GatewayParts {
            verifier: Verifier::hs256(SECRET, clock.clone()).unwrap(),
            clock: clock.clone(),
            topology: watcher.clone(),
            rates,
            rehearsal,
            dev_calls,
            tls: None,
            options,
        };
        let (gateway, tasks) = Gateway::start(parts, &mut registry).await;
        let health = Health::new(vec![gateway.check()]);
        let router = gateway.routes(health.router().merge(metrics_router(registry)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (stop, stopped) = oneshot::channel();
        let serving = ServeOptions { metrics: HttpMetrics::default(), ..serving };
        let served = tokio::spawn(serve(listener, router, serving, async {
            let _ = stopped.await;
        }));
        let issuer = Issuer::hs256(SECRET, clock).unwrap();
        Front { address, watcher, file, issuer, stop, served, tasks, _dir: dir }
    }

    pub fn token(&self, user: &str) -> String {
        self.issuer.issue(&UserId::parse(user).unwrap(), &[], None, 600)
    }

    pub fn operator_token(&self) -> String {
        self.issuer.issue(&UserId::parse("op").unwrap(), &[], Some(Role::Operator), 600)
    }

    pub async fn get(&self, path: &str) -> Reply {
        self.call("GET", path, "").await
    }

    pub async fn post(&self, path: &str, body: &str) -> Reply {
        self.call("POST", path, body).await
    }

    /// As the user `li`, on a connection of its own.
    pub async fn call(&self, method: &str, path: &str, body: &str) -> Reply {
        self.call_with(method, path, &[], body).await
    }

    pub async fn call_with(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Reply {
        let mut head = format!("{method} {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {}\r\n", self.token("li"));
        for (name, value) in headers {
            head += &format!("{name}: {value}\r\n");
        }
        head += &format!("content-length: {}\r\n\r\n{body}", body.len());
        exchange(self.address, &head).await
    }

    /// Opens an envelope, again and again until it goes over a link where openings do.
    pub async fn link_to(&self, id: EnvelopeId) {
        if !OVER_LINKS {
            self.post(&format!("/v1/envelopes/{id}/open"), "{}").await.server();
            return;
        }
        let frames = "hongbao_gateway_link_frames_total{direction=\"received\"}";
        let began = Instant::now();
        let before = self.metric(frames).await;
        while self.metric(frames).await == before {
            assert!(began.elapsed() < PATIENCE, "no link to the owner of {id}");
            self.post(&format!("/v1/envelopes/{id}/open"), "{}").await;
        }
    }

    /// The value of one metric.
    pub async fn metric(&self, line: &str) -> Option<f64> {
        let text = self.get("/metrics").await.body;
        let line = text.lines().find_map(|found| found.strip_prefix(line)?.strip_prefix(' '));
        line.map(|value| value.parse().unwrap())
    }

    /// Waits until a metric has a value.
    pub async fn until_metric(&self, line: &str, value: f64) -> Duration {
        let started = Instant::now();
        while self.metric(line).await != Some(value) {
            assert!(started.elapsed() < PATIENCE, "{line} is {:?}, not {value}", self.metric(line).await);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        started.elapsed()
    }

    /// Waits until a server is believed to be up, or not.
    pub async fn until_up(&self, set: &str, server: &str, up: bool) -> Duration {
        let line = format!("hongbao_gateway_server_up{{set=\"{set}\",server=\"{server}\"}}");
        self.until_metric(&line, f64::from(u8::from(up))).await
    }

    pub async fn stop(self) {
        let _ = self.stop.send(());
        self.served.await.unwrap();
        self.tasks.shutdown().await;
    }
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
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Which backend answered.
    pub fn server(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["server"].as_str().unwrap().to_owned()
    }

    pub fn expect_problem(&self, status: u16, code: &str) {
        assert_eq!((self.status, self.json()["code"].as_str()), (status, Some(code)), "{self:?}");
        assert_eq!(self.json()["request_id"].as_str(), self.header("x-request-id"));
    }
}

/// Sends bytes on a connection of its own and reads one answer.
pub async fn exchange(address: SocketAddr, request: &str) -> Reply {
    let talk = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        read_reply(&mut stream).await
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("an answer in time")
}

/// Reads one answer with a content length, or up to the end.
pub async fn read_reply(stream: &mut TcpStream) -> Reply {
    let mut bytes = Vec::new();
    let mut piece = vec![0; 64 * 1024];
    loop {
        if let Some(at) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8(bytes[..at].to_vec()).unwrap();
            let mut lines = head.split("\r\n");
            let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
            let headers: Vec<(String, String)> = lines
                .map(|line| line.split_once(": ").unwrap())
                .map(|(name, value)| (name.to_lowercase(), value.to_owned()))
                .collect();
            let len = headers.iter().find(|(name, _)| name == "content-length");
            let len: usize = len.map_or(0, |(_, value)| value.parse().unwrap());
            if bytes.len() >= at + 4 + len {
                let body = String::from_utf8(bytes[at + 4..at + 4 + len].to_vec()).unwrap();
                return Reply { status, headers, body };
            }
        }
        let n = stream.read(&mut piece).await.unwrap();
        assert!(n > 0, "the connection ended: {:?}", String::from_utf8_lossy(&bytes));
        bytes.extend_from_slice(&piece[..n]);
    }
}

/// An id, unlike the others of the test.
pub fn id(number: u64) -> EnvelopeId {
    let mut random = [0; 10];
    random[..8].copy_from_slice(&number.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_le_bytes());
    EnvelopeId::mint(Timestamp::from_millis(1_771_257_600_000), random)
}

/// A port on which nobody listens.
pub async fn nobody() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}
