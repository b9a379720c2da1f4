//! Gateways, servers and databases with any mixture of topology files and of clocks: no envelope is ever made where the
//! map does not place it.
//!
//! A model of an installation in memory: the steps are those of the real processes, the decisions are the core's. What
//! is compared in the end is each envelope with the topology that came last.

use std::collections::BTreeMap;

use hongbao_core::fence::{Accepted, Fence, Holds, State, difference};
use hongbao_core::held::{BEGINNING, HeldSlots, HeldSpan, NEVER};
use hongbao_core::id::Fold;
use hongbao_core::limits::{FENCE_AHEAD_MS_MIN, ID_AHEAD_MS_MAX, MAP_AHEAD_MS_MIN};
use hongbao_core::{EnvelopeId, Slot, Timestamp};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;

use crate::sample::{NEW_YEAR, scrambled};

const SETS: usize = 3;
/// Some slots, so that the same ones meet often.
const SLOTS: u8 = 4;
const FOLDS: [u8; 3] = [1, 2, 4];

/// One version of the topology: maps, in each the SET of each slot, and the fold of each SET.
#[derive(Clone, Debug)]
struct File {
    version: u64,
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
}

fn slots() -> impl Iterator<Item = Slot> {
    (0..SLOTS).map(|number| Slot::new(number).unwrap())
}

/// What can happen next. Numbers choose among what there is.
#[derive(Clone, Debug)]
enum Step {
    /// Time passes.
    Wait(i64),
    /// A file is written whose last map lies so far ahead; `kept` maps of the newest one stay.
    Write { kept: usize, ahead: i64, holder: Vec<usize>, folds: Vec<u8> },
    /// `hongbao migrate` with a file, killed after so many of its steps.
    Migrate { file: usize, steps: usize },
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
    prop_oneof![
        3 => (1..150_000_i64).prop_map(Step::Wait),
        2 => (0..4_usize, ahead, holders(), folds())
            .prop_map(|(kept, ahead, holder, folds)| Step::Write { kept, ahead, holder, folds }),
        4 => (0..8_usize, 0..4 * SETS).prop_map(|(file, steps)| Step::Migrate { file, steps }),
        2 => (0..2_usize, 0..8_usize).prop_map(|(gateway, file)| Step::Gateway { gateway, file }),
        2 => (0..SETS, 0..8_usize).prop_map(|(set, file)| Step::Start { set, file }),
        2 => (0..SETS).prop_map(Step::ReadFence),
        6 => (0..2_usize, any::<u64>(), 0..20_000_i64)
            .prop_map(|(gateway, random, late)| Step::Create { gateway, random, late }),
    ]
}

/// The databases of one SET, by number.
type Databases = BTreeMap<u8, State>;

struct World {
    now: Timestamp,
    files: Vec<File>,
    databases: Vec<Databases>,
    /// By gateway: its file, and how far its clock is off.
    gateways: Vec<(usize, i64)>,
    /// By SET: the file of its server, and the fence that it has read last.
    servers: Vec<(usize, Fence)>,
    made: Vec<(EnvelopeId, usize)>,
    refused: usize,
    migrated: usize,
    /// Whether fences are asked.
    fenced: bool,
}

impl World {
    fn new(clocks: [i64; 2]) -> World {
        let first = Map { from: BEGINNING, holder: vec![0, 0, 1, 1], folds: vec![1, 2, 1] };
        let mut world = World {
            now: NEW_YEAR,
            files: vec![File { version: 0, maps: vec![first] }],
            databases: vec![Databases::new(); SETS],
            gateways: clocks.map(|clock| (0, clock)).to_vec(),
            servers: vec![(0, Fence::open()); SETS],
            made: Vec::new(),
            refused: 0,
            migrated: 0,
            fenced: true,
        };
        world.migrate(0, usize::MAX);
        (0..SETS).for_each(|set| world.read_fence(set));
        world
    }

    /// As `hongbao migrate` does it: everything is checked, then all lose, then all get.
    fn migrate(&mut self, file: usize, mut steps: usize) {
        let file = self.files[file % self.files.len()].clone();
        let mut go_on = || {
            steps = steps.saturating_sub(1);
            steps > 0
        };
        let held: Vec<HeldSlots> = (0..SETS).map(|set| file.held(set)).collect();
        for (set, held) in held.iter().enumerate() {
            let known: Vec<u8> = self.databases[set].keys().copied().collect();
            for database in held.databases().into_iter().chain(known) {
                let new = State { version: 0, rows: Vec::new(), now: self.now };
                let state = self.databases[set].entry(database).or_insert(new);
                state.now = self.now;
                if state.narrowed(file.version, &held.accepted_in(database)).is_err() {
                    return;
                }
            }
        }
        for second in [false, true] {
            for (set, held) in held.iter().enumerate() {
                let known: Vec<u8> = self.databases[set].keys().copied().collect();
                for database in known {
                    if !go_on() {
                        return;
                    }
                    let (state, wanted) = (self.databases[set].get_mut(&database).unwrap(), held.accepted_in(database));
                    state.now = self.now;
                    if second {
                        let Ok(_) = state.widened(file.version, &wanted) else { return };
                        state.rows = wanted;
                    } else {
                        let Ok(lost) = state.narrowed(file.version, &wanted) else { return };
                        (state.rows, state.version) = (difference(&state.rows, &lost), file.version);
                    }
                }
            }
        }
        self.migrated += 1;
    }

