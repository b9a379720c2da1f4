//! Users whose money an operator has frozen.

use std::sync::Arc;

use hongbao_core::TransferOutcome::{AlreadyDone, Done, Frozen};
use hongbao_wallet::{FreezeChange, FreezeVersion, SetFrozen, Wallet};

use super::{NOON, balance, cancel, one, open, send, top_up, user};

fn change(name: &str, is_frozen: bool, reason: &str) -> FreezeChange {
    FreezeChange { user: user(name), is_frozen, reason: reason.to_owned(), operator: user("op"), at: NOON }
}

async fn frozen(wallet: &Arc<dyn Wallet>) -> Vec<FreezeChange> {
    let mut all = Vec::new();
    for place in wallet.shards() {
        all.extend(wallet.frozen_users(place.shard).await.unwrap());
    }
    all.sort_by(|one, other| one.user.cmp(&other.user));
    all
}

async fn versions(wallet: &Arc<dyn Wallet>) -> Vec<FreezeVersion> {
    let mut versions = wallet.freeze_versions().await;
    versions.sort_by_key(|version| version.shard);
    assert_eq!(versions.len(), wallet.shards().len());
    versions
}

/// Nobody else notices, and a payment is made once the user is free again.
pub async fn a_frozen_user_pays_nothing_and_keeps_and_gets_money(wallet: Arc<dyn Wallet>) {
    assert_eq!(wallet.transfer(vec![top_up(1, "ann", 500), top_up(2, "bob", 500)]).await.unwrap(), [Done, Done]);
    assert_eq!(wallet.set_frozen(&change("ann", true, "asked by the police")).await.unwrap(), SetFrozen::Changed);
    let batch = vec![send(1, "ann", 100), send(2, "bob", 100), top_up(3, "ann", 7), open(2, 1, "ann", 100)];
    assert_eq!(wallet.transfer(batch).await.unwrap(), [Frozen, Done, Done, Done]);
    assert_eq!((balance(&wallet, "ann").await, balance(&wallet, "bob").await), (607, 400));
    assert_eq!(one(&wallet, cancel(9, "ann")).await, Done, "no money moves");
    assert_eq!(wallet.set_frozen(&change("ann", false, "")).await.unwrap(), SetFrozen::Changed);
    assert_eq!(one(&wallet, send(1, "ann", 100)).await, Done);
}

/// A repeat is answered as ever.
pub async fn what_a_frozen_user_has_paid_stays_paid(wallet: Arc<dyn Wallet>) {
    assert_eq!(wallet.transfer(vec![top_up(1, "ann", 500), send(1, "ann", 100)]).await.unwrap(), [Done, Done]);
    wallet.set_frozen(&change("ann", true, "why")).await.unwrap();
    assert_eq!(one(&wallet, send(1, "ann", 100)).await, AlreadyDone);
    assert_eq!(one(&wallet, send(2, "ann", 100)).await, Frozen);
}

/// Whoever did it, and when.
pub async fn who_is_frozen_is_listed_with_the_reason_and_the_log_has_it_all(wallet: Arc<dyn Wallet>) {
    let begin = versions(&wallet).await;
    let names = ["ann", "bob", "cid", "dot"];
    for name in names {
        wallet.set_frozen(&change(name, true, "红包 \"quoted\" 'reason'")).await.unwrap();
    }
    assert_ne!(versions(&wallet).await, begin);
    wallet.set_frozen(&change("bob", false, "it was a mistake")).await.unwrap();
    let expected: Vec<_> = ["ann", "cid", "dot"].map(|name| change(name, true, "红包 \"quoted\" 'reason'")).into();
    assert_eq!(frozen(&wallet).await, expected);
    let log = wallet.freeze_log(&user("bob"), 10).await.unwrap();
    assert_eq!(log, [change("bob", false, "it was a mistake"), change("bob", true, "红包 \"quoted\" 'reason'")]);
    assert_eq!(wallet.freeze_log(&user("bob"), 1).await.unwrap().len(), 1);
    assert_eq!(wallet.freeze_log(&user("eve"), 10).await.unwrap(), []);
}

/// Another reason is a change.
pub async fn a_freeze_that_changes_nothing_is_not_logged(wallet: Arc<dyn Wallet>) {
    assert_eq!(wallet.set_frozen(&change("ann", false, "never was")).await.unwrap(), SetFrozen::Unchanged);
    assert_eq!(wallet.set_frozen(&change("ann", true, "")).await.unwrap(), SetFrozen::Changed);
    let version = versions(&wallet).await;
    assert_eq!(wallet.set_frozen(&change("ann", true, "")).await.unwrap(), SetFrozen::Unchanged);
    assert_eq!(versions(&wallet).await, version);
    assert_eq!(wallet.set_frozen(&change("ann", true, "now we know")).await.unwrap(), SetFrozen::Changed);
    assert_eq!(wallet.freeze_log(&user("ann"), 10).await.unwrap().len(), 2);
}

/// Once it has returned, no payment follows, however many are asked for at the same time.
pub async fn a_freeze_stops_payments_that_are_under_way(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", 10_000)).await, Done);
    let paying: Vec<_> = (0..100)
        .map(|number| {
            let wallet = Arc::clone(&wallet);
            tokio::spawn(async move { one(&wallet, send(number, "ann", 1)).await })
        })
        .collect();
    wallet.set_frozen(&change("ann", true, "stop")).await.unwrap();
    let after_it = balance(&wallet, "ann").await;
    let mut refused = 0;
    for payment in paying {
        refused += i64::from(payment.await.unwrap() == Frozen);
    }
    assert_eq!(balance(&wallet, "ann").await, after_it);
    assert_eq!(after_it, 10_000 - (100 - refused));
}
