//! A service over one store and one wallet, whose clock is moved by hand.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hongbao_core::fence::Fence;
use hongbao_core::limits::{ROTATION_AHEAD_DAYS, SEAL_AFTER_DAYS};
use hongbao_core::ticket::TicketKey;
use hongbao_core::time::ManualClock;
use hongbao_core::wire::{GrabAnswer, Outcome};
use hongbao_core::{Clock as _, Date, EnvelopeId, Limits, Seed, State, Timestamp, Transfer, UserId};
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::server::{Caller, Server, ServerOptions, ServerParts};
use hongbao_store::Store;
use hongbao_testkit::faults::FaultInjectingStore;
use hongbao_wallet::Wallet;
use hongbao_workers::activate::Activate;
use hongbao_workers::credit::Credit;
use hongbao_workers::export::Export;
use hongbao_workers::purge::Purge;
use hongbao_workers::refund::Refund;
use hongbao_workers::seal::Seal;
use hongbao_workers::{Job, Ports, SealedRows, SetStore, audit_with};
use prometheus_client::registry::Registry;

use crate::faults::Faults;

pub const ZONE_S: i32 = 8 * 3_600;
pub const DAY_MS: i64 = 86_400_000;
/// What the sender has before the first day.
pub const MONEY_FEN: i64 = 1_000_000_000;
/// Between two runs of a job, so that what rests for a moment goes on.
const RUN_MS: i64 = 2_000;
/// When a table is sealed; long before the end of the longest test.
pub const SEALED_AFTER_DAYS: i32 = *SEAL_AFTER_DAYS.start() as i32;
/// When a sealed table goes to the archive.
pub const EXPORTED_AFTER_DAYS: i32 = SEALED_AFTER_DAYS + 2;
/// Days between two looks at everything.
pub const LOOK_EVERY: i64 = 9;

pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// See the module.
pub struct Service {
    store: Arc<dyn Store>,
    wallet: Arc<dyn Wallet>,
    clock: Arc<ManualClock>,
    faults: Arc<Faults>,
    jobs: Vec<Box<dyn Job>>,
    /// What the detail said once nothing was to change any more.
    details: BTreeMap<EnvelopeId, String>,
    unfinished: BTreeSet<EnvelopeId>,
    made: u64,
}

impl Service {
    pub async fn new(store: Arc<dyn Store>, wallet: Arc<dyn Wallet>, first_day: &str) -> Service {
        let faults = Arc::new(Faults::default());
        let store: Arc<dyn Store> = Arc::new(FaultInjectingStore::new(store, faults.clone()));
        let clock = Arc::new(ManualClock::at(Timestamp::parse_rfc3339(first_day).unwrap()));
        let id = serde_json::from_value(serde_json::json!("00000000-0000-4000-8000-000000000001")).unwrap();
        let money = hongbao_core::Fen::new(MONEY_FEN).unwrap();
        wallet.transfer(vec![Transfer::top_up(id, user("sender"), money, clock.now())]).await.unwrap();
        let (details, unfinished) = (BTreeMap::new(), BTreeSet::new());
        let mut service = Service { store, wallet, clock, faults, jobs: Vec::new(), details, unfinished, made: 0 };
        service.restart_worker();
        service
    }

    /// A worker that remembers nothing.
    fn restart_worker(&mut self) {
        let ports = Ports { store: self.store.clone(), wallet: self.wallet.clone(), clock: self.clock.clone() };
        let limits = Limits::default();
        self.jobs = vec![
            Box::new(Activate::new(ports.clone(), ZONE_S, &limits)),
            Box::new(Refund::new(ports.clone(), ZONE_S, &limits)),
            Box::new(Credit::new(ports.clone(), ZONE_S, &limits)),
            Box::new(Purge::new(ports.clone(), ZONE_S, &limits, 86_400)),
            Box::new(Seal::new(ports.clone(), ZONE_S, SEALED_AFTER_DAYS as u32)),
            Box::new(Export::new(ports, ZONE_S, EXPORTED_AFTER_DAYS as u32)),
        ];
    }

    /// A server that remembers nothing, as after a restart.
    pub fn server(&self) -> Arc<Server> {
        let parts = ServerParts {
            store: self.store.clone(),
            wallet: self.wallet.clone(),
            clock: self.clock.clone(),
            permits: Arc::new(LocalPermits::new(64)),
            shared: None,
            tickets: TicketKey::new(b"a secret that only this test knows"),
            limits: Limits::default(),
            zone_offset_s: 0,
            fence: Fence::open(),
            payments: None,
            options: ServerOptions::default(),
        };
        Server::start(parts, &mut Registry::default()).0
    }

    pub fn today(&self) -> Date {
        Date::of(self.clock.now(), ZONE_S)
    }

    /// Rotates; a process that dies in it is followed by the next one.
    pub async fn rotate(&mut self, ahead_days: i32) {
        let through = self.today().plus_days(ahead_days);
        if self.store.rotate(through).await.is_err() {
            assert!(self.faults.revive(), "only a dead process fails");
            self.store.rotate(through).await.unwrap();
        }
        self.faults.revive();
    }

    /// Each job a few times; what is stuck fails, and nothing else but a worker that dies, which the next one follows.
    pub async fn work(&mut self, runs: usize) {
        for _ in 0..runs {
            self.clock.advance_millis(RUN_MS);
            for number in 0..self.jobs.len() {
                if let Err(error) = self.jobs[number].run_once(10_000).await {
                    assert!(self.faults.revive(), "{}: {error}", self.jobs[number].name());
                    self.restart_worker();
                }
            }
        }
        self.faults.revive();
    }

