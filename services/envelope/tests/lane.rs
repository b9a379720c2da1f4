//! A lane, stepped by hand, on a real store that a guard makes fail on demand.

use std::collections::HashSet;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

use hongbao_core::id::Fold;
use hongbao_core::time::ManualClock;
use hongbao_core::{Clock, Entry, EntryKind, Envelope, EnvelopeId, Fen, Journal, Kind, Timestamp, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::answer::OpenAnswer;
use hongbao_envelope::context::OpeningContext;
use hongbao_envelope::direct;
use hongbao_envelope::lane::{Lane, OpenJob};
use hongbao_envelope::live::LiveEnvelopes;
use hongbao_envelope::metrics::ServerMetrics;
use hongbao_envelope::permits::LocalPermits;
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Append, DatabaseClock, Store, StoreError};
use hongbao_testkit::faults::{FaultInjectingStore, StoreFaults, StoreVerb};
use hongbao_testkit::store_suite::created;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;

const START: Timestamp = Timestamp::from_millis(1_771_254_000_000);
const LIFETIME_MS: i64 = 3_600_000;

/// What goes wrong with appends, and how many there were.
#[derive(Default)]
struct Faults {
    appends: AtomicU32,
    /// A batch with this user's opening cannot be written.
    unwritable: Option<UserId>,
    /// So many appends are executed without anybody being told.
    unconfirmed: AtomicI64,
    /// Nothing can be written.
    gone: bool,
    /// A batch with this user's opening panics.
    panics: Option<UserId>,
    /// So many appends are not executed, which nobody knows.
    lost: AtomicI64,
    /// The envelopes expire, by this clock, while such an append is lost.
    expires: Mutex<Option<Arc<ManualClock>>>,
    /// Another owner commits this just before the next append.
    overtakes: Mutex<Option<(Arc<dyn Store>, Entry)>>,
    /// The clock of the database.
    database_clock: Option<Timestamp>,
    /// The epoch of the database.
    epoch: AtomicU64,
    /// How many openings wait, as the metric said during the last append.
    queue_depth: (Gauge, AtomicI64),
}

impl StoreFaults for Faults {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        let StoreVerb::Append(entries) = verb else { return Ok(()) };
        self.appends.fetch_add(1, Ordering::SeqCst);
        self.queue_depth.1.store(self.queue_depth.0.get(), Ordering::SeqCst);
        let opens = |user: &Option<UserId>| {
            let kind = user.clone().map(EntryKind::Open);
            entries.iter().any(|entry| Some(&entry.kind) == kind.as_ref())
        };
        assert!(!opens(&self.panics), "a defect in the store");
        if self.gone || opens(&self.unwritable) {
            return Err(StoreError::Unavailable("cannot be written".to_owned()));
        }
        let overtakes = self.overtakes.lock().unwrap().take();
        if let Some((store, entry)) = overtakes {
            assert_eq!(store.append(&[entry]).await?, Append::Done);
        }
        if self.lost.fetch_sub(1, Ordering::SeqCst) > 0 {
            if let Some(clock) = &*self.expires.lock().unwrap() {
                clock.advance_millis(LIFETIME_MS);
            }
            return Err(StoreError::Unknown("no word came back".to_owned()));
        }
        Ok(())
    }

    async fn after(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        if matches!(verb, StoreVerb::Append(_)) && self.unconfirmed.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Err(StoreError::Unknown("no word came back".to_owned()));
        }
        Ok(())
    }

    fn clock(&self, of_database: Option<Timestamp>) -> Option<Timestamp> {
        self.database_clock.or(of_database)
    }

    fn epoch(&self, _: u64) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

/// A server's lane and what it stands on.
struct Bench {
    _dir: tempfile::TempDir,
    store: Arc<dyn Store>,
    context: Arc<OpeningContext>,
    lane: Lane,
    clock: Arc<ManualClock>,
    faults: Arc<Faults>,
}

