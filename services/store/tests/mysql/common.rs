//! One MariaDB for all tests of this binary that leave it as it is, and private
//! ones for those that do not.

use std::path::Path;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hongbao_core::id::Fold;
use hongbao_core::{Day, Entry, EntryKind, Envelope, Fen, Slot, Traffic};
use hongbao_database::mysql::connection::{Connections, Lease, MysqlOptions};
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_store::{Store, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{self, Fixture, NOW, archive_in, created, id_at, through};
use sqlx::{Connection as _, Executor as _, MySqlConnection};
use tokio::sync::{Mutex, MutexGuard};

/// Names the nodes of a database to run the behaviours on, instead of a private
/// MariaDB: `host:port,host:port`. It is emptied again and again.
const NODES: &str = "TEST_MYSQL_NODES";

/// Two databases with two tables a day.
pub fn layout() -> Layout {
    layout_of(2, 2)
}

/// One database with one table a day, beside those of [`layout`].
pub fn small_layout() -> Layout {
    Layout { traffic: Traffic::Shadow, ..layout_of(1, 1) }
}

/// So many databases and tables a day, of all slots.
pub fn layout_of(databases: u8, tables: u8) -> Layout {
    let fold = Fold::new(databases, tables).expect("the tests use divisors of 100 and 10");
    Layout::always(Slot::all(), fold, 28_800, Traffic::Live)
}

/// How to reach these nodes.
pub fn options(nodes: &[String]) -> MysqlOptions {
    MysqlOptions {
        nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        ..MysqlOptions::default()
    }
}

/// The MariaDB that all tests share.
pub fn shared() -> &'static Part {
    static SHARED: OnceLock<Part> = OnceLock::new();
    SHARED.get_or_init(|| Part::mariadb(&[]))
}

/// Databases that are made once and emptied for each test, one test at a time.
pub struct Databases {
    migrated: Mutex<bool>,
    layout: fn() -> Layout,
}

impl Databases {
    /// None yet.
    pub const fn new(layout: fn() -> Layout) -> Databases {
        Databases { migrated: Mutex::const_new(false), layout }
    }

