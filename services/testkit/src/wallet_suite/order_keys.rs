//! Orders under the keys of requests.

use std::sync::Arc;

use hongbao_core::{KeyedCall, KeyedRequest, Order, OrderKind, RequestKey};
use hongbao_wallet::{FreezeChange, NewOrder, OrderOpening, Wallet};

use super::{NOON, balance, one, order, top_up, user};

fn keyed(call: KeyedCall, order: Order, key: &str, body: &str) -> NewOrder {
    let request = KeyedRequest::new(call, RequestKey::parse(key).unwrap(), &body);
    NewOrder { order, request: Some(request), quota: None }
}

/// A payout of this number, for a user and under a key.
fn payout(number: u8, name: &str, amount: i64, key: &str) -> NewOrder {
    keyed(KeyedCall::Payout, order(number, OrderKind::Payout, name, amount), key, &amount.to_string())
}

async fn opened(wallet: &Arc<dyn Wallet>, new: NewOrder) -> OrderOpening {
    wallet.open_order(new).await.unwrap()
}

/// Whatever id a repeat brings along; it is shown as it is by then, and nothing moves again.
pub async fn a_key_stands_for_the_order_that_came_with_it_first(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 500)).await;
    let first = payout(1, "ann", 300, "k");
    assert_eq!(opened(&wallet, first.clone()).await, OrderOpening::Opened(first.order.clone()));
    assert_eq!(opened(&wallet, first.clone()).await, OrderOpening::Repeated(first.order.clone()));
    let taken = wallet.take_up_orders(NOON, 10).await.unwrap().remove(0).order;
    assert_eq!(opened(&wallet, payout(2, "ann", 300, "k")).await, OrderOpening::Repeated(taken.clone()));
    assert_eq!(opened(&wallet, payout(3, "ann", 200, "k")).await, OrderOpening::KeyConflict);
    assert_eq!(
        (balance(&wallet, "ann").await, wallet.scan_orders(None, 10).await.unwrap()),
        (200, vec![taken.clone()])
    );
    // What was made stays the answer, also where nothing new would be made.
    let freeze =
        FreezeChange { user: user("ann"), is_frozen: true, reason: "why".to_owned(), operator: user("op"), at: NOON };
    wallet.set_frozen(&freeze).await.unwrap();
    assert_eq!(opened(&wallet, payout(4, "ann", 300, "k")).await, OrderOpening::Repeated(taken));
    assert_eq!(opened(&wallet, payout(4, "ann", 100, "new")).await, OrderOpening::Frozen);
}

/// The same text is another key for another user, and for another call.
pub async fn each_user_and_call_has_keys_for_orders_of_its_own(wallet: Arc<dyn Wallet>) {
    for (number, name) in ["ann", "bob", "cid", "dot"].into_iter().enumerate() {
        one(&wallet, top_up(number as u64, name, 5)).await;
        let number = 2 * number as u8;
        let charge = keyed(KeyedCall::Charge, order(number, OrderKind::Charge, name, 5), "k", "5");
        assert_eq!(opened(&wallet, charge.clone()).await, OrderOpening::Opened(charge.order));
        let payout = payout(number + 1, name, 5, "k");
        assert_eq!(opened(&wallet, payout.clone()).await, OrderOpening::Opened(payout.order));
    }
    let again = keyed(KeyedCall::Charge, order(99, OrderKind::Charge, "cid", 5), "k", "5");
    assert_eq!(opened(&wallet, again).await, OrderOpening::Repeated(order(4, OrderKind::Charge, "cid", 5)));
}

/// A refusal is not stored: with the money there the same request is executed.
pub async fn a_refused_order_leaves_its_key_free(wallet: Arc<dyn Wallet>) {
    let new = payout(1, "ann", 300, "k");
    assert_eq!(opened(&wallet, new.clone()).await, OrderOpening::InsufficientFunds);
    one(&wallet, top_up(1, "ann", 500)).await;
    assert_eq!(opened(&wallet, new.clone()).await, OrderOpening::Opened(new.order));
}

/// All others get it, and one amount leaves the balance.
pub async fn of_many_concurrent_payouts_under_one_key_one_is_made(wallet: Arc<dyn Wallet>) {
    one(&wallet, top_up(1, "ann", 5_000)).await;
    let asked = (0..50).map(|number| {
        let wallet = Arc::clone(&wallet);
        tokio::spawn(async move { wallet.open_order(payout(number, "ann", 100, "k")).await.unwrap() })
    });
    let (mut made, mut repeated) = (Vec::new(), Vec::new());
    for asked in asked.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            OrderOpening::Opened(order) => made.push(order),
            OrderOpening::Repeated(order) => repeated.push(order),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!((made.len(), repeated.len()), (1, 49));
    assert!(repeated.iter().all(|order| *order == made[0]), "{repeated:?}");
    assert_eq!((balance(&wallet, "ann").await, wallet.scan_orders(None, 10).await.unwrap()), (4_900, made));
}
