//! The system under test: real stores, two servers, the workers, one clock.

use std::sync::Arc;

use hongbao_core::fence::Fence;
use hongbao_core::order::LateCharges;
use hongbao_core::request::{AudienceBody, AudienceType, CreateEnvelope};
use hongbao_core::ticket::TicketKey;
use hongbao_core::time::ManualClock;
use hongbao_core::wire::{GrabAnswer, Outcome};
use hongbao_core::{
    Clock, EnvelopeId, Fen, Kind, Seed, Timestamp, Transfer, TransferId, TransferKind, TransferOutcome, UserId,
};
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, PaidFromProvider, Server, ServerOptions, ServerParts};
use hongbao_provider::Payments;
use hongbao_store::Store;
use hongbao_testkit::faults::FaultInjectingStore;
use hongbao_testkit::faults::FaultInjectingWallet;
use hongbao_wallet::Wallet;
use hongbao_workers::audit::{SetStore, audit};
use hongbao_workers::job::{Job, Ports};
use hongbao_workers::orders::Orders;
use prometheus_client::registry::Registry;
use rand::Rng as _;
use rand::rngs::StdRng;

use crate::crash::Fuse;
use crate::database::{Barriers, Database};
use crate::model::{Balances, Known, Model};
use crate::provider::SimulatedProvider;
use crate::workers::{Workers, limits, until_quiet};

pub const ZONE_S: i32 = 8 * 3_600;
/// 2026-02-16, 23:00 in the zone: New Year's Eve, so that nights cross a day.
pub const START_MS: i64 = 1_771_254_000_000;
/// Each seed starts this much later than the one before, so that days go round.
const SEED_APART_MS: i64 = 7 * 3_600_000;
const TOP_UP_FEN: i64 = 3_000;
/// Steps of a minute each, on an average: past the time after which a charge is closed.
const CLOSING_STEPS: u32 = 24;

pub struct World {
    store: Arc<Database<dyn Store>>,
    wallet: Arc<Database<dyn Wallet>>,
    fused_store: Arc<dyn Store>,
    fused_wallet: Arc<dyn Wallet>,
    fuse: Arc<Fuse>,
    clock: Arc<ManualClock>,
    servers: Vec<Arc<Server>>,
    workers: Option<Workers>,
    provider: Arc<SimulatedProvider>,
    late_charges: LateCharges,
    model: Model,
    seeds_begun: u64,
    users_made: u64,
}

impl World {
    pub async fn open(barriers: Barriers) -> World {
        let store = Database::<dyn Store>::open(barriers).await;
        let wallet = Database::<dyn Wallet>::open(barriers).await;
        let fuse = Arc::new(Fuse::default());
        let clock = Arc::new(ManualClock::at(Timestamp::from_millis(START_MS)));
        World {
            provider: Arc::new(SimulatedProvider::new(clock.clone())),
            late_charges: LateCharges::default(),
            fused_store: Arc::new(FaultInjectingStore::new(store.connect(), fuse.clone())),
            fused_wallet: Arc::new(FaultInjectingWallet::new(wallet.connect(), fuse.clone())),
            store,
            wallet,
            fuse,
            clock,
            servers: Vec::new(),
            workers: None,
            model: Model::default(),
            seeds_begun: 0,
            users_made: 0,
        }
    }

    /// A fresh world of users, with money, on the databases of the seeds before.
    pub async fn begin(&mut self, dice: &mut StdRng) {
        self.seeds_begun += 1;
        let start = START_MS + self.seeds_begun as i64 * SEED_APART_MS;
        self.clock.advance_millis((start - self.clock.now().millis()).max(0));
        self.model = Model::default();
        self.provider.begin(dice.random());
        self.late_charges = if dice.random() { LateCharges::GoBack } else { LateCharges::StayInBalance };
        for _ in 0..2 {
            let sender = self.new_user();
            let id = uuid::Builder::from_random_bytes(dice.random()).into_uuid();
            let top_up = Transfer::top_up(id, sender.clone(), Fen::new(TOP_UP_FEN).unwrap(), self.clock.now());
            assert_eq!(self.wallet.now().transfer(vec![top_up]).await.unwrap(), [TransferOutcome::Done]);
            self.model.senders.push(sender);
        }
        self.model.openers = (0..dice.random_range(1..=7)).map(|_| self.new_user()).collect();
        let senders_open_too = self.model.senders[0].clone();
        self.model.openers.push(senders_open_too);
        self.restart();
    }

    fn new_user(&mut self) -> UserId {
        self.users_made += 1;
        UserId::parse(&format!("user-{}", self.users_made)).unwrap()
    }

