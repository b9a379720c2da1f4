//! More requests than one processor can do: those that waited long for it are
//! refused unread, and who only asks how we are is answered.

mod common;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use common::{PATIENCE, Wire, patient};
use hongbao_http::{Listeners, serve_on_threads};

/// What one request keeps the processor for.
const WORK: Duration = Duration::from_millis(5);
const CLIENTS: u64 = 200;

/// Serves on a thread of its own until the process ends.
fn start_on_one_thread() -> SocketAddr {
    let listeners = Listeners::bind(([127, 0, 0, 1], 0).into(), NonZeroUsize::MIN, 1_024).unwrap();
    let address = listeners.address();
    let work = || async {
        std::thread::sleep(WORK);
        "done"
    };
    let router = Router::new().route("/v1/slow/{n}", get(work)).route("/readyz", get(|| async { "ready" }));
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(serve_on_threads(listeners, || router.clone(), patient(), std::future::pending()))
    });
    address
}

#[tokio::test]
async fn requests_that_waited_long_for_the_processor_are_refused_unread_and_the_rest_is_quick() {
    let address = start_on_one_thread();
    let began = Instant::now();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|client| {
            tokio::spawn(async move {
                let mut wire = Wire::to(address).await;
                let (mut took, mut told) = (Vec::new(), HashSet::new());
                let mut number = client;
                while began.elapsed() < Duration::from_secs(4) {
                    let asked = Instant::now();
                    let reply = wire.get(&format!("/v1/slow/{number}")).await;
                    // Another path each time: nobody comes again too early.
                    number += CLIENTS;
                    if reply.status == 503 {
                        reply.problem(503, "busy");
                        told.insert(reply.header("retry-after").unwrap().to_owned());
                        tokio::time::sleep(Duration::from_millis(50)).await;
                    } else if began.elapsed() > Duration::from_secs(2) {
                        took.push(asked.elapsed());
                    }
                }
                (took, told)
            })
        })
        .collect();
    let mut probe = Wire::to(address).await;
    while began.elapsed() < Duration::from_secs(4) {
        assert_eq!(probe.get("/readyz").await.status, 200);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (mut took, mut told) = (Vec::new(), HashSet::new());
    for client in clients {
        let (some, seconds) = client.await.unwrap();
        took.extend(some);
        told.extend(seconds);
    }
    took.sort();
    // Where all of them are let in, each waits for all others, however long one takes on a busy machine.
    let (median, each) = (took[took.len() / 2], Duration::from_secs(2) / took.len() as u32);
    assert!(median < CLIENTS as u32 * each / 2, "{median:?}, at {each:?} each");
    assert!(told.len() > 1, "all were told to come back after {told:?} s");

    // Nothing waits any more, and soon nobody is refused.
    let asked = Instant::now();
    while probe.get(&format!("/v1/slow/last-{}", asked.elapsed().as_micros())).await.body != "done" {
        assert!(asked.elapsed() < PATIENCE, "it refuses although there is nothing to do");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
