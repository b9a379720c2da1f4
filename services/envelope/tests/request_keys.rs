//! Envelopes that are made under the key of a request: once, whatever happens between two steps.

mod common;

use std::collections::HashSet;
use std::sync::Arc;

use hongbao_core::fence::Fence;
use hongbao_core::held::HeldSlots;
use hongbao_core::id::{Fold, Slot};
use hongbao_core::request::CreateEnvelope;
use hongbao_core::time::ManualClock;
use hongbao_core::wire::EnvelopeView;
use hongbao_core::{EnvelopeId, Limits, RequestKey, Seed, State, Timestamp, Transfer, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server, ServerParts};
use hongbao_http::{Code, Problem};
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Store, StoreError};
use hongbao_testkit::faults::{FaultInjectingStore, FaultInjectingWallet, StoreFaults, StoreVerb};
use hongbao_testkit::faults::{WalletFaults, WalletVerb};
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_wallet::{Wallet, WalletError};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const DAY_MS: i64 = 86_400_000;

/// Where the process dies next: before a step, or after it and before its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    BeforeReserve,
    AfterReserve,
    BeforeCreate,
    AfterCreate,
}

#[derive(Default)]
struct Deaths(Mutex<Option<Death>>);

impl Deaths {
    fn strikes(&self, death: Death) -> bool {
        let mut next = self.0.lock();
        let strikes = *next == Some(death);
        if strikes {
            *next = None;
        }
        strikes
    }
}

impl WalletFaults for Deaths {
    async fn before(&self, verb: WalletVerb) -> Result<(), WalletError> {
        match verb == WalletVerb::Reserve && self.strikes(Death::BeforeReserve) {
            true => Err(WalletError::Unavailable("it is away".to_owned())),
            false => Ok(()),
        }
    }

    async fn after(&self, verb: WalletVerb) -> Result<(), WalletError> {
        match verb == WalletVerb::Reserve && self.strikes(Death::AfterReserve) {
            true => Err(WalletError::Unknown("the commit was not confirmed".to_owned())),
            false => Ok(()),
        }
    }
}

impl StoreFaults for Deaths {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        match matches!(verb, StoreVerb::Create(_)) && self.strikes(Death::BeforeCreate) {
            true => Err(StoreError::Unavailable("it is away".to_owned())),
            false => Ok(()),
        }
    }

    async fn after(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        match matches!(verb, StoreVerb::Create(_)) && self.strikes(Death::AfterCreate) {
            true => Err(StoreError::Unknown("the commit was not confirmed".to_owned())),
            false => Ok(()),
        }
    }
}

/// Two servers of the same SET, and a sender.
struct Bench {
    _dir: tempfile::TempDir,
    servers: [Arc<Server>; 2],
    store: Arc<dyn Store>,
    wallet: Arc<dyn Wallet>,
    clock: Arc<ManualClock>,
    deaths: Arc<Deaths>,
    sender: UserId,
}

impl Bench {
    async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let deaths = Arc::new(Deaths::default());
        let inner = SqliteStore::open(dir.path(), Fold::new(1, 1).unwrap(), 0, Mode::Volatile).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(FaultInjectingStore::new(Arc::new(inner), deaths.clone()));
        let inner = SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap();
        let wallet: Arc<dyn Wallet> = Arc::new(FaultInjectingWallet::new(Arc::new(inner), deaths.clone()));
        let clock = Arc::new(ManualClock::at(NOW));
        let start = || {
            let parts = common::parts(store.clone(), wallet.clone(), clock.clone());
            // A server may be configured anew between two repeats.
            let limits = Limits { expires_in_s_max: 7_200, ..Limits::default() };
            Server::start(ServerParts { limits, ..parts }, &mut Registry::default()).0
        };
        let servers = [start(), start()];
        Bench { _dir: dir, servers, store, wallet, clock, deaths, sender: UserId::parse("li").unwrap() }
    }

    /// Asks the server of this number, with the id that was minted for this request.
    async fn ask(&self, server: usize, number: u8, key: Option<&str>, total_fen: i64) -> Result<EnvelopeView, Refusal> {
        let body = serde_json::json!({ "kind": "lucky", "total_fen": total_fen, "shares": 5 });
        let body: CreateEnvelope = serde_json::from_value(body).unwrap();
        let key = key.map(|key| RequestKey::parse(key).unwrap());
        let caller = Caller { user: &self.sender, groups: &[], class: None };
        self.servers[server].create(self.id(number), body, key, &caller, Seed::new([number; 32])).await
    }

    fn id(&self, number: u8) -> EnvelopeId {
        use hongbao_core::Clock as _;
        EnvelopeId::mint(self.clock.now(), [number; 10])
    }

    async fn exists(&self, id: EnvelopeId) -> bool {
        self.store.load(id).await.unwrap().is_some()
    }
}

fn code_of(refusal: Refusal) -> Code {
    Problem::from(refusal).code
}

#[tokio::test]
async fn wherever_a_process_dies_the_repeat_makes_one_envelope_under_the_first_id() {
    for (death, code, is_first_s) in [
        (Death::BeforeReserve, Code::Unavailable, false),
        (Death::AfterReserve, Code::OutcomeUnknown, true),
        (Death::BeforeCreate, Code::Unavailable, true),
        (Death::AfterCreate, Code::OutcomeUnknown, true),
    ] {
        let bench = Bench::new().await;
        *bench.deaths.0.lock() = Some(death);
        assert_eq!(code_of(bench.ask(0, 1, Some("k"), 500).await.unwrap_err()), code, "{death:?}");
        let made = bench.ask(1, 2, Some("k"), 500).await.unwrap();
        let (first, second) = (bench.id(1), bench.id(2));
        assert_eq!(made.id, if is_first_s { first } else { second }, "{death:?}");
        assert_eq!((bench.exists(first).await, bench.exists(second).await), (is_first_s, !is_first_s), "{death:?}");
        assert_eq!(bench.ask(0, 3, Some("k"), 500).await.unwrap(), made, "{death:?}");
    }
}