    /// All memory is lost; two servers come up that both own every envelope.
    pub fn restart(&mut self) {
        self.fuse.reset();
        let payments = Payments { provider: self.provider.clone(), late_charges: self.late_charges };
        let server = |lanes: bool| {
            let parts = ServerParts {
                store: self.fused_store.clone(),
                wallet: self.fused_wallet.clone(),
                clock: self.clock.clone(),
                permits: Arc::new(LocalPermits::new(4)),
                shared: None,
                tickets: TicketKey::new(b"simulation"),
                limits: limits(),
                zone_offset_s: 0,
                fence: Fence::open(),
                payments: Some(payments.clone()),
                options: ServerOptions { lanes, ..ServerOptions::default() },
            };
            Server::start(parts, &mut Registry::default()).0
        };
        self.servers = vec![server(true), server(true), server(false)];
        let ports =
            Ports { store: self.fused_store.clone(), wallet: self.fused_wallet.clone(), clock: self.clock.clone() };
        self.workers = Some(Workers::start(ports, Some(payments.clone())));
    }

    pub fn maybe_arm_a_crash(&self, dice: &mut StdRng) {
        if dice.random_ratio(1, 4) {
            self.fuse.arm(dice.random_range(1..=8), dice.random());
        }
    }

    /// The log of a database stalls from now on, or does so no longer; the database may die of it.
    pub async fn maybe_stall(&self, dice: &mut StdRng) {
        self.store.maybe_stall(dice).await;
        self.wallet.maybe_stall(dice).await;
    }

    pub fn has_crashed(&self) -> bool {
        self.fuse.is_blown()
    }

    /// Mostly the owner, now and then another one, or one without lanes.
    fn server(&self, dice: &mut StdRng) -> Arc<Server> {
        let index = [0, 0, 0, 0, 1, 1, 1, 2][dice.random_range(0..8)];
        self.servers[index].clone()
    }

    fn some_envelope(&self, dice: &mut StdRng) -> Option<EnvelopeId> {
        match self.model.envelopes.len() {
            0 => None,
            count => Some(self.model.envelopes[dice.random_range(0..count)]),
        }
    }

    pub async fn create(&mut self, dice: &mut StdRng) {
        let shares: i64 = dice.random_range(1..=6);
        let kind = if dice.random() { Kind::Lucky } else { Kind::Equal };
        let total = match kind {
            Kind::Lucky => dice.random_range(shares..=1_500),
            Kind::Equal => shares * dice.random_range(1..=200),
        };
        let sender = self.model.senders[dice.random_range(0..2)].clone();
        let audience = dice
            .random_ratio(1, 5)
            .then(|| AudienceBody { kind: AudienceType::User, id: Some(self.model.openers[0].to_string()) });
        let request = CreateEnvelope {
            kind,
            total_fen: total.into(),
            shares: shares.into(),
            greeting: None,
            audience,
            expires_in_s: Some(dice.random_range(1..=7_200_i64).into()),
        };
        let id = EnvelopeId::mint(self.clock.now(), dice.random());
        let caller = Caller { user: &sender, groups: &[], class: None };
        let created = self.server(dice).create(id, request.clone(), None, &caller, Seed::new(dice.random())).await;
        let asked = Known::asked(sender.clone(), request, Fen::new(total).unwrap(), shares as u32);
        let known = Known { exists: created.is_ok(), ..asked };
        self.model.envelopes.push(id);
        self.model.of.insert(id, known);
    }

    /// Whoever has no answer asks for the same once more.
    pub async fn create_again(&mut self, dice: &mut StdRng) {
        let Some(id) = self.some_envelope(dice) else { return };
        let Known { sender, request, .. } = &self.model.of[&id];
        let caller = Caller { user: sender, groups: &[], class: None };
        let made = self.server(dice).create(id, request.clone(), None, &caller, Seed::new(dice.random())).await;
        match made {
            Ok(_) => self.model.of.get_mut(&id).unwrap().exists = true,
            Err(refusal) => self.check_refusal(id, refusal),
        }
    }

    pub async fn pay(&mut self, dice: &mut StdRng) {
        let Some(id) = self.some_envelope(dice) else { return };
        let known = &self.model.of[&id];
        let stranger = dice.random_ratio(1, 10);
        let user = if stranger { UserId::parse("stranger").unwrap() } else { known.sender.clone() };
        let paid = self.server(dice).pay(id, &Caller { user: &user, groups: &[], class: None }).await;
        if stranger {
            assert!(paid.is_err(), "somebody else paid for {id}");
        } else if paid.is_ok() {
            self.model.of.get_mut(&id).unwrap().paid = true;
        }
    }

    pub async fn pay_from_provider(&mut self, dice: &mut StdRng) {
        let Some(id) = self.some_envelope(dice) else { return };
        let sender = self.model.of[&id].sender.clone();
        let paid = self.server(dice).pay_from_provider(id, &Caller { user: &sender, groups: &[], class: None }).await;
        if let Ok(PaidFromProvider::Paid(_)) = paid {
            self.model.of.get_mut(&id).unwrap().paid = true;
        }
    }

