//! Orders at the provider, and what they move.

use std::sync::Arc;

use hongbao_core::limits::{ORDER_CLAIM_MS, PAYOUT_RETURN_EVERY_MS};
use hongbao_core::order::{Answer, Attention, Happened, Request};
use hongbao_core::{Order, OrderId, OrderKind, OrderState, Timestamp, TransferKind, TransferOutcome};
use hongbao_wallet::{Changed, FreezeChange, OrderChange, OrderOpening, TakenUp, Wallet};

use super::{NOON, balance, cancel, envelope, fen, one, send, top_up, user};

/// An order of this number: the same number is the same order.
pub fn order(number: u8, kind: OrderKind, name: &str, amount: i64) -> Order {
    let id = OrderId::mint(NOON.plus_millis(number.into()), [number; 10]);
    Order::new(id, kind, user(name), fen(amount), NOON)
}

fn happened(amount: i64) -> Happened {
    Happened { amount: fen(amount), at: NOON.plus_millis(5), reference: "ref-1".to_owned() }
}

async fn open(wallet: &Arc<dyn Wallet>, order: Order) -> OrderOpening {
    wallet.open_order(order.into()).await.unwrap()
}

/// Takes up the only order that is due, and applies an answer to it.
async fn answer(wallet: &Arc<dyn Wallet>, now: Timestamp, answer: Answer) -> Order {
    let mut taken = wallet.take_up_orders(now, 10).await.unwrap();
    assert_eq!(taken.len(), 1, "{taken:?}");
    let before = taken.remove(0).order;
    changed(wallet, &before, answer, now).await.0
}

async fn changed(
    wallet: &Arc<dyn Wallet>,
    before: &Order,
    answer: Answer,
    now: Timestamp,
) -> (Order, Option<TransferOutcome>) {
    let after = before.answered(Some(answer), now);
    let change = OrderChange { before: before.clone(), after, may_pay: true, refund: None };
    match wallet.change_orders(vec![change]).await.unwrap().remove(0) {
        Changed::Done { order, payment } => (*order, payment),
        Changed::Overtaken => panic!("overtaken"),
    }
}

async fn books(wallet: &Arc<dyn Wallet>) -> (i128, i128) {
    let books = wallet.books().await.unwrap();
    assert_eq!(books.check(), None, "{books:?}");
    (books.provider_fen, books.payouts_fen)
}

/// A charge moves nothing until it has succeeded, and then once.
pub async fn a_charge_that_succeeds_is_in_the_balance_once(wallet: Arc<dyn Wallet>) {
    let new = order(1, OrderKind::Charge, "ann", 500);
    assert_eq!(open(&wallet, new.clone()).await, OrderOpening::Opened(new.clone()));
    assert_eq!((balance(&wallet, "ann").await, books(&wallet).await), (0, (0, 0)));
    let TakenUp { order: before, request } = wallet.take_up_orders(NOON, 10).await.unwrap().remove(0);
    assert_eq!((request, before.sent_at), (Request::Send, Some(NOON)), "stored before it is sent");
    assert!(wallet.take_up_orders(NOON, 10).await.unwrap().is_empty(), "it is left to the one who took it up");
    let (after, _) = changed(&wallet, &before, Answer::Succeeded(happened(500)), NOON).await;
    assert_eq!((after.state, after.due_at), (OrderState::Succeeded, None));
    assert_eq!((balance(&wallet, "ann").await, books(&wallet).await), (500, (500, 0)));
    let again = OrderChange { before: before.clone(), after: after.clone(), may_pay: true, refund: None };
    assert_eq!(wallet.change_orders(vec![again]).await.unwrap(), [Changed::Overtaken]);
    assert_eq!(balance(&wallet, "ann").await, 500);
    assert_eq!(wallet.order(&user("ann"), after.id).await.unwrap(), Some(after.clone()));
    assert_eq!(wallet.order(&user("bob"), after.id).await.unwrap(), None, "it is another user's");
    assert_eq!(wallet.find_orders(&[after.id]).await.unwrap(), std::slice::from_ref(&after));
    assert_eq!(wallet.orders_happened(NOON, NOON.plus_millis(6), None, 10).await.unwrap(), [after]);
    assert!(wallet.orders_happened(NOON, NOON.plus_millis(5), None, 10).await.unwrap().is_empty());
}

