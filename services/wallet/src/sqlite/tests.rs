//! Faults that can only be made from inside: what fails says so, nothing that
//! was acknowledged is missing, and the wallet goes on when the fault is over.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::Transfer;
use hongbao_core::TransferOutcome::{AlreadyDone, Done};
use hongbao_database::sqlite::file::Mode;
use sqlx::{Executor as _, Row as _};
use tempfile::TempDir;

use super::SqliteWallet;
use crate::{Wallet as _, WalletError, WalletScans as _};
use hongbao_testkit::wallet_suite::top_up;

async fn empty() -> (Arc<SqliteWallet>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(SqliteWallet::open(dir.path(), Mode::Durable).await.unwrap()), dir)
}

fn batch(numbers: std::ops::Range<u64>) -> Vec<Transfer> {
    numbers.map(|number| top_up(number, &format!("user_{number}"), 1)).collect()
}

async fn on_the_writer(wallet: &SqliteWallet, sql: &str) {
    wallet.file.writer().await.unwrap().execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_is_an_error_and_loses_nothing() {
    let (wallet, dir) = empty().await;
    assert_eq!(wallet.transfer(batch(0..10)).await.unwrap(), [Done; 10]);
    let pages: i64 =
        sqlx::query("PRAGMA page_count").fetch_one(&mut *wallet.file.writer().await.unwrap()).await.unwrap().get(0);
    on_the_writer(&wallet, &format!("PRAGMA max_page_count = {}", pages + 1)).await;
    let mut written = 10;
    let error = loop {
        match wallet.transfer(batch(written..written + 10)).await {
            Ok(outcomes) => written += outcomes.len() as u64,
            Err(error) => break error,
        }
    };
    assert!(matches!(&error, WalletError::Unavailable(reason) if reason.contains("full")), "{error:?}");
    assert_eq!(wallet.scan(0, u32::MAX).await.unwrap().len() as u64, written);
    assert_eq!(wallet.books().await.unwrap().top_ups_fen, i128::from(written));

    on_the_writer(&wallet, "PRAGMA max_page_count = 1000000").await;
    assert_eq!(wallet.transfer(batch(written..written + 10)).await.unwrap(), [Done; 10]);
    drop(wallet);
    let reopened = SqliteWallet::open(dir.path(), Mode::ReadOnly).await.unwrap();
    assert_eq!(reopened.scan(0, u32::MAX).await.unwrap().len() as u64, written + 10);
}

#[tokio::test]
async fn a_file_that_became_read_only_is_an_error_and_loses_nothing() {
    let (wallet, _dir) = empty().await;
    assert_eq!(wallet.transfer(batch(0..3)).await.unwrap(), [Done; 3]);
    on_the_writer(&wallet, "PRAGMA query_only = ON").await;
    let error = wallet.transfer(batch(3..6)).await.unwrap_err();
    assert!(matches!(&error, WalletError::Unavailable(reason) if reason.contains("readonly")), "{error:?}");
    assert_eq!(wallet.scan(0, 10).await.unwrap().len(), 3);
    on_the_writer(&wallet, "PRAGMA query_only = OFF").await;
    assert_eq!(wallet.transfer(batch(2..6)).await.unwrap(), [AlreadyDone, Done, Done, Done]);
}

#[tokio::test]
async fn a_lock_that_is_not_given_up_is_an_error_and_nothing_is_written() {
    let (wallet, dir) = empty().await;
    on_the_writer(&wallet, "PRAGMA busy_timeout = 50").await;
    let other = SqliteWallet::open(dir.path(), Mode::Durable).await.unwrap();
    on_the_writer(&other, "BEGIN IMMEDIATE").await;
    let error = wallet.transfer(batch(0..3)).await.unwrap_err();
    assert!(matches!(&error, WalletError::Unavailable(reason) if reason.contains("locked")), "{error:?}");
    on_the_writer(&other, "ROLLBACK").await;
    assert_eq!(wallet.transfer(batch(0..3)).await.unwrap(), [Done; 3]);
}

#[tokio::test]
async fn a_commit_that_fails_is_unknown_and_asking_again_settles_it() {
    let (wallet, _dir) = empty().await;
    wallet.file.writer().await.unwrap().lock_handle().await.unwrap().set_commit_hook(|| false);
    let error = wallet.transfer(batch(0..3)).await.unwrap_err();
    assert!(matches!(&error, WalletError::Unknown(_)), "{error:?}");
    wallet.file.writer().await.unwrap().lock_handle().await.unwrap().remove_commit_hook();
    assert_eq!(wallet.transfer(batch(0..3)).await.unwrap(), [Done; 3]);
}

#[tokio::test]
async fn a_caller_who_meets_a_damaged_row_does_not_fail_its_neighbours() {
    let (wallet, _dir) = empty().await;
    assert_eq!(wallet.transfer(batch(0..1)).await.unwrap(), [Done]);
    let damage = "DROP TRIGGER transfer_refuses_update; PRAGMA ignore_check_constraints = ON; \
         UPDATE transfer SET kind = 77; PRAGMA ignore_check_constraints = OFF";
    on_the_writer(&wallet, damage).await;

    // While the writer is held, the calls gather, and then run as one transaction.
    let held = wallet.file.writer().await.unwrap();
    let mut tasks = Vec::new();
    for number in [50, 51, 0, 52, 53] {
        let wallet = Arc::clone(&wallet);
        tasks.push(tokio::spawn(async move { wallet.transfer(batch(number..number + 1)).await }));
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    drop(held);
    for (place, task) in tasks.into_iter().enumerate() {
        match task.await.unwrap() {
            Ok(outcomes) => assert!(place != 2 && outcomes == [Done]),
            Err(error) => assert!(place == 2 && matches!(error, WalletError::Damaged(_)), "{place}: {error:?}"),
        }
    }
}
