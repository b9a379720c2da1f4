//! The audit over several SETs, and over rows that lie in the wrong place or
//! cannot be read.

mod common;

use common::damage::{damage_store, damage_wallet};
use common::{DAY_MS, World, ZONE_S, run_until_idle};
use hongbao_core::audit::Breach;
use hongbao_core::held::{BEGINNING, HeldSlots, HeldSpan, NEVER};
use hongbao_core::id::Fold;
use hongbao_core::{Clock as _, EnvelopeId, Slot, Transfer, TransferOutcome};
use hongbao_workers::credit::Credit;
use hongbao_workers::{AuditError, AuditReport, SetStore, audit};

fn set(name: &str, world: &World) -> SetStore {
    SetStore {
        name: name.to_owned(),
        held: HeldSlots::always(world.slots.clone(), Fold::WHOLE),
        store: world.store.clone(),
    }
}

async fn audited(sets: &[SetStore], world: &World) -> (AuditReport, Vec<Breach>) {
    let mut found = Vec::new();
    let mut tell = |breach: &Breach| found.push(breach.clone());
    let report = audit(sets, &*world.wallet, &mut tell).await.unwrap();
    assert_eq!(report.breaches, found.len() as u64);
    (report, found)
}

fn codes(found: &[Breach]) -> Vec<(&'static str, Option<EnvelopeId>)> {
    found.iter().map(|breach| (breach.code, breach.envelope_id)).collect()
}

/// An envelope with three openings, credited.
async fn opened(world: &World) -> EnvelopeId {
    let id = world.active(1_000, 10).await;
    world.open_many(id, "a", 3).await;
    run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 100).await;
    id
}

#[tokio::test]
async fn several_sets_are_one_system() {
    let (one, two) = World::two_sets().await;
    for world in [&one, &one, &two] {
        opened(world).await;
    }
    let sets = [set("one", &one), set("two", &two)];
    let (report, found) = audited(&sets, &one).await;
    assert!(found.is_empty(), "{found:#?}");
    assert_eq!((report.sets, report.envelopes, report.entries), (2, 3, 9));
    assert_eq!(report.transfers, 1 + 3 + 9);
    assert!(report.to_string().contains(" in 2 SETs\n"), "{report}");
    assert!(report.to_string().contains(" ms (its pace is shown from 10000 entries on)\n"), "{report}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["sets"], 2);
    assert!(json["ms_per_million_entries"].is_u64(), "{json}");
}

#[tokio::test]
async fn damage_in_the_last_set_is_named() {
    let (one, two) = World::two_sets().await;
    opened(&one).await;
    let (whole, gone) = (opened(&two).await, opened(&two).await);
    let sql = "UPDATE {j} SET amount_fen = amount_fen + 1 WHERE envelope_id = {id} AND seq = 2";
    damage_store(&two, whole, sql).await;
    damage_store(&two, gone, "DELETE FROM {e} WHERE id = {id}").await;
    let (_, found) = audited(&[set("one", &one), set("two", &two)], &one).await;
    let found = codes(&found);
    assert!(found.contains(&("amount_wrong", Some(whole))), "{found:?}");
    let missing = found.iter().filter(|what| **what == ("envelope_missing", Some(gone))).count();
    assert_eq!(missing, 4, "the payment and three credits");
}

#[tokio::test]
async fn i5_an_envelope_in_a_set_that_does_not_hold_its_slot_is_named() {
    let (one, two) = World::two_sets().await;
    let stray = two.created_at(two.now(), 1_000, 10).await;
    one.store.create(std::slice::from_ref(&stray)).await.unwrap();
    let sets = [set("one", &one), set("two", &two)];
    let (report, found) = audited(&sets, &one).await;
    assert_eq!(codes(&found), [("wrong_set", Some(stray.id))]);
    assert_eq!(found[0].invariant, "I5");
    let reason = format!("it lies in SET one, but slot {:02} is held by SET two", stray.id.slot().number());
    assert_eq!(found[0].detail, reason);
    assert_eq!(report.envelopes, 2);

    // In the wrong SET alone, it does not exist for those who ask for it.
    let lost = two.created_at(two.now(), 1_000, 10).await;
    damage_store(&two, lost.id, "DELETE FROM {e} WHERE id = {id}").await;
    one.store.create(std::slice::from_ref(&lost)).await.unwrap();
    one.transfer(Transfer::send(&lost, one.now()), TransferOutcome::Done).await;
    let (_, found) = audited(&sets, &one).await;
    let found = codes(&found);
    assert!(found.contains(&("wrong_set", Some(lost.id))), "{found:?}");
    assert!(found.contains(&("envelope_missing", Some(lost.id))), "{found:?}");
}

#[tokio::test]
async fn i5_an_envelope_in_another_table_than_its_id_says_is_named() {
    let world = World::new().await;
    let id = world.created_at(world.now(), 1_000, 10).await.id;
    let tomorrow = world.created_at(world.now().plus_millis(DAY_MS), 1_000, 10).await.id;
    let other = world.table(tomorrow);
    let other_table = format!("envelope_{}_{}", other.table, other.span);
    damage_store(&world, id, &format!("INSERT INTO {other_table} SELECT * FROM {{e}} WHERE id = {{id}}")).await;
    let (_, found) = audited(&world.sets(), &world).await;
    assert_eq!(codes(&found), [("wrong_table", Some(id))]);
    let reason =
        "it lies in SET whole database 00 table 0 day 17, but its id says SET whole database 00 table 0 day 16";
    assert_eq!(found[0].detail, reason);
}

#[tokio::test]
async fn slots_without_a_set_or_with_two_are_refused() {
    let (one, two) = World::two_sets().await;
    let mut tell = |_: &Breach| panic!("nothing is checked");
    let mut check = async |sets: &[SetStore]| audit(sets, &*one.wallet, &mut tell).await.unwrap_err();
    assert!(matches!(check(&[]).await, AuditError::Slots(0, BEGINNING, 0)));
    assert!(matches!(check(&[set("one", &one)]).await, AuditError::Slots(50, BEGINNING, 0)));
    let greedy = |held| SetStore { held, ..set("two", &two) };
    let high = two.slots.iter().copied();
    let always = HeldSlots::always(high.clone().chain(Slot::new(7)), Fold::WHOLE);
    let refused = check(&[set("one", &one), greedy(always)]).await.to_string();
    assert_eq!(refused, "slot 07 is held by 2 SETs for ids from 1970-01-01T00:00:00.000Z on, and should be by one");
    let span = |from, until, slots| HeldSpan { from, until, slots, fold: Fold::WHOLE };
    let later = HeldSlots::new(vec![
        span(BEGINNING, one.clock.now(), high.clone().collect()),
        span(one.clock.now(), NEVER, high.skip(1).collect()),
    ]);
    let refused = check(&[set("one", &one), greedy(later)]).await.to_string();
    assert_eq!(refused, format!("slot 50 is held by 0 SETs for ids from {} on, and should be by one", one.clock.now()));
}

/// Five envelopes, a minute between each and the next, with one opening each.
async fn row_of_five(world: &World) -> Vec<EnvelopeId> {
    let mut ids = Vec::new();
    for _ in 0..5 {
        world.clock.advance_millis(60_000);
        let id = world.active(1_000, 10).await;
        world.open(id, "a").await;
        ids.push(id);
    }
    run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 100).await;
    ids
}

