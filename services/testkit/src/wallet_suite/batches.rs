//! What a batch does as a whole, and its parts to one another.

use std::sync::Arc;

use hongbao_core::TransferOutcome::{AlreadyDone, Conflict, Done, InsufficientFunds};
use hongbao_core::limits::TRANSFER_BATCH_SIZE_MAX;

use super::{all_posted, balance, by_user, one, open, send, top_up};
use hongbao_wallet::{Wallet, WalletError};

/// A payment may spend what came in just before it, not what comes after it.
pub async fn the_order_inside_a_batch_matters(wallet: Arc<dyn Wallet>) {
    let batch = vec![send(1, "ann", 500), top_up(1, "ann", 500), send(2, "ann", 400), send(3, "ann", 101)];
    assert_eq!(wallet.transfer(batch).await.unwrap(), [InsufficientFunds, Done, Done, InsufficientFunds]);
    assert_eq!(balance(&wallet, "ann").await, 100);
}

/// Refusals of every kind stand between transfers that happen.
pub async fn a_refused_transfer_does_not_disturb_its_neighbours(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", 500)).await, Done);
    let batch = vec![
        top_up(2, "bob", 10),
        send(1, "cid", 1),
        top_up(1, "ann", 500),
        top_up(1, "ann", 1),
        send(2, "ann", 300),
        open(2, 1, "bob", 100),
    ];
    let outcomes = wallet.transfer(batch).await.unwrap();
    assert_eq!(outcomes, [Done, InsufficientFunds, AlreadyDone, Conflict, Done, Done]);
    assert_eq!((balance(&wallet, "ann").await, balance(&wallet, "bob").await), (200, 110));
    assert_eq!(all_posted(&wallet).await.len(), 4);
}

/// As if they had come one after another.
pub async fn repeats_inside_a_batch_execute_once(wallet: Arc<dyn Wallet>) {
    let batch = vec![top_up(1, "ann", 5), top_up(1, "ann", 5), top_up(1, "ann", 6), top_up(1, "ann", 5)];
    assert_eq!(wallet.transfer(batch).await.unwrap(), [Done, AlreadyDone, Conflict, AlreadyDone]);
    assert_eq!(balance(&wallet, "ann").await, 5);
}

/// An empty one and the largest among them.
pub async fn batches_of_every_size_are_written_in_order(wallet: Arc<dyn Wallet>) {
    let mut written = Vec::new();
    for size in [0, 1, 2, 3, 5, 15, 16, 17, 63, 64, 65, 255, 257, 511, 1_023, TRANSFER_BATCH_SIZE_MAX] {
        let numbers = written.len()..written.len() + size;
        let batch: Vec<_> =
            numbers.map(|number| top_up(number as u64, &format!("user_{}", number % 100), 1 + number as i64)).collect();
        assert_eq!(wallet.transfer(batch.clone()).await.unwrap(), vec![Done; size], "{size}");
        written.extend(batch);
    }
    assert_eq!(all_posted(&wallet).await, by_user(written));
}

/// It would be one transaction of any length.
pub async fn a_batch_that_is_too_large_is_refused_whole(wallet: Arc<dyn Wallet>) {
    let batch = (0..=TRANSFER_BATCH_SIZE_MAX as u64).map(|number| top_up(number, "ann", 1)).collect();
    assert!(matches!(wallet.transfer(batch).await, Err(WalletError::Unavailable(_))));
    assert_eq!(all_posted(&wallet).await, []);
}

/// Callers are cut off at any point; never is half of a batch there.
pub async fn a_batch_whose_caller_went_away_happens_whole_or_not_at_all(wallet: Arc<dyn Wallet>) {
    const BATCHES: u64 = 60;
    const SIZE: u64 = 20;
    let mut tasks = Vec::new();
    for batch in 0..BATCHES {
        let wallet = Arc::clone(&wallet);
        let transfers = (0..SIZE).map(|place| top_up(batch * SIZE + place, &format!("user_{batch}"), 1)).collect();
        tasks.push(tokio::spawn(async move { wallet.transfer(transfers).await }));
    }
    for (turn, task) in tasks.iter().enumerate() {
        if turn % 3 != 0 {
            tokio::task::yield_now().await;
        }
        task.abort();
    }
    // What was queued before it in the same shard is done when this one is; in another, all or nothing of a
    // batch is seen all the same.
    assert_eq!(one(&wallet, top_up(u64::MAX, "last", 1)).await, Done);
    for batch in 0..BATCHES {
        let got = balance(&wallet, &format!("user_{batch}")).await;
        assert!(got == 0 || got == SIZE as i64, "batch {batch} happened for {got} of {SIZE}");
    }
    // The callers may ask again: then all of it is there, once.
    for batch in 0..BATCHES {
        let again = (0..SIZE).map(|place| top_up(batch * SIZE + place, &format!("user_{batch}"), 1)).collect();
        wallet.transfer(again).await.unwrap();
        assert_eq!(balance(&wallet, &format!("user_{batch}")).await, SIZE as i64);
    }
}

/// And an empty batch is answered at once.
pub async fn nothing_waits_when_nothing_is_asked(wallet: Arc<dyn Wallet>) {
    assert_eq!(wallet.transfer(Vec::new()).await.unwrap(), []);
    assert_eq!(one(&wallet, top_up(1, "ann", 1)).await, Done);
    assert_eq!(wallet.queue_depth(), 0);
}
