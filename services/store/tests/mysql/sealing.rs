//! Closing a dated table where others write into it.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::id::{Span, TableRef};
use hongbao_core::{Envelope, Journal};
use hongbao_store::Store;
use hongbao_store::mysql::MysqlStore;
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{NOW, id_at, journal_of, make_active, openings, through, write};
use sqlx::Executor as _;

use crate::common::{layout_of, options, own, root};

/// When a rotation gives the table of `NOW`'s date to the next month.
const NEXT_MONTH_DAYS: i32 = 25;

/// So many active envelopes in one dated table.
async fn in_a_dated_table(store: &Arc<dyn Store>, count: u64) -> (Vec<Envelope>, TableRef) {
    let mut envelopes = Vec::new();
    for number in 0..count {
        envelopes.push(make_active(store, id_at(NOW, number)).await);
    }
    store.rotate(through().plus_days(NEXT_MONTH_DAYS)).await.unwrap();
    let table = store.table_of(envelopes[0].id);
    assert!(matches!(table.span, Span::Date(_)), "{table:?}");
    (envelopes, table)
}

async fn other(part: &Part) -> Arc<dyn Store> {
    Arc::new(MysqlStore::open(options(&[part.node()]), layout_of(1, 1)).await.unwrap())
}

/// What is read after the closing is all that there will be, also if it was being written when the table was closed.
#[tokio::test]
async fn a_closing_waits_for_the_writers_under_way() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let (envelopes, table) = in_a_dated_table(&store, 1).await;
    let entries = openings(&envelopes[0], Journal::new(envelopes[0].total), ["a"]);
    // The append takes its guard, and then waits for the gap that is locked here.
    let mut root = root(&part).await;
    root.execute("START TRANSACTION").await.unwrap();
    let locked = format!("SELECT * FROM db_00_cold.entry_{}_{} FOR UPDATE", table.table, table.span);
    root.fetch_all(&*locked).await.unwrap();
    let append = tokio::spawn({
        let (store, entries) = (store.clone(), entries.clone());
        async move { write(&store, &entries).await }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!append.is_finished());
    let other = other(&part).await;
    let closing = tokio::spawn({
        let other = other.clone();
        async move {
            let closed = other.close(table).await.unwrap();
            (closed, other.scan(table, None, 10).await.unwrap())
        }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!closing.is_finished(), "it was closed before a row that came in");
    root.execute("ROLLBACK").await.unwrap();
    append.await.unwrap();
    let (closed, rows) = closing.await.unwrap();
    assert!(closed.is_some());
    assert_eq!(rows[0].1, 1, "the entry was read");
    assert_eq!(journal_of(&other, envelopes[0].id).await, entries);
}

/// Their guards meet at one key, where InnoDB takes back all but one of those that wait.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_write_into_one_dated_table_at_the_same_time() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let (envelopes, _) = in_a_dated_table(&store, 16).await;
    let mut others = Vec::new();
    for _ in &envelopes {
        others.push(other(&part).await);
    }
    let mut writers = Vec::new();
    for (store, envelope) in others.into_iter().zip(envelopes.clone()) {
        let entries = openings(&envelope, Journal::new(envelope.total), 0..5);
        writers.push(tokio::spawn(async move {
            for entry in entries {
                write(&store, &[entry]).await;
            }
        }));
    }
    for writer in writers {
        writer.await.unwrap();
    }
    for envelope in &envelopes {
        assert_eq!(journal_of(&store, envelope.id).await.len(), 5);
    }
}
