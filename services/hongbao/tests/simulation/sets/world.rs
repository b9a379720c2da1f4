//! The installation: several SETs, one wallet, gateways, topology files, migrations.

use std::sync::Arc;

use hongbao_core::limits::{CLOCK_SKEW_MS_MAX, FENCE_AHEAD_MS_MIN, ID_AHEAD_MS_MAX};
use hongbao_core::time::ManualClock;
use hongbao_core::{Clock as _, EnvelopeId, Fen, Transfer, TransferOutcome, UserId};
use hongbao_wallet::Wallet;
use hongbao_workers::job::Job as _;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::checks::Placed;
use super::clock::ShiftedClock;
use super::databases::{Fences, SetDatabases};
use super::files::{BLOCKS, File, Map, SETS};
use super::gateway::Gateway;
use super::installation::Installation;
use super::migration::{Migration, Stepped};
use super::set::{SERVERS, Set};
use super::tally::Tally;
use crate::model::Model;

pub const TOP_UP_FEN: i64 = 3_000;
const GATEWAYS: usize = 2;
/// Of the newest files, so many are what processes are started with.
const FILES_IN_USE: usize = 4;

pub struct World {
    pub(super) clock: Arc<ManualClock>,
    fences: Fences,
    pub(super) files: Vec<Arc<File>>,
    pub(super) migrations: Vec<Migration>,
    pub(super) databases: Vec<Arc<SetDatabases>>,
    pub(super) sets: Vec<Set>,
    pub(super) wallet: Arc<dyn Wallet>,
    pub(super) gateways: Vec<Gateway>,
    /// Creations that are still on their way: by which gateway, to which SET.
    pub(super) late: Vec<(usize, usize, EnvelopeId)>,
    pub(super) model: Model,
    pub placed: Placed,
    pub tally: Tally,
}

impl World {
    /// Everything runs with the first file, on the stores of the seeds before.
    pub async fn open(installation: &Installation, seed: u64, dice: &mut StdRng, fences: Fences) -> World {
        let (clock, wallet) = (installation.clock.clone(), installation.wallet.clone());
        clock.advance_millis(dice.random_range(0..3_600_000));
        let mut shifted = |ms: i64| ShiftedClock::new(&clock, dice.random_range(-ms..=ms));
        let (mut databases, mut sets) = (Vec::new(), Vec::new());
        for (number, store) in installation.stores.iter().enumerate() {
            let of_set = SetDatabases::new(store.clone(), shifted(CLOCK_SKEW_MS_MAX / 2), fences);
            sets.push(Set::new(number, of_set.clone(), wallet.clone(), shifted(CLOCK_SKEW_MS_MAX / 2)));
            databases.push(of_set);
        }
        let first = Arc::new(File::first());
        let gateways = (0..GATEWAYS).map(|_| Gateway::start(&first, &shifted(ID_AHEAD_MS_MAX))).collect();
        let mut world = World {
            clock,
            fences,
            files: vec![first.clone()],
            migrations: Vec::new(),
            databases,
            sets,
            wallet,
            gateways,
            late: Vec::new(),
            model: Model::default(),
            placed: Placed::new(),
            tally: Tally { seeds: 1, ..Tally::default() },
        };
        let clock = world.exact_clock();
        let mut migration = Migration::begin(&first, &world.databases, &clock, Fences::Hold).unwrap();
        while migration.step(&world.databases).await == Stepped::On {}
        world.check_fences();
        for set in &mut world.sets {
            set.start_all(&first).await;
        }
        world.invite(seed, dice).await;
        world
    }

    async fn invite(&mut self, seed: u64, dice: &mut StdRng) {
        let user = |name: &str, number: u32| UserId::parse(&format!("{name}-{seed}-{number}")).unwrap();
        self.model.openers = (0..4).map(|number| user("opener", number)).collect();
        for number in 0..2 {
            let sender = user("sender", number);
            let id = uuid::Builder::from_random_bytes(dice.random()).into_uuid();
            let top_up = Transfer::top_up(id, sender.clone(), Fen::new(TOP_UP_FEN).unwrap(), self.clock.now());
            assert_eq!(self.wallet.transfer(vec![top_up]).await.unwrap(), [TransferOutcome::Done]);
            self.model.senders.push(sender);
        }
    }

    pub(super) fn exact_clock(&self) -> ShiftedClock {
        ShiftedClock::new(&self.clock, 0)
    }

    pub(super) fn newest(&self) -> &Arc<File> {
        self.files.last().expect("there was one at the beginning")
    }

    pub(super) fn in_force(&self) -> &Arc<File> {
        let in_force = self.files.iter().find(|file| file.version == *self.placed.version());
        in_force.expect("it was written before it came into force")
    }

    pub(super) fn check_fences(&mut self) {
        self.placed.check_fences(&self.databases, &*self.clock);
    }

    fn some_file(&self, dice: &mut StdRng) -> Arc<File> {
        let newest = self.files.len() - 1;
        let older = if dice.random_ratio(2, 3) { 0 } else { dice.random_range(0..FILES_IN_USE) };
        self.files[newest.saturating_sub(older)].clone()
    }

