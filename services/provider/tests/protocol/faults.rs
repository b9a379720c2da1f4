//! What goes wrong on demand, by amount, by header and by chance; and what the client makes of it.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::SystemClock;
use hongbao_core::limits::{PROVIDER_FAILURES_MAX, PROVIDER_OPEN_CIRCUIT};
use hongbao_core::order::{Answer, Order};
use hongbao_provider::sandbox::{Fault, Sandbox, SandboxOptions};
use hongbao_provider::{Provider, ProviderError};

use crate::support::{PACE, Running, amount_of, charge, options, outcome, payout};

fn that(fault: Fault) -> Order {
    payout(fault.amount().get())
}

fn is_unknown(result: Result<Answer, ProviderError>) -> bool {
    matches!(result, Err(ProviderError::Unknown(_)))
}

#[tokio::test]
async fn what_may_have_happened_is_unknown_and_its_number_says_what_did() {
    let running = Running::start(options()).await;
    let client = running.client();
    for (fault, arrives) in
        [(Fault::TimeoutDone, true), (Fault::TimeoutNotDone, false), (Fault::Error500, false), (Fault::Cut, true)]
    {
        let order = that(fault);
        assert!(is_unknown(client.send(&order).await), "{fault}");
        let found = client.query(&order).await.unwrap();
        assert_eq!(found != Answer::NotFound, arrives, "{fault}: {found:?}");
        // The same number again is the same order.
        client.send(&order).await.unwrap();
        assert_eq!(amount_of(&outcome(&client, &order).await), order.amount.get(), "{fault}");
    }
    let slow = that(Fault::Slow);
    assert!(client.send(&slow).await.is_ok());
}

#[tokio::test]
async fn a_request_that_the_network_keeps_is_done_later_unless_it_was_closed() {
    let running = Running::start(options()).await;
    let client = running.client();
    let (kept, closed) = (that(Fault::Delayed), that(Fault::Delayed));
    let (one, other) = tokio::join!(client.send(&kept), client.send(&closed));
    assert!(is_unknown(one) && is_unknown(other));
    assert_eq!(client.query(&kept).await, Ok(Answer::NotFound), "which is no failure");
    assert_eq!(client.close(&closed).await, Ok(Answer::Failed { reason: "closed".to_owned() }));
    assert_eq!(amount_of(&outcome(&client, &kept).await), kept.amount.get());
    tokio::time::sleep(Duration::from_millis(PACE.silent_ms().unsigned_abs())).await;
    assert_eq!(client.query(&closed).await, Ok(Answer::Failed { reason: "closed".to_owned() }));
}

#[tokio::test]
async fn outcomes_are_what_was_asked_for() {
    let running = Running::start(SandboxOptions {
        pace: hongbao_provider::sandbox::Pace { confirm_ms: 20, hour_ms: 40 },
        ..options()
    })
    .await;
    let client = running.client();
    let [refused, wrong, partial, returned, late, never] =
        [Fault::Refusal, Fault::WrongAmount, Fault::Partial, Fault::Returned, Fault::Late, Fault::Never].map(that);
    for order in [&refused, &wrong, &partial, &returned, &late, &never] {
        client.send(order).await.unwrap();
    }
    assert!(matches!(client.close(&late).await, Ok(Answer::Pending { .. })), "it is settled later, and not closed");
    assert_eq!(outcome(&client, &refused).await, Answer::Failed { reason: "insufficient_provider_funds".to_owned() });
    assert_eq!(amount_of(&outcome(&client, &wrong).await), wrong.amount.get() + 1);
    assert_eq!(amount_of(&outcome(&client, &partial).await), partial.amount.get() / 2);
    assert_eq!(amount_of(&outcome(&client, &late).await), late.amount.get());
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(matches!(client.query(&returned).await, Ok(Answer::Returned(_))));
    assert!(matches!(client.query(&never).await, Ok(Answer::Pending { .. })));
    assert_eq!(client.close(&never).await, Ok(Answer::Failed { reason: "closed".to_owned() }));
}

