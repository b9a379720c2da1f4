//! Openings and grabs that go over links, and those that cannot.

mod common;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Backend, Front, id, quick, topology};
use hongbao_core::EnvelopeId;
use hongbao_core::routing::owner;
use hongbao_gateway::GatewayOptions;

const OPEN: &str = "hongbao_gateway_links";
const SENT: &str = "hongbao_gateway_link_frames_total{direction=\"sent\"}";
const WRITES: &str = "hongbao_gateway_link_batches_total{direction=\"sent\"}";

fn one_set(backends: &[&Backend]) -> String {
    let servers: Vec<_> = backends.iter().map(|backend| (backend.script.name.as_str(), backend.address)).collect();
    topology(1, &[("a", "00-99", &servers)])
}

fn owned_by(server: &str, servers: &[&str]) -> EnvelopeId {
    (0..).map(id).find(|id| owner(*id, servers.iter().copied()) == Some(server)).expect("every server owns some")
}

#[tokio::test]
async fn openings_and_grabs_go_over_a_link_and_nothing_else_does() {
    let one = Backend::start("a1").await;
    let front = Front::start(&one_set(&[&one]), quick()).await;
    front.link_to(id(1)).await;
    let before = front.metric(SENT).await.unwrap();
    for verb in ["open", "grab"] {
        let path = format!("/v1/envelopes/{}/{verb}", id(7));
        let reply = front.post(&path, "{\"ticket\":\"t\"}").await;
        assert_eq!(reply.server(), "a1");
        assert_eq!(
            (reply.json()["uri"].as_str(), reply.json()["body"].as_str()),
            (Some(&*path), Some("{\"ticket\":\"t\"}"))
        );
        assert_eq!(reply.header("content-type"), Some("application/json"));
    }
    assert_eq!(front.metric(SENT).await, Some(before + 2.0));
    let upper = format!("/v1/envelopes/{}/open", id(7).to_string().to_uppercase());
    for (method, path) in [
        ("POST", format!("/v1/envelopes/{}/pay", id(7))),
        ("GET", format!("/v1/envelopes/{}", id(7))),
        ("POST", format!("/v1/envelopes/{}/open?x=1", id(7))),
        ("POST", upper),
        ("GET", "/v1/wallet".to_owned()),
    ] {
        let reply = front.call(method, &path, "").await;
        assert_eq!(reply.json()["uri"], path);
    }
    assert_eq!(front.metric(SENT).await, Some(before + 2.0));
    front.get("/internal/link").await.expect_problem(404, "not_found");
}

#[tokio::test]
async fn many_openings_share_a_write_and_more_than_a_link_holds_are_answered_too() {
    let one = Backend::start("a1").await;
    // It is slow, and not dead.
    let options = GatewayOptions { answer_within_ms: 20_000, probe_timeout_ms: 20_000, ..quick() };
    let front = Arc::new(Front::start(&one_set(&[&one]), options).await);
    front.link_to(id(1)).await;
    one.script.slow_ms.store(200, Ordering::SeqCst);
    let calls: Vec<_> = (0..300)
        .map(|number| {
            let front = front.clone();
            tokio::spawn(async move {
                let path = format!("/v1/envelopes/{}/open", id(number));
                loop {
                    let reply = front.post(&path, "{}").await;
                    // A server that takes so long is given fewer at once.
                    if reply.status == 503 {
                        tokio::time::sleep(Duration::from_millis(50)).await;
                        continue;
                    }
                    assert_eq!(reply.json()["uri"], path, "each its own answer: {reply:?}");
                    return;
                }
            })
        })
        .collect();
    for call in calls {
        call.await.unwrap();
    }
    let (frames, writes) = (front.metric(SENT).await.unwrap(), front.metric(WRITES).await.unwrap());
    assert!(frames >= 64.0 && writes < frames, "{frames} frames in {writes} writes");
    assert!(front.metric(OPEN).await.unwrap() >= 1.0);
}

