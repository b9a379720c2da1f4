//! The purge job on real files.

mod common;

use common::faults::{DEATHS, Verb, run_and_die};
use common::{DAY_MS, World, ZONE_S, run_until_idle};
use hongbao_core::{EnvelopeId, Transfer, TransferKind, TransferOutcome};
use hongbao_workers::Job as _;
use hongbao_workers::activate::Activate;
use hongbao_workers::purge::Purge;

/// A day, by default.
const AFTER_S: u32 = 86_400;

fn worker(world: &World) -> Purge {
    Purge::new(world.ports(), ZONE_S, &world.limits(), AFTER_S)
}

/// Envelopes that nobody paid, cancelled by the worker whose task that is.
async fn cancelled(world: &World, count: u32) -> Vec<EnvelopeId> {
    let mut ids = Vec::new();
    for _ in 0..count {
        ids.push(world.created_at(world.now(), 100, 10).await.id);
    }
    world.clock.advance_millis(i64::from(world.limits().pay_within_s) * 1_000 + 1);
    let rows = run_until_idle(&mut Activate::new(world.ports(), ZONE_S, &world.limits()), 1_000).await;
    assert_eq!(rows, count);
    ids
}

async fn are_there(world: &World, ids: &[EnvelopeId]) -> usize {
    let mut there = 0;
    for id in ids {
        there += usize::from(world.store.load(*id).await.unwrap().is_some());
    }
    there
}

#[tokio::test]
async fn what_was_cancelled_is_removed_after_its_time_and_its_payment_stays_impossible() {
    let world = World::new().await;
    let before = world.balance("sender").await;
    let ids = cancelled(&world, 1).await;
    let envelope = world.envelope(ids[0]).await;
    let (paid, unpaid) = (world.active(1_000, 10).await, world.created_at(world.now(), 100, 10).await);
    let mut purge = worker(&world);

    world.clock.advance_millis(DAY_MS);
    assert_eq!(run_until_idle(&mut purge, 100).await, 0, "it was cancelled a day ago, and not longer");
    world.clock.advance_millis(1);
    assert_eq!(run_until_idle(&mut purge, 100).await, 1);
    assert_eq!(are_there(&world, &ids).await, 0);
    assert_eq!(are_there(&world, &[paid, unpaid.id]).await, 2);
    assert_eq!(world.store.cancel(ids[0]).await.unwrap(), None, "whoever asks for it is told that it is unknown");

    // A request that had read it before goes on now.
    world.transfer(Transfer::send(&envelope, world.now()), TransferOutcome::Cancelled).await;
    assert_eq!(world.balance("sender").await, before - 1_000);
    assert_eq!(world.transfers(ids[0], TransferKind::Cancel).await, 1, "the ledger is append-only");
    world.assert_sound().await;
    assert_eq!(run_until_idle(&mut purge, 100).await, 0);
}

#[tokio::test]
async fn i1_what_the_wallet_has_not_cancelled_is_kept_whatever_the_envelope_says() {
    let world = World::new().await;
    let paid = world.created_at(world.now(), 1_000, 10).await;
    world.transfer(Transfer::send(&paid, world.now()), TransferOutcome::Done).await;
    let unknown = world.created_at(world.now(), 1_000, 10).await;
    for id in [paid.id, unknown.id] {
        world.store.cancel(id).await.unwrap();
    }
    let ids = cancelled(&world, 3).await;
    world.clock.advance_millis(2 * DAY_MS);
    assert_eq!(run_until_idle(&mut worker(&world), 100).await, 3);
    assert_eq!((are_there(&world, &ids).await, are_there(&world, &[paid.id, unknown.id]).await), (0, 2));
    let (codes, _) = world.audit().await;
    assert!(codes.contains(&"payment_lost") && codes.contains(&"cancel_missing"), "{codes:?}");
}

#[tokio::test]
async fn a_death_at_any_step_loses_nothing_and_the_next_run_goes_on() {
    for death in DEATHS {
        let world = World::new().await;
        let ids = cancelled(&world, 5).await;
        let paid = world.active(1_000, 10).await;
        world.clock.advance_millis(DAY_MS + 1);
        world.faults.arm(Verb::Purge, death);
        run_and_die(&mut worker(&world), 100).await;
        assert!(!world.faults.is_armed(), "{death:?} was not reached");
        world.assert_sound().await;
        run_until_idle(&mut worker(&world), 100).await;
        assert_eq!((are_there(&world, &ids).await, are_there(&world, &[paid]).await), (0, 1), "{death:?}");
        world.assert_sound().await;
    }
}

/// I8: a run is bounded, and what stays hides nobody.
#[tokio::test]
async fn any_number_of_cancelled_envelopes_goes_in_bounded_runs() {
    let world = World::new().await;
    let stays = world.created_at(world.now(), 100, 10).await;
    world.store.cancel(stays.id).await.unwrap();
    world.clock.advance_millis(1);
    let ids = cancelled(&world, 1_200).await;
    world.clock.advance_millis(DAY_MS + 1);
    let mut purge = worker(&world);
    let mut runs = Vec::new();
    loop {
        let report = purge.run_once(500).await.unwrap();
        assert_eq!(report.failures, 0);
        runs.push(report.rows);
        if !report.more {
            break;
        }
    }
    assert_eq!(runs, [499, 500, 201]);
    assert_eq!(are_there(&world, &ids).await, 0);
    assert_eq!(are_there(&world, &[stays.id]).await, 1);
}

#[tokio::test]
async fn old_days_are_purged_too() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for days_ago in [0, 1, 3, 10, 25] {
        ids.push(world.created_at(world.now().plus_millis(-days_ago * DAY_MS), 100, 10).await.id);
    }
    world.clock.advance_millis(i64::from(world.limits().pay_within_s) * 1_000 + 1);
    let mut activate = Activate::new(world.ports(), ZONE_S, &world.limits());
    for _ in 0..10 {
        activate.run_once(100).await.unwrap();
    }
    world.clock.advance_millis(DAY_MS + 1);
    let mut purge = worker(&world);
    for _ in 0..3 {
        purge.run_once(100).await.unwrap();
    }
    assert_eq!(are_there(&world, &ids).await, 0);
    world.assert_sound().await;
}
