//! What an id stands for, and for how long.

use std::sync::Arc;

use hongbao_core::TransferKind;
use hongbao_core::TransferOutcome::{AlreadyDone, AlreadyPaid, Cancelled, Conflict, Done, InsufficientFunds, Overflow};

use super::{NOON, all_posted, balance, cancel, of_envelope, one, open, send, top_up};
use hongbao_wallet::Wallet;

/// The second one does nothing and says so.
pub async fn a_repeated_top_up_is_the_same_top_up(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, Done);
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, AlreadyDone);
    assert_eq!(balance(&wallet, "ann").await, 500);
}

/// The time is no part of what was asked for; the first one stays.
pub async fn a_repeat_may_come_at_another_time(wallet: Arc<dyn Wallet>) {
    let first = top_up(1, "ann", 500);
    let mut later = first.clone();
    later.at = NOON.plus_millis(1);
    assert_eq!(one(&wallet, first.clone()).await, Done);
    assert_eq!(one(&wallet, later).await, AlreadyDone);
    assert_eq!(all_posted(&wallet).await, [first]);
}

/// Another amount or kind under an id that is taken changes nothing.
pub async fn an_id_that_was_used_for_something_else_is_a_conflict(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, Done);
    assert_eq!(one(&wallet, top_up(1, "ann", 501)).await, Conflict);
    assert_eq!(one(&wallet, send(2, "ann", 300)).await, Done);
    assert_eq!(one(&wallet, open(2, 1, "bob", 100)).await, Done);
    assert_eq!(one(&wallet, of_envelope(TransferKind::Refund, 2, 1, "bob", 100)).await, Conflict);
    assert_eq!(one(&wallet, send(2, "ann", 200)).await, Conflict);
    assert_eq!((balance(&wallet, "ann").await, balance(&wallet, "bob").await), (200, 100));
}

/// The client chose the id for one user, and must not use it for a second one.
/// Where that one lies decides what becomes of it; the first never notices.
pub async fn another_users_top_up_under_an_id_leaves_the_first_as_it_is(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, Done);
    for name in ["bob", "cid", "dot", "eve"] {
        let outcome = one(&wallet, top_up(1, name, 500)).await;
        let expected = match outcome {
            Conflict => 0,
            other => {
                assert_eq!(other, Done);
                500
            }
        };
        assert_eq!(balance(&wallet, name).await, expected);
        let again = if outcome == Done { AlreadyDone } else { Conflict };
        assert_eq!(one(&wallet, top_up(1, name, 500)).await, again);
    }
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, AlreadyDone);
    assert_eq!(balance(&wallet, "ann").await, 500);
    assert_eq!(wallet.books().await.unwrap().check(), None);
}

/// A credit under the id of a payment, a payment under that of a credit, a
/// cancel with an amount: the id is for something else.
pub async fn a_transfer_that_contradicts_its_id_is_a_conflict(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, Done);
    for odd in [
        open(2, 0, "ann", 100),
        of_envelope(TransferKind::Refund, 2, 0, "ann", 100),
        of_envelope(TransferKind::TopUp, 2, 0, "ann", 100),
        of_envelope(TransferKind::Send, 2, 1, "ann", 100),
        of_envelope(TransferKind::Cancel, 2, 1, "ann", 0),
        of_envelope(TransferKind::Cancel, 2, 0, "ann", 100),
    ] {
        assert_eq!(one(&wallet, odd.clone()).await, Conflict, "{odd:?}");
    }
    assert_eq!(balance(&wallet, "ann").await, 500);
    assert_eq!(one(&wallet, send(2, "ann", 100)).await, Done);
}

/// Insufficient funds is an answer, and the payment may be asked for again.
pub async fn a_refused_payment_leaves_its_id_free(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, send(1, "ann", 1)).await, InsufficientFunds);
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, Done);
    assert_eq!(one(&wallet, send(1, "ann", 501)).await, InsufficientFunds);
    assert_eq!(one(&wallet, send(1, "ann", 500)).await, Done);
    assert_eq!(one(&wallet, send(1, "ann", 500)).await, AlreadyDone);
    assert_eq!(balance(&wallet, "ann").await, 0);
}

/// The payment stands, and goes on being what its repeat is told.
pub async fn a_cancel_after_the_payment_comes_too_late(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, Done);
    assert_eq!(one(&wallet, send(1, "ann", 200)).await, Done);
    assert_eq!(one(&wallet, cancel(1, "ann")).await, AlreadyPaid);
    assert_eq!(one(&wallet, send(1, "ann", 200)).await, AlreadyDone);
    assert_eq!(balance(&wallet, "ann").await, 300);
}

/// The id is taken for good.
pub async fn a_payment_after_the_cancel_is_refused(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, Done);
    assert_eq!(one(&wallet, cancel(1, "ann")).await, Done);
    assert_eq!(one(&wallet, send(1, "ann", 200)).await, Cancelled);
    assert_eq!(one(&wallet, cancel(1, "ann")).await, AlreadyDone);
    assert_eq!(balance(&wallet, "ann").await, 500);
}

/// Not even for somebody who has none.
pub async fn a_cancel_moves_no_money(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, cancel(1, "ann")).await, Done);
    assert_eq!(balance(&wallet, "ann").await, 0);
    assert_eq!(wallet.books().await.unwrap(), Default::default());
}

/// Neither the user's nor that of the other side; the id stays free.
pub async fn a_balance_never_leaves_64_bits(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", i64::MAX)).await, Done);
    assert_eq!(one(&wallet, top_up(2, "ann", 1)).await, Overflow);
    assert_eq!(one(&wallet, send(5, "ann", i64::MAX)).await, Done);
    // The source of top-ups goes one further below zero than a balance above it.
    assert_eq!(one(&wallet, top_up(3, "ann", 2)).await, Overflow);
    assert_eq!(one(&wallet, top_up(3, "ann", 1)).await, Done);
    assert_eq!(one(&wallet, top_up(4, "ann", 1)).await, Overflow);
    assert_eq!(one(&wallet, send(6, "ann", 1)).await, Overflow);
    assert_eq!(one(&wallet, open(5, 1, "ann", i64::MAX)).await, Overflow);
    assert_eq!(balance(&wallet, "ann").await, 1);
    assert_eq!(one(&wallet, open(5, 1, "ann", i64::MAX - 1)).await, Done);
    assert_eq!(balance(&wallet, "ann").await, i64::MAX);
}

/// I6: many tasks credit the same opening at once, and it is credited once.
pub async fn concurrent_repeats_of_one_id_execute_once(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, Done);
    assert_eq!(one(&wallet, send(1, "ann", 500)).await, Done);
    let mut tasks = Vec::new();
    for _ in 0..50 {
        let wallet = Arc::clone(&wallet);
        tasks.push(tokio::spawn(async move { one(&wallet, open(1, 1, "bob", 500)).await }));
    }
    let mut done = 0;
    for task in tasks {
        match task.await.unwrap() {
            Done => done += 1,
            outcome => assert_eq!(outcome, AlreadyDone),
        }
    }
    assert_eq!(done, 1);
    assert_eq!(balance(&wallet, "bob").await, 500);
}
