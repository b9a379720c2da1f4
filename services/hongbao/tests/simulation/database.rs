//! A database whose commits can be read before they are durable: while its log
//! stalls it confirms nothing, readers see everything, and if it dies it comes
//! back with what was durable when the stall began.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hongbao_core::id::Fold;
use hongbao_database::DatabaseError;
use hongbao_database::sqlite::copy::{Copy, copy};
use hongbao_database::sqlite::file::Mode;
use hongbao_store::sqlite::{SqliteStore, file_name};
use hongbao_store::{Store, StoreError};
use hongbao_testkit::faults::{FaultInjectingStore, Replaceable, StoreFaults, StoreVerb};
use hongbao_testkit::faults::{FaultInjectingWallet, WalletFaults, WalletVerb};
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_wallet::{Wallet, WalletError};
use parking_lot::Mutex;
use rand::Rng as _;
use rand::rngs::StdRng;
use tempfile::TempDir;

use crate::world::ZONE_S;

/// What a barrier does. All but the first lose money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Barriers {
    /// While the log stalls it is not confirmed, as nothing is; what was read
    /// before the last start is void.
    Hold,
    /// It is confirmed while the log stalls.
    ReturnAtOnce,
    /// It awaits the log, and succeeds on a database that was started anew,
    /// whatever had been read before.
    SucceedOnAnyStart,
}

/// A database server, and what it holds.
pub struct Database<T: ?Sized> {
    visible: Arc<Replaceable<T>>,
    barriers: Barriers,
    starts: AtomicU64,
    state: Mutex<State<T>>,
}

struct State<T: ?Sized> {
    folder: TempDir,
    stall: Stall<T>,
}

enum Stall<T: ?Sized> {
    None,
    /// What is durable is being copied.
    Begins,
    Lasts {
        durable: Arc<T>,
        folder: TempDir,
        /// It dies before the call of this number from now; of barriers that succeed
        /// on any start, before the barrier of this number.
        dies_in: Option<u32>,
    },
}

/// What a call does to a database.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Effect {
    Read,
    Write,
    Barrier,
}

impl<T: ?Sized> Database<T> {
    fn new(first: Arc<T>, folder: TempDir, barriers: Barriers) -> Arc<Database<T>> {
        Arc::new(Database {
            visible: Arc::new(Replaceable::new(first)),
            barriers,
            starts: AtomicU64::new(0),
            state: Mutex::new(State { folder, stall: Stall::None }),
        })
    }

    /// What can be read.
    pub fn now(&self) -> Arc<T> {
        self.visible.now()
    }

    /// Copies what is durable; gives the folder of the copy.
    async fn begin_stall(&self, file: &str) -> TempDir {
        let from = {
            let mut state = self.state.lock();
            state.stall = Stall::Begins;
            state.folder.path().join(file)
        };
        let folder = tempfile::tempdir().unwrap();
        copy(&[Copy { from, to: folder.path().join(file) }]).await.unwrap();
        folder
    }

    fn go_on_stalling(&self, durable: Arc<T>, folder: TempDir, dice: &mut StdRng) {
        let dies_in = match self.barriers {
            Barriers::Hold => dice.random::<bool>().then(|| dice.random_range(1..=10)),
            // There is to be time to tell what is lost then.
            Barriers::ReturnAtOnce => None,
            // Only such a death tells it from a barrier that holds.
            Barriers::SucceedOnAnyStart => Some(1),
        };
        self.state.lock().stall = Stall::Lasts { durable, folder, dies_in };
    }

    /// The log goes on, or the database dies and comes back.
    pub fn end_stall(&self, dies: bool) {
        let mut state = self.state.lock();
        let Stall::Lasts { durable, folder, .. } = std::mem::replace(&mut state.stall, Stall::None) else { return };
        if dies {
            self.visible.replace(durable);
            self.starts.fetch_add(1, Ordering::SeqCst);
            state.folder = folder;
        }
    }