#[tokio::test]
async fn a_hundred_concurrent_repeats_make_one_envelope() {
    let bench = Arc::new(Bench::new().await);
    let tasks: Vec<_> = (0..100_u8)
        .map(|number| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.ask(usize::from(number % 2), number, Some("k"), 500).await.unwrap() })
        })
        .collect();
    let mut answers = HashSet::new();
    for task in tasks {
        let view = task.await.unwrap();
        answers.insert((view.id, view.draw_commitment));
    }
    assert_eq!(answers.len(), 1);
    let mut there = 0;
    for number in 0..100 {
        there += usize::from(bench.exists(bench.id(number)).await);
    }
    assert_eq!(there, 1);
}

#[tokio::test]
async fn a_repeat_shows_the_envelope_as_it_is_by_then() {
    let bench = Bench::new().await;
    let made = bench.ask(0, 1, Some("k"), 500).await.unwrap();
    assert_eq!(made.state, State::Created);
    let envelope = bench.store.load(made.id).await.unwrap().unwrap().0;
    let top_up = serde_json::from_value(serde_json::json!("00000000-0000-4000-8000-000000000001")).unwrap();
    let money = Transfer::top_up(top_up, bench.sender.clone(), envelope.total, NOW);
    bench.wallet.transfer(vec![money]).await.unwrap();
    bench.servers[0].pay(made.id, &Caller { user: &bench.sender, groups: &[], class: None }).await.unwrap();
    assert_eq!(bench.ask(1, 2, Some("k"), 500).await.unwrap().state, State::Active);
    bench.clock.advance_millis(7_200_000);
    assert_eq!(bench.ask(1, 3, Some("k"), 500).await.unwrap().state, State::Expired);
}

#[tokio::test]
async fn another_body_under_a_key_is_a_conflict_and_a_bad_one_takes_no_key() {
    let bench = Bench::new().await;
    assert_eq!(code_of(bench.ask(0, 1, Some("k"), 1).await.unwrap_err()), Code::InvalidRequest);
    let made = bench.ask(0, 1, Some("k"), 500).await.unwrap();
    assert_eq!(code_of(bench.ask(0, 2, Some("k"), 501).await.unwrap_err()), Code::IdempotencyConflict);
    assert_eq!(bench.ask(0, 2, Some("other"), 501).await.unwrap().id, bench.id(2));
    assert_eq!(bench.ask(0, 3, Some("k"), 500).await.unwrap(), made);
}

#[tokio::test]
async fn without_a_key_an_unknown_outcome_does_not_say_that_asking_again_settles_it() {
    let bench = Bench::new().await;
    for (key, says) in [(None, "makes another one"), (Some("k"), "the answer will be final")] {
        *bench.deaths.0.lock() = Some(Death::AfterCreate);
        let problem = Problem::from(bench.ask(0, 1, key, 500).await.unwrap_err());
        assert_eq!(problem.code, Code::OutcomeUnknown);
        assert!(problem.detail.contains(says), "{}", problem.detail);
        bench.clock.advance_millis(1);
    }
}

#[tokio::test]
async fn what_was_not_made_within_a_day_is_never_made_and_the_key_says_so() {
    let bench = Bench::new().await;
    *bench.deaths.0.lock() = Some(Death::BeforeCreate);
    let first = bench.id(1);
    bench.ask(0, 1, Some("k"), 500).await.unwrap_err();
    bench.clock.advance_millis(DAY_MS + 1);
    assert_eq!(code_of(bench.ask(0, 2, Some("k"), 500).await.unwrap_err()), Code::Cancelled);
    assert!(!bench.exists(first).await && !bench.exists(bench.id(2)).await);
}

#[tokio::test]
async fn a_key_that_stands_for_an_envelope_of_another_set_names_it() {
    let bench = Bench::new().await;
    let made = bench.ask(0, 1, Some("k"), 500).await.unwrap();
    // A server of a SET that holds every slot but that one.
    let dir = tempfile::tempdir().unwrap();
    let fold = Fold::new(1, 1).unwrap();
    let held = HeldSlots::always(Slot::all().filter(|slot| *slot != made.id.slot()), fold);
    let rows: Vec<_> = held.accepted_in(0).into_iter().map(|row| (0, row)).collect();
    let store = SqliteStore::open(dir.path(), fold, 0, Mode::Volatile).await.unwrap();
    let parts = common::parts(Arc::new(store), bench.wallet.clone(), bench.clock.clone());
    let parts = ServerParts { fence: Fence::new(&held, &rows, NOW), ..parts };
    let (other, _tasks) = Server::start(parts, &mut Registry::default());
    let body = serde_json::json!({ "kind": "lucky", "total_fen": 500, "shares": 5 });
    let caller = Caller { user: &bench.sender, groups: &[], class: None };
    let key = RequestKey::parse("k");
    let id = (2..).map(|number| bench.id(number)).find(|id| id.slot() != made.id.slot()).unwrap();
    let asked = other.create(id, serde_json::from_value(body).unwrap(), key, &caller, Seed::new([2; 32])).await;
    assert!(matches!(asked, Err(Refusal::HeldElsewhere(first)) if first == made.id), "{asked:?}");
}
