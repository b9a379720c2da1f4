//! Who is let in to a lane: over a real store that a guard holds or slows down.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hongbao_core::fence::Fence;
use hongbao_core::id::Fold;
use hongbao_core::ticket::TicketKey;
use hongbao_core::wire::Outcome;
use hongbao_core::{Clock as _, Envelope, EnvelopeId, Fen, Kind, Limits, SystemClock, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Opening, Server, ServerOptions, ServerParts};
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Store, StoreError};
use hongbao_testkit::faults::{FaultInjectingStore, StoreFaults, StoreVerb};
use hongbao_testkit::store_suite::created;
use hongbao_wallet::sqlite::SqliteWallet;
use prometheus_client::registry::Registry;

const PATIENCE: Duration = Duration::from_secs(30);
const LIFETIME_MS: i64 = 3_600_000;

/// Makes appends take time. It holds the thread of the lane, of which there are enough.
#[derive(Default)]
struct Slow {
    us_per_entry: AtomicU64,
    held: AtomicBool,
    /// An append is held now.
    stands: AtomicBool,
}

impl StoreFaults for Slow {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        let StoreVerb::Append(entries) = verb else { return Ok(()) };
        std::thread::sleep(Duration::from_micros(self.us_per_entry.load(Ordering::SeqCst) * entries.len() as u64));
        while self.held.load(Ordering::SeqCst) {
            self.stands.store(true, Ordering::SeqCst);
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }
}

/// A server with one lane.
struct Bench {
    _dir: tempfile::TempDir,
    server: Arc<Server>,
    store: Arc<dyn Store>,
    slow: Arc<Slow>,
}

