//! The behaviours of a wallet on SQLite, and what is particular to a file.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::{TransferOutcome, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_testkit::wallet_suite::{top_up, unavailable};
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_wallet::{Boundaries, Wallet, WalletError, WalletReads as _, WalletScans as _};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection as _, Executor as _};
use tempfile::TempDir;

async fn empty() -> (Arc<dyn Wallet>, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Arc::new(SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap()), dir)
}

hongbao_testkit::wallet_behaviours!(empty);

/// A connection beside the wallet's own.
async fn beside(dir: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(dir.join("wallet_00.sqlite"));
    SqliteConnection::connect_with(&options).await.unwrap()
}

#[tokio::test]
async fn commits_are_flushed_unless_the_mode_says_otherwise() {
    let dir = tempfile::tempdir().unwrap();
    let wallet = SqliteWallet::open(dir.path(), Mode::Durable).await.unwrap();
    assert_eq!(wallet.durability().settings, "journal_mode=wal synchronous=FULL");
    assert!(wallet.durability().full);
    let dir = tempfile::tempdir().unwrap();
    assert!(!SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap().durability().full);
}

#[tokio::test]
async fn one_file_is_one_shard() {
    let (wallet, _dir) = empty().await;
    let batch = vec![top_up(1, "bob", 5), top_up(2, "ann", 7), top_up(1, "ann", 5)];
    let outcomes = wallet.transfer(batch.clone()).await.unwrap();
    assert_eq!(outcomes, [TransferOutcome::Done, TransferOutcome::Done, TransferOutcome::Conflict]);
    let posted = wallet.scan(0, 10).await.unwrap();
    assert_eq!(posted.into_iter().map(|posted| posted.transfer).collect::<Vec<_>>(), batch[..2]);
    let accounts = wallet.accounts(None, 10, &Boundaries::default()).await.unwrap();
    let names: Vec<&str> = accounts.iter().map(|row| row.account.as_str()).collect();
    assert_eq!(names, ["#clearing", "#payouts", "#provider", "#top_ups", "ann", "bob"]);
}

#[tokio::test]
async fn reopening_keeps_everything() {
    let dir = tempfile::tempdir().unwrap();
    for turn in 0..3 {
        let wallet = SqliteWallet::open(dir.path(), Mode::Durable).await.unwrap();
        let outcomes = wallet.transfer(vec![top_up(1, "ann", 5), top_up(10 + turn, "ann", 7)]).await.unwrap();
        let first = if turn == 0 { TransferOutcome::Done } else { TransferOutcome::AlreadyDone };
        assert_eq!(outcomes, [first, TransferOutcome::Done]);
        assert_eq!(wallet.scan(0, 10).await.unwrap().len(), 2 + turn as usize);
    }
    let wallet = SqliteWallet::open(dir.path(), Mode::ReadOnly).await.unwrap();
    assert_eq!(wallet.balance(&UserId::parse("ann").unwrap()).await.unwrap().get(), 5 + 3 * 7);
}

/// Nothing moves, and nobody has to guess what is missing.
#[tokio::test]
async fn a_missing_system_account_is_named_by_whoever_needs_it() {
    let system = ["#clearing", "#payouts", "#provider", "#top_ups"];
    for missing in system {
        let (wallet, dir) = empty().await;
        wallet.transfer(vec![top_up(1, "ann", 5)]).await.unwrap();
        let removal = format!("DELETE FROM system_account WHERE account = '{missing}'");
        beside(dir.path()).await.execute(removal.as_str()).await.unwrap();
        let refused = wallet.transfer(vec![top_up(2, "ann", 5)]).await.unwrap_err();
        for error in [refused, wallet.books().await.unwrap_err()] {
            assert!(matches!(&error, WalletError::Damaged(reason) if reason.contains(missing)), "{error}");
        }
        let accounts = wallet.accounts(None, 10, &Boundaries::default()).await.unwrap();
        let stored: Vec<_> = accounts.iter().map(|row| (row.account.as_str(), row.balance_fen.is_some())).collect();
        let there = system.iter().chain(&["ann"]).map(|account| (*account, *account != missing));
        assert_eq!(stored, there.collect::<Vec<_>>());
        assert_eq!(wallet.scan(0, 10).await.unwrap().len(), 1, "nothing was written");
    }
}

