//! The drop of an exported table that others read, or of which one half is gone.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hongbao_store::Store;
use hongbao_store::mysql::MysqlStore;
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{Fixture, archive_in, journal_of, noted};
use sqlx::Executor as _;

use crate::common::{layout_of, options, own, root};

/// A process's store, with the archive in this folder.
async fn open(part: &Part, archive: &Path) -> Arc<dyn Store> {
    let store = MysqlStore::open(options(&[part.node()]), layout_of(1, 1)).await.unwrap();
    store.archive_in(archive_in(archive));
    Arc::new(store)
}

async fn world() -> (Part, Fixture) {
    let (part, _) = own(&[], Duration::from_secs(5)).await;
    let dir = tempfile::tempdir().unwrap();
    let (store, other) = (open(&part, dir.path()).await, open(&part, dir.path()).await);
    (part, Fixture { store, other, guard: Box::new(dir) })
}

#[tokio::test]
async fn a_drop_that_waits_for_a_reader_of_either_half_leaves_both() {
    let (part, on) = world().await;
    let (envelope, table) = noted(&on).await;
    let before = journal_of(&on.store, envelope.id).await;
    let name = |half: &str| format!("db_00_cold.{half}_{}_{}", table.table, table.span);
    for half in ["envelope", "entry"] {
        let mut reader = root(&part).await;
        reader.execute("START TRANSACTION").await.unwrap();
        reader.fetch_all(&*format!("SELECT * FROM {}", name(half))).await.unwrap();
        assert!(!on.store.drop_exported(table).await.unwrap(), "{half} is being read");
        for half in ["envelope", "entry"] {
            root(&part).await.fetch_all(&*format!("SELECT * FROM {}", name(half))).await.unwrap();
        }
        reader.execute("ROLLBACK").await.unwrap();
        assert_eq!(journal_of(&on.other, envelope.id).await, before);
    }
    assert!(on.store.drop_exported(table).await.unwrap());
    assert_eq!(journal_of(&on.other, envelope.id).await, before);
}

/// A server that dies in a drop may leave one half, and a process may know the table and not its note.
#[tokio::test]
async fn half_of_an_exported_table_is_read_from_its_file() {
    let (part, on) = world().await;
    let (envelope, table) = noted(&on).await;
    let before = journal_of(&on.store, envelope.id).await;
    assert!(!on.other.is_exported(table));
    root(&part).await.execute(&*format!("DROP TABLE db_00_cold.entry_{}_{}", table.table, table.span)).await.unwrap();
    for store in [&on.store, &on.other] {
        assert_eq!(journal_of(store, envelope.id).await, before);
        assert!(store.is_exported(table));
    }
    assert!(on.other.drop_exported(table).await.unwrap(), "the other half goes, too");
    assert_eq!((on.other.sealed_tables(), journal_of(&on.store, envelope.id).await), (vec![], before));
}
