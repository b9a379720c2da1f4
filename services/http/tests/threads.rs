//! A server on several threads.

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use common::{Server, Wire, patient};
use hongbao_http::{Listeners, serve_on_threads};
use tokio::sync::oneshot;

const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);

fn two() -> NonZeroUsize {
    NonZeroUsize::new(2).unwrap()
}

#[tokio::test]
async fn every_thread_serves_with_a_router_of_its_own_and_all_drain() {
    let listeners = Listeners::bind(LOOPBACK, two(), 128).unwrap();
    let address = listeners.address();
    let made = Arc::new(AtomicU64::new(0));
    let counted = made.clone();
    let router = move || {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        let slow = || async {
            tokio::time::sleep(Duration::from_millis(600)).await;
            "slow"
        };
        Router::new().route("/", get(move || async move { number.to_string() })).route("/slow", get(slow))
    };
    let (stop, stopped) = oneshot::channel();
    let done = tokio::spawn(async move {
        serve_on_threads(listeners, router, patient(), async {
            let _ = stopped.await;
        })
        .await
        .unwrap();
    });
    let server = Server { address, stop, done };
    let mut answered = HashSet::new();
    let mut wires = Vec::new();
    for _ in 0..64 {
        let mut wire = Wire::open(&server).await;
        answered.insert(wire.get("/").await.body);
        wires.push(wire);
    }
    assert_eq!((answered.len(), made.load(Ordering::SeqCst)), (2, 2));

    for wire in &mut wires {
        wire.send("GET /slow HTTP/1.1\r\nhost: x\r\n\r\n").await;
    }
    server.stop.send(()).unwrap();
    for wire in &mut wires {
        assert_eq!(wire.reply().await.body, "slow");
    }
    server.done.await.unwrap();
    assert!(tokio::net::TcpStream::connect(address).await.is_err(), "nobody listens any more");
}

#[tokio::test]
async fn a_thread_that_hangs_in_a_request_has_no_pulse() {
    let listeners = Listeners::bind(LOOPBACK, two(), 128).unwrap();
    let (address, pulses) = (listeners.address(), listeners.pulses());
    let router = || {
        let hang = || async {
            std::thread::sleep(Duration::from_secs(3));
            "hung"
        };
        Router::new().route("/hang", get(hang))
    };
    let (stop, stopped) = oneshot::channel();
    let done = tokio::spawn(async move {
        let stopped = async move { drop(stopped.await) };
        serve_on_threads(listeners, router, patient(), stopped).await.unwrap();
    });
    let asked_after = |wait: Duration| {
        let pulses = pulses.clone();
        async move {
            pulses.beat_since_asked();
            tokio::time::sleep(wait).await;
            pulses.beat_since_asked()
        }
    };
    assert!(asked_after(Duration::from_millis(1_500)).await, "both threads are idle");
    let server = Server { address, stop, done };
    let mut wire = Wire::open(&server).await;
    wire.send("GET /hang HTTP/1.1\r\nhost: x\r\n\r\n").await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(!asked_after(Duration::from_millis(1_500)).await, "one of them hangs");
    assert_eq!(wire.reply().await.body, "hung");
    assert!(asked_after(Duration::from_millis(1_500)).await, "it goes on");
    server.stop.send(()).unwrap();
    server.done.await.unwrap();
}

#[tokio::test]
async fn an_address_that_somebody_listens_on_is_refused() {
    let listeners = Listeners::bind(LOOPBACK, two(), 128).unwrap();
    let error = Listeners::bind(listeners.address(), two(), 128).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