impl Bench {
    async fn new(mut faults: Faults) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let fold = Fold::new(1, 1).unwrap();
        let store: Arc<dyn Store> = Arc::new(SqliteStore::open(dir.path(), fold, 0, Mode::Volatile).await.unwrap());
        let clock = Arc::new(ManualClock::at(START));
        let metrics = ServerMetrics::register(&mut Registry::default(), "").lane(0);
        faults.queue_depth.0 = metrics.queue_depth.clone();
        let faults = Arc::new(faults);
        let faulty: Arc<dyn Store> = Arc::new(FaultInjectingStore::new(store.clone(), faults.clone()));
        let context = Arc::new(OpeningContext {
            database_clock: Arc::new(DatabaseClock::new(faulty.clone(), clock.clone())),
            store: faulty,
            live: Arc::new(LiveEnvelopes::new(1_000, 16)),
            permits: Arc::new(LocalPermits::new(4)),
            clock: clock.clone(),
            metrics,
        });
        Bench { _dir: dir, store, lane: Lane::new(context.clone()), context, clock, faults }
    }

    /// A paid envelope of 10 fen a share.
    async fn envelope(&self, number: u8, shares: u32) -> EnvelopeId {
        let id = EnvelopeId::mint(START, [number; 10]);
        let total = Fen::new(i64::from(shares) * 10).unwrap();
        let envelope =
            Envelope { kind: Kind::Equal, total, shares, created_at: START, lifetime_ms: LIFETIME_MS, ..created(id) };
        self.store.create(&[envelope]).await.unwrap();
        self.store.activate(id, self.clock.now().plus_millis(LIFETIME_MS)).await.unwrap();
        id
    }

    /// Puts openings into one batch, in this order, and gives their answers.
    async fn batch(&self, openings: &[(EnvelopeId, &str)]) -> Vec<OpenAnswer> {
        self.process(openings, true).await
    }

    /// The same of jobs that open nothing.
    async fn questions(&self, asked: &[(EnvelopeId, &str)]) -> Vec<OpenAnswer> {
        self.process(asked, false).await
    }

    async fn process(&self, openings: &[(EnvelopeId, &str)], opens: bool) -> Vec<OpenAnswer> {
        let (mut jobs, mut answers) = (Vec::new(), Vec::new());
        for (id, name) in openings {
            let now = self.clock.now();
            let live = self.context.live.get_or_load(*id, &*self.store, now).await.unwrap();
            let (answer, answered) = oneshot::channel();
            let deadline = now.plus_millis(1_000);
            jobs.push(OpenJob {
                live,
                user: user(name),
                accepted: Instant::now(),
                deadline,
                answer,
                place: None,
                opens,
                request: None,
            });
            answers.push(answered);
        }
        self.lane.process(&mut jobs).await;
        assert!(jobs.is_empty());
        answers.iter_mut().map(|answer| answer.try_recv().expect("every opening is answered")).collect()
    }

    async fn openers(&self, id: EnvelopeId) -> Vec<String> {
        let entries = self.store.entries(id, 0, u32::MAX).await.unwrap();
        let name = |entry: &Entry| match &entry.kind {
            EntryKind::Open(user) => user.to_string(),
            EntryKind::Refund => "refund".to_owned(),
        };
        entries.iter().map(name).collect()
    }

    /// Another owner of the envelope opens it for `name`, past this lane's memory.
    async fn open_elsewhere(&self, id: EnvelopeId, name: &str) {
        let entry = self.opening_elsewhere(id, name).await;
        assert_eq!(self.store.append(&[entry]).await.unwrap(), Append::Done);
    }

    /// What another owner of the envelope decides for `name`, and has not written.
    async fn opening_elsewhere(&self, id: EnvelopeId, name: &str) -> Entry {
        let (envelope, fold) = self.store.load(id).await.unwrap().unwrap();
        Entry {
            envelope_id: id,
            seq: fold.last_seq + 1,
            kind: EntryKind::Open(user(name)),
            amount: envelope.share(fold.last_seq + 1, fold.remaining),
            remaining: Fen::new(fold.remaining.get() - 10).unwrap(),
            at: self.clock.now(),
        }
    }

    fn appends(&self) -> u32 {
        self.faults.appends.load(Ordering::SeqCst)
    }
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn seq_of(answer: &OpenAnswer) -> Option<(u32, bool)> {
    match answer {
        OpenAnswer::Opened { opened, replayed } => Some((opened.seq, *replayed)),
        _ => None,
    }
}

