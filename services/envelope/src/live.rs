//! Live envelopes: what this server remembers of those in use.
//!
//! A copy in memory decides nothing for good. It may be old, because another
//! server or a worker wrote to the journal; then the next opening loses the
//! fence, the copy is dropped and loaded again. Only paid envelopes are kept:
//! what is in [`LiveEnvelope::envelope`] can no longer change.
//!
//! Whoever only wants to see what is missing reads on from the last entry that
//! is remembered: a journal is append-only, so where the database has this very
//! entry, all before it are as they were. That costs what is new, however long
//! the journal is.
//!
//! What is remembered is durable: this server committed it itself, or it was read
//! and a barrier came after ([`Durable`]). So answers from memory, and snapshots
//! made of it, promise nothing that a crash takes back.
//!
//! A copy may also be *ahead* of its database, which was restored to an earlier
//! moment or is another node now. The fence would let its next entry through
//! and leave a gap, so each copy keeps the epoch of its database, and counts for
//! nothing once that has moved.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use hongbao_core::limits::{CATCH_UP_WAIT_MS_MAX, DURABLE_READ_TRIES_MAX, JOURNAL_PAGE_MAX};
use hongbao_core::{Clock, Entry, EntryKind, Envelope, EnvelopeId, Fen, Journal, Opened, Stage, Timestamp, UserId};
use hongbao_database::durable::read_across_a_start;
use hongbao_database::{Durable, Reading};
use hongbao_store::{Store, StoreError};
use indexmap::IndexMap;
use parking_lot::{RwLock, RwLockReadGuard};
use quick_cache::{Weighter, sync::Cache};
use tokio::sync::Semaphore;

use crate::shared::SnapshotCache;

/// One envelope in use.
pub struct LiveEnvelope {
    /// The row, as loaded. Its stage and `settled_seq` are those of the load.
    pub envelope: Envelope,
    journal: RwLock<LiveJournal>,
    /// When nothing was missing, in milliseconds.
    complete_at: AtomicI64,
    /// Held by whoever reads on, so that those who ask at the same time share it.
    reading: tokio::sync::Mutex<()>,
    used_at: AtomicI64,
    /// The openings with which the cache weighed it.
    opens_weighed: AtomicU32,
    database: u8,
    /// The epoch of the database just before it was read.
    epoch: u64,
}

/// The journal of a live envelope, folded, with its openers.
pub struct LiveJournal {
    /// What is left.
    pub fold: Journal,
    /// Openings in order: the one at index `i` has `seq` `i + 1`.
    opens: IndexMap<UserId, (Fen, Timestamp)>,
    luckiest: Option<u32>,
}

impl LiveJournal {
    /// The journal of an envelope that nobody has opened.
    pub(crate) fn empty(total: Fen) -> LiveJournal {
        LiveJournal { fold: Journal::new(total), opens: IndexMap::new(), luckiest: None }
    }

    /// Adds the next entry.
    pub(crate) fn apply(&mut self, entry: &Entry) {
        self.fold = Journal::after(entry);
        if let EntryKind::Open(user) = &entry.kind {
            let best = self.luckiest.and_then(|seq| self.open_at(seq)).map(|(_, opened)| opened.amount);
            if best.is_none_or(|best| entry.amount > best) {
                self.luckiest = Some(entry.seq);
            }
            self.opens.insert(user.clone(), (entry.amount, entry.at));
        }
    }

    /// Adds those of these entries, which are in order, that are not known yet.
    fn add<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) {
        for entry in entries {
            if entry.seq > self.fold.last_seq {
                self.apply(entry);
            }
        }
    }

    /// The last entry of this envelope's journal, as long as it is an opening.
    fn last_open(&self, envelope_id: EnvelopeId) -> Option<Entry> {
        let (user, opened) = self.open_at(self.open_count())?;
        let Journal { last_seq: seq, remaining, .. } = self.fold;
        let kind = EntryKind::Open(user.clone());
        Some(Entry { envelope_id, seq, kind, amount: opened.amount, remaining, at: opened.at })
    }

    /// The user's own opening.
    pub fn opened_by(&self, user: &UserId) -> Option<Opened> {
        self.opens.get_full(user).map(|(index, _, (amount, at))| Opened {
            seq: index as u32 + 1,
            amount: *amount,
            at: *at,
        })
    }

    /// The opening with this `seq`.
    pub fn open_at(&self, seq: u32) -> Option<(&UserId, Opened)> {
        let index = (seq as usize).checked_sub(1)?;
        self.opens.get_index(index).map(|(user, (amount, at))| (user, Opened { seq, amount: *amount, at: *at }))
    }

    /// Openings so far.
    pub fn open_count(&self) -> u32 {
        self.opens.len() as u32
    }

    /// The largest share, the earliest of equals.
    pub fn luckiest(&self) -> Option<(&UserId, Opened)> {
        self.luckiest.and_then(|seq| self.open_at(seq))
    }
}

