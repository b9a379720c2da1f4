//! A row that can be read is not yet a row that survives: what a barrier is worth
//! while the redo log of a real MariaDB stalls, and when that MariaDB is killed.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::limits::CONNECTION_IDLE_MS_MAX;
use hongbao_core::{Envelope, EnvelopeId, Stage};
use hongbao_database::DatabaseError;
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_database::{Reading, durably};
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_store::{Append, Store, StoreError};
use hongbao_testbed::{LogStall, Part};
use hongbao_testkit::store_suite::{DAY_MS, NOW, created, id_at, ids, make_active, through, write};
use tokio::task::JoinHandle;

use crate::common::{self, entries, layout_of, options, own_that_stalls, own_that_stalls_with};

/// For a statement: far beyond what a stall takes here.
const PATIENT: Duration = Duration::from_secs(30);
/// Long beyond the time that a commit takes on a busy machine.
const WHILE: Duration = Duration::from_millis(700);

/// A second process's store on the same database.
async fn other(part: &Part) -> Arc<dyn Store> {
    other_with(part, layout_of(1, 1)).await
}

/// The same, on these databases.
async fn other_with(part: &Part, layout: Layout) -> Arc<dyn Store> {
    let options = MysqlOptions { statement_timeout: PATIENT, ..options(&[part.node()]) };
    Arc::new(MysqlStore::open(options, layout).await.unwrap())
}

/// Passes one barrier, so that its connection is there.
async fn passed(store: &Arc<dyn Store>) {
    while Reading::begin(&**store).end(()).await.unwrap().is_none() {}
}

/// An opening that can be read, and that waits for the log to be durable.
async fn visible_opening(
    part: &Part,
    store: &Arc<dyn Store>,
    writer: &Arc<dyn Store>,
    envelope: &Envelope,
    seq: u32,
) -> (LogStall, JoinHandle<Result<Append, StoreError>>) {
    let stall = part.stall_log();
    let (writer, opening) = (writer.clone(), entries(envelope, seq..=seq, "opener"));
    let commit = tokio::spawn(async move { writer.append(&opening).await });
    while store.entries(envelope.id, seq - 1, 1).await.unwrap().is_empty() {}
    (stall, commit)
}

async fn barrier_commits(part: &Part) -> u64 {
    part.sql("SELECT COALESCE(SUM(commits), 0) FROM db_00.barrier").trim().parse().unwrap()
}

/// The same over two databases.
async fn barrier_commits_of_both(part: &Part) -> u64 {
    let of = |database| format!("SELECT commits FROM {database}.barrier");
    let both = format!("{} UNION ALL {}", of("db_00"), of("db_01"));
    part.sql(&format!("SELECT COALESCE(SUM(commits), 0) FROM ({both}) rows_of_both")).trim().parse().unwrap()
}

async fn journal_length(store: &Arc<dyn Store>, id: EnvelopeId) -> usize {
    store.entries(id, 0, 100).await.unwrap().len()
}

#[tokio::test]
async fn what_was_read_is_durable_only_when_the_log_has_reached_the_disk() {
    let (part, store) = own_that_stalls(PATIENT).await;
    let writer = other(&part).await;
    let envelope = make_active(&store, id_at(NOW, 1)).await;
    passed(&store).await;
    let (stall, commit) = visible_opening(&part, &store, &writer, &envelope, 1).await;

    let id = envelope.id;
    let reader = store.clone();
    let read = tokio::spawn(async move { durably::<_, StoreError, _>(&*reader, || reader.load(id)).await });
    tokio::time::sleep(WHILE).await;
    assert!(!read.is_finished(), "it could be read, and a crash would have taken it back");
    drop(stall);
    let (_, fold) = read.await.unwrap().unwrap().expect("it exists").into_inner();
    assert_eq!(fold.last_seq, 1);
    assert_eq!(commit.await.unwrap().unwrap(), Append::Done);
}

/// The first naive barrier: an update that sets a column to what it holds.
#[tokio::test]
async fn a_commit_that_changes_nothing_does_not_wait_for_the_log() {
    let (part, store) = own_that_stalls(PATIENT).await;
    let writer = other(&part).await;
    let envelope = make_active(&store, id_at(NOW, 1)).await;
    passed(&store).await;
    let (stall, commit) = visible_opening(&part, &store, &writer, &envelope, 1).await;
    part.sql("UPDATE db_00.barrier SET commits = commits");
    assert!(!commit.is_finished(), "the log stalls all the while");
    drop(stall);
    commit.await.unwrap().unwrap();
}

