//! Databases that share a connection on which openings are appended.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::limits::WRITERS_OF_A_SET_MAX;
use hongbao_store::mysql::{MysqlStore, migrate};
use hongbao_store::{Append, Store, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{self, Fixture, NOW, id_at, through};

use crate::common::{entries, layout_of, make_large, options};

/// One more than there are writers: the last one shares that of the first.
const DATABASES: u8 = WRITERS_OF_A_SET_MAX as u8 + 1;

/// A MariaDB with so many databases, and two stores on it.
async fn opened() -> (Part, Vec<Arc<dyn Store>>) {
    let part = Part::mariadb(&[]);
    let (options, layout) = (options(&[part.node()]), layout_of(DATABASES, 1));
    migrate(options.clone(), &layout, through()).await.unwrap();
    let mut stores: Vec<Arc<dyn Store>> = Vec::new();
    for _ in 0..2 {
        stores.push(Arc::new(MysqlStore::open(options.clone(), layout.clone()).await.unwrap()));
    }
    (part, stores)
}

/// A number of whose id the envelope lies in this database.
fn number_in(store: &Arc<dyn Store>, database: u8) -> u64 {
    (0..).find(|number| store.table_of(id_at(NOW, *number)).database == database).expect("each has ids")
}

#[tokio::test]
async fn a_batch_over_databases_of_one_writer_is_whole_or_not_there() {
    let (part, mut stores) = opened().await;
    let (other, store) = (stores.remove(1), stores.remove(0));
    assert_eq!(store.writer_of(0), store.writer_of(DATABASES - 1));
    assert_eq!(store.writer_of(DATABASES), None);
    let on = Fixture { store, other, guard: Box::new(part) };
    store_suite::a_batch_over_two_databases_is_written_where_one_writer_has_both(&on).await;
}

#[tokio::test]
async fn what_a_writer_has_lost_is_old_in_all_of_its_databases_and_in_no_other() {
    let (mut part, stores) = opened().await;
    let store = &stores[0];
    let mut envelopes = Vec::new();
    for database in 0..DATABASES {
        envelopes.push(make_large(store, number_in(store, database)).await);
    }
    let before: Vec<u64> = (0..DATABASES).map(|database| store.epoch(database)).collect();
    part.restart();
    let began = Instant::now();
    let first_answer = loop {
        assert!(began.elapsed() < Duration::from_secs(30), "the database does not answer");
        match store.append(&entries(&envelopes[0], 1..=1, "after")).await {
            Ok(append) => break append,
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    };
    assert_eq!(first_answer, Append::Fenced);
    for (database, before) in (0..DATABASES).zip(before) {
        let is_of_the_first = store.writer_of(database) == store.writer_of(0);
        assert_eq!(store.epoch(database) != before, is_of_the_first, "database {database}");
    }
}
