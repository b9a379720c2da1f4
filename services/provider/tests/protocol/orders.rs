//! Orders without faults: one number, one outcome.

use hongbao_core::order::Answer;
use hongbao_core::{Fen, OrderKind};
use hongbao_provider::bill::{BillKind, Expected, plain};
use hongbao_provider::{Provider as _, ProviderError};

use crate::support::{Running, SECRET, amount_of, charge, options, order, outcome, payout, today};

#[tokio::test]
async fn charges_payouts_and_refunds_happen_once_and_stand_on_the_bill() {
    let running = Running::start(options()).await;
    let client = running.client();
    let (charge, payout) = (charge(500), payout(300));
    let Ok(Answer::Pending { action_url: Some(url) }) = client.send(&charge).await else { panic!("a page to pay on") };
    assert!(url.starts_with("http://127.0.0.1:9/sandbox/pay/"), "{url}");
    assert_eq!(client.send(&payout).await, Ok(Answer::Pending { action_url: None }));
    for order in [&charge, &payout] {
        let happened = outcome(&client, order).await;
        assert_eq!(amount_of(&happened), order.amount.get());
        assert_eq!(client.send(order).await, Ok(happened.clone()), "sent again it is the same one");
        assert_eq!(client.close(order).await, Ok(happened), "it cannot be closed any more");
    }
    let mut refund = order(OrderKind::Refund, 200);
    refund.of = Some(charge.id);
    client.send(&refund).await.unwrap();
    outcome(&client, &refund).await;
    let mut too_much = order(OrderKind::Refund, 301);
    too_much.of = Some(charge.id);
    client.send(&too_much).await.unwrap();
    assert_eq!(outcome(&client, &too_much).await, Answer::Failed { reason: "more_than_charged".to_owned() });

    let bill = client.bill(today()).await.unwrap();
    let bill = plain::read(&bill, Expected { date: today(), zone_offset_s: 28_800 }).unwrap();
    let mut found: Vec<_> = bill.lines.iter().map(|line| (line.kind, line.amount_fen)).collect();
    found.sort_unstable();
    assert_eq!(found, [(BillKind::Charge, 500), (BillKind::Payout, 300), (BillKind::Refund, 200)]);
    let before = client.bill(today().plus_days(-1)).await.unwrap();
    assert!(before.contains("total,charge,0,CNY"), "{before}");
}

#[tokio::test]
async fn what_was_closed_never_happens_also_if_it_arrives_later() {
    let running = Running::start(options()).await;
    let client = running.client();
    let closed = Ok(Answer::Failed { reason: "closed".to_owned() });
    let late = payout(300);
    assert_eq!(client.query(&late).await, Ok(Answer::NotFound));
    assert_eq!(client.close(&late).await, closed);
    assert_eq!(client.send(&late).await, closed);
    let pending = charge(100);
    client.send(&pending).await.unwrap();
    assert_eq!(client.close(&pending).await, closed);
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    for order in [&late, &pending] {
        assert_eq!(client.query(order).await, closed);
    }
}

#[tokio::test]
async fn a_number_has_one_order() {
    let running = Running::start(options()).await;
    let client = running.client();
    let first = charge(500);
    client.send(&first).await.unwrap();
    let mut others = vec![first.clone(); 3];
    others[0].amount = Fen::new(501).unwrap();
    others[1].user = hongbao_core::UserId::parse("bob").unwrap();
    others[2].kind = OrderKind::Payout;
    for other in &others {
        let Err(ProviderError::Rejected(reason)) = client.send(other).await else { panic!("{other:?}") };
        assert!(reason.contains("number_taken"), "{reason}");
    }
    assert_eq!(client.query(&others[2]).await, Ok(Answer::NotFound), "there is no such payout");
    assert_eq!(amount_of(&outcome(&client, &first).await), 500);
}

#[tokio::test]
async fn what_was_taken_up_long_ago_is_not_sent() {
    let running = Running::start(options()).await;
    let client = running.client();
    let mut order = payout(300);
    order.sent_at = order.sent_at.map(|at| at.plus_millis(-30_000));
    assert!(matches!(client.send(&order).await, Err(ProviderError::NotSent(_))));
    assert_eq!(client.query(&order).await, Ok(Answer::NotFound));
}

#[tokio::test]
async fn what_is_signed_by_others_says_nothing() {
    let running = Running::start(options()).await;
    let stranger = running.client_with(b"another secret of somebody else", std::time::Duration::from_secs(1));
    let order = payout(300);
    let Err(ProviderError::Rejected(reason)) = stranger.send(&order).await else { panic!("it was taken") };
    assert!(reason.contains("signature"), "{reason}");
    assert_eq!(running.client().query(&order).await, Ok(Answer::NotFound));
    assert!(SECRET.len() >= 32);
}

#[tokio::test]
async fn a_person_pays_or_refuses_on_the_page() {
    let running = Running::start(hongbao_provider::sandbox::SandboxOptions { by_hand: true, ..options() }).await;
    let client = running.client();
    for (decision, pays) in [("pay", true), ("refuse", false)] {
        let order = charge(500);
        let Ok(Answer::Pending { action_url: Some(url) }) = client.send(&order).await else { panic!("a page") };
        let path = url.strip_prefix("http://127.0.0.1:9").unwrap();
        let shown = crate::input::raw(running.address, &format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n")).await;
        assert!(shown.contains("¥5.00") && shown.contains("not paid yet"), "{shown}");
        let (page, key) = path.split_once('?').unwrap();
        let post = |key: &str| format!("POST {page}/{decision}?{key} HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
        let refused = crate::input::raw(running.address, &post("key=guessed")).await;
        assert!(refused.starts_with("HTTP/1.1 404"), "{refused}");
        assert!(matches!(client.query(&order).await, Ok(Answer::Pending { .. })));
        let done = crate::input::raw(running.address, &post(key)).await;
        assert!(done.starts_with("HTTP/1.1 303"), "{done}");
        assert_eq!(matches!(outcome(&client, &order).await, Answer::Succeeded(_)), pays);
    }
}
