//! What needs to reach behind the store: a disk that is full, and the plans of queries.

use std::path::Path;

use hongbao_core::id::Fold;
use hongbao_core::limits::OPEN_BATCH_SIZE_MAX;
use hongbao_core::{Entry, EntryKind, Envelope, EnvelopeId, Fen, Kind, Stage, UserId};
use hongbao_database::DatabaseError;
use hongbao_database::sqlite::file::Mode;
use hongbao_testkit::store_suite::{NOW, created};
use sqlx::Row as _;

use super::store::SqliteStore;
use crate::{Append, Creation as _, Journals as _, Store as _, StoreError};

async fn open(dir: &Path, tables: u8) -> SqliteStore {
    SqliteStore::open(dir, Fold::new(1, tables).unwrap(), 28_800, Mode::Durable).await.unwrap()
}

fn envelope(id: EnvelopeId) -> Envelope {
    Envelope {
        kind: Kind::Equal,
        total: Fen::new(1_000_000).unwrap(),
        shares: 1_000_000,
        lifetime_ms: 1_000,
        stage: Stage::Active,
        expires_at: Some(NOW.plus_millis(1_000)),
        ..created(id)
    }
}

fn openings(id: EnvelopeId, from_seq: u32, count: u32) -> Vec<Entry> {
    let opening = |seq| Entry {
        envelope_id: id,
        seq,
        kind: EntryKind::Open(UserId::parse(&format!("user_{seq}")).unwrap()),
        amount: Fen::new(1).unwrap(),
        remaining: Fen::new(1_000_000 - i64::from(seq)).unwrap(),
        at: NOW,
    };
    (from_seq..from_seq + count).map(opening).collect()
}

/// Lets the file grow by `pages` and no more, as a full disk would.
async fn leave_room_for(store: &SqliteStore, pages: i64) {
    let mut writer = store.files[0].writer().await.unwrap();
    let used: i64 = sqlx::query("PRAGMA page_count").fetch_one(&mut *writer).await.unwrap().get(0);
    sqlx::query(&format!("PRAGMA max_page_count = {}", used + pages)).fetch_one(&mut *writer).await.unwrap();
}

#[tokio::test]
async fn a_full_disk_refuses_and_keeps_all_that_was_acknowledged_i3() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 10).await;
    let ids = [1, 2].map(|number| EnvelopeId::mint(NOW, [number; 10]));
    assert_ne!(store.table_of(ids[0]), store.table_of(ids[1]));
    for id in ids {
        store.create(&[envelope(id)]).await.unwrap();
    }
    let mut acknowledged = [0, 0];
    // With one table a statement commits by itself, with two there is a transaction around them.
    for (tables, rows) in [(1, 1), (1, 100), (2, 1), (2, 100), (2, 1), (1, 1)] {
        leave_room_for(&store, 20).await;
        loop {
            let batch: Vec<Entry> =
                (0..tables).flat_map(|place| openings(ids[place], acknowledged[place] + 1, rows)).collect();
            match store.append(&batch).await {
                Ok(Append::Done) => acknowledged[..tables].iter_mut().for_each(|last_seq| *last_seq += rows),
                Err(StoreError::Unavailable(reason)) => break assert!(reason.contains("full"), "{reason}"),
                other => panic!("{other:?}"),
            }
        }
        assert!(acknowledged[0] > 0);
        for (id, last_seq) in ids.into_iter().zip(acknowledged) {
            let entries = store.entries(id, 0, u32::MAX).await.unwrap();
            assert_eq!(entries, openings(id, 1, last_seq));
        }
    }
}

async fn on_the_writer(store: &SqliteStore, sql: &str) {
    sqlx::query(sql).execute(&mut *store.files[0].lock_writer().await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_setting_that_is_weakened_while_it_runs_is_shown_and_refused_until_it_is_back_i3() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1).await;
    let id = EnvelopeId::mint(NOW, [1; 10]);
    store.create(&[envelope(id)]).await.unwrap();
    store.files[0].watch().await.unwrap();
    for (weak, full) in [("PRAGMA synchronous = NORMAL", "PRAGMA synchronous = FULL")] {
        assert!(store.durability().full);
        store.files[0].look().await.unwrap();
        on_the_writer(&store, weak).await;
        let found = store.files[0].look().await.unwrap_err().to_string();
        assert!(found.contains("synchronous=NORMAL") && found.contains("db_00.sqlite"), "{found}");
        let shown = store.durability();
        assert!(!shown.full && shown.settings.contains("synchronous=NORMAL"), "{shown:?}");
        for refused in [store.append(&openings(id, 1, 1)).await.err(), store.load(id).await.err()] {
            let refused = refused.expect("it is refused").to_string();
            assert!(refused.contains("not durable any more"), "{refused}");
        }
        on_the_writer(&store, full).await;
        store.files[0].look().await.unwrap();
        assert!(store.durability().full);
    }
    assert_eq!(store.append(&openings(id, 1, 1)).await.unwrap(), Append::Done);
}

