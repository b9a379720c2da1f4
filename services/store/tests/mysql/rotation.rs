//! Rotation where others use the tables, where a process was killed, and where an
//! earlier version has left tables without dates.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::id::Span;
use hongbao_core::{Envelope, EnvelopeId, Journal};
use hongbao_store::mysql::{MysqlStore, migrate};
use hongbao_store::{Rotated, Store, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{
    self, DAY_MS, NOW, created, id_at, journal_of, make_active, openings, through, write,
};
use sqlx::{Connection as _, Executor as _};

use crate::common::{layout_of, options, own, root};

/// When a rotation gives the table of `NOW`'s date, the 17th, to the next month.
const NEXT_MONTH_DAYS: i32 = 25;

async fn with_an_opening(store: &Arc<dyn Store>, number: u64) -> EnvelopeId {
    let envelope = make_active(store, id_at(NOW, number)).await;
    write(store, &openings(&envelope, Journal::new(envelope.total), ["a"])).await;
    envelope.id
}

/// A rename waits behind a transaction that has read the table, and later statements wait behind the rename.
#[tokio::test]
async fn a_rename_waits_a_second_at_most_and_comes_again() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let id = with_an_opening(&store, 1).await;
    store.rotate(through().plus_days(NEXT_MONTH_DAYS - 1)).await.unwrap();
    let mut reader = root(&part).await;
    reader.execute("START TRANSACTION").await.unwrap();
    reader.fetch_all("SELECT * FROM db_00.entry_0_17").await.unwrap();

    let (rotated, slowest) = tokio::join!(store.rotate(through().plus_days(NEXT_MONTH_DAYS)), async {
        let mut slowest = Duration::ZERO;
        for _ in 0..30 {
            let began = Instant::now();
            assert_eq!(journal_of(&store, id).await.len(), 1);
            slowest = slowest.max(began.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slowest
    });
    assert_eq!(rotated.unwrap(), Rotated { tables: 0, in_use: 1 });
    assert!(slowest < Duration::from_millis(1_500), "an opening waited {slowest:?}");
    reader.execute("ROLLBACK").await.unwrap();
    let rotated = store.rotate(through().plus_days(NEXT_MONTH_DAYS)).await.unwrap();
    assert_eq!(rotated, Rotated { tables: 1, in_use: 0 });
    assert!(matches!(store.table_of(id).span, Span::Date(_)));
    assert_eq!(journal_of(&store, id).await.len(), 1);
}

/// What a rotation has made when it is killed before its rename, at each of its steps.
#[tokio::test]
async fn a_rotation_that_was_killed_is_finished_by_the_next() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let id = with_an_opening(&store, 1).await;
    let mut root = root(&part).await;
    for (table, like) in [("next_envelope_0_20260317", "envelope_0_17"), ("next_entry_0_20260318", "entry_0_18")] {
        // It refuses the ids of the date that it is called by.
        root.execute(&*format!("CREATE TABLE db_00_cold.{table} LIKE db_00.{like}")).await.unwrap();
    }
    let rotated = store.rotate(through().plus_days(NEXT_MONTH_DAYS + 1)).await.unwrap();
    assert_eq!(rotated.in_use, 0);
    assert_eq!(journal_of(&store, id).await.len(), 1);
    for day in [17, 18] {
        let at = NOW.plus_millis((28 + day - 17) * DAY_MS);
        let envelope = make_active(&store, id_at(at, 7)).await;
        write(&store, &openings(&envelope, Journal::new(envelope.total), ["a"])).await;
    }
}

/// As a database that has served for more than a month: no table says what it holds, and
/// the 17th holds January and February.
#[tokio::test]
async fn tables_of_an_earlier_version_are_sorted_by_date() {
    let part = Part::mariadb(&[]);
    let (options, layout) = (options(&[part.node()]), layout_of(1, 1));
    migrate(options.clone(), &layout, through()).await.unwrap();
    let mut root = root(&part).await;
    for day in 1..=31 {
        for (table, id) in [("envelope", "id"), ("entry", "envelope_id")] {
            let name = format!("db_00.{table}_0_{day:02}");
            let date = through().last_with(hongbao_core::Day::new(day).unwrap());
            let drop = format!("ALTER TABLE {name} DROP CONSTRAINT {table}_0_ids_of_{date}, COMMENT = ''");
            root.execute(&*drop).await.unwrap_or_else(|error| panic!("{drop}: {error} ({id})"));
        }
    }
    let store: Arc<dyn Store> = Arc::new(MysqlStore::open(options.clone(), layout.clone()).await.unwrap());
    let mut made: Vec<Envelope> = Vec::new();
    for (days_ago, number) in [(0, 1), (0, 2), (31, 3), (31, 4), (62, 5), (1, 6)] {
        let envelope = make_active(&store, id_at(NOW.plus_millis(-days_ago * DAY_MS), number)).await;
        write(&store, &openings(&envelope, Journal::new(envelope.total), ["a", "b"])).await;
        made.push(envelope);
    }
    assert_eq!(store.tail(store.table_of(made[0].id), 0, 100).await.unwrap().len(), 10, "of three months");

    let rotated = store.rotate(through()).await.unwrap();
    assert_eq!(rotated.in_use, 0);
    let other: Arc<dyn Store> = Arc::new(MysqlStore::open(options, layout).await.unwrap());
    for store in [&store, &other] {
        assert_eq!(store.rotate(through()).await.unwrap(), Rotated::default());
        for envelope in &made {
            assert_eq!(&store.load(envelope.id).await.unwrap().expect("it was created").0, envelope);
            assert_eq!(journal_of(store, envelope.id).await.len(), 2);
        }
        let mut with_rows = 0;
        for table in store.tables().into_iter().filter(|table| matches!(table.span, Span::Date(_))) {
            with_rows += usize::from(!store.scan(table, None, 1).await.unwrap().is_empty());
        }
        assert_eq!(with_rows, 2, "17 December and January");
        assert_eq!(store.tail(store.table_of(made[0].id), 0, 100).await.unwrap().len(), 4);
    }
    let late = created(id_at(NOW.plus_millis(-31 * DAY_MS), 9));
    store.create(std::slice::from_ref(&late)).await.unwrap();
    assert_eq!(other.load(late.id).await.unwrap().expect("it was created").0, late);
    // It has no constraint yet, and takes no other month all the same.
    let too_early = created(id_at(NOW.plus_millis(28 * DAY_MS), 1));
    for store in [&store, &other] {
        let refused = store.create(std::slice::from_ref(&too_early)).await;
        assert!(
            matches!(&refused, Err(StoreError::Unavailable(reason)) if reason.contains("no day table")),
            "{refused:?}"
        );
    }
    root.close().await.unwrap();
    let next = make_active(&store, store_suite::id_at(NOW.plus_millis(3 * DAY_MS), 1)).await;
    assert!(store.load(next.id).await.unwrap().is_some());
}
