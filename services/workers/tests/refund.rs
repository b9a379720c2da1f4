//! The refund job on real files.

mod common;

use common::damage::damage_store;
use common::faults::{DEATHS, Verb, run_and_die};
use common::{DAY_MS, LIFETIME_MS, World, ZONE_S, run_until_idle};
use hongbao_core::{EntryKind, EnvelopeId, Stage, TransferKind};
use hongbao_workers::Job as _;
use hongbao_workers::credit::Credit;
use hongbao_workers::refund::Refund;

fn worker(world: &World) -> Refund {
    Refund::new(world.ports(), ZONE_S, &world.limits())
}

async fn credit(world: &World) {
    run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 100).await;
}

async fn refunds(world: &World, id: EnvelopeId) -> Vec<i64> {
    let journal = world.journal(id).await;
    journal.iter().filter(|entry| entry.kind == EntryKind::Refund).map(|entry| entry.amount.get()).collect()
}

#[tokio::test]
async fn i1_the_rest_goes_back_to_the_sender_to_the_fen() {
    let world = World::new().await;
    let before = world.balance("sender").await;
    let (some, none, all) = (world.active(1_000, 10).await, world.active(777, 7).await, world.active(30, 3).await);
    let opened = world.open_many(some, "a", 4).await;
    world.open_many(all, "b", 3).await;

    world.clock.advance_millis(LIFETIME_MS - 1);
    let mut refund = worker(&world);
    assert_eq!(run_until_idle(&mut refund, 100).await, 0, "nothing expires before its time");
    world.clock.advance_millis(1);
    assert_eq!(run_until_idle(&mut refund, 100).await, 2);
    assert_eq!(run_until_idle(&mut refund, 100).await, 0);
    assert_eq!(refunds(&world, some).await, [1_000 - opened]);
    assert_eq!(refunds(&world, none).await, [777]);
    assert_eq!(refunds(&world, all).await, [0; 0], "an empty envelope has nothing to refund");

    credit(&world).await;
    assert_eq!(world.balance("sender").await, before - opened - 30);
    for id in [some, none, all] {
        assert_eq!(world.envelope(id).await.stage, Stage::Settled);
    }
    world.assert_sound().await;
}

#[tokio::test]
async fn i5_a_refund_that_raced_an_opening_is_decided_again() {
    let world = World::new().await;
    let (raced, calm) = (world.active(1_000, 10).await, world.active(500, 5).await);
    // A server whose clock is a little behind lets this opening in.
    let late = world.next_entry(raced, "late", world.now()).await.unwrap();
    let late_amount = late.amount.get();
    world.faults.racers.lock().unwrap().push(late);

    world.clock.advance_millis(LIFETIME_MS);
    let mut refund = worker(&world);
    let report = refund.run_once(100).await.unwrap();
    assert_eq!((report.rows, report.failures), (1, 0), "the loser of the race is left, its neighbour is refunded");
    assert_eq!(refunds(&world, raced).await, [0; 0]);
    assert_eq!(refunds(&world, calm).await, [500]);

    assert_eq!(refund.run_once(100).await.unwrap().rows, 1);
    assert_eq!(refunds(&world, raced).await, [1_000 - late_amount]);
    credit(&world).await;
    assert_eq!(world.balance("late").await, late_amount);
    world.assert_sound().await;
}

#[tokio::test]
async fn i6_a_death_at_any_step_refunds_exactly_once() {
    for death in DEATHS {
        let world = World::new().await;
        let before = world.balance("sender").await;
        let id = world.active(1_000, 10).await;
        let opened = world.open_many(id, "a", 4).await;
        world.clock.advance_millis(LIFETIME_MS);

        world.faults.arm(Verb::Append, death);
        run_and_die(&mut worker(&world), 100).await;
        assert!(!world.faults.is_armed());
        world.assert_sound().await;

        for _ in 0..3 {
            run_until_idle(&mut worker(&world), 100).await;
            credit(&world).await;
        }
        assert_eq!(refunds(&world, id).await, [1_000 - opened], "{death:?}");
        assert_eq!(world.transfers(id, TransferKind::Refund).await, 1);
        assert_eq!(world.balance("sender").await, before - opened);
        world.assert_sound().await;
    }
}

