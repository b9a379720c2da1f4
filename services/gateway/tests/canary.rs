//! A canary SET loses its weight by itself when it is slow or fails, and only then.

mod common;

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use common::{Backend, Entry, Front, PATIENCE, quick, topology};

const WITHDRAWN: &str = "hongbao_gateway_canary_withdrawn{set=\"b\"}";
const BIRTHS: &str = "hongbao_gateway_births_total{set=\"b\"}";

/// SET b is a canary that gets every second new envelope.
fn text(version: u64, a: &Backend, b: &Backend, rule: &str) -> String {
    let sets: [(&str, &str, &[Entry<'_>]); 2] =
        [("a", "00-49", &[("a1", a.address)]), ("b", "50-99", &[("b1", b.address)])];
    let canary = format!("]\n[sets.canary]\nwindow_s = 1\nrequests_min = 10\n{rule}\n[[wallets]]");
    topology(version, &sets).replace("]\n[[wallets]]", &canary)
}

async fn start(rule: &str) -> (Backend, Backend, Front) {
    let (a, b) = (Backend::start("a1").await, Backend::start("b1").await);
    let front = Front::start(&text(1, &a, &b, rule), quick()).await;
    (a, b, front)
}

/// Creates envelopes until the canary has lost its weight.
async fn until_withdrawn(front: &Front) {
    let began = Instant::now();
    while front.metric(WITHDRAWN).await != Some(1.0) {
        assert!(began.elapsed() < PATIENCE, "it keeps its weight");
        front.post("/v1/envelopes", "{}").await;
    }
    let before = front.metric(BIRTHS).await;
    for _ in 0..30 {
        assert_eq!(front.post("/v1/envelopes", "{}").await.server(), "a1");
    }
    assert_eq!(front.metric(BIRTHS).await, before);
    assert_eq!(front.metric("hongbao_gateway_set_takes_new{set=\"b\"}").await, Some(0.0));
}

#[tokio::test]
async fn a_canary_that_fails_loses_its_weight_until_the_topology_changes() {
    let (a, b, front) = start("errors_max = 0.2").await;
    b.script.breaks.store(true, Ordering::SeqCst);
    until_withdrawn(&front).await;
    // What exists is still served there.
    let id = (0..).map(common::id).find(|id| id.slot().number() >= 50).unwrap();
    let (path, served) = (format!("/v1/envelopes/{id}/grab"), b.script.count());
    front.post(&path, "").await.expect_problem(500, "internal");
    assert_eq!(b.script.count(), served + 1);

    b.script.breaks.store(false, Ordering::SeqCst);
    front.post(&path, "").await.server();
    assert_eq!(front.metric(WITHDRAWN).await, Some(1.0), "it does not come back by itself");
    std::fs::write(&front.file, text(2, &a, &b, "errors_max = 0.2")).unwrap();
    front.until_metric(WITHDRAWN, 0.0).await;
    let births = front.metric(BIRTHS).await.unwrap();
    for _ in 0..30 {
        front.post("/v1/envelopes", "{}").await.server();
    }
    assert!(front.metric(BIRTHS).await.unwrap() > births, "it has its weight again");
}

#[tokio::test]
async fn a_canary_that_is_slow_loses_its_weight() {
    for rule in ["p99_ms_max = 20", "p99_factor_max = 1.5"] {
        let (_a, b, front) = start(rule).await;
        b.script.works_ms.store(60, Ordering::SeqCst);
        until_withdrawn(&front).await;
    }
}

#[tokio::test]
async fn a_canary_that_does_well_keeps_its_weight_and_so_does_a_bad_set_that_is_none() {
    let (a, b, front) = start("errors_max = 0\np99_ms_max = 60000").await;
    let began = Instant::now();
    // For longer than its window.
    while began.elapsed() < Duration::from_millis(1_500) || b.script.count() < 20 {
        front.post("/v1/envelopes", "{}").await.server();
    }
    a.script.breaks.store(true, Ordering::SeqCst);
    let errors = a.script.count() + 20;
    while a.script.count() < errors {
        front.post("/v1/envelopes", "{}").await;
    }
    assert_eq!(front.metric(WITHDRAWN).await, Some(0.0));
    assert_eq!(front.metric("hongbao_gateway_set_takes_new{set=\"a\"}").await, Some(1.0));
}