    /// A sender's charge or payout.
    pub async fn order(&mut self, dice: &mut StdRng) {
        let sender = self.model.senders[dice.random_range(0..2)].clone();
        let (caller, amount) =
            (Caller { user: &sender, groups: &[], class: None }, Fen::new(dice.random_range(1..=900)).unwrap());
        let server = self.server(dice);
        // Whatever is answered: in the end the provider's books tell.
        let _ = match dice.random() {
            true => server.charge(&caller, amount, None).await,
            false => server.payout(&caller, amount, None).await,
        };
    }

    /// The provider goes on, and notifies or not; a worker asks what is due.
    pub async fn run_orders(&mut self, dice: &mut StdRng) {
        self.provider.go_on();
        if let Some(order) = self.provider.some_order(dice).filter(|_| dice.random()) {
            let _ = self.server(dice).hint(order).await;
        }
        let _ = self.orders().run_once(20).await;
    }

    pub async fn grab(&mut self, dice: &mut StdRng) {
        let Some(id) = self.some_envelope(dice) else { return };
        let user = self.model.openers[dice.random_range(0..self.model.openers.len())].clone();
        let answer = self.server(dice).grab(id, &Caller { user: &user, groups: &[], class: None }).await;
        match answer {
            Ok(GrabAnswer::Ready(_)) => {}
            Ok(GrabAnswer::Outcome(outcome)) => self.model.acknowledge(id, &user, &outcome),
            Err(refusal) => self.check_refusal(id, refusal),
        }
    }

    /// Mostly the sender, who is shown what is not paid, too.
    pub async fn look(&mut self, dice: &mut StdRng) {
        let Some(id) = self.some_envelope(dice) else { return };
        let user = match dice.random_ratio(1, 4) {
            true => self.model.openers[dice.random_range(0..self.model.openers.len())].clone(),
            false => self.model.of[&id].sender.clone(),
        };
        match self.server(dice).detail(id, &Caller { user: &user, groups: &[], class: None }, 0, 100).await {
            Ok(detail) => self.model.shown(id, &detail),
            Err(refusal) => self.check_refusal(id, refusal),
        }
    }

    /// Several openings at the same moment, some of them repeats, through any server.
    pub async fn open_several(&mut self, dice: &mut StdRng) {
        let Some(id) = self.some_envelope(dice) else { return };
        let ticket_key = TicketKey::new(b"simulation");
        let expires_at = self.clock.now().plus_millis(60_000);
        let mut openings = Vec::new();
        for _ in 0..dice.random_range(1..=6) {
            let user = self.model.openers[dice.random_range(0..self.model.openers.len())].clone();
            let server = self.server(dice);
            let ticket = ticket_key.issue(id, &user, expires_at);
            openings.push(tokio::spawn(async move {
                let outcome = server.open(id, &Caller { user: &user, groups: &[], class: None }, &ticket, None).await;
                (user, outcome)
            }));
        }
        let mut told: Vec<(UserId, Outcome)> = Vec::new();
        for opening in openings {
            match opening.await.unwrap() {
                (user, Ok(opening)) => told.push((user, opening.outcome)),
                (_, Err(refusal)) => self.check_refusal(id, refusal),
            }
        }
        // Answers of the same moment come in any order; those that opened come first.
        told.sort_by_key(|(_, outcome)| match outcome {
            Outcome::Opened { replayed, .. } => u8::from(*replayed),
            Outcome::Empty | Outcome::Expired => 2,
        });
        for (user, outcome) in told {
            self.model.acknowledge(id, &user, &outcome);
        }
    }

    /// Refusals are fine as long as they do not deny what was acknowledged.
    fn check_refusal(&self, id: EnvelopeId, refusal: Refusal) {
        let known = &self.model.of[&id];
        match refusal {
            Refusal::NotFound => assert!(!known.paid, "I3: the paid envelope {id} was not found"),
            Refusal::NotInvited | Refusal::Busy | Refusal::Unavailable(_) => {}
            Refusal::Unknown(_) | Refusal::PerhapsMade(_) => {}
            other => panic!("{id}: {other:?}"),
        }
    }

    pub async fn run_credit(&mut self) {
        // An error is a crash, or the end of a step that the next one goes on with.
        let _ = self.workers.as_mut().unwrap().credit.run_once(20).await;
    }

    pub async fn run_refund(&mut self) {
        let _ = self.workers.as_mut().unwrap().refund.run_once(20).await;
    }

    pub async fn run_activate(&mut self) {
        let _ = self.workers.as_mut().unwrap().activate.run_once(20).await;
    }