/// The amount leaves the balance before the first request, and what becomes of it moves it on.
pub async fn a_payout_is_taken_from_the_balance_first(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 500)).await;
    let too_much = order(1, OrderKind::Payout, "ann", 501);
    assert_eq!(open(&wallet, too_much.clone()).await, OrderOpening::InsufficientFunds);
    assert_eq!(wallet.find_orders(&[too_much.id]).await.unwrap(), [], "a refusal stores nothing");
    let new = order(2, OrderKind::Payout, "ann", 300);
    assert_eq!(open(&wallet, new.clone()).await, OrderOpening::Opened(new));
    assert_eq!((balance(&wallet, "ann").await, books(&wallet).await), (200, (0, 300)));
    let paid = answer(&wallet, NOON, Answer::Succeeded(happened(300))).await;
    assert_eq!((balance(&wallet, "ann").await, books(&wallet).await), (200, (-300, 0)));
    // The provider may return it for a while.
    let later = NOON.plus_millis(PAYOUT_RETURN_EVERY_MS);
    assert_eq!(paid.due_at, Some(later));
    let returned = answer(&wallet, later, Answer::Returned(happened(300))).await;
    assert_eq!((returned.state, returned.due_at), (OrderState::Returned, None));
    assert_eq!((balance(&wallet, "ann").await, books(&wallet).await), (500, (0, 0)));
    let kinds: Vec<TransferKind> = (wallet.history(&user("ann"), &[], None, 10).await.unwrap().into_iter())
        .map(|posted| posted.transfer.kind)
        .collect();
    let expected = [TransferKind::PayoutReturned, TransferKind::PayoutPaid, TransferKind::Payout, TransferKind::TopUp];
    assert_eq!(kinds, expected);
}

/// What failed is back in the balance, once.
pub async fn a_payout_that_fails_comes_back(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 500)).await;
    open(&wallet, order(1, OrderKind::Payout, "ann", 300)).await;
    let failed = answer(&wallet, NOON, Answer::Failed { reason: "no_account".to_owned() }).await;
    assert_eq!((failed.state, failed.failure.as_deref()), (OrderState::Failed, Some("no_account")));
    assert_eq!((balance(&wallet, "ann").await, books(&wallet).await), (500, (0, 0)));
    // What it says later does not move money a second time, and a person is asked.
    assert!(wallet.hint(failed.id, NOON.plus_millis(9)).await.unwrap());
    let asked = answer(&wallet, NOON.plus_millis(9), Answer::Succeeded(happened(300))).await;
    assert_eq!((asked.state, asked.attention), (OrderState::Failed, Some(Attention::Contradicted)));
    assert_eq!((balance(&wallet, "ann").await, books(&wallet).await), (500, (0, 0)));
    assert_eq!(wallet.orders_in_need(None, 10).await.unwrap(), [asked]);
    assert_eq!(wallet.unfinished_orders().await.unwrap().need_attention, 1);
}

/// A wrong amount moves nothing.
pub async fn a_charge_of_another_amount_is_held(wallet: Arc<dyn Wallet>) {
    open(&wallet, order(1, OrderKind::Charge, "ann", 500)).await;
    let held = answer(&wallet, NOON, Answer::Succeeded(happened(499))).await;
    assert_eq!((held.state, held.attention), (OrderState::Held, Some(Attention::WrongAmount)));
    assert_eq!((balance(&wallet, "ann").await, books(&wallet).await), (0, (0, 0)));
}

