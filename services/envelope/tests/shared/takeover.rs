//! A server takes an envelope over from another one.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use deadpool_redis::redis::cmd;
use hongbao_core::limits::SILENCE_MS_MAX;
use hongbao_core::wire::{GrabAnswer, Outcome};
use hongbao_envelope::refusal::Refusal;
use hongbao_testbed::Part;

use crate::common::{LIFETIME_MS, World, group, is_opened, is_ready, json, opened};

#[tokio::test]
async fn who_opened_is_answered_from_a_snapshot_and_openings_never_are() {
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, id) = (world.node(), world.envelope(1, 3).await);
    let share = first.open(id, "li").await.unwrap();
    world.until_shared(id, 1).await;

    let second = world.blind_node();
    let Ok(GrabAnswer::Outcome(Outcome::Opened { amount_fen, seq, opened_at, replayed: true })) =
        second.grab(id, "li").await
    else {
        panic!("who opened it is told so");
    };
    let replayed = false;
    assert_eq!(Outcome::Opened { amount_fen, seq, opened_at, replayed }, share);
    assert_eq!(second.reads(), 0, "the database was not asked");

    assert!(matches!(second.open(id, "wang").await, Err(Refusal::Unavailable(_))));
    assert_eq!(second.reads(), 1, "an opening asks the database");
    second.faults.unreadable.store(false, Ordering::SeqCst);
    assert!(opened(&second.open(id, "wang").await.unwrap(), 2));
}

#[tokio::test]
async fn an_envelope_that_has_ended_is_shown_whole_from_its_snapshot() {
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, id) = (world.node(), world.envelope(1, 2).await);
    first.open(id, "li").await.unwrap();
    first.open(id, "wang").await.unwrap();
    world.until_shared(id, 2).await;

    let second = world.blind_node();
    for name in ["li", "chen", "sender"] {
        let (before, after) = (first.detail(id, name).await.unwrap(), second.detail(id, name).await.unwrap());
        assert_eq!(json(&before), json(&after), "{name}");
    }
    assert!(matches!(second.grab(id, "chen").await, Ok(GrabAnswer::Outcome(Outcome::Empty))));
    assert_eq!(second.reads(), 0);
}

#[tokio::test]
async fn everything_that_an_old_snapshot_could_get_wrong_is_asked_of_the_database() {
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, id) = (world.node(), world.envelope(1, 3).await);
    let (family, reopened) = (world.envelope_for(2, 3, group("family")).await, world.envelope(3, 2).await);
    first.open(id, "li").await.unwrap();
    first.open(reopened, "li").await.unwrap();
    first.open(family, "li").await.unwrap();
    let (old, old_reopened) = (world.until_shared(id, 1).await, world.until_shared(reopened, 1).await);
    let old_family = world.until_shared(family, 1).await;
    // They opened it when they had a ticket, and left the group.
    first.open(id, "wang").await.unwrap();
    first.open(reopened, "wang").await.unwrap();
    first.open(family, "wang").await.unwrap();
    for (id, old) in [(id, &old), (reopened, &old_reopened), (family, &old_family)] {
        world.until_shared(id, 2).await;
        world.put(id, old).await;
    }

    let second = world.node();
    let detail = second.detail(id, "wang").await.unwrap();
    assert_eq!(json(&detail), json(&first.detail(id, "wang").await.unwrap()), "a detail is never behind");
    assert!(is_opened(&second.grab(family, "wang").await, 2));
    assert!(matches!(second.grab(family, "chen").await, Err(Refusal::NotInvited)));

    assert!(matches!(second.grab(reopened, "chen").await, Ok(GrabAnswer::Outcome(Outcome::Empty))));
    assert_eq!(second.open(reopened, "chen").await.unwrap(), Outcome::Empty);

    world.put(id, &old).await;
    world.clock.advance_millis(LIFETIME_MS);
    let third = world.node();
    assert!(is_opened(&third.grab(id, "wang").await, 2));
    assert!(matches!(third.grab(id, "chen").await, Ok(GrabAnswer::Outcome(Outcome::Expired))));
}

