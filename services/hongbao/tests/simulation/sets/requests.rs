//! What users ask for, through any gateway.

use hongbao_core::request::CreateEnvelope;
use hongbao_core::ticket::TicketKey;
use hongbao_core::{Clock as _, EnvelopeId, Fen, Kind, Seed};
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server};
use rand::Rng as _;
use rand::rngs::StdRng;

use super::world::World;
use crate::model::Known;

impl World {
    /// A gateway mints an id, and asks the SET for it that its file says. The request may take a while.
    pub async fn create(&mut self, dice: &mut StdRng) {
        let gateway = dice.random_range(0..self.gateways.len());
        let id = self.gateways[gateway].mint(dice);
        let (shares, total) = (dice.random_range(1..=4_u32), dice.random_range(4..=300));
        let request = CreateEnvelope {
            kind: Kind::Lucky,
            total_fen: total.into(),
            shares: i64::from(shares).into(),
            greeting: None,
            audience: None,
            expires_in_s: Some(dice.random_range(1..=7_200_i64).into()),
        };
        let sender = self.model.senders[dice.random_range(0..self.model.senders.len())].clone();
        self.model.envelopes.push(id);
        self.model.of.insert(id, Known::asked(sender, request, Fen::new(total).unwrap(), shares));
        let set = self.gateways[gateway].set_of(id);
        match dice.random_ratio(1, 3) {
            true => self.late.push((gateway, set, id)),
            false => self.arrive(dice, gateway, set, id).await,
        }
    }

    /// A creation that took a while arrives.
    pub async fn deliver(&mut self, dice: &mut StdRng) {
        if !self.late.is_empty() {
            let (gateway, set, id) = self.late.swap_remove(dice.random_range(0..self.late.len()));
            self.arrive(dice, gateway, set, id).await;
        }
    }

    /// A client without an answer asks for the same once more, through any gateway.
    pub async fn create_again(&mut self, dice: &mut StdRng) {
        let Some(id) = self.some_envelope(dice) else { return };
        let gateway = dice.random_range(0..self.gateways.len());
        let set = self.gateways[gateway].set_of(id);
        self.arrive(dice, gateway, set, id).await;
    }

    /// What a SET refuses because the envelope is not its own, the gateway sends where the newest file says.
    async fn arrive(&mut self, dice: &mut StdRng, gateway: usize, set: usize, id: EnvelopeId) {
        let refused = self.create_in(dice, set, id).await;
        if refused {
            self.tally.misdirected += 1;
            let newest = self.newest().clone();
            self.gateways[gateway].see(&newest, true);
            let other = self.gateways[gateway].set_of(id);
            if other != set {
                self.create_in(dice, other, id).await;
            }
        }
        self.placed.look_for(id, &self.databases).await;
    }

    /// Gives whether the SET has refused an envelope as not its own.
    async fn create_in(&mut self, dice: &mut StdRng, set: usize, id: EnvelopeId) -> bool {
        let Some(server) = self.sets[set].server(dice) else { return false };
        let Known { sender, request, .. } = &self.model.of[&id];
        let (sender, request, seed) = (sender.clone(), request.clone(), Seed::new(dice.random()));
        let creating = tokio::spawn(async move {
            server.create(id, request, None, &Caller { user: &sender, groups: &[], class: None }, seed).await.map(drop)
        });
        let made = match dice.random_ratio(1, 6) {
            true => self.create_suspended(dice, set, creating).await,
            false => creating.await,
        };
        match made.unwrap() {
            Ok(()) => self.model.of.get_mut(&id).unwrap().exists = true,
            Err(Refusal::Misdirected) => return true,
            Err(Refusal::Unavailable(_) | Refusal::PerhapsMade(_) | Refusal::Busy | Refusal::ClocksApart(_)) => {}
            Err(other) => panic!("{id}: {other:?}"),
        }
        false
    }

    /// Fences change and time passes after the statement has read its fence, before it writes the row.
    async fn create_suspended<T>(
        &mut self,
        dice: &mut StdRng,
        set: usize,
        creating: tokio::task::JoinHandle<T>,
    ) -> Result<T, tokio::task::JoinError> {
        let go_on = self.databases[set].suspend_next();
        // It comes as far as it can: up to there nothing is waited for.
        for _ in 0..16 {
            tokio::task::yield_now().await;
        }
        let is_suspended = !self.databases[set].forget_suspended();
        self.tally.suspended += u64::from(is_suspended);
        self.move_clock(dice);
        self.advance_migrations(dice).await;
        drop(go_on);
        creating.await
    }

    pub async fn pay(&mut self, dice: &mut StdRng) {
        let Some(id) = self.some_envelope(dice) else { return };
        let sender = self.model.of[&id].sender.clone();
        let pay = async |server: &Server| server.pay(id, &Caller { user: &sender, groups: &[], class: None }).await;
        let answer = self.ask(dice, id, pay).await;
        let known = self.model.of.get_mut(&id).unwrap();
        match answer {
            Some(Ok(_)) => (known.exists, known.paid) = (true, true),
            Some(Err(Refusal::NotFound)) => assert!(!known.exists, "I3: the acknowledged envelope {id} was not found"),
            Some(Err(_)) | None => {}
        }
    }

    pub async fn open_one(&mut self, dice: &mut StdRng) {
        let Some(id) = self.some_envelope(dice) else { return };
        let user = self.model.openers[dice.random_range(0..self.model.openers.len())].clone();
        let ticket = TicketKey::new(b"simulation").issue(id, &user, self.clock.now().plus_millis(60_000));
        let open = async |server: &Server| {
            server.open(id, &Caller { user: &user, groups: &[], class: None }, &ticket, None).await
        };
        match self.ask(dice, id, open).await {
            Some(Ok(opening)) => self.model.acknowledge(id, &user, &opening.outcome),
            Some(Err(Refusal::NotFound)) => {
                assert!(!self.model.of[&id].paid, "I3: the paid envelope {id} was not found");
            }
            Some(Err(_)) | None => {}
        }
    }

    /// Asks through any gateway; `None` where no server of the SET runs. What a server refuses because the envelope is
    /// not its own is asked once more, by the newest file.
    pub(super) async fn ask<T>(
        &mut self,
        dice: &mut StdRng,
        id: EnvelopeId,
        verb: impl AsyncFn(&Server) -> Result<T, Refusal>,
    ) -> Option<Result<T, Refusal>> {
        let gateway = dice.random_range(0..self.gateways.len());
        let first = self.sets[self.gateways[gateway].set_of(id)].server(dice)?;
        let answer = Box::pin(verb(&first)).await;
        if !matches!(answer, Err(Refusal::Misdirected)) {
            return Some(answer);
        }
        self.tally.misdirected += 1;
        let newest = self.newest().clone();
        self.gateways[gateway].see(&newest, true);
        let second = self.sets[self.gateways[gateway].set_of(id)].server(dice)?;
        Some(Box::pin(verb(&second)).await)
    }
}