    fn stalls(&self) -> bool {
        !matches!(self.state.lock().stall, Stall::None)
    }

    /// Whether its time to die came with this call.
    fn dies_now(&self) -> bool {
        let is_time = match &mut self.state.lock().stall {
            Stall::Lasts { dies_in: Some(calls), .. } => {
                *calls -= 1;
                *calls == 0
            }
            _ => false,
        };
        if is_time {
            self.end_stall(true);
        }
        is_time
    }

    fn before(&self, effect: Effect) -> Result<(), DatabaseError> {
        // A barrier finds out itself that the server was started anew.
        let may_die = self.barriers != Barriers::SucceedOnAnyStart || effect == Effect::Barrier;
        if may_die && self.dies_now() && effect != Effect::Barrier {
            return Err(DatabaseError::Unavailable("the server died".to_owned()));
        }
        if effect == Effect::Barrier && self.barriers != Barriers::ReturnAtOnce {
            return self.confirm();
        }
        Ok(())
    }

    fn after(&self, effect: Effect) -> Result<(), DatabaseError> {
        if effect == Effect::Write { self.confirm() } else { Ok(()) }
    }

    fn start_of_readings(&self) -> u64 {
        match self.barriers {
            Barriers::SucceedOnAnyStart => 0,
            Barriers::Hold | Barriers::ReturnAtOnce => self.starts.load(Ordering::SeqCst),
        }
    }

    fn confirm(&self) -> Result<(), DatabaseError> {
        if self.stalls() { Err(DatabaseError::Unknown("the log stalls".to_owned())) } else { Ok(()) }
    }
}

impl Database<dyn Store> {
    /// An empty one.
    pub async fn open(barriers: Barriers) -> Arc<Database<dyn Store>> {
        let folder = tempfile::tempdir().unwrap();
        Database::new(open_store(folder.path()).await, folder, barriers)
    }

    /// As a server sees it.
    pub fn connect(self: &Arc<Self>) -> Arc<dyn Store> {
        Arc::new(FaultInjectingStore::replaceable(self.visible.clone(), self.clone()))
    }

    /// A stall begins or ends now and then.
    pub async fn maybe_stall(&self, dice: &mut StdRng) {
        if self.stalls() {
            if dice.random_ratio(1, 4) {
                self.end_stall(self.barriers != Barriers::Hold || dice.random());
            }
        } else if dice.random_ratio(1, 8) {
            let folder = self.begin_stall(&file_name(0)).await;
            self.go_on_stalling(open_store(folder.path()).await, folder, dice);
        }
    }
}

impl Database<dyn Wallet> {
    /// An empty one.
    pub async fn open(barriers: Barriers) -> Arc<Database<dyn Wallet>> {
        let folder = tempfile::tempdir().unwrap();
        Database::new(open_wallet(folder.path()).await, folder, barriers)
    }

    /// As a server sees it.
    pub fn connect(self: &Arc<Self>) -> Arc<dyn Wallet> {
        Arc::new(FaultInjectingWallet::replaceable(self.visible.clone(), self.clone()))
    }

    /// A stall begins or ends now and then.
    pub async fn maybe_stall(&self, dice: &mut StdRng) {
        if self.stalls() {
            if dice.random_ratio(1, 4) {
                self.end_stall(self.barriers != Barriers::Hold || dice.random());
            }
        } else if dice.random_ratio(1, 8) {
            let folder = self.begin_stall(hongbao_wallet::sqlite::FILE).await;
            self.go_on_stalling(open_wallet(folder.path()).await, folder, dice);
        }
    }
}

async fn open_store(folder: &Path) -> Arc<dyn Store> {
    Arc::new(SqliteStore::open(folder, Fold::new(1, 1).unwrap(), ZONE_S, Mode::Volatile).await.unwrap())
}

async fn open_wallet(folder: &Path) -> Arc<dyn Wallet> {
    Arc::new(SqliteWallet::open(folder, Mode::Volatile).await.unwrap())
}