/// They opened it, and then every server died before it had shown more than the first opening.
#[tokio::test]
async fn opened_is_for_ever_also_from_grab_when_a_snapshot_outlives_its_writer() {
    const OPENERS: u32 = 32;
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, id) = (world.node(), world.envelope(1, 2 * OPENERS).await);
    first.open(id, "opener-1").await.unwrap();
    let old = world.until_shared(id, 1).await;
    for number in 2..=OPENERS {
        assert!(opened(&first.open(id, &format!("opener-{number}")).await.unwrap(), number));
    }
    drop(first);
    // However far its last round came: this is what a server leaves that dies before it.
    world.put(id, &old).await;

    let second = world.node();
    assert!(is_opened(&second.grab(id, "opener-1").await, 1), "the snapshot is authentic");
    assert_eq!((second.count("hit"), second.reads()), (1, 0), "and used");
    for number in 1..=OPENERS {
        let told = second.grab(id, &format!("opener-{number}")).await;
        assert!(is_opened(&told, number), "opener {number}: {told:?}");
    }
    assert!(is_ready(&second.grab(id, "wang").await));
    assert_eq!(second.reads(), 1, "all of them shared one load");
}

/// It was stopped, or cut off, and goes on with what it remembers.
#[tokio::test]
async fn opened_is_for_ever_also_from_grab_of_a_server_that_was_not_asked_for_a_while() {
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, second, id) = (world.node(), world.node(), world.envelope(1, 3).await);
    assert!(is_ready(&second.grab(id, "li").await));
    for _ in 0..10 {
        world.clock.advance_millis(SILENCE_MS_MAX / 2);
        assert!(is_ready(&second.grab(id, "li").await));
    }
    let pages = || second.faults.pages.load(Ordering::SeqCst);
    assert_eq!((second.reads(), pages()), (1, 0), "a busy server answers from its memory");

    assert!(opened(&first.open(id, "li").await.unwrap(), 1));
    world.clock.advance_millis(SILENCE_MS_MAX);
    assert!(is_opened(&second.grab(id, "li").await, 1));
    assert!(is_ready(&second.grab(id, "wang").await));
    assert!(is_ready(&second.grab(id, "chen").await));
    assert_eq!((second.reads(), pages()), (1, 1), "what was missing was read once, for all");
}

#[tokio::test]
async fn a_takeover_reads_a_hot_envelope_once_from_redis_and_once_from_the_database() {
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, id) = (world.node(), world.envelope(1, 500).await);
    for number in 0..50 {
        first.open(id, &format!("user-{number}")).await.unwrap();
    }
    world.until_shared(id, 50).await;
    assert!(first.count("written") < 50, "many openings are one snapshot");

    let second = std::sync::Arc::new(world.node());
    let mut grabs = tokio::task::JoinSet::new();
    for number in 0..500 {
        let second = second.clone();
        grabs.spawn(async move { is_ready(&second.grab(id, &format!("guest-{number}")).await) });
    }
    while let Some(ready) = grabs.join_next().await {
        assert!(ready.unwrap());
    }
    assert_eq!(second.count("hit"), 1);
    assert_eq!(second.reads(), 1);
}

#[tokio::test]
async fn a_flushed_redis_fills_again() {
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, id) = (world.node(), world.envelope(1, 3).await);
    first.open(id, "li").await.unwrap();
    world.until_shared(id, 1).await;
    let () = cmd("FLUSHALL").query_async(&mut world.redis().await).await.unwrap();

    let second = world.node();
    assert!(is_opened(&second.grab(id, "li").await, 1));
    assert_eq!((second.count("miss"), second.count("hit")), (1, 0));
    world.until_shared(id, 1).await;
    assert!(is_opened(&world.blind_node().grab(id, "li").await, 1));
}

/// It may have lost what the snapshots tell.
#[tokio::test]
async fn no_snapshot_of_a_database_that_moved_to_another_epoch_is_read() {
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, id) = (world.node(), world.envelope(1, 200).await);
    first.open(id, "li").await.unwrap();
    world.until_shared(id, 1).await;

    let second = world.blind_node();
    second.faults.epoch.fetch_add(1, Ordering::SeqCst);
    assert!(matches!(second.grab(id, "li").await, Err(Refusal::Unavailable(_))));
    assert_eq!(second.count("hit"), 0);

    // Nor does a server write what it remembers from the epoch before.
    let mut openings = 1;
    let until = Instant::now() + Duration::from_secs(20);
    'again: loop {
        first.open(id, &format!("late-{openings}")).await.unwrap();
        first.faults.epoch.fetch_add(1, Ordering::SeqCst);
        openings += 1;
        while first.count("dropped") == 0 {
            if world.openings_shared(id).await == Some(openings) {
                // A round came before the epoch moved.
                assert!(openings < 100, "it is written all the same");
                continue 'again;
            }
            assert!(Instant::now() < until, "it is neither dropped nor written");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        break;
    }
    assert_eq!(world.openings_shared(id).await, Some(openings - 1));
}