    /// Most add a map well ahead to those in force; others change the past, come too late, or have the version of another.
    pub fn write_file(&mut self, dice: &mut StdRng) {
        let newest = self.newest();
        let mut maps = match dice.random_ratio(3, 4) {
            true => self.in_force().maps.clone(),
            false => newest.maps[..dice.random_range(1..=newest.maps.len())].to_vec(),
        };
        let ahead = match dice.random_ratio(1, 3) {
            true => -ID_AHEAD_MS_MAX..FENCE_AHEAD_MS_MIN,
            false => FENCE_AHEAD_MS_MIN..FENCE_AHEAD_MS_MIN + 180_000,
        };
        let from = self.clock.now().plus_millis(dice.random_range(ahead));
        if maps[maps.len() - 1].from < from {
            maps.push(Map { from, holders: BLOCKS.map(|_| dice.random_range(0..SETS.len())) });
        }
        let number = newest.version.number + u64::from(!dice.random_ratio(1, 6));
        self.files.push(Arc::new(File::write(number, maps)));
        if dice.random() {
            self.begin_migration(dice);
        }
    }

    /// `hongbao migrate` begins with any file; of two that run, steps are mixed.
    pub fn begin_migration(&mut self, dice: &mut StdRng) {
        let (file, skew) = (self.some_file(dice), CLOCK_SKEW_MS_MAX / 2);
        let clock = ShiftedClock::new(&self.clock, dice.random_range(-skew..=skew));
        match Migration::begin(&file, &self.databases, &clock, self.fences) {
            Ok(migration) => {
                if dice.random_ratio(1, 4) {
                    migration.fuse.arm(dice.random_range(1..=9), dice.random());
                }
                self.migrations.truncate(1);
                self.migrations.push(migration);
            }
            Err(_) => self.tally.ended += 1,
        }
    }

    pub async fn advance_migrations(&mut self, dice: &mut StdRng) {
        for _ in 0..dice.random_range(1..=12) {
            if self.migrations.is_empty() {
                return;
            }
            let any = dice.random_range(0..self.migrations.len());
            let stepped = self.migrations[any].step(&self.databases).await;
            self.check_fences();
            match stepped {
                Stepped::On => continue,
                Stepped::Done => self.tally.migrated += 1,
                Stepped::Ended => self.tally.ended += 1,
            }
            self.migrations.remove(any);
        }
    }

    /// It sees that there is a new file, or is started anew with any.
    pub fn change_gateway(&mut self, dice: &mut StdRng) {
        let (newest, any) = (self.newest().clone(), self.some_file(dice));
        let number = dice.random_range(0..GATEWAYS);
        match dice.random() {
            true => self.gateways[number].see(&newest, false),
            false => {
                let clock = ShiftedClock::new(&self.clock, dice.random_range(-ID_AHEAD_MS_MAX..=ID_AHEAD_MS_MAX));
                self.gateways[number] = Gateway::start(&any, &clock);
            }
        }
    }

    /// A server of any SET, or its workers, or both, are started anew with any file.
    pub async fn start_processes(&mut self, dice: &mut StdRng) {
        let file = self.some_file(dice);
        let set = &mut self.sets[dice.random_range(0..SETS.len())];
        match dice.random_range(0..SERVERS + 2) {
            number @ 0..SERVERS => set.start_server(number, &file).await,
            SERVERS => set.start_workers(&file),
            _ => set.start_all(&file).await,
        }
    }

    pub async fn kill_set(&mut self, dice: &mut StdRng) {
        let number = dice.random_range(0..SETS.len());
        self.restart(dice, number).await;
    }

    async fn restart(&mut self, dice: &mut StdRng, set: usize) {
        self.sets[set].die();
        let file = self.some_file(dice);
        self.sets[set].start_all(&file).await;
    }

    pub fn maybe_arm_a_crash(&self, dice: &mut StdRng) {
        self.sets.iter().for_each(|set| set.maybe_arm_a_crash(dice));
    }

    pub async fn after_each_step(&mut self, dice: &mut StdRng) {
        for set in 0..SETS.len() {
            if self.sets[set].has_died() {
                self.restart(dice, set).await;
            }
        }
    }

    /// One run of one worker. An error is a crash, or the end of a step that the next one goes on with.
    pub async fn run_workers(&mut self, dice: &mut StdRng) {
        let Some(workers) = self.sets[dice.random_range(0..SETS.len())].workers() else { return };
        let _ = match dice.random_range(0..3) {
            0 => workers.activate.run_once(20).await,
            1 => workers.credit.run_once(20).await,
            _ => workers.refund.run_once(20).await,
        };
    }

    pub async fn pass_time(&mut self, dice: &mut StdRng) {
        self.move_clock(dice);
        for set in &mut self.sets {
            set.read_fences(dice).await;
        }
    }

    pub(super) fn move_clock(&mut self, dice: &mut StdRng) {
        let longest_ms = [1_000, 100_000, 600_000, 1_200_000][dice.random_range(0..4)];
        self.clock.advance_millis(dice.random_range(1..=longest_ms));
    }

    pub(super) fn some_envelope(&self, dice: &mut StdRng) -> Option<EnvelopeId> {
        let asked = &self.model.envelopes;
        (!asked.is_empty()).then(|| asked[dice.random_range(0..asked.len())])
    }
}
