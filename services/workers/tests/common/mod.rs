//! A small world: real SQLite files in a temporary folder, a clock that stands
//! still, and workers that are stepped by hand.

// Each test file uses its part of this.
#![allow(dead_code)]

pub mod archives;
pub mod before;
pub mod columns;
pub mod damage;
pub mod exported;
pub mod faults;
pub mod long;
pub mod meanwhile;
pub mod months;
pub mod sealed;
pub mod service;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hongbao_core::audit::Breach;
use hongbao_core::envelope::OpenDecision;
use hongbao_core::id::{Fold, TableRef, stable_hash};
use hongbao_core::order::{Answer, Happened};
use hongbao_core::time::ManualClock;
use hongbao_core::{
    Audience, Clock as _, Entry, Envelope, EnvelopeId, Fen, Journal, Kind, Limits, Order, OrderId, OrderKind, Seed,
    Slot, Stage, Timestamp, Transfer, TransferKind, TransferOutcome, UserId,
};
use hongbao_database::sqlite::file::Mode;
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Append, Store};
use hongbao_testkit::faults::{FaultInjectingStore, FaultInjectingWallet};
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_wallet::{OrderChange, OrderOpening, Wallet};
use hongbao_workers::refund::Refund;
use hongbao_workers::{AuditReport, Job, Ports, SetStore, audit};

use faults::Faults;

pub const ZONE_S: i32 = 8 * 3_600;
pub const DAY_MS: i64 = 86_400_000;
/// The lifetime of every envelope here.
pub const LIFETIME_MS: i64 = 3_600_000;

pub struct World {
    pub dir: tempfile::TempDir,
    pub store: Arc<dyn Store>,
    pub wallet: Arc<dyn Wallet>,
    pub clock: Arc<ManualClock>,
    pub faults: Arc<Faults>,
    /// Envelopes are made in these.
    pub slots: Vec<Slot>,
    made: AtomicU64,
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub fn fen(fen: i64) -> Fen {
    Fen::new(fen).unwrap()
}

/// Opens the databases in a folder, as every process that uses them does.
pub async fn open_store(dir: &Path, databases: u8) -> Arc<dyn Store> {
    let fold = Fold::new(databases, 1).unwrap();
    Arc::new(SqliteStore::open(dir, fold, ZONE_S, Mode::Volatile).await.unwrap())
}

impl World {
    pub async fn new() -> World {
        World::with_databases(1).await
    }

    pub async fn with_databases(databases: u8) -> World {
        let dir = tempfile::tempdir().unwrap();
        let store = open_store(dir.path(), databases).await;
        World::on(store, dir).await
    }

    /// A world whose envelopes lie in this store; the wallet lies in `dir`.
    pub async fn on(store: Arc<dyn Store>, dir: tempfile::TempDir) -> World {
        let wallet = SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap();
        World::with(store, Arc::new(wallet), dir).await
    }

    /// A world on this store and this wallet.
    pub async fn with(store: Arc<dyn Store>, wallet: Arc<dyn Wallet>, dir: tempfile::TempDir) -> World {
        let noon = Timestamp::parse_rfc3339("2026-02-16T12:00:00+08:00").unwrap();
        let world = World {
            dir,
            faults: Arc::new(Faults::of(store.clone())),
            store,
            wallet,
            clock: Arc::new(ManualClock::at(noon)),
            slots: Slot::all().collect(),
            made: AtomicU64::new(0),
        };
        world.top_up("sender", 100_000_000).await;
        world
    }

    /// Two SETs with one wallet: the first holds the slots below 50, the second the others.
    pub async fn two_sets() -> (World, World) {
        let one = World::new().await;
        let dir = tempfile::tempdir().unwrap();
        let store = open_store(dir.path(), 1).await;
        let (low, high) = Slot::all().partition(|slot| slot.number() < 50);
        let two = World {
            dir,
            faults: Arc::new(Faults::of(store.clone())),
            store,
            wallet: one.wallet.clone(),
            clock: one.clock.clone(),
            slots: high,
            made: AtomicU64::new(1 << 32),
        };
        (World { slots: low, ..one }, two)
    }

    /// What a worker gets: everything goes through the faults.
    pub fn ports(&self) -> Ports {
        Ports {
            store: Arc::new(FaultInjectingStore::new(self.store.clone(), self.faults.clone())),
            wallet: Arc::new(FaultInjectingWallet::new(self.wallet.clone(), self.faults.clone())),
            clock: self.clock.clone(),
        }
    }