/// The charge and the payment are one transaction: nothing else can spend the money.
pub async fn a_charge_pays_for_its_envelope(wallet: Arc<dyn Wallet>) {
    let new = Order { envelope: Some(envelope(1)), ..order(1, OrderKind::Charge, "ann", 500) };
    open(&wallet, new.clone()).await;
    let second = Order { envelope: Some(envelope(1)), ..order(2, OrderKind::Charge, "ann", 500) };
    assert_eq!(open(&wallet, second.clone()).await, OrderOpening::Exists(new.clone()), "one at a time");
    assert_eq!(wallet.charges_for(&user("ann"), envelope(1)).await.unwrap(), [new]);
    let before = wallet.take_up_orders(NOON, 10).await.unwrap().remove(0).order;
    let (_, payment) = changed(&wallet, &before, Answer::Succeeded(happened(500)), NOON).await;
    assert_eq!(payment, Some(TransferOutcome::Done));
    assert_eq!(balance(&wallet, "ann").await, 0);
    assert_eq!(one(&wallet, send(1, "ann", 500)).await, TransferOutcome::AlreadyDone);
    assert_eq!(wallet.books().await.unwrap().outstanding_fen, 500);
    assert!(matches!(open(&wallet, second).await, OrderOpening::Exists(_)));
}

/// A charge that failed leaves room for another one.
pub async fn a_charge_that_failed_may_be_followed_by_another(wallet: Arc<dyn Wallet>) {
    let new = |number| Order { envelope: Some(envelope(1)), ..order(number, OrderKind::Charge, "ann", 500) };
    open(&wallet, new(1)).await;
    answer(&wallet, NOON, Answer::Failed { reason: "closed".to_owned() }).await;
    assert_eq!(open(&wallet, new(2)).await, OrderOpening::Opened(new(2)));
}

/// Its money stays in the balance, or goes back, once.
pub async fn a_charge_for_a_cancelled_envelope_is_balance_or_goes_back(wallet: Arc<dyn Wallet>) {
    for (number, goes_back) in [(1, false), (2, true)] {
        let name = if goes_back { "bob" } else { "ann" };
        let charge = Order { envelope: Some(envelope(number)), ..order(number as u8, OrderKind::Charge, name, 500) };
        open(&wallet, charge).await;
        one(&wallet, cancel(number, name)).await;
        let before = wallet.take_up_orders(NOON, 10).await.unwrap().remove(0).order;
        let after = before.answered(Some(Answer::Succeeded(happened(500))), NOON);
        let refund = Order { of: Some(before.id), ..order(number as u8 + 50, OrderKind::Refund, name, 500) };
        let change = OrderChange { before, after, may_pay: true, refund: goes_back.then_some(refund.clone()) };
        let done = wallet.change_orders(vec![change.clone()]).await.unwrap();
        assert!(matches!(done[..], [Changed::Done { payment: Some(TransferOutcome::Cancelled), .. }]), "{done:?}");
        assert_eq!(wallet.change_orders(vec![change]).await.unwrap(), [Changed::Overtaken]);
        let left = if goes_back { (0, 500) } else { (500, 0) };
        let payouts = wallet.books().await.unwrap().payouts_fen;
        assert_eq!((i128::from(balance(&wallet, name).await), payouts), left);
        assert_eq!(wallet.find_orders(&[refund.id]).await.unwrap().len(), usize::from(goes_back));
    }
    let refund = answer(&wallet, NOON, Answer::Succeeded(happened(500))).await;
    assert_eq!((refund.kind, books(&wallet).await), (OrderKind::Refund, (500, 0)));
    let late = Order { envelope: Some(envelope(1)), ..order(9, OrderKind::Charge, "ann", 500) };
    assert!(matches!(open(&wallet, late).await, OrderOpening::Exists(_)));
    let late = Order { envelope: Some(envelope(3)), ..order(9, OrderKind::Charge, "ann", 500) };
    one(&wallet, cancel(3, "ann")).await;
    assert_eq!(open(&wallet, late).await, OrderOpening::EnvelopeCancelled);
}

