//! A wallet that may fail before and after every verb: for tests that make a
//! wallet fail on demand, beside those that break a real one.

use std::future::ready;
use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::event::Feed;
use hongbao_core::manifest::{Block, Month, Tie};
use hongbao_core::{
    Date, EnvelopeId, Fen, Order, OrderId, OrderKind, Timestamp, Transfer, TransferId, TransferKind, TransferOutcome,
    UserId,
};
use hongbao_database::returns::Returning;
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};

use hongbao_wallet::{
    AccountRow, Boundaries, Changed, EventsBehind, FeedsPage, FeedsWritten, FreezeChange, FreezeVersion, LedgerEnd,
    Line, MonthAttempt, MonthPart, MonthRow, NewEnvelope, NewOrder, OrderChange, OrderOpening, Orders, Posted,
    Reserved, SetFrozen, ShardPlace, TakenUp, TransferRequest, UnfinishedOrders, UserAt, Wallet, WalletError,
    WalletEvents, WalletFreezes, WalletGuards, WalletMonths, WalletReads, WalletScans, WebhookPlace,
};

use super::{Replaceable, barrier_after, generations_after};

/// The verb that may fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "each is the verb of the same name")]
pub enum WalletVerb {
    Transfer,
    Ping,
    Balance,
    History,
    Find,
    OfEnvelopes,
    Scan,
    Accounts,
    LedgerEnd,
    Months,
    MonthBlocks,
    MonthTies,
    MonthBalances,
    UsersAt,
    BeginMonth,
    PutMonth,
    SealMonth,
    Reserve,
    PurgeKeys,
    PurgeCounts,
    SetFrozen,
    FreezeLog,
    FrozenUsers,
    Books,
    OpenOrder,
    Order,
    Orders,
    ChargesFor,
    FindOrders,
    TakeUpOrders,
    ChangeOrders,
    Hint,
    OrdersInNeed,
    OrdersHappened,
    ScanOrders,
    UnfinishedOrders,
    ReadFeeds,
    EndsOfFeeds,
    FeedsWritten,
    EventsBehind,
    TakeWebhook,
    LeaveWebhook,
    PurgeEvents,
    Barrier,
}

/// Decides whether a verb fails.
pub trait WalletFaults: Send + Sync + 'static {
    /// Before the verb: an error, and it is not executed.
    fn before(&self, _verb: WalletVerb) -> impl Future<Output = Result<(), WalletError>> + Send {
        ready(Ok(()))
    }

    /// After a verb that succeeded: an error takes the place of its answer.
    fn after(&self, _verb: WalletVerb) -> impl Future<Output = Result<(), WalletError>> + Send {
        ready(Ok(()))
    }

    /// As of [`StoreFaults`](super::StoreFaults).
    fn starts(&self) -> u64 {
        0
    }

    /// As of [`StoreFaults`](super::StoreFaults).
    fn start_of_readings(&self) -> u64 {
        self.starts()
    }
}

/// A wallet whose verbs fail as `G` decides.
pub struct FaultInjectingWallet<G> {
    inner: Arc<Replaceable<dyn Wallet>>,
    faults: Arc<G>,
}

impl<G: WalletFaults> FaultInjectingWallet<G> {
    /// The real wallet, and who decides.
    pub fn new(inner: Arc<dyn Wallet>, faults: Arc<G>) -> FaultInjectingWallet<G> {
        FaultInjectingWallet::replaceable(Arc::new(Replaceable::new(inner)), faults)
    }

    /// The same for a wallet in whose place another may be put.
    pub fn replaceable(inner: Arc<Replaceable<dyn Wallet>>, faults: Arc<G>) -> FaultInjectingWallet<G> {
        FaultInjectingWallet { inner, faults }
    }

    async fn inject<T, F: Future<Output = Result<T, WalletError>>>(
        &self,
        verb: WalletVerb,
        call: impl FnOnce(Arc<dyn Wallet>) -> F,
    ) -> Result<T, WalletError> {
        self.faults.before(verb).await?;
        let starts = self.faults.starts();
        let done = call(self.inner.now()).await?;
        self.faults.after(verb).await?;
        match self.faults.starts() == starts {
            true => Ok(done),
            false => Err(WalletError::Unknown("the connection is gone".to_owned())),
        }
    }
}

#[async_trait]
impl<G: WalletFaults> Barrier for FaultInjectingWallet<G> {
    fn generations(&self) -> Generations {
        generations_after(self.faults.start_of_readings(), self.inner.now().generations())
    }
    async fn barrier(&self, since: &Generations) -> Result<bool, DatabaseError> {
        let passed = self.inject(WalletVerb::Barrier, |inner| async move {
            Ok(barrier_after(self.faults.start_of_readings(), since, inner).await?)
        });
        passed.await.map_err(|error| DatabaseError::Unknown(error.to_string()))
    }
}

#[async_trait]
impl<G: WalletFaults> Wallet for FaultInjectingWallet<G> {
    async fn transfer_within(&self, request: TransferRequest) -> Result<Vec<TransferOutcome>, WalletError> {
        self.inject(WalletVerb::Transfer, |inner| async move { inner.transfer_within(request).await }).await
    }
    fn durability(&self) -> Durability {
        self.inner.now().durability()
    }
    fn refusal(&self) -> Option<String> {
        self.inner.now().refusal()
    }
    fn unguarded(&self) -> Option<String> {
        self.inner.now().unguarded()
    }
    fn returns(&self) -> Returning {
        self.inner.now().returns()
    }
    async fn ping(&self) -> Result<Vec<Timestamp>, WalletError> {
        self.inject(WalletVerb::Ping, |inner| async move { inner.ping().await }).await
    }
    fn queue_depth(&self) -> usize {
        self.inner.now().queue_depth()
    }
}

