//! The behaviour suite on SQLite.

use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_database::sqlite::file::Mode;
use hongbao_store::sqlite::SqliteStore;
use hongbao_testkit::store_suite::{Fixture, archive_in};

/// China's zone, in seconds ahead of UTC.
const ZONE_OFFSET_S: i32 = 28_800;

async fn empty() -> Fixture {
    with_fold(2, 2).await
}

async fn empty_and_small() -> Fixture {
    with_fold(1, 1).await
}

async fn with_fold(databases: u8, tables: u8) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let fold = Fold::new(databases, tables).unwrap();
    let store = SqliteStore::open(dir.path(), fold, ZONE_OFFSET_S, Mode::Durable).await.unwrap();
    let other = SqliteStore::open(dir.path(), fold, ZONE_OFFSET_S, Mode::Durable).await.unwrap();
    for opened in [&store, &other] {
        opened.archive_in(archive_in(dir.path()));
    }
    Fixture { store: Arc::new(store), other: Arc::new(other), guard: Box::new(dir) }
}

hongbao_testkit::store_behaviours!(empty);
hongbao_testkit::rotation_behaviours!(empty_and_small);