impl LiveEnvelope {
    /// The journal as of the last commit that this server knows of.
    pub fn journal(&self) -> RwLockReadGuard<'_, LiveJournal> {
        self.journal.read()
    }

    /// Its database may have lost what is remembered here.
    pub fn is_outdated(&self, store: &dyn Store) -> bool {
        store.epoch(self.database) != self.epoch
    }

    /// All of its journal has been credited, which a worker does behind a barrier
    /// of its own: what was read of it is durable.
    fn is_credited(&self) -> bool {
        let last_seq = self.journal().fold.last_seq;
        last_seq > 0 && self.envelope.settled_seq >= last_seq
    }

    /// When nothing was missing, as far as is known: it was read then, or this
    /// server wrote the next entry, which lets no other one be in its place.
    pub fn complete_at(&self) -> Timestamp {
        Timestamp::from_millis(self.complete_at.load(Ordering::Relaxed))
    }

    fn was_complete_at(&self, at: Timestamp) {
        self.complete_at.store(at.millis(), Ordering::Relaxed);
    }

    /// The entries after the last one that is remembered. `None`: the database does
    /// not have that one, so what is remembered is not what happened there.
    async fn missing_entries(&self, store: &dyn Store) -> Result<Option<Vec<Entry>>, StoreError> {
        let last = {
            let journal = self.journal.read();
            if journal.fold.has_ended() || journal.fold.refunded {
                return Ok(Some(Vec::new()));
            }
            journal.last_open(self.envelope.id)
        };
        let Some(last) = last else { return journal_of(self.envelope.id, 0, store).await.map(Some) };
        // From the entry that is known: it comes along, and is compared.
        let mut entries = journal_of(self.envelope.id, last.seq - 1, store).await?;
        if entries.first() != Some(&last) {
            return Ok(None);
        }
        entries.remove(0);
        Ok(Some(entries))
    }
}

/// A journal after `after_seq`, page by page, so that no statement takes long.
async fn journal_of(id: EnvelopeId, after_seq: u32, store: &dyn Store) -> Result<Vec<Entry>, StoreError> {
    let mut entries: Vec<Entry> = Vec::new();
    loop {
        let read_to = entries.last().map_or(after_seq, |last| last.seq);
        let page = store.entries(id, read_to, JOURNAL_PAGE_MAX).await?;
        let is_last = page.len() < JOURNAL_PAGE_MAX as usize;
        entries.extend(page);
        if is_last {
            return Ok(entries);
        }
    }
}

/// [`LiveEnvelope::missing_entries`], with the barrier where there are any.
async fn missing_durably(live: &LiveEnvelope, store: &dyn Store) -> Result<Option<Durable<Vec<Entry>>>, StoreError> {
    for _ in 0..DURABLE_READ_TRIES_MAX {
        let reading = Reading::begin(store);
        let Some(missing) = live.missing_entries(store).await? else { return Ok(None) };
        if missing.is_empty() {
            return Ok(Some(reading.end_proven(missing)));
        }
        if let Some(durable) = reading.end(missing).await? {
            return Ok(Some(durable));
        }
    }
    Err(read_across_a_start().into())
}

/// An idle envelope weighs as much as this many openers.
const ENVELOPE_WEIGHT: u64 = 8;

/// A live envelope as the cache holds it. The cache asks for the weight when it
/// takes an item in and again when it lets it go, and the two must be the same:
/// so it is kept, while the openers grow.
#[derive(Clone)]
struct Cached {
    live: Arc<LiveEnvelope>,
    weight: u64,
}

#[derive(Clone)]
struct KeptWeight;

impl Weighter<EnvelopeId, Cached> for KeptWeight {
    fn weight(&self, _: &EnvelopeId, cached: &Cached) -> u64 {
        cached.weight
    }
}

