//! Servers that are gone, slow, going, or break a connection.

mod common;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use common::{Backend, Entry, Front, OVER_LINKS, id, nobody, quick, read_reply, topology};
use hongbao_core::EnvelopeId;
use hongbao_core::limits::RETRY_AFTER_S_MAX;
use hongbao_core::routing::owner;
use hongbao_gateway::GatewayOptions;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Probes so seldom that only what requests find out counts; no operator may say so.
fn unprobed() -> GatewayOptions {
    GatewayOptions { probe_every_ms: 60_000, probe_again_ms: 60_000, ..quick() }
}

fn one_set(servers: &[Entry<'_>]) -> String {
    topology(1, &[("a", "00-99", servers)])
}

/// An envelope that a server owns among others.
fn owned_by(server: &str, servers: &[&str]) -> EnvelopeId {
    (0..).map(id).find(|id| owner(*id, servers.iter().copied()) == Some(server)).expect("every server owns some")
}

fn open(id: EnvelopeId) -> String {
    format!("/v1/envelopes/{id}/open")
}

async fn pair() -> (Backend, Backend, String) {
    let (one, two) = (Backend::start("a1").await, Backend::start("a2").await);
    let text = one_set(&[("a1", one.address), ("a2", two.address)]);
    (one, two, text)
}

/// A listener that answers probes, and does with each other request what `then` says.
async fn raw(then: impl Fn(TcpStream) -> RawAnswer + Send + Sync + 'static) -> (SocketAddr, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let requests = Arc::new(AtomicU64::new(0));
    let (counted, then) = (requests.clone(), Arc::new(then));
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (counted, then) = (counted.clone(), then.clone());
            tokio::spawn(async move {
                let mut head = vec![0; 8_192];
                while let Ok(n) = stream.read(&mut head).await
                    && n > 0
                {
                    if head.starts_with(b"GET /readyz") {
                        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
                        continue;
                    }
                    if head.starts_with(b"GET /internal/link") {
                        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").await;
                        continue;
                    }
                    counted.fetch_add(1, Ordering::SeqCst);
                    return then(stream).await;
                }
            });
        }
    });
    (address, requests)
}

type RawAnswer = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

#[tokio::test]
async fn when_a_server_refuses_the_connection_the_next_one_is_asked() {
    let (mut one, two, text) = pair().await;
    let front = Front::start(&text, unprobed()).await;
    let id = owned_by("a1", &["a1", "a2"]);
    front.link_to(id).await;
    assert_eq!(front.post(&open(id), "{}").await.server(), "a1");
    one.kill().await;
    let before = two.script.count();
    assert_eq!(front.post(&open(id), "{}").await.server(), "a2");
    assert_eq!(two.script.count(), before + 1);
    let retries = front.metric("hongbao_gateway_retries_total{after=\"connection_refused\"}").await;
    assert_eq!(retries, Some(1.0));
}

#[tokio::test]
async fn a_killed_server_is_left_in_well_under_a_second_and_taken_back() {
    let (mut one, _two, text) = pair().await;
    let front = Front::start(&text, GatewayOptions { links: OVER_LINKS, ..GatewayOptions::default() }).await;
    let id = owned_by("a1", &["a1", "a2"]);
    assert_eq!(front.get(&format!("/v1/envelopes/{id}")).await.server(), "a1");
    one.kill().await;
    let took = front.until_up("a", "a1", false).await;
    assert!(took < Duration::from_millis(700), "{took:?}");
    assert_eq!(front.post(&open(id), "{}").await.server(), "a2");
    one.begin().await;
    front.until_up("a", "a1", true).await;
    assert_eq!(front.post(&open(id), "{}").await.server(), "a1");
    assert_eq!(front.metric("hongbao_gateway_server_changes_total{set=\"a\",server=\"a1\"}").await, Some(2.0));
}

