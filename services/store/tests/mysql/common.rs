//! One MariaDB for all tests of this binary.

use std::sync::{Arc, OnceLock};

use hongbao_core::id::Fold;
use hongbao_core::{Day, Slot};
use hongbao_parts::Part;
use hongbao_store::mysql::connection::{Connections, MysqlOptions};
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_store::suite::Fixture;
use sqlx::Executor as _;
use tokio::sync::{Mutex, MutexGuard};

/// Names the nodes of a database to run the behaviours on, instead of a private
/// MariaDB: `host:port,host:port`. It is emptied again and again.
const NODES: &str = "TEST_MYSQL_NODES";

/// Two databases with two tables a day.
pub fn layout() -> Layout {
    let fold = Fold::new(2, 2).expect("2 divides 100 and 10");
    Layout { fold, slots: Slot::all().collect(), zone_offset_s: 28_800 }
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

/// The nodes of the database that all tests share.
pub fn shared_nodes() -> Vec<String> {
    static SHARED: OnceLock<Part> = OnceLock::new();
    match std::env::var(NODES) {
        Ok(nodes) => nodes.split(',').map(str::to_owned).collect(),
        Err(_) => vec![SHARED.get_or_init(|| Part::mariadb(&[])).node()],
    }
}

/// Empty databases, for one test at a time.
pub async fn empty() -> Fixture {
    static ONE_AT_A_TIME: Mutex<bool> = Mutex::const_new(false);
    let mut migrated: MutexGuard<'static, bool> = ONE_AT_A_TIME.lock().await;
    let options = options(&shared_nodes());
    if !*migrated {
        migrate(options.clone(), &layout()).await.unwrap();
        *migrated = true;
    }
    delete_everything(&options).await;
    let open = || async { Arc::new(MysqlStore::open(options.clone(), layout()).await.unwrap()) };
    Fixture { store: open().await, other: open().await, guard: Box::new(migrated) }
}

async fn delete_everything(options: &MysqlOptions) {
    let mut sql = String::new();
    for (_, database) in layout().databases() {
        for table in 0..layout().fold.tables() {
            for day in Day::all() {
                let day = day.number();
                sql += &format!("DELETE FROM {database}.envelope_{table}_{day:02};");
                sql += &format!("DELETE FROM {database}.entry_{table}_{day:02};");
            }
        }
    }
    let connections = Connections::open(options.clone()).await.unwrap();
    connections.lease().await.unwrap().connection().execute(sqlx::raw_sql(&sql)).await.unwrap();
}