#[tokio::test]
async fn i6_two_workers_at_once_refund_each_envelope_once() {
    let world = World::with_databases(2).await;
    let before = world.balance("sender").await;
    let mut ids = Vec::new();
    for _ in 0..40 {
        ids.push(world.active(1_000, 10).await);
    }
    world.clock.advance_millis(LIFETIME_MS);
    let (mut one, mut two) = (worker(&world), worker(&world));
    for limit in 5..30 {
        let (one, two) = tokio::join!(one.run_once(limit), two.run_once(10));
        assert_eq!(one.unwrap().failures + two.unwrap().failures, 0);
    }
    for id in ids {
        assert_eq!(refunds(&world, id).await, [1_000]);
    }
    credit(&world).await;
    assert_eq!(world.balance("sender").await, before);
    world.assert_sound().await;
}

#[tokio::test]
async fn a_service_that_was_off_for_a_week_finishes_the_old_days() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for days_ago in [1, 4, 7, 8, 15] {
        ids.push(world.active_at(world.now().plus_millis(-days_ago * DAY_MS), 100, 10).await);
    }
    let mut refund = worker(&world);
    for _ in 0..10 {
        refund.run_once(100).await.unwrap();
    }
    for id in ids {
        assert_eq!(refunds(&world, id).await, [100]);
    }
}

#[tokio::test]
async fn a_run_is_bounded_and_says_that_there_is_more() {
    let world = World::new().await;
    for _ in 0..25 {
        world.active(100, 10).await;
    }
    world.clock.advance_millis(LIFETIME_MS);
    let mut refund = worker(&world);
    let report = refund.run_once(10).await.unwrap();
    assert_eq!((report.rows, report.more), (10, true));
    assert_eq!(run_until_idle(&mut refund, 10).await, 15);
}

#[tokio::test]
async fn envelopes_that_cannot_be_refunded_hold_up_nobody() {
    let world = World::new().await;
    let mut stuck = Vec::new();
    for _ in 0..7 {
        stuck.push(world.active(1_000, 10).await);
    }
    world.clock.advance_millis(1_000);
    let sound = world.active(500, 5).await;
    // An entry that calls itself the refund takes the place of the real one.
    for id in &stuck {
        world.open(*id, "a").await;
        damage_store(&world, *id, "UPDATE {j} SET user_id = '#refund' WHERE envelope_id = {id}").await;
    }
    world.clock.advance_millis(LIFETIME_MS);
    let mut refund = worker(&world);
    for _ in 0..4 {
        refund.run_once(3).await.unwrap();
    }
    assert_eq!(refunds(&world, sound).await, [500]);
}

#[tokio::test]
async fn envelopes_that_cannot_be_read_hold_up_nobody() {
    let world = World::new().await;
    let mut ids = Vec::new();
    for _ in 0..9 {
        ids.push(world.active(1_000, 10).await);
        world.clock.advance_millis(1_000);
    }
    let damaged = [ids[0], ids[3], ids[4], ids[8]];
    for id in damaged {
        damage_store(&world, id, "UPDATE {e} SET sender = 'no such name!' WHERE id = {id}").await;
    }
    world.clock.advance_millis(LIFETIME_MS);
    let mut refund = worker(&world);
    let mut failures = 0;
    for _ in 0..40 {
        failures += refund.run_once(100).await.unwrap().failures;
    }
    assert!(failures > 0, "it is told");
    for id in ids.into_iter().filter(|id| !damaged.contains(id)) {
        assert_eq!(refunds(&world, id).await, [1_000]);
    }
}
