//! Limits of users: by the day, and of what waits for payment.

use std::sync::Arc;

use hongbao_core::TransferOutcome::{AlreadyDone, Done, InsufficientFunds, LimitExceeded};
use hongbao_core::order::{Answer, Happened};
use hongbao_core::{
    Daily, Date, DayQuota, Order, OrderKind, OrderState, Timestamp, Transfer, TransferOutcome, UserLimit,
};
use hongbao_wallet::{
    Changed, NewEnvelope, NewOrder, OrderChange, OrderOpening, Reserved, TransferRequest, UnpaidQuota, Wallet,
};

use super::{NOON, balance, envelope, fen, one, order, send, top_up, user};

fn quota(daily: Daily, days_later: i32, fen_max: Option<i64>, count_max: Option<u32>) -> DayQuota {
    let date = Date::of(NOON, 0).plus_days(days_later);
    DayQuota { daily, date, fen_max: fen_max.map(fen), count_max }
}

pub(super) fn sent(fen_max: i64) -> DayQuota {
    quota(Daily::Sent, 0, Some(fen_max), None)
}

pub(super) async fn paid(wallet: &Arc<dyn Wallet>, payment: Transfer, quota: DayQuota) -> TransferOutcome {
    let quotas = vec![(payment.id, quota)];
    let request = TransferRequest { transfers: vec![payment], notes: Vec::new(), quotas };
    wallet.transfer_within(request).await.unwrap().remove(0)
}

pub(super) async fn opened(wallet: &Arc<dyn Wallet>, order: &Order, quota: DayQuota) -> OrderOpening {
    let new = NewOrder { order: order.clone(), request: None, quota: Some(quota) };
    wallet.open_order(new).await.unwrap()
}

/// Takes up the only order that is due, and applies an answer to it.
async fn answer(wallet: &Arc<dyn Wallet>, now: Timestamp, answer: Answer) -> (OrderState, Option<TransferOutcome>) {
    let mut taken = wallet.take_up_orders(now, 10).await.unwrap();
    assert_eq!(taken.len(), 1, "{taken:?}");
    settle(wallet, taken.remove(0).order, answer, now).await
}

/// Applies an answer to an order that was taken up.
pub(super) async fn settle(
    wallet: &Arc<dyn Wallet>,
    before: Order,
    answer: Answer,
    now: Timestamp,
) -> (OrderState, Option<TransferOutcome>) {
    let change = OrderChange { after: before.answered(Some(answer), now), before, may_pay: true, refund: None };
    match wallet.change_orders(vec![change]).await.unwrap().remove(0) {
        Changed::Done { order, payment } => (order.state, payment),
        Changed::Overtaken => panic!("overtaken"),
    }
}

pub(super) fn succeeded(amount: i64) -> Answer {
    Answer::Succeeded(Happened { amount: fen(amount), at: NOON, reference: "ref-1".to_owned() })
}

/// A charge for the envelope of this number.
fn charge(number: u8, name: &str, amount: i64) -> Order {
    Order { envelope: Some(envelope(number.into())), ..order(number, OrderKind::Charge, name, amount) }
}

/// Both limits; another day and another user have their own.
pub async fn what_is_sent_on_a_day_is_limited(wallet: Arc<dyn Wallet>) {
    wallet.transfer(vec![top_up(1, "ann", 1_000), top_up(2, "bob", 1_000)]).await.unwrap();
    let by_count = |count| quota(Daily::Sent, 0, Some(1_000), Some(count));
    assert_eq!(paid(&wallet, send(1, "ann", 60), sent(100)).await, Done);
    assert_eq!(paid(&wallet, send(2, "ann", 41), sent(100)).await, LimitExceeded(UserLimit::SentFenADay));
    assert_eq!(paid(&wallet, send(2, "ann", 40), sent(100)).await, Done, "its id is still free");
    assert_eq!(paid(&wallet, send(3, "ann", 1), by_count(2)).await, LimitExceeded(UserLimit::SentCountADay));
    assert_eq!(paid(&wallet, send(3, "ann", 1), by_count(3)).await, Done, "a class of its own may do more");
    assert_eq!(paid(&wallet, send(4, "ann", 90), quota(Daily::Sent, 1, Some(100), None)).await, Done);
    assert_eq!(paid(&wallet, send(5, "bob", 100), sent(100)).await, Done);
    assert_eq!(balance(&wallet, "ann").await, 1_000 - 60 - 40 - 1 - 90);
}

