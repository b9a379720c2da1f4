//! Which database holds what, and what a database refuses.

use hongbao_core::{Slot, Traffic, TransferOutcome};
use hongbao_database::row::StoredRow as _;
use hongbao_testkit::wallet_suite::{top_up, unavailable};
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet, migrate};
use hongbao_wallet::{Wallet as _, WalletReads as _};

use crate::common::{DATABASES, audited, empty_homes, no_homes, options, shared_nodes, sql, try_sql};

#[tokio::test]
async fn the_books_of_each_shard_balance_by_themselves() {
    let (homes, _guard) = empty_homes().await;
    let wallet = MysqlWallet::open(homes, DATABASES).await.unwrap();
    let batch: Vec<_> = (0..1_000).map(|number| top_up(number, &format!("user_{number}"), 1)).collect();
    assert_eq!(wallet.transfer(batch).await.unwrap(), vec![TransferOutcome::Done; 1_000]);
    for database in 0..DATABASES {
        let text = format!(
            "SELECT COUNT(*), MAX(position), CAST(SUM(amount_fen) AS SIGNED), \
             (SELECT -top_ups_fen FROM wallet_{database:02}.ledger) FROM wallet_{database:02}.transfer"
        );
        let rows = sql(&shared_nodes(), &text).await;
        let count = rows[0].int(0).unwrap();
        assert!(count > 150, "user ids spread over the shards: {count} of 1000 are in {database}");
        assert_eq!([1, 2, 3].map(|column| rows[0].int(column).unwrap()), [count; 3]);
    }
    assert_eq!(audited(&wallet).await, 1_000);
}

#[tokio::test]
async fn slots_may_lie_in_several_homes() {
    let (_, _guard) = no_homes().await;
    let nodes = shared_nodes();
    // Even slots fold to even databases, so the two homes can be one server here.
    let home = |odd: u8| DatabaseServer {
        options: options(&nodes),
        slots: Slot::all().filter(|slot| slot.number() % 2 == odd).collect(),
        traffic: Traffic::Live,
    };
    let homes = vec![home(1), home(0)];
    migrate(&homes, DATABASES).await.unwrap();
    let wallet = MysqlWallet::open(homes, DATABASES).await.unwrap();
    let batch: Vec<_> = (0..100).map(|number| top_up(number, &format!("user_{number}"), 1)).collect();
    assert_eq!(wallet.transfer(batch.clone()).await.unwrap(), [TransferOutcome::Done; 100]);
    let ids: Vec<_> = batch.iter().map(|transfer| transfer.id).collect();
    assert_eq!(wallet.find(&ids).await.unwrap().len(), 100);
    assert_eq!(wallet.ping().await.unwrap().len(), 2);
    assert!(wallet.durability().full);
    assert_eq!(audited(&wallet).await, 100);
}

#[tokio::test]
async fn databases_that_were_made_for_other_slots_are_refused() {
    let (homes, _guard) = empty_homes().await;
    for databases in [1, 2, 10] {
        let reason = unavailable(MysqlWallet::open(homes.clone(), databases).await);
        assert!(reason.contains("was made as number 0 of 4 databases"), "{reason}");
        assert!(unavailable(migrate(&homes, databases).await).contains("was made as number 0"));
    }
    let mut fewer = homes.clone();
    fewer[0].slots.pop();
    assert!(unavailable(MysqlWallet::open(fewer, DATABASES).await).contains("slot 99 is held by no wallet"));
}

#[tokio::test]
async fn databases_that_are_not_complete_are_refused() {
    let (homes, _guard) = no_homes().await;
    migrate(&homes, DATABASES).await.unwrap();
    sql(&shared_nodes(), "UPDATE wallet_02.meta SET version = 0").await;
    let reason = unavailable(MysqlWallet::open(homes.clone(), DATABASES).await);
    assert!(reason.contains("wallet_02") && reason.contains("hongbao migrate"), "{reason}");
    sql(&shared_nodes(), "UPDATE wallet_02.meta SET version = 1000").await;
    assert!(unavailable(MysqlWallet::open(homes.clone(), DATABASES).await).contains("newer version"));
    sql(&shared_nodes(), "DROP DATABASE wallet_02").await;
    assert!(unavailable(MysqlWallet::open(homes.clone(), DATABASES).await).contains("hongbao migrate"));
    migrate(&homes, DATABASES).await.unwrap();
    MysqlWallet::open(homes, DATABASES).await.unwrap();
}

