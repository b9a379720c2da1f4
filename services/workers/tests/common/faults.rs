//! What goes wrong for the jobs, as `hongbao_testkit` asks about each verb.

use std::collections::{HashSet, VecDeque};
use std::ops::RangeInclusive;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use hongbao_core::id::TableRef;
use hongbao_core::{Entry, EnvelopeId, Timestamp};
use hongbao_store::{Append, Store, StoreError};
use hongbao_testkit::faults::{StoreFaults, StoreVerb, WalletFaults, WalletVerb};
use hongbao_wallet::WalletError;

/// A verb that writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Append,
    Activate,
    Cancel,
    Settle,
    Purge,
    Close,
    Seal,
    NoteExported,
    DropExported,
    Transfer,
    BeginMonth,
    PutMonth,
    SealMonth,
}

/// Where the process dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Death {
    /// Nothing was written.
    Before,
    /// It was written, and the process did not learn it.
    After,
    /// As before, but the verb never returns.
    HangsBefore,
    /// As after, but the verb never returns.
    HangsAfter,
}

pub const DEATHS: [Death; 4] = [Death::Before, Death::After, Death::HangsBefore, Death::HangsAfter];

/// What goes wrong.
pub struct Faults {
    /// The store without faults.
    store: Arc<dyn Store>,
    next: Mutex<Option<(Verb, Death)>>,
    /// Settlements of this database fail.
    pub broken_database: Mutex<Option<u8>>,
    /// The tail does not show these entries.
    pub hidden: Mutex<HashSet<(EnvelopeId, u32)>>,
    /// These entries are lost: neither the tail nor their journal shows them.
    pub lost: Mutex<HashSet<(EnvelopeId, u32)>>,
    /// Reading the tail of this table fails.
    pub unreadable: Mutex<Option<TableRef>>,
    /// Reading the journal of this envelope fails.
    pub damaged_journal: Mutex<Option<EnvelopeId>>,
    /// These are written just before the next append.
    pub racers: Mutex<Vec<Entry>>,
    /// The database's own clock.
    pub database_clock: Mutex<Option<Timestamp>>,
    /// What others do after each read of the audit, in order.
    pub meanwhile: Mutex<VecDeque<Pin<Box<dyn Future<Output = ()> + Send>>>>,
}

impl Faults {
    /// None yet, in front of this store.
    pub fn of(store: Arc<dyn Store>) -> Faults {
        Faults {
            store,
            next: Mutex::default(),
            broken_database: Mutex::default(),
            hidden: Mutex::default(),
            lost: Mutex::default(),
            unreadable: Mutex::default(),
            damaged_journal: Mutex::default(),
            racers: Mutex::default(),
            database_clock: Mutex::default(),
            meanwhile: Mutex::default(),
        }
    }

    /// The next call of this verb dies.
    pub fn arm(&self, verb: Verb, death: Death) {
        *self.next.lock().unwrap() = Some((verb, death));
    }

    /// None dies any more.
    pub fn disarm(&self) {
        *self.next.lock().unwrap() = None;
    }

    /// Whether the armed fault has not struck.
    pub fn is_armed(&self) -> bool {
        self.next.lock().unwrap().is_some()
    }

    async fn after_read(&self) {
        let next = self.meanwhile.lock().unwrap().pop_front();
        if let Some(next) = next {
            next.await;
        }
    }

    async fn strike<E>(&self, verb: Option<Verb>, deaths: [Death; 2], died: fn(String) -> E) -> Result<(), E> {
        let is_this = |(armed, death): &mut (Verb, Death)| Some(*armed) == verb && deaths.contains(death);
        let struck = self.next.lock().unwrap().take_if(is_this);
        match struck {
            None => Ok(()),
            Some((_, Death::Before | Death::After)) => Err(died("died".to_owned())),
            Some((_, Death::HangsBefore | Death::HangsAfter)) => std::future::pending().await,
        }
    }
}

