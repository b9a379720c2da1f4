//! What the SQLite store does with folders and files: good ones, foreign ones, broken ones.

use std::path::Path;
use std::task::Poll;
use std::time::Duration;

use hongbao_core::id::Fold;
use hongbao_core::{Entry, EntryKind, Envelope, EnvelopeId, Fen, Stage, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Append, Creation as _, Journals as _, Sealing as _, Store as _, StoreError};
use hongbao_testkit::store_suite::{NOW, created};

/// China's zone, in seconds ahead of UTC.
const ZONE_OFFSET_S: i32 = 28_800;

async fn open(dir: &Path, mode: Mode) -> Result<SqliteStore, StoreError> {
    SqliteStore::open(dir, Fold::new(2, 1).unwrap(), ZONE_OFFSET_S, mode).await
}

/// The words of the error that opening ends in.
async fn refusal(opening: impl Future<Output = Result<SqliteStore, StoreError>>) -> String {
    match opening.await {
        Ok(_) => panic!("it was opened"),
        Err(StoreError::Unavailable(reason)) => reason,
        Err(other) => panic!("{other:?}"),
    }
}

/// Runs SQL on a file behind the store's back.
async fn meddle(path: &Path, sql: &str) {
    let file = hongbao_database::sqlite::file::SqliteFile::open(path, Mode::Durable).await.unwrap();
    let mut writer = file.writer().await.unwrap();
    sqlx::Executor::execute(&mut *writer, sqlx::raw_sql(sql)).await.unwrap();
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

async fn make_active(store: &SqliteStore, number: u8) -> Envelope {
    let envelope = Envelope {
        lifetime_ms: 1_000,
        stage: Stage::Active,
        expires_at: Some(NOW.plus_millis(1_000)),
        ..created(EnvelopeId::mint(NOW, [number; 10]))
    };
    store.create(std::slice::from_ref(&envelope)).await.unwrap();
    envelope
}

fn opening(envelope: &Envelope, seq: u32) -> Entry {
    Entry {
        envelope_id: envelope.id,
        seq,
        kind: EntryKind::Open(user(&format!("user_{seq}"))),
        amount: Fen::new(1).unwrap(),
        remaining: Fen::new(1_000 - i64::from(seq)).unwrap(),
        at: NOW,
    }
}

#[tokio::test]
async fn commits_are_flushed_before_they_are_acknowledged_i3() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path(), Mode::Durable).await.unwrap();
    assert_eq!(store.durability().settings, "journal_mode=wal synchronous=FULL");
    drop(store);
    let store = open(dir.path(), Mode::Volatile).await.unwrap();
    assert_eq!(store.durability().settings, "journal_mode=wal synchronous=OFF");
}

#[tokio::test]
async fn a_folder_that_is_opened_again_has_kept_everything() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("made on/the way/50% of #1? 红包");
    let mut kept = Vec::new();
    for number in 0..5 {
        let store = open(&folder, Mode::Durable).await.unwrap();
        let envelope = make_active(&store, number).await;
        let entries = [opening(&envelope, 1), opening(&envelope, 2)];
        assert_eq!(store.append(&entries).await.unwrap(), Append::Done);
        kept.push((envelope, entries));
        for (envelope, entries) in &kept {
            let (found, _) = store.load(envelope.id).await.unwrap().unwrap();
            assert_eq!((&found, store.entries(envelope.id, 0, 10).await.unwrap()), (envelope, entries.to_vec()));
        }
    }
}

#[tokio::test]
async fn a_folder_remembers_its_fold_and_zone_and_refuses_others() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), Mode::Durable).await.unwrap());
    for mode in [Mode::Durable, Mode::ReadOnly] {
        for (databases, tables, zone) in [(1, 1, ZONE_OFFSET_S), (2, 2, ZONE_OFFSET_S), (4, 1, 0), (2, 1, 0)] {
            let fold = Fold::new(databases, tables).unwrap();
            let reason = refusal(SqliteStore::open(dir.path(), fold, zone, mode)).await;
            assert!(reason.contains("db_00.sqlite") && reason.contains("it was made for"), "{reason}");
        }
        let found = SqliteStore::open_existing(dir.path(), mode).await.unwrap();
        assert_eq!((found.fold(), found.zone_offset_s()), (Fold::new(2, 1).unwrap(), ZONE_OFFSET_S));
    }
    assert!(!dir.path().join("db_02.sqlite").exists(), "a refused opening makes nothing");
}