#[tokio::test]
async fn a_table_of_another_engine_is_refused_by_name() {
    let (homes, _guard) = no_homes().await;
    migrate(&homes, DATABASES).await.unwrap();
    sql(&shared_nodes(), "ALTER TABLE wallet_01.ledger ENGINE=MyISAM").await;
    for reason in
        [unavailable(MysqlWallet::open(homes.clone(), DATABASES).await), unavailable(migrate(&homes, DATABASES).await)]
    {
        assert!(reason.contains("wallet_01.ledger must be of the engine InnoDB"), "{reason}");
    }
}

#[tokio::test]
async fn several_processes_may_migrate_at_once_and_again() {
    let (homes, _guard) = no_homes().await;
    let tasks: Vec<_> = (0..4)
        .map(|_| {
            let homes = homes.clone();
            tokio::spawn(async move { migrate(&homes, DATABASES).await })
        })
        .collect();
    for task in tasks {
        task.await.unwrap().unwrap();
    }
    let wallet = MysqlWallet::open(homes.clone(), DATABASES).await.unwrap();
    assert_eq!(wallet.transfer(vec![top_up(1, "ann", 5)]).await.unwrap(), [TransferOutcome::Done]);
    migrate(&homes, DATABASES).await.unwrap();
    assert_eq!(audited(&wallet).await, 5);
}

#[tokio::test]
async fn the_database_refuses_to_change_or_delete_a_transfer() {
    let (homes, _guard) = empty_homes().await;
    let wallet = MysqlWallet::open(homes, DATABASES).await.unwrap();
    let batch = (0..40).map(|number| top_up(number, &format!("user_{number}"), 1)).collect();
    wallet.transfer(batch).await.unwrap();
    for attempt in ["UPDATE wallet_01.transfer SET amount_fen = 6", "DELETE FROM wallet_01.transfer"] {
        let error = try_sql(&shared_nodes(), attempt).await.unwrap_err().to_string();
        assert!(error.contains("transfers are append-only"), "{attempt}: {error}");
    }
    assert_eq!(audited(&wallet).await, 40);
}

#[tokio::test]
async fn the_database_refuses_rows_that_break_the_rules() {
    let (_homes, _guard) = empty_homes().await;
    for values in [
        "(1, x'01', '#clearing', 1, 5, 5, 0)",
        "(1, x'01', 'ann', 11, 5, 5, 0)",
        "(1, x'01', 'ann', 1, -5, 5, 0)",
        "(1, x'01', 'ann', 2, 5, -5, 0)",
        "(1, x'01', 'ann', 5, 5, 5, 0)",
    ] {
        let error = try_sql(&shared_nodes(), &format!("INSERT INTO wallet_00.transfer VALUES {values}")).await;
        let error = error.unwrap_err().to_string();
        // MariaDB, MySQL.
        let says = [["CONSTRAINT", "failed"], ["Check constraint", "is violated"]];
        assert!(says.iter().any(|words| words.iter().all(|word| error.contains(word))), "{values}: {error}");
    }
}

#[tokio::test]
async fn a_user_of_the_same_shard_meets_a_conflict_and_one_of_another_does_not() {
    let (homes, _guard) = empty_homes().await;
    let wallet = MysqlWallet::open(homes, DATABASES).await.unwrap();
    let batch: Vec<_> = (0..50).map(|number| top_up(1, &format!("user_{number}"), 1)).collect();
    let outcomes = wallet.transfer(batch).await.unwrap();
    let done = outcomes.iter().filter(|outcome| **outcome == TransferOutcome::Done).count();
    assert_eq!(done, usize::from(DATABASES), "one in each shard");
    assert!(outcomes.iter().all(|outcome| matches!(outcome, TransferOutcome::Done | TransferOutcome::Conflict)));
    assert_eq!(audited(&wallet).await, i128::from(DATABASES));
}

/// What it found done may be another's commit that is seen and not yet on the
/// disk; its own commit, which writes, takes that one along.
#[tokio::test]
async fn a_transaction_that_finds_everything_done_commits_a_write() {
    let (homes, _guard) = empty_homes().await;
    let wallet = MysqlWallet::open(homes, DATABASES).await.unwrap();
    let mut transactions = Vec::new();
    for expected in [TransferOutcome::Done, TransferOutcome::AlreadyDone] {
        assert_eq!(wallet.transfer(vec![top_up(1, "ann", 5)]).await.unwrap(), [expected]);
        let counted = (0..DATABASES).map(|database| format!("SELECT transactions FROM wallet_{database:02}.ledger"));
        let rows = sql(&shared_nodes(), &counted.collect::<Vec<_>>().join(";")).await;
        transactions.push(rows.iter().map(|row| row.int(0).unwrap()).sum::<i64>());
    }
    assert_eq!(transactions[0] + 1, transactions[1]);
}
