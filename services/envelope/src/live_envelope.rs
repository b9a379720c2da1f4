//! One live envelope: its row and its journal, as this server remembers them.

use std::collections::HashMap;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};

use hongbao_core::limits::{JOURNAL_PAGE_MAX, LOAD_TOGETHER_ENTRIES_MAX};
use hongbao_core::{Entry, EntryKind, Envelope, EnvelopeId, Fen, Journal, Opened, Stage, Timestamp, UserId};
use hongbao_store::{Store, StoreError};
use indexmap::IndexMap;
use parking_lot::{RwLock, RwLockReadGuard};

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

/// One envelope in use.
pub struct LiveEnvelope {
    /// The row, as loaded. Its stage and `settled_seq` are those of the load.
    pub envelope: Envelope,
    journal: RwLock<LiveJournal>,
    /// When nothing was missing, in milliseconds.
    complete_at: AtomicI64,
    /// Held while the journal is read on, so that callers of the same time share it.
    pub(crate) reading: tokio::sync::Mutex<()>,
    pub(crate) used_at: AtomicI64,
    /// The openings with which the cache weighed it.
    pub(crate) opens_weighed: AtomicU32,
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
    /// The journal of an envelope without openings.
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
    /// Reads it from the store.
    pub(crate) async fn read(id: EnvelopeId, store: &dyn Store, now: Timestamp) -> Result<LiveEnvelope, NotLive> {
        let database = store.table_of(id).database;
        let epoch = store.epoch(database);
        let (envelope, fold) = store.load(id).await.map_err(NotLive::Store)?.ok_or(NotLive::NotFound)?;
        if !is_paid(&envelope) {
            return Err(NotLive::NotPaid(Box::new(envelope)));
        }
        let entries =
            if fold.last_seq == 0 { Vec::new() } else { journal_of(id, 0, store).await.map_err(NotLive::Store)? };
        if entries.last().map_or(0, |last| last.seq) < fold.last_seq {
            let reason = format!("the journal of {id} became another one while it was read");
            return Err(NotLive::Store(StoreError::Unavailable(reason)));
        }
        Ok(LiveEnvelope::new(envelope, &entries, now, (database, epoch)))
    }

    /// Reads many from the store, each as of the moment beside it, in their order. `None`: this one is
    /// to be read alone.
    pub(crate) async fn read_many(
        wanted: &[(EnvelopeId, Timestamp)],
        store: &dyn Store,
    ) -> Result<Vec<Option<Result<LiveEnvelope, NotLive>>>, StoreError> {
        let epoch_of = |id: &EnvelopeId| {
            let database = store.table_of(*id).database;
            (database, store.epoch(database))
        };
        let ids: Vec<EnvelopeId> = wanted.iter().map(|(id, _)| *id).collect();
        let epochs: Vec<_> = ids.iter().map(epoch_of).collect();
        let rows = store.load_many(&ids).await?;
        let journals = journals_of(rows.values().flatten(), store).await?;
        let read = wanted.iter().zip(epochs).map(|(&(id, now), epoch)| match rows.get(&id)? {
            None => Some(Err(NotLive::NotFound)),
            Some((envelope, _)) if !is_paid(envelope) => Some(Err(NotLive::NotPaid(Box::new(envelope.clone())))),
            Some((envelope, fold)) => {
                let entries = journals.get(&id).map_or(&[][..], Vec::as_slice);
                let is_whole = entries.last().map_or(0, |last| last.seq) >= fold.last_seq;
                is_whole.then(|| Ok(LiveEnvelope::new(envelope.clone(), entries, now, epoch)))
            }
        });
        Ok(read.collect())
    }

    fn new(envelope: Envelope, entries: &[Entry], now: Timestamp, (database, epoch): (u8, u64)) -> LiveEnvelope {
        let mut journal = LiveJournal::empty(envelope.total);
        // Most journals are short: they take no more room than they need.
        journal.opens.reserve_exact(entries.len());
        journal.add(entries.iter());
        LiveEnvelope {
            journal: RwLock::new(journal),
            envelope,
            complete_at: AtomicI64::new(now.millis()),
            reading: tokio::sync::Mutex::default(),
            used_at: AtomicI64::new(now.millis()),
            opens_weighed: AtomicU32::new(0),
            database,
            epoch,
        }
    }

    /// Adds entries that come next.
    pub(crate) fn add<'a>(&self, entries: impl Iterator<Item = &'a Entry>) {
        self.journal.write().add(entries);
    }

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
    pub(crate) fn is_credited(&self) -> bool {
        let last_seq = self.journal().fold.last_seq;
        last_seq > 0 && self.envelope.settled_seq >= last_seq
    }

    /// When nothing was missing, as far as is known: it was read then, or this
    /// server wrote the next entry, which lets no other one be in its place.
    pub fn complete_at(&self) -> Timestamp {
        Timestamp::from_millis(self.complete_at.load(Ordering::Relaxed))
    }

    pub(crate) fn was_complete_at(&self, at: Timestamp) {
        self.complete_at.store(at.millis(), Ordering::Relaxed);
    }

    /// The entries after the last one that is remembered. `None`: the database does
    /// not have that one, so what is remembered is not what happened there.
    pub(crate) async fn missing_entries(&self, store: &dyn Store) -> Result<Option<Vec<Entry>>, StoreError> {
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

fn is_paid(envelope: &Envelope) -> bool {
    !matches!(envelope.stage, Stage::Created | Stage::Cancelled)
}

/// The journals of these envelopes that are not empty, several in a statement: as many as are a page at most. One
/// that is long is left out.
async fn journals_of(
    found: impl Iterator<Item = &(Envelope, Journal)>,
    store: &dyn Store,
) -> Result<HashMap<EnvelopeId, Vec<Entry>>, StoreError> {
    let is_short = |fold: &Journal| (1..=LOAD_TOGETHER_ENTRIES_MAX).contains(&fold.last_seq);
    let short = found.filter(|(envelope, fold)| is_paid(envelope) && is_short(fold));
    let mut short: Vec<(u32, EnvelopeId)> = short.map(|(envelope, fold)| (fold.last_seq, envelope.id)).collect();
    // Each statement reads up to the length of its longest.
    short.sort_unstable();
    let mut journals = HashMap::with_capacity(short.len());
    while let Some((longest, _)) = short.last() {
        let together = short.len().min((JOURNAL_PAGE_MAX / longest) as usize);
        let through_seq = *longest;
        let ids: Vec<EnvelopeId> = short.drain(short.len() - together..).map(|(_, id)| id).collect();
        journals.extend(store.load_journals(&ids, through_seq).await?);
    }
    Ok(journals)
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
