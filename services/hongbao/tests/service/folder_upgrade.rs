//! A folder of before there were marks: it is taken over once, when it is whole.

use std::fs;
use std::path::Path;

use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _, Executor as _};

use crate::support::{Folder, Service, audit_of, text};

const META: &str = include_str!("../../../../sql/sqlite/envelope/0001_meta.sql");
const DAY_TABLE: &str = include_str!("../../../../sql/sqlite/envelope/0002_day_tables.sql");
const LEDGER: &str = include_str!("../../../../sql/sqlite/wallet/0001_ledger.sql");

async fn database(path: &Path) -> SqliteConnection {
    SqliteConnectOptions::new().filename(path).create_if_missing(true).connect().await.unwrap()
}

/// As the version of before has made it: a database, a wallet, and what user `li` has.
fn make_old(folder: &Folder) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let data = folder.data();
        fs::create_dir_all(&data).unwrap();
        let mut envelopes = database(&data.join("db_00.sqlite")).await;
        let days: String =
            (1..=31).map(|day| DAY_TABLE.replace("{y}", "0").replace("{dd}", &format!("{day:02}"))).collect();
        let rest = "INSERT INTO meta VALUES (1, 0, 1, 1, 28800); \
             PRAGMA application_id = 0x484f4e47; PRAGMA user_version = 2; PRAGMA journal_mode = wal;";
        for sql in [META, &days, rest] {
            envelopes.execute(sqlx::raw_sql(sql)).await.unwrap();
        }
        envelopes.close().await.unwrap();

        let mut wallet = database(&data.join("wallet_00.sqlite")).await;
        let steps = folder.path("steps");
        fs::create_dir_all(&steps).unwrap();
        fs::write(steps.join("0001_ledger.sql"), LEDGER).unwrap();
        Migrator::new(steps.as_path()).await.unwrap().run_direct(&mut wallet).await.unwrap();
        let money = "INSERT INTO transfer (id, user_id, kind, amount_fen, contra, balance_fen, at_ms) \
             VALUES (x'010123456789abcdef0123456789abcdef00000000', 'li', 1, 700, '#top_ups', 700, 0); \
             UPDATE system_account SET balance_fen = -700 WHERE account = '#top_ups'; PRAGMA journal_mode = wal;";
        wallet.execute(sqlx::raw_sql(money)).await.unwrap();
        wallet.close().await.unwrap();
    });
}

#[test]
fn a_whole_folder_of_the_version_before_is_taken_over_once() {
    let folder = Folder::new();
    make_old(&folder);
    // To look at it takes nothing over.
    let audit = audit_of(&folder.data());
    assert_eq!(audit.status.code(), Some(0), "{}{}", text(&audit.stdout), text(&audit.stderr));

    let mut service = Service::start_in(&folder, "");
    assert_eq!(service.user("li").balance(), 700);
    service.check();
    service.terminate();
    assert!(service.wait().success());

    // From now on its files know each other.
    let other = Folder::new();
    make_old(&other);
    fs::copy(other.data().join("wallet_00.sqlite"), folder.data().join("wallet_00.sqlite")).unwrap();
    let refused = Service::try_start_in(&folder, "").err().expect("it is refused");
    assert!(refused.contains("wallet_00.sqlite belongs to another folder"), "{refused}");
}

#[test]
fn a_folder_of_the_version_before_with_a_file_missing_is_not_taken_over() {
    for (name, reason) in [
        ("wallet_00.sqlite", "wallet_00.sqlite is missing"),
        ("db_00.sqlite", "db_00.sqlite is missing, though wallet_00.sqlite is there"),
    ] {
        let folder = Folder::new();
        make_old(&folder);
        fs::remove_file(folder.data().join(name)).unwrap();
        let refused = Service::try_start_in(&folder, "").err().expect("it is refused");
        assert!(refused.contains(reason), "{refused}");
        assert!(!folder.data().join(name).exists(), "nothing was made");
        assert_eq!(audit_of(&folder.data()).status.code(), Some(2));
    }
}
