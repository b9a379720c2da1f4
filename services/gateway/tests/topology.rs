//! The topology changes while requests run.

mod common;

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Backend, Front, id, quick, topology};
use hongbao_core::limits::MAP_AHEAD_MS_MIN;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock};
use hongbao_gateway::GatewayOptions;
use hongbao_gateway::rate::{RateLimits, UserRates};

fn grab(id: EnvelopeId) -> String {
    format!("/v1/envelopes/{id}/grab")
}

const VERSION: &str = "hongbao_gateway_topology_version";
const REFUSED: &str = "hongbao_gateway_topology_refused_total";

#[tokio::test]
async fn a_changed_file_is_taken_over_and_a_bad_one_leaves_the_last_good_one() {
    let (one, two) = (Backend::start("a1").await, Backend::start("a2").await);
    let only = |version, name, backend: &Backend| topology(version, &[("a", "00-99", &[(name, backend.address)])]);
    let front = Front::start(&only(3, "a1", &one), quick()).await;
    assert_eq!(front.post(&grab(id(1)), "").await.server(), "a1");

    std::fs::write(&front.file, only(4, "a2", &two)).unwrap();
    front.until_metric(VERSION, 4.0).await;
    assert_eq!(front.post(&grab(id(1)), "").await.server(), "a2");
    assert_eq!(front.metric("hongbao_gateway_server_up{set=\"a\",server=\"a1\"}").await, None, "it is gone");

    let all = "{ name = \"a\", slots = \"00-99\" }";
    let bad = [
        String::new(),
        "version = ".to_owned(),
        only(3, "a1", &one),
        only(4, "a1", &one),
        only(5, "a1", &one).replace("00-99", "00-98"),
        only(5, "a1", &one).replace("00-99", "00-99, 07"),
        only(5, "a1", &one) + "colour = 1\n",
        topology(5, &[("a", "00-99", &[("a1", one.address), ("a1", two.address)])]),
        topology(5, &[("a", "00-49", &[("a1", one.address)]), ("b", "50-99", &[("a1", two.address)])]),
        topology(5, &[("a", "00-49", &[("a1", one.address)]), ("b", "50-99", &[("b1", two.address)])]),
        only(5, "a1", &one) + &format!("[[maps]]\nfrom = \"{}\"\nsets = [{all}]\n", SystemClock.now()),
    ];
    for (number, text) in bad.iter().enumerate() {
        std::fs::write(&front.file, text).unwrap();
        // Writing is two steps: the file may be seen empty in between, which is refused as well.
        let started = std::time::Instant::now();
        while front.watcher.refused() <= number as u64 && started.elapsed() < common::PATIENCE {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        assert_eq!(front.metric(VERSION).await, Some(4.0), "{text}");
        assert_eq!(front.post(&grab(id(1)), "").await.server(), "a2");
    }
    assert!(front.metric(REFUSED).await.unwrap() >= bad.len() as f64);
    std::fs::remove_file(&front.file).unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(front.post(&grab(id(1)), "").await.server(), "a2", "without a file as well");

    std::fs::write(&front.file, only(6, "a1", &one)).unwrap();
    front.until_metric(VERSION, 6.0).await;
    assert_eq!(front.post(&grab(id(1)), "").await.server(), "a1");
}

#[tokio::test]
async fn a_signal_reads_the_file_at_once_and_the_same_file_changes_nothing() {
    let one = Backend::start("a1").await;
    let text = |version| topology(version, &[("a", "00-99", &[("a1", one.address)])]);
    let front = Front::start(&text(1), GatewayOptions { topology_poll_ms: 600_000, ..quick() }).await;
    // The first look comes with the start.
    tokio::time::sleep(Duration::from_millis(50)).await;
    std::fs::write(&front.file, text(2)).unwrap();
    assert_eq!(front.watcher.current().file.version, 1);
    front.watcher.reread();
    assert_eq!(front.watcher.current().file.version, 2);
    std::fs::write(&front.file, format!("# a word\n{}", text(2))).unwrap();
    front.watcher.reread();
    assert_eq!((front.watcher.current().file.version, front.watcher.refused()), (2, 0));
    // Who sends a signal wants to hear each time that the file is bad.
    std::fs::write(&front.file, "").unwrap();
    front.watcher.reread();
    front.watcher.reread();
    assert_eq!((front.watcher.current().file.version, front.watcher.refused()), (2, 2));
}

#[tokio::test]
async fn a_server_that_stays_keeps_its_standing_when_the_topology_changes() {
    let (one, two) = (Backend::start("a1").await, Backend::start("a2").await);
    let text = |version| topology(version, &[("a", "00-99", &[("a1", one.address), ("a2", two.address)])]);
    let front = Front::start(&text(1), quick()).await;
    one.script.draining.store(true, Ordering::SeqCst);
    front.until_up("a", "a1", false).await;
    std::fs::write(&front.file, text(2)).unwrap();
    front.until_metric(VERSION, 2.0).await;
    for number in 0..10 {
        assert_eq!(front.post(&grab(id(number)), "").await.server(), "a2");
    }
}

#[tokio::test]
async fn a_misdirected_request_makes_the_gateway_look_at_its_file_and_go_to_the_right_set_once() {
    goes_to_the_right_set_once(2 * MAP_AHEAD_MS_MIN).await;
}

/// A gateway that was without the new file when its map came into force.
#[tokio::test]
async fn a_misdirected_request_makes_the_gateway_take_over_a_map_that_is_in_force() {
    goes_to_the_right_set_once(-1_000).await;
}

async fn goes_to_the_right_set_once(ahead_ms: i64) {
    let (one, two) = (Backend::start("a1").await, Backend::start("b1").await);
    let from = SystemClock.now().plus_millis(ahead_ms);
    let ids = (0..).map(|number: u64| EnvelopeId::mint(from, std::array::from_fn(|at| (number >> at) as u8)));
    let id = ids.into_iter().find(|id| id.slot().number() == 7).unwrap();
    let text =
        |version| topology(version, &[("a", "00-49", &[("a1", one.address)]), ("b", "50-99", &[("b1", two.address)])]);
    let options = GatewayOptions { topology_poll_ms: 600_000, ..quick() };
    let front = Front::start(&text(1), options).await;
    assert_eq!(front.post(&format!("/v1/envelopes/{id}/open"), "{}").await.server(), "a1");
    tokio::time::sleep(Duration::from_millis(50)).await;

    // The slot has another SET for ids of this time, and only the servers know.
    let map = format!(
        "[[maps]]\nfrom = \"{from}\"\nsets = [{{ name = \"a\", slots = \"00-06, 08-49\" }}, \
         {{ name = \"b\", slots = \"07, 50-99\" }}]\n"
    );
    std::fs::write(&front.file, text(2) + &map).unwrap();
    one.script.misdirects.store(true, Ordering::SeqCst);
    let reply = front.post(&format!("/v1/envelopes/{id}/open"), "{}").await;
    assert_eq!(reply.server(), "b1");
    assert_eq!(reply.json()["body"], "{}");
    assert_eq!((one.script.count(), two.script.count()), (2, 1));
    assert_eq!(front.metric("hongbao_gateway_retries_total{after=\"misdirected\"}").await, Some(1.0));
    assert_eq!(front.post(&format!("/v1/envelopes/{id}/open"), "{}").await.server(), "b1");
    assert_eq!(one.script.count(), 2, "it knows now");

    // Nobody wants it: the client asks again later, and nothing goes round in circles.
    two.script.misdirects.store(true, Ordering::SeqCst);
    let reply = front.post(&format!("/v1/envelopes/{id}/open"), "{}").await;
    reply.expect_problem(503, "unavailable");
    assert_eq!((one.script.count(), two.script.count()), (2, 3));
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_back_and_reaches_no_server() {
    let one = Backend::start("a1").await;
    let text = topology(1, &[("a", "00-99", &[("a1", one.address)])]);
    let number = |n| NonZeroU32::new(n).unwrap();
    let limits = |user: u32, global: Option<u32>| RateLimits {
        user_per_s: number(1),
        user_burst: number(user),
        global_per_s: global.map(number),
    };
    for (limits, reason) in [(limits(3, None), "than a user may"), (limits(100, Some(3)), "too many requests")] {
        let rates = Some(Arc::new(UserRates::new(&limits)));
        let front = Front::start_with(&text, quick(), rates, hongbao_http::ServeOptions::default()).await;
        let before = one.script.count();
        for _ in 0..3 {
            front.get("/v1/wallet").await.server();
        }
        let reply = front.get("/v1/wallet").await;
        reply.expect_problem(429, "rate_limited");
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert!(reply.json()["detail"].as_str().unwrap().contains(reason), "{reply:?}");
        assert_eq!(one.script.count(), before + 3);
        front.stop().await;
    }
}
