//! The databases of a SET: those of SQLite hold the envelopes, and beside each stands its fence, which SQLite has not.
//!
//! The fence is where MariaDB has it: it stays when processes die, it is changed in one step a database, and the verb
//! that creates reads it before it writes the row. What is accepted, and how it is changed, the core decides.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use hongbao_core::fence::{Accepted, Fence, FenceRefusal, State};
use hongbao_core::held::HeldSlots;
use hongbao_core::{Clock, Envelope};
use hongbao_store::{Store, StoreError};
use hongbao_testkit::faults::{FaultInjectingStore, StoreFaults, StoreVerb};
use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::clock::ShiftedClock;

/// What fences do. With all but the first, envelopes are made where the maps do not place them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fences {
    /// They are asked, and SETs lose before others get.
    Hold,
    /// Each accepts every id.
    Open,
    /// SETs get before others have lost.
    WidenFirst,
    /// SETs lose ids that may have been minted, and the past can be changed.
    TakeAtOnce,
}

/// The databases of one SET.
pub struct SetDatabases {
    /// What they hold, for the checks.
    pub store: Arc<dyn Store>,
    clock: ShiftedClock,
    /// By the number of the database; one that is not made yet has none.
    states: Mutex<BTreeMap<u8, State>>,
    fences: Fences,
    /// The next row to be created is written when this comes, after its fence was read.
    suspended: Mutex<Option<oneshot::Receiver<()>>>,
}

impl SetDatabases {
    pub fn new(store: Arc<dyn Store>, clock: ShiftedClock, fences: Fences) -> Arc<SetDatabases> {
        Arc::new(SetDatabases { store, clock, states: Mutex::default(), fences, suspended: Mutex::default() })
    }

    /// As a process sees them whose file gives `held` to the SET.
    pub fn connect(self: &Arc<Self>, held: HeldSlots) -> Arc<dyn Store> {
        let connection = Connection { databases: self.clone(), held, has_read: AtomicBool::new(false) };
        Arc::new(FaultInjectingStore::new(self.store.clone(), Arc::new(connection)))
    }

    /// Makes those that there are not yet: a new one accepts nothing.
    pub fn prepare(&self, databases: impl IntoIterator<Item = u8>) {
        let new = State { narrowed: None, widened: None, rows: Vec::new(), now: self.clock.now() };
        let mut states = self.states.lock();
        for number in databases {
            states.entry(number).or_insert_with(|| new.clone());
        }
    }

    /// The fences, read by a process with this clock.
    pub fn read(&self, clock: &dyn Clock) -> Vec<(u8, State)> {
        let now = self.clock.now().max(clock.now());
        let states = self.states.lock();
        states.iter().map(|(number, state)| (*number, State { now, ..state.clone() })).collect()
    }

    /// Changes the fence of one database, unless that is refused.
    pub fn change<T>(
        &self,
        number: u8,
        clock: &dyn Clock,
        change: impl FnOnce(&mut State) -> Result<T, FenceRefusal>,
    ) -> Result<T, FenceRefusal> {
        let mut states = self.states.lock();
        let state = states.get_mut(&number).expect("it was prepared");
        state.now = self.clock.now().max(clock.now());
        change(state)
    }

    /// The next creation waits, between reading the fence and writing the row, until the sender says so or is dropped.
    pub fn suspend_next(&self) -> oneshot::Sender<()> {
        let (go_on, suspended) = oneshot::channel();
        *self.suspended.lock() = Some(suspended);
        go_on
    }

    /// Creations that come later are not suspended; gives whether none was.
    pub fn forget_suspended(&self) -> bool {
        self.suspended.lock().take().is_some()
    }

    fn accept(&self, held: &HeldSlots, envelope: &Envelope) -> bool {
        let (slot, at) = (envelope.id.slot(), envelope.id.minted_at());
        let fold = held.at(at).fold;
        let is_in =
            |row: &Accepted| row.slot == slot && row.from <= at && at < row.until && row.databases == fold.databases();
        self.states.lock().get(&fold.database_of(slot)).is_some_and(|state| state.rows.iter().any(is_in))
    }
}

/// How one process reaches them.
struct Connection {
    databases: Arc<SetDatabases>,
    held: HeldSlots,
    /// Its fence has been read. A server reads it again by the clock of the machine, which no seed would repeat: here a
    /// start reads it again.
    has_read: AtomicBool,
}

impl StoreFaults for Connection {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        if matches!(verb, StoreVerb::Fence) && self.has_read.swap(true, Ordering::SeqCst) {
            return Err(StoreError::Unavailable("it was read at the start".to_owned()));
        }
        let StoreVerb::Create(envelopes) = verb else { return Ok(()) };
        let is_open = self.databases.fences == Fences::Open;
        if !is_open && !envelopes.iter().all(|envelope| self.databases.accept(&self.held, envelope)) {
            return Err(StoreError::NotHeld);
        }
        let suspended = self.databases.suspended.lock().take();
        if let Some(go_on) = suspended {
            let _ = go_on.await;
        }
        Ok(())
    }

    fn fence(&self, _: Fence) -> Fence {
        if self.databases.fences == Fences::Open {
            return Fence::open();
        }
        let read = self.databases.read(&self.databases.clock);
        let rows = read.iter().flat_map(|(number, state)| state.rows.iter().map(|row| (*number, *row)));
        Fence::new(&self.held, &rows.collect::<Vec<_>>(), self.databases.clock.now())
    }
}