#[tokio::test]
async fn a_key_that_is_dropped_while_it_runs_is_refused_until_it_is_back_i5() {
    let dir = tempfile::tempdir().unwrap();
    let (store, other) = (open(dir.path(), 1).await, open(dir.path(), 1).await);
    let id = EnvelopeId::mint(NOW, [1; 10]);
    store.create(&[envelope(id)]).await.unwrap();
    let file = &store.files[0];
    file.watch().await.unwrap();
    on_the_writer(&other, "CREATE TABLE of_an_operator (one)").await;
    on_the_writer(&other, "ANALYZE").await;
    file.look().await.unwrap();

    let row = sqlx::query("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql IS NOT NULL LIMIT 1");
    let row = row.fetch_one(file.readers()).await.unwrap();
    let (name, sql): (String, String) = (row.get(0), row.get(1));
    on_the_writer(&other, &format!("DROP INDEX {name}")).await;
    let found = file.look().await.unwrap_err().to_string();
    assert!(found.contains(&name) && found.contains("db_00.sqlite"), "{found}");
    assert!(file.lacks().is_some_and(|reason| reason.contains(&name)));
    assert_eq!(file.look().await.unwrap_err().to_string(), found, "it stays refused");
    assert!(store.append(&openings(id, 1, 1)).await.is_err());
    on_the_writer(&other, &sql).await;
    file.look().await.unwrap();
    assert_eq!((file.lacks(), store.append(&openings(id, 1, 1)).await.unwrap()), (None, Append::Done));
}

#[tokio::test]
async fn what_another_connection_commits_is_no_trouble_and_what_is_written_past_sqlite_is() {
    let dir = tempfile::tempdir().unwrap();
    let (store, other) = (open(dir.path(), 1).await, open(dir.path(), 1).await);
    let id = EnvelopeId::mint(NOW, [1; 10]);
    store.create(&[envelope(id)]).await.unwrap();
    store.files[0].watch().await.unwrap();
    for seq in 1..=4 {
        let by = if seq % 2 == 0 { &other } else { &store };
        assert_eq!(by.append(&openings(id, seq, 1)).await.unwrap(), Append::Done);
        // Fenced, which is no trouble either.
        assert_eq!(store.append(&openings(id, seq, 1)).await.unwrap(), Append::Fenced);
    }
    let log = format!("{}-wal", store.files[0].path().display());
    std::fs::File::options().append(true).open(&log).unwrap().set_len(0).unwrap();
    let refused = store.append(&openings(id, 5, 1)).await.unwrap_err().to_string();
    assert!(refused.contains("db_00.sqlite-wal was truncated"), "{refused}");
    assert!(store.files[0].look().await.unwrap_err().to_string().contains("truncated"), "it stays refused");
    assert!(store.files[0].close().await.unwrap_err().contains("truncated"), "and is not put into the file");
}

#[tokio::test]
async fn a_commit_into_a_file_that_is_gone_is_not_acknowledged_i3() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1).await;
    let id = EnvelopeId::mint(NOW, [1; 10]);
    store.create(&[envelope(id)]).await.unwrap();
    store.files[0].watch().await.unwrap();
    let writer = store.files[0].writer().await.unwrap();
    // It goes after the look before the commit.
    std::fs::remove_file(store.files[0].path()).unwrap();
    assert!(matches!(writer.committed(), Err(DatabaseError::Unknown(reason)) if reason.contains("was removed")));
    drop(writer);
    assert!(store.append(&openings(id, 1, 1)).await.unwrap_err().to_string().contains("was removed"));
}

#[tokio::test]
async fn every_query_of_a_day_table_uses_an_index() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), 1).await;
    let (_, statements) = store.at(store.tables()[0]).unwrap();
    let queries = [
        &statements.activate,
        &statements.plain.cancel,
        &statements.plain.stage,
        &statements.load,
        &statements.load_for,
        &statements.plain.entries,
        &statements.plain.scan_entries,
        &statements.plain.tail,
        &statements.tail_position,
        &statements.plain.unsettled,
        &statements.plain.unpaid,
        &statements.plain.cancelled,
        &statements.plain.pending,
        &statements.purge,
        &statements.expired,
        &statements.scan,
    ];
    let settle = [1, OPEN_BATCH_SIZE_MAX].map(|rows| statements.settle.text(rows));
    for sql in queries.into_iter().map(String::as_str).chain(settle) {
        let plan = sqlx::query(&format!("EXPLAIN QUERY PLAN {sql}")).fetch_all(store.files[0].readers()).await.unwrap();
        for step in plan.iter().map(|row| row.get::<String, _>("detail")) {
            let reads_a_whole_table = ["SCAN e", "SCAN j"].iter().any(|start| step.starts_with(start))
                // The list of ids that was given.
                && !step.starts_with("SCAN json_each VIRTUAL TABLE");
            assert!(!reads_a_whole_table && !step.contains("TEMP B-TREE"), "{step}: {sql:.200}");
        }
    }
}
