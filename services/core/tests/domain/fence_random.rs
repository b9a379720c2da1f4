//! Gateways, servers and databases with any mixture of topology files and of clocks: no envelope is ever made where the
//! map does not place it.
//!
//! A model of an installation in memory: the steps are those of the real processes, the decisions are the core's. After
//! each step every envelope is compared with the topology in force, and no id may be accepted twice.

use std::collections::{BTreeMap, BTreeSet};

use hongbao_core::fence::{Accepted, Fence, Holds, State, Version, difference, in_force};
use hongbao_core::held::{BEGINNING, HeldSlots, HeldSpan, NEVER};
use hongbao_core::id::Fold;
use hongbao_core::limits::{FENCE_AHEAD_MS_MIN, ID_AHEAD_MS_MAX, MAP_AHEAD_MS_MIN};
use hongbao_core::slot_maps::SlotMaps;
use hongbao_core::{EnvelopeId, Slot, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::sample::{NEW_YEAR, scrambled};

const SETS: usize = 3;
/// Some slots, so that the same ones meet often.
const SLOTS: u8 = 4;
const FOLDS: [u8; 2] = [1, 2];

/// One version of the topology: maps, in each the SET of each slot, and the fold of each SET.
#[derive(Clone, Debug)]
struct File {
    version: u64,
    sets: BTreeSet<usize>,
    maps: Vec<Map>,
}

#[derive(Clone, Debug, PartialEq)]
struct Map {
    from: Timestamp,
    holder: Vec<usize>,
    folds: Vec<u8>,
}

impl File {
    fn held(&self, set: usize) -> HeldSlots {
        let span = |number: usize, map: &Map| HeldSpan {
            from: map.from,
            until: self.maps.get(number + 1).map_or(NEVER, |next| next.from),
            slots: slots().filter(|slot| map.holder[usize::from(slot.number())] == set).collect(),
            fold: Fold::new(map.folds[set], 1).unwrap(),
        };
        HeldSlots::new(self.maps.iter().enumerate().map(|(number, map)| span(number, map)).collect())
    }

    fn set_of(&self, id: EnvelopeId) -> usize {
        let map = self.maps.iter().rfind(|map| map.from <= id.minted_at()).unwrap();
        map.holder[usize::from(id.slot().number())]
    }

    fn version(&self) -> Version {
        let held = self.sets.iter().map(|set| (set.to_string(), self.held(*set))).collect();
        Version { number: self.version, maps: SlotMaps::new(&held, BTreeSet::new()) }
    }
}

fn slots() -> impl Iterator<Item = Slot> {
    (0..SLOTS).map(|number| Slot::new(number).unwrap())
}

/// What can happen next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Wait(i64),
    /// A file is written whose last map lies so far ahead; `kept` maps of the newest one stay. Some have the version of
    /// another file, or lack SETs that hold nothing.
    Write { kept: usize, ahead: i64, holder: Vec<usize>, folds: Vec<u8>, same_version: bool, lacks_sets: bool },
    /// `hongbao migrate` begins with a file.
    Begin(usize),
    /// One that runs does so many of its steps; of two they can be mixed.
    Advance { migration: usize, steps: usize },
    /// One that runs is killed.
    Kill(usize),
    /// A gateway reads a file, whichever it is.
    Gateway { gateway: usize, file: usize },
    /// A server of a SET is started with a file.
    Start { set: usize, file: usize },
    /// The server of a SET reads the fence.
    ReadFence(usize),
    /// A gateway mints an id, and sends it where its file says; it may take a while.
    Create { gateway: usize, random: u64, late: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    let holders = || proptest::collection::vec(0..SETS, usize::from(SLOTS));
    let folds = || proptest::collection::vec(prop::sample::select(FOLDS.to_vec()), SETS);
    let ahead = prop_oneof![-60_000..FENCE_AHEAD_MS_MIN, FENCE_AHEAD_MS_MIN..2 * FENCE_AHEAD_MS_MIN];
    let flag = || prop::bool::weighted(0.2);
    prop_oneof![
        4 => (1..150_000_i64).prop_map(Step::Wait),
        3 => (0..6_usize, ahead, holders(), folds(), flag(), flag()).prop_map(
            |(kept, ahead, holder, folds, same_version, lacks_sets)| {
                Step::Write { kept: if kept > 2 { usize::MAX } else { kept }, ahead, holder, folds, same_version, lacks_sets }
            }
        ),
        4 => (0..6_usize).prop_map(Step::Begin),
        6 => (0..2_usize, 0..14_usize).prop_map(|(migration, steps)| Step::Advance { migration, steps }),
        1 => (0..2_usize).prop_map(Step::Kill),
        2 => (0..2_usize, 0..8_usize).prop_map(|(gateway, file)| Step::Gateway { gateway, file }),
        3 => (0..SETS, 0..8_usize).prop_map(|(set, file)| Step::Start { set, file }),
        2 => (0..SETS).prop_map(Step::ReadFence),
        8 => (0..2_usize, any::<u64>(), 0..20_000_i64)
            .prop_map(|(gateway, random, late)| Step::Create { gateway, random, late }),
    ]
}

/// A `hongbao migrate` that runs: what it has read, and what it has still to do.
struct Migration {
    file: File,
    in_force: Option<Version>,
    todo: Vec<Task>,
}

#[derive(Clone, Copy)]
enum Task {
    Narrow(usize, u8),
    CheckNarrowed,
    Widen(usize, u8),
}

struct World {
    now: Timestamp,
    files: Vec<File>,
    /// By SET and number.
    databases: BTreeMap<(usize, u8), State>,
    migrations: Vec<Migration>,
    /// By gateway: its file, and how far its clock is off.
    gateways: Vec<(usize, i64)>,
    /// By SET: the file of its server, and the fence that it has read last.
    servers: Vec<(usize, Fence)>,
    made: Vec<(EnvelopeId, usize)>,
    refused: usize,
    /// Whether fences are asked.
    fenced: bool,
}

impl World {
    fn new(clocks: [i64; 2]) -> World {
        let first = Map { from: BEGINNING, holder: vec![0, 0, 1, 1], folds: vec![1, 2, 1] };
        let file = File { version: 0, sets: (0..SETS).collect(), maps: vec![first] };
        let mut world = World {
            now: NEW_YEAR,
            files: vec![file],
            databases: BTreeMap::new(),
            migrations: Vec::new(),
            gateways: clocks.map(|clock| (0, clock)).to_vec(),
            servers: vec![(0, Fence::open()); SETS],
            made: Vec::new(),
            refused: 0,
            fenced: true,
        };
        world.migrate(0);
        (0..SETS).for_each(|set| world.read_fence(set));
        world
    }

    /// All of a migration, with no other beside it.
    fn migrate(&mut self, file: usize) {
        self.migrations.clear();
        self.begin(file);
        self.advance(0, usize::MAX);
    }

    /// Everything is read and checked, databases are made, and then all lose, and then all get.
    fn begin(&mut self, file: usize) {
        let file = self.files[file].clone();
        self.databases.values_mut().for_each(|state| state.now = self.now);
        let states = || self.databases.iter().filter(|((set, _), _)| file.sets.contains(set)).map(|(_, state)| state);
        let (next, in_force) = (file.version(), in_force(states()).cloned());
        if next.check(states().collect::<Vec<_>>()).is_err() {
            return;
        }
        for ((set, database), state) in self.databases.iter().filter(|((set, _), _)| file.sets.contains(set)) {
            let (wanted, own) = (file.held(*set).accepted_in(*database), accepted(in_force.as_ref(), *set, *database));
            if state.narrow(&next, &wanted, own.as_deref()).is_err() {
                return;
            }
        }
        for set in &file.sets {
            for database in file.held(*set).databases() {
                let new = State { narrowed: None, widened: None, rows: Vec::new(), now: self.now };
                self.databases.entry((*set, database)).or_insert(new);
            }
        }
        let of_file = self.databases.keys().filter(|(set, _)| file.sets.contains(set));
        let of_file: Vec<(usize, u8)> = of_file.copied().collect();
        let narrow = of_file.iter().map(|(set, database)| Task::Narrow(*set, *database));
        let widen = of_file.iter().map(|(set, database)| Task::Widen(*set, *database));
        let todo = narrow.chain([Task::CheckNarrowed]).chain(widen).rev().collect();
        self.migrations.truncate(1);
        self.migrations.push(Migration { file, in_force, todo });
    }

    fn advance(&mut self, migration: usize, steps: usize) {
        for _ in 0..steps {
            let Some(running) = self.migrations.get_mut(migration) else { return };
            let Some(task) = running.todo.pop() else {
                self.migrations.remove(migration);
                return;
            };
            let (next, sets) = (running.file.version(), &running.file.sets);
            let done = match task {
                Task::CheckNarrowed => {
                    let of_file = self.databases.iter().filter(|((set, _), _)| sets.contains(set));
                    next.check_narrowed(of_file.map(|(_, state)| state))
                }
                Task::Narrow(set, database) => {
                    let wanted = running.file.held(set).accepted_in(database);
                    let own = accepted(running.in_force.as_ref(), set, database);
                    let state = self.databases.get_mut(&(set, database)).unwrap();
                    state.now = self.now;
                    state.narrow(&next, &wanted, own.as_deref()).map(|lost| {
                        (state.rows, state.narrowed) = (difference(&state.rows, &lost), Some(next));
                    })
                }
                Task::Widen(set, database) => {
                    let wanted = running.file.held(set).accepted_in(database);
                    let state = self.databases.get_mut(&(set, database)).unwrap();
                    state.widen(&next, &wanted).map(|_| (state.rows, state.widened) = (wanted, Some(next)))
                }
            };
            if done.is_err() {
                self.migrations.remove(migration);
                return;
            }
        }
    }

    fn read_fence(&mut self, set: usize) {
        let held = self.files[self.servers[set].0].held(set);
        let of_set = self.databases.iter().filter(|((of, _), _)| *of == set);
        let rows = of_set.flat_map(|((_, number), state)| state.rows.iter().map(move |row| (*number, *row)));
        self.servers[set].1 = Fence::new(&held, &rows.collect::<Vec<_>>(), self.now);
    }

    fn create(&mut self, gateway: usize, random: u64, late: i64) {
        let (file, clock) = self.gateways[gateway];
        let ids = (0..).map(|number| EnvelopeId::mint(self.now.plus_millis(clock), scrambled(random ^ number)));
        let id = ids.into_iter().find(|id| id.slot().number() < SLOTS).unwrap();
        let set = self.files[file].set_of(id);
        self.now = self.now.plus_millis(late);
        let (file, fence) = &self.servers[set];
        if !self.fenced {
            self.made.push((id, set));
            return;
        }
        if fence.holds(id) != Holds::Here {
            self.refused += 1;
            return;
        }
        // The statement that makes it asks the database in which the server's file has it lie.
        let fold = self.files[*file].held(set).at(id.minted_at()).fold;
        let accepts = |row: &Accepted| {
            let at = id.minted_at();
            row.slot == id.slot() && row.from <= at && at < row.until && row.databases == fold.databases()
        };
        let state = self.databases.get(&(set, fold.database_of(id.slot())));
        match state.is_some_and(|state| state.rows.iter().any(accepts)) {
            true => self.made.push((id, set)),
            false => self.refused += 1,
        }
    }

    fn write(&mut self, step: Step) {
        let Step::Write { kept, ahead, holder, folds, same_version, lacks_sets } = step else { return };
        let last = self.files.last().unwrap();
        let mut maps = last.maps.clone();
        // A file that changes the past is not taken over; the fences refuse it by themselves, so some are written.
        maps.truncate(kept.max(1));
        let from = self.now.plus_millis(ahead);
        if maps.last().is_some_and(|map| map.from < from) {
            maps.push(Map { from, holder, folds });
        }
        let holds = |set: &usize| maps.iter().any(|map| map.holder.contains(set));
        let sets = (0..SETS).filter(|set| !lacks_sets || holds(set)).collect();
        self.files.push(File { version: last.version + u64::from(!same_version), sets, maps });
    }

    fn play(&mut self, step: Step) {
        let newest = self.files.len() - 1;
        match step {
            Step::Wait(millis) => self.now = self.now.plus_millis(millis),
            Step::Write { .. } => self.write(step),
            Step::Begin(file) => self.begin(newest.saturating_sub(file / 2)),
            Step::Advance { migration, steps } => self.advance(migration, steps),
            Step::Kill(migration) if migration < self.migrations.len() => {
                self.migrations.remove(migration);
            }
            Step::Kill(_) => {}
            Step::Gateway { gateway, file } => self.gateways[gateway].0 = newest.saturating_sub(file / 2),
            Step::Start { set, file } => {
                self.servers[set].0 = newest.saturating_sub(file / 2);
                self.read_fence(set);
            }
            Step::ReadFence(set) => self.read_fence(set),
            Step::Create { gateway, random, late } => self.create(gateway, random, late),
        }
    }

    /// The topology in force.
    fn version(&self) -> &Version {
        in_force(self.databases.values()).expect("the first one was in force at the beginning")
    }

    /// Envelopes that lie elsewhere than the topology in force places them.
    fn stranded(&self) -> usize {
        let held: Vec<HeldSlots> = (0..SETS).map(|set| self.version().maps.held_by(&set.to_string())).collect();
        self.made.iter().filter(|(id, set)| !held[*set].holds(*id)).count()
    }

    /// Ids that two databases accept.
    fn accepted_twice(&self) -> Option<(Accepted, Accepted)> {
        let all: Vec<&Accepted> = self.databases.values().flat_map(|state| &state.rows).collect();
        let pairs =
            all.iter().enumerate().flat_map(|(number, one)| all[number + 1..].iter().map(move |other| (one, other)));
        let meets = |one: &Accepted, other: &Accepted| {
            one.slot == other.slot && one.from < other.until && other.from < one.until
        };
        pairs.map(|(one, other)| (**one, **other)).find(|(one, other)| meets(one, other))
    }
}

fn accepted(version: Option<&Version>, set: usize, database: u8) -> Option<Vec<Accepted>> {
    version.map(|version| version.maps.held_by(&set.to_string()).accepted_in(database))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4_000))]

    #[test]
    fn no_envelope_is_made_where_the_map_does_not_place_it(
        steps in proptest::collection::vec(step(), 1..80),
        clocks in [-ID_AHEAD_MS_MAX..ID_AHEAD_MS_MAX, -ID_AHEAD_MS_MAX..ID_AHEAD_MS_MAX],
    ) {
        let mut world = World::new(clocks);
        for step in steps {
            world.play(step);
            prop_assert_eq!(world.accepted_twice(), None);
            prop_assert_eq!(world.stranded(), 0);
        }
    }
}