#[tokio::test]
async fn who_is_asked_to_come_later_sends_nothing_until_then() {
    let running = Running::start(options()).await;
    let client = running.client();
    let order = that(Fault::RateLimited);
    for _ in 0..2 {
        assert_eq!(client.send(&order).await, Err(ProviderError::RateLimited { retry_after_s: 1 }));
    }
    assert_eq!(running.client().query(&order).await, Ok(Answer::NotFound));
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert!(client.send(&order).await.is_ok());
}

#[tokio::test]
async fn a_provider_that_is_down_is_asked_less_and_less() {
    let running = Running::start(options()).await;
    let client = running.client();
    for turn in 0..PROVIDER_FAILURES_MAX {
        assert!(is_unknown(client.send(&that(Fault::Down)).await), "{turn}");
    }
    let Err(ProviderError::NotSent(reason)) = client.query(&charge(5)).await else { panic!("the circuit is open") };
    assert!(reason.contains("has not answered lately"), "{reason}");
    assert!(PROVIDER_OPEN_CIRCUIT > Duration::from_secs(1));
    assert!(is_unknown(running.client().query(&charge(5)).await), "all are refused while it is down");
}

#[tokio::test]
async fn what_no_one_listens_for_was_certainly_not_sent() {
    let running = Running::start(options()).await;
    let client = running.client();
    drop(running);
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(matches!(client.send(&charge(5)).await, Err(ProviderError::NotSent(_))));
}

#[tokio::test]
async fn by_chance_everything_goes_wrong_and_each_number_still_has_one_outcome() {
    let folder = tempfile::tempdir().unwrap();
    let few = SandboxOptions {
        chances: "all=20,down=0,rate_limited=0".parse().unwrap(),
        pace: hongbao_provider::sandbox::Pace { confirm_ms: 1, hour_ms: 1 },
        ..options()
    };
    let sandbox = Sandbox::open(folder.path(), few.clone(), Arc::new(SystemClock)).unwrap();
    let running = tokio::spawn({
        let sandbox = sandbox.clone();
        async move { sandbox.run().await }
    });
    let orders: Vec<Order> =
        (0..100).map(|turn| if turn % 2 == 0 { charge(turn + 1) } else { payout(turn + 1) }).collect();
    let mut outcomes = Vec::new();
    for order in &orders {
        outcomes.push(driven(&sandbox, order).await);
    }
    assert!(outcomes.iter().any(|answer| matches!(answer, Answer::Failed { .. })));
    running.abort();
    let _ = running.await;
    drop(sandbox);
    // What was answered is what a new process reads.
    let again =
        Sandbox::open(folder.path(), SandboxOptions { chances: "".parse().unwrap(), ..few }, Arc::new(SystemClock))
            .unwrap();
    for (order, outcome) in orders.iter().zip(outcomes) {
        let stands = again.query(order).await.unwrap();
        let has_come_back =
            matches!((&stands, &outcome), (Answer::Returned(now), Answer::Succeeded(then)) if now == then);
        assert!(stands == outcome || has_come_back, "{stands:?} {outcome:?}");
    }
}

/// As a worker drives an order: sent, then asked for until it has an outcome; closed if it has none.
async fn driven(provider: &impl Provider, order: &Order) -> Answer {
    for turn in 0..1_000 {
        let answer = match turn {
            0 => provider.send(order).await,
            turn if turn > 100 => provider.close(order).await,
            _ => provider.query(order).await,
        };
        match answer {
            Ok(Answer::NotFound) => drop(provider.send(order).await),
            Ok(Answer::Pending { .. }) | Err(_) => tokio::time::sleep(Duration::from_millis(2)).await,
            Ok(outcome) => return outcome,
        }
    }
    panic!("no outcome of {order:?}");
}