    pub fn limits(&self) -> Limits {
        Limits::default()
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub async fn top_up(&self, name: &str, amount: i64) {
        let id = uuid::Uuid::from_u128(u128::from(self.next()));
        self.transfer(Transfer::top_up(id, user(name), fen(amount), self.now()), TransferOutcome::Done).await;
    }

    /// A charge of `payer` whose outcome is not known.
    pub async fn order(&self, amount: i64) -> Order {
        let random = stable_hash(&self.next().to_be_bytes()).to_be_bytes();
        let random = std::array::from_fn(|place| random[place % 8]);
        let id = OrderId::mint(self.now(), random);
        let order = Order::new(id, OrderKind::Charge, user("payer"), fen(amount), self.now());
        assert_eq!(self.wallet.open_order(order.clone().into()).await.unwrap(), OrderOpening::Opened(order.clone()));
        order
    }

    /// A charge of `payer` that has succeeded.
    pub async fn order_that_arrived(&self, amount: i64) {
        let before = self.order(amount).await;
        let happened = Happened { amount: fen(amount), at: self.now(), reference: "a".to_owned() };
        let after = before.answered(Some(Answer::Succeeded(happened)), self.now());
        let change = OrderChange { before, after, may_pay: false, refund: None };
        self.wallet.change_orders(vec![change]).await.unwrap();
    }

    pub async fn transfer(&self, transfer: Transfer, expected: TransferOutcome) {
        assert_eq!(self.wallet.transfer(vec![transfer]).await.unwrap(), [expected]);
    }

    fn next(&self) -> u64 {
        self.made.fetch_add(1, Ordering::SeqCst)
    }

    /// An envelope that was created and not paid, minted at `at`.
    pub async fn created_at(&self, at: Timestamp, total: i64, shares: u32) -> Envelope {
        self.created_for(at, total, shares, LIFETIME_MS).await
    }

    /// The same with another lifetime.
    pub async fn created_for(&self, at: Timestamp, total: i64, shares: u32, lifetime_ms: i64) -> Envelope {
        let (id, bytes) = loop {
            let number = self.next();
            let hash = [stable_hash(&number.to_be_bytes()), stable_hash(&(!number).to_be_bytes())];
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&hash[0].to_be_bytes());
            bytes[8..16].copy_from_slice(&hash[1].to_be_bytes());
            let id = EnvelopeId::mint(at, bytes[..10].try_into().unwrap());
            if self.slots.contains(&id.slot()) {
                break (id, bytes);
            }
        };
        let envelope = Envelope {
            id,
            sender: user("sender"),
            kind: Kind::Lucky,
            total: fen(total),
            shares,
            share_cap: fen(20_000),
            greeting: String::new(),
            audience: Audience::Link,
            seed: Seed::new(bytes),
            created_at: at,
            lifetime_ms,
            stage: Stage::Created,
            expires_at: None,
            settled_seq: 0,
        };
        self.store.create(std::slice::from_ref(&envelope)).await.unwrap();
        envelope
    }

    /// An envelope that was paid and activated at `at`.
    pub async fn active_at(&self, at: Timestamp, total: i64, shares: u32) -> EnvelopeId {
        let envelope = self.created_at(at, total, shares).await;
        self.transfer(Transfer::send(&envelope, at), TransferOutcome::Done).await;
        self.store.activate(envelope.id, at.plus_millis(LIFETIME_MS)).await.unwrap();
        envelope.id
    }

    pub async fn active(&self, total: i64, shares: u32) -> EnvelopeId {
        self.active_at(self.now(), total, shares).await
    }

    /// A finished envelope and one whose rest was refunded, neither credited yet.
    pub async fn finished_and_refunded(&self) -> (EnvelopeId, EnvelopeId) {
        let (finished, refunded) = (self.active(1_000, 5).await, self.active(1_000, 10).await);
        self.open_many(finished, "a", 5).await;
        self.open_many(refunded, "b", 3).await;
        self.clock.advance_millis(LIFETIME_MS);
        run_until_idle(&mut Refund::new(self.ports(), ZONE_S, &self.limits()), 100).await;
        (finished, refunded)
    }

    /// A running envelope, not credited yet, and one that was cancelled before it was paid.
    pub async fn running_and_cancelled(&self) -> (EnvelopeId, EnvelopeId) {
        let running = self.active(1_000, 10).await;
        self.open_many(running, "a", 4).await;
        let cancelled = self.created_at(self.now(), 100, 10).await;
        self.transfer(Transfer::cancel(&cancelled, self.now()), TransferOutcome::Done).await;
        self.store.cancel(cancelled.id).await.unwrap();
        (running, cancelled.id)
    }