    /// Empties them; they are this test's until the guard is dropped.
    pub async fn emptied(&'static self, nodes: &[String]) -> MutexGuard<'static, bool> {
        let mut migrated = self.migrated.lock().await;
        let (options, layout) = (options(nodes), (self.layout)());
        let connections = Connections::open(options.clone()).await.unwrap();
        let mut lease = connections.lease().await.unwrap();
        // Those of another run, and of tests that rotate, have tables that no test empties.
        if !*migrated || have_been_rotated(&mut lease, &layout).await {
            let all = layout.all_databases().into_iter().map(|name| format!("DROP DATABASE IF EXISTS {name};"));
            lease.connection().execute(sqlx::raw_sql(&all.collect::<String>())).await.unwrap();
            *migrated = false;
        }
        if !*migrated {
            migrate(options.clone(), &layout, through()).await.unwrap();
            *migrated = true;
        }
        delete_everything(&mut lease, &layout).await;
        migrated
    }
}

/// An empty store, opened twice.
pub async fn empty() -> Fixture {
    static DATABASES: Databases = Databases::new(layout);
    let nodes = nodes();
    let guard = DATABASES.emptied(&nodes).await;
    Fixture { store: open(&nodes).await, other: open(&nodes).await, guard: Box::new(guard) }
}

/// The same with one day table a day, so that a rotation of many days takes little time.
pub async fn empty_and_small() -> Fixture {
    static DATABASES: Databases = Databases::new(small_layout);
    let nodes = nodes();
    let (guard, dir) = (DATABASES.emptied(&nodes).await, tempfile::tempdir().unwrap());
    let (store, other) = (open_small(&nodes, dir.path()).await, open_small(&nodes, dir.path()).await);
    Fixture { store, other, guard: Box::new((guard, dir)) }
}

/// The nodes that the behaviours run on.
pub fn nodes() -> Vec<String> {
    match std::env::var(NODES) {
        Ok(nodes) => nodes.split(',').map(str::to_owned).collect(),
        Err(_) => vec![shared().node()],
    }
}

/// A store of [`small_layout`].
pub async fn open_small(nodes: &[String], archive: &Path) -> Arc<dyn Store> {
    let store = MysqlStore::open(options(nodes), small_layout()).await.unwrap();
    store.archive_in(archive_in(archive));
    Arc::new(store)
}

/// A store on nodes that have its databases.
pub async fn open(nodes: &[String]) -> Arc<dyn Store> {
    Arc::new(MysqlStore::open(options(nodes), layout()).await.unwrap())
}

async fn have_been_rotated(lease: &mut Lease, layout: &Layout) -> bool {
    let text = "SELECT 1 FROM information_schema.tables WHERE table_schema IN ";
    let text = format!("{text} ('{}_cold') LIMIT 1", layout.database(0));
    lease.connection().fetch_optional(&*text).await.unwrap().is_some()
}

async fn delete_everything(lease: &mut Lease, layout: &Layout) {
    let mut sql = String::new();
    for (_, database) in layout.databases() {
        for table in 0..layout.tables() {
            for day in Day::all() {
                let day = day.number();
                sql += &format!("DELETE FROM {database}.envelope_{table}_{day:02};");
                sql += &format!("DELETE FROM {database}.entry_{table}_{day:02};");
            }
        }
    }
    lease.connection().execute(sqlx::raw_sql(&sql)).await.unwrap();
}

/// A MariaDB of its own for a test, and a store with one database on it.
pub async fn own(mariadb_options: &[&str], statement_timeout: Duration) -> (Part, Arc<dyn Store>) {
    own_with(mariadb_options, MysqlOptions { statement_timeout, ..MysqlOptions::default() }).await
}

/// The same, with these bounds.
pub async fn own_with(mariadb_options: &[&str], bounds: MysqlOptions) -> (Part, Arc<dyn Store>) {
    with_store(Part::mariadb(mariadb_options), layout_of(1, 1), bounds).await
}

/// The same, with a log that can be stalled.
pub async fn own_that_stalls(statement_timeout: Duration) -> (Part, Arc<dyn Store>) {
    own_that_stalls_with(layout_of(1, 1), statement_timeout).await
}

/// The same, with these databases.
pub async fn own_that_stalls_with(layout: Layout, statement_timeout: Duration) -> (Part, Arc<dyn Store>) {
    let part = Part::mariadb_with_a_log_that_stalls("ib_logfile0", &[]);
    with_store(part, layout, MysqlOptions { statement_timeout, ..MysqlOptions::default() }).await
}

async fn with_store(part: Part, layout: Layout, bounds: MysqlOptions) -> (Part, Arc<dyn Store>) {
    let MysqlOptions { nodes, user, password, .. } = options(&[part.node()]);
    let options = MysqlOptions { nodes, user, password, ..bounds };
    migrate(options.clone(), &layout, through()).await.unwrap();
    let store = MysqlStore::open(options, layout).await.unwrap();
    (part, Arc::new(store))
}

/// A connection of the database's operator.
pub async fn root(part: &Part) -> MySqlConnection {
    MySqlConnection::connect(&format!("mysql://root@{}", part.node())).await.unwrap()
}

/// Stores an active envelope with so many shares of one fen that nobody gets to their end.
pub async fn make_large(store: &Arc<dyn Store>, number: u64) -> Envelope {
    let (total, shares) = (Fen::new(1_000_000).expect("positive"), 1_000_000);
    let envelope = Envelope { total, shares, ..created(id_at(NOW, number)) };
    store.create(std::slice::from_ref(&envelope)).await.unwrap();
    store.activate(envelope.id, NOW.plus_millis(store_suite::DAY_MS)).await.unwrap();
    envelope
}

/// Entries of one fen each, with these places in the journal, by users of this name.
pub fn entries(envelope: &Envelope, seqs: std::ops::RangeInclusive<u32>, name: &str) -> Vec<Entry> {
    let entry = |seq| Entry {
        envelope_id: envelope.id,
        seq,
        kind: EntryKind::Open(store_suite::user(format!("{name}_{seq}"))),
        amount: Fen::new(1).expect("positive"),
        remaining: Fen::new(envelope.total.get() - i64::from(seq)).expect("nobody gets to the end"),
        at: NOW,
    };
    seqs.map(entry).collect()
}

/// The words of the error that says that nothing was written.
pub fn unavailable<T>(outcome: Result<T, impl Into<StoreError>>) -> String {
    match outcome.map_err(Into::into) {
        Err(StoreError::Unavailable(reason)) => reason,
        Err(other) => panic!("{other:?}"),
        Ok(_) => panic!("it succeeded"),
    }
}
