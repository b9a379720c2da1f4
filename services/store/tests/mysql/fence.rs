//! The fence: no envelope is made where the slot map does not place it, and a SET loses only what lies ahead.

use std::time::Duration;

use hongbao_core::fence::{Fence, Holds, Version, in_force};
use hongbao_core::held::{BEGINNING, HeldSlots, HeldSpan, NEVER};
use hongbao_core::id::Fold;
use hongbao_core::limits::FENCE_AHEAD_MS_MIN;
use hongbao_core::slot_maps::SlotMaps;
use hongbao_core::{Clock as _, Date, EnvelopeId, Slot, SystemClock, Timestamp, Traffic};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::mysql::{Fenced, Fences, Layout, MysqlStore, prepare};
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

fn version(number: u64, sets: &[(&str, &Layout)]) -> Version {
    let held = sets.iter().map(|(name, layout)| ((*name).to_owned(), layout.held.clone())).collect();
    Version { number, maps: SlotMaps::new(&held, std::collections::BTreeSet::new()) }
}

/// A SET whose databases are brought to a topology.
struct Migrating {
    fences: Fences,
    part: MysqlOptions,
    layout: Layout,
}

impl Migrating {
    async fn new(part: &Part, set: &str, layout: &Layout) -> Migrating {
        let part = options(&[part.node()]);
        let fences = Fences::open(part.clone(), set, layout.clone()).await.unwrap();
        Migrating { fences, part, layout: layout.clone() }
    }

    async fn prepare(&self) {
        let through = Date::of(SystemClock.now(), ZONE_S).plus_days(1);
        prepare(self.part.clone(), &self.layout, through).await.unwrap();
    }
}

/// As `hongbao migrate` does it, with SETs that are all there are.
async fn migrate(sets: &[&Migrating], next: &Version) -> Result<(), StoreError> {
    migrate_until(sets, next, usize::MAX).await
}

/// The same, killed before its step of this number.
async fn migrate_until(sets: &[&Migrating], next: &Version, steps: usize) -> Result<(), StoreError> {
    let mut read = Vec::new();
    for set in sets {
        read.push(set.fences.read().await?);
    }
    let states = || read.iter().flatten().map(|fence: &Fenced| &fence.state);
    next.check(states()).map_err(|refusal| StoreError::Unavailable(refusal.to_string()))?;
    let in_force = in_force(states());
    for (set, read) in sets.iter().zip(&read) {
        set.fences.check(read, next, in_force)?;
    }
    for set in sets {
        set.prepare().await;
    }
    let mut step = 0;
    for set in sets {
        if step == steps {
            return Ok(());
        }
        set.fences.narrow(next, in_force, "").await?;
        step += 1;
    }
    for set in sets {
        let read = set.fences.read().await?;
        let narrowed = next.check_narrowed(read.iter().map(|fence| &fence.state));
        narrowed.map_err(|refusal| StoreError::Unavailable(refusal.to_string()))?;
    }
    for set in sets {
        if step == steps {
            return Ok(());
        }
        set.fences.widen(next).await?;
        step += 1;
    }
    Ok(())
}

/// The one SET of an installation with the fence of this version.
async fn fenced(part: &Part, layout: &Layout, number: u64) {
    try_fenced(part, layout, number).await.unwrap();
}

async fn try_fenced(part: &Part, layout: &Layout, number: u64) -> Result<(), StoreError> {
    let set = Migrating::new(part, "a", layout).await;
    migrate(&[&set], &version(number, &[("a", layout)])).await
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
    // As if that had been hours ago.
    part.sql(&format!("UPDATE db_00.slot_fence SET until_ms = {} WHERE slot = 7", now.millis()));
    let fence = store.fence().await.unwrap();
    assert_eq!((fence.holds(id_in(7, now)), fence.holds(id_in(8, now))), (Holds::Elsewhere, Holds::Here));
}

#[tokio::test]
async fn a_set_loses_nothing_that_may_have_been_minted() {
    let part = Part::mariadb(&[]);
    fenced(&part, &always(1), 3).await;
    let near = SystemClock.now().plus_millis(FENCE_AHEAD_MS_MIN - 10_000);
    for from in [near, SystemClock.now().plus_millis(-1_000)] {
        let refused = unavailable(try_fenced(&part, &until(from, |slot| slot != 7, [1, 1]), 4).await);
        assert!(
            refused.contains(&format!("version 3, to which fences have come: its map from {from} is too near")),
            "{refused}"
        );
    }
    // Not even where it never held the slot by this file.
    let never = Layout::always(Slot::all().skip(1), fold(1), ZONE_S, Traffic::Live);
    let refused = unavailable(try_fenced(&part, &never, 4).await);
    assert!(refused.contains("it changes the slots from the beginning"), "{refused}");
    // Nor by rows of which no topology is known.
    part.sql("UPDATE db_00.slot_fence_version SET narrowed_maps = NULL, widened_maps = NULL");
    let refused = unavailable(try_fenced(&part, &never, 4).await);
    assert!(refused.contains("db_00: it accepts ids of slot 00 from 1970"), "{refused}");
    let store = open(&part, &always(1)).await;
    create(&store, &[id_in(7, near), id_in(0, near)]).await.unwrap();
}