#[tokio::test]
async fn a_connection_that_breaks_after_an_opening_was_sent_is_unknown_and_nothing_is_sent_again() {
    let (address, requests) = raw(|stream| Box::pin(async { drop(stream) })).await;
    let other = Backend::start("a2").await;
    let front = Front::start(&one_set(&[("a1", address), ("a2", other.address)]), quick()).await;
    let id = owned_by("a1", &["a1", "a2"]);
    for (number, path) in [open(id), format!("/v1/envelopes/{id}/pay")].iter().enumerate() {
        let reply = front.post(path, "{}").await;
        reply.expect_problem(504, "outcome_unknown");
        assert_eq!(reply.json()["retryable"], true);
        assert_eq!(requests.load(Ordering::SeqCst), number as u64 + 1);
    }
    // What changes nothing may be asked again, by the client.
    for (method, path) in [("GET", format!("/v1/envelopes/{id}")), ("POST", format!("/v1/envelopes/{id}/grab"))] {
        let reply = front.call(method, &path, "").await;
        reply.expect_problem(503, "unavailable");
        assert_eq!(reply.json()["retryable"], true);
        let wait_s = reply.header("retry-after").unwrap().parse().unwrap();
        assert!((1..=RETRY_AFTER_S_MAX).contains(&wait_s), "{wait_s}");
    }
    assert_eq!(requests.load(Ordering::SeqCst), 4);
    assert_eq!(other.script.count(), 0, "nothing went to the other server");
    assert_eq!(front.metric("hongbao_gateway_requests_total{outcome=\"unknown\"}").await, Some(2.0));
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_passed_on_as_a_whole_one() {
    let (address, _) = raw(|mut stream| {
        Box::pin(async move {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf").await;
        })
    })
    .await;
    let front = Front::start(&one_set(&[("a1", address)]), quick()).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let token = front.token("li");
    let request = format!("GET /v1/wallet HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut bytes = Vec::new();
    let _ = stream.read_to_end(&mut bytes).await;
    let text = String::from_utf8(bytes).unwrap();
    assert!(text.is_empty() || (text.contains("content-length: 100") && !text.contains(&"x".repeat(100))), "{text}");
}

#[tokio::test]
async fn a_kept_connection_that_the_server_has_closed_costs_no_opening() {
    // Answers once, and closes without having said so.
    let (address, requests) = raw(|mut stream| {
        Box::pin(async move {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 15\r\n\r\n{\"server\":\"a1\"}").await;
        })
    })
    .await;
    let front = Front::start(&one_set(&[("a1", address)]), quick()).await;
    for number in 1..=20 {
        assert_eq!(front.post(&open(id(number)), "{}").await.server(), "a1");
        // The end of the connection has to arrive: until then nobody can know.
        tokio::time::sleep(Duration::from_millis(10)).await;
        assert_eq!(requests.load(Ordering::SeqCst), number);
    }
}

#[tokio::test]
async fn when_all_servers_look_dead_the_owner_is_still_asked() {
    let (mut one, mut two, text) = pair().await;
    let front = Front::start(&text, quick()).await;
    one.script.failing.store(true, Ordering::SeqCst);
    two.script.failing.store(true, Ordering::SeqCst);
    front.until_up("a", "a1", false).await;
    front.until_up("a", "a2", false).await;
    assert_eq!(front.get("/readyz").await.status, 503);
    for server in ["a1", "a2"] {
        assert_eq!(front.post(&open(owned_by(server, &["a1", "a2"])), "{}").await.server(), server);
    }
    one.kill().await;
    two.kill().await;
    let reply = front.post(&open(id(1)), "{}").await;
    reply.expect_problem(503, "unavailable");
    assert!(reply.header("retry-after").is_some());
    two.begin().await;
    let started = Instant::now();
    while front.post(&open(id(1)), "{}").await.status != 200 {
        assert!(started.elapsed() < common::PATIENCE);
    }
}

#[tokio::test]
async fn a_set_whose_servers_are_dead_does_not_concern_the_other() {
    let alive = Backend::start("b1").await;
    let text = topology(1, &[("a", "00-49", &[("a1", nobody().await)]), ("b", "50-99", &[("b1", alive.address)])]);
    let front = Front::start(&text, quick()).await;
    front.until_up("a", "a1", false).await;
    assert_eq!(front.get("/readyz").await.status, 200);
    for number in 0..30 {
        let reply = front.post(&open(id(number)), "{}").await;
        match id(number).placement(0).slot.number() < 50 {
            true => reply.expect_problem(503, "unavailable"),
            false => assert_eq!(reply.server(), "b1"),
        }
    }
    assert_eq!(front.get("/v1/wallet").await.server(), "b1", "whom no SET concerns");
}

#[tokio::test]
async fn a_slow_server_keeps_its_envelopes() {
    let (one, _two, text) = pair().await;
    let front = Front::start(&text, quick()).await;
    front.get("/v1/wallet").await;
    // Slower than the time limit of a probe, for less than three of them.
    one.script.slow_ms.store(120, Ordering::SeqCst);
    let id = owned_by("a1", &["a1", "a2"]);
    assert_eq!(front.post(&open(id), "{}").await.server(), "a1");
    one.script.slow_ms.store(0, Ordering::SeqCst);
    assert_eq!(front.post(&open(id), "{}").await.server(), "a1");
    assert_eq!(front.metric("hongbao_gateway_server_changes_total{set=\"a\",server=\"a1\"}").await, Some(0.0));
    // For good: then it is as good as dead.
    one.script.slow_ms.store(60_000, Ordering::SeqCst);
    let took = front.until_up("a", "a1", false).await;
    assert!(took > Duration::from_millis(100), "a probe has its time: {took:?}");
    assert_eq!(front.post(&open(id), "{}").await.server(), "a2");
}

#[tokio::test]
async fn a_draining_server_gets_nothing_new_at_once() {
    let (one, two, text) = pair().await;
    let front = Front::start(&text, quick()).await;
    let id = owned_by("a1", &["a1", "a2"]);
    assert_eq!(front.post(&open(id), "{}").await.server(), "a1");
    one.script.draining.store(true, Ordering::SeqCst);
    let took = front.until_up("a", "a1", false).await;
    assert!(took < Duration::from_millis(150), "{took:?}");
    let before = one.script.count();
    for _ in 0..5 {
        assert_eq!(front.post(&open(id), "{}").await.server(), "a2");
    }
    assert_eq!((one.script.count(), two.script.count()), (before, 5));
    one.script.draining.store(false, Ordering::SeqCst);
    front.until_up("a", "a1", true).await;
    assert_eq!(front.post(&open(id), "{}").await.server(), "a1");
}

#[tokio::test]
async fn the_deadline_is_enforced_and_what_may_have_happened_is_unknown() {
    let (one, _two, text) = pair().await;
    let options = GatewayOptions { answer_within_ms: 200, ..unprobed() };
    let front = Front::start(&text, options).await;
    let id = owned_by("a1", &["a1", "a2"]);
    front.link_to(id).await;
    one.script.slow_ms.store(5_000, Ordering::SeqCst);
    let started = Instant::now();
    front.post(&open(id), "{}").await.expect_problem(504, "outcome_unknown");
    front.get(&format!("/v1/envelopes/{id}")).await.expect_problem(503, "unavailable");
    let took = started.elapsed();
    assert!((Duration::from_millis(500)..Duration::from_secs(3)).contains(&took), "{took:?}");
    assert_eq!(one.script.header("x-hongbao-deadline-ms"), ["200"]);
    front.until_metric("hongbao_gateway_in_flight{set=\"a\",server=\"a1\"}", 0.0).await;
}

#[tokio::test]
async fn what_is_at_one_server_is_bounded_and_more_is_refused_as_busy() {
    let one = Backend::start("a1").await;
    let options = GatewayOptions { forwards_per_server_max: 2, ..unprobed() };
    let front = Arc::new(Front::start(&one_set(&[("a1", one.address)]), options).await);
    front.link_to(id(1)).await;
    one.script.slow_ms.store(400, Ordering::SeqCst);
    let calls: Vec<_> = (0..3)
        .map(|_| {
            let front = front.clone();
            tokio::spawn(async move { front.post(&open(id(1)), "{}").await })
        })
        .collect();
    let mut statuses = Vec::new();
    for call in calls {
        statuses.push(call.await.unwrap().status);
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503]);
    one.script.slow_ms.store(0, Ordering::SeqCst);
    assert_eq!(front.post(&open(id(1)), "{}").await.status, 200);
}

#[tokio::test]
async fn a_rehearsal_leaves_half_of_the_places_at_a_server_to_what_is_real() {
    let one = Backend::start("a1").await;
    let options = GatewayOptions { forwards_per_server_max: 4, ..unprobed() };
    let front = Arc::new(Front::start_rehearsing(&one_set(&[("a1", one.address)]), options).await);
    front.link_to(id(1)).await;
    let before = one.script.count();
    one.script.slow_ms.store(600, Ordering::SeqCst);
    let call = |marked: bool| {
        let front = front.clone();
        tokio::spawn(async move {
            let mark = front.operator_token();
            let headers = [("x-hongbao-rehearsal", mark.as_str())];
            front.call_with("POST", &open(id(1)), if marked { &headers } else { &[] }, "{}").await.status
        })
    };
    let rehearsed: Vec<_> = (0..6).map(|_| call(true)).collect();
    while one.script.count() < before + 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let real = [call(false), call(false)];
    for call in real {
        assert_eq!(call.await.unwrap(), 200);
    }
    let mut statuses = Vec::new();
    for call in rehearsed {
        statuses.push(call.await.unwrap());
    }
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 200, 503, 503, 503, 503]);
}