impl StoreFaults for Database<dyn Store> {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        Ok(Database::before(self, effect_of(verb))?)
    }

    async fn after(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        Ok(Database::after(self, effect_of(verb))?)
    }

    fn starts(&self) -> u64 {
        self.starts.load(Ordering::SeqCst)
    }

    fn start_of_readings(&self) -> u64 {
        Database::start_of_readings(self)
    }
}

fn effect_of(verb: StoreVerb<'_>) -> Effect {
    use StoreVerb as V;
    match verb {
        V::Create(_) | V::Append(_) | V::Activate | V::Cancel | V::Settle(_) | V::Purge | V::Rotate => Effect::Write,
        V::Close(_) | V::Reopen | V::Seal | V::NoteExported | V::DropExported => Effect::Write,
        V::Barrier => Effect::Barrier,
        V::Fence | V::Look | V::Load | V::LoadFor | V::Entries(_) | V::Tail(_) => Effect::Read,
        V::TailPosition | V::TailPositions | V::Unsettled | V::Waiting => Effect::Read,
        V::IsQuiet(_) | V::Closing | V::Outline | V::Manifests | V::LastManifest => Effect::Read,
        V::Manifest | V::Exported => Effect::Read,
        V::Unpaid | V::Cancelled | V::Expired | V::Scan(..) | V::CountPending | V::ScanEntries(..) => Effect::Read,
    }
}

impl WalletFaults for Database<dyn Wallet> {
    async fn before(&self, verb: WalletVerb) -> Result<(), WalletError> {
        Ok(Database::before(self, effect_in_wallet(verb))?)
    }

    async fn after(&self, verb: WalletVerb) -> Result<(), WalletError> {
        Ok(Database::after(self, effect_in_wallet(verb))?)
    }

    fn starts(&self) -> u64 {
        self.starts.load(Ordering::SeqCst)
    }

    fn start_of_readings(&self) -> u64 {
        Database::start_of_readings(self)
    }
}

fn effect_in_wallet(verb: WalletVerb) -> Effect {
    match verb {
        WalletVerb::PurgeEvents
        | WalletVerb::TakeWebhook
        | WalletVerb::LeaveWebhook
        | WalletVerb::Reserve
        | WalletVerb::PurgeKeys
        | WalletVerb::PurgeCounts
        | WalletVerb::SetFrozen
        | WalletVerb::OpenOrder
        | WalletVerb::TakeUpOrders
        | WalletVerb::ChangeOrders
        | WalletVerb::Hint
        | WalletVerb::Transfer
        | WalletVerb::BeginMonth
        | WalletVerb::PutMonth
        | WalletVerb::SealMonth => Effect::Write,
        WalletVerb::Barrier => Effect::Barrier,
        WalletVerb::Ping
        | WalletVerb::Balance
        | WalletVerb::History
        | WalletVerb::Find
        | WalletVerb::OfEnvelopes
        | WalletVerb::Scan
        | WalletVerb::FreezeLog
        | WalletVerb::FrozenUsers
        | WalletVerb::Accounts
        | WalletVerb::LedgerEnd
        | WalletVerb::Months
        | WalletVerb::MonthBlocks
        | WalletVerb::MonthTies
        | WalletVerb::MonthBalances
        | WalletVerb::UsersAt
        | WalletVerb::Order
        | WalletVerb::Orders
        | WalletVerb::ChargesFor
        | WalletVerb::FindOrders
        | WalletVerb::OrdersInNeed
        | WalletVerb::OrdersHappened
        | WalletVerb::ScanOrders
        | WalletVerb::UnfinishedOrders
        | WalletVerb::ReadFeeds
        | WalletVerb::EndsOfFeeds
        | WalletVerb::FeedsWritten
        | WalletVerb::EventsBehind
        | WalletVerb::Books => Effect::Read,
    }
}
