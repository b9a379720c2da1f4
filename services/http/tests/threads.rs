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
async fn an_address_that_somebody_listens_on_is_refused() {
    let listeners = Listeners::bind(LOOPBACK, two(), 128).unwrap();
    let error = Listeners::bind(listeners.address(), two(), 128).err().unwrap();
    assert_eq!(error.kind(), std::io::ErrorKind::AddrInUse);
}