/// I4.
#[tokio::test]
async fn openings_of_an_envelope_are_committed_in_the_order_of_their_acceptance() {
    let bench = Bench::new(Faults::default()).await;
    let (a, b) = (bench.envelope(1, 100).await, bench.envelope(2, 100).await);
    let names: Vec<String> = (0..100).map(|number| format!("u{}", number * 37 % 100)).collect();
    let openings: Vec<(EnvelopeId, &str)> =
        names.iter().enumerate().map(|(index, name)| (if index % 3 == 0 { b } else { a }, name.as_str())).collect();
    let answers = bench.batch(&openings).await;

    for id in [a, b] {
        let accepted: Vec<&str> = openings.iter().filter(|(to, _)| *to == id).map(|(_, name)| *name).collect();
        assert_eq!(bench.openers(id).await, accepted);
        let seqs: Vec<u32> = openings
            .iter()
            .zip(&answers)
            .filter(|((to, _), _)| *to == id)
            .map(|(_, answer)| seq_of(answer).unwrap().0)
            .collect();
        assert!(seqs.is_sorted(), "{seqs:?}");
    }
    assert_eq!(bench.appends(), 1, "a batch over two envelopes is one transaction");
}

/// I2.
#[tokio::test]
async fn a_user_who_is_twice_in_a_batch_gets_one_share() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 3).await;
    let answers = bench.batch(&[(id, "li"), (id, "li"), (id, "wang"), (id, "li")]).await;
    let seqs: Vec<_> = answers.iter().filter_map(seq_of).collect();
    assert_eq!(seqs, [(1, false), (1, true), (2, false), (1, true)]);
    assert_eq!(bench.openers(id).await, ["li", "wang"]);
}

#[tokio::test]
async fn what_the_last_share_leaves_is_nothing() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 2).await;
    let answers = bench.batch(&[(id, "a"), (id, "b"), (id, "c")]).await;
    assert_eq!(answers[2], OpenAnswer::Empty);
    assert_eq!(bench.batch(&[(id, "a"), (id, "d")]).await[1], OpenAnswer::Empty);
    assert_eq!(bench.appends(), 1, "answers from memory write nothing");
}

#[tokio::test]
async fn a_late_opening_is_dropped_before_its_transaction() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 2).await;
    let live = bench.context.live.get_or_load(id, &*bench.store, START).await.unwrap();
    let (answer, mut answered) = oneshot::channel();
    let mut jobs = vec![OpenJob {
        live,
        user: user("late"),
        accepted: Instant::now(),
        deadline: START,
        answer,
        place: None,
        opens: true,
        request: None,
    }];
    bench.lane.process(&mut jobs).await;
    assert_eq!(answered.try_recv().unwrap(), OpenAnswer::Busy);
    assert!(bench.openers(id).await.is_empty());
}

#[tokio::test]
async fn one_opening_that_cannot_be_written_does_not_fail_its_neighbours() {
    let bench = Bench::new(Faults { unwritable: Some(user("bad")), ..Faults::default() }).await;
    let id = bench.envelope(1, 5).await;
    let answers = bench.batch(&[(id, "a"), (id, "bad"), (id, "b"), (id, "c")]).await;
    assert!(matches!(answers[1], OpenAnswer::Unavailable(_)));
    let seqs: Vec<_> = answers.iter().filter_map(seq_of).collect();
    assert_eq!(seqs, [(1, false), (2, false), (3, false)]);
    assert_eq!(bench.openers(id).await, ["a", "b", "c"], "I4 holds in the replay, too");
}

