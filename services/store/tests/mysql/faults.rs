//! The database is slow, full, read-only, stopped or gone: what fails says so,
//! what was acknowledged is there, and it goes on by itself.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::Envelope;
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::{Append, Store, StoreError};
use hongbao_testkit::store_suite::{journal_of, write};
use sqlx::{Executor as _, MySqlConnection, Row as _};

use crate::common::{entries, make_large, own, own_with, root, unavailable};
use crate::load::Load;

/// Holds the key of an envelope's first entry, as a transaction that does not end.
async fn hold_first_seq(root: &mut MySqlConnection, envelope: &Envelope) {
    let id: String = envelope.id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    let sql = format!(
        "START TRANSACTION; INSERT INTO db_00.entry_0_17 \
         (envelope_id, seq, user_id, amount_fen, remaining_fen, at_ms) VALUES (0x{id}, 1, 'holder', 1, 999999, 0)"
    );
    root.execute(sqlx::raw_sql(&sql)).await.unwrap();
}

/// Appends while another transaction holds the key, and ends that one after a
/// while with this statement.
async fn append_against(
    store: &Arc<dyn Store>,
    root: &mut MySqlConnection,
    envelope: &Envelope,
    held_for: Duration,
    end: &str,
) -> Result<Append, StoreError> {
    hold_first_seq(root, envelope).await;
    let batch = entries(envelope, 1..=2, "waiter");
    let (outcome, ()) = tokio::join!(store.append(&batch), async {
        tokio::time::sleep(held_for).await;
        root.execute(end).await.unwrap();
    });
    outcome
}

#[tokio::test]
async fn a_row_that_is_locked_is_waited_for_but_not_for_long() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let mut root = root(&part).await;
    let wait = Duration::from_millis(300);

    let envelope = make_large(&store, 0).await;
    assert_eq!(append_against(&store, &mut root, &envelope, wait, "COMMIT").await.unwrap(), Append::Fenced);
    assert_eq!(journal_of(&store, envelope.id).await.len(), 1, "the holder's");

    let envelope = make_large(&store, 1).await;
    assert_eq!(append_against(&store, &mut root, &envelope, wait, "ROLLBACK").await.unwrap(), Append::Done);

    let envelope = make_large(&store, 2).await;
    let long = Duration::from_millis(1_800);
    let outcome = append_against(&store, &mut root, &envelope, long, "ROLLBACK").await;
    assert!(matches!(&outcome, Err(StoreError::Locked(reason)) if reason.contains("1205")), "{outcome:?}");
    assert_eq!(journal_of(&store, envelope.id).await, [], "nothing was written");
    write(&store, &entries(&envelope, 1..=1, "next")).await;
}

#[tokio::test]
async fn a_lock_that_outlasts_a_statements_time_is_an_unknown_outcome() {
    let (statement_timeout, row_lock_wait_s) = (Duration::from_secs(2), 10);
    let bounds = MysqlOptions { statement_timeout, row_lock_wait_s, ..MysqlOptions::default() };
    let (part, store) = own_with(&[], bounds).await;
    let (mut holder, mut watcher) = (root(&part).await, root(&part).await);
    let envelope = make_large(&store, 0).await;
    hold_first_seq(&mut holder, &envelope).await;
    let outcome = store.append(&entries(&envelope, 1..=2, "waiter")).await;
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "{outcome:?}");
    assert!(nothing_is_left(&mut watcher).await, "it goes on inside: {outcome:?}");
    holder.execute("ROLLBACK").await.unwrap();
    assert_eq!(journal_of(&store, envelope.id).await, []);
    if store.append(&entries(&envelope, 1..=1, "next")).await.unwrap() == Append::Fenced {
        // The machine was so busy that we gave up before the database told us.
        write(&store, &entries(&envelope, 1..=1, "next")).await;
    }
}

/// Whoever gave up gives back its permit, so nothing of it may go on inside.
#[tokio::test]
async fn what_waits_for_a_locked_database_ends_before_its_client_gives_up() {
    let (part, store) = own(&[], Duration::from_secs(3)).await;
    let (mut holder, mut watcher) = (root(&part).await, root(&part).await);
    let envelope = make_large(&store, 0).await;
    for (lock, unlock) in
        [("FLUSH TABLES WITH READ LOCK", "UNLOCK TABLES"), ("LOCK TABLES db_00.entry_0_17 READ", "UNLOCK TABLES")]
    {
        holder.execute(lock).await.unwrap();
        let waiter = entries(&envelope, 1..=1, "waiter");
        let (outcome, inside) = tokio::join!(store.append(&waiter), async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            appending(&mut watcher).await
        });
        assert_eq!(inside, 1, "it waits behind {lock}");
        assert!(matches!(outcome, Err(StoreError::Locked(_))), "{lock}: {outcome:?}");
        assert!(nothing_is_left(&mut watcher).await, "{lock}: it goes on inside");
        holder.execute(unlock).await.unwrap();
        assert_eq!(journal_of(&store, envelope.id).await, [], "{lock}");
    }
    write(&store, &entries(&envelope, 1..=1, "next")).await;
}

