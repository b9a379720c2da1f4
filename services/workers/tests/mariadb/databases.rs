//! The MariaDB of these tests, and a SET and a wallet in it.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use hongbao_core::id::Fold;
use hongbao_core::{Date, Slot};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_testbed::Part;
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet};
use sqlx::ConnectOptions as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use tokio::sync::OnceCell;

use crate::common::{World, ZONE_S};

/// Databases over all slots.
const FOLD: u8 = 10;

pub fn mariadb() -> &'static Part {
    static MARIADB: OnceLock<Part> = OnceLock::new();
    MARIADB.get_or_init(|| Part::mariadb(&[]))
}

pub fn options(part: &Part) -> MysqlOptions {
    MysqlOptions {
        nodes: vec![part.node().parse().unwrap()],
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        ..MysqlOptions::default()
    }
}

/// Each test has a SET of its own in the one MariaDB: the databases of one slot.
pub async fn set(slot: u8) -> Arc<MysqlStore> {
    static MIGRATED: OnceCell<()> = OnceCell::const_new();
    let every = layout(Slot::all().take(FOLD.into()));
    MIGRATED.get_or_init(|| migrated(mariadb(), &every)).await;
    open(mariadb(), layout(Slot::new(slot))).await
}

pub async fn set_on(part: &Part, slot: u8) -> Arc<MysqlStore> {
    let layout = layout(Slot::new(slot));
    migrated(part, &layout).await;
    open(part, layout).await
}

pub fn layout(slots: impl IntoIterator<Item = Slot>) -> Layout {
    Layout::always(slots, Fold::new(FOLD, 1).unwrap(), ZONE_S, hongbao_core::Traffic::Live)
}

pub async fn migrated(part: &Part, layout: &Layout) {
    // A world begins on 16 February; the processes rotate to the wall clock.
    migrate(options(part), layout, Date::parse("20260217").unwrap()).await.unwrap();
}

pub async fn open(part: &Part, layout: Layout) -> Arc<MysqlStore> {
    Arc::new(MysqlStore::open(options(part), layout).await.unwrap())
}

/// A process's wallet, in one database.
pub async fn wallet_on(part: &Part) -> Arc<MysqlWallet> {
    let homes = vec![DatabaseServer {
        options: options(part),
        slots: Slot::all().collect(),
        traffic: hongbao_core::Traffic::Live,
    }];
    hongbao_wallet::mysql::migrate(&homes, 1).await.unwrap();
    Arc::new(MysqlWallet::open(homes, 1).await.unwrap())
}

/// A connection of our own.
pub async fn raw() -> MySqlConnection {
    raw_on(mariadb()).await
}

/// The same to this one.
pub async fn raw_on(part: &Part) -> MySqlConnection {
    let address = part.address();
    let options = MySqlConnectOptions::new().host("127.0.0.1").port(address.port());
    options.username("hongbao").password("hongbao").ssl_mode(MySqlSslMode::Disabled).connect().await.unwrap()
}

pub async fn world(slot: u8, store: Arc<MysqlStore>) -> World {
    let mut world = World::on(store, tempfile::tempdir().unwrap()).await;
    world.slots = vec![Slot::new(slot).unwrap()];
    world
}

pub async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}
