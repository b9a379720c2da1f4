//! What the servers of a SET show each other through Redis.
//!
//! A server writes a [`Snapshot`] of each live envelope behind its commits, so
//! that another one, which takes the envelope over, can answer those who opened
//! it, and everybody once it has ended, before it has read the database. What a
//! snapshot may answer stands in [`snapshot`]; an opening never looks at one.
//!
//! | who | asks Redis |
//! |---|---|
//! | a lane, after its commit | never: it leaves a note in memory |
//! | the writer, a task | one pipeline each [`SNAPSHOT_ROUND_MS`], less and less often while Redis refuses them; a probe while Redis is away |
//! | grab, detail of an envelope that is live here | never |
//! | grab, detail of another one | one command, at most once a second for each envelope |
//!
//! Redis may be empty, slow, gone, or hold anything: a value that is no genuine
//! snapshot of its envelope is passed over, and overwritten once the envelope is
//! live. Two servers that both believe to own an envelope overwrite each other's
//! snapshots; both are genuine. One that merely reads it leaves the owner's alone.
//!
//! A database that was restored to an earlier moment is *behind* the snapshots.
//! An operator who restores one empties the Redis of its SET; beyond that, a server whose
//! database has moved to another epoch reads no snapshot of that database until
//! those from before have passed away.

pub mod metrics;
mod pause;
mod place;
pub mod redis;
pub mod snapshot;
pub mod waiting;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::limits::{
    CACHE_FILES_LOOK_MS, CACHE_PROBE_MS, SNAPSHOT_BYTES_PER_ROUND_MAX, SNAPSHOT_LIFE_MS, SNAPSHOT_MEMORY_BYTES_MAX,
    SNAPSHOT_MEMORY_MS, SNAPSHOT_ROUND_MS, SNAPSHOTS_PER_ROUND_MAX,
};
use hongbao_core::{EnvelopeId, Traffic};
use hongbao_store::Store;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use tokio::task::JoinHandle;
use tokio::time::MissedTickBehavior;

use crate::live_envelope::LiveEnvelope;
use metrics::SharedMetrics;
use pause::Pause;
use redis::{CallFailed, Link, RedisOptions, Written};
use snapshot::{Snapshot, SnapshotKey};
use waiting::{Changed, Waiting};

const MEMORY: Duration = Duration::from_millis(SNAPSHOT_MEMORY_MS);
const LIFE: Duration = Duration::from_millis(SNAPSHOT_LIFE_MS);

/// The snapshots of a SET, as one server reads and writes them.
pub struct SnapshotCache {
    inner: Arc<SnapshotCacheInner>,
    writer: JoinHandle<()>,
}

impl Drop for SnapshotCache {
    fn drop(&mut self) {
        // What is not written yet costs the next server a read of the database.
        self.writer.abort();
    }
}

/// What the requests and the writer share.
struct SnapshotCacheInner {
    link: Link,
    key: SnapshotKey,
    store: Arc<dyn Store>,
    waiting: Mutex<Waiting>,
    /// So that a hot envelope is read from Redis once a second, not by everybody.
    memory: Cache<EnvelopeId, Remembered, EncodedBytes>,
    epochs: Mutex<HashMap<u8, Epoch>>,
    metrics: SharedMetrics,
}

/// What Redis said about an envelope, and when.
#[derive(Clone)]
struct Remembered {
    snapshot: Option<Arc<Snapshot>>,
    was_rejected: bool,
    bytes: u64,
    read_at: Instant,
}

#[derive(Clone)]
struct EncodedBytes;

impl Weighter<EnvelopeId, Remembered> for EncodedBytes {
    fn weight(&self, _: &EnvelopeId, remembered: &Remembered) -> u64 {
        remembered.bytes
    }
}

/// The epoch of a database, as last seen, and when it was seen to have moved.
struct Epoch {
    number: u64,
    moved_at: Option<Instant>,
}

/// An entry of the memory weighs at least this much.
const ENTRY_WEIGHT: u64 = 256;

