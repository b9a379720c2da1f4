//! Events that jobs write, on real files, whatever they die of.

mod common;

use common::faults::{DEATHS, Verb, run_and_die};
use common::{World, ZONE_S, fen, run_until_idle, user};
use hongbao_core::event::Feed;
use hongbao_core::{Audience, EnvelopeId, GroupId, Transfer, TransferOutcome};
use hongbao_workers::activate::Activate;
use hongbao_workers::credit::Credit;
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