#[tokio::test]
async fn when_the_database_is_gone_the_rest_of_a_batch_is_refused_unasked() {
    let bench = Bench::new(Faults { gone: true, ..Faults::default() }).await;
    let id = bench.envelope(1, 100).await;
    let names: Vec<String> = (0..100).map(|number| format!("u{number}")).collect();
    let openings: Vec<(EnvelopeId, &str)> = names.iter().map(|name| (id, name.as_str())).collect();
    let answers = bench.batch(&openings).await;
    assert!(answers.iter().all(|answer| matches!(answer, OpenAnswer::Unavailable(_))));
    assert!(bench.appends() <= 5, "{} attempts", bench.appends());
}

/// I3, I6: the answer comes from what the database has, and nothing is written twice.
#[tokio::test]
async fn a_commit_that_nobody_confirmed_is_settled_from_the_database() {
    let bench = Bench::new(Faults { unconfirmed: AtomicI64::new(1), ..Faults::default() }).await;
    let id = bench.envelope(1, 5).await;
    let answers = bench.batch(&[(id, "a"), (id, "b")]).await;
    let seqs: Vec<_> = answers.iter().filter_map(seq_of).collect();
    assert_eq!(seqs, [(1, true), (2, true)]);
    assert_eq!(bench.openers(id).await, ["a", "b"]);
}

#[tokio::test]
async fn a_commit_that_is_never_confirmed_is_answered_as_unknown_or_as_it_is() {
    let bench = Bench::new(Faults { unconfirmed: AtomicI64::new(i64::MAX), ..Faults::default() }).await;
    let id = bench.envelope(1, 5).await;
    let answers = bench.batch(&[(id, "a"), (id, "b")]).await;
    // Each was written; reading it again told so.
    assert_eq!(answers.iter().filter_map(seq_of).collect::<Vec<_>>(), [(1, true), (2, true)]);
    assert_eq!(bench.openers(id).await, ["a", "b"]);
}

/// I5.
#[tokio::test]
async fn a_lost_fence_drops_the_memory_and_decides_again_in_the_same_order() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 4).await;
    bench.batch(&[(id, "a")]).await;
    bench.open_elsewhere(id, "x").await;
    let answers = bench.batch(&[(id, "b"), (id, "x"), (id, "c"), (id, "d")]).await;
    assert_eq!(
        answers.iter().map(seq_of).collect::<Vec<_>>(),
        [Some((3, false)), Some((2, true)), Some((4, false)), None]
    );
    assert_eq!(answers[3], OpenAnswer::Empty);
    assert_eq!(bench.openers(id).await, ["a", "x", "b", "c"]);
    assert_eq!(bench.appends(), 3, "the failed batch was written once more as a whole");
}

/// I1: the database was restored to a moment before the last entry, or is
/// another node that lacks it. The fence alone would let a gap through.
#[tokio::test]
async fn a_memory_that_is_ahead_of_a_restored_database_writes_no_gap() {
    let bench = Bench::new(Faults::default()).await;
    let (a, b) = (bench.envelope(1, 4).await, bench.envelope(2, 4).await);
    for id in [a, b] {
        bench.batch(&[(id, "kept")]).await;
        let live = bench.context.live.get(id, &*bench.context.store, START).unwrap();
        let lost = Entry {
            envelope_id: id,
            seq: 2,
            kind: EntryKind::Open(user("lost")),
            amount: Fen::new(10).unwrap(),
            remaining: Fen::new(20).unwrap(),
            at: START,
        };
        bench.context.live.committed(&live, [&lost].into_iter());
    }
    let waiting = bench.context.live.get(a, &*bench.context.store, START).unwrap();

    bench.faults.epoch.fetch_add(1, Ordering::SeqCst);
    assert!(bench.context.live.get(b, &*bench.context.store, START).is_none(), "reads do not see it either");

    // One opening was accepted with the old copy, the other finds a new one.
    let (answer, mut answered) = oneshot::channel();
    let deadline = START.plus_millis(1_000);
    let mut jobs = vec![OpenJob {
        live: waiting,
        user: user("next"),
        accepted: Instant::now(),
        deadline,
        answer,
        place: None,
        opens: true,
        request: None,
    }];
    bench.lane.process(&mut jobs).await;
    assert_eq!(seq_of(&answered.try_recv().unwrap()), Some((2, false)));
    let answers = bench.batch(&[(b, "lost"), (b, "next")]).await;
    assert_eq!(answers.iter().map(seq_of).collect::<Vec<_>>(), [Some((2, false)), Some((3, false))]);
    assert_eq!(bench.openers(a).await, ["kept", "next"]);
    assert_eq!(bench.openers(b).await, ["kept", "lost", "next"]);
}

