//! Notifications: genuine, repeated, early, out of order and forged.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::routing::post;
use hongbao_core::order::{Answer, Order};
use hongbao_provider::sandbox::{Fault, SandboxOptions};
use hongbao_provider::{BadNotification, Notification, Provider as _};
use http::{HeaderMap, StatusCode};
use parking_lot::Mutex;
use tokio::net::TcpListener;

use crate::support::{Running, charge, now, options, outcome, payout};

pub type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;

/// Where notifications go; the first `refused` of them are not taken.
pub async fn webhook(refused: usize) -> (String, Received) {
    let received = Received::default();
    let take = move |State(received): State<Received>, headers: HeaderMap, body: Bytes| async move {
        let mut received = received.lock();
        received.push((headers, body));
        if received.len() <= refused { StatusCode::BAD_GATEWAY } else { StatusCode::NO_CONTENT }
    };
    let router = Router::new().route("/v1/provider/notifications", post(take)).with_state(received.clone());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/v1/provider/notifications", listener.local_addr().unwrap());
    tokio::spawn(axum::serve(listener, router).into_future());
    (url, received)
}

pub async fn received_by(received: &Received, count: usize) -> Vec<(HeaderMap, Bytes)> {
    for _ in 0..1_000 {
        if received.lock().len() >= count {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // None comes that was not expected.
    tokio::time::sleep(Duration::from_millis(60)).await;
    let all = received.lock().clone();
    assert_eq!(all.len(), count);
    all
}

async fn with_webhook(refused: usize) -> (Running, Received) {
    let (url, received) = webhook(refused).await;
    (Running::start(SandboxOptions { notify_url: Some(url), ..options() }).await, received)
}

fn hint(order: &Order, state: &str) -> Result<Notification, BadNotification> {
    Ok(Notification { id: format!("{}-{state}", order.id.number()), order: order.id })
}

#[tokio::test]
async fn an_outcome_is_notified_again_until_it_is_taken() {
    let (running, received) = with_webhook(2).await;
    let client = running.client();
    let order = charge(500);
    client.send(&order).await.unwrap();
    for (headers, body) in received_by(&received, 3).await {
        assert_eq!(client.notification(&headers, &body, now()), hint(&order, "succeeded"));
    }
}

#[tokio::test]
async fn duplicates_have_one_id_and_what_is_out_of_order_is_genuine() {
    let (running, received) = with_webhook(0).await;
    let client = running.client();
    let order = payout(Fault::Duplicate.amount().get());
    client.send(&order).await.unwrap();
    for (headers, body) in received_by(&received, 2).await {
        assert_eq!(client.notification(&headers, &body, now()), hint(&order, "succeeded"));
    }
    received.lock().clear();
    let order = payout(Fault::OutOfOrder.amount().get());
    client.send(&order).await.unwrap();
    let both = received_by(&received, 2).await;
    let read = |at: usize| client.notification(&both[at].0, &both[at].1, now());
    assert_eq!([read(0), read(1)], [hint(&order, "succeeded"), hint(&order, "pending")]);
}

#[tokio::test]
async fn a_notification_may_come_before_the_answer() {
    let (running, received) = with_webhook(0).await;
    let client = running.client();
    let order = payout(Fault::Early.amount().get());
    let answer = client.send(&order).await.unwrap();
    assert!(!received.lock().is_empty() && matches!(answer, Answer::Succeeded(_)), "{answer:?}");
}

#[tokio::test]
async fn what_is_forged_replayed_late_or_changed_is_not_taken() {
    let (running, received) = with_webhook(0).await;
    let client = running.client();
    let order = payout(Fault::Forged.amount().get());
    client.send(&order).await.unwrap();
    assert!(matches!(outcome(&client, &order).await, Answer::Failed { .. }));
    let both = received_by(&received, 2).await;
    let read: Vec<_> = both.iter().map(|(headers, body)| client.notification(headers, body, now())).collect();
    assert_eq!(read, [Err(BadNotification::WrongSignature), hint(&order, "failed")]);
    let (headers, body) = &both[1];
    for millis in [301_000, -62_000] {
        let then = now().plus_millis(millis);
        assert_eq!(client.notification(headers, body, then), Err(BadNotification::NotNow));
    }
    let changed = String::from_utf8_lossy(body).replace("failed", "succeeded");
    assert_eq!(client.notification(headers, changed.as_bytes(), now()), Err(BadNotification::WrongSignature));
    assert_eq!(client.notification(&HeaderMap::new(), body, now()), Err(BadNotification::NotSigned));
}
