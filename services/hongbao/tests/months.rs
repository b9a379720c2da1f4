//! Months go by, day by day: the server, the jobs and the rotation over the same SQLite
//! files, under a clock that is moved by hand.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use hongbao_core::fence::Fence;
use hongbao_core::id::Fold;
use hongbao_core::limits::{ROTATION_AHEAD_DAYS, ROTATION_AHEAD_DAYS_MIN, SEAL_AFTER_DAYS};
use hongbao_core::ticket::TicketKey;
use hongbao_core::time::ManualClock;
use hongbao_core::wire::{GrabAnswer, Outcome};
use hongbao_core::{Clock as _, Date, Day, EnvelopeId, Limits, Seed, State, Timestamp, Transfer, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server, ServerOptions, ServerParts};
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Store, StoreError};
use hongbao_testkit::faults::{FaultInjectingStore, StoreFaults, StoreVerb};
use hongbao_wallet::Wallet;
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_workers::activate::Activate;
use hongbao_workers::credit::Credit;
use hongbao_workers::purge::Purge;
use hongbao_workers::refund::Refund;
use hongbao_workers::seal::Seal;
use hongbao_workers::{Job, Ports, SealedRows, SetStore, audit_with};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

const ZONE_S: i32 = 8 * 3_600;
const DAY_MS: i64 = 86_400_000;
/// Between two runs of a job, so that what rests for a moment goes on.
const RUN_MS: i64 = 2_000;
/// When a table is sealed; long before the end of the longest test.
const SEALED_AFTER_DAYS: u32 = *SEAL_AFTER_DAYS.start();
/// Days between two looks at everything.
const LOOK_EVERY: i64 = 9;

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

/// Refunds of these envelopes fail: they are stuck.
#[derive(Default)]
struct Stuck(Mutex<HashSet<EnvelopeId>>);

impl StoreFaults for Stuck {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        match verb {
            StoreVerb::Append(entries) if entries.iter().any(|entry| self.0.lock().contains(&entry.envelope_id)) => {
                Err(StoreError::Unavailable("stuck".to_owned()))
            }
            _ => Ok(()),
        }
    }
}

/// A service over one folder.
struct Service {
    _dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    wallet: Arc<dyn Wallet>,
    clock: Arc<ManualClock>,
    stuck: Arc<Stuck>,
    jobs: Vec<Box<dyn Job>>,
    /// What the detail said once nothing was to change any more.
    details: BTreeMap<EnvelopeId, String>,
    unfinished: BTreeSet<EnvelopeId>,
    made: u64,
}

impl Service {
    async fn new(first_day: &str) -> Service {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), Fold::new(1, 1).unwrap(), ZONE_S, Mode::Volatile).await.unwrap();
        let wallet = SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap();
        let stuck = Arc::new(Stuck::default());
        let store: Arc<dyn Store> = Arc::new(FaultInjectingStore::new(Arc::new(store), stuck.clone()));
        let wallet: Arc<dyn Wallet> = Arc::new(wallet);
        let clock = Arc::new(ManualClock::at(Timestamp::parse_rfc3339(first_day).unwrap()));
        let id = serde_json::from_value(serde_json::json!("00000000-0000-4000-8000-000000000001")).unwrap();
        let money = hongbao_core::Fen::new(1_000_000_000).unwrap();
        wallet.transfer(vec![Transfer::top_up(id, user("sender"), money, clock.now())]).await.unwrap();
        let ports = Ports { store: store.clone(), wallet: wallet.clone(), clock: clock.clone() };
        let limits = Limits::default();
        let jobs: Vec<Box<dyn Job>> = vec![
            Box::new(Activate::new(ports.clone(), ZONE_S, &limits)),
            Box::new(Refund::new(ports.clone(), ZONE_S, &limits)),
            Box::new(Credit::new(ports.clone(), ZONE_S, &limits)),
            Box::new(Purge::new(ports.clone(), ZONE_S, &limits, 86_400)),
            Box::new(Seal::new(ports, ZONE_S, SEALED_AFTER_DAYS)),
        ];
        let (details, unfinished) = (BTreeMap::new(), BTreeSet::new());
        Service { _dir: dir, store, wallet, clock, stuck, jobs, details, unfinished, made: 0 }
    }

    /// A server that remembers nothing, as after a restart.
    fn server(&self) -> Arc<Server> {
        let parts = ServerParts {
            store: self.store.clone(),
            wallet: self.wallet.clone(),
            clock: self.clock.clone(),
            permits: Arc::new(LocalPermits::new(64)),
            shared: None,
            tickets: TicketKey::new(b"a secret that only this test knows"),
            limits: Limits::default(),
            fence: Fence::open(),
            options: ServerOptions::default(),
        };
        Server::start(parts, &mut Registry::default()).0
    }

    fn today(&self) -> Date {
        Date::of(self.clock.now(), ZONE_S)
    }

    async fn rotate(&self, ahead_days: i32) {
        self.store.rotate(self.today().plus_days(ahead_days)).await.unwrap();
    }

    /// Each job a few times; what is stuck fails, and nothing else.
    async fn work(&mut self, runs: usize) {
        for _ in 0..runs {
            self.clock.advance_millis(RUN_MS);
            for job in &mut self.jobs {
                job.run_once(10_000).await.unwrap();
            }
        }
    }

    /// An envelope of `shares`, created and, if it `is_paid`, paid.
    async fn send(&mut self, server: &Server, shares: u32, is_paid: bool) -> EnvelopeId {
        self.made += 1;
        let mut random = [0; 10];
        random[..8].copy_from_slice(&hongbao_core::id::stable_hash(&self.made.to_be_bytes()).to_be_bytes());
        let id = EnvelopeId::mint(self.clock.now(), random);
        let sender = user("sender");
        let caller = Caller { user: &sender, groups: &[] };
        let body = serde_json::json!({ "kind": "lucky", "total_fen": 1_000, "shares": shares });
        let request = serde_json::from_value(body).unwrap();
        server.create(id, request, &caller, Seed::new([7; 32])).await.expect("no send is refused");
        if is_paid {
            server.pay(id, &caller).await.expect("no payment is refused");
        }
        self.unfinished.insert(id);
        id
    }

    async fn open(&self, server: &Server, id: EnvelopeId, name: &str) {
        let opener = user(name);
        let caller = Caller { user: &opener, groups: &[] };
        let GrabAnswer::Ready(ready) = server.grab(id, &caller).await.unwrap() else { panic!("it is open") };
        let opening = server.open(id, &caller, &ready.ticket, None).await.unwrap();
        assert!(matches!(opening.outcome, Outcome::Opened { .. }), "{opening:?}");
    }

    /// A day of sending and opening: one that is emptied, one whose rest goes back, one that is never paid.
    async fn day(&mut self, is_stuck: bool) {
        let server = self.server();
        let emptied = self.send(&server, 2, true).await;
        for name in ["a", "b"] {
            self.open(&server, emptied, name).await;
        }
        let partly = self.send(&server, 3, true).await;
        self.open(&server, partly, "a").await;
        if is_stuck {
            self.stuck.0.lock().insert(partly);
        }
        self.send(&server, 2, false).await;
    }

    /// Everything that was ever sent is as it was, to the last byte.
    async fn look_at_everything(&mut self) {
        let server = self.server();
        let (sender, opener) = (user("sender"), user("a"));
        let caller = Caller { user: &sender, groups: &[] };
        for (id, before) in &self.details {
            let detail = server.detail(*id, &caller, 0, 100).await.expect("of any age");
            assert_eq!(&serde_json::to_string(&detail).unwrap(), before);
            let caller = Caller { user: &opener, groups: &[] };
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
    async fn finish(&mut self, days: i64) {
        self.stuck.0.lock().clear();
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
            balances += self.wallet.balance(&user(name)).await.unwrap().get();
        }
        assert_eq!(balances, 1_000_000_000);
    }
}

