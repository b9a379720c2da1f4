//! Events that jobs write, on real files, whatever they die of.

mod common;

use common::faults::{DEATHS, Verb, run_and_die};
use common::{World, ZONE_S, fen, run_until_idle, user};
use hongbao_core::event::Feed;
use hongbao_core::{Audience, EnvelopeId, GroupId, Transfer, TransferOutcome};
use hongbao_workers::activate::Activate;
use hongbao_workers::credit::Credit;
use hongbao_workers::expiring_soon::ExpiringSoon;
use hongbao_workers::purge_events::PurgeEvents;
use hongbao_workers::refund::Refund;

/// What a feed says of an envelope.
async fn shown(world: &World, feed: &Feed, id: EnvelopeId) -> Vec<String> {
    let pages = world.wallet.read_feeds(&[(feed.clone(), 0)], u32::MAX).await.unwrap();
    let events = pages.iter().flat_map(|page| &page.rows).flat_map(|row| row.events(None));
    let events = events.filter(|event| event.envelope_id == Some(id));
    events.map(|event| format!("{} {}", event.seq.unwrap_or(0), event.kind.as_str())).collect()
}

fn sender() -> Feed {
    Feed::User(user("sender"))
}

fn family() -> (Audience, Feed) {
    let group = GroupId::parse("family").unwrap();
    (Audience::Group(group.clone()), Feed::Group(group))
}

fn journal(opened: u32) -> Vec<String> {
    let mut all: Vec<String> = (1..=opened).map(|seq| format!("{seq} envelope.opened")).collect();
    all.extend(["expired", "refunded"].map(|word| format!("{} envelope.{word}", opened + 1)));
    all
}

#[tokio::test]
async fn a_death_at_any_step_of_credits_neither_loses_nor_doubles_an_event() {
    for verb in [Verb::Transfer, Verb::Settle] {
        for death in DEATHS {
            let world = World::new().await;
            let mut credit = Credit::new(world.ports(), ZONE_S, &world.limits());
            run_until_idle(&mut credit, 100).await;
            let id = world.active(1_000, 10).await;
            world.open_many(id, "a", 3).await;
            world.faults.arm(verb, death);
            run_and_die(&mut credit, 100).await;
            assert!(!world.faults.is_armed(), "{verb:?} {death:?} was not reached");
            world.open_many(id, "b", 2).await;
            let mut credit = Credit::new(world.ports(), ZONE_S, &world.limits());
            run_until_idle(&mut credit, 2).await;
            world.clock.advance_millis(common::LIFETIME_MS);
            run_until_idle(&mut Refund::new(world.ports(), ZONE_S, &world.limits()), 100).await;
            run_until_idle(&mut credit, 100).await;

            assert_eq!(shown(&world, &sender(), id).await, journal(5), "{verb:?} {death:?}");
            for (name, seq) in [("a-2", 2), ("b-1", 4)] {
                let own = shown(&world, &Feed::User(user(name)), id).await;
                assert_eq!(own, [format!("{seq} envelope.opened")], "{verb:?} {death:?}");
            }
        }
    }
}

#[tokio::test]
async fn a_payment_that_stopped_half_way_is_shown_before_its_openings() {
    for death in DEATHS {
        for verb in [Verb::Transfer, Verb::Activate] {
            let world = World::new().await;
            let (audience, feed) = family();
            let mut envelope = world.created_at(world.now(), 100, 5).await;
            envelope = hongbao_core::Envelope { audience, id: EnvelopeId::mint(world.now(), [9; 10]), ..envelope };
            world.store.create(std::slice::from_ref(&envelope)).await.unwrap();
            world.transfer(Transfer::send(&envelope, world.now()), TransferOutcome::Done).await;
            world.clock.advance_millis(5_000);
            let mut activate = Activate::new(world.ports(), ZONE_S, &world.limits());
            world.faults.arm(verb, death);
            run_and_die(&mut activate, 100).await;
            assert!(!world.faults.is_armed(), "{verb:?} {death:?} was not reached");
            run_until_idle(&mut Activate::new(world.ports(), ZONE_S, &world.limits()), 100).await;
            world.open_many(envelope.id, "a", 2).await;
            run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 100).await;

            let expected = ["0 envelope.paid", "1 envelope.opened", "2 envelope.opened"];
            assert_eq!(shown(&world, &sender(), envelope.id).await, expected, "{verb:?} {death:?}");
            assert_eq!(shown(&world, &feed, envelope.id).await, expected, "{verb:?} {death:?}");
            assert_eq!(shown(&world, &Feed::User(user("a-1")), envelope.id).await, [""; 0]);
            assert_eq!(world.envelope(envelope.id).await.total, fen(100));
        }
    }
}

#[tokio::test]
async fn an_envelope_with_money_in_it_is_said_once_to_expire_soon() {
    let world = World::new().await;
    let mut job = ExpiringSoon::new(world.ports(), ZONE_S, &world.limits());
    let ids = [world.active(100, 5).await, world.active(100, 1).await];
    // One of a life that has no such moment.
    let short = world.created_for(world.now(), 100, 5, 30_000).await;
    world.transfer(Transfer::send(&short, world.now()), TransferOutcome::Done).await;
    world.store.activate(short.id, world.now().plus_millis(30_000)).await.unwrap();
    world.open_many(ids[1], "a", 1).await;
    run_until_idle(&mut job, 100).await;
    assert_eq!(shown(&world, &sender(), ids[0]).await, [""; 0], "it is not yet");
    // A quarter of its life is left.
    world.clock.advance_millis(common::LIFETIME_MS - 900_000);
    for _ in 0..2 {
        run_until_idle(&mut job, 100).await;
        run_until_idle(&mut ExpiringSoon::new(world.ports(), ZONE_S, &world.limits()), 1).await;
    }
    assert_eq!(shown(&world, &sender(), ids[0]).await, ["0 envelope.expiring_soon"]);
    for other in [ids[1], short.id] {
        assert_eq!(shown(&world, &sender(), other).await, [""; 0], "it is empty, or was short");
    }
}

#[tokio::test]
async fn events_go_after_some_days_and_what_is_lost_is_known() {
    let world = World::new().await;
    let mut credit = Credit::new(world.ports(), ZONE_S, &world.limits());
    let old = world.active(1_000, 10).await;
    world.open_many(old, "a", 3).await;
    run_until_idle(&mut credit, 100).await;
    let mut job = PurgeEvents::new(world.ports(), 7);
    assert_eq!(run_until_idle(&mut job, 1).await, 0);
    world.clock.advance_millis(8 * common::DAY_MS);
    let new = world.active(1_000, 10).await;
    world.open_many(new, "b", 2).await;
    run_until_idle(&mut credit, 100).await;
    let purged = run_until_idle(&mut job, 2).await;
    assert_eq!(purged, 4, "one row of the sender's, and one of each opener");
    assert_eq!(shown(&world, &sender(), old).await, [""; 0]);
    assert_eq!(shown(&world, &sender(), new).await.len(), 2);
    let page = world.wallet.read_feeds(&[(sender(), 0)], 9).await.unwrap().remove(0);
    assert!(page.purged_to >= 4 && page.purged_before < world.now(), "{page:?}");
}
