//! A connection that had to be made anew may lead to a database that has not
//! seen what was decided on: the first append afterwards writes nothing.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::Envelope;
use hongbao_store::{Append, Store, StoreError};
use hongbao_testkit::store_suite::{journal_of, write};

use crate::common::{entries, make_large, own};

const DATABASE: u8 = 0;

/// Appends until the database has answered; gives what it said. What fails before
/// is the old connection, of which it is not known what became of its statement.
async fn first_answer(store: &Arc<dyn Store>, envelope: &Envelope, seq: u32) -> Append {
    for attempt in 0..5 {
        match store.append(&entries(envelope, seq..=seq, &format!("attempt{attempt}"))).await {
            Ok(append) => return append,
            Err(StoreError::Unavailable(_) | StoreError::Unknown(_)) => {}
            Err(other) => panic!("{other:?}"),
        }
    }
    panic!("there is no answer");
}

#[tokio::test]
async fn after_a_restart_the_first_append_is_fenced_and_the_epoch_has_moved() {
    let (mut part, store) = own(&[], Duration::from_secs(5)).await;
    let envelope = make_large(&store, 0).await;
    let before = entries(&envelope, 1..=2, "before");
    write(&store, &before).await;
    let epoch = store.epoch(DATABASE);

    part.restart();
    assert_eq!(first_answer(&store, &envelope, 3).await, Append::Fenced);
    assert_ne!(store.epoch(DATABASE), epoch);
    assert_eq!(journal_of(&store, envelope.id).await, before, "nothing was written");
    let epoch = store.epoch(DATABASE);
    write(&store, &entries(&envelope, 3..=3, "after")).await;
    assert_eq!(store.epoch(DATABASE), epoch);
}

/// An operator brings back a database that lacks the last transaction. What a
/// server remembers would leave a gap in the journal, which no key notices.
#[tokio::test]
async fn a_database_restored_one_transaction_behind_gets_no_gap() {
    let (mut part, store) = own(&[], Duration::from_secs(5)).await;
    let envelope = make_large(&store, 0).await;
    let backed_up = entries(&envelope, 1..=1, "backed_up");
    write(&store, &backed_up).await;

    let (data, backup) = (part.dir().join("data"), part.dir().join("backup"));
    let copy = |from: &std::path::Path, to: &std::path::Path| {
        let done = std::process::Command::new("cp").arg("-a").args([from, to]).status();
        assert!(done.is_ok_and(|status| status.success()));
    };
    part.kill();
    copy(&data, &backup);
    part.restart();
    assert_eq!(first_answer(&store, &envelope, 2).await, Append::Fenced);
    write(&store, &entries(&envelope, 2..=2, "lost")).await;

    part.kill();
    std::fs::remove_dir_all(&data).unwrap();
    copy(&backup, &data);
    part.restart();
    assert_eq!(first_answer(&store, &envelope, 3).await, Append::Fenced);
    assert_eq!(journal_of(&store, envelope.id).await, backed_up);
    write(&store, &entries(&envelope, 2..=2, "again")).await;
}

/// A request that is given up may leave its statement half sent.
#[tokio::test]
async fn an_append_that_is_given_up_half_way_closes_its_connection() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let envelope = make_large(&store, 0).await;
    part.pause();
    let batch = entries(&envelope, 1..=2, "given_up");
    tokio::time::timeout(Duration::from_millis(200), store.append(&batch)).await.unwrap_err();
    part.resume();
    // Whether it was written is not known, so what was decided before is not trusted.
    assert_eq!(store.append(&entries(&envelope, 3..=3, "next")).await.unwrap(), Append::Fenced);
    let journal = journal_of(&store, envelope.id).await;
    assert!(journal.is_empty() || journal == batch, "{journal:?}");
}
