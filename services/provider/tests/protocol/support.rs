//! A sandbox on a free port, a client of it, and orders.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use hongbao_core::order::{Answer, Order};
use hongbao_core::{Clock as _, Fen, OrderId, OrderKind, SystemClock, Timestamp, UserId};
use hongbao_http::{ServeOptions, serve};
use hongbao_provider::sandbox::{Chances, Pace, Sandbox, SandboxOptions, serve::router};
use hongbao_provider::{HttpOptions, HttpProvider, Provider, ProviderError, ProviderMetrics};
use prometheus_client::registry::Registry;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub const SECRET: &[u8] = b"a secret of the provider in tests";
/// Outcomes come at once, an hour takes as long as 18 seconds, and what is slow 10 ms.
pub const PACE: Pace = Pace { confirm_ms: 30, hour_ms: 18_000 };

/// A sandbox that serves.
pub struct Running {
    pub address: SocketAddr,
    pub folder: TempDir,
    tasks: [JoinHandle<()>; 2],
}

impl Drop for Running {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

pub fn options() -> SandboxOptions {
    SandboxOptions {
        key_id: "test".to_owned(),
        secret: SECRET.to_vec(),
        pages_at: "http://127.0.0.1:9".to_owned(),
        notify_url: None,
        zone_offset_s: 28_800,
        pace: PACE,
        seed: 1,
        chances: Chances::default(),
        by_hand: false,
        wechat: None,
    }
}

impl Running {
    pub async fn start(options: SandboxOptions) -> Running {
        let folder = tempfile::tempdir().unwrap();
        let sandbox = Sandbox::open(folder.path(), options, Arc::new(SystemClock)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving =
            tokio::spawn(serve(listener, router(sandbox.clone()), ServeOptions::default(), std::future::pending()));
        let happening = tokio::spawn(async move { sandbox.run().await });
        Running { address, folder, tasks: [serving, happening] }
    }

    pub fn client(&self) -> HttpProvider {
        self.client_with(SECRET, Duration::from_millis(200))
    }

    pub fn client_with(&self, secret: &[u8], timeout: Duration) -> HttpProvider {
        let options = HttpOptions {
            url: format!("http://{}", self.address),
            key_id: "test".to_owned(),
            secret: secret.to_vec(),
            timeout,
            ca_file: None,
        };
        let metrics = ProviderMetrics::register(&mut Registry::default());
        HttpProvider::new(&options, Arc::new(SystemClock), metrics).unwrap()
    }
}

/// An order that was taken up now.
pub fn order(kind: OrderKind, fen: i64) -> Order {
    static COUNT: AtomicU8 = AtomicU8::new(0);
    let now = SystemClock.now();
    let id = OrderId::mint(now, [COUNT.fetch_add(1, Ordering::Relaxed); 10]);
    let order = Order::new(id, kind, UserId::parse("ann").unwrap(), Fen::new(fen).unwrap(), now);
    Order { sent_at: Some(now), ..order }
}

pub fn charge(fen: i64) -> Order {
    order(OrderKind::Charge, fen)
}

pub fn payout(fen: i64) -> Order {
    order(OrderKind::Payout, fen)
}

/// Asks until it has an outcome.
pub async fn outcome(client: &impl Provider, order: &Order) -> Answer {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        assert!(Instant::now() < deadline, "no outcome");
        match client.query(order).await {
            Ok(Answer::Pending { .. } | Answer::NotFound) | Err(ProviderError::RateLimited { .. }) => {}
            Ok(answer) => return answer,
            Err(error) => panic!("{error}"),
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

pub fn amount_of(answer: &Answer) -> i64 {
    match answer {
        Answer::Succeeded(happened) | Answer::Returned(happened) => happened.amount.get(),
        other => panic!("{other:?}"),
    }
}

pub fn today() -> hongbao_core::Date {
    hongbao_core::Date::of(now(), 28_800)
}

pub fn now() -> Timestamp {
    SystemClock.now()
}