    /// What the next opening by a user would be, as of now.
    pub async fn next_entry(&self, id: EnvelopeId, name: &str, at: Timestamp) -> Option<Entry> {
        let (envelope, journal, before) = self.store.load_for(id, &user(name)).await.unwrap().unwrap();
        match envelope.decide_open(&journal, before.as_ref(), &user(name), at) {
            OpenDecision::Append(entry) => Some(entry),
            _ => None,
        }
    }

    /// Opens at `at`; gives the amount.
    pub async fn open_at(&self, id: EnvelopeId, name: &str, at: Timestamp) -> i64 {
        let entry = self.next_entry(id, name, at).await.expect("it can be opened");
        assert_eq!(self.store.append(std::slice::from_ref(&entry)).await.unwrap(), Append::Done);
        entry.amount.get()
    }

    pub async fn open(&self, id: EnvelopeId, name: &str) -> i64 {
        self.open_at(id, name, self.now()).await
    }

    /// Opens as `{prefix}-1`, `{prefix}-2` and so on; gives the sum.
    pub async fn open_many(&self, id: EnvelopeId, prefix: &str, times: u32) -> i64 {
        let mut sum = 0;
        for number in 1..=times {
            sum += self.open(id, &format!("{prefix}-{number}")).await;
        }
        sum
    }

    /// As [`World::open_many`], in one append, of an envelope without openings.
    pub async fn open_at_once(&self, id: EnvelopeId, prefix: &str, times: u32) {
        let (envelope, mut journal) = self.store.load(id).await.unwrap().unwrap();
        let mut entries = Vec::new();
        for number in 1..=times {
            let name = user(&format!("{prefix}-{number}"));
            let OpenDecision::Append(entry) = envelope.decide_open(&journal, None, &name, self.now()) else {
                panic!("it can be opened")
            };
            journal = Journal::after(&entry);
            entries.push(entry);
        }
        assert_eq!(self.store.append(&entries).await.unwrap(), Append::Done);
    }

    pub async fn balance(&self, name: &str) -> i64 {
        self.wallet.balance(&user(name)).await.unwrap().get()
    }

    pub async fn balances(&self, prefix: &str, count: u32) -> i64 {
        let mut sum = 0;
        for number in 1..=count {
            sum += self.balance(&format!("{prefix}-{number}")).await;
        }
        sum
    }

    pub async fn envelope(&self, id: EnvelopeId) -> Envelope {
        self.store.load(id).await.unwrap().unwrap().0
    }

    pub async fn journal(&self, id: EnvelopeId) -> Vec<Entry> {
        self.store.entries(id, 0, u32::MAX).await.unwrap()
    }

    pub fn table(&self, id: EnvelopeId) -> TableRef {
        self.store.table_of(id)
    }

    /// How many transfers of a kind an envelope has.
    pub async fn transfers(&self, id: EnvelopeId, kind: TransferKind) -> usize {
        let transfers = self.wallet.of_envelopes(&[id]).await.unwrap();
        transfers.iter().filter(|posted| posted.transfer.kind == kind).count()
    }

    /// The one SET of this world.
    pub fn sets(&self) -> [SetStore; 1] {
        [SetStore::whole(self.store.clone())]
    }

    /// The codes of all breaches, and the report.
    pub async fn audit(&self) -> (Vec<&'static str>, AuditReport) {
        let mut codes = Vec::new();
        let mut tell = |breach: &Breach| codes.push(breach.code);
        let report = audit(&self.sets(), &*self.wallet, &mut tell).await.unwrap();
        (codes, report)
    }

    /// The audit finds nothing.
    pub async fn assert_sound(&self) {
        let mut found = Vec::new();
        let mut tell = |breach: &Breach| found.push(breach.to_string());
        audit(&self.sets(), &*self.wallet, &mut tell).await.unwrap();
        assert!(found.is_empty(), "{found:#?}");
    }
}

/// Runs a job until a run finds nothing to do; fails on any failure.
pub async fn run_until_idle(job: &mut dyn Job, limit: u32) -> u32 {
    let mut rows = 0;
    for _ in 0..10_000 {
        let report = job.run_once(limit).await.unwrap();
        assert_eq!(report.failures, 0);
        rows += report.rows;
        if !report.more {
            return rows;
        }
    }
    panic!("{} never comes to an end", job.name());
}
