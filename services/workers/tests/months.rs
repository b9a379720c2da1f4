//! The job that seals months of the wallet, on a real file, and the audit of what it has sealed.

mod common;

use common::columns::{Database as _, Side};
use common::damage::Files;
use common::faults::{DEATHS, Verb, run_and_die};
use common::months::{each_damage_of_sealed_months_is_named, months, seal_months, two_old_months};
use common::sealed::{NO_ROWS, audited, credit, rotate, seal};
use common::{DAY_MS, World, fen, run_until_idle, user};
use hongbao_core::limits::MONTH_SEALED_AFTER_DAYS;
use hongbao_core::{Timestamp, Transfer, TransferOutcome};
use hongbao_workers::{Job as _, SealedRows};

fn noon(date: &str) -> Timestamp {
    Timestamp::parse_rfc3339(&format!("{date}T12:00:00+08:00")).unwrap()
}

fn top_up(number: u128, name: &str, at: Timestamp) -> Transfer {
    Transfer::top_up(uuid::Uuid::from_u128((1 << 64) + number), user(name), fen(100), at)
}

#[tokio::test]
async fn months_that_are_over_are_sealed_and_the_audit_goes_on_from_their_end() {
    let world = World::new().await;
    two_old_months(&world).await;
    let before = audited(&world, SealedRows::All).await.1;
    run_until_idle(&mut seal_months(&world), 100).await;
    assert_eq!(months(&world).await, [202602, 202603]);
    let young = world.active(1_000, 10).await;
    world.open_many(young, "a", 3).await;
    credit(&world).await;

    let (codes, report) = audited(&world, NO_ROWS).await;
    assert_eq!((codes, report.transfers), (vec![], 4), "none of a sealed month is read");
    assert_eq!((report.sealed.months, report.sealed.transfers), (2, before.transfers));
    assert!(report.to_string().contains("months    2 sealed with "), "{report}");
    let (codes, report) = audited(&world, SealedRows::All).await;
    assert_eq!((codes, report.sealed.blocks_read), (vec![], 2));
    assert_eq!(report.accounts, before.accounts);

    // With the envelopes' tables sealed too, on both sides of the end of a month.
    run_until_idle(&mut seal(&world), 100).await;
    for rows in [NO_ROWS, SealedRows::Sample { tables: 1, turn: 3 }, SealedRows::All] {
        let (codes, report) = audited(&world, rows).await;
        assert_eq!((codes, report.sealed.tables), (vec![], 1), "{rows:?}");
    }
}

#[tokio::test]
async fn each_damage_is_named() {
    let world = World::new().await;
    each_damage_of_sealed_months_is_named(&world, &Files(&world)).await;
}

#[tokio::test]
async fn a_month_is_not_sealed_before_its_time_and_none_without_transfers_is() {
    let world = World::new().await;
    rotate(&world).await;
    let days_left = 12 + i64::from(MONTH_SEALED_AFTER_DAYS);
    world.clock.advance_millis(days_left * DAY_MS);
    run_until_idle(&mut seal_months(&world), 100).await;
    assert_eq!(months(&world).await, [0; 0], "one day too young");
    world.clock.advance_millis(DAY_MS);
    let mut job = seal_months(&world);
    run_until_idle(&mut job, 100).await;
    assert_eq!(months(&world).await, [202602]);

    world.clock.advance_millis(100 * DAY_MS);
    world.top_up("late", 100).await;
    run_until_idle(&mut job, 100).await;
    assert_eq!(months(&world).await, [202602], "nothing is behind it that is old enough");
    world.clock.advance_millis(100 * DAY_MS);
    run_until_idle(&mut job, 100).await;
    assert_eq!(months(&world).await, [202602, 202606]);
    assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0]);
}

/// A world whose transfers have these dates in this order, and are all sealed.
async fn sealed_each_once(dates: &[&str]) -> World {
    let world = World::new().await;
    for (number, date) in (0..).zip(dates) {
        world.transfer(top_up(number, "ann", noon(date)), TransferOutcome::Done).await;
    }
    world.clock.advance_millis(150 * DAY_MS);
    run_until_idle(&mut seal_months(&world), 100).await;
    let (codes, report) = audited(&world, SealedRows::All).await;
    // The top-up that every world begins with is the first.
    assert_eq!((codes, report.sealed.transfers, report.transfers), (vec![], 1 + dates.len() as u64, 0));
    world
}

/// Callers give the times, and a retry may come late.
#[tokio::test]
async fn times_that_do_not_rise_with_the_positions_are_sealed_each_once() {
    let times = ["2026-02-20", "2026-03-01", "2026-02-27", "2026-03-05", "2026-01-05", "2026-04-02", "2026-03-30"];
    let world = sealed_each_once(&times).await;
    assert_eq!(months(&world).await[0], 202602);
    assert!(months(&world).await.is_sorted());
}