/// Why an envelope is not live.
#[derive(Debug)]
pub enum NotLive {
    /// There is no such envelope.
    NotFound,
    /// It exists, but it was not paid or was cancelled.
    NotPaid(Box<Envelope>),
    /// Too many loads at the same time.
    Busy,
    /// It could not be read.
    Store(StoreError),
}

/// The live envelopes of a server: bounded, the least used go first, and all
/// that are idle go.
pub struct LiveEnvelopes {
    cache: Cache<EnvelopeId, Cached, KeptWeight>,
    /// The cache takes in nothing that is heavier than one of its shards may be.
    /// The envelope that everybody opens is the last one to be without a memory, so
    /// none counts as heavier than half of that.
    weight_max: u64,
    loads: Semaphore,
    shared: Option<Arc<SnapshotCache>>,
}

impl LiveEnvelopes {
    /// Room for `envelopes_max` idle envelopes, or fewer with many openers;
    /// `loads_max` may be read from the database at the same time.
    pub fn new(envelopes_max: usize, loads_max: usize) -> LiveEnvelopes {
        let capacity = envelopes_max as u64 * ENVELOPE_WEIGHT;
        let cache = Cache::with_weighter(envelopes_max, capacity, KeptWeight);
        LiveEnvelopes {
            weight_max: (capacity / cache.num_shards() as u64 / 2).max(ENVELOPE_WEIGHT),
            cache,
            loads: Semaphore::new(loads_max),
            shared: None,
        }
    }

    /// Shows what it remembers to the other servers of the SET too.
    pub fn shared_through(self, shared: Option<Arc<SnapshotCache>>) -> LiveEnvelopes {
        LiveEnvelopes { shared, ..self }
    }

    /// The envelope from memory, unless its database has moved to another epoch.
    pub fn get(&self, id: EnvelopeId, store: &dyn Store, now: Timestamp) -> Option<Arc<LiveEnvelope>> {
        let live = self.cache.get(&id)?.live;
        if live.is_outdated(store) {
            self.forget_copy(&live);
            return None;
        }
        live.used_at.store(now.millis(), Ordering::Relaxed);
        Some(live)
    }

    /// The envelope from memory, or else from the store; callers that miss at
    /// the same time share one load.
    pub async fn get_or_load(
        &self,
        id: EnvelopeId,
        store: &dyn Store,
        now: Timestamp,
    ) -> Result<Arc<LiveEnvelope>, NotLive> {
        if let Some(live) = self.get(id, store, now) {
            return Ok(live);
        }
        let load = async {
            self.load(id, store, now).await.inspect(|live| self.share_loaded(live)).map(|live| self.weigh(live))
        };
        self.cache.get_or_insert_async(&id, load).await.map(|cached| cached.live)
    }

    async fn load(&self, id: EnvelopeId, store: &dyn Store, now: Timestamp) -> Result<Arc<LiveEnvelope>, NotLive> {
        let _permit = self.loads.try_acquire().map_err(|_| NotLive::Busy)?;
        for _ in 0..DURABLE_READ_TRIES_MAX {
            let reading = Reading::begin(store);
            let read = self.read(id, store, now).await?;
            let durable = match read.is_credited() {
                true => Some(reading.end_proven(read)),
                false => reading.end(read).await.map_err(|error| NotLive::Store(error.into()))?,
            };
            if let Some(live) = durable {
                return Ok(Arc::new(live.into_inner()));
            }
        }
        Err(NotLive::Store(read_across_a_start().into()))
    }

    async fn read(&self, id: EnvelopeId, store: &dyn Store, now: Timestamp) -> Result<LiveEnvelope, NotLive> {
        let database = store.table_of(id).database;
        let epoch = store.epoch(database);
        let (envelope, fold) = store.load(id).await.map_err(NotLive::Store)?.ok_or(NotLive::NotFound)?;
        if let Stage::Created | Stage::Cancelled = envelope.stage {
            return Err(NotLive::NotPaid(Box::new(envelope)));
        }
        let entries =
            if fold.last_seq == 0 { Vec::new() } else { journal_of(id, 0, store).await.map_err(NotLive::Store)? };
        if entries.last().map_or(0, |last| last.seq) < fold.last_seq {
            let reason = format!("the journal of {id} became another one while it was read");
            return Err(NotLive::Store(StoreError::Unavailable(reason)));
        }
        let mut journal = LiveJournal::empty(envelope.total);
        // Most journals are short: they take no more room than they need.
        journal.opens.reserve_exact(entries.len());
        journal.add(entries.iter());
        Ok(LiveEnvelope {
            journal: RwLock::new(journal),
            envelope,
            complete_at: AtomicI64::new(now.millis()),
            reading: tokio::sync::Mutex::default(),
            used_at: AtomicI64::new(now.millis()),
            opens_weighed: AtomicU32::new(0),
            database,
            epoch,
        })
    }

