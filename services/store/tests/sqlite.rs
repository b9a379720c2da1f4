//! The behaviour suite on SQLite.

use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_database::sqlite::file::Mode;
use hongbao_store::sqlite::SqliteStore;
use hongbao_testkit::store_suite::Fixture;

/// China's zone, in seconds ahead of UTC.
const ZONE_OFFSET_S: i32 = 28_800;

async fn empty() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let fold = Fold::new(2, 2).unwrap();
    let store = SqliteStore::open(dir.path(), fold, ZONE_OFFSET_S, Mode::Durable).await.unwrap();
    let other = SqliteStore::open(dir.path(), fold, ZONE_OFFSET_S, Mode::Durable).await.unwrap();
    Fixture { store: Arc::new(store), other: Arc::new(other), guard: Box::new(dir) }
}

hongbao_testkit::store_behaviours!(empty);
