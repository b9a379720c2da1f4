//! Connections: too slow, too many, and at the end.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::Router;
use axum::routing::get;
use common::{PATIENCE, Wire, patient, quick, router, start};
use hongbao_http::ServeOptions;
use tokio::net::TcpStream;
use tokio::sync::Notify;

#[tokio::test]
async fn a_half_sent_head_is_cut_within_its_time() {
    let server = start(router(), quick()).await;
    for start_of_head in ["", "G", "GET /hello HTTP/1.1\r\nhost: x\r\n"] {
        let mut wire = Wire::open(&server).await;
        wire.send(start_of_head).await;
        let waited = wire.closed().await;
        assert!((100..10_000).contains(&waited.as_millis()), "{start_of_head:?}: {waited:?}");
    }
}

#[tokio::test]
async fn a_head_that_drips_is_cut_although_something_always_comes() {
    let server = start(router(), quick()).await;
    // Also on a connection that has been good before.
    for requests_before in [0, 2] {
        let mut wire = Wire::open(&server).await;
        for _ in 0..requests_before {
            assert_eq!(wire.get("/hello").await.body, "hello");
        }
        let started = Instant::now();
        while wire.try_send("G").await {
            assert!(started.elapsed() < PATIENCE);
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        assert!((100..10_000).contains(&started.elapsed().as_millis()), "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn an_idle_connection_outlives_the_time_of_a_head_but_not_its_own() {
    let server = start(router(), ServeOptions { idle_timeout: Duration::from_millis(1_200), ..quick() }).await;
    let mut wire = Wire::open(&server).await;
    assert_eq!(wire.get("/hello").await.body, "hello");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert_eq!(wire.get("/hello").await.body, "hello");
    let waited = wire.closed().await;
    assert!((1_000..10_000).contains(&waited.as_millis()), "{waited:?}");
}

#[tokio::test]
async fn a_handler_may_take_longer_than_a_head() {
    let server = start(router(), quick()).await;
    let mut wire = Wire::open(&server).await;
    assert_eq!(wire.get("/slow").await.body, "slow");
    assert_eq!(wire.get("/slow").await.body, "slow");
}

#[tokio::test]
async fn a_client_that_does_not_take_its_answers_is_cut() {
    use tokio::io::AsyncWriteExt as _;
    let server = start(router(), quick()).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let started = Instant::now();
    let head = format!("GET /{} HTTP/1.1\r\nhost: x\r\n\r\n", "a".repeat(200)).repeat(100);
    while stream.write_all(head.as_bytes()).await.is_ok() {
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test]
async fn pipelined_requests_are_answered_in_order() {
    let server = start(router(), patient()).await;
    let mut wire = Wire::open(&server).await;
    let all: String = (0..100).map(|n| format!("GET /number/{n} HTTP/1.1\r\nhost: x\r\n\r\n")).collect();
    let started = Instant::now();
    wire.send(all).await;
    for n in 0..100 {
        assert_eq!(wire.reply().await.body, n.to_string());
    }
    assert!(started.elapsed() < Duration::from_secs(2), "no answer waits for an acknowledgement");
    let bodies = "POST /greet HTTP/1.1\r\nhost: x\r\ncontent-length: 12\r\n\r\n{\"name\":\"a\"}".repeat(20);
    wire.send(bodies).await;
    for _ in 0..20 {
        assert_eq!(wire.reply().await.body, "hello a x1");
    }
}

#[tokio::test]
async fn a_connection_over_the_limit_is_told_so_and_closed() {
    let server = start(router(), ServeOptions { connections_max: 2, ..patient() }).await;
    let (mut first, mut second) = (Wire::open(&server).await, Wire::open(&server).await);
    assert_eq!(first.get("/hello").await.body, "hello");
    assert_eq!(second.get("/hello").await.body, "hello");
    for _ in 0..5 {
        let mut third = Wire::open(&server).await;
        third.try_send("GET /hello HTTP/1.1\r\nhost: x\r\n\r\n").await;
        let reply = third.reply().await;
        reply.problem(503, "busy");
        assert_eq!(reply.header("connection"), Some("close"));
        third.closed().await;
    }
    assert_eq!(second.get("/hello").await.body, "hello");
    drop(first);
    let started = Instant::now();
    while Wire::open(&server).await.get("/hello").await.status != 200 {
        assert!(started.elapsed() < PATIENCE);
    }
}

#[tokio::test]
async fn refusals_are_bounded_too() {
    let options = ServeOptions { connections_max: 1, refusals_max: 1, ..quick() };
    let server = start(router(), ServeOptions { linger_timeout: PATIENCE, idle_timeout: PATIENCE, ..options }).await;
    let mut first = Wire::open(&server).await;
    assert_eq!(first.get("/hello").await.body, "hello");
    // It gets its refusal, but stays on the line: the only place is taken.
    let mut second = Wire::open(&server).await;
    second.reply().await.problem(503, "busy");
    let mut third = Wire::open(&server).await;
    assert!(third.try_reply().await.is_none(), "closed without a word");
    drop(second);
    assert_eq!(first.get("/hello").await.body, "hello");
}

#[tokio::test]
async fn draining_lets_a_request_in_flight_finish_and_closes_what_is_idle() {
    let (started, finish) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let held = {
        let (started, finish) = (started.clone(), finish.clone());
        get(move || async move {
            started.notify_one();
            finish.notified().await;
            "held"
        })
    };
    let server = start(router().route("/held", held), patient()).await;
    let (mut idle, mut fresh) = (Wire::open(&server).await, Wire::open(&server).await);
    assert_eq!(idle.get("/hello").await.body, "hello");
    let mut busy = Wire::open(&server).await;
    busy.send("GET /held HTTP/1.1\r\nhost: x\r\n\r\n").await;
    started.notified().await;

    server.stop.send(()).unwrap();
    idle.closed().await;
    fresh.closed().await;
    assert!(TcpStream::connect(server.address).await.is_err(), "nothing is accepted any more");
    assert!(!server.done.is_finished(), "it waits for the request in flight");

    finish.notify_one();
    let reply = busy.reply().await;
    assert_eq!((reply.body.as_str(), reply.header("connection")), ("held", Some("close")));
    busy.closed().await;
    tokio::time::timeout(PATIENCE / 2, server.done).await.expect("done as soon as the last one is").unwrap();
}

#[tokio::test]
async fn draining_ends_after_its_time_whatever_hangs() {
    let options = ServeOptions { drain_timeout: Duration::from_millis(100), ..patient() };
    let server = start(router(), options).await;
    let mut stuck = Wire::open(&server).await;
    stuck.send("GET /stuck HTTP/1.1\r\nhost: x\r\n\r\n").await;
    let mut half = Wire::open(&server).await;
    half.send("GET /he").await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, server.done).await.unwrap().unwrap();
    assert!(stuck.try_reply().await.is_none());
    assert!(half.try_reply().await.is_none());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_request_that_was_read_is_answered_when_the_server_drains_under_load() {
    let read = Arc::new(AtomicUsize::new(0));
    let counted = {
        let read = read.clone();
        get(move || async move {
            read.fetch_add(1, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(2)).await;
            "counted"
        })
    };
    let server = start(Router::new().route("/", counted), patient()).await;
    let mut clients = Vec::new();
    for _ in 0..16 {
        let mut wire = Wire::open(&server).await;
        clients.push(tokio::spawn(async move {
            let mut answered = 0;
            while wire.try_send("GET / HTTP/1.1\r\nhost: x\r\n\r\n").await {
                let Some(reply) = wire.try_reply().await else { break };
                assert_eq!(reply.body, "counted");
                answered += 1;
            }
            answered
        }));
    }
    tokio::time::sleep(Duration::from_millis(100)).await;
    server.stop.send(()).unwrap();
    tokio::time::timeout(PATIENCE, server.done).await.unwrap().unwrap();
    let mut answered = 0;
    for client in clients {
        answered += client.await.unwrap();
    }
    assert!(answered > 0);
    assert_eq!(answered, read.load(Ordering::SeqCst));
}

/// Runs itself again as a child with few file handles, for the limit belongs to the process.
#[test]
fn a_server_that_ran_out_of_file_handles_goes_on_when_it_has_some_again() {
    const CHILD: &str = "HONGBAO_TEST_FEW_HANDLES";
    if std::env::var_os(CHILD).is_some() {
        tokio::runtime::Runtime::new().unwrap().block_on(run_out_of_handles());
        return;
    }
    let name = "a_server_that_ran_out_of_file_handles_goes_on_when_it_has_some_again";
    let output = std::process::Command::new("sh")
        .args(["-c", "ulimit -n 48 && exec \"$0\" --exact \"$1\" --nocapture"])
        .arg(std::env::current_exe().unwrap())
        .arg(name)
        .env(CHILD, "1")
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

async fn run_out_of_handles() {
    let server = start(router(), patient()).await;
    // Both ends of each connection are ours, so the client side runs dry first
    // or second; either way accepting fails for those that the kernel took in.
    let mut taken = Vec::new();
    while let Ok(stream) = TcpStream::connect(server.address).await {
        taken.push(stream);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(taken.len() >= 10);
    drop(taken);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(Wire::open(&server).await.get("/hello").await.body, "hello");
}
