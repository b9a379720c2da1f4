//! The database dies, hangs or refuses: what fails says so, nothing that was
//! acknowledged is missing, nothing is doubled, and asking again settles it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use hongbao_core::TransferOutcome::{AlreadyDone, Done};
use hongbao_core::{Slot, Traffic, Transfer};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_testbed::Part;
use hongbao_testkit::wallet_suite::{top_up, user};
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet, migrate};
use hongbao_wallet::{Boundaries, Wallet as _, WalletError, WalletReads as _, WalletScans as _};
use sqlx::{Connection as _, Executor as _};

use crate::common::{DATABASES, audited, options};

async fn own(limit: Duration) -> (Part, Arc<MysqlWallet>) {
    let part = Part::mariadb(&[]);
    let options = MysqlOptions { statement_timeout: limit, ..options(&[part.node()]) };
    let homes = vec![DatabaseServer { options, slots: Slot::all().collect(), traffic: Traffic::Live }];
    migrate(&homes, DATABASES).await.unwrap();
    let wallet = MysqlWallet::open_with_queue(homes, DATABASES, 4).await.unwrap();
    (part, Arc::new(wallet))
}

async fn root(part: &Part) -> sqlx::MySqlConnection {
    sqlx::MySqlConnection::connect(&format!("mysql://root@{}", part.node())).await.unwrap()
}

/// Users of all shards, so that a call is a transaction in each.
fn batch(number: u64) -> Vec<Transfer> {
    (0..8).map(|place| top_up(number * 8 + place, &format!("user_{place}"), 1)).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_is_killed_loses_and_doubles_nothing() {
    let (mut part, wallet) = own(Duration::from_secs(2)).await;
    let acknowledged = Arc::new(AtomicU64::new(0));
    let tasks: Vec<_> = (0..4_u64)
        .map(|task| {
            let (wallet, acknowledged) = (Arc::clone(&wallet), Arc::clone(&acknowledged));
            tokio::spawn(async move {
                let mut asked = Vec::new();
                for turn in 0..10_000 {
                    let number = turn * 4 + task;
                    let answer = wallet.transfer(batch(number)).await;
                    let is_done = answer.is_ok();
                    asked.push((number, answer));
                    if !is_done {
                        break;
                    }
                    acknowledged.fetch_add(1, Ordering::Relaxed);
                }
                asked
            })
        })
        .collect();
    while acknowledged.load(Ordering::Relaxed) < 100 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    part.kill();
    let mut asked = Vec::new();
    for task in tasks {
        asked.extend(task.await.unwrap());
    }
    assert!(asked.iter().filter(|(_, answer)| answer.is_err()).count() == 4, "each met the end of the database");
    assert!(matches!(wallet.balance(&user("user_0")).await, Err(WalletError::Unavailable(_))));
    part.restart();
    for (number, before) in &asked {
        let outcomes = wallet.transfer(batch(*number)).await.unwrap();
        match before {
            Ok(_) => assert_eq!(outcomes, [AlreadyDone; 8], "acknowledged, so it is there"),
            Err(WalletError::Unavailable(_)) => assert_eq!(outcomes, [Done; 8], "it was said that nothing was written"),
            Err(error) => assert!(matches!(error, WalletError::Unknown(_)), "{error:?}"),
        }
    }
    assert_eq!(audited(&*wallet).await, asked.len() as i128 * 8);
}

#[tokio::test]
async fn a_database_that_was_restarted_while_nobody_asked_is_met_without_an_error() {
    let (mut part, wallet) = own(Duration::from_secs(5)).await;
    assert_eq!(wallet.transfer(batch(0)).await.unwrap(), [Done; 8]);
    part.restart();
    assert_eq!(wallet.transfer(batch(1)).await.unwrap(), [Done; 8]);
    part.restart();
    assert_eq!(wallet.balance(&user("user_0")).await.unwrap().get(), 2);
    assert_eq!(audited(&*wallet).await, 16);
}

#[tokio::test]
async fn a_database_that_hangs_is_told_in_time_and_asking_again_settles_it() {
    let (part, wallet) = own(Duration::from_millis(300)).await;
    assert_eq!(wallet.transfer(batch(0)).await.unwrap(), [Done; 8]);
    part.pause();
    let error = wallet.transfer(batch(1)).await.unwrap_err();
    assert!(matches!(error, WalletError::Unavailable(_) | WalletError::Unknown(_)), "{error:?}");
    part.resume();
    wallet.transfer(batch(1)).await.unwrap();
    assert_eq!(wallet.transfer(batch(1)).await.unwrap(), [AlreadyDone; 8]);
    assert_eq!(audited(&*wallet).await, 16);
}

#[tokio::test]
async fn a_shard_that_is_locked_fails_alone_and_the_call_is_unknown() {
    let (part, wallet) = own(Duration::from_millis(300)).await;
    let mut lock = root(&part).await;
    lock.execute("START TRANSACTION").await.unwrap();
    lock.execute("SELECT * FROM wallet_00.ledger FOR UPDATE").await.unwrap();
    let error = wallet.transfer(batch(0)).await.unwrap_err();
    assert!(matches!(&error, WalletError::Unknown(reason) if reason.contains("a part of")), "{error:?}");
    lock.execute("ROLLBACK").await.unwrap();
    let outcomes = wallet.transfer(batch(0)).await.unwrap();
    assert!(outcomes.contains(&Done) && outcomes.contains(&AlreadyDone), "{outcomes:?}");
    assert_eq!(audited(&*wallet).await, 8);
}

#[tokio::test]
async fn a_full_queue_of_one_shard_is_busy_and_nothing_happens_in_the_others() {
    let (part, wallet) = own(Duration::from_secs(5)).await;
    let mut lock = root(&part).await;
    lock.execute("START TRANSACTION").await.unwrap();
    lock.execute("SELECT * FROM wallet_00.ledger FOR UPDATE").await.unwrap();
    let mut tasks = Vec::new();
    for number in 0..5 {
        let wallet = Arc::clone(&wallet);
        tasks.push(tokio::spawn(async move { wallet.transfer(batch(number)).await }));
        // The first is taken by the writers; four fill the queue of the shard that is locked.
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(wallet.queue_depth() > 0);
    assert!(matches!(wallet.transfer(batch(9)).await, Err(WalletError::Busy)));
    lock.execute("ROLLBACK").await.unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), [Done; 8]);
    }
    assert_eq!(wallet.queue_depth(), 0);
    assert_eq!(audited(&*wallet).await, 40);
    assert_eq!(wallet.transfer(batch(9)).await.unwrap(), [Done; 8]);
}

