//! Ended at any moment, under load: the command, and the databases.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hongbao_core::TransferOutcome::{AlreadyDone, Done};
use hongbao_core::{Transfer, TransferOutcome};
use hongbao_testbed::Part;
use hongbao_testkit::wallet_suite::top_up;
use hongbao_wallet::mysql::{DatabaseServer, Moved, MysqlWallet, migrate, move_slots};
use hongbao_wallet::{Wallet, WalletError};
use tokio::task::JoinHandle;

use super::{DATABASES, MOVING, Places, users};
use crate::common::{audited, options};

/// The run is ended at any moment, inside of its steps too, and repeated; meanwhile wallets with the
/// file of before write, and ask again at the new place where they were refused or the outcome is open.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_that_is_killed_at_any_moment_under_load_loses_and_doubles_no_transfer_i3_i6() {
    let places = Places::start();
    places.empty().await;
    let load = Load::start(&places).await;
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
    let written = load.stop(&places).await;
    println!("{kills} kills; {written:?}");
    assert!(kills >= 5 && written.at_old > 20 && written.at_new > 0);
}

/// One of the two database servers dies in the middle of each run, in turn, and comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_move_whose_databases_die_at_any_moment_under_load_loses_and_doubles_no_transfer_i3_i6() {
    let mut places = Places::start();
    places.empty().await;
    let load = Load::start(&places).await;
    let (mut deaths, mut millis) = (0, 10);
    loop {
        let (before, after) = (places.before(), places.after());
        let moving = tokio::spawn(async move { move_slots(&before, &after, DATABASES, &mut |_, _| true).await });
        tokio::time::sleep(Duration::from_millis(millis)).await;
        if moving.is_finished() {
            if moving.await.unwrap().is_ok() {
                break;
            }
            continue;
        }
        let part = if deaths % 2 == 0 { &mut places.old } else { &mut places.new };
        part.kill();
        part.restart();
        // It has failed, or gone on over new connections.
        let moved = moving.await.unwrap();
        (deaths, millis) = (deaths + 1, millis + 25);
        if moved.is_ok() {
            break;
        }
    }
    let written = load.stop(&places).await;
    println!("{deaths} deaths; {written:?}");
    assert!(deaths >= 2 && written.at_new > 0);
}

/// The fence is set through one node of a cluster, while others write through another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fence_that_is_set_through_one_galera_node_holds_for_writers_on_the_others_i6() {
    let (nodes, new) = (Part::galera(), Part::mariadb(&[]));
    let old = |first: usize, slots| {
        let order: Vec<String> = (0..3).map(|place| nodes[(first + place) % 3].node()).collect();
        let server = Places::server(&nodes[0], slots);
        DatabaseServer { options: options(&order), ..server }
    };
    let (before, after) =
        (|first| vec![old(first, 0..100)], |first| vec![old(first, 0..MOVING), Places::server(&new, MOVING..100)]);
    migrate(&before(0), DATABASES).await.unwrap();
    let loads = [Load::over(before(1), after(1), 0..2).await, Load::over(before(2), after(2), 2..4).await];
    tokio::time::sleep(Duration::from_millis(500)).await;
    // Other nodes may be first again and again: then it says so, and is run again.
    let mut runs = 0;
    while let Err(error) = move_slots(&before(0), &after(0), DATABASES, &mut |_, _| true).await {
        runs += 1;
        assert!(runs < 20 && matches!(error, WalletError::Unknown(_) | WalletError::Unavailable(_)), "{error}");
        println!("{error}");
    }
    let mut all = Written::default();
    for load in loads {
        let Written { acknowledged, at_old, at_new } = load.written().await;
        all.acknowledged.extend(acknowledged);
        (all.at_old, all.at_new) = (all.at_old + at_old, all.at_new + at_new);
    }
    println!("{all:?}");
    assert!(all.at_old > 0 && all.at_new > 0);
    all.check(&MysqlWallet::open(after(0), DATABASES).await.unwrap()).await;
}

/// Writers that use the file of before, and the next one where they are refused.
struct Load {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<Written>>,
}

impl Load {
    async fn start(places: &Places) -> Load {
        Load::over(places.before(), places.after(), 0..4).await
    }

    /// Writers of these numbers, who use these servers.
    async fn over(before: Vec<DatabaseServer>, after: Vec<DatabaseServer>, numbers: Range<u64>) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for number in numbers {
            let old = Arc::new(MysqlWallet::open(before.clone(), DATABASES).await.unwrap());
            writers.push(tokio::spawn(write_until_stopped(old, after.clone(), stop.clone(), number)));
        }
        Load { stop, writers }
    }

    /// Lets it go on for a moment at the new place, and requires that what was acknowledged is there once.
    async fn stop(self, places: &Places) -> Written {
        let all = self.written().await;
        all.check(&*places.wallet(places.after()).await).await;
        all
    }

    async fn written(self) -> Written {
        tokio::time::sleep(Duration::from_millis(500)).await;
        self.stop.store(true, Ordering::Relaxed);
        let mut all = Written::default();
        for writer in self.writers {
            let Written { acknowledged, at_old, at_new } = writer.await.unwrap();
            all.acknowledged.extend(acknowledged);
            all.at_old += at_old;
            all.at_new += at_new;
        }
        all
    }
}

/// What writers have got done.
#[derive(Default)]
struct Written {
    acknowledged: Vec<Transfer>,
    at_old: u32,
    at_new: u32,
}

impl Written {
    /// What was acknowledged is there, once, and nothing else.
    async fn check(&self, new: &dyn Wallet) {
        let ids: Vec<_> = self.acknowledged.iter().map(|transfer| transfer.id).collect();
        for part in ids.chunks(500) {
            assert_eq!(new.find(part).await.unwrap().len(), part.len());
        }
        let sum: i128 = self.acknowledged.iter().map(|one| i128::from(one.amount.get())).sum();
        assert_eq!(audited(new).await, sum);
    }
}

impl fmt::Debug for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Written { acknowledged, at_old, at_new } = self;
        write!(f, "{} transfers, of which {at_old} at the old place and {at_new} at the new one", acknowledged.len())
    }
}

/// Tops up one of its users after the other, each until it is known to be done.
async fn write_until_stopped(
    old: Arc<dyn Wallet>,
    after: Vec<DatabaseServer>,
    stop: Arc<AtomicBool>,
    number: u64,
) -> Written {
    let mut new = None;
    let mut written = Written::default();
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
                new = MysqlWallet::open(after.clone(), DATABASES).await.ok();
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
