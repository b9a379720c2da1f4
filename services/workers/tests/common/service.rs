//! Envelopes of all fates, made while workers run by the wall clock.

use std::time::{Duration, Instant};

use hongbao_core::{Clock as _, EntryKind, EnvelopeId, Stage, SystemClock, Transfer, TransferKind, TransferOutcome};

use super::World;

/// What was made: who should have how much, and which envelopes.
#[derive(Default)]
pub struct Made {
    opened: Vec<(String, i64)>,
    emptied: Vec<EnvelopeId>,
    expired: Vec<EnvelopeId>,
    half_paid: Vec<EnvelopeId>,
}

impl Made {
    /// One round: an envelope that is emptied, one that is over at once, and one
    /// whose payment stopped half way.
    pub async fn round(&mut self, world: &World, round: u32) {
        let now = SystemClock.now();
        let emptied = world.active_at(now, 1_000, 10).await;
        let expired = world.created_for(now, 1_000, 10, 0).await;
        world.transfer(Transfer::send(&expired, now), TransferOutcome::Done).await;
        world.store.activate(expired.id, now).await.unwrap();
        for number in 0..10 {
            let name = format!("u-{round}-{number}");
            self.opened.push((name.clone(), world.open_at(emptied, &name, now).await));
        }
        let half_paid = world.created_at(now.plus_millis(-10_000), 700, 7).await;
        world.transfer(Transfer::send(&half_paid, now), TransferOutcome::Done).await;
        self.emptied.push(emptied);
        self.expired.push(expired.id);
        self.half_paid.push(half_paid.id);
    }

    /// Waits until the workers have done everything, and requires that they did it once.
    pub async fn assert_done_once(&self, world: &World) {
        let began = Instant::now();
        while !self.is_done(world).await {
            assert!(began.elapsed() < Duration::from_secs(30), "it is never done");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for (name, amount) in &self.opened {
            assert_eq!(world.balance(name).await, *amount, "{name}");
        }
        for id in &self.emptied {
            assert_eq!(world.transfers(*id, TransferKind::Open).await, 10);
        }
        for id in &self.expired {
            let journal = world.journal(*id).await;
            assert_eq!(journal.iter().filter(|entry| entry.kind == EntryKind::Refund).count(), 1);
            assert_eq!(world.transfers(*id, TransferKind::Refund).await, 1);
        }
        world.assert_sound().await;
    }

    async fn is_done(&self, world: &World) -> bool {
        for id in self.emptied.iter().chain(&self.expired) {
            if world.envelope(*id).await.stage != Stage::Settled {
                return false;
            }
        }
        for id in &self.half_paid {
            if world.envelope(*id).await.stage != Stage::Active {
                return false;
            }
        }
        true
    }
}