#[tokio::test]
async fn a_map_that_lies_ahead_may_be_taken_back_and_an_older_file_changes_nothing() {
    let (part, from) = (Part::mariadb(&[]), ahead());
    let layout = until(from, |slot| slot != 7, [1, 1]);
    fenced(&part, &layout, 5).await;
    let refused = unavailable(try_fenced(&part, &always(1), 4).await);
    assert!(refused.contains("a fence is that of version 5 of the topology, not 4"), "{refused}");
    let refused = unavailable(try_fenced(&part, &always(1), 5).await);
    assert!(refused.contains("another topology of version 5: give this one a higher version"), "{refused}");
    fenced(&part, &layout, 5).await;
    let store = open(&part, &always(1)).await;
    assert!(matches!(create(&store, &[id_in(7, from)]).await, Err(StoreError::NotHeld)));
    fenced(&part, &always(1), 6).await;
    create(&store, &[id_in(7, from)]).await.unwrap();
    assert_eq!(store.fence_version().await.unwrap(), 6);
}

/// Slot 7 goes from one SET to another.
struct Moving {
    one: Part,
    two: Part,
    from: Timestamp,
    of_one: Layout,
    of_two: Layout,
}

impl Moving {
    async fn new() -> Moving {
        let (one, two, from) = (Part::mariadb(&[]), Part::mariadb(&[]), ahead());
        let is_seven = |slot: &Slot| slot.number() == 7;
        let of_two = changing(from, [Vec::new(), Slot::all().filter(is_seven).collect()], [1, 1]);
        fenced(&one, &always(1), 0).await;
        Moving { one, two, from, of_one: until(from, |slot| slot != 7, [1, 1]), of_two }
    }

    async fn sets(&self) -> [Migrating; 2] {
        [Migrating::new(&self.one, "a", &self.of_one).await, Migrating::new(&self.two, "b", &self.of_two).await]
    }

    fn version(&self, number: u64) -> Version {
        version(number, &[("a", &self.of_one), ("b", &self.of_two)])
    }

    /// How many of the two SETs accept the id that goes from the one to the other.
    async fn acceptors(&self) -> usize {
        let mut acceptors = 0;
        for part in [&self.one, &self.two] {
            let count = format!(
                "SELECT count(*) FROM db_00.slot_fence WHERE slot = 7 AND from_ms <= {0} AND until_ms > {0}",
                self.from.millis()
            );
            acceptors += part.sql(&count).trim().parse::<usize>().unwrap();
        }
        acceptors
    }
}

#[tokio::test]
async fn what_one_set_loses_another_gets_only_then_and_a_kill_between_is_made_up_for() {
    let moving = Moving::new().await;
    let [a, b] = moving.sets().await;
    for (steps, acceptors) in [(0, 1), (1, 0), (2, 0), (3, 0), (4, 1)] {
        migrate_until(&[&a, &b], &moving.version(1), steps).await.unwrap();
        assert_eq!(moving.acceptors().await, acceptors, "killed before step {steps}");
        let refused = b.fences.widen(&moving.version(2)).await;
        assert!(unavailable(refused).contains("has become that of another topology meanwhile"));
    }
    let (one, two) = (open(&moving.one, &always(1)).await, open(&moving.two, &moving.of_two).await);
    let [before, at] = [id_in(7, moving.from.plus_millis(-1)), id_in(7, moving.from)];
    create(&two, &[at]).await.unwrap();
    create(&one, &[before]).await.unwrap();
    assert!(matches!(create(&one, &[at]).await, Err(StoreError::NotHeld)));
    let refused = create(&two, &[before]).await;
    assert!(matches!(refused, Err(StoreError::NotHeld)), "it lies where it was placed at its own time");
}