/// Several at once, of any users: each is taken up by one.
pub async fn due_orders_are_taken_up_once(wallet: Arc<dyn Wallet>) {
    for number in 1..=20 {
        open(&wallet, order(number, OrderKind::Charge, &format!("user_{number}"), 5)).await;
    }
    let takers = (0..4).map(|_| {
        let wallet = wallet.clone();
        tokio::spawn(async move { wallet.take_up_orders(NOON, 100).await.unwrap() })
    });
    let mut taken: Vec<OrderId> = Vec::new();
    for taker in takers.collect::<Vec<_>>() {
        taken.extend(taker.await.unwrap().into_iter().map(|taken| taken.order.id));
    }
    taken.sort();
    let all = wallet.scan_orders(None, 100).await.unwrap();
    assert_eq!(taken, all.iter().map(|order| order.id).collect::<Vec<_>>());
    assert_eq!(wallet.unfinished_orders().await.unwrap().orders, 20);
    // Who took them may have died.
    let later = wallet.take_up_orders(NOON.plus_millis(ORDER_CLAIM_MS), 100).await.unwrap();
    assert_eq!(later.len(), 20);
    assert!(later.iter().all(|taken| taken.request == Request::Query && taken.order.attempts == 2));
    let page = wallet.scan_orders(Some(all[11].id), 5).await.unwrap();
    assert_eq!(page.iter().map(|order| order.id).collect::<Vec<_>>(), taken[12..17]);
}

/// Newest first, a kind at a time, from a place on.
pub async fn orders_are_listed_newest_first(wallet: Arc<dyn Wallet>) {
    for number in 1..=5 {
        open(&wallet, order(number, OrderKind::Charge, "ann", 5)).await;
    }
    open(&wallet, order(9, OrderKind::Charge, "bob", 5)).await;
    let page = wallet.orders(&user("ann"), OrderKind::Charge, None, 3).await.unwrap();
    let ids = |orders: &[Order]| orders.iter().map(|order| order.id).collect::<Vec<_>>();
    let id = |number| order(number, OrderKind::Charge, "ann", 5).id;
    assert_eq!(ids(&page), [id(5), id(4), id(3)]);
    assert_eq!(ids(&wallet.orders(&user("ann"), OrderKind::Charge, Some(id(3)), 3).await.unwrap()), [id(2), id(1)]);
    assert!(wallet.orders(&user("ann"), OrderKind::Payout, None, 3).await.unwrap().is_empty());
    assert!(!wallet.hint(id(99), NOON).await.unwrap(), "there is none");
}

/// Not a fen goes out, be it for an envelope, as a payout, or back to where it came from.
pub async fn the_money_of_a_frozen_user_is_not_paid_out_and_a_charge_stays_in_the_balance(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 500)).await;
    let for_envelope = Order { envelope: Some(envelope(1)), ..order(1, OrderKind::Charge, "ann", 100) };
    assert_eq!(open(&wallet, for_envelope.clone()).await, OrderOpening::Opened(for_envelope.clone()));
    let freeze = |is_frozen| FreezeChange {
        user: user("ann"),
        is_frozen,
        reason: "why".to_owned(),
        operator: user("op"),
        at: NOON,
    };
    wallet.set_frozen(&freeze(true)).await.unwrap();
    let payout = order(2, OrderKind::Payout, "ann", 400);
    assert_eq!(open(&wallet, payout.clone()).await, OrderOpening::Frozen);
    assert_eq!(wallet.find_orders(&[payout.id]).await.unwrap(), [], "a refusal stores nothing");
    let TakenUp { order: before, .. } = wallet.take_up_orders(NOON, 10).await.unwrap().remove(0);
    let after = before.answered(Some(Answer::Succeeded(happened(100))), NOON);
    let refund = Some(order(3, OrderKind::Refund, "ann", 100));
    let change = OrderChange { before, after, may_pay: true, refund };
    let changed = wallet.change_orders(vec![change]).await.unwrap();
    assert!(matches!(changed[..], [Changed::Done { payment: Some(TransferOutcome::Frozen), .. }]), "{changed:?}");
    assert_eq!((balance(&wallet, "ann").await, books(&wallet).await), (600, (100, 0)));
    wallet.set_frozen(&freeze(false)).await.unwrap();
    assert_eq!(open(&wallet, payout.clone()).await, OrderOpening::Opened(payout));
}