#[tokio::test]
async fn files_in_each_others_place_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), Mode::Durable).await.unwrap());
    // As if db_00 had been copied over it.
    meddle(&dir.path().join("db_01.sqlite"), "UPDATE meta SET database = 0").await;
    let reason = refusal(open(dir.path(), Mode::Durable)).await;
    assert!(reason.contains("db_01.sqlite") && reason.contains("database 0 of 2"), "{reason}");
}

#[tokio::test]
async fn a_newer_schema_and_a_foreign_database_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path(), Mode::Durable).await.unwrap());
    let path = dir.path().join("db_00.sqlite");
    meddle(&path, "PRAGMA user_version = 1000").await;
    for mode in [Mode::Durable, Mode::ReadOnly] {
        let reason = refusal(open(dir.path(), mode)).await;
        assert!(reason.contains("db_00.sqlite") && reason.contains("version 1000"), "{reason}");
    }
    meddle(&path, "PRAGMA user_version = 0; PRAGMA application_id = 0").await;
    for mode in [Mode::Durable, Mode::ReadOnly] {
        let reason = refusal(open(dir.path(), mode)).await;
        assert!(reason.contains("another program"), "{reason}");
    }
}

#[tokio::test]
async fn a_folder_of_an_earlier_version_is_read_as_one_without_dated_and_sealed_tables() {
    let dir = tempfile::tempdir().unwrap();
    let made = open(dir.path(), Mode::Durable).await.unwrap();
    let envelope = make_active(&made, 1).await;
    for file in ["db_00.sqlite", "db_01.sqlite"] {
        let path = dir.path().join(file);
        meddle(&path, "DROP TABLE manifest; DROP TABLE day_table; PRAGMA user_version = 4").await;
    }
    let reader = open(dir.path(), Mode::ReadOnly).await.unwrap();
    assert_eq!(reader.load(envelope.id).await.unwrap().map(|(found, _)| found), Some(envelope));
    for database in 0..2 {
        assert_eq!(reader.manifests(database, 0, 10).await.unwrap(), []);
        assert_eq!(reader.last_manifest(database).await.unwrap(), None);
    }
    assert_eq!(reader.unsealed_tables(), reader.tables());
}

#[tokio::test]
async fn a_file_that_is_no_database_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("db_00.sqlite"), "there is no money in here").unwrap();
    for mode in [Mode::Durable, Mode::ReadOnly] {
        let reason = refusal(open(dir.path(), mode)).await;
        assert!(reason.contains("db_00.sqlite") && reason.contains("not a database"), "{reason}");
    }
}

#[tokio::test]
async fn a_reader_follows_a_service_that_is_running_and_writes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let service = open(dir.path(), Mode::Durable).await.unwrap();
    let reader = SqliteStore::open_existing(dir.path(), Mode::ReadOnly).await.unwrap();
    let envelope = make_active(&service, 1).await;
    for seq in 1..=3 {
        service.append(&[opening(&envelope, seq)]).await.unwrap();
        let (_, journal) = reader.load(envelope.id).await.unwrap().unwrap();
        assert_eq!(journal.last_seq, seq);
    }
    assert!(matches!(reader.append(&[opening(&envelope, 4)]).await, Err(StoreError::Unavailable(_))));
    assert!(matches!(reader.cancel(envelope.id).await, Err(StoreError::Unavailable(_))));
    assert_eq!(service.entries(envelope.id, 0, 10).await.unwrap().len(), 3);
    drop(service);
    assert_eq!(reader.entries(envelope.id, 0, 10).await.unwrap().len(), 3);
}

