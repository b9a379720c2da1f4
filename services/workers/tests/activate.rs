//! The activate job on real files.

mod common;

use common::faults::{DEATHS, Verb, run_and_die};
use common::{DAY_MS, LIFETIME_MS, World, ZONE_S, run_until_idle};
use hongbao_core::{Stage, Transfer, TransferOutcome};
use hongbao_workers::Job as _;
use hongbao_workers::activate::Activate;

/// How long an envelope may wait for its payment, by default.
const PAY_WITHIN_MS: i64 = 900_000;

fn worker(world: &World) -> Activate {
    Activate::new(world.ports(), ZONE_S, &world.limits())
}

#[tokio::test]
async fn a_payment_that_stopped_half_way_is_finished() {
    let world = World::new().await;
    let envelope = world.created_at(world.now(), 1_000, 10).await;
    world.clock.advance_millis(500);
    let paid_at = world.now();
    world.transfer(Transfer::send(&envelope, paid_at), TransferOutcome::Done).await;
    let mut activate = worker(&world);

    world.clock.advance_millis(1_000);
    assert_eq!(run_until_idle(&mut activate, 100).await, 0, "its own request may still do it");
    world.clock.advance_millis(1_000);
    assert_eq!(run_until_idle(&mut activate, 100).await, 1);
    let after = world.envelope(envelope.id).await;
    assert_eq!((after.stage, after.expires_at), (Stage::Active, Some(paid_at.plus_millis(LIFETIME_MS))));
    assert_eq!(run_until_idle(&mut activate, 100).await, 0);
    world.assert_sound().await;
}

#[tokio::test]
async fn what_was_never_paid_is_cancelled_and_a_late_payment_is_refused() {
    let world = World::new().await;
    let before = world.balance("sender").await;
    let envelope = world.created_at(world.now(), 1_000, 10).await;
    let mut activate = worker(&world);
    world.clock.advance_millis(PAY_WITHIN_MS);
    assert_eq!(run_until_idle(&mut activate, 100).await, 0);
    assert_eq!(world.envelope(envelope.id).await.stage, Stage::Created);
    world.clock.advance_millis(1);
    assert_eq!(run_until_idle(&mut activate, 100).await, 1);
    assert_eq!(world.envelope(envelope.id).await.stage, Stage::Cancelled);

    world.transfer(Transfer::send(&envelope, world.now()), TransferOutcome::Cancelled).await;
    assert_eq!(world.balance("sender").await, before);
    let (stage, _) = world.store.activate(envelope.id, world.now()).await.unwrap().unwrap();
    assert_eq!(stage, Stage::Cancelled, "and it cannot be activated any more");
    world.assert_sound().await;
}

#[tokio::test]
async fn a_payment_that_was_faster_than_the_cancel_counts() {
    let world = World::new().await;
    let paid_at = world.now();
    let envelope = world.created_at(paid_at, 1_000, 10).await;
    world.transfer(Transfer::send(&envelope, paid_at), TransferOutcome::Done).await;
    world.clock.advance_millis(2 * DAY_MS);
    assert_eq!(run_until_idle(&mut worker(&world), 100).await, 1);
    let after = world.envelope(envelope.id).await;
    assert_eq!((after.stage, after.expires_at), (Stage::Active, Some(paid_at.plus_millis(LIFETIME_MS))));
    world.assert_sound().await;
}

#[tokio::test]
async fn i1_a_death_at_any_step_leaves_the_wallet_and_the_envelope_agreeing_in_the_end() {
    for verb in [Verb::Transfer, Verb::Cancel, Verb::Activate] {
        for death in DEATHS {
            let world = World::new().await;
            let paid = world.created_at(world.now(), 1_000, 10).await;
            let unpaid = world.created_at(world.now(), 1_000, 10).await;
            world.transfer(Transfer::send(&paid, world.now()), TransferOutcome::Done).await;
            world.clock.advance_millis(PAY_WITHIN_MS + 1);

            world.faults.arm(verb, death);
            run_and_die(&mut worker(&world), 100).await;
            assert!(!world.faults.is_armed(), "{verb:?} {death:?} was not reached");
            world.assert_sound().await;
            world.clock.advance_millis(1_000);
            run_until_idle(&mut worker(&world), 100).await;
            assert_eq!(world.envelope(paid.id).await.stage, Stage::Active, "{verb:?} {death:?}");
            assert_eq!(world.envelope(unpaid.id).await.stage, Stage::Cancelled, "{verb:?} {death:?}");
            world.assert_sound().await;
        }
    }
}

#[tokio::test]
async fn a_cancel_that_reached_only_the_wallet_is_finished_even_within_the_time_to_pay() {
    let world = World::new().await;
    let envelope = world.created_at(world.now(), 1_000, 10).await;
    world.transfer(Transfer::cancel(&envelope, world.now()), TransferOutcome::Done).await;
    world.clock.advance_millis(3_000);
    assert_eq!(run_until_idle(&mut worker(&world), 100).await, 1);
    assert_eq!(world.envelope(envelope.id).await.stage, Stage::Cancelled);
}

#[tokio::test]
async fn any_number_of_waiting_envelopes_hides_nobody() {
    let world = World::new().await;
    let overdue = world.created_at(world.now(), 100, 10).await;
    world.clock.advance_millis(PAY_WITHIN_MS - 5_000);
    for _ in 0..30 {
        world.created_at(world.now(), 100, 10).await;
        world.clock.advance_millis(1);
    }
    let paid = world.created_at(world.now(), 100, 10).await;
    world.transfer(Transfer::send(&paid, world.now()), TransferOutcome::Done).await;
    let mut activate = worker(&world);
    world.clock.advance_millis(6_000);
    for _ in 0..40 {
        assert_eq!(activate.run_once(4).await.unwrap().failures, 0);
    }
    assert_eq!(world.envelope(paid.id).await.stage, Stage::Active);
    assert_eq!(world.envelope(overdue.id).await.stage, Stage::Cancelled);
}

#[tokio::test]
async fn envelopes_that_wait_do_not_keep_the_worker_busy() {
    let world = World::new().await;
    for _ in 0..30 {
        world.created_at(world.now(), 100, 10).await;
    }
    world.clock.advance_millis(3_000);
    let mut activate = worker(&world);
    for _ in 0..20 {
        assert!(!activate.run_once(4).await.unwrap().more);
    }
}

#[tokio::test]
async fn old_days_are_cancelled_too() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for days_ago in [0, 1, 3, 10, 25] {
        ids.push(world.created_at(world.now().plus_millis(-days_ago * DAY_MS), 100, 10).await.id);
    }
    world.clock.advance_millis(PAY_WITHIN_MS + 1);
    let mut activate = worker(&world);
    for _ in 0..10 {
        activate.run_once(100).await.unwrap();
    }
    for id in ids {
        assert_eq!(world.envelope(id).await.stage, Stage::Cancelled);
    }
}
