//! What was promised at the start is changed under a running service: it is
//! noticed within seconds, nothing is committed until it is put right, and then it
//! goes on by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::Envelope;
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::mysql::MysqlStore;
use hongbao_store::mysql::migrate;
use hongbao_store::{Append, Store, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{journal_of, through};
use sqlx::Executor as _;

use crate::common::{entries, layout_of, make_large, options, own, own_with, root};

/// How long a busy machine may take to notice what is read once a second.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

/// Waits until commits are refused, or not.
async fn until_refused(store: &Arc<dyn Store>, refused: bool) -> String {
    let began = Instant::now();
    loop {
        let refusal = store.refusal();
        if refusal.is_some() == refused {
            return refusal.unwrap_or_default();
        }
        assert!(began.elapsed() < NOTICED_WITHIN, "it is not noticed: {refusal:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Every verb says why nothing is committed.
async fn refuses(store: &Arc<dyn Store>, envelope: &Envelope, why: &str) {
    let append = store.append(&entries(envelope, 1..=1, "refused")).await.map(|_| ());
    let others = [
        append,
        store.create(std::slice::from_ref(envelope)).await,
        store.activate(envelope.id, envelope.created_at).await.map(|_| ()),
        store.load(envelope.id).await.map(|_| ()),
    ];
    for outcome in others {
        assert!(matches!(&outcome, Err(StoreError::Unavailable(reason)) if reason.contains(why)), "{outcome:?}");
    }
}

/// It may have been decided on what a connection that was closed had shown.
async fn goes_on(store: &Arc<dyn Store>, envelope: &Envelope, seq: u32) {
    for _ in 0..2 {
        if store.append(&entries(envelope, seq..=seq, "goes_on")).await.unwrap() == Append::Done {
            return;
        }
    }
    panic!("it is fenced again and again");
}

#[tokio::test]
async fn durability_that_is_switched_off_under_load_is_noticed_refused_and_taken_back_i3() {
    let (part, store) = own(&["--log-bin", "--sync-binlog=1"], Duration::from_secs(5)).await;
    let mut root = root(&part).await;
    let envelope = make_large(&store, 0).await;
    let mut seq = 0;
    for (weak, full) in [
        ("innodb_flush_log_at_trx_commit = 0", "innodb_flush_log_at_trx_commit = 1"),
        ("innodb_flush_log_at_trx_commit = 2", "innodb_flush_log_at_trx_commit = 1"),
        ("sync_binlog = 0", "sync_binlog = 1"),
    ] {
        assert!(store.durability().full);
        root.execute(sqlx::raw_sql(&format!("SET GLOBAL {weak}"))).await.unwrap();
        let reason = until_refused(&store, true).await;
        let name = weak.split(' ').next().expect("it has a name");
        assert!(reason.contains(name) && reason.contains("allow_weak_durability"), "{reason}");
        assert!(!store.durability().full && store.durability().settings.contains(&weak.replace(' ', "")));
        refuses(&store, &envelope, name).await;
        assert_eq!(root.fetch_all("SELECT 1 FROM db_00.entry_0_17").await.unwrap().len(), seq as usize);

        root.execute(sqlx::raw_sql(&format!("SET GLOBAL {full}"))).await.unwrap();
        until_refused(&store, false).await;
        assert!(store.durability().full);
        seq += 1;
        goes_on(&store, &envelope, seq).await;
    }
    assert_eq!(journal_of(&store, envelope.id).await.len(), seq as usize);
}

#[tokio::test]
async fn durability_that_may_be_weak_is_shown_as_it_is_now_and_refuses_nothing() {
    let bounds = MysqlOptions { allow_weak_durability: true, ..MysqlOptions::default() };
    let (mut part, store) = own_with(&[], bounds).await;
    let envelope = make_large(&store, 0).await;
    assert!(store.durability().full);
    let shows = async |full: bool| {
        let began = Instant::now();
        while store.durability().full != full {
            assert!(began.elapsed() < NOTICED_WITHIN, "{:?}", store.durability());
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    root(&part).await.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 2").await.unwrap();
    shows(false).await;
    goes_on(&store, &envelope, 1).await;
    assert_eq!(store.refusal(), None);
    // Started anew it has what its configuration says.
    part.restart();
    shows(true).await;
}

#[tokio::test]
async fn when_only_a_weak_node_is_left_that_is_refused_and_shown() {
    let (mut full, weak) = (Part::mariadb(&[]), Part::mariadb(&["--innodb-flush-log-at-trx-commit=2"]));
    let strict = options(&[full.node(), weak.node()]);
    migrate(strict.clone(), &layout_of(1, 1), through()).await.unwrap();
    let store: Arc<dyn Store> = Arc::new(MysqlStore::open(strict, layout_of(1, 1)).await.unwrap());
    let envelope = make_large(&store, 0).await;
    assert!(store.durability().full);
    full.kill();
    until_refused(&store, true).await;
    assert!(!store.durability().full, "it is not what it was on the other node");
    refuses(&store, &envelope, "innodb_flush_log_at_trx_commit=2").await;
    full.restart();
    until_refused(&store, false).await;
    goes_on(&store, &envelope, 1).await;
}

/// Durability counts on each node that is used: the one that keeps its promise serves.
#[tokio::test]
async fn where_another_node_is_durable_it_takes_the_place_of_one_that_is_not_any_more() {
    let (first, second) = (Part::mariadb(&[]), Part::mariadb(&[]));
    for part in [&first, &second] {
        migrate(options(&[part.node()]), &layout_of(1, 1), through()).await.unwrap();
    }
    let both = options(&[first.node(), second.node()]);
    let store: Arc<dyn Store> = Arc::new(MysqlStore::open(both, layout_of(1, 1)).await.unwrap());
    make_large(&store, 0).await;
    let epoch = store.epoch(0);
    root(&first).await.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 0").await.unwrap();
    let began = Instant::now();
    let mut second = root(&second).await;
    let connected = "SELECT 1 FROM information_schema.processlist WHERE user = 'hongbao'";
    while second.fetch_all(connected).await.unwrap().is_empty() {
        assert!(began.elapsed() < NOTICED_WITHIN);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let envelope = make_large(&store, 1).await;
    // The connection that appends follows, and what it wrote to the other node is not trusted: the append is
    // fenced, unless that connection was looked after and has followed before it.
    let has_followed = store.epoch(0) != epoch;
    match store.append(&entries(&envelope, 1..=1, "moved")).await.unwrap() {
        Append::Fenced => goes_on(&store, &envelope, 1).await,
        Append::Done => assert!(has_followed, "it was written on a memory of the other node"),
    }
    assert_ne!(store.epoch(0), epoch);
    assert_eq!(second.fetch_all("SELECT 1 FROM db_00.entry_0_17").await.unwrap().len(), 1);
    assert!(store.durability().full && store.refusal().is_none());
}

#[tokio::test]
async fn a_database_that_is_changed_under_a_running_service_is_refused_by_name() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let mut root = root(&part).await;
    let envelope = make_large(&store, 0).await;
    let mut seq = 0;
    for (change, back, reason) in [
        (
            "ALTER TABLE db_00.entry_0_05 ENGINE = Aria",
            "ALTER TABLE db_00.entry_0_05 ENGINE = InnoDB",
            "db_00.entry_0_05",
        ),
        (
            "UPDATE db_00.meta SET version = version + 100",
            "UPDATE db_00.meta SET version = version - 100",
            "newer version",
        ),
        (
            "ALTER TABLE db_00.entry_0_05 DROP KEY one_share_a_user",
            "ALTER TABLE db_00.entry_0_05 ADD UNIQUE KEY one_share_a_user (envelope_id, user_id)",
            "db_00.entry_0_05 is not there or has no unique key (envelope_id,user_id)",
        ),
        (
            "RENAME TABLE db_00.entry_0_06 TO db_00.moved",
            "RENAME TABLE db_00.moved TO db_00.entry_0_06",
            "db_00.entry_0_06 is not there",
        ),
        ("UPDATE db_00.meta SET db_number = 7", "UPDATE db_00.meta SET db_number = 0", "was made as number 7"),
    ] {
        root.execute(sqlx::raw_sql(change)).await.unwrap();
        let refusal = until_refused(&store, true).await;
        assert!(refusal.contains(reason), "{refusal}");
        assert!(!store.durability().full && store.durability().settings.contains(reason));
        refuses(&store, &envelope, reason).await;
        root.execute(sqlx::raw_sql(back)).await.unwrap();
        until_refused(&store, false).await;
        seq += 1;
        goes_on(&store, &envelope, seq).await;
    }
}
