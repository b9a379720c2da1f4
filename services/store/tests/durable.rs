//! Readings during which the database server is started anew. A guard counts the
//! starts, and another store takes the place of the first: what a crash has left.
//! So no server has to be killed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hongbao_core::id::Fold;
use hongbao_core::limits::DURABLE_READ_TRIES_MAX;
use hongbao_core::{Envelope, Journal};
use hongbao_database::sqlite::file::Mode;
use hongbao_database::{Durable, Reading, durably};
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Journals as _, Store, StoreError};
use hongbao_testkit::faults::{FaultInjectingStore, Replaceable, StoreFaults, StoreVerb};
use hongbao_testkit::store_suite::{NOW, id_at, make_active, openings, write};
use tempfile::TempDir;

/// How often the server was started anew, and how many barriers were asked for.
#[derive(Default)]
struct Server {
    starts: AtomicU64,
    barriers: AtomicU32,
}

impl StoreFaults for Server {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        if matches!(verb, StoreVerb::Barrier) {
            self.barriers.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }

    fn starts(&self) -> u64 {
        self.starts.load(Ordering::SeqCst)
    }
}

/// A store that shows an opening which is not durable.
struct Database {
    server: Arc<Server>,
    /// What can be read.
    visible: Arc<Replaceable<dyn Store>>,
    /// What a crash leaves: the same envelope, and nobody has opened it.
    durable: Arc<dyn Store>,
    envelope: Envelope,
    _folders: [TempDir; 2],
}

async fn open(folder: &TempDir) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(folder.path(), Fold::new(1, 1).unwrap(), 28_800, Mode::Volatile).await.unwrap())
}

impl Database {
    async fn new() -> Database {
        let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
        let (visible, durable) = (open(&folders[0]).await, open(&folders[1]).await);
        let envelope = make_active(&visible, id_at(NOW, 1)).await;
        make_active(&durable, envelope.id).await;
        let (_, nothing) = visible.load(envelope.id).await.unwrap().expect("it was just made");
        write(&visible, &openings(&envelope, nothing, ["lost"])).await;
        let (server, visible) = (Arc::default(), Arc::new(Replaceable::new(visible)));
        Database { server, visible, durable, envelope, _folders: folders }
    }

    fn dies_and_is_started_anew(&self) {
        self.visible.replace(self.durable.clone());
        self.server.starts.fetch_add(1, Ordering::SeqCst);
    }

    fn barriers(&self) -> u32 {
        self.server.barriers.load(Ordering::SeqCst)
    }

    /// Reads the envelope durably, from a server that is started anew behind each of
    /// the first `restarts` readings; also tells how often it was read.
    async fn read_across(&self, restarts: u32) -> (Result<Option<Durable<(Envelope, Journal)>>, StoreError>, u32) {
        let store = FaultInjectingStore::replaceable(self.visible.clone(), self.server.clone());
        let readings = AtomicU32::new(0);
        let read = durably(&store, || async {
            let found = store.load(self.envelope.id).await?;
            if readings.fetch_add(1, Ordering::SeqCst) < restarts {
                self.dies_and_is_started_anew();
            }
            Ok(found)
        });
        (read.await, readings.load(Ordering::SeqCst))
    }
}

#[tokio::test]
async fn a_reading_whose_server_is_started_anew_each_time_is_given_up_and_nothing_comes_of_it() {
    let database = Database::new().await;
    let (read, readings) = database.read_across(u32::MAX).await;
    match read {
        Err(StoreError::Unavailable(reason)) => assert!(reason.contains("started anew"), "{reason}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(readings, DURABLE_READ_TRIES_MAX);
    assert_eq!(database.barriers(), DURABLE_READ_TRIES_MAX, "each reading was void, not refused");
}

#[tokio::test]
async fn a_reading_is_done_again_and_answers_what_there_is_on_the_start_that_stays() {
    for restarts in 0..DURABLE_READ_TRIES_MAX {
        let database = Database::new().await;
        let (read, readings) = database.read_across(restarts).await;
        let (_, journal) = read.unwrap().expect("the envelope is durable").into_inner();
        let is_there = u32::from(restarts == 0);
        assert_eq!((journal.last_seq, readings), (is_there, restarts + 1), "started anew {restarts} times");
    }
}

/// Which start answers is asked before the first statement, not with the barrier.
#[tokio::test]
async fn a_server_that_is_started_anew_before_the_first_statement_voids_the_reading_too() {
    let database = Database::new().await;
    let store = FaultInjectingStore::replaceable(database.visible.clone(), database.server.clone());
    let reading = Reading::begin(&store);
    database.dies_and_is_started_anew();
    let found = store.load(database.envelope.id).await.unwrap();
    assert!(reading.end(found).await.unwrap().is_none());
}