#[tokio::test]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let one = Backend::start("a1").await;
    let front = Front::start(&one_set(&[("a1", one.address)]), unprobed()).await;
    front.link_to(id(1)).await;
    one.script.slow_ms.store(60_000, Ordering::SeqCst);
    for _ in 0..10 {
        let mut stream = TcpStream::connect(front.address).await.unwrap();
        let (path, token) = (open(id(1)), front.token("li"));
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\ncontent-length: 2\r\n\r\n{{}}"
        );
        stream.write_all(head.as_bytes()).await.unwrap();
        let count = one.script.count();
        while one.script.count() == count {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
    front.until_metric("hongbao_gateway_in_flight{set=\"a\",server=\"a1\"}", 0.0).await;
    one.script.slow_ms.store(0, Ordering::SeqCst);
    assert_eq!(front.post(&open(id(1)), "{}").await.server(), "a1");
}

#[tokio::test]
async fn a_body_that_does_not_come_reaches_no_server() {
    let one = Backend::start("a1").await;
    let serving = hongbao_http::ServeOptions {
        body_timeout: Duration::from_millis(100),
        ..hongbao_http::ServeOptions::default()
    };
    let front = Front::start_with(&one_set(&[("a1", one.address)]), quick(), None, serving).await;
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let (path, token) = (open(id(1)), front.token("li"));
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\ncontent-length: 20\r\n\r\n{{");
    stream.write_all(head.as_bytes()).await.unwrap();
    read_reply(&mut stream).await.expect_problem(408, "request_timeout");
    assert_eq!(one.script.count(), 0);
}

#[tokio::test]
async fn requests_that_run_when_the_gateway_stops_are_answered() {
    let one = Backend::start("a1").await;
    let front = Front::start(&one_set(&[("a1", one.address)]), unprobed()).await;
    front.link_to(id(1)).await;
    let before = one.script.count();
    one.script.slow_ms.store(300, Ordering::SeqCst);
    let mut stream = TcpStream::connect(front.address).await.unwrap();
    let (path, token) = (open(id(1)), front.token("li"));
    let head =
        format!("POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\ncontent-length: 2\r\n\r\n{{}}");
    stream.write_all(head.as_bytes()).await.unwrap();
    while one.script.count() == before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (reply, ()) = tokio::join!(read_reply(&mut stream), front.stop());
    assert_eq!(reply.server(), "a1");
}