#[tokio::test]
async fn a_file_that_lacks_a_set_or_has_the_version_of_another_is_refused() {
    let moving = Moving::new().await;
    let [a, b] = moving.sets().await;
    migrate(&[&a, &b], &moving.version(1)).await.unwrap();
    // The file of before, with a higher number: SET b would go on accepting.
    let refused = unavailable(try_fenced(&moving.one, &always(1), 2).await);
    assert!(refused.contains("SET \"b\" is not in it"), "{refused}");
    // Two operators, each with a version 2.
    let back = version(2, &[("a", &always(1)), ("b", &moving.of_two)]);
    assert!(
        unavailable(migrate(&[&a, &b], &version(1, &[("a", &always(1)), ("b", &moving.of_two)])).await)
            .contains("version 1")
    );
    migrate_until(&[&a, &b], &moving.version(2), 2).await.unwrap();
    let refused = unavailable(a.fences.narrow(&back, None, "").await);
    assert!(refused.contains("give this one a higher version"), "{refused}");
    assert_eq!(moving.acceptors().await, 1);
}

#[tokio::test]
async fn a_set_that_was_left_out_or_restored_loses_what_is_anothers_at_any_time() {
    let moving = Moving::new().await;
    let [a, b] = moving.sets().await;
    a.prepare().await;
    // SET a is not asked.
    migrate(&[&b], &moving.version(1)).await.unwrap();
    assert_eq!(moving.acceptors().await, 2, "as the operator was warned");
    // Its time has come by when SET a is back: what is in force says whose the ids are.
    let past = format!(
        "UPDATE db_00.slot_fence_version SET widened_maps = REPLACE(widened_maps, '{0}', '{1}'), \
        narrowed_maps = REPLACE(narrowed_maps, '{0}', '{1}'); UPDATE db_00.slot_fence SET from_ms = {1} WHERE from_ms = {0}",
        moving.from.millis(),
        SystemClock.now().millis() - 1_000
    );
    moving.two.sql(&past);
    let from = Timestamp::from_millis(moving.two.sql("SELECT from_ms FROM db_00.slot_fence").trim().parse().unwrap());
    let later = Moving {
        of_one: until(from, |slot| slot != 7, [1, 1]),
        of_two: changing(from, [Vec::new(), Slot::new(7).into_iter().collect()], [1, 1]),
        from,
        ..moving
    };
    let sets = later.sets().await;
    let next = later.version(1);
    migrate(&[&sets[0], &sets[1]], &next).await.unwrap();
    assert_eq!(later.acceptors().await, 1);
    let one = open(&later.one, &always(1)).await;
    assert!(matches!(create(&one, &[id_in(7, from)]).await, Err(StoreError::NotHeld)));
    // But nothing that is its own by what is in force.
    let greedy = Layout::always(Slot::all().skip(1), fold(1), ZONE_S, Traffic::Live);
    let refused = unavailable(
        migrate(
            &[&Migrating::new(&later.one, "a", &greedy).await, &sets[1]],
            &version(2, &[("a", &greedy), ("b", &later.of_two)]),
        )
        .await,
    );
    assert!(refused.contains("it changes the slots from the beginning"), "{refused}");
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
    let set = Migrating::new(&part, "a", &odd).await;
    set.prepare().await;
    let store = open(&part, &odd).await;
    create(&store, &[id_in(7, SystemClock.now())]).await.unwrap();
    let less = Layout::always(Slot::all().filter(|slot| slot.number() == 1), fold(2), ZONE_S, Traffic::Live);
    let refused = unavailable(try_fenced(&part, &less, 1).await);
    assert!(refused.contains("it accepts ids of slot 03"), "{refused}");
    fenced(&part, &odd, 1).await;
}

/// A fold of a map that was taken back is not that of a database for ever.
#[tokio::test]
async fn a_database_that_has_accepted_nothing_may_be_of_another_fold() {
    let (part, from) = (Part::mariadb(&[]), ahead());
    let span = |from, until, databases| HeldSpan {
        from,
        until,
        slots: Slot::new(3).into_iter().collect(),
        fold: fold(databases),
    };
    let folded = |databases| Layout {
        held: HeldSlots::new(vec![span(BEGINNING, from, 2), span(from, NEVER, databases)]),
        zone_offset_s: ZONE_S,
        traffic: Traffic::Live,
    };
    fenced(&part, &Layout::always(Slot::new(3), fold(2), ZONE_S, Traffic::Live), 0).await;
    fenced(&part, &folded(4), 1).await;
    fenced(&part, &folded(5), 2).await;
    let store = open(&part, &folded(5)).await;
    assert_eq!(store.table_of(id_in(3, from)).database, 3);
    create(&store, &[id_in(3, from)]).await.unwrap();
}

#[tokio::test]
async fn several_change_a_fence_at_once_while_envelopes_are_made() {
    let (part, from) = (Part::mariadb(&[]), ahead());
    fenced(&part, &always(2), 0).await;
    let store = open(&part, &always(2)).await;
    let layout = until(from, |slot| slot < 50, [2, 2]);
    let changes = (0..4).map(|_| try_fenced(&part, &layout, 1));
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