/// The second naive barrier: a commit that changes something, on the server that
/// was started anew. It succeeds, and what had been read is gone.
#[tokio::test]
async fn what_was_read_before_a_restart_is_void() {
    let (mut part, store) = own_that_stalls(PATIENT).await;
    let writer = other(&part).await;
    let envelope = make_active(&store, id_at(NOW, 1)).await;
    passed(&store).await;

    let reading = Reading::begin(&*store);
    let (stall, commit) = visible_opening(&part, &store, &writer, &envelope, 1).await;
    assert_eq!(journal_length(&store, envelope.id).await, 1, "it was seen");
    part.kill();
    drop(stall);
    part.restart();
    assert!(commit.await.unwrap().is_err(), "nobody was told that it is durable");
    part.sql("UPDATE db_00.barrier SET commits = commits + 1");

    match reading.end(()).await {
        Ok(None) | Err(_) => {}
        Ok(Some(_)) => panic!("a crash has taken back what is said to be durable"),
    }
    let read = durably::<_, StoreError, _>(&*store, || store.load(envelope.id)).await.unwrap().expect("it exists");
    assert_eq!(read.1.last_seq, 0, "it is read again, from the server that there is now");
}

/// The third naive barrier: to join one that is under way. It began before the
/// reading did, and may end before the log has come to what was read.
#[tokio::test]
async fn those_who_come_during_a_commit_share_the_next_one() {
    let (part, store) = own_that_stalls(PATIENT).await;
    passed(&store).await;
    let before = barrier_commits(&part).await;
    let stall = part.stall_log();
    let call = |store: &Arc<dyn Store>| {
        let store = store.clone();
        tokio::spawn(async move { Reading::begin(&*store).end(()).await })
    };
    let first = call(&store);
    // It can be seen, and is not durable.
    while barrier_commits(&part).await == before {
        tokio::task::yield_now().await;
    }
    let later: Vec<_> = (0..50).map(|_| call(&store)).collect();
    tokio::time::sleep(WHILE).await;
    drop(stall);
    assert!(first.await.unwrap().unwrap().is_some());
    for one in later {
        assert!(one.await.unwrap().unwrap().is_some());
    }
    assert_eq!(barrier_commits(&part).await - before, 2, "one for the first, one for the fifty that came during it");
}

/// The redo log is the server's, and so is the barrier.
#[tokio::test]
async fn readings_of_different_databases_of_a_server_share_a_commit_and_wait_for_the_same_log() {
    let layout = layout_of(2, 1);
    let (part, store) = own_that_stalls_with(layout.clone(), PATIENT).await;
    let writer = other_with(&part, layout).await;
    let mut envelopes = Vec::new();
    for database in 0..2 {
        let id = ids(&store, |table| table.database == database).next().expect("some lie in each");
        envelopes.push(make_active(&store, id).await);
    }
    passed(&store).await;
    let before = barrier_commits_of_both(&part).await;

    let stall = part.stall_log();
    let mut openings = Vec::new();
    for envelope in &envelopes {
        let (writer, opening) = (writer.clone(), entries(envelope, 1..=1, "opener"));
        openings.push(tokio::spawn(async move { writer.append(&opening).await }));
        while journal_length(&store, envelope.id).await == 0 {}
    }
    // A commit that is under way, so that both readings wait for the next one.
    let under_way = {
        let store = store.clone();
        tokio::spawn(async move { Reading::begin(&*store).end(()).await })
    };
    while barrier_commits_of_both(&part).await == before {
        assert!(!under_way.is_finished(), "it has not waited for the log");
        tokio::task::yield_now().await;
    }
    let read = |envelope: &Envelope| {
        let (store, id) = (store.clone(), envelope.id);
        tokio::spawn(async move { durably::<_, StoreError, _>(&*store, || store.load(id)).await })
    };
    let readings: Vec<_> = envelopes.iter().map(read).collect();
    tokio::time::sleep(WHILE).await;
    assert!(!under_way.is_finished() && !readings.iter().any(JoinHandle::is_finished), "no log is on the disk");
    drop(stall);

    assert!(under_way.await.unwrap().unwrap().is_some());
    for reading in readings {
        let (_, fold) = reading.await.unwrap().unwrap().expect("it exists").into_inner();
        assert_eq!(fold.last_seq, 1);
    }
    for opening in openings {
        assert_eq!(opening.await.unwrap().unwrap(), Append::Done);
    }
    let commits = barrier_commits_of_both(&part).await - before;
    assert_eq!(commits, 2, "the one that was under way, and one for the readings of both databases");
}

#[tokio::test]
async fn a_reading_that_finds_nothing_commits_nothing() {
    let (part, store) = own_that_stalls(PATIENT).await;
    passed(&store).await;
    let before = barrier_commits(&part).await;
    let unknown = id_at(NOW, 7);
    assert!(durably::<_, StoreError, _>(&*store, || store.load(unknown)).await.unwrap().is_none());
    assert_eq!(barrier_commits(&part).await, before);
}

