//! Fewer days on MariaDB, where a table is renamed and made by statements that other nodes and connections see.

use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_core::{Date, Slot, Traffic};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::mysql::{Layout, MysqlStore};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::archive_in;
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet};
use tempfile::TempDir;

use crate::service::{Service, ZONE_S};
use crate::{day_by_day, off_after_the_29th_of_february};

/// A service over a MariaDB of its own, and an archive.
async fn mariadb(first_day: &str) -> (Service, (Part, TempDir)) {
    let (part, dir) = (Part::mariadb(&[]), tempfile::tempdir().unwrap());
    let options = MysqlOptions {
        nodes: vec![part.node().parse().unwrap()],
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        ..MysqlOptions::default()
    };
    let layout = Layout::always(Slot::all(), Fold::new(1, 1).unwrap(), ZONE_S, Traffic::Live);
    let through = Date::parse(&first_day[..10].replace('-', "")).unwrap();
    hongbao_store::mysql::migrate(options.clone(), &layout, through).await.unwrap();
    let store = MysqlStore::open(options.clone(), layout).await.unwrap();
    let servers =
        || vec![DatabaseServer { options: options.clone(), slots: Slot::all().collect(), traffic: Traffic::Live }];
    store.archive_in(archive_in(dir.path()));
    hongbao_wallet::mysql::migrate(&servers(), 1).await.unwrap();
    let wallet = MysqlWallet::open(servers(), 1).await.unwrap();
    (Service::new(Arc::new(store), Arc::new(wallet), first_day).await, (part, dir))
}

/// A February of 28 days among them.
#[tokio::test]
async fn fifty_days_on_mariadb_without_a_worker_for_ten() {
    let (mut service, _parts) = mariadb("2026-02-10T10:00:00+08:00").await;
    day_by_day(&mut service, 50, 25..35).await;
}

#[tokio::test]
async fn a_leap_year_on_mariadb_and_a_service_that_was_off_for_forty_days() {
    let (mut service, _part) = mariadb("2028-02-20T10:00:00+08:00").await;
    off_after_the_29th_of_february(&mut service).await;
}