#[tokio::test]
async fn an_older_server_is_asked_over_http() {
    let mut one = Backend::start("a1").await;
    one.kill().await;
    one.links_max = 0;
    one.begin().await;
    let front = Front::start(&one_set(&[&one]), quick()).await;
    for number in 0..5 {
        assert_eq!(front.post(&format!("/v1/envelopes/{}/open", id(number)), "{}").await.server(), "a1");
    }
    front.until_metric("hongbao_gateway_links_refused_total", 1.0).await;
    assert_eq!((front.metric(OPEN).await, front.metric(SENT).await), (Some(0.0), Some(0.0)));
    assert_eq!(one.script.count(), 5);
    // It is upgraded.
    one.kill().await;
    one.links_max = 1;
    one.begin().await;
    front.link_to(id(1)).await;
}

#[tokio::test]
async fn what_a_killed_server_was_sent_is_unknown_and_what_comes_later_goes_to_another() {
    let (mut one, two) = (Backend::start("a1").await, Backend::start("a2").await);
    let front = Arc::new(Front::start(&one_set(&[&one, &two]), quick()).await);
    let id = owned_by("a1", &["a1", "a2"]);
    front.link_to(id).await;
    one.script.slow_ms.store(60_000, Ordering::SeqCst);
    let before = one.script.count();
    let calls: Vec<_> = (0..20)
        .map(|_| {
            let front = front.clone();
            tokio::spawn(async move { front.post(&format!("/v1/envelopes/{id}/open"), "{}").await })
        })
        .collect();
    while one.script.count() < before + 20 {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    one.kill().await;
    for call in calls {
        call.await.unwrap().expect_problem(504, "outcome_unknown");
    }
    assert_eq!(two.script.count(), 0, "nothing is sent again");
    assert_eq!(front.post(&format!("/v1/envelopes/{id}/open"), "{}").await.server(), "a2");
    assert_eq!(front.metric("hongbao_gateway_links_broken_total").await, Some(1.0));
}

#[tokio::test]
async fn a_server_that_goes_away_answers_what_it_was_sent_and_no_opening_is_lost() {
    let (mut one, two) = (Backend::start("a1").await, Backend::start("a2").await);
    let front = Arc::new(Front::start(&one_set(&[&one, &two]), quick()).await);
    let id = owned_by("a1", &["a1", "a2"]);
    front.link_to(id).await;
    one.script.slow_ms.store(30, Ordering::SeqCst);
    let asking: Vec<_> = (0..8)
        .map(|_| {
            let front = front.clone();
            tokio::spawn(async move {
                for _ in 0..40 {
                    front.post(&format!("/v1/envelopes/{id}/open"), "{}").await.server();
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    one.script.draining.store(true, Ordering::SeqCst);
    one.drain().await;
    for asking in asking {
        asking.await.unwrap();
    }
    assert!(two.script.count() > 0);
    front.until_metric(OPEN, 1.0).await;
    assert_eq!(front.metric("hongbao_gateway_links_broken_total").await, Some(0.0));
}

#[tokio::test]
async fn clients_that_go_away_free_their_places_on_a_link() {
    let one = Backend::start("a1").await;
    let front = Front::start(&one_set(&[&one]), quick()).await;
    front.link_to(id(1)).await;
    one.script.slow_ms.store(60_000, Ordering::SeqCst);
    for _ in 0..3 {
        let before = one.script.count();
        let token = front.token("li");
        let mut leaving = Vec::new();
        for _ in 0..64 {
            use tokio::io::AsyncWriteExt as _;
            let mut stream = tokio::net::TcpStream::connect(front.address).await.unwrap();
            let path = format!("/v1/envelopes/{}/open", id(1));
            let head = format!(
                "POST {path} HTTP/1.1\r\nhost: h\r\nauthorization: Bearer {token}\r\ncontent-length: 2\r\n\r\n{{}}"
            );
            stream.write_all(head.as_bytes()).await.unwrap();
            leaving.push(stream);
        }
        while one.script.count() < before + 64 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        drop(leaving);
        front.until_metric("hongbao_gateway_in_flight{set=\"a\",server=\"a1\"}", 0.0).await;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    one.script.slow_ms.store(0, Ordering::SeqCst);
    front.link_to(id(1)).await;
    assert_eq!(front.metric("hongbao_gateway_links_broken_total").await, Some(0.0));
    assert_eq!(front.metric(OPEN).await, Some(1.0));
}