    fn read_fence(&mut self, set: usize) {
        let held = self.files[self.servers[set].0].held(set);
        let rows: Vec<(u8, Accepted)> = self.databases[set]
            .iter()
            .flat_map(|(number, state)| state.rows.iter().map(move |row| (*number, *row)))
            .collect();
        self.servers[set].1 = Fence::new(&held, &rows, self.now);
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
        let database = fold.database_of(id.slot());
        let accepts = |row: &Accepted| {
            let at = id.minted_at();
            row.slot == id.slot() && row.from <= at && at < row.until && row.databases == fold.databases()
        };
        let state = self.databases[set].get(&database);
        match state.is_some_and(|state| state.rows.iter().any(accepts)) {
            true => self.made.push((id, set)),
            false => self.refused += 1,
        }
    }

    fn play(&mut self, step: Step) {
        match step {
            Step::Wait(millis) => self.now = self.now.plus_millis(millis),
            Step::Write { kept, ahead, holder, folds } => {
                let last = self.files.last().unwrap();
                let mut maps = last.maps.clone();
                // A file that changes the past is not taken over; the fence refuses it by itself, so some are written.
                maps.truncate(kept.max(1));
                let from = self.now.plus_millis(ahead);
                if maps.last().is_some_and(|map| map.from < from) {
                    let folds = maps.last().unwrap().folds.iter().zip(folds).map(|(was, is)| *was.max(&is)).collect();
                    maps.push(Map { from, holder, folds });
                }
                let version = last.version + 1;
                self.files.push(File { version, maps });
            }
            Step::Migrate { file, steps } => {
                let file = self.files.len().saturating_sub(1 + file % 3);
                self.migrate(file, steps + 1);
            }
            Step::Gateway { gateway, file } => self.gateways[gateway].0 = file % self.files.len(),
            Step::Start { set, file } => {
                self.servers[set].0 = file % self.files.len();
                self.read_fence(set);
            }
            Step::ReadFence(set) => self.read_fence(set),
            Step::Create { gateway, random, late } => self.create(gateway, random, late),
        }
    }

    /// How many envelopes lie elsewhere than the newest topology places them.
    fn stranded(&mut self) -> usize {
        let Some(file) = self.settle() else { return 0 };
        self.made.iter().filter(|(id, set)| file.set_of(*id) != *set).count()
    }

    /// The newest topology that the fences can come to is the one that says where everything lies.
    fn settle(&mut self) -> Option<File> {
        for file in (0..self.files.len()).rev() {
            let before = self.migrated;
            self.migrate(file, usize::MAX);
            if self.migrated > before {
                return Some(self.files[file].clone());
            }
        }
        None
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_envelope_is_made_where_the_map_does_not_place_it(
        steps in proptest::collection::vec(step(), 1..60),
        clocks in [-ID_AHEAD_MS_MAX..ID_AHEAD_MS_MAX, -ID_AHEAD_MS_MAX..ID_AHEAD_MS_MAX],
    ) {
        let mut world = World::new(clocks);
        for step in steps {
            world.play(step);
            // No id is accepted twice, at any moment.
            for slot in slots() {
                let all: Vec<Accepted> = world.databases.iter()
                    .flat_map(|set| set.values().flat_map(|state| &state.rows))
                    .filter(|row| row.slot == slot).copied().collect();
                for (number, one) in all.iter().enumerate() {
                    for other in &all[number + 1..] {
                        prop_assert!(one.until <= other.from || other.until <= one.from, "{:?} and {:?}", one, other);
                    }
                }
            }
        }
        prop_assert_eq!(world.stranded(), 0);
    }
}

/// Where servers trust gateways, the model finds envelopes that are made where the map does not place them.
#[test]
fn without_the_fence_the_model_finds_envelopes_in_the_wrong_set() {
    let mut runner = TestRunner::deterministic();
    let steps = proptest::collection::vec(step(), 30..60);
    let found = (0..2_000).any(|_| {
        let mut world = World::new([0, 0]);
        world.fenced = false;
        steps.new_tree(&mut runner).unwrap().current().into_iter().for_each(|step| world.play(step));
        world.stranded() > 0
    });
    assert!(found);
}

#[test]
fn a_day_on_which_sets_come_and_go_makes_envelopes_in_all_of_them() {
    let mut world = World::new([0, 0]);
    for day in 0..20_u64 {
        let holder = (0..usize::from(SLOTS)).map(|slot| (slot + day as usize) % SETS).collect();
        world.play(Step::Write { kept: usize::MAX, ahead: FENCE_AHEAD_MS_MIN, holder, folds: vec![4, 4, 4] });
        world.play(Step::Migrate { file: 0, steps: usize::MAX - 1 });
        let newest = world.files.len() - 1;
        (0..2).for_each(|gateway| world.play(Step::Gateway { gateway, file: newest }));
        for _ in 0..8 {
            (0..SETS).for_each(|set| world.play(Step::Start { set, file: newest }));
            for random in 0..20 {
                world.create(0, scrambled(random)[0].into(), 10);
            }
            world.play(Step::Wait(MAP_AHEAD_MS_MIN));
        }
    }
    assert_eq!((world.migrated, world.refused), (21, 0));
    let file = world.settle().unwrap();
    for set in 0..SETS {
        assert!(world.made.iter().filter(|(_, made_in)| *made_in == set).count() > 300);
    }
    assert!(world.made.iter().all(|(id, set)| file.set_of(*id) == *set));
}