    /// Reads what may be missing, whoever wrote it, unless that has been done since
    /// `asked_at`; those who ask at the same time share it. False: what is
    /// remembered is not what the database says, so it is to be forgotten.
    ///
    /// # Errors
    /// Busy, when somebody else has been reading for [`CATCH_UP_WAIT_MS_MAX`].
    pub async fn catch_up(
        &self,
        live: &Arc<LiveEnvelope>,
        store: &dyn Store,
        clock: &dyn Clock,
        asked_at: Timestamp,
    ) -> Result<bool, NotLive> {
        // Where the database does not answer, one waits for it, and not each for all before.
        let turn = tokio::time::timeout(Duration::from_millis(CATCH_UP_WAIT_MS_MAX), live.reading.lock()).await;
        let _turn = turn.map_err(|_| NotLive::Busy)?;
        let now = clock.now();
        if (asked_at..=now).contains(&live.complete_at()) {
            return Ok(true);
        }
        let _permit = self.loads.try_acquire().map_err(|_| NotLive::Busy)?;
        let Some(missing) = missing_durably(live, store).await.map_err(NotLive::Store)? else { return Ok(false) };
        if live.is_outdated(store) {
            return Ok(false);
        }
        live.journal.write().add(missing.iter());
        live.was_complete_at(now);
        self.weigh_again(live);
        if !missing.is_empty() {
            self.share_loaded(live);
        }
        Ok(true)
    }

    /// Remembers entries of one envelope that have been committed, in order.
    pub fn committed<'a>(&self, live: &Arc<LiveEnvelope>, entries: impl Iterator<Item = &'a Entry>) {
        live.journal.write().add(entries.inspect(|entry| live.was_complete_at(entry.at)));
        self.weigh_again(live);
        if let Some(shared) = &self.shared {
            shared.note_commit(live);
        }
    }

    /// The cache weighs an envelope when it is put in; weigh again as it doubles.
    fn weigh_again(&self, live: &Arc<LiveEnvelope>) {
        let (opens, weighed) = (u64::from(live.journal().open_count()), live.opens_weighed.load(Ordering::Relaxed));
        if opens <= ENVELOPE_WEIGHT || opens < 2 * u64::from(weighed) {
            return;
        }
        let id = live.envelope.id;
        // A copy that was forgotten stays so.
        if self.cache.peek(&id).is_some_and(|cached| Arc::ptr_eq(&cached.live, live)) {
            self.cache.insert(id, self.weigh(live.clone()));
        }
    }

    fn weigh(&self, live: Arc<LiveEnvelope>) -> Cached {
        let opens = live.journal().open_count();
        live.opens_weighed.store(opens, Ordering::Relaxed);
        Cached { live, weight: (ENVELOPE_WEIGHT + u64::from(opens)).min(self.weight_max) }
    }

    fn share_loaded(&self, live: &Arc<LiveEnvelope>) {
        if let Some(shared) = &self.shared {
            shared.note_load(live);
        }
    }

    /// Forgets this copy, which proved to be old, and none that has taken its place.
    pub fn forget_copy(&self, live: &Arc<LiveEnvelope>) {
        self.cache.remove_if(&live.envelope.id, |cached| Arc::ptr_eq(&cached.live, live));
    }

    /// Forgets an envelope, also one that is being loaded: what is remembered of it proved to be old.
    pub fn forget(&self, id: EnvelopeId) {
        self.cache.remove(&id);
    }

    /// Forgets what has not been used for `idle_ms`.
    pub fn forget_idle(&self, now: Timestamp, idle_ms: i64) {
        let used_since = now.plus_millis(-idle_ms).millis();
        self.cache.retain(|_, cached| cached.live.used_at.load(Ordering::Relaxed) >= used_since);
    }

    /// Envelopes in memory.
    pub fn len(&self) -> usize {
        self.cache.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.cache.is_empty()
    }
}