#[tokio::test]
async fn an_envelope_that_cannot_be_read_is_named_and_the_others_are_checked() {
    let (row, entry) = (
        "UPDATE {e} SET sender = 'no such name!' WHERE id = {id}",
        "UPDATE {j} SET user_id = 'no such name!' WHERE envelope_id = {id}",
    );
    for (place, damage) in [(0, row), (0, entry), (2, entry), (4, entry), (4, row)] {
        let world = World::new().await;
        let ids = row_of_five(&world).await;
        damage_store(&world, ids[place], damage).await;
        let others: Vec<EnvelopeId> = ids.iter().copied().filter(|id| *id != ids[place]).collect();
        for id in &others {
            damage_store(&world, *id, "UPDATE {j} SET amount_fen = amount_fen + 1 WHERE envelope_id = {id}").await;
        }
        let (report, found) = audited(&world.sets(), &world).await;
        assert_eq!(report.envelopes, 4, "{found:#?}");
        let unreadable: Vec<&Breach> = found.iter().filter(|breach| breach.code == "unreadable").collect();
        assert_eq!(unreadable.len(), 1, "{found:#?}");
        assert!(unreadable[0].detail.contains("no such name!"), "{unreadable:?}");
        if damage == entry {
            assert_eq!(unreadable[0].envelope_id, Some(ids[place]));
        } else {
            assert!(unreadable[0].detail.contains("SET whole database 00 table 0 day 16, after"), "{unreadable:?}");
            if let Some(before) = place.checked_sub(1) {
                assert!(unreadable[0].detail.contains(&format!("after envelope {} up to", ids[before])));
            }
        }
        let found = codes(&found);
        for id in others {
            assert!(found.contains(&("amount_wrong", Some(id))), "{found:?}");
        }
        assert!(!found.iter().any(|(code, _)| *code == "envelope_missing"), "it is there: {found:?}");
    }
}

#[tokio::test]
async fn a_table_of_which_nothing_can_be_read_does_not_end_the_audit() {
    let world = World::new().await;
    for id in row_of_five(&world).await {
        damage_store(&world, id, "UPDATE {e} SET sender = 'no such name!' WHERE id = {id}").await;
    }
    world.clock.advance_millis(DAY_MS);
    opened(&world).await;
    let (report, found) = audited(&world.sets(), &world).await;
    assert_eq!(report.envelopes, 1, "{found:#?}");
    assert_eq!(codes(&found), [("unreadable", None)]);
}

#[tokio::test]
async fn a_transfer_that_cannot_be_read_is_named_and_the_others_are_checked() {
    let world = World::new().await;
    let ids = row_of_five(&world).await;
    damage_wallet(&world, ids[1], "UPDATE transfer SET user_id = 'no such name!' WHERE id = {1}").await;
    damage_store(&world, ids[3], "UPDATE {j} SET amount_fen = amount_fen + 1 WHERE envelope_id = {id}").await;
    damage_store(&world, ids[4], "DELETE FROM {e} WHERE id = {id}").await;
    let (report, found) = audited(&world.sets(), &world).await;
    assert_eq!(report.transfers, 1 + 10 - 1, "{found:#?}");
    let found = codes(&found);
    for expected in [
        ("unreadable", Some(ids[1])),
        ("unreadable", None),
        ("amount_wrong", Some(ids[3])),
        ("envelope_missing", Some(ids[4])),
    ] {
        assert!(found.contains(&expected), "{expected:?} is not in {found:?}");
    }
}
