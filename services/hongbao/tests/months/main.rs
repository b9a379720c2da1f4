//! Months go by, day by day: the server, the jobs and the rotation over the same databases,
//! under a clock that is moved by hand.

mod faults;
mod mariadb;
mod service;

use std::sync::Arc;

use hongbao_core::Day;
use hongbao_core::id::{Fold, Span, TableRef};
use hongbao_core::limits::{ROTATION_AHEAD_DAYS, ROTATION_AHEAD_DAYS_MIN};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::Caller;
use hongbao_store::sqlite::SqliteStore;
use hongbao_testkit::store_suite::archive_in;
use hongbao_wallet::sqlite::SqliteWallet;

use service::{DAY_MS, EXPORTED_AFTER_DAYS, LOOK_EVERY, MONEY_FEN, SEALED_AFTER_DAYS, Service, ZONE_S, user};

/// A service over SQLite files, and their folder.
async fn sqlite(first_day: &str) -> (Service, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Fold::new(1, 1).unwrap(), ZONE_S, Mode::Volatile).await.unwrap();
    store.archive_in(archive_in(dir.path()));
    let wallet = SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap();
    (Service::new(Arc::new(store), Arc::new(wallet), first_day).await, dir)
}

/// Each day is sent and opened; of each month an envelope is stuck. No worker runs on the days `off`, and
/// on the others a process dies at one step or another.
async fn day_by_day(service: &mut Service, days: i64, off: std::ops::Range<i64>) {
    for day in 0..days {
        let has_worker = !off.contains(&day);
        if has_worker {
            service.die_at(day as u64 % 3);
        }
        service.rotate(if has_worker { ROTATION_AHEAD_DAYS } else { ROTATION_AHEAD_DAYS_MIN }).await;
        let is_first_of_month = service.today().day() == Day::new(1).unwrap();
        service.day(is_first_of_month).await;
        if has_worker {
            service.die_at(day as u64 % 31);
            service.work(if day == off.end { 100 } else { 12 }).await;
        }
        if day % LOOK_EVERY == 0 {
            service.look_at_everything().await;
        }
        service.clock().advance_millis(DAY_MS);
    }
    let deaths = service.deaths();
    assert!(deaths as i64 > days / 2, "{deaths}");
    service.finish(days).await;
    // What was stuck has kept its table open no longer than itself.
    let yesterday = service.today().plus_days(-1);
    let due = |table: &TableRef, after_days: i32| match table.span {
        Span::Date(date) => date <= yesterday.plus_days(-after_days),
        Span::Day(_) => false,
    };
    let (store, at_least) = (service.store(), |after_days: i32| (days + 4 - 1 - i64::from(after_days)) as usize);
    let (unsealed, exported) = (store.unsealed_tables(), store.exported_tables());
    assert_eq!(unsealed.iter().filter(|table| due(table, SEALED_AFTER_DAYS)).count(), 0, "{unsealed:?}");
    let sealed = store.sealed_tables();
    assert_eq!(sealed.iter().filter(|table| due(table, EXPORTED_AFTER_DAYS)).count(), 0, "{sealed:?}");
    assert!(exported.len() >= at_least(EXPORTED_AFTER_DAYS), "{exported:?}");
    assert!(sealed.len() + exported.len() >= at_least(SEALED_AFTER_DAYS), "{sealed:?}");
}

/// A February of 29 days, and a service that is not started for 40 days after it.
async fn off_after_the_29th_of_february(service: &mut Service) {
    for day in 0..20 {
        service.rotate(ROTATION_AHEAD_DAYS).await;
        service.day(false).await;
        service.work(12).await;
        if day == 10 {
            service.clock().advance_millis(40 * DAY_MS);
        }
        service.look_at_everything().await;
        service.clock().advance_millis(DAY_MS);
    }
    service.finish(20).await;
}

/// A February of 28 days among them.
#[tokio::test]
async fn three_months_of_sending_without_a_worker_for_forty_days() {
    let (mut service, _dir) = sqlite("2026-01-20T10:00:00+08:00").await;
    day_by_day(&mut service, 92, 20..60).await;
}

#[tokio::test]
async fn a_leap_year_and_a_service_that_was_off_for_forty_days() {
    let (mut service, _dir) = sqlite("2028-02-20T10:00:00+08:00").await;
    off_after_the_29th_of_february(&mut service).await;
}

/// Without a worker nothing cancels it: it cannot be paid for all that, and the audit agrees.
#[tokio::test]
async fn an_envelope_of_the_month_before_cannot_be_paid_any_more() {
    let (mut service, _dir) = sqlite("2026-01-20T10:00:00+08:00").await;
    service.rotate(ROTATION_AHEAD_DAYS_MIN).await;
    let unpaid = service.send(&service.server(), 2, false).await;
    service.clock().advance_millis(35 * DAY_MS);
    service.rotate(ROTATION_AHEAD_DAYS_MIN).await;
    let sender = user("sender");
    let paid = service.server().pay(unpaid, &Caller { user: &sender, groups: &[], class: None }).await;
    assert!(matches!(paid, Err(Refusal::Cancelled)), "{paid:?}");
    service.work(60).await;
    assert_eq!(service.balance("sender").await, MONEY_FEN);
    service.look_at_everything().await;
}

/// A clock that jumps a day ahead over midnight, and back: what was rotated too early is no trouble.
#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_loses_nothing_and_refuses_nothing() {
    for days in [1, 40] {
        let (mut service, _dir) = sqlite("2026-02-27T23:59:59+08:00").await;
        for _ in 0..3 {
            service.rotate(ROTATION_AHEAD_DAYS).await;
            service.day(false).await;
            service.clock().advance_millis(days * DAY_MS);
            service.rotate(ROTATION_AHEAD_DAYS).await;
            service.clock().advance_millis(-days * DAY_MS);
            service.day(false).await;
            service.clock().advance_millis(DAY_MS);
        }
        service.finish(6).await;
    }
}
