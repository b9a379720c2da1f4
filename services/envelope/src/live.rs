//! Live envelopes: what this server remembers of those in use.
//!
//! A copy in memory decides nothing for good. It may be old, because another
//! server or a worker wrote to the journal; then the next opening loses the
//! fence, the copy is dropped and loaded again. Only paid envelopes are kept:
//! what is in [`LiveEnvelope::envelope`] can no longer change.
//!
//! What is missing is read on from the last entry that
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
use std::sync::atomic::Ordering;
use std::time::Duration;

use hongbao_core::limits::{CATCH_UP_WAIT_MS_MAX, DURABLE_READ_TRIES_MAX};
use hongbao_core::{Clock, Entry, EnvelopeId, Timestamp};
use hongbao_database::durable::read_across_a_start;
use hongbao_database::{Durable, Reading};
use hongbao_store::{Store, StoreError};
use quick_cache::{Weighter, sync::Cache};

pub use crate::live_envelope::{LiveEnvelope, LiveJournal, NotLive};
use crate::loads::Loads;
use crate::shared::SnapshotCache;

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

/// The live envelopes of a server: bounded, the least used go first, and all
/// that are idle go.
pub struct LiveEnvelopes {
    cache: Cache<EnvelopeId, Cached, KeptWeight>,
    /// The cache takes in nothing that is heavier than one of its shards may be.
    /// The envelope that everybody opens is the last one to be without a memory, so
    /// none counts as heavier than half of that.
    weight_max: u64,
    loads: Loads,
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
            loads: Loads::new(loads_max),
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

    /// The envelope from memory, or else from the store; callers that miss it at
    /// the same time share one load, and those that miss several are read for [together](Loads).
    pub async fn get_or_load(
        &self,
        id: EnvelopeId,
        store: &Arc<dyn Store>,
        now: Timestamp,
    ) -> Result<Arc<LiveEnvelope>, NotLive> {
        match self.get(id, &**store, now) {
            Some(live) => Ok(live),
            // Seldom, and in a box, so that those who find it carry no room for it.
            None => Box::pin(self.load(id, store, now)).await,
        }
    }

    async fn load(&self, id: EnvelopeId, store: &Arc<dyn Store>, now: Timestamp) -> Result<Arc<LiveEnvelope>, NotLive> {
        let load = async {
            let live = self.loads.load(id, store, now).await.map(Arc::new);
            live.inspect(|live| self.share_loaded(live)).map(|live| self.weigh(live))
        };
        self.cache.get_or_insert_async(&id, load).await.map(|cached| cached.live)
    }

    /// Reads what other processes may have written, unless that has been done since
    /// `asked_at`; those who ask at the same time share it. False: what is
    /// remembered is not what the database says, so it is to be forgotten.
    ///
    /// # Errors
    /// Busy, when another caller has been reading for [`CATCH_UP_WAIT_MS_MAX`].
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
        let _permit = self.loads.permit()?;
        let Some(missing) = missing_durably(live, store).await.map_err(NotLive::Store)? else { return Ok(false) };
        if live.is_outdated(store) {
            return Ok(false);
        }
        live.add(missing.iter());
        live.was_complete_at(now);
        self.weigh_again(live);
        if !missing.is_empty() {
            self.share_loaded(live);
        }
        Ok(true)
    }

    /// Remembers entries of one envelope that have been committed, in order.
    pub fn committed<'a>(&self, live: &Arc<LiveEnvelope>, entries: impl Iterator<Item = &'a Entry>) {
        live.add(entries.inspect(|entry| live.was_complete_at(entry.at)));
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
