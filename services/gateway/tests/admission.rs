//! A gateway gives a server no more than it answers in time.

mod common;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Backend, Front, PATIENCE, id, quick, topology};
use hongbao_core::limits::{FORWARDS_AT_FIRST, FORWARDS_MIN};
use hongbao_gateway::GatewayOptions;

const AT_MOST: &str = "hongbao_gateway_in_flight_max{set=\"a\",server=\"a1\"}";

async fn until(is_so: impl Fn() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "it is not so after {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn a_server_that_answers_slowly_is_given_no_more_than_it_answers_in_time() {
    let one = Backend::start("a1").await;
    // What was let in is answered, and the server is up, however busy this machine is.
    let options = GatewayOptions { answer_within_ms: 20_000, probe_timeout_ms: 20_000, ..quick() };
    let front = Arc::new(Front::start(&topology(1, &[("a", "00-99", &[("a1", one.address)])]), options).await);
    assert_eq!(front.metric(AT_MOST).await, Some(FORWARDS_AT_FIRST as f64));

    // 200 a second, and 200 who always ask, each for an envelope of its own.
    one.script.works_ms.store(5, Ordering::SeqCst);
    let is_over = Arc::new(AtomicBool::new(false));
    let asking: Vec<_> = (0..200)
        .map(|number| {
            let (front, is_over) = (front.clone(), is_over.clone());
            tokio::spawn(async move {
                let mut retry_after = HashSet::new();
                let mut round = 0;
                while !is_over.load(Ordering::SeqCst) {
                    let path = format!("/v1/envelopes/{}/open", id(1_000_000 * number + round));
                    let reply = front.post(&path, "{}").await;
                    if reply.status != 200 {
                        reply.expect_problem(503, "busy");
                        retry_after.insert(reply.header("retry-after").unwrap().to_owned());
                        // Clients, gateway and server are one thread here, and all of them want it.
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                    round += 1;
                }
                retry_after
            })
        })
        .collect();
    front.until_metric(AT_MOST, FORWARDS_MIN as f64).await;
    let under_way_max = &one.script.under_way_max;
    let at_first = under_way_max.load(Ordering::SeqCst);
    assert!(at_first > FORWARDS_MIN as u64, "{at_first} were there although nothing was known of it yet");
    // All that was let through before that has been there.
    let before = one.script.count();
    until(|| one.script.count() >= before + 200).await;
    under_way_max.store(0, Ordering::SeqCst);
    let before = one.script.count();
    until(|| one.script.count() >= before + 100).await;
    let later = under_way_max.load(Ordering::SeqCst);
    // The limit goes up and down by what the answers take: how far, is the machine's affair.
    assert!(later > 0 && 2 * later < at_first, "{later} were there, and {at_first} at first");
    is_over.store(true, Ordering::SeqCst);
    let mut retry_after = HashSet::new();
    for user in asking {
        retry_after.extend(user.await.unwrap());
    }
    assert!(retry_after.len() > 1, "all were to come back after {retry_after:?} s");

    // It is quick again, and so is trusted with more.
    one.script.works_ms.store(0, Ordering::SeqCst);
    let began = Instant::now();
    let mut number = 1_000_000;
    while front.metric(AT_MOST).await != Some(FORWARDS_AT_FIRST as f64) {
        assert!(began.elapsed() < PATIENCE, "{:?}", front.metric(AT_MOST).await);
        front.post(&format!("/v1/envelopes/{}/open", id(number)), "{}").await.server();
        number += 1;
    }
}

#[tokio::test]
async fn what_has_no_room_is_refused_before_its_token_is_looked_at() {
    let one = Backend::start("a1").await;
    let options = GatewayOptions { forwards_per_server_max: 1, ..quick() };
    let front = Arc::new(Front::start(&topology(1, &[("a", "00-99", &[("a1", one.address)])]), options).await);
    front.link_to(id(1)).await;
    let before = one.script.count();
    one.script.slow_ms.store(2_000, Ordering::SeqCst);
    let path = format!("/v1/envelopes/{}/open", id(1));
    let slow = {
        let (front, path) = (front.clone(), path.clone());
        tokio::spawn(async move { front.post(&path, "{}").await })
    };
    while one.script.count() == before {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let nobody = format!("POST {path} HTTP/1.1\r\nhost: h\r\ncontent-length: 0\r\n\r\n");
    common::exchange(front.address, &nobody).await.expect_problem(503, "busy");
    one.script.slow_ms.store(0, Ordering::SeqCst);
    slow.await.unwrap();
    common::exchange(front.address, &nobody).await.expect_problem(401, "unauthorized");
}