/// A server whose clock was wrong.
#[tokio::test]
async fn a_time_that_lies_far_ahead_does_not_end_the_sealing() {
    sealed_each_once(&["2036-01-05", "2036-01-05", "2026-03-05", "2026-04-02"]).await;
}

#[tokio::test]
async fn an_id_of_a_sealed_month_stays_taken() {
    let world = World::new().await;
    world.transfer(top_up(1, "ann", world.now()), TransferOutcome::Done).await;
    world.clock.advance_millis(60 * DAY_MS);
    run_until_idle(&mut seal_months(&world), 100).await;
    assert_eq!(months(&world).await, [202602]);
    world.transfer(top_up(1, "ann", world.now()), TransferOutcome::AlreadyDone).await;
    assert_eq!(world.balance("ann").await, 100);
}

/// Damage is not sealed in: the audit goes on naming it.
#[tokio::test]
async fn a_month_with_a_breach_is_not_sealed() {
    for damage in [
        "UPDATE transfer SET balance_fen = balance_fen + 1 WHERE position = 3",
        "UPDATE transfer SET amount_fen = amount_fen + 1 WHERE position = 3",
        "UPDATE transfer SET kind = 3 WHERE position = 1",
        "UPDATE transfer SET user_id = 'no such name!' WHERE position = 3",
        "DELETE FROM transfer WHERE position = 1",
    ] {
        let world = World::new().await;
        two_old_months(&world).await;
        assert_eq!(Files(&world).execute(Side::Wallet, damage).await, 1);
        let mut job = seal_months(&world);
        let mut failures = 0;
        for _ in 0..5 {
            failures += job.run_once(100).await.unwrap().failures;
        }
        assert_eq!((failures, months(&world).await), (1, vec![]), "{damage}");
        assert_ne!(audited(&world, NO_ROWS).await.0, [""; 0], "{damage}");
    }
}

/// A balance of an earlier month that was changed together with what follows is not gone on from.
#[tokio::test]
async fn nothing_is_sealed_after_what_was_changed() {
    for damage in [
        "UPDATE sealed_month SET sent_fen = sent_fen + 1 WHERE number = 1",
        "UPDATE month_balance SET balance_fen = balance_fen + 1 WHERE user_id = 'sender'",
        "UPDATE month_balance SET balance_fen = balance_fen + 1 WHERE user_id = 'once'",
    ] {
        let world = World::new().await;
        world.top_up("once", 5).await;
        two_old_months(&world).await;
        let mut job = seal_months(&world);
        while months(&world).await.is_empty() {
            job.run_once(1).await.unwrap();
        }
        assert_eq!(Files(&world).execute(Side::Wallet, damage).await, 1);
        let (mut job, mut failures) = (seal_months(&world), 0);
        for _ in 0..10 {
            failures += job.run_once(100).await.unwrap().failures;
        }
        assert_eq!((failures, world.wallet.months(0, 0, 9).await.unwrap().len()), (1, 1), "{damage}");
    }
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_and_the_next_run_begins_anew() {
    for verb in [Verb::BeginMonth, Verb::PutMonth, Verb::SealMonth] {
        for death in DEATHS {
            // Before so many runs of one step each.
            for steps in 0..6 {
                let world = World::new().await;
                two_old_months(&world).await;
                let mut job = seal_months(&world);
                for _ in 0..steps {
                    job.run_once(1).await.unwrap();
                }
                world.faults.arm(verb, death);
                run_and_die(&mut job, 100).await;
                assert!(steps > 0 || !world.faults.is_armed(), "{verb:?} {death:?} was not reached");
                assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0], "{verb:?} {death:?} {steps}");
                world.faults.disarm();
                run_until_idle(&mut seal_months(&world), 100).await;
                assert_eq!(months(&world).await, [202602, 202603], "{verb:?} {death:?} {steps}");
                assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0], "{verb:?} {death:?} {steps}");
            }
        }
    }
}

#[tokio::test]
async fn of_two_workers_one_seals_and_the_other_leaves_it_alone() {
    for head_start in 0..5 {
        let world = World::new().await;
        two_old_months(&world).await;
        let (mut one, mut other) = (seal_months(&world), seal_months(&world));
        for _ in 0..head_start {
            one.run_once(1).await.unwrap();
        }
        for _ in 0..20 {
            for job in [&mut other, &mut one] {
                assert_eq!(job.run_once(1).await.unwrap().failures, 0);
                assert_eq!(audited(&world, SealedRows::All).await.0, [""; 0]);
            }
        }
        assert_eq!(months(&world).await, [202602, 202603], "{head_start}");
    }
}