/// Implements a group of verbs: each may fail before and after the wallet has executed it.
macro_rules! with_faults {
    ($group:ident { $($verb:ident => $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;)* $([$plain:item])? }) => {
        #[async_trait]
        impl<G: WalletFaults> $group for FaultInjectingWallet<G> {
            $($plain)?

            $(async fn $name(&self, $($arg: $type),*) -> Result<$answer, WalletError> {
                self.inject(WalletVerb::$verb, |inner| async move { inner.$name($($arg),*).await }).await
            })*
        }
    };
}

with_faults! { WalletReads {
    Balance => balance(user: &UserId) -> Fen;
    History => history(user: &UserId, kinds: &[TransferKind], before: Option<i64>, limit: u32) -> Vec<Posted>;
    Find => find(ids: &[TransferId]) -> Vec<Transfer>;
} }

with_faults! { WalletScans {
    OfEnvelopes => of_envelopes(envelopes: &[EnvelopeId]) -> Vec<Posted>;
    Scan => scan(after: i64, limit: u32) -> Vec<Line>;
    Accounts => accounts(after: Option<&str>, limit: u32, sealed: &Boundaries) -> Vec<AccountRow>;
    Books => books() -> Books;
} }

with_faults! { Orders {
    OpenOrder => open_order(new: NewOrder) -> OrderOpening;
    Order => order(user: &UserId, id: OrderId) -> Option<Order>;
    Orders => orders(user: &UserId, kind: OrderKind, before: Option<OrderId>, limit: u32) -> Vec<Order>;
    ChargesFor => charges_for(user: &UserId, envelope: EnvelopeId) -> Vec<Order>;
    FindOrders => find_orders(ids: &[OrderId]) -> Vec<Order>;
    TakeUpOrders => take_up_orders(now: Timestamp, limit: u32) -> Vec<TakenUp>;
    ChangeOrders => change_orders(changes: Vec<OrderChange>) -> Vec<Changed>;
    Hint => hint(id: OrderId, now: Timestamp) -> bool;
    OrdersInNeed => orders_in_need(after: Option<OrderId>, limit: u32) -> Vec<Order>;
    OrdersHappened => orders_happened(from: Timestamp, until: Timestamp, after: Option<OrderId>, limit: u32) -> Vec<Order>;
    ScanOrders => scan_orders(after: Option<OrderId>, limit: u32) -> Vec<Order>;
    UnfinishedOrders => unfinished_orders() -> UnfinishedOrders;
} }

with_faults! { WalletMonths {
    LedgerEnd => ledger_end(shard: u8) -> LedgerEnd;
    Months => months(shard: u8, after: u64, limit: u32) -> Vec<MonthRow>;
    MonthBlocks => month_blocks(shard: u8, number: u64) -> Vec<Block>;
    MonthTies => month_ties(shard: u8, number: u64) -> Vec<(Date, Tie)>;
    MonthBalances => month_balances(shard: u8, number: u64, after: &str, limit: u32) -> Vec<(String, i64)>;
    UsersAt => users_at(shard: u8, after: &str, position: i64, number: u64, limit: u32) -> Vec<UserAt>;
    BeginMonth => begin_month(shard: u8) -> MonthAttempt;
    PutMonth => put_month(attempt: &MonthAttempt, part: MonthPart) -> bool;
    SealMonth => seal_month(attempt: &MonthAttempt, month: &Month) -> bool;
    [fn shards(&self) -> Vec<ShardPlace> {
        self.inner.now().shards()
    }]
} }

with_faults! { WalletGuards {
    Reserve => reserve(envelope: &NewEnvelope) -> Reserved;
    PurgeKeys => purge_keys(shard: u8, before: Timestamp, limit: u32) -> u32;
    PurgeCounts => purge_counts(shard: u8, date: Date, until: Timestamp, limit: u32) -> u32;
} }

with_faults! { WalletEvents {
    ReadFeeds => read_feeds(feeds: &[(Feed, i64)], rows_max: u32) -> Vec<FeedsPage>;
    EndsOfFeeds => ends_of_feeds(feeds: &[Feed]) -> Vec<FeedsPage>;
    FeedsWritten => feeds_written(shard: u8, after: Option<i64>) -> FeedsWritten;
    EventsBehind => events_behind(shard: u8, after: i64, rows_max: u32) -> EventsBehind;
    TakeWebhook => take_webhook(shard: u8, by: &str, now: Timestamp, until: Timestamp) -> Option<WebhookPlace>;
    LeaveWebhook => leave_webhook(shard: u8, by: &str, place: WebhookPlace) -> bool;
    PurgeEvents => purge_events(shard: u8, before: Timestamp, limit: u32) -> u32;
} }

with_faults! { WalletFreezes {
    SetFrozen => set_frozen(change: &FreezeChange) -> SetFrozen;
    FreezeLog => freeze_log(user: &UserId, limit: u32) -> Vec<FreezeChange>;
    FrozenUsers => frozen_users(shard: u8) -> Vec<FreezeChange>;
    [async fn freeze_versions(&self) -> Vec<FreezeVersion> {
        self.inner.now().freeze_versions().await
    }]
} }