/// The files as they stand while a service runs are what a power cut leaves of it.
#[tokio::test]
async fn what_a_crash_leaves_holds_all_that_was_acknowledged_i3() {
    let (running, crashed) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let service = open(running.path(), Mode::Durable).await.unwrap();
    let envelope = make_active(&service, 1).await;
    let entries: Vec<_> = (1..=300).map(|seq| opening(&envelope, seq)).collect();
    for batch in entries.chunks(7) {
        assert_eq!(service.append(batch).await.unwrap(), Append::Done);
    }
    for database in ["db_00", "db_01"] {
        for file in [format!("{database}.sqlite"), format!("{database}.sqlite-wal")] {
            std::fs::copy(running.path().join(&file), crashed.path().join(&file)).unwrap();
        }
    }
    for mode in [Mode::ReadOnly, Mode::Durable] {
        let found = SqliteStore::open_existing(crashed.path(), mode).await.unwrap();
        let (row, _) = found.load(envelope.id).await.unwrap().unwrap();
        assert_eq!((&row, &found.entries(envelope.id, 0, u32::MAX).await.unwrap()), (&envelope, &entries));
    }
}

#[tokio::test]
async fn a_reader_refuses_a_folder_without_data_and_leaves_it_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    for folder in [dir.path().to_owned(), dir.path().join("missing")] {
        for reason in [
            refusal(open(&folder, Mode::ReadOnly)).await,
            refusal(SqliteStore::open_existing(&folder, Mode::ReadOnly)).await,
            refusal(SqliteStore::open_existing(&folder, Mode::Durable)).await,
        ] {
            assert!(reason.contains("no Hongbao data") && reason.contains(folder.to_str().unwrap()), "{reason}");
        }
    }
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
    std::fs::write(dir.path().join("db_00.sqlite"), "").unwrap();
    let reason = refusal(SqliteStore::open_existing(dir.path(), Mode::ReadOnly)).await;
    assert!(reason.contains("no Hongbao data"), "{reason}");
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let reason = refusal(open(&file, Mode::Durable)).await;
    assert!(reason.contains(file.to_str().unwrap()), "{reason}");
    let reason = refusal(open(&file.join("below"), Mode::Durable)).await;
    assert!(reason.contains(file.to_str().unwrap()), "{reason}");
}

/// Permissions do not stop root, but the kernel lets nobody make files here.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_read_only_folder_is_named() {
    let reason = refusal(open(Path::new("/proc/self"), Mode::Durable)).await;
    assert!(reason.contains("/proc/self/db_00.sqlite"), "{reason}");
}

#[tokio::test]
async fn a_verb_that_is_dropped_half_way_writes_all_or_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Fold::new(1, 10).unwrap(), ZONE_OFFSET_S, Mode::Durable).await.unwrap();
    // What a dropped verb writes late is not taken for another program's.
    store.files()[0].watch().await.unwrap();
    let one = make_active(&store, 0).await;
    let mut two = make_active(&store, 1).await;
    while store.table_of(two.id) == store.table_of(one.id) {
        let next = two.id.as_bytes()[15] + 1;
        two = make_active(&store, next).await;
    }
    // Each step waits for the database once more before it is dropped, and so comes further.
    for polls in (0..10).cycle().take(50) {
        let last_seq = store.load(one.id).await.unwrap().unwrap().1.last_seq;
        let batch = [opening(&one, last_seq + 1), opening(&two, last_seq + 1)];
        let mut append = std::pin::pin!(store.append(&batch));
        for _ in 0..polls {
            let poll = std::future::poll_fn(|context| Poll::Ready(append.as_mut().poll(context)));
            if poll.await.is_ready() {
                break;
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
    }
    // A verb that finishes comes after all that were dropped. The first may still lose to one of them.
    for _ in 0..2 {
        let last_seq = store.load(one.id).await.unwrap().unwrap().1.last_seq;
        store.append(&[opening(&one, last_seq + 1), opening(&two, last_seq + 1)]).await.unwrap();
    }
    let last_seq = store.load(one.id).await.unwrap().unwrap().1.last_seq;
    assert!(last_seq >= 1);
    for envelope in [&one, &two] {
        let entries = store.entries(envelope.id, 0, u32::MAX).await.unwrap();
        assert_eq!(entries, (1..=last_seq).map(|seq| opening(envelope, seq)).collect::<Vec<_>>());
    }
}