#[tokio::test]
async fn a_batch_that_lost_the_fence_is_written_again_as_a_whole() {
    let bench = Bench::new(Faults::default()).await;
    let mut openings = Vec::new();
    for number in 0..40 {
        let id = bench.envelope(number, 10).await;
        bench.batch(&[(id, "a")]).await;
        bench.open_elsewhere(id, "x").await;
        openings.extend([(id, "b"), (id, "c")]);
    }
    let before = bench.appends();
    let answers = bench.batch(&openings).await;
    assert!(answers.iter().all(|answer| seq_of(answer).is_some()));
    assert_eq!(bench.appends() - before, 2);
}

#[tokio::test]
async fn an_expired_envelope_still_knows_who_opened_it_elsewhere() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 4).await;
    bench.batch(&[(id, "a")]).await;
    bench.open_elsewhere(id, "x").await;
    bench.clock.advance_millis(LIFETIME_MS);
    let answers = bench.batch(&[(id, "x"), (id, "y")]).await;
    assert_eq!(seq_of(&answers[0]), Some((2, true)));
    assert_eq!(answers[1], OpenAnswer::Expired);
}

/// An opening that was decided before the expiry, and is committed when somebody has been told "expired".
#[tokio::test]
async fn no_opening_follows_an_answer_that_the_envelope_has_expired() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 2).await;
    bench.batch(&[(id, "a")]).await;
    let late = bench.opening_elsewhere(id, "x").await;
    bench.clock.advance_millis(LIFETIME_MS);
    assert_eq!(bench.batch(&[(id, "y"), (id, "z")]).await, [OpenAnswer::Expired, OpenAnswer::Expired]);
    assert_eq!(bench.openers(id).await, ["a", "refund"]);
    assert_eq!(bench.store.append(&[late]).await.unwrap(), Append::Fenced);
    assert_eq!(bench.batch(&[(id, "y")]).await, [OpenAnswer::Expired]);
}

#[tokio::test]
async fn an_opening_that_is_committed_just_before_the_refund_makes_the_answer_empty() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 2).await;
    bench.batch(&[(id, "a")]).await;
    let last = bench.opening_elsewhere(id, "x").await;
    bench.clock.advance_millis(LIFETIME_MS);
    *bench.faults.overtakes.lock().unwrap() = Some((bench.store.clone(), last));
    assert_eq!(bench.batch(&[(id, "y"), (id, "z")]).await, [OpenAnswer::Empty, OpenAnswer::Empty]);
    assert_eq!(bench.openers(id).await, ["a", "x"]);
}

#[tokio::test]
async fn a_refund_that_nobody_confirmed_is_looked_for_before_the_answer() {
    let bench = Bench::new(Faults { unconfirmed: AtomicI64::new(1), ..Faults::default() }).await;
    let id = bench.envelope(1, 2).await;
    bench.clock.advance_millis(LIFETIME_MS);
    assert_eq!(bench.batch(&[(id, "y")]).await, [OpenAnswer::Expired]);
    assert_eq!(bench.openers(id).await, ["refund"]);
    assert_eq!(bench.appends(), 1);
}

#[tokio::test]
async fn an_expired_envelope_whose_refund_cannot_be_written_has_no_answer() {
    let bench = Bench::new(Faults { gone: true, ..Faults::default() }).await;
    let id = bench.envelope(1, 2).await;
    bench.clock.advance_millis(LIFETIME_MS);
    let answers = bench.batch(&[(id, "y")]).await;
    assert!(matches!(answers[..], [OpenAnswer::Unavailable(_)]), "{answers:?}");
}

