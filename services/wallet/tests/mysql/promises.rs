//! What was promised at the start is changed under a running wallet, in one of its
//! homes; and connections that lay idle.

use std::time::{Duration, Instant};

use hongbao_core::TransferOutcome::Done;
use hongbao_core::{Slot, Traffic};
use hongbao_testbed::Part;
use hongbao_testkit::wallet_suite::{top_up, user};
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet, migrate};
use hongbao_wallet::{Wallet, WalletError, WalletReads as _};
use sqlx::{Connection as _, Executor as _, MySqlConnection};

use crate::common::{audited, options};

/// How long a busy machine may take to notice what is read once a second.
const NOTICED_WITHIN: Duration = Duration::from_secs(10);

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < NOTICED_WITHIN, "{what} is not noticed");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn root(part: &Part) -> MySqlConnection {
    MySqlConnection::connect(&format!("mysql://root@{}", part.node())).await.unwrap()
}

/// Half of the users each.
fn homes(parts: [&Part; 2]) -> Vec<DatabaseServer> {
    let half = |part: &Part, slots: std::ops::Range<u8>| DatabaseServer {
        options: options(&[part.node()]),
        slots: slots.filter_map(Slot::new).collect(),
        traffic: Traffic::Live,
    };
    vec![half(parts[0], 0..50), half(parts[1], 50..100)]
}

/// A user of each home: `ann` has slot 83, and `user_7` 23.
const OF_HOMES: [&str; 2] = ["user_7", "ann"];

#[tokio::test]
async fn a_home_whose_durability_is_switched_off_refuses_alone_until_it_is_back_i3() {
    let (one, two) = (Part::mariadb(&[]), Part::mariadb(&[]));
    let homes = homes([&one, &two]);
    migrate(&homes, 2).await.unwrap();
    let wallet = MysqlWallet::open_what_is_up(homes, 2).await.unwrap();
    assert!(wallet.durability().full && wallet.refusal().is_none());
    let mut number = 0;
    for (part, weak) in [(&one, 0), (&two, 1)] {
        root(part).await.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 0").await.unwrap();
        until("that a home is weak", || wallet.refusal().is_some()).await;
        assert!(!wallet.durability().full);
        assert!(wallet.durability().settings.contains("innodb_flush_log_at_trx_commit=0"), "{:?}", wallet.durability());
        for (place, name) in OF_HOMES.iter().enumerate() {
            number += 1;
            let outcome = wallet.transfer(vec![top_up(number, name, 5)]).await;
            if place == weak {
                assert!(
                    matches!(&outcome, Err(WalletError::Unavailable(reason)) if reason.contains("allow_weak")),
                    "{outcome:?}"
                );
                assert!(wallet.balance(&user(name)).await.is_err());
            } else {
                assert_eq!(outcome.unwrap(), [Done]);
            }
        }
        root(part).await.execute("SET GLOBAL innodb_flush_log_at_trx_commit = 1").await.unwrap();
        until("that it is durable again", || wallet.refusal().is_none()).await;
        assert!(wallet.durability().full);
        number += 1;
        assert_eq!(wallet.transfer(vec![top_up(number, OF_HOMES[weak], 5)]).await.unwrap(), [Done]);
    }
    assert_eq!(audited(&wallet).await, 20);
}

#[tokio::test]
async fn a_shard_that_is_changed_under_a_running_wallet_is_refused_by_name_and_an_unguarded_one_is_shown() {
    let part = Part::mariadb(&[]);
    let homes =
        vec![DatabaseServer { options: options(&[part.node()]), slots: Slot::all().collect(), traffic: Traffic::Live }];
    migrate(&homes, 1).await.unwrap();
    let wallet = MysqlWallet::open(homes.clone(), 1).await.unwrap();
    let mut root = root(&part).await;
    let mut number = 0;
    for (change, back, reason) in [
        (
            "UPDATE wallet_00.meta SET version = version + 100",
            "UPDATE wallet_00.meta SET version = version - 100",
            "newer version",
        ),
        (
            "ALTER TABLE wallet_00.transfer DROP KEY taken",
            "ALTER TABLE wallet_00.transfer ADD UNIQUE KEY taken (id)",
            "wallet_00.transfer is not there or has no unique key (id)",
        ),
        ("UPDATE wallet_00.meta SET slots = '01'", "UPDATE wallet_00.meta SET slots = @slots", "was made as number"),
    ] {
        root.execute("SELECT slots INTO @slots FROM wallet_00.meta").await.unwrap();
        root.execute(sqlx::raw_sql(change)).await.unwrap();
        until(change, || wallet.refusal().is_some_and(|refusal| refusal.contains(reason))).await;
        number += 1;
        let outcome = wallet.transfer(vec![top_up(number, "ann", 5)]).await;
        assert!(matches!(&outcome, Err(WalletError::Unavailable(said)) if said.contains(reason)), "{outcome:?}");
        root.execute(sqlx::raw_sql(back)).await.unwrap();
        until(back, || wallet.refusal().is_none()).await;
        assert_eq!(wallet.transfer(vec![top_up(number, "ann", 5)]).await.unwrap(), [Done]);
    }

    assert_eq!(wallet.unguarded(), None);
    for trigger in ["transfer_refuses_update", "transfer_refuses_delete"] {
        root.execute(sqlx::raw_sql(&format!("DROP TRIGGER wallet_00.{trigger}"))).await.unwrap();
        until("that the transfers are not guarded", || wallet.unguarded().as_deref() == Some("wallet_00")).await;
        number += 1;
        assert_eq!(wallet.transfer(vec![top_up(number, "ann", 5)]).await.unwrap(), [Done], "it is shown, not refused");
        migrate(&homes, 1).await.unwrap();
        until("that they are again", || wallet.unguarded().is_none()).await;
    }
    // One that lets everything pass is none.
    let hollow = "DROP TRIGGER wallet_00.transfer_refuses_update; CREATE TRIGGER wallet_00.transfer_refuses_update \
                  BEFORE UPDATE ON wallet_00.transfer FOR EACH ROW SET NEW.kind = OLD.kind";
    root.execute(sqlx::raw_sql(hollow)).await.unwrap();
    until("that a trigger does nothing", || wallet.unguarded().is_some()).await;
    // A user who may not change transfers needs no trigger.
    let fewer = "REVOKE ALL PRIVILEGES ON `wallet\\_%`.* FROM hongbao@'127.0.0.1'; \
                 GRANT SELECT, INSERT ON wallet_00.* TO hongbao@'127.0.0.1'; \
                 GRANT UPDATE ON wallet_00.ledger TO hongbao@'127.0.0.1'";
    root.execute(sqlx::raw_sql(fewer)).await.unwrap();
    until("that the user may not", || wallet.unguarded().is_none()).await;
    assert_eq!(wallet.transfer(vec![top_up(number + 1, "ann", 5)]).await.unwrap(), [Done]);
}

#[tokio::test]
async fn the_first_payment_after_a_pause_longer_than_the_servers_wait_timeout_succeeds() {
    let part = Part::mariadb(&["--wait-timeout=1"]);
    let homes =
        vec![DatabaseServer { options: options(&[part.node()]), slots: Slot::all().collect(), traffic: Traffic::Live }];
    migrate(&homes, 2).await.unwrap();
    let wallet = MysqlWallet::open(homes, 2).await.unwrap();
    for number in 0..3 {
        assert_eq!(wallet.transfer(vec![top_up(number, "ann", 5)]).await.unwrap(), [Done]);
        tokio::time::sleep(Duration::from_millis(2_500)).await;
    }
    assert_eq!(audited(&wallet).await, 15);
}