/// Three months with a February of 28 days, in which no worker runs for 40 days and an envelope of each month is stuck.
#[tokio::test]
async fn three_months_of_sending_without_a_worker_for_forty_days() {
    const DAYS: i64 = 92;
    let mut service = Service::new("2026-01-20T10:00:00+08:00").await;
    for day in 0..DAYS {
        let has_worker = !(20..60).contains(&day);
        service.rotate(if has_worker { ROTATION_AHEAD_DAYS } else { ROTATION_AHEAD_DAYS_MIN }).await;
        let is_first_of_month = service.today().day() == Day::new(1).unwrap();
        service.day(is_first_of_month).await;
        if has_worker {
            service.work(if day == 60 { 100 } else { 12 }).await;
        }
        if day % LOOK_EVERY == 0 {
            service.look_at_everything().await;
        }
        service.clock.advance_millis(DAY_MS);
    }
    service.finish(DAYS).await;
    // Four days went by in the end; what was stuck has kept its table open no longer than itself.
    let sealed = service.store.tables().len() - service.store.unsealed_tables().len();
    assert_eq!(sealed as i64, DAYS + 4 - i64::from(SEALED_AFTER_DAYS));
}

/// A February of 29 days, and a service that is not started for 40 days after it.
#[tokio::test]
async fn a_leap_year_and_a_service_that_was_off_for_forty_days() {
    let mut service = Service::new("2028-02-20T10:00:00+08:00").await;
    for day in 0..20 {
        service.rotate(ROTATION_AHEAD_DAYS).await;
        service.day(false).await;
        service.work(12).await;
        if day == 10 {
            service.clock.advance_millis(40 * DAY_MS);
        }
        service.look_at_everything().await;
        service.clock.advance_millis(DAY_MS);
    }
    service.finish(20).await;
}

/// Without a worker nothing cancels it: it cannot be paid for all that, and the audit agrees.
#[tokio::test]
async fn an_envelope_of_the_month_before_cannot_be_paid_any_more() {
    let mut service = Service::new("2026-01-20T10:00:00+08:00").await;
    service.rotate(ROTATION_AHEAD_DAYS_MIN).await;
    let unpaid = service.send(&service.server(), 2, false).await;
    service.clock.advance_millis(35 * DAY_MS);
    service.rotate(ROTATION_AHEAD_DAYS_MIN).await;
    let sender = user("sender");
    let paid = service.server().pay(unpaid, &Caller { user: &sender, groups: &[] }).await;
    assert!(matches!(paid, Err(Refusal::Cancelled)), "{paid:?}");
    service.work(60).await;
    assert_eq!(service.wallet.balance(&sender).await.unwrap().get(), 1_000_000_000);
    service.look_at_everything().await;
}

/// A clock that jumps a day ahead over midnight, and back: what was rotated too early is no trouble.
#[tokio::test]
async fn a_clock_that_jumps_ahead_and_back_loses_nothing_and_refuses_nothing() {
    for days in [1, 40] {
        let mut service = Service::new("2026-02-27T23:59:59+08:00").await;
        for _ in 0..3 {
            service.rotate(ROTATION_AHEAD_DAYS).await;
            service.day(false).await;
            service.clock.advance_millis(days * DAY_MS);
            service.rotate(ROTATION_AHEAD_DAYS).await;
            service.clock.advance_millis(-days * DAY_MS);
            service.day(false).await;
            service.clock.advance_millis(DAY_MS);
        }
        service.finish(6).await;
    }
}