/// What a grab asks of an expired envelope takes no share of one that has not expired.
#[tokio::test]
async fn a_question_opens_nothing_and_refunds_what_has_expired() {
    let bench = Bench::new(Faults::default()).await;
    let (a, b) = (bench.envelope(1, 2).await, bench.envelope(2, 2).await);
    let deadline = START.plus_millis(2 * LIFETIME_MS);
    let ask = async |id| direct::open(&bench.context, id, &user("x"), false, deadline).await;
    assert_eq!(ask(a).await, OpenAnswer::Busy);
    assert_eq!(bench.questions(&[(b, "x")]).await, [OpenAnswer::Busy]);
    assert_eq!((bench.openers(a).await.len(), bench.openers(b).await.len()), (0, 0));
    bench.clock.advance_millis(LIFETIME_MS);
    assert_eq!(ask(a).await, OpenAnswer::Expired);
    assert_eq!(bench.questions(&[(b, "x")]).await, [OpenAnswer::Expired]);
    assert_eq!(
        (bench.openers(a).await, bench.openers(b).await),
        (vec!["refund".to_owned()], vec!["refund".to_owned()])
    );
}

#[tokio::test]
async fn a_server_with_a_wrong_clock_refunds_nothing() {
    let bench = Bench::new(Faults { database_clock: Some(START), ..Faults::default() }).await;
    let id = bench.envelope(1, 2).await;
    bench.clock.advance_millis(LIFETIME_MS);
    let answers = bench.batch(&[(id, "y"), (id, "z")]).await;
    let is_refused =
        |answer: &OpenAnswer| matches!(answer, OpenAnswer::Unavailable(reason) if reason.contains("clock"));
    assert!(answers.iter().all(is_refused), "{answers:?}");
    assert!(bench.openers(id).await.is_empty());
}

/// An opening without a lane whose first commit nobody confirmed, and whose
/// envelope expires before the second: the refund takes its place before the answer.
#[tokio::test]
async fn without_a_lane_an_opening_in_doubt_is_too_late_once_the_refund_has_its_place() {
    let bench = Bench::new(Faults { lost: AtomicI64::new(1), ..Faults::default() }).await;
    let id = bench.envelope(1, 4).await;
    let first = bench.opening_elsewhere(id, "a").await;
    *bench.faults.expires.lock().unwrap() = Some(bench.clock.clone());
    let deadline = START.plus_millis(2 * LIFETIME_MS);
    let answer = direct::open(&bench.context, id, &user("a"), true, deadline).await;
    assert_eq!(answer, OpenAnswer::Expired);
    assert_eq!(bench.openers(id).await, ["refund"]);
    assert_eq!(bench.store.append(&[first]).await.unwrap(), Append::Fenced);
}

#[tokio::test]
async fn an_envelope_over_its_cap_is_busy_and_the_others_are_not() {
    let bench = Bench::new(Faults::default()).await;
    let (a, b) = (bench.envelope(1, 4).await, bench.envelope(2, 4).await);
    for _ in 0..4 {
        assert_eq!(bench.context.permits.enter(&[a]).await, [true]);
    }
    let answers = bench.batch(&[(a, "x"), (b, "x"), (a, "y")]).await;
    assert_eq!(answers[0], OpenAnswer::Busy);
    assert_eq!(seq_of(&answers[1]), Some((1, false)));
    assert_eq!(answers[2], OpenAnswer::Busy);
    bench.context.permits.leave(&[a]);
    assert!(seq_of(&bench.batch(&[(a, "x")]).await[0]).is_some());
    assert_eq!(bench.context.permits.enter(&[a]).await, [true], "the lane has given its permit back");
}

/// The memory has room for 1,000 envelopes, and is divided into parts.
#[tokio::test]
async fn an_envelope_with_more_openers_than_a_part_of_the_memory_has_room_for_stays_in_memory() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 6_000).await;
    let names: Vec<String> = (0..5_000).map(|number| format!("u{number}")).collect();
    for part in names.chunks(1_000) {
        let openings: Vec<(EnvelopeId, &str)> = part.iter().map(|name| (id, name.as_str())).collect();
        assert!(bench.batch(&openings).await.iter().all(|answer| seq_of(answer).is_some()));
    }
    let live = bench.context.live.get(id, &*bench.store, START).expect("it is still in memory");
    assert_eq!(live.journal().open_count(), 5_000);
}

