//! No more faults: a last file comes into force everywhere, and everything is found through it and settled.

use std::sync::Arc;

use hongbao_core::limits::FENCE_AHEAD_MS_MIN;
use hongbao_core::wire::{GrabAnswer, Outcome};
use hongbao_core::{Clock as _, UserId};
use hongbao_envelope::server::{Caller, Server};
use rand::rngs::StdRng;

use super::databases::Fences;
use super::files::{File, Map};
use super::gateway::Gateway;
use super::migration::{Migration, Stepped};
use super::set::Set;
use super::world::{TOP_UP_FEN, World};
use crate::model::Balances;
use crate::workers::until_quiet;

impl World {
    /// The checks of the end. Gives the maps that are in force then.
    pub async fn end(&mut self, dice: &mut StdRng) -> Vec<Map> {
        while !self.late.is_empty() {
            self.deliver(dice).await;
        }
        let last = self.come_to_last_file().await;
        for set in &mut self.sets {
            set.die();
            set.start_all(&last).await;
        }
        self.gateways = vec![Gateway::start(&last, &self.exact_clock())];
        self.find_all(dice).await;
        self.settle().await;
        self.check_money().await;
        self.sets.iter_mut().for_each(Set::die);
        self.tally.made = self.placed.by_sets();
        last.maps.clone()
    }

    /// It follows the one in force, whatever was begun since, and moves slots to all SETs.
    async fn come_to_last_file(&mut self) -> Arc<File> {
        self.migrations.clear();
        let mut maps = self.in_force().maps.clone();
        let from = self.clock.now().plus_millis(2 * FENCE_AHEAD_MS_MIN).max(maps[maps.len() - 1].from.plus_millis(1));
        maps.push(Map { from, holders: [0, 1, 2, 2] });
        let last = Arc::new(File::write(self.newest().version.number + 1, maps));
        let clock = self.exact_clock();
        let mut migration =
            Migration::begin(&last, &self.databases, &clock, Fences::Hold).expect("the last file is good");
        while migration.step(&self.databases).await == Stepped::On {}
        self.check_fences();
        assert_eq!(*self.placed.version(), last.version, "the last file did not come into force");
        last
    }

    /// Every acknowledged envelope and opening is found through the newest file.
    async fn find_all(&mut self, dice: &mut StdRng) {
        for id in self.model.envelopes.clone() {
            let known = &self.model.of[&id];
            let (sender, exists) = (known.sender.clone(), known.exists);
            let opened: Vec<UserId> = known.opened.keys().cloned().collect();
            let look = async |server: &Server| {
                server.detail(id, &Caller { user: &sender, groups: &[], class: None }, 0, 100).await
            };
            match self.ask(dice, id, look).await.expect("all servers run") {
                Ok(detail) => self.model.shown(id, &detail),
                Err(refusal) => assert!(!exists, "I3: the acknowledged envelope {id} is not found: {refusal}"),
            }
            for user in opened {
                let grab =
                    async |server: &Server| server.grab(id, &Caller { user: &user, groups: &[], class: None }).await;
                match self.ask(dice, id, grab).await.expect("all servers run") {
                    Ok(GrabAnswer::Outcome(outcome @ Outcome::Opened { .. })) => {
                        self.model.acknowledge(id, &user, &outcome);
                    }
                    other => panic!("I3: the opening of {id} by {user} is gone: {other:?}"),
                }
            }
        }
    }

    async fn settle(&mut self) {
        // Past the time to pay: what was paid becomes active, the rest is cancelled.
        self.clock.advance_millis(1_000_000);
        for set in &mut self.sets {
            until_quiet(&mut set.workers().expect("all run").activate).await;
        }
        // Past every expiry.
        self.clock.advance_millis(7_300_000);
        for set in &mut self.sets {
            let workers = set.workers().expect("all run");
            until_quiet(&mut workers.refund).await;
            until_quiet(&mut workers.credit).await;
        }
    }

    /// Journals, balances and what was acknowledged agree, to the fen.
    async fn check_money(&self) {
        let mut balances: Balances = self.model.senders.iter().map(|sender| (sender.clone(), TOP_UP_FEN)).collect();
        for (id, known) in &self.model.of {
            let Some(set) = self.placed.set_of(*id) else {
                assert!(!known.exists, "I3: the acknowledged envelope {id} is gone");
                continue;
            };
            let store = &self.databases[set].store;
            let (envelope, _) = store.load(*id).await.unwrap().expect("it was found");
            let entries = store.entries(*id, 0, u32::MAX).await.unwrap();
            known.check(*id, &envelope, &entries, &mut balances);
        }
        for (user, expected) in balances {
            let balance = self.wallet.balance(&user).await.unwrap().get();
            assert_eq!(balance, expected, "I6: the balance of {user}");
        }
    }
}
