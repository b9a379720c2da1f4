//! A server's lane, stepped by hand, on a real store whose appends fail on demand.

use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use hongbao_core::id::Fold;
use hongbao_core::time::ManualClock;
use hongbao_core::{Clock, Entry, EntryKind, Envelope, EnvelopeId, Fen, Kind, Timestamp, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::answer::OpenAnswer;
use hongbao_envelope::context::OpeningContext;
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

pub const START: Timestamp = Timestamp::from_millis(1_771_254_000_000);
pub const LIFETIME_MS: i64 = 3_600_000;

/// What goes wrong with appends, and how many there were.
#[derive(Default)]
pub struct Faults {
    pub appends: AtomicU32,
    /// A batch with this user's opening cannot be written.
    pub unwritable: Option<UserId>,
    /// So many appends are executed, and their outcome is unknown.
    pub unconfirmed: AtomicI64,
    /// Nothing can be written.
    pub gone: bool,
    /// A batch with this user's opening panics.
    pub panics: Option<UserId>,
    /// So many appends are not executed, and their outcome is unknown.
    pub lost: AtomicI64,
    /// The envelopes expire, by this clock, while such an append is lost.
    pub expires: Mutex<Option<Arc<ManualClock>>>,
    /// Another owner commits this just before the next append.
    pub overtakes: Mutex<Option<(Arc<dyn Store>, Entry)>>,
    /// The clock of the database.
    pub database_clock: Option<Timestamp>,
    /// The epoch of the database.
    pub epoch: AtomicU64,
    /// How many openings wait, as the metric said during the last append.
    pub queue_depth: (Gauge, AtomicI64),
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
            return Err(StoreError::Unknown("the connection is gone".to_owned()));
        }
        Ok(())
    }

    async fn after(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        if matches!(verb, StoreVerb::Append(_)) && self.unconfirmed.fetch_sub(1, Ordering::SeqCst) > 0 {
            return Err(StoreError::Unknown("the connection is gone".to_owned()));
        }
        Ok(())
    }

    fn clock(&self, of_database: Option<RangeInclusive<Timestamp>>) -> Option<RangeInclusive<Timestamp>> {
        self.database_clock.map(|clock| clock..=clock).or(of_database)
    }

    fn epoch(&self, _: u64) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

/// A server's lane and what it stands on.
pub struct Bench {
    _dir: tempfile::TempDir,
    pub store: Arc<dyn Store>,
    pub context: Arc<OpeningContext>,
    pub lane: Lane,
    pub clock: Arc<ManualClock>,
    pub faults: Arc<Faults>,
}

impl Bench {
    pub async fn new(mut faults: Faults) -> Bench {
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

    /// A lane of another server over the same store, with a memory of its own.
    pub fn another_owner(&self) -> Bench {
        let context = Arc::new(OpeningContext {
            store: self.store.clone(),
            live: Arc::new(LiveEnvelopes::new(1_000, 16)),
            permits: Arc::new(LocalPermits::new(4)),
            clock: self.clock.clone(),
            database_clock: self.context.database_clock.clone(),
            metrics: self.context.metrics.clone(),
        });
        Bench {
            _dir: tempfile::tempdir().unwrap(),
            store: self.store.clone(),
            lane: Lane::new(context.clone()),
            context,
            clock: self.clock.clone(),
            faults: Arc::default(),
        }
    }

    /// A paid envelope of 10 fen a share.
    pub async fn envelope(&self, number: u8, shares: u32) -> EnvelopeId {
        let id = EnvelopeId::mint(START, [number; 10]);
        let total = Fen::new(i64::from(shares) * 10).unwrap();
        let envelope =
            Envelope { kind: Kind::Equal, total, shares, created_at: START, lifetime_ms: LIFETIME_MS, ..created(id) };
        self.store.create(&[envelope]).await.unwrap();
        self.store.activate(id, self.clock.now().plus_millis(LIFETIME_MS)).await.unwrap();
        id
    }

    /// Puts openings into one batch, in this order, and gives their answers.
    pub async fn batch(&self, openings: &[(EnvelopeId, &str)]) -> Vec<OpenAnswer> {
        self.process(openings, true).await
    }

    /// The same of jobs that open nothing.
    pub async fn questions(&self, asked: &[(EnvelopeId, &str)]) -> Vec<OpenAnswer> {
        self.process(asked, false).await
    }

    async fn process(&self, openings: &[(EnvelopeId, &str)], opens: bool) -> Vec<OpenAnswer> {
        let (mut jobs, mut answers) = (Vec::new(), Vec::new());
        for (id, name) in openings {
            let now = self.clock.now();
            let live = self.context.live.get_or_load(*id, &self.store, now).await.unwrap();
            let (job, answered) = OpenJob::new(live, user(name), opens, now.plus_millis(1_000));
            jobs.push(job);
            answers.push(answered);
        }
        self.lane.process(&mut jobs).await;
        assert!(jobs.is_empty());
        answers.iter_mut().map(|answer| answer.try_recv().expect("every opening is answered")).collect()
    }

    pub async fn openers(&self, id: EnvelopeId) -> Vec<String> {
        let entries = self.store.entries(id, 0, u32::MAX).await.unwrap();
        let name = |entry: &Entry| match &entry.kind {
            EntryKind::Open(user) => user.to_string(),
            EntryKind::Refund => "refund".to_owned(),
        };
        entries.iter().map(name).collect()
    }

    /// Another owner of the envelope opens it for `name`, past this lane's memory.
    pub async fn open_elsewhere(&self, id: EnvelopeId, name: &str) {
        let entry = self.opening_elsewhere(id, name).await;
        assert_eq!(self.store.append(&[entry]).await.unwrap(), Append::Done);
    }

    /// What another owner of the envelope decides for `name`, and has not written.
    pub async fn opening_elsewhere(&self, id: EnvelopeId, name: &str) -> Entry {
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

    pub fn appends(&self) -> u32 {
        self.faults.appends.load(Ordering::SeqCst)
    }
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub fn seq_of(answer: &OpenAnswer) -> Option<(u32, bool)> {
    match answer {
        OpenAnswer::Opened { opened, replayed } => Some((opened.seq, *replayed)),
        _ => None,
    }
}