#[tokio::test]
async fn a_barrier_that_is_not_confirmed_in_time_is_unknown() {
    let (part, store) = own_that_stalls(Duration::from_secs(1)).await;
    passed(&store).await;
    let stall = part.stall_log();
    let ended = Reading::begin(&*store).end(()).await;
    assert!(matches!(ended, Err(DatabaseError::Unknown(_))), "{:?}", ended.map(|durable| durable.is_some()));
    drop(stall);
}

/// The audit of one part may take hours, and nobody else passes the barrier.
#[tokio::test]
async fn a_barrier_that_lay_idle_for_long_voids_nothing() {
    let (_part, store) = own_that_stalls(PATIENT).await;
    let envelope = make_active(&store, id_at(NOW, 1)).await;
    passed(&store).await;
    let reading = Reading::begin(&*store);
    assert!(store.load(envelope.id).await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(CONNECTION_IDLE_MS_MAX + 1_000)).await;
    assert!(reading.end(()).await.unwrap().is_some(), "the same server has answered all the time");
}

#[tokio::test]
async fn a_server_that_is_not_durable_any_more_makes_nothing_durable() {
    let (part, store) = own_that_stalls(PATIENT).await;
    passed(&store).await;
    let reading = Reading::begin(&*store);
    part.sql("SET GLOBAL innodb_flush_log_at_trx_commit = 0");
    while store.refusal().is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    match reading.end(()).await {
        Ok(None) | Err(_) => {}
        Ok(Some(_)) => panic!("its commits are lost with the power"),
    }
}

#[tokio::test]
async fn what_was_read_from_another_node_is_void() {
    let (mut first, second) = (Part::mariadb(&[]), Part::mariadb(&[]));
    for part in [&first, &second] {
        migrate(options(&[part.node()]), &layout_of(1, 1), through()).await.unwrap();
    }
    let nodes = [first.node(), second.node()];
    let store: Arc<dyn Store> = Arc::new(MysqlStore::open(options(&nodes), layout_of(1, 1)).await.unwrap());
    let envelope = make_active(&store, id_at(NOW, 1)).await;
    passed(&store).await;

    let reading = Reading::begin(&*store);
    assert!(store.load(envelope.id).await.unwrap().is_some());
    first.kill();
    assert!(reading.end(()).await.unwrap().is_none(), "the barrier was passed on the other node");
    passed(&store).await;
    assert!(store.load(envelope.id).await.unwrap().is_none(), "which has never had it");
}

/// `activate` that comes too late writes nothing itself: its answer rests on a
/// commit of somebody else.
#[tokio::test]
async fn who_activates_second_is_answered_when_the_first_is_durable() {
    let (mut part, store) = own_that_stalls(PATIENT).await;
    let second = other(&part).await;
    let envelope = created(id_at(NOW, 1));
    store.create(std::slice::from_ref(&envelope)).await.unwrap();
    passed(&second).await;

    let activate = |store: &Arc<dyn Store>| {
        let (store, id) = (store.clone(), envelope.id);
        tokio::spawn(async move { store.activate(id, NOW.plus_millis(DAY_MS)).await })
    };
    let stall = part.stall_log();
    let first = activate(&store);
    while second.load(envelope.id).await.unwrap().expect("it exists").0.stage != Stage::Active {}
    let late = activate(&second);
    tokio::time::sleep(WHILE).await;
    assert!(!late.is_finished(), "it was told that an envelope is active which a crash makes unpaid again");
    part.kill();
    drop(stall);
    part.restart();
    assert!(first.await.unwrap().is_err());
    // What was read is gone, so it is read again: on a server that answers it is still unpaid, or there is no answer.
    match late.await.unwrap() {
        Err(_) | Ok(Some((Stage::Created, None))) => {}
        told => panic!("{told:?}"),
    }
    let (_, fold) = store.load(envelope.id).await.unwrap().expect("it exists");
    assert_eq!(fold.last_seq, 0);
}

#[tokio::test]
async fn the_barrier_lets_an_opening_through_that_follows_a_durable_reading() {
    let on = common::empty().await;
    let envelope = make_active(&on.store, id_at(NOW, 1)).await;
    write(&on.store, &entries(&envelope, 1..=3, "before")).await;
    let store = &on.store;
    let read = durably::<_, StoreError, _>(&**store, || store.load(envelope.id)).await.unwrap().expect("it exists");
    assert_eq!(read.1.last_seq, 3);
    write(store, &entries(&envelope, 4..=4, "after")).await;
}
