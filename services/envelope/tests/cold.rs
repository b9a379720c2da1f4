//! The first questions after a start: many envelopes that are not live are read together.

mod common;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::id::Fold;
use hongbao_core::{
    Clock as _, Date, Envelope, EnvelopeId, Fen, Journal, Kind, Slot, Stage, SystemClock, Timestamp, Traffic,
};
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_envelope::live::{LiveEnvelopes, NotLive};
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_store::{Store, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{created, id_at, openings, write};

const ENVELOPES: u64 = 1_000;
const LIFETIME_MS: i64 = 3_600_000;

fn options(mariadb: &Part, user: &str) -> MysqlOptions {
    let password = if user == "root" { "" } else { user };
    let statement_timeout = Duration::from_secs(3);
    common::options(mariadb, user, password, MysqlOptions { statement_timeout, ..MysqlOptions::default() })
}

/// Two databases with two tables a day.
async fn open(mariadb: &Part) -> Arc<dyn Store> {
    let layout = Layout::always(Slot::all(), Fold::new(2, 2).unwrap(), 0, Traffic::Live);
    migrate(options(mariadb, "hongbao"), &layout, Date::of(SystemClock.now(), 0)).await.unwrap();
    Arc::new(MysqlStore::open(options(mariadb, "hongbao"), layout).await.unwrap())
}

/// Paid envelopes of 2,000 fen and as many shares, with `opened` openings each.
async fn make(store: &Arc<dyn Store>, numbers: std::ops::Range<u64>, opened: impl Fn(u64) -> usize) -> Vec<EnvelopeId> {
    let now = SystemClock.now();
    let (mut by_database, mut entries) = (HashMap::<u8, Vec<Envelope>>::new(), HashMap::<u8, Vec<_>>::new());
    let mut ids = Vec::new();
    for number in numbers {
        let id = id_at(now, number);
        let (total, kind) = (Fen::new(2_000).unwrap(), Kind::Equal);
        let envelope =
            Envelope { kind, total, shares: 2_000, lifetime_ms: LIFETIME_MS, created_at: now, ..created(id) };
        let database = store.table_of(id).database;
        let expires_at = Some(now.plus_millis(LIFETIME_MS));
        let active = Envelope { stage: Stage::Active, expires_at, ..envelope.clone() };
        let of_one = openings(&active, Journal::new(total), 0..opened(number));
        entries.entry(database).or_default().extend(of_one);
        by_database.entry(database).or_default().push(envelope);
        ids.push(id);
    }
    for envelopes in by_database.values() {
        store.create(envelopes).await.unwrap();
    }
    for id in &ids {
        store.activate(*id, now.plus_millis(LIFETIME_MS)).await.unwrap();
    }
    for entries in entries.values() {
        write(store, entries).await;
    }
    ids
}

/// What a server that has just started says of all of these, asked at once: openings so far.
async fn ask_all(store: &Arc<dyn Store>, ids: &[EnvelopeId]) -> Vec<Result<u32, NotLive>> {
    let live = Arc::new(LiveEnvelopes::new(10_000, ids.len()));
    let asked: Vec<_> = ids
        .iter()
        .map(|id| {
            let (live, store, id) = (live.clone(), store.clone(), *id);
            tokio::spawn(async move { live.get_or_load(id, &store, SystemClock.now()).await })
        })
        .collect();
    let mut answers = Vec::new();
    for answer in asked {
        answers.push(answer.await.unwrap().map(|live| live.journal().open_count()));
    }
    answers
}

fn opens_of(answers: &[Result<u32, NotLive>]) -> Vec<usize> {
    answers.iter().map(|answer| *answer.as_ref().expect("it is read") as usize).collect()
}

fn questions(mariadb: &Part) -> u64 {
    let shown =
        mariadb.sql("SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'QUESTIONS'");
    shown.trim().parse().expect("it is a number")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cold_envelopes_cost_tens_of_statements() {
    let mariadb = Part::mariadb(&[]);
    let store = open(&mariadb).await;
    let opened = |number: u64| (number % 4) as usize;
    let ids = make(&store, 0..ENVELOPES, opened).await;
    let (before, started) = (questions(&mariadb), Instant::now());
    let answers = ask_all(&store, &ids).await;
    let elapsed = started.elapsed();
    let asked = questions(&mariadb) - before;
    println!("{asked} questions, {:?} an envelope", elapsed / ENVELOPES as u32);
    assert_eq!(opens_of(&answers), (0..ENVELOPES).map(opened).collect::<Vec<_>>());
    assert!(asked < 60, "{asked} questions");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_batch_does_not_read_is_read_alone() {
    let mariadb = Part::mariadb(&[]);
    let store = open(&mariadb).await;
    // A journal that is too long to be read with others.
    let opened = |number: u64| if number == 7 { 1_200 } else { 1 };
    let ids = make(&store, 0..20, opened).await;
    assert_eq!(opens_of(&ask_all(&store, &ids).await), (0..20).map(opened).collect::<Vec<_>>());

    // One that does not exist, one that is not paid, and one whose row is damaged.
    let now = SystemClock.now();
    let (absent, unpaid, damaged) = (id_at(now, 1_000), id_at(now, 1_001), ids[3]);
    store.create(&[Envelope { created_at: now, ..created(unpaid) }]).await.unwrap();
    let table = store.table_of(damaged);
    let name = format!("db_{:02}.envelope_{}_{}", table.database, table.table, table.span);
    let hex = damaged.to_string().replace('-', "");
    mariadb.sql(&format!("SET check_constraint_checks = 0; UPDATE {name} SET sender = 'no user!' WHERE id = 0x{hex}"));
    let asked = [&[absent, unpaid][..], &ids[..7]].concat();
    let answers = ask_all(&store, &asked).await;
    for (id, answer) in asked.iter().zip(&answers) {
        match answer {
            Err(NotLive::NotFound) => assert_eq!(*id, absent),
            Err(NotLive::NotPaid(envelope)) => assert_eq!((*id, envelope.id), (unpaid, unpaid)),
            Err(NotLive::Store(StoreError::Damaged(_))) => assert_eq!(*id, damaged),
            Ok(1) => assert!(ids[..7].contains(id) && *id != damaged),
            other => panic!("{id}: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_that_cannot_be_read_does_not_fail_the_envelopes_of_others() {
    let mariadb = Part::mariadb(&[]);
    let store = open(&mariadb).await;
    let ids = make(&store, 0..40, |_| 1).await;
    let table = store.table_of(ids[0]);
    let is_there = |id: &EnvelopeId| store.table_of(*id) == table;
    let name = format!("db_{:02}.entry_{}_{}", table.database, table.table, table.span);
    let root = Connections::open(options(&mariadb, "root")).await.unwrap();
    let mut gate = root.lease().await.unwrap();
    sqlx::raw_sql(&format!("LOCK TABLES {name} WRITE")).execute(gate.connection()).await.unwrap();
    let started = Instant::now();
    let others: Vec<_> = ids.iter().filter(|id| !is_there(id)).copied().collect();
    let all = tokio::spawn({
        let (store, ids) = (store.clone(), ids.clone());
        async move { ask_all(&store, &ids).await }
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    // These wait behind the others, in a batch of their own.
    assert!(opens_of(&ask_all(&store, &others).await).iter().all(|opened| *opened == 1));
    let answers = all.await.unwrap();
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    for (id, answer) in ids.iter().zip(&answers) {
        match answer {
            Ok(1) => assert!(!is_there(id)),
            Err(NotLive::Store(StoreError::Unavailable(_))) => assert!(is_there(id)),
            other => panic!("{id}: {other:?}"),
        }
    }
    drop(gate);
    assert!(opens_of(&ask_all(&store, &ids).await).iter().all(|opened| *opened == 1), "it can be read again");
}

#[tokio::test]
async fn no_more_are_read_at_the_same_time_than_may_be() {
    let mariadb = Part::mariadb(&[]);
    let store = open(&mariadb).await;
    let ids = make(&store, 0..30, |_| 0).await;
    let live = Arc::new(LiveEnvelopes::new(1_000, 10));
    let asked = ids.iter().map(|id| live.get_or_load(*id, &store, Timestamp::from_millis(0)));
    let answers = futures_util::future::join_all(asked).await;
    assert_eq!(answers.iter().filter(|answer| matches!(answer, Err(NotLive::Busy))).count(), 20);
    assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 10);
    assert!(live.get_or_load(ids[29], &store, Timestamp::from_millis(0)).await.is_ok(), "there is room again");
    let used_at = live.get_or_load(ids[29], &store, Timestamp::from_millis(5)).await.unwrap();
    assert_eq!(used_at.complete_at(), Timestamp::from_millis(0));
}