#[tokio::test]
async fn openings_count_as_waiting_until_their_batch_is_committed() {
    let bench = Bench::new(Faults::default()).await;
    let live = bench.context.live.get_or_load(bench.envelope(1, 4).await, &*bench.store, START).await.unwrap();
    let (queue, waiting) = tokio::sync::mpsc::channel(8);
    for name in ["a", "b", "c"] {
        let (answer, _) = oneshot::channel();
        let deadline = START.plus_millis(1_000);
        let job = OpenJob {
            live: live.clone(),
            user: user(name),
            accepted: Instant::now(),
            deadline,
            answer,
            place: None,
            opens: true,
            request: None,
        };
        queue.try_send(job).ok().unwrap();
    }
    drop(queue);
    Lane::new(bench.context.clone()).run(waiting).await;
    assert_eq!(bench.faults.queue_depth.1.load(Ordering::SeqCst), 3);
    assert_eq!(bench.context.metrics.queue_depth.get(), 0, "all are answered");
}

#[tokio::test]
async fn a_batch_that_panics_leaves_a_lane_that_works() {
    let bench = Bench::new(Faults { panics: Some(user("bad")), ..Faults::default() }).await;
    let id = bench.envelope(1, 4).await;
    let live = bench.context.live.get_or_load(id, &*bench.store, START).await.unwrap();
    let (queue, waiting) = tokio::sync::mpsc::channel(8);
    let lane = tokio::spawn(Lane::new(bench.context.clone()).run(waiting));
    let open = async |name: &str| {
        let (answer, answered) = oneshot::channel();
        let deadline = START.plus_millis(1_000);
        let job = OpenJob {
            live: live.clone(),
            user: user(name),
            accepted: Instant::now(),
            deadline,
            answer,
            place: None,
            opens: true,
            request: None,
        };
        queue.try_send(job).ok().unwrap();
        answered.await
    };
    assert!(open("bad").await.is_err(), "no answer: the outcome is unknown");
    assert_eq!(seq_of(&open("good").await.unwrap()), Some((1, false)));
    drop(queue);
    lane.await.unwrap();
}

/// Two owners, each with a memory of its own, one envelope: one order (I5).
#[tokio::test]
async fn two_lanes_that_own_the_same_envelope_give_each_share_once() {
    let bench = Bench::new(Faults::default()).await;
    let id = bench.envelope(1, 40).await;
    let other = Arc::new(OpeningContext {
        store: bench.store.clone(),
        live: Arc::new(LiveEnvelopes::new(1_000, 16)),
        permits: Arc::new(LocalPermits::new(4)),
        clock: bench.clock.clone(),
        database_clock: bench.context.database_clock.clone(),
        metrics: bench.context.metrics.clone(),
    });
    let twin = Bench {
        _dir: tempfile::tempdir().unwrap(),
        store: bench.store.clone(),
        lane: Lane::new(other.clone()),
        context: other,
        clock: bench.clock.clone(),
        faults: Arc::default(),
    };
    for round in 0..10 {
        let names: Vec<String> = (0..3).map(|number| format!("u{}", round * 3 + number)).collect();
        let openings: Vec<(EnvelopeId, &str)> = names.iter().map(|name| (id, name.as_str())).collect();
        let (ours, theirs) = tokio::join!(bench.batch(&openings), twin.batch(&openings));
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let ((seq, first), (same, second)) = (seq_of(ours).unwrap(), seq_of(theirs).unwrap());
            assert_eq!(seq, same, "both owners tell the same");
            assert!(first != second, "one of them opened, the other repeated it");
        }
    }
    let openers = bench.openers(id).await;
    assert_eq!(openers.len(), 30);
    assert_eq!(openers.iter().collect::<HashSet<_>>().len(), 30);
    let (_, Journal { remaining, .. }) = bench.store.load(id).await.unwrap().unwrap();
    assert_eq!(remaining.get(), 100, "I1");
}