impl SnapshotCache {
    /// Starts the writer. `url` is the SET's Redis, which need not be there; `key` is of this kind of traffic, and the
    /// SET's servers share it. An error says what is wrong with the URL, without repeating it.
    pub fn start(
        traffic: Traffic,
        url: &str,
        key: SnapshotKey,
        store: Arc<dyn Store>,
        registry: &mut Registry,
    ) -> Result<Arc<SnapshotCache>, String> {
        SnapshotCache::start_with(traffic, RedisOptions::new(url), key, store, registry)
    }

    /// The same, with the limits of these options.
    pub fn start_with(
        traffic: Traffic,
        options: RedisOptions,
        key: SnapshotKey,
        store: Arc<dyn Store>,
        registry: &mut Registry,
    ) -> Result<Arc<SnapshotCache>, String> {
        let epochs = store.tables().into_iter().map(|table| table.database);
        let epochs = epochs.map(|database| (database, Epoch { number: store.epoch(database), moved_at: None }));
        let memory_items = (SNAPSHOT_MEMORY_BYTES_MAX / ENTRY_WEIGHT) as usize;
        let inner = Arc::new(SnapshotCacheInner {
            link: Link::new(options, traffic)?,
            key,
            waiting: Mutex::default(),
            memory: Cache::with_weighter(memory_items, SNAPSHOT_MEMORY_BYTES_MAX, EncodedBytes),
            epochs: Mutex::new(epochs.collect()),
            store,
            metrics: SharedMetrics::register(registry),
        });
        let writer = tokio::spawn(inner.clone().write_for_ever());
        Ok(Arc::new(SnapshotCache { inner, writer }))
    }

    /// Notes that openings of an envelope were committed: its snapshot is written soon.
    pub fn note_commit(&self, live: &Arc<LiveEnvelope>) {
        self.note(live, true);
    }

    /// Notes that an envelope was read from the database. Its snapshot is written
    /// where there is none. Where another server keeps one it may well be the
    /// newer one, unless this is the whole of the journal, or that one is false.
    pub fn note_load(&self, live: &Arc<LiveEnvelope>) {
        let remembered = self.inner.memory.get(&live.envelope.id);
        let was_rejected = remembered.is_some_and(|remembered| remembered.was_rejected);
        self.note(live, was_rejected || live.journal().fold.has_ended());
    }

    fn note(&self, live: &Arc<LiveEnvelope>, overwrites: bool) {
        let epoch = self.inner.epoch_now(live.envelope.id);
        if !self.inner.waiting.lock().push(Changed { live: live.clone(), epoch, overwrites }) {
            self.inner.metrics.dropped.inc();
        }
    }

    /// A genuine snapshot of an envelope, if Redis has one and says so soon.
    pub async fn find(&self, id: EnvelopeId) -> Option<Arc<Snapshot>> {
        if !self.inner.may_read(id) {
            return None;
        }
        if let Some(remembered) = self.inner.memory.get(&id) {
            if remembered.read_at.elapsed() < MEMORY {
                return remembered.snapshot;
            }
            self.inner.memory.remove_if(&id, |old| old.read_at == remembered.read_at);
        }
        if self.inner.link.is_away() {
            return None;
        }
        // Those who ask at the same time share one answer, also where there is none.
        let read = async { Ok::<_, std::convert::Infallible>(self.inner.read(id).await) };
        let Ok(remembered) = Box::pin(self.inner.memory.get_or_insert_async(&id, read)).await;
        remembered.snapshot
    }
}

impl SnapshotCacheInner {
    fn epoch_now(&self, id: EnvelopeId) -> u64 {
        self.store.epoch(self.store.table_of(id).database)
    }

    /// Whether no snapshot can be from before its database moved to this epoch.
    fn may_read(&self, id: EnvelopeId) -> bool {
        let database = self.store.table_of(id).database;
        let number = self.store.epoch(database);
        let mut epochs = self.epochs.lock();
        let epoch = epochs.entry(database).or_insert(Epoch { number, moved_at: None });
        if epoch.number != number {
            *epoch = Epoch { number, moved_at: Some(Instant::now()) };
        }
        epoch.moved_at.is_none_or(|moved_at| moved_at.elapsed() > LIFE)
    }