    pub async fn run_purge(&mut self) {
        let _ = self.workers.as_mut().unwrap().purge.run_once(20).await;
    }

    pub fn move_clock(&mut self, dice: &mut StdRng) {
        let longest_ms = [500, 10_000, 1_000_000, 5_000_000][dice.random_range(0..4)];
        self.clock.advance_millis(dice.random_range(1..=longest_ms));
    }

    /// No more faults: everything unknown is asked again, everything expires,
    /// the workers run until nothing is left to do.
    pub async fn settle_everything(&mut self, dice: &mut StdRng) {
        self.store.end_stall(dice.random());
        self.wallet.end_stall(dice.random());
        self.restart();
        for id in self.model.envelopes.clone() {
            self.check_acknowledged(id).await;
        }
        self.close_orders(dice).await;
        self.end_all_orders().await;
        let workers = self.workers.as_mut().unwrap();
        // Past the time to pay: what was paid becomes active, the rest is cancelled.
        self.clock.advance_millis(1_000_000);
        until_quiet(&mut workers.activate).await;
        // Past every expiry.
        self.clock.advance_millis(7_300_000);
        until_quiet(&mut workers.refund).await;
        until_quiet(&mut workers.credit).await;
    }

    fn orders(&mut self) -> &mut Orders {
        self.workers.as_mut().and_then(|workers| workers.orders.as_mut()).expect("there is a provider")
    }

    /// Charges pass the time at which they are closed, step by step, while the provider still does wrong: this is when
    /// what is under way matters.
    async fn close_orders(&mut self, dice: &mut StdRng) {
        for _ in 0..CLOSING_STEPS {
            if self.wallet.now().unfinished_orders().await.unwrap().orders == 0 {
                return;
            }
            self.clock.advance_millis(dice.random_range(1..=120_000));
            self.provider.go_on();
            self.orders().run_once(20).await.unwrap();
        }
    }

    /// The provider does nothing wrong any more, and each order is asked for until it is over.
    async fn end_all_orders(&mut self) {
        self.provider.calm_down();
        for _ in 0..200 {
            self.provider.go_on();
            self.orders().run_once(100).await.unwrap();
            if self.wallet.now().unfinished_orders().await.unwrap().orders == 0 {
                break;
            }
            self.clock.advance_millis(3_600_000);
        }
        // What came back since is found out when it is asked for the next time, a day later or after a notification.
        for order in self.provider.orders() {
            self.wallet.now().hint(order, self.clock.now()).await.unwrap();
        }
        until_quiet(self.orders()).await;
    }

    /// I3: every acknowledged opening is still answered the same.
    async fn check_acknowledged(&mut self, id: EnvelopeId) {
        let opened: Vec<UserId> = self.model.of[&id].opened.keys().cloned().collect();
        for user in opened {
            match self.servers[1].grab(id, &Caller { user: &user, groups: &[], class: None }).await {
                Ok(GrabAnswer::Outcome(outcome @ Outcome::Opened { .. })) => {
                    self.model.acknowledge(id, &user, &outcome)
                }
                other => panic!("I3: the opening of {id} by {user} is gone: {other:?}"),
            }
        }
    }

    /// Journal, balances and what was told must agree, to the fen.
    pub async fn check(&mut self) {
        let mut balances: Balances = self.model.senders.iter().map(|sender| (sender.clone(), TOP_UP_FEN)).collect();
        for (id, known) in &self.model.of {
            let Some((envelope, _)) = self.store.now().load(*id).await.unwrap() else {
                let purged = self.is_cancelled(*id).await;
                assert!(!known.exists || purged, "I3: the acknowledged envelope {id} is gone");
                assert!(!known.paid, "I1: the paid envelope {id} is gone");
                continue;
            };
            let entries = self.store.now().entries(*id, 0, u32::MAX).await.unwrap();
            known.check(*id, &envelope, &entries, &mut balances);
        }
        self.provider.check(&*self.wallet.now(), &self.model.senders, &mut balances).await;
        for (user, expected) in balances {
            let balance = self.wallet.now().balance(&user).await.unwrap().get();
            assert_eq!(balance, expected, "I6: the balance of {user}");
        }
    }

    /// Whether the wallet has ruled its payment out: then its row may be gone.
    async fn is_cancelled(&self, id: EnvelopeId) -> bool {
        let found = self.wallet.now().find(&[TransferId::Envelope(id, 0)]).await.unwrap();
        found.iter().any(|transfer| transfer.kind == TransferKind::Cancel)
    }

    /// What the audit says of all seeds together.
    pub async fn audit(&self) {
        let sets = [SetStore::whole(self.store.now())];
        let report = audit(&sets, &*self.wallet.now(), &mut |breach| eprintln!("{breach}")).await.unwrap();
        assert_eq!(report.breaches, 0);
    }
}