fn verb_of(verb: StoreVerb<'_>) -> Option<Verb> {
    match verb {
        StoreVerb::Append(_) => Some(Verb::Append),
        StoreVerb::Activate => Some(Verb::Activate),
        StoreVerb::Cancel => Some(Verb::Cancel),
        StoreVerb::Settle(_) => Some(Verb::Settle),
        StoreVerb::Purge => Some(Verb::Purge),
        StoreVerb::Close(_) => Some(Verb::Close),
        StoreVerb::Seal => Some(Verb::Seal),
        StoreVerb::NoteExported => Some(Verb::NoteExported),
        StoreVerb::DropExported => Some(Verb::DropExported),
        _ => None,
    }
}

fn verb_in_wallet(verb: WalletVerb) -> Option<Verb> {
    match verb {
        WalletVerb::Transfer => Some(Verb::Transfer),
        WalletVerb::BeginMonth => Some(Verb::BeginMonth),
        WalletVerb::PutMonth => Some(Verb::PutMonth),
        WalletVerb::SealMonth => Some(Verb::SealMonth),
        _ => None,
    }
}

impl StoreFaults for Faults {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        match verb {
            StoreVerb::Append(_) => {
                let racers = std::mem::take(&mut *self.racers.lock().unwrap());
                for racer in racers {
                    assert_eq!(self.store.append(&[racer]).await.unwrap(), Append::Done);
                }
            }
            StoreVerb::Settle([first, ..]) => {
                let database = self.store.table_of(first.envelope_id).database;
                if *self.broken_database.lock().unwrap() == Some(database) {
                    return Err(StoreError::Unavailable("broken".to_owned()));
                }
            }
            StoreVerb::Tail(table) if *self.unreadable.lock().unwrap() == Some(table) => {
                return Err(StoreError::Damaged("a row".to_owned()));
            }
            StoreVerb::Entries(id) if *self.damaged_journal.lock().unwrap() == Some(id) => {
                return Err(StoreError::Damaged("a journal".to_owned()));
            }
            _ => {}
        }
        self.strike(verb_of(verb), [Death::Before, Death::HangsBefore], StoreError::Unknown).await
    }

    async fn after(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        let was_read = match verb {
            StoreVerb::Load | StoreVerb::Entries(_) => true,
            // Most pages of the audit are those of empty tables.
            StoreVerb::Scan(table, after) => !self.store.scan(table, after, 1).await?.is_empty(),
            StoreVerb::ScanEntries(table, after, until) => {
                !self.store.scan_entries(table, after, until, 1).await?.is_empty()
            }
            _ => false,
        };
        if was_read {
            self.after_read().await;
        }
        self.strike(verb_of(verb), [Death::After, Death::HangsAfter], StoreError::Unknown).await
    }

    fn hidden(&self, verb: StoreVerb<'_>) -> HashSet<(EnvelopeId, u32)> {
        let mut hidden = self.lost.lock().unwrap().clone();
        if matches!(verb, StoreVerb::Tail(_)) {
            hidden.extend(self.hidden.lock().unwrap().iter());
        }
        hidden
    }

    fn clock(&self, _: Option<RangeInclusive<Timestamp>>) -> Option<RangeInclusive<Timestamp>> {
        self.database_clock.lock().unwrap().map(|clock| clock..=clock)
    }
}

impl WalletFaults for Faults {
    async fn before(&self, verb: WalletVerb) -> Result<(), WalletError> {
        let verb = verb_in_wallet(verb);
        self.strike(verb, [Death::Before, Death::HangsBefore], WalletError::Unknown).await
    }

    async fn after(&self, verb: WalletVerb) -> Result<(), WalletError> {
        if verb == WalletVerb::OfEnvelopes {
            self.after_read().await;
        }
        let verb = verb_in_wallet(verb);
        self.strike(verb, [Death::After, Death::HangsAfter], WalletError::Unknown).await
    }
}

/// Runs a job once with a fault armed; a run that hangs is dropped, like a process that is killed.
pub async fn run_and_die(job: &mut dyn hongbao_workers::Job, limit: u32) {
    let within = std::time::Duration::from_millis(150);
    let _ = tokio::time::timeout(within, job.run_once(limit)).await;
}