/// What was refused for another reason does not count at all.
pub async fn a_repeated_payment_counts_once(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 150)).await;
    assert_eq!(paid(&wallet, send(9, "ann", 151), sent(200)).await, InsufficientFunds);
    assert_eq!(paid(&wallet, send(1, "ann", 60), sent(100)).await, Done);
    for _ in 0..3 {
        assert_eq!(paid(&wallet, send(1, "ann", 60), sent(100)).await, AlreadyDone);
    }
    assert_eq!(paid(&wallet, send(2, "ann", 40), sent(100)).await, Done);
    assert_eq!(paid(&wallet, send(1, "ann", 60), sent(0)).await, AlreadyDone, "a repeat is answered as ever");
}

/// Neither one more nor one less, be they in one transaction or in many.
pub async fn of_many_concurrent_payments_as_many_succeed_as_the_limit_allows(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 100_000)).await;
    for (first, quota, expected) in
        [(0, quota(Daily::Sent, 0, None, Some(37)), 37), (100, quota(Daily::Sent, 1, Some(105), None), 35)]
    {
        let paying: Vec<_> = (first..first + 100)
            .map(|number| {
                let wallet = Arc::clone(&wallet);
                tokio::spawn(async move { paid(&wallet, send(number, "ann", 3), quota).await })
            })
            .collect();
        let mut done = 0;
        for payment in paying {
            done += u32::from(payment.await.unwrap() == Done);
        }
        assert_eq!(done, expected);
    }
    assert_eq!(balance(&wallet, "ann").await, 100_000 - 3 * (37 + 35));
}

/// It is counted before the provider is asked, and no longer if nothing comes of it.
pub async fn a_charge_for_an_envelope_counts_as_sent_unless_it_fails(wallet: Arc<dyn Wallet>) {
    let first = charge(1, "ann", 60);
    assert_eq!(opened(&wallet, &first, sent(100)).await, OrderOpening::Opened(first));
    let second = charge(2, "ann", 41);
    assert_eq!(opened(&wallet, &second, sent(100)).await, OrderOpening::LimitExceeded(UserLimit::SentFenADay));
    assert_eq!(wallet.find_orders(&[second.id]).await.unwrap(), [], "a refusal stores nothing");
    assert_eq!(answer(&wallet, NOON, Answer::Failed { reason: "declined".to_owned() }).await.0, OrderState::Failed);
    let third = charge(3, "ann", 100);
    assert_eq!(opened(&wallet, &third, sent(100)).await, OrderOpening::Opened(third));
    let paid = answer(&wallet, NOON, succeeded(100)).await;
    assert_eq!(paid, (OrderState::Succeeded, Some(Done)));
    let fourth = charge(4, "ann", 1);
    assert_eq!(opened(&wallet, &fourth, sent(100)).await, OrderOpening::LimitExceeded(UserLimit::SentFenADay));
}

/// Whichever pays: the other one's money stays in the balance, or is not taken from there.
pub async fn an_envelope_with_a_charge_that_is_paid_out_of_the_balance_counts_once(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 500)).await;
    let first = charge(1, "ann", 60);
    assert_eq!(opened(&wallet, &first, sent(100)).await, OrderOpening::Opened(first));
    assert_eq!(paid(&wallet, send(1, "ann", 60), sent(100)).await, Done, "it is counted already");
    assert_eq!(answer(&wallet, NOON, succeeded(60)).await, (OrderState::Succeeded, Some(AlreadyDone)));
    assert_eq!(paid(&wallet, send(2, "ann", 41), sent(100)).await, LimitExceeded(UserLimit::SentFenADay));
    assert_eq!(paid(&wallet, send(2, "ann", 40), sent(100)).await, Done);
    assert_eq!(balance(&wallet, "ann").await, 500 - 60 + 60 - 40);
}

