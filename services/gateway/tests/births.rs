//! Where new envelopes are placed: weights, SETs that are down, and SETs that say that they take none.

mod common;

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use common::{Backend, Front, Reply, quick, topology};

const SENDS: usize = 60;

/// Two SETs of one server each; `weights` by their names.
async fn two_sets(weights: &[(&str, &str)]) -> (Backend, Backend, Front) {
    let (a, b) = (Backend::start("a1").await, Backend::start("b1").await);
    let front = Front::start(&text(1, &a, &b, weights), quick()).await;
    (a, b, front)
}

fn text(version: u64, a: &Backend, b: &Backend, weights: &[(&str, &str)]) -> String {
    let sets: [(&str, &str, &[common::Entry<'_>]); 2] =
        [("a", "00-49", &[("a1", a.address)]), ("b", "50-99", &[("b1", b.address)])];
    weights.iter().fold(topology(version, &sets), |text, (name, weight)| {
        let line = format!("name = \"{name}\"\nslots");
        text.replace(&line, &format!("name = \"{name}\"\nweight = {weight}\nslots"))
    })
}

/// Creates envelopes; where each of them went.
async fn create(front: &Front) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for _ in 0..SENDS {
        *counts.entry(front.post("/v1/envelopes", "{}").await.server()).or_default() += 1;
    }
    counts
}

async fn until_open(front: &Front, set: &str, is_open: bool) {
    let line = format!("hongbao_gateway_set_takes_new{{set=\"{set}\"}}");
    front.until_metric(&line, f64::from(u8::from(is_open))).await;
}

fn expect_nowhere(reply: &Reply) {
    reply.expect_problem(503, "unavailable");
    let detail = reply.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("no SET takes new envelopes now"), "{detail}");
    assert!(reply.header("retry-after").is_some(), "{reply:?}");
}

#[tokio::test]
async fn a_set_whose_servers_are_gone_gets_no_new_envelope_after_the_probes_know_it() {
    let (mut a, _b, front) = two_sets(&[]).await;
    assert_eq!(create(&front).await.len(), 2, "both get some");
    a.kill().await;
    until_open(&front, "a", false).await;
    assert_eq!(create(&front).await, BTreeMap::from([("b1".to_owned(), SENDS)]));
    a.begin().await;
    until_open(&front, "a", true).await;
    assert_eq!(create(&front).await.len(), 2);
    let births = |set| format!("hongbao_gateway_births_total{{set=\"{set}\"}}");
    let (of_a, of_b) = (front.metric(&births("a")).await.unwrap(), front.metric(&births("b")).await.unwrap());
    assert_eq!(of_a + of_b, 3.0 * SENDS as f64);
    assert!(of_a > 0.0 && of_b > SENDS as f64, "{of_a} {of_b}");
    assert_eq!(front.metric(&format!("rehearsal_{}", births("b"))).await, Some(0.0));
}

#[tokio::test]
async fn a_server_that_takes_no_new_envelopes_still_gets_all_that_concerns_the_others() {
    let (a, _b, front) = two_sets(&[]).await;
    a.script.takes_new.store(false, Ordering::SeqCst);
    until_open(&front, "a", false).await;
    assert_eq!(create(&front).await, BTreeMap::from([("b1".to_owned(), SENDS)]));
    let id = (0..).map(common::id).find(|id| id.slot().number() < 50).unwrap();
    assert_eq!(front.post(&format!("/v1/envelopes/{id}/grab"), "").await.server(), "a1");
    assert_eq!(front.metric("hongbao_gateway_server_up{set=\"a\",server=\"a1\"}").await, Some(1.0));
    a.script.takes_new.store(true, Ordering::SeqCst);
    until_open(&front, "a", true).await;
    assert_eq!(create(&front).await.len(), 2);
}

#[tokio::test]
async fn a_set_is_drained_by_weight_0_and_filled_again_while_it_serves() {
    let (a, b, front) = two_sets(&[("a", "0")]).await;
    until_open(&front, "a", false).await;
    assert_eq!(create(&front).await, BTreeMap::from([("b1".to_owned(), SENDS)]));
    std::fs::write(&front.file, text(2, &a, &b, &[("a", "99.5"), ("b", "0")])).unwrap();
    until_open(&front, "b", false).await;
    assert_eq!(create(&front).await, BTreeMap::from([("a1".to_owned(), SENDS)]));
    let births = front.metric("hongbao_gateway_births_total{set=\"b\"}").await;
    assert_eq!(births, Some(SENDS as f64), "counts outlive a change of the topology");
}

#[tokio::test]
async fn when_no_set_that_is_wanted_is_up_the_answer_says_so_at_once() {
    let (mut a, b, front) = two_sets(&[("b", "0")]).await;
    a.kill().await;
    until_open(&front, "a", false).await;
    let began = std::time::Instant::now();
    expect_nowhere(&front.post("/v1/envelopes", "{}").await);
    let waited = began.elapsed();
    assert!(waited < Duration::from_millis(quick().answer_within_ms), "{waited:?}");
    assert_eq!(b.script.count(), 0, "a SET that is drained stays so");
    let unavailable = front.metric("hongbao_gateway_requests_total{outcome=\"unavailable\"}").await;
    assert_eq!(unavailable, Some(1.0));
    a.begin().await;
    until_open(&front, "a", true).await;
    assert_eq!(front.post("/v1/envelopes", "{}").await.server(), "a1");
}