#[tokio::test]
async fn a_database_that_became_read_only_is_an_error_and_loses_nothing() {
    let (part, wallet) = own(Duration::from_secs(2)).await;
    assert_eq!(wallet.transfer(batch(0)).await.unwrap(), [Done; 8]);
    let mut root = root(&part).await;
    root.execute("SET GLOBAL read_only = 1").await.unwrap();
    let error = wallet.transfer(batch(1)).await.unwrap_err();
    assert!(matches!(&error, WalletError::Unavailable(reason) if reason.contains("read-only")), "{error:?}");
    root.execute("SET GLOBAL read_only = 0").await.unwrap();
    assert_eq!(wallet.transfer(batch(1)).await.unwrap(), [Done; 8]);
    assert_eq!(audited(&*wallet).await, 16);
}

#[tokio::test]
async fn a_caller_who_meets_a_damaged_row_does_not_fail_its_neighbours() {
    let (part, wallet) = own(Duration::from_secs(5)).await;
    assert_eq!(wallet.transfer(vec![top_up(0, "ann", 1)]).await.unwrap(), [Done]);
    let mut root = root(&part).await;
    let shard = wallet.accounts(None, u32::MAX, &Boundaries::default()).await.unwrap();
    let holder = shard.iter().take_while(|row| row.account != "ann").filter(|row| row.is_of_system()).last().unwrap();
    let (_, number) = holder.account.split_once('/').unwrap();
    let damage = format!(
        "DROP TRIGGER wallet_{number}.transfer_refuses_update; SET SESSION check_constraint_checks = 0; \
         UPDATE wallet_{number}.transfer SET kind = 77"
    );
    root.execute(sqlx::raw_sql(&damage)).await.unwrap();

    // While the shard is locked the calls gather, and then run as one transaction.
    root.execute("START TRANSACTION").await.unwrap();
    root.execute(sqlx::raw_sql(&format!("SELECT * FROM wallet_{number}.ledger FOR UPDATE"))).await.unwrap();
    let mut tasks = Vec::new();
    for place in [50, 51, 0, 52] {
        let wallet = Arc::clone(&wallet);
        tasks.push((place, tokio::spawn(async move { wallet.transfer(vec![top_up(place, "ann", 1)]).await })));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    root.execute("ROLLBACK").await.unwrap();
    for (place, task) in tasks {
        match task.await.unwrap() {
            Ok(outcomes) => assert!(place != 0 && outcomes == [Done], "{place}"),
            Err(error) => assert!(place == 0 && matches!(error, WalletError::Damaged(_)), "{place}: {error:?}"),
        }
    }
}