/// By amount and by number; what fails counts no longer.
pub async fn what_is_paid_out_on_a_day_is_limited(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 1_000)).await;
    let limit = |fen_max, count_max| quota(Daily::PaidOut, 0, Some(fen_max), Some(count_max));
    let payout = |number, amount| order(number, OrderKind::Payout, "ann", amount);
    let first = payout(1, 60);
    assert_eq!(opened(&wallet, &first, limit(100, 2)).await, OrderOpening::Opened(first));
    let exceeded = OrderOpening::LimitExceeded;
    assert_eq!(opened(&wallet, &payout(2, 41), limit(100, 2)).await, exceeded(UserLimit::PaidOutFenADay));
    assert_eq!(opened(&wallet, &payout(2, 40), limit(100, 1)).await, exceeded(UserLimit::PaidOutCountADay));
    assert_eq!(balance(&wallet, "ann").await, 940);
    assert_eq!(answer(&wallet, NOON, Answer::Failed { reason: "declined".to_owned() }).await.0, OrderState::Failed);
    assert_eq!(balance(&wallet, "ann").await, 1_000);
    let second = payout(3, 100);
    assert_eq!(opened(&wallet, &second, limit(100, 1)).await, OrderOpening::Opened(second));
    assert_eq!(answer(&wallet, NOON, succeeded(100)).await.0, OrderState::Succeeded);
    assert_eq!(opened(&wallet, &payout(4, 1), limit(100, 9)).await, exceeded(UserLimit::PaidOutFenADay));
    assert_eq!(paid(&wallet, send(1, "ann", 100), sent(100)).await, Done, "what is sent counts by itself");
}

/// An envelope of this number, of which two may wait for payment.
fn unpaid(number: u64, name: &str, count_max: Option<u32>, minutes: i64) -> NewEnvelope {
    let quota = UnpaidQuota { count_max, until: NOON.plus_millis((15 + minutes) * 60_000) };
    let now = NOON.plus_millis(minutes * 60_000);
    NewEnvelope { user: user(name), id: envelope(number), request: None, quota: Some(quota), now }
}

/// Until they are paid or cancelled, or can be paid no more; what is counted already is not counted again.
pub async fn envelopes_that_wait_for_payment_are_limited(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 100)).await;
    let reserve = async |number, minutes| wallet.reserve(&unpaid(number, "ann", Some(2), minutes)).await.unwrap();
    assert_eq!((reserve(1, 0).await, reserve(2, 5).await), (Reserved::New, Reserved::New));
    let first_ends = NOON.plus_millis(15 * 60_000);
    assert_eq!(reserve(3, 6).await, Reserved::TooManyUnpaid(Some(first_ends)));
    assert_eq!(reserve(2, 6).await, Reserved::New, "a repeat");
    assert_eq!(wallet.reserve(&unpaid(4, "bob", Some(1), 6)).await.unwrap(), Reserved::New);
    assert_eq!(
        wallet.reserve(&unpaid(5, "bob", Some(0), 6)).await.unwrap(),
        Reserved::TooManyUnpaid(Some(NOON.plus_millis(21 * 60_000)))
    );
    assert_eq!(paid(&wallet, send(1, "ann", 1), sent(100)).await, Done);
    assert_eq!(reserve(3, 7).await, Reserved::New, "one was paid");
    assert_eq!(reserve(6, 8).await, Reserved::TooManyUnpaid(Some(NOON.plus_millis(20 * 60_000))));
    assert_eq!(reserve(6, 20).await, Reserved::New, "one can be paid no more");
    let paying = charge(3, "ann", 5);
    assert_eq!(opened(&wallet, &paying, sent(100)).await, OrderOpening::Opened(paying));
    assert_eq!(answer(&wallet, NOON, succeeded(5)).await, (OrderState::Succeeded, Some(Done)));
    assert_eq!(reserve(7, 20).await, Reserved::New, "one was paid by its charge");
    let shards = wallet.shards();
    let tomorrow = Date::of(NOON, 0).plus_days(1);
    let mut gone = 0;
    for place in &shards {
        gone += wallet.purge_counts(place.shard, tomorrow, NOON.plus_millis(86_400_000), 100).await.unwrap();
    }
    assert_eq!(gone, 1 + 4, "the day of ann, and what waits, or has waited, of ann and of bob");
}

/// Under a key or without one.
pub async fn of_many_concurrent_creates_as_many_are_reserved_as_the_limit_allows(wallet: Arc<dyn Wallet>) {
    let asking: Vec<_> = (0..100)
        .map(|number| {
            let wallet = Arc::clone(&wallet);
            tokio::spawn(async move { wallet.reserve(&unpaid(number, "ann", Some(37), 0)).await.unwrap() })
        })
        .collect();
    let mut new = 0;
    for reserved in asking {
        new += u32::from(reserved.await.unwrap() == Reserved::New);
    }
    assert_eq!(new, 37);
}