    /// From the `step`th write of the rotation or a job on, everything fails until the process is started anew.
    pub fn die_at(&self, step: u64) {
        self.faults.die_at(step);
    }

    pub fn deaths(&self) -> u64 {
        self.faults.deaths()
    }

    pub fn clock(&self) -> &ManualClock {
        &self.clock
    }

    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    pub async fn balance(&self, name: &str) -> i64 {
        self.wallet.balance(&user(name)).await.unwrap().get()
    }

    /// An envelope of `shares`, created and, if it `is_paid`, paid.
    pub async fn send(&mut self, server: &Server, shares: u32, is_paid: bool) -> EnvelopeId {
        self.made += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&hongbao_core::id::stable_hash(&self.made.to_be_bytes()).to_be_bytes());
        let id = EnvelopeId::mint(self.clock.now(), random);
        let sender = user("sender");
        let caller = Caller { user: &sender, groups: &[], class: None };
        let body = serde_json::json!({ "kind": "lucky", "total_fen": 1_000, "shares": shares });
        let request = serde_json::from_value(body).unwrap();
        server.create(id, request, None, &caller, Seed::new([7; 32])).await.expect("no send is refused");
        if is_paid {
            server.pay(id, &caller).await.expect("no payment is refused");
        }
        self.unfinished.insert(id);
        id
    }

    async fn open(&self, server: &Server, id: EnvelopeId, name: &str) {
        let opener = user(name);
        let caller = Caller { user: &opener, groups: &[], class: None };
        let GrabAnswer::Ready(ready) = server.grab(id, &caller).await.unwrap() else { panic!("it is open") };
        let opening = server.open(id, &caller, &ready.ticket, None).await.unwrap();
        assert!(matches!(opening.outcome, Outcome::Opened { .. }), "{opening:?}");
    }

    /// A day of sending and opening: one that is emptied, one whose rest goes back, one that is never paid.
    pub async fn day(&mut self, is_stuck: bool) {
        let server = self.server();
        let emptied = self.send(&server, 2, true).await;
        for name in ["a", "b"] {
            self.open(&server, emptied, name).await;
        }
        let partly = self.send(&server, 3, true).await;
        self.open(&server, partly, "a").await;
        if is_stuck {
            self.faults.stick(partly);
        }
        self.send(&server, 2, false).await;
    }

    /// Everything that was ever sent is as it was, to the last byte.
    pub async fn look_at_everything(&mut self) {
        let server = self.server();
        let (sender, opener) = (user("sender"), user("a"));
        let caller = Caller { user: &sender, groups: &[], class: None };
        for (id, before) in &self.details {
            let detail = server.detail(*id, &caller, 0, 100).await.expect("of any age");
            assert_eq!(&serde_json::to_string(&detail).unwrap(), before);
            let caller = Caller { user: &opener, groups: &[], class: None };
            let grabbed = server.grab(*id, &caller).await.unwrap();
            assert!(matches!(&grabbed, GrabAnswer::Outcome(Outcome::Opened { replayed: true, .. })), "{grabbed:?}");
        }
        let mut final_ones = Vec::new();
        for id in &self.unfinished {
            let Ok(detail) = server.detail(*id, &caller, 0, 100).await else {
                final_ones.push(*id);
                continue;
            };
            let settled = self.store.load(*id).await.unwrap().unwrap().0.stage == hongbao_core::Stage::Settled;
            if settled && matches!(detail.envelope.state, State::Finished | State::Refunded) {
                self.details.insert(*id, serde_json::to_string(&detail).unwrap());
                final_ones.push(*id);
            }
        }
        self.unfinished.retain(|id| !final_ones.contains(id));

        for rows in [SealedRows::All, SealedRows::Sample { tables: 1, turn: self.made }] {
            let mut found = Vec::new();
            let mut tell = |breach: &hongbao_core::audit::Breach| found.push(breach.to_string());
            let sets = [SetStore::whole(self.store.clone())];
            audit_with(&sets, &*self.wallet, rows, &mut tell).await.unwrap();
            assert!(found.is_empty(), "{}: {found:#?}", self.today());
        }
        self.assert_one_date_a_table().await;
    }

    /// I9: so the day tables hold 31 dates at most, however long it runs.
    async fn assert_one_date_a_table(&self) {
        for table in self.store.tables() {
            let rows = self.store.scan(table, None, 10_000).await.unwrap();
            let dates: BTreeSet<Date> = rows.iter().map(|(row, _)| Date::of(row.id.minted_at(), ZONE_S)).collect();
            assert!(dates.len() <= 1, "{table:?} holds {dates:?}");
        }
    }

    /// What is stuck goes on, and everything comes to its end.
    pub async fn finish(&mut self, days: i64) {
        self.faults.unstick();
        for _ in 0..4 {
            self.clock.advance_millis(DAY_MS);
            self.rotate(ROTATION_AHEAD_DAYS).await;
            self.work(60).await;
        }
        self.look_at_everything().await;
        assert_eq!(self.unfinished, BTreeSet::new());
        assert_eq!(self.details.len() as i64, days * 2);
        // Every envelope took 1,000 fen; what was not opened came back.
        let mut balances = 0;
        for name in ["sender", "a", "b"] {
            balances += self.balance(name).await;
        }
        assert_eq!(balances, MONEY_FEN);
    }
}