/// Whether the database has ended all appends, while the lock is still held. A
/// statement stands in the list for a moment after its answer.
async fn nothing_is_left(watcher: &mut MySqlConnection) -> bool {
    let until = Instant::now() + Duration::from_secs(1);
    while appending(watcher).await > 0 {
        if Instant::now() > until {
            return false;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    true
}

/// Appends that the database has not ended.
async fn appending(watcher: &mut MySqlConnection) -> i64 {
    let sql = "SELECT count(*) FROM information_schema.processlist \
               WHERE user = 'hongbao' AND command <> 'Sleep' AND info LIKE '%/* append */%'";
    watcher.fetch_one(sql).await.unwrap().get(0)
}

#[tokio::test]
async fn a_database_that_is_read_only_refuses_openings_and_can_be_read() {
    let (part, store) = own(&[], Duration::from_secs(5)).await;
    let envelope = make_large(&store, 0).await;
    let before = entries(&envelope, 1..=2, "before");
    write(&store, &before).await;
    let mut root = root(&part).await;
    root.execute("SET GLOBAL read_only = 1").await.unwrap();
    let after = entries(&envelope, 3..=3, "after");
    let reason = unavailable(store.append(&after).await);
    assert!(reason.contains("read-only"), "{reason}");
    assert_eq!(journal_of(&store, envelope.id).await, before);
    root.execute("SET GLOBAL read_only = 0").await.unwrap();
    // The connection was given up, so that another node could have been found.
    assert_eq!(store.append(&after).await.unwrap(), Append::Fenced);
    write(&store, &after).await;
}

#[tokio::test]
async fn a_database_that_is_full_refuses_openings_and_loses_none() {
    let small = ["--innodb-file-per-table=0", "--innodb-data-file-path=ibdata1:12M:autoextend:max:28M"];
    let (_part, store) = own(&small, Duration::from_secs(5)).await;
    let envelope = make_large(&store, 0).await;
    let mut written = 0;
    let reason = loop {
        let batch = entries(&envelope, written + 1..=written + 1_000, "filler");
        match store.append(&batch).await {
            Ok(append) => assert_eq!(append, Append::Done),
            Err(error) => break unavailable::<()>(Err(error)),
        }
        written += 1_000;
        assert!(written < 500_000, "it never fills up");
    };
    assert!(reason.contains("full"), "{reason}");
    assert_eq!(journal_of(&store, envelope.id).await.len(), written as usize);
    let (_, journal) = store.load(envelope.id).await.unwrap().expect("it was created");
    assert_eq!(journal.last_seq, written);
}

#[tokio::test]
async fn a_database_that_hangs_is_given_up_in_time_and_goes_on_afterwards() {
    let (part, store) = own(&[], Duration::from_millis(500)).await;
    let envelope = make_large(&store, 0).await;
    write(&store, &entries(&envelope, 1..=1, "before")).await;
    store.fence().await.unwrap();

    part.pause();
    let start = Instant::now();
    let outcome = store.append(&entries(&envelope, 2..=2, "hangs")).await;
    assert!(matches!(outcome, Err(StoreError::Unknown(_))), "it may be written when it wakes up: {outcome:?}");
    unavailable(store.load(envelope.id).await);
    unavailable(store.fence().await.map(|_| ()));
    assert!(start.elapsed() < Duration::from_secs(7), "{:?}", start.elapsed());
    part.resume();

    assert_eq!(store.append(&entries(&envelope, 2..=2, "stale")).await.unwrap(), Append::Fenced);
    let (_, journal) = store.load(envelope.id).await.unwrap().expect("it was created");
    let next = journal.last_seq + 1;
    write(&store, &entries(&envelope, next..=next, "after")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_database_that_dies_under_load_loses_nothing_and_the_load_goes_on() {
    let (mut part, store) = own(&[], Duration::from_secs(2)).await;
    let mut envelopes = Vec::new();
    for number in 0..4 {
        envelopes.push(make_large(&store, number).await);
    }
    let load = Load::start(&store, envelopes);
    for _ in 0..2 {
        load.goes_on_for(50).await;
        part.kill();
        tokio::time::sleep(Duration::from_millis(200)).await;
        part.restart();
    }
    load.goes_on_for(50).await;
    load.end(&store).await;
}