/// Random worlds, of which each is judged.
fn worlds(count: usize, fenced: bool) -> impl Iterator<Item = World> {
    let (mut runner, steps) = (TestRunner::deterministic(), proptest::collection::vec(step(), 60..80));
    (0..count).map(move |_| {
        let mut world = World::new([0, 0]);
        world.fenced = fenced;
        steps.new_tree(&mut runner).unwrap().current().into_iter().for_each(|step| world.play(step));
        world
    })
}

/// Where servers trust gateways, the model finds envelopes that are made where the map does not place them.
#[test]
fn without_the_fence_the_model_finds_envelopes_in_the_wrong_set() {
    assert!(worlds(300, false).filter(|world| world.stranded() > 0).count() > 10);
}

#[test]
fn the_random_days_of_the_model_have_migrations_that_come_to_their_end_and_refusals() {
    let (mut came, mut versions, mut made, mut refused) = (0, 0, 0, 0);
    for world in worlds(300, true) {
        let version = world.version().number;
        came += usize::from(version > 0);
        versions += version;
        made += world.made.len();
        refused += world.refused;
    }
    assert!(came > 50 && versions > 150 && made > 1_000 && refused > 100, "{came} {versions} {made} {refused}");
}

#[test]
fn a_day_on_which_sets_come_and_go_makes_envelopes_in_all_of_them() {
    let mut world = World::new([0, 0]);
    for day in 0..20_u64 {
        let holder = (0..usize::from(SLOTS)).map(|slot| (slot + day as usize) % SETS).collect();
        let (kept, ahead, folds) = (usize::MAX, FENCE_AHEAD_MS_MIN, vec![2, 2, 2]);
        world.play(Step::Write { kept, ahead, holder, folds, same_version: false, lacks_sets: false });
        let newest = world.files.len() - 1;
        world.migrate(newest);
        assert_eq!(world.version().number, day + 1);
        (0..2).for_each(|gateway| world.play(Step::Gateway { gateway, file: 0 }));
        for _ in 0..8 {
            (0..SETS).for_each(|set| world.play(Step::Start { set, file: 0 }));
            for random in 0..20 {
                world.create(0, scrambled(random)[0].into(), 10);
            }
            world.play(Step::Wait(MAP_AHEAD_MS_MIN));
        }
    }
    assert_eq!((world.refused, world.stranded()), (0, 0));
    for set in 0..SETS {
        assert!(world.made.iter().filter(|(_, made_in)| *made_in == set).count() > 300);
    }
}
