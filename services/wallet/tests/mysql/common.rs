//! One MariaDB for the tests of this binary that leave it alive.

use std::sync::{Arc, OnceLock};

use hongbao_core::{Slot, Traffic};
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_testbed::Part;
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet, migrate};
use hongbao_wallet::{Boundaries, Wallet};
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;
use tokio::sync::{Mutex, MutexGuard};

/// Names the nodes of a database to run the behaviours on, instead of a private
/// MariaDB: `host:port,host:port`. It is emptied again and again.
const NODES: &str = "TEST_MYSQL_NODES";

/// Shards of the wallets here.
pub const DATABASES: u8 = 4;

/// How to reach these nodes.
pub fn options(nodes: &[String]) -> MysqlOptions {
    MysqlOptions {
        nodes: nodes.iter().map(|node| node.parse().unwrap()).collect(),
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        ..MysqlOptions::default()
    }
}

/// One home for all users.
pub fn homes(nodes: &[String]) -> Vec<DatabaseServer> {
    vec![DatabaseServer { options: options(nodes), slots: Slot::all().collect(), traffic: Traffic::Live }]
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
pub async fn empty_homes() -> (Vec<DatabaseServer>, MutexGuard<'static, bool>) {
    static ONE_AT_A_TIME: Mutex<bool> = Mutex::const_new(false);
    let mut migrated = ONE_AT_A_TIME.lock().await;
    let homes = homes(&shared_nodes());
    if !*migrated {
        drop_all().await;
        migrate(&homes, DATABASES).await.unwrap();
        *migrated = true;
    }
    for database in 0..DATABASES {
        let db = format!("wallet_{database:02}");
        // Much slower than to look whether it is necessary.
        if !sql(&shared_nodes(), &format!("SELECT 1 FROM {db}.transfer LIMIT 1")).await.is_empty() {
            sql(&shared_nodes(), &format!("TRUNCATE {db}.transfer")).await;
        }
        for table in ["request_key", "provider_order", "freeze_log", "user_day", "counted_order", "reservation"] {
            sql(&shared_nodes(), &format!("DELETE FROM {db}.{table}")).await;
        }
        sql(&shared_nodes(), &format!("DELETE FROM {db}.event; UPDATE {db}.event_end SET last_position = 0")).await;
        let zero = "clearing_fen = 0, top_ups_fen = 0, provider_fen = 0, payouts_fen = 0, last_position = 0";
        sql(&shared_nodes(), &format!("UPDATE {db}.ledger SET {zero}")).await;
    }
    (homes, migrated)
}

/// How to reach the databases, none of which exists. The next test makes its own.
pub async fn no_homes() -> (Vec<DatabaseServer>, MutexGuard<'static, bool>) {
    let (homes, mut migrated) = empty_homes().await;
    *migrated = false;
    drop_all().await;
    (homes, migrated)
}

async fn drop_all() {
    let all: Vec<String> = (0..DATABASES).map(|number| format!("DROP DATABASE IF EXISTS wallet_{number:02}")).collect();
    sql(&shared_nodes(), &all.join(";")).await;
}

/// An empty wallet.
pub async fn empty() -> (Arc<dyn Wallet>, MutexGuard<'static, bool>) {
    let (homes, guard) = empty_homes().await;
    (Arc::new(MysqlWallet::open(homes, DATABASES).await.unwrap()), guard)
}

/// Runs statements beside the wallets; gives the rows.
pub async fn sql(nodes: &[String], text: &str) -> Vec<MySqlRow> {
    try_sql(nodes, text).await.unwrap()
}

/// The same for statements that may be refused.
pub async fn try_sql(nodes: &[String], text: &str) -> Result<Vec<MySqlRow>, sqlx::Error> {
    let connections = Connections::open(options(nodes)).await.unwrap();
    let mut lease = connections.lease().await.unwrap();
    lease.connection().fetch_all(sqlx::raw_sql(text)).await
}

/// Every account is the sum of its transfers and the books balance; gives all that came from outside.
pub async fn audited(wallet: &dyn Wallet) -> i128 {
    for row in wallet.accounts(None, u32::MAX, &Boundaries::default()).await.unwrap() {
        assert_eq!(row.balance_fen.map(i128::from), Some(row.transfers_sum_fen), "{}", row.account);
    }
    let books = wallet.books().await.unwrap();
    assert_eq!(books.check(), None);
    books.top_ups_fen
}