#[tokio::test]
async fn the_database_refuses_to_change_or_delete_a_transfer() {
    let (wallet, dir) = empty().await;
    wallet.transfer(vec![top_up(1, "ann", 5)]).await.unwrap();
    let mut beside = beside(dir.path()).await;
    for attempt in [
        "UPDATE transfer SET amount_fen = 6",
        "UPDATE transfer SET at_ms = 6 WHERE position = 1",
        "DELETE FROM transfer",
        "DELETE FROM transfer WHERE position = 1",
    ] {
        let error = beside.execute(attempt).await.unwrap_err().to_string();
        assert!(error.contains("transfers are append-only"), "{attempt}: {error}");
    }
    assert_eq!(wallet.scan(0, 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_database_refuses_rows_that_break_the_rules() {
    let (_wallet, dir) = empty().await;
    let mut beside = beside(dir.path()).await;
    let columns = "(id, user_id, kind, amount_fen, balance_fen, at_ms)";
    for (values, rule) in [
        ("(x'01', '#clearing', 1, 5, 5, 0)", "user_id"),
        ("(x'01', 'ann', 11, 5, 5, 0)", "kind"),
        ("(x'01', 'ann', 1, -5, 5, 0)", "amount_fen"),
        ("(x'01', 'ann', 2, 5, -5, 0)", "balance_fen"),
        ("(x'01', 'ann', 5, 5, 5, 0)", "amount_fen"),
    ] {
        let insert = format!("INSERT INTO transfer {columns} VALUES {values}");
        let error = beside.execute(insert.as_str()).await.unwrap_err().to_string();
        assert!(error.contains("CHECK") && error.contains(rule), "{values}: {error}");
    }
}

#[tokio::test]
async fn a_full_queue_answers_busy_at_once_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let wallet = Arc::new(SqliteWallet::open_with_queue(dir.path(), Mode::Volatile, 2).await.unwrap());
    let mut lock = beside(dir.path()).await;
    lock.execute("BEGIN IMMEDIATE").await.unwrap();
    let mut tasks = Vec::new();
    for number in 0..3 {
        let wallet = Arc::clone(&wallet);
        tasks.push(tokio::spawn(async move { wallet.transfer(vec![top_up(number, "ann", 1)]).await }));
        // The first is taken by the writer, which waits for the lock; two fill the queue.
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(wallet.queue_depth(), 2);
    assert!(matches!(wallet.transfer(vec![top_up(9, "ann", 1)]).await, Err(WalletError::Busy)));
    assert_eq!(wallet.queue_depth(), 2);
    lock.execute("ROLLBACK").await.unwrap();
    for task in tasks {
        assert_eq!(task.await.unwrap().unwrap(), [TransferOutcome::Done]);
    }
    assert_eq!(wallet.queue_depth(), 0);
    assert_eq!(wallet.transfer(vec![top_up(9, "ann", 1)]).await.unwrap(), [TransferOutcome::Done]);
}

#[tokio::test]
async fn another_process_reads_while_the_wallet_writes() {
    let (wallet, dir) = empty().await;
    let reader = SqliteWallet::open(dir.path(), Mode::ReadOnly).await.unwrap();
    let writing = tokio::spawn(async move {
        for number in 0..200 {
            wallet.transfer(vec![top_up(number, &format!("user_{}", number % 9), 3)]).await.unwrap();
        }
    });
    while !writing.is_finished() {
        // Each page is of one moment: never a balance without its transfers.
        for row in reader.accounts(None, 100, &Boundaries::default()).await.unwrap() {
            assert_eq!(row.balance_fen.map(i128::from), Some(row.transfers_sum_fen), "{}", row.account);
        }
        assert_eq!(reader.books().await.unwrap().check(), None);
    }
    writing.await.unwrap();
    assert_eq!(reader.books().await.unwrap().top_ups_fen, 600);
}

#[tokio::test]
async fn a_read_only_wallet_moves_no_money() {
    let (_wallet, dir) = empty().await;
    let reader = SqliteWallet::open(dir.path(), Mode::ReadOnly).await.unwrap();
    assert!(unavailable(reader.transfer(vec![top_up(1, "ann", 1)]).await).contains("read-only"));
}

#[tokio::test]
async fn a_ledger_that_is_missing_is_not_made_by_reading() {
    let dir = tempfile::tempdir().unwrap();
    assert!(unavailable(SqliteWallet::open(dir.path(), Mode::ReadOnly).await).contains("wallet_00.sqlite"));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_file_that_is_no_ledger_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("wallet_00.sqlite"), "a letter to my mother, ".repeat(100)).unwrap();
    for mode in [Mode::ReadOnly, Mode::Durable] {
        assert!(unavailable(SqliteWallet::open(dir.path(), mode).await).contains("not a database"));
    }
}

#[tokio::test]
async fn what_a_newer_version_has_written_is_refused() {
    let (_wallet, dir) = empty().await;
    let newer = "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
         VALUES (9999, 'from the future', TRUE, x'00', 0)";
    beside(dir.path()).await.execute(newer).await.unwrap();
    for mode in [Mode::ReadOnly, Mode::Durable] {
        let reason = unavailable(SqliteWallet::open(dir.path(), mode).await);
        assert!(reason.contains("version") || reason.contains("9999"), "{reason}");
    }
}