    async fn read(&self, id: EnvelopeId) -> Remembered {
        let read_at = Instant::now();
        let found = self.link.get(id).await;
        let bytes = found.as_ref().ok().and_then(Option::as_ref).map_or(0, Vec::len) as u64;
        let found = match found {
            Ok(Some(bytes)) => Snapshot::decode(id, &bytes, &self.key).map(Some).ok_or(CallFailed::NoSnapshot),
            Ok(None) => Ok(None),
            Err(error) => Err(error),
        };
        let counter = match &found {
            Ok(Some(_)) => &self.metrics.hits,
            Ok(None) => &self.metrics.misses,
            Err(CallFailed::NoSnapshot) => &self.metrics.rejected,
            Err(error) => {
                tracing::debug!(envelope_id = %id, %error, "no snapshot was read");
                &self.metrics.errors
            }
        };
        counter.inc();
        let was_rejected = matches!(found, Err(CallFailed::NoSnapshot));
        let snapshot = found.ok().flatten().map(Arc::new);
        Remembered { snapshot, was_rejected, bytes: bytes.max(ENTRY_WEIGHT), read_at }
    }

    async fn write_for_ever(self: Arc<SnapshotCacheInner>) {
        let mut round = tokio::time::interval(Duration::from_millis(SNAPSHOT_ROUND_MS));
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (mut was_away, mut pause) = (false, Pause::default());
        let mut looked = Instant::now();
        loop {
            round.tick().await;
            if looked.elapsed() >= Duration::from_millis(CACHE_FILES_LOOK_MS) {
                looked = Instant::now();
                self.link.take_changed_files();
            }
            if self.link.is_away() {
                tokio::time::sleep(Duration::from_millis(CACHE_PROBE_MS)).await;
                // What it comes to is what `is_away` says next.
                let _ = self.link.probe().await;
            } else if !pause.rests(Instant::now()) {
                self.write_a_round(&mut pause).await;
            }
            let is_away = self.link.is_away();
            self.metrics.away.set(i64::from(is_away));
            match (was_away, is_away) {
                (false, true) => {
                    let reason = self.link.last_failure();
                    tracing::warn!(reason, "redis is away: grabs and details go to the database");
                }
                (true, false) => tracing::info!("redis is back"),
                _ => {}
            }
            was_away = is_away;
        }
    }

    async fn write_a_round(&self, pause: &mut Pause) {
        let (mut snapshots, mut in_round, mut bytes_in_round) = (Vec::new(), Vec::new(), 0);
        while snapshots.len() < SNAPSHOTS_PER_ROUND_MAX && bytes_in_round < SNAPSHOT_BYTES_PER_ROUND_MAX {
            let Some(changed) = self.waiting.lock().pop() else { break };
            let Some(bytes) = self.snapshot_of(&changed) else {
                self.metrics.dropped.inc();
                continue;
            };
            bytes_in_round += bytes.len();
            snapshots.push(Written { id: changed.live.envelope.id, bytes, overwrites: changed.overwrites });
            in_round.push(changed);
            // Requests go first.
            tokio::task::yield_now().await;
        }
        if snapshots.is_empty() {
            return;
        }
        let Err(error) = self.link.set(&snapshots).await else {
            self.metrics.written.inc_by(snapshots.len() as u64);
            if pause.accepted() {
                self.metrics.writes_refused.set(0);
                tracing::debug!("redis keeps snapshots again");
            }
            return;
        };
        match &error {
            CallFailed::Refused(_) => {
                self.metrics.refused.inc();
                self.metrics.writes_refused.set(1);
                if pause.refused(Instant::now()) {
                    tracing::warn!(%error, "snapshots are written less often until redis keeps them again");
                }
            }
            _ => {
                tracing::debug!(snapshots = snapshots.len(), %error, "snapshots were not written");
                self.metrics.errors.inc();
            }
        }
        let mut waiting = self.waiting.lock();
        for changed in in_round {
            if !waiting.put_back(changed) {
                self.metrics.dropped.inc();
            }
        }
    }

    fn snapshot_of(&self, changed: &Changed) -> Option<Vec<u8>> {
        let envelope = &changed.live.envelope;
        if self.epoch_now(envelope.id) != changed.epoch {
            return None;
        }
        Snapshot::encode(envelope, &changed.live.journal(), &self.key)
    }
}
