//! Ended at any moment, under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hongbao_core::TransferOutcome::{AlreadyDone, Done};
use hongbao_core::{Transfer, TransferOutcome};
use hongbao_testkit::wallet_suite::top_up;
use hongbao_wallet::mysql::{Moved, MysqlWallet};
use hongbao_wallet::{Wallet, WalletError};

use super::{DATABASES, Places, users};
use crate::common::audited;

/// The run is ended at any moment, inside of its steps too, and repeated; meanwhile wallets with the
/// file of before write, and ask again at the new place where they were refused or the outcome is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_at_any_moment_under_load_loses_and_doubles_no_transfer_i3_i6() {
    let places = Arc::new(Places::start());
    places.empty().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> =
        (0..4_u64).map(|number| tokio::spawn(write_until_stopped(places.clone(), stop.clone(), number))).collect();
    let (mut kills, mut millis) = (0, 3);
    loop {
        match tokio::time::timeout(Duration::from_millis(millis), places.go(|_, _| true)).await {
            Ok(moved) => {
                assert_eq!(moved.unwrap(), Moved::All);
                break;
            }
            Err(_) => (kills, millis) = (kills + 1, millis + 7),
        }
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    let (mut acknowledged, mut at_old, mut at_new) = (Vec::new(), 0, 0);
    for writer in writers {
        let written = writer.await.unwrap();
        at_old += written.at_old;
        at_new += written.at_new;
        acknowledged.extend(written.acknowledged);
    }
    println!("{kills} kills; {at_old} transfers acknowledged at the old place, {at_new} at the new one");
    assert!(kills >= 5 && at_old > 100 && at_new > 20, "{kills} {at_old} {at_new}");
    let new = places.wallet(places.after()).await;
    let ids: Vec<_> = acknowledged.iter().map(|transfer: &Transfer| transfer.id).collect();
    for part in ids.chunks(500) {
        assert_eq!(new.find(part).await.unwrap().len(), part.len(), "what was acknowledged is there, once");
    }
    assert_eq!(audited(&*new).await, acknowledged.iter().map(|one| i128::from(one.amount.get())).sum::<i128>());
}

struct Written {
    acknowledged: Vec<Transfer>,
    at_old: u32,
    at_new: u32,
}

/// Tops up one of its users after the other, each until it is known to be done.
async fn write_until_stopped(places: Arc<Places>, stop: Arc<AtomicBool>, number: u64) -> Written {
    let old = places.wallet(places.before()).await;
    let mut new: Option<Arc<dyn Wallet>> = None;
    let mut written = Written { acknowledged: Vec::new(), at_old: 0, at_new: 0 };
    let names = users(6).concat();
    for round in 0.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let name = &names[round as usize % names.len()];
        let transfer = top_up(number * 1_000_000 + round, name, 1 + (round % 5) as i64);
        loop {
            match old.transfer(vec![transfer.clone()]).await {
                Ok(outcomes) => {
                    assert!(is_done(outcomes[0]));
                    written.at_old += 1;
                    break;
                }
                Err(WalletError::Unavailable(_) | WalletError::Unknown(_)) => {}
                Err(error) => panic!("{error}"),
            }
            if new.is_none() {
                new =
                    MysqlWallet::open(places.after(), DATABASES).await.ok().map(|new| Arc::new(new) as Arc<dyn Wallet>);
            }
            let Some(new) = &new else { continue };
            match new.transfer(vec![transfer.clone()]).await {
                Ok(outcomes) => {
                    assert!(is_done(outcomes[0]));
                    written.at_new += 1;
                    break;
                }
                Err(WalletError::Unavailable(_) | WalletError::Unknown(_)) => {}
                Err(error) => panic!("{error}"),
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        written.acknowledged.push(transfer);
    }
    written
}

fn is_done(outcome: TransferOutcome) -> bool {
    matches!(outcome, Done | AlreadyDone)
}
