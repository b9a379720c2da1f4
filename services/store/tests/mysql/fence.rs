//! The fence: no envelope is made where the slot map does not place it, and a SET loses only what lies ahead.

use std::time::Duration;

use hongbao_core::fence::{Fence, Holds};
use hongbao_core::held::{BEGINNING, HeldSlots, HeldSpan, NEVER};
use hongbao_core::id::Fold;
use hongbao_core::limits::FENCE_AHEAD_MS_MIN;
use hongbao_core::{Clock as _, Date, EnvelopeId, Slot, SystemClock, Timestamp, Traffic};
use hongbao_store::mysql::{Fences, Layout, MysqlStore, prepare};
use hongbao_store::{Creation as _, Journals as _, Store as _, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::{created, id_at};

use crate::common::{options, unavailable};

const ZONE_S: i32 = 28_800;

fn fold(databases: u8) -> Fold {
    Fold::new(databases, 1).unwrap()
}

/// All slots until `from`, and then those that `keep` keeps, in so many databases.
fn until(from: Timestamp, keep: impl Fn(u8) -> bool, databases: [u8; 2]) -> Layout {
    let kept = Slot::all().filter(|slot| keep(slot.number())).collect();
    changing(from, [Slot::all().collect(), kept], databases)
}

fn changing(from: Timestamp, [before, then]: [Vec<Slot>; 2], databases: [u8; 2]) -> Layout {
    let held = HeldSlots::new(vec![
        HeldSpan { from: BEGINNING, until: from, slots: before, fold: fold(databases[0]) },
        HeldSpan { from, until: NEVER, slots: then, fold: fold(databases[1]) },
    ]);
    Layout { held, zone_offset_s: ZONE_S, traffic: Traffic::Live }
}

fn always(databases: u8) -> Layout {
    Layout::always(Slot::all(), fold(databases), ZONE_S, Traffic::Live)
}

/// Far enough ahead for a fence, and for the time that a test takes.
fn ahead() -> Timestamp {
    SystemClock.now().plus_millis(FENCE_AHEAD_MS_MIN + 60_000)
}

fn id_in(slot: u8, at: Timestamp) -> EnvelopeId {
    (0..).map(|number| id_at(at, number)).find(|id| id.slot().number() == slot).unwrap()
}

/// The databases of a SET, up to date but for their fence.
async fn prepared(part: &Part, layout: &Layout) -> Fences {
    let through = Date::of(SystemClock.now(), ZONE_S).plus_days(1);
    prepare(options(&[part.node()]), layout, through).await.unwrap();
    Fences::open(options(&[part.node()]), layout.clone()).await.unwrap()
}

/// The same with the fence of this version.
async fn fenced(part: &Part, layout: &Layout, version: u64) {
    let fences = prepared(part, layout).await;
    fences.narrow(version, "").await.unwrap();
    fences.widen(version).await.unwrap();
}

async fn open(part: &Part, layout: &Layout) -> MysqlStore {
    MysqlStore::open(options(&[part.node()]), layout.clone()).await.unwrap()
}

async fn create(store: &MysqlStore, ids: &[EnvelopeId]) -> Result<(), StoreError> {
    let envelopes: Vec<_> = ids.iter().map(|id| created(*id)).collect();
    store.create(&envelopes).await
}

#[tokio::test]
async fn an_envelope_is_made_only_where_the_fence_accepts_its_id() {
    let (part, from) = (Part::mariadb(&[]), ahead());
    fenced(&part, &always(1), 0).await;
    // This process knows nothing of the map that comes.
    let store = open(&part, &always(1)).await;
    let (before, then) = (from.plus_millis(-1), from);
    fenced(&part, &until(from, |slot| slot != 7, [1, 1]), 1).await;

    create(&store, &[id_in(7, before)]).await.unwrap();
    create(&store, &[id_in(8, then)]).await.unwrap();
    let refused = create(&store, &[id_in(7, then)]).await;
    assert!(matches!(refused, Err(StoreError::NotHeld)), "{refused:?}");
    // A batch is whole or not at all, in one table and in several.
    for other in [id_in(9, then), id_in(9, then.plus_millis(-86_400_000))] {
        for batch in [[id_in(7, then), other], [other, id_in(7, then)]] {
            assert!(matches!(create(&store, &batch).await, Err(StoreError::NotHeld)));
            assert!(store.load(other).await.unwrap().is_none());
        }
    }
    assert!(store.load(id_in(7, then)).await.unwrap().is_none());
    assert!(store.load(id_in(7, before)).await.unwrap().is_some());
}

#[tokio::test]
async fn a_server_knows_for_minutes_which_ids_are_its_own() {
    let part = Part::mariadb(&[]);
    fenced(&part, &always(1), 0).await;
    let (now, store) = (SystemClock.now(), open(&part, &always(1)).await);
    let fence = store.fence().await.unwrap();
    assert_eq!(fence.holds(id_in(7, now)), Holds::Here);
    assert_eq!(fence.holds(id_in(7, now.plus_millis(FENCE_AHEAD_MS_MIN))), Holds::Unknown);
    let from = ahead();
    fenced(&part, &until(from, |slot| slot != 7, [1, 1]), 1).await;
    let fence = store.fence().await.unwrap();
    assert_eq!(fence.holds(id_in(7, now)), Holds::Here);
    assert_eq!(fence.holds(id_in(7, from)), Holds::Unknown, "it may change again until then");
}

#[tokio::test]
async fn a_set_loses_nothing_that_may_have_been_minted() {
    let part = Part::mariadb(&[]);
    fenced(&part, &always(1), 3).await;
    let near = SystemClock.now().plus_millis(FENCE_AHEAD_MS_MIN - 10_000);
    for from in [near, SystemClock.now().plus_millis(-1_000)] {
        let layout = until(from, |slot| slot != 7, [1, 1]);
        let fences = prepared(&part, &layout).await;
        for refused in [unavailable(fences.check(4).await), unavailable(fences.narrow(4, "").await)] {
            assert!(refused.contains(&format!("db_00: it accepts ids of slot 07 from {from} on")), "{refused}");
        }
    }
    // Not even where it never held the slot by this file.
    let never = Layout::always(Slot::all().skip(1), fold(1), ZONE_S, Traffic::Live);
    let refused = unavailable(prepared(&part, &never).await.narrow(4, "").await);
    assert!(refused.contains("it accepts ids of slot 00 from 1970"), "{refused}");
    let store = open(&part, &always(1)).await;
    create(&store, &[id_in(7, near), id_in(0, near)]).await.unwrap();
}

#[tokio::test]
async fn a_map_that_lies_ahead_may_be_taken_back_and_an_older_file_changes_nothing() {
    let (part, from) = (Part::mariadb(&[]), ahead());
    fenced(&part, &until(from, |slot| slot != 7, [1, 1]), 5).await;
    let refused = unavailable(prepared(&part, &always(1)).await.narrow(4, "").await);
    assert!(refused.contains("its fence is that of version 5 of the topology, not 4"), "{refused}");
    let store = open(&part, &always(1)).await;
    assert!(matches!(create(&store, &[id_in(7, from)]).await, Err(StoreError::NotHeld)));
    fenced(&part, &always(1), 6).await;
    create(&store, &[id_in(7, from)]).await.unwrap();
}

#[tokio::test]
async fn what_one_set_loses_another_gets_only_then_and_a_kill_between_is_made_up_for() {
    let (one, two, from) = (Part::mariadb(&[]), Part::mariadb(&[]), ahead());
    let is_seven = |slot: &Slot| slot.number() == 7;
    let of_two = changing(from, [Vec::new(), Slot::all().filter(is_seven).collect()], [1, 1]);
    let of_one = until(from, |slot| slot != 7, [1, 1]);
    fenced(&one, &always(1), 0).await;
    let (losing, gaining) = (prepared(&one, &of_one).await, prepared(&two, &of_two).await);
    let (store_one, store_two) = (open(&one, &always(1)).await, open(&two, &of_two).await);
    let [before, at] = [id_in(7, from.plus_millis(-1)), id_in(7, from)];
    let accepted_by_two = async || create(&store_two, &[at]).await;

    // Killed before the first step, after it, and after the second.
    assert!(matches!(accepted_by_two().await, Err(StoreError::NotHeld)), "a new SET accepts nothing");
    assert_eq!(losing.narrow(1, "").await.unwrap().len(), 1);
    assert!(matches!(create(&store_one, &[at]).await, Err(StoreError::NotHeld)));
    assert!(matches!(accepted_by_two().await, Err(StoreError::NotHeld)), "for a while it is of neither");
    let refused = unavailable(gaining.widen(1).await);
    assert!(refused.contains("its fence has become that of version 0"), "{refused}");
    for _ in 0..2 {
        losing.check(1).await.unwrap();
        losing.narrow(1, "").await.unwrap();
        gaining.narrow(1, "").await.unwrap();
        losing.widen(1).await.unwrap();
        gaining.widen(1).await.unwrap();
    }
    accepted_by_two().await.unwrap();
    create(&store_one, &[before]).await.unwrap();
    let refused = create(&store_two, &[before]).await;
    assert!(matches!(refused, Err(StoreError::NotHeld)), "it lies where it was placed at its own time");
}

#[tokio::test]
async fn a_fold_grows_for_ids_to_come_and_older_envelopes_stay_where_they_are() {
    let (part, from) = (Part::mariadb(&[]), ahead());
    let further = from.plus_millis(1_000);
    // Of one slot, for a database takes a while to be made.
    let span = |from, until, databases| HeldSpan {
        from,
        until,
        slots: Slot::new(27).into_iter().collect(),
        fold: fold(databases),
    };
    let layout = |spans| Layout { held: HeldSlots::new(spans), zone_offset_s: ZONE_S, traffic: Traffic::Live };
    let small = layout(vec![span(BEGINNING, NEVER, 4)]);
    let grown = layout(vec![span(BEGINNING, from, 4), span(from, NEVER, 20)]);
    let whole = layout(vec![span(BEGINNING, from, 4), span(from, further, 20), span(further, NEVER, 100)]);
    let [before, then, at_last] = [from.plus_millis(-1), from, further].map(|at| id_in(27, at));

    fenced(&part, &small, 0).await;
    let old = open(&part, &small).await;
    create(&old, &[before]).await.unwrap();
    fenced(&part, &grown, 1).await;
    let new = open(&part, &grown).await;
    assert_eq!((new.table_of(before).database, new.table_of(then).database), (3, 7));
    // A process that has not read the new file would write it into the old database.
    assert_eq!(old.table_of(then).database, 3);
    assert!(matches!(create(&old, &[then]).await, Err(StoreError::NotHeld)));
    create(&new, &[then]).await.unwrap();
    fenced(&part, &whole, 2).await;
    let newest = open(&part, &whole).await;
    assert_eq!(newest.table_of(at_last).database, 27);
    create(&newest, &[at_last]).await.unwrap();
    for id in [before, then, at_last] {
        assert!(newest.load(id).await.unwrap().is_some());
    }
    let databases: std::collections::BTreeSet<u8> = newest.tables().iter().map(|table| table.database).collect();
    assert_eq!(databases, [3, 7, 27].into());
}

/// A map that is taken back may have had databases that the next file does not know.
#[tokio::test]
async fn a_fold_that_is_taken_back_leaves_no_database_that_accepts_ids() {
    let (part, from) = (Part::mariadb(&[]), ahead());
    let held = |databases: &[u8]| {
        let mut spans = Vec::new();
        for (number, databases) in databases.iter().enumerate() {
            let [from, until] = [if number == 0 { BEGINNING } else { from }, if number + 1 < 2 { from } else { NEVER }];
            spans.push(HeldSpan { from, until, slots: Slot::new(3).into_iter().collect(), fold: fold(*databases) });
        }
        spans.last_mut().unwrap().until = NEVER;
        Layout { held: HeldSlots::new(spans), zone_offset_s: ZONE_S, traffic: Traffic::Live }
    };
    fenced(&part, &held(&[2]), 0).await;
    fenced(&part, &held(&[2, 4]), 1).await;
    let grown = open(&part, &held(&[2, 4])).await;
    fenced(&part, &held(&[2]), 2).await;
    assert!(matches!(create(&grown, &[id_in(3, from)]).await, Err(StoreError::NotHeld)));
    create(&open(&part, &held(&[2])).await, &[id_in(3, from)]).await.unwrap();
}

#[tokio::test]
async fn databases_of_a_version_without_a_fence_accept_their_slots() {
    let part = Part::mariadb(&[]);
    let odd = Layout::always(Slot::all().filter(|slot| slot.number() % 2 == 1), fold(2), ZONE_S, Traffic::Live);
    fenced(&part, &odd, 0).await;
    part.sql(
        "DROP TABLE db_01.slot_fence, db_01.slot_fence_version; \
         DELETE FROM db_01.migration WHERE name = '0005_fence'; UPDATE db_01.meta SET version = 3",
    );
    let fences = prepared(&part, &odd).await;
    let store = open(&part, &odd).await;
    create(&store, &[id_in(7, SystemClock.now())]).await.unwrap();
    let lost = Layout::always(Slot::all().filter(|slot| slot.number() == 1), fold(2), ZONE_S, Traffic::Live);
    let refused = unavailable(Fences::open(options(&[part.node()]), lost).await.unwrap().check(1).await);
    assert!(refused.contains("it accepts ids of slot 03"), "{refused}");
    fences.check(1).await.unwrap();
}

#[tokio::test]
async fn several_change_a_fence_at_once_while_envelopes_are_made() {
    let (part, from) = (Part::mariadb(&[]), ahead());
    fenced(&part, &always(2), 0).await;
    let store = open(&part, &always(2)).await;
    let layout = until(from, |slot| slot < 50, [2, 2]);
    let changes = (0..4).map(|_| fenced(&part, &layout, 1));
    let making = async {
        let mut made = 0;
        for number in 0..300 {
            create(&store, &[id_at(SystemClock.now(), number)]).await.unwrap();
            made += 1;
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        made
    };
    // Those that meet each other's second step say so, and are repeated.
    let (_, made) = tokio::join!(futures_util::future::join_all(changes), making);
    assert_eq!(made, 300);
    let rows =
        part.sql("SELECT slot, until_ms FROM db_00.slot_fence UNION SELECT slot, until_ms FROM db_01.slot_fence");
    let ended = rows.lines().filter(|row| row.ends_with(&from.millis().to_string())).count();
    assert_eq!(ended, 50, "{rows}");
}

#[tokio::test]
async fn a_fence_whose_rows_make_no_sense_is_named() {
    let part = Part::mariadb(&[]);
    fenced(&part, &always(1), 0).await;
    let store = open(&part, &always(1)).await;
    part.sql("UPDATE db_00.slot_fence SET slot = 200 WHERE slot = 7");
    let read: Result<Fence, StoreError> = store.fence().await;
    assert!(matches!(&read, Err(StoreError::Damaged(reason)) if reason.contains("slot 200")), "{read:?}");
    part.sql("DROP TABLE db_00.slot_fence");
    assert!(matches!(create(&store, &[id_in(7, SystemClock.now())]).await, Err(StoreError::Unavailable(_))));
}