impl Bench {
    async fn new(lane_queue_max: usize) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let fold = Fold::new(1, 1).unwrap();
        let inner: Arc<dyn Store> = Arc::new(SqliteStore::open(dir.path(), fold, 0, Mode::Volatile).await.unwrap());
        let slow = Arc::new(Slow::default());
        let store: Arc<dyn Store> = Arc::new(FaultInjectingStore::new(inner, slow.clone()));
        let parts = ServerParts {
            store: store.clone(),
            wallet: Arc::new(SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap()),
            clock: Arc::new(SystemClock),
            permits: Arc::new(LocalPermits::new(4)),
            shared: None,
            tickets: TicketKey::new(b"a secret"),
            limits: Limits::default(),
            zone_offset_s: 0,
            fence: Fence::open(),
            // What is let in is answered, however busy this machine is.
            payments: None,
            options: ServerOptions {
                lane_queue_max,
                open_deadline_ms: 30_000,
                answer_within_ms: 40_000,
                ..ServerOptions::default()
            },
        };
        let server = Server::start(parts, &mut Registry::default()).0;
        Bench { _dir: dir, server, store, slow }
    }

    async fn envelope(&self, number: u8, shares: u32) -> EnvelopeId {
        let now = SystemClock.now();
        let id = EnvelopeId::mint(now, [number; 10]);
        let total = Fen::new(i64::from(shares)).unwrap();
        let envelope =
            Envelope { kind: Kind::Equal, total, shares, created_at: now, lifetime_ms: LIFETIME_MS, ..created(id) };
        self.store.create(&[envelope]).await.unwrap();
        self.store.activate(id, now.plus_millis(LIFETIME_MS)).await.unwrap();
        // Live from now on, so that the first openings are not loads.
        let _ = self.server.grab(id, &Caller { user: &user("looks"), groups: &[], class: None }).await.unwrap();
        id
    }

    /// Opens on a task of its own, which has begun when this returns.
    async fn begin(&self, id: EnvelopeId, name: &str) -> tokio::task::JoinHandle<Result<Opening, Refusal>> {
        let (server, user) = (self.server.clone(), user(name));
        let opening = tokio::spawn(async move { open(&server, id, &user).await });
        tokio::task::yield_now().await;
        opening
    }

    /// Waits until an append is held.
    async fn until_held(&self) {
        let deadline = Instant::now() + PATIENCE;
        while !self.slow.stands.load(Ordering::SeqCst) {
            assert!(Instant::now() < deadline, "nothing is written");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

async fn open(server: &Server, id: EnvelopeId, user: &UserId) -> Result<Opening, Refusal> {
    let ticket = TicketKey::new(b"a secret").issue(id, user, SystemClock.now().plus_millis(60_000));
    server.open(id, &Caller { user, groups: &[], class: None }, &ticket, None).await
}

fn opened(answer: Result<Opening, Refusal>) -> (u32, bool) {
    match answer.unwrap().outcome {
        Outcome::Opened { seq, replayed, .. } => (seq, replayed),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_has_opened_is_answered_before_a_lane_that_has_no_room() {
    let bench = Bench::new(1).await;
    let id = bench.envelope(1, 10).await;
    assert_eq!(opened(open(&bench.server, id, &user("first")).await), (1, false));
    bench.slow.held.store(true, Ordering::SeqCst);
    let second = bench.begin(id, "second").await;
    bench.until_held().await;

    assert!(matches!(open(&bench.server, id, &user("third")).await, Err(Refusal::Busy)));
    let again = open(&bench.server, id, &user("first")).await.unwrap();
    assert_eq!(again.accepted, None, "it had no place in the lane");
    assert_eq!(opened(Ok(again)), (1, true));

    bench.slow.held.store(false, Ordering::SeqCst);
    assert_eq!(opened(second.await.unwrap()), (2, false));
    assert_eq!(opened(open(&bench.server, id, &user("third")).await), (3, false), "the place is free again");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_envelope_that_everybody_opens_leaves_half_of_its_lane_to_others() {
    let bench = Bench::new(64).await;
    let (hot, cold) = (bench.envelope(1, 1_000).await, bench.envelope(2, 1_000).await);
    bench.slow.held.store(true, Ordering::SeqCst);
    let mut waiting = vec![bench.begin(hot, "hot-0").await];
    bench.until_held().await;
    for number in 1..400 {
        waiting.push(bench.begin(hot, &format!("hot-{number}")).await);
    }
    // Those that are refused say so at once.
    let deadline = Instant::now() + PATIENCE;
    while waiting.iter().filter(|opening| opening.is_finished()).count() < 400 - 32 {
        assert!(Instant::now() < deadline, "more than half of the places went to one envelope");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let mut others = Vec::new();
    for number in 0..16 {
        others.push(bench.begin(cold, &format!("cold-{number}")).await);
    }
    bench.slow.held.store(false, Ordering::SeqCst);
    for other in others {
        opened(other.await.unwrap());
    }
    let mut places = 0;
    for opening in waiting {
        match opening.await.unwrap() {
            Err(Refusal::Busy) => {}
            answer => {
                opened(answer);
                places += 1;
            }
        }
    }
    assert_eq!(places, 32);
}

/// 400 users who never give up, and others who open one envelope after the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn neighbours_of_an_envelope_that_400_users_hammer_are_never_refused() {
    let bench = Bench::new(64).await;
    bench.slow.us_per_entry.store(100, Ordering::SeqCst);
    let hot = bench.envelope(1, 1_000_000).await;
    let over = Arc::new(AtomicBool::new(false));
    let hammering: Vec<_> = (0..400)
        .map(|number| {
            let (server, over) = (bench.server.clone(), over.clone());
            tokio::spawn(async move {
                let mut round = 0;
                while !over.load(Ordering::SeqCst) {
                    let name = user(&format!("hot-{number}-{round}"));
                    // Refused or not: the next one.
                    let _ = open(&server, hot, &name).await;
                    round += 1;
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            })
        })
        .collect();
    let mut refused = 0;
    for number in 0..8 {
        let cold = bench.envelope(10 + number, 25).await;
        for opener in 0..25 {
            let answer = open(&bench.server, cold, &user(&format!("cold-{opener}"))).await;
            refused += u32::from(matches!(answer, Err(Refusal::Busy)));
        }
    }
    over.store(true, Ordering::SeqCst);
    for user in hammering {
        user.await.unwrap();
    }
    assert_eq!(refused, 0, "of 200 openings of other envelopes");
}

/// A store that writes 1,000 openings a second, and three times as many that want to.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_a_slow_store_could_not_write_in_time_is_refused_at_once() {
    let bench = Bench::new(ServerOptions::default().lane_queue_max).await;
    bench.slow.us_per_entry.store(1_000, Ordering::SeqCst);
    let id = bench.envelope(1, 1_000_000).await;
    let began = Instant::now();
    let (mut openings, mut offered) = (Vec::new(), 0);
    while began.elapsed() < Duration::from_secs(5) {
        tokio::time::sleep(Duration::from_millis(2)).await;
        while offered < (began.elapsed().as_secs_f64() * 3_000.0) as u32 {
            let (server, name, asked_at) = (bench.server.clone(), user(&format!("user-{offered}")), began.elapsed());
            openings.push(tokio::spawn(async move {
                let asked = Instant::now();
                let answer = open(&server, id, &name).await;
                (answer, asked.elapsed(), asked_at)
            }));
            offered += 1;
        }
    }
    let (mut took, mut refused, mut written) = (Vec::new(), 0, 0);
    for opening in openings {
        let (answer, time, asked_at) = opening.await.unwrap();
        match answer {
            Err(Refusal::Busy) => refused += 1,
            answer => {
                assert!(!opened(answer).1);
                written += 1;
                // At first it is not known how slow the store is.
                if asked_at > Duration::from_secs(3) {
                    took.push(time);
                }
            }
        }
    }
    took.sort();
    let median = took[took.len() / 2];
    eprintln!("{written} opened, {refused} of {offered} refused, median {median:?}");
    // So many are under way at once (Little's law), however slow this machine is: a limit in number
    // lets in a thousand of one envelope.
    let under_way = took.len() as f64 / 2.0 * median.as_secs_f64();
    assert!(under_way < 600.0, "{under_way} under way, {median:?}");
    assert!(refused > offered / 3, "{refused} of {offered}");
}
