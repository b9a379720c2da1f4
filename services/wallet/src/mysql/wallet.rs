//! The shards of all servers as one ledger.

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::event::Feed;
use hongbao_core::limits::{WALLET_QUEUE_MAX, WALLET_ROW_LOCK_WAIT_S};
use hongbao_core::{Slot, Timestamp, TransferOutcome, UserId};
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_database::mysql::promise::Promise;
use hongbao_database::returns::{Returning, Returns};
use hongbao_database::{Barrier, DatabaseError, Durability, Generations};
use tokio::task::JoinSet;

use super::layout::{DatabaseServer, plan};
use super::shard::Shard;
use super::transaction::ShardWriter;
use crate::writer::{Queue, Waiting, check_size};
use crate::{Posted, TransferRequest, Wallet, WalletError};

/// The ledger in the databases of all servers.
pub struct MysqlWallet {
    servers: Vec<Arc<Connections>>,
    /// By number.
    shards: Vec<Open>,
    /// Of each slot the place of its shard.
    places: Vec<usize>,
    /// How often a server came back.
    returns: Returns,
}

/// A shard, and feeds that it has, each with the position behind which it is read.
pub(super) type FeedsOfShard = (Arc<Shard>, Vec<(Feed, i64)>);

struct Open {
    shard: Arc<Shard>,
    queue: Queue,
}

impl MysqlWallet {
    /// Connects to all servers; [`migrate`](super::migrate()) has made their databases, of which
    /// there are `databases` over all slots.
    ///
    /// # Errors
    /// [`WalletError::Unavailable`] for the operator: slots that do not
    /// add up, or a database that is not reached, not durable, not migrated, or
    /// made for other slots.
    pub async fn open(servers: Vec<DatabaseServer>, databases: u8) -> Result<MysqlWallet, WalletError> {
        MysqlWallet::open_with_queue(servers, databases, WALLET_QUEUE_MAX).await
    }

    /// The same, with room for `queue_max` waiting calls in each shard, at least one.
    pub async fn open_with_queue(
        servers: Vec<DatabaseServer>,
        databases: u8,
        queue_max: usize,
    ) -> Result<MysqlWallet, WalletError> {
        let wallet = MysqlWallet::unopened(servers, databases, queue_max)?;
        for open in &wallet.shards {
            open.shard.connections.check().await?;
        }
        wallet.open_barriers().await;
        wallet.watch();
        Ok(wallet)
    }

    /// Like [`MysqlWallet::open`], but a server that is down does not keep us from
    /// starting: until it is reached, and found to be durable and the right one,
    /// what concerns its users is [`WalletError::Unavailable`].
    ///
    /// # Errors
    /// As there, for servers that are reached.
    pub async fn open_what_is_up(servers: Vec<DatabaseServer>, databases: u8) -> Result<MysqlWallet, WalletError> {
        let wallet = MysqlWallet::unopened(servers, databases, WALLET_QUEUE_MAX)?;
        let mut silent = HashSet::new();
        for connections in wallet.shards.iter().map(|open| &open.shard.connections) {
            // It need not be waited for again for each of its shards.
            if connections.silent_server().is_some_and(|server| silent.contains(&server)) {
                continue;
            }
            let Err(error) = connections.check().await else { continue };
            match connections.silent_server() {
                Some(server) => silent.insert(server),
                None => return Err(error),
            };
            tracing::error!(%error, "a part of the wallet is down: its users cannot pay until it is back");
        }
        wallet.open_barriers().await;
        wallet.watch();
        Ok(wallet)
    }

    /// From now on it is read again and again what the servers promise.
    fn watch(&self) {
        let mut of_servers: Vec<Vec<Arc<dyn Promise>>> = self.servers.iter().map(|_| Vec::new()).collect();
        for open in &self.shards {
            let (server, promise) = open.shard.connections.promise();
            of_servers[server].push(Arc::new(promise));
        }
        for (server, promises) in self.servers.iter().zip(of_servers) {
            server.watch(promises);
        }
    }

    /// Opens the connections of the barriers, so that the first reading is not void.
    /// A server that is down opens its own when it is back.
    async fn open_barriers(&self) {
        for server in self.servers.iter().filter(|server| server.was_reached()) {
            // One that refuses says so again when it is needed.
            let _ = server.barrier(server.generation()).await;
        }
    }

    /// Nothing is connected yet.
    fn unopened(servers: Vec<DatabaseServer>, databases: u8, queue_max: usize) -> Result<MysqlWallet, WalletError> {
        let plans = plan(&servers, databases)?;
        let row_lock_wait_s = WALLET_ROW_LOCK_WAIT_S;
        let returns = Returns::new();
        let lazy = |server: DatabaseServer| {
            Connections::telling(MysqlOptions { row_lock_wait_s, ..server.options }, returns.clone())
        };
        let servers: Vec<_> = servers.into_iter().map(lazy).collect();
        let mut shards = Vec::with_capacity(plans.len());
        let mut places = vec![0; Slot::all().count()];
        for plan in plans {
            for slot in &plan.slots {
                places[usize::from(slot.number())] = shards.len();
            }
            let server = Arc::clone(&servers[plan.server]);
            server.barrier_lies_in(&plan.name());
            let shard = Arc::new(Shard::new(plan, databases, server));
            shards.push(Open { queue: Queue::start(ShardWriter(Arc::clone(&shard)), queue_max), shard });
        }
        Ok(MysqlWallet { servers, shards, places, returns })
    }

    /// The place of a user's shard.
    fn place_of(&self, user: &UserId) -> usize {
        self.place_of_name(user.as_str())
    }

    /// The same of a user or a group by name.
    fn place_of_name(&self, name: &str) -> usize {
        self.places[usize::from(Slot::of_name(name).number())]
    }

    /// The shards that have any of these feeds, each with those that it has.
    pub(super) fn shards_of_feeds(&self, feeds: &[(Feed, i64)]) -> Vec<FeedsOfShard> {
        let mut split: Vec<Vec<(Feed, i64)>> = self.shards.iter().map(|_| Vec::new()).collect();
        for (feed, after) in feeds {
            split[self.place_of_name(feed.name())].push((feed.clone(), *after));
        }
        let parts = self.shards.iter().zip(split).filter(|(_, feeds)| !feeds.is_empty());
        parts.map(|(open, feeds)| (Arc::clone(&open.shard), feeds)).collect()
    }

    pub(super) fn shard_of(&self, user: &UserId) -> &Shard {
        &self.shards[self.place_of(user)].shard
    }

    /// The shard of this number.
    pub(super) fn shard(&self, number: u8) -> Result<&Shard, WalletError> {
        let none = || WalletError::Unavailable(format!("no part of the wallet has the number {number}"));
        self.from(number).next().filter(|shard| shard.number == number).ok_or_else(none)
    }

    /// The shards from the one of this number on.
    pub(super) fn from(&self, number: u8) -> impl Iterator<Item = &Shard> {
        self.shards.iter().map(|open| &*open.shard).skip_while(move |shard| shard.number < number)
    }

    /// Asks all shards at the same time; gives the answers in no order.
    pub(super) async fn ask_all<T, F>(&self, ask: impl Fn(Arc<Shard>) -> F) -> Result<Vec<T>, WalletError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, WalletError>> + Send + 'static,
    {
        // Dropped with this future: then the answers are not needed.
        let mut asked: JoinSet<Result<T, WalletError>> =
            self.shards.iter().map(|open| ask(Arc::clone(&open.shard))).collect();
        let mut answers = Vec::with_capacity(self.shards.len());
        while let Some(answer) = asked.join_next().await {
            answers.push(answer.map_err(|error| WalletError::Unavailable(error.to_string()))??);
        }
        Ok(answers)
    }

    /// What all shards have of what is wanted, in the order of the ids.
    pub(super) async fn found<T, F>(
        &self,
        wanted: &[T],
        ask: fn(Arc<Shard>, Arc<[T]>) -> F,
    ) -> Result<Vec<Posted>, WalletError>
    where
        T: Copy,
        F: Future<Output = Result<Vec<Posted>, WalletError>> + Send + 'static,
    {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Arc<[T]> = wanted.into();
        let mut found = self.ask_all(|shard| ask(shard, Arc::clone(&wanted))).await?.concat();
        found.sort_by_key(|posted| posted.transfer.id);
        Ok(found)
    }
}

/// The part of a call that is for one shard.
#[derive(Default)]
struct PartToQueue {
    places: Vec<usize>,
    request: TransferRequest,
}

impl PartToQueue {
    fn is_empty(&self) -> bool {
        self.request.transfers.is_empty() && self.request.notes.is_empty()
    }
}

/// The part of a call that one shard executes, and where its outcomes belong.
struct PartOfCall {
    places: Vec<usize>,
    waiting: Waiting,
}

/// Puts the outcomes of the parts together. If some of it was written and some
/// was not, or may not have been, the caller has to ask again for all of it.
async fn gather(parts: Vec<PartOfCall>, count: usize) -> Result<Vec<TransferOutcome>, WalletError> {
    let mut outcomes = vec![TransferOutcome::Conflict; count];
    let (mut done, mut failed) = (0, Vec::new());
    for PartOfCall { places, waiting } in parts {
        match waiting.outcomes().await {
            Ok(own) => {
                done += 1;
                for (place, outcome) in places.into_iter().zip(own) {
                    outcomes[place] = outcome;
                }
            }
            Err(error) => failed.push(error),
        }
    }
    let Some(error) = failed.pop() else { return Ok(outcomes) };
    let unknown = |error: &WalletError| matches!(error, WalletError::Unknown(_));
    if done > 0 || failed.iter().any(unknown) {
        return Err(match error {
            WalletError::Unknown(reason) => WalletError::Unknown(reason),
            other => WalletError::Unknown(format!("a part of the transfers failed: {other}")),
        });
    }
    Err(error)
}

/// Each server has a barrier of its own: all of them together make durable what was
/// read anywhere.
#[async_trait]
impl Barrier for MysqlWallet {
    fn generations(&self) -> Generations {
        Generations(self.servers.iter().map(|server| server.generation()).collect())
    }

    async fn barrier(&self, since: &Generations) -> Result<bool, DatabaseError> {
        let mut passing: JoinSet<Result<bool, DatabaseError>> = JoinSet::new();
        for (server, since) in self.servers.iter().cloned().zip(since.0.iter().copied()) {
            passing.spawn(async move { server.barrier(since).await });
        }
        let mut is_durable = since.0.len() == self.servers.len();
        while let Some(passed) = passing.join_next().await {
            is_durable &= passed.map_err(|error| DatabaseError::Unavailable(error.to_string()))??;
        }
        Ok(is_durable)
    }
}

#[async_trait]
impl Wallet for MysqlWallet {
    async fn transfer_within(&self, request: TransferRequest) -> Result<Vec<TransferOutcome>, WalletError> {
        let TransferRequest { transfers, notes, quotas } = request;
        check_size(&transfers)?;
        transfers.iter().try_for_each(|transfer| self.shard_of(&transfer.user).check_known(&transfer.user))?;
        let count = transfers.len();
        let mut split: Vec<PartToQueue> = self.shards.iter().map(|_| PartToQueue::default()).collect();
        for (place, transfer) in transfers.into_iter().enumerate() {
            let part = &mut split[self.place_of(&transfer.user)];
            part.places.push(place);
            part.request.quotas.extend(quotas.iter().filter(|(id, _)| *id == transfer.id));
            part.request.transfers.push(transfer);
        }
        for note in notes {
            split[self.place_of_name(note.feed.name())].request.notes.push(note);
        }
        // A place in every queue first: when one is full, nothing has happened in the others.
        let mut parts = Vec::new();
        for (open, part) in self.shards.iter().zip(split).filter(|(_, part)| !part.is_empty()) {
            parts.push((open.queue.place()?, part));
        }
        let queued = parts
            .into_iter()
            .map(|(queue, PartToQueue { places, request })| PartOfCall { places, waiting: queue.fill(request) });
        gather(queued.collect(), count).await
    }

    fn durability(&self) -> Durability {
        let servers: Vec<Durability> = self.servers.iter().map(|server| server.durability()).collect();
        let reason: Vec<&str> = servers.iter().map(|durability| durability.settings.as_str()).collect();
        Durability { settings: reason.join("; "), full: servers.iter().all(|durability| durability.full) }
    }

    fn refusal(&self) -> Option<String> {
        let reason: Vec<String> = self.servers.iter().filter_map(|server| server.health().refusal()).collect();
        (!reason.is_empty()).then(|| reason.join("; "))
    }

    fn unguarded(&self) -> Option<String> {
        let shards = self.shards.iter().map(|open| &open.shard).filter(|shard| shard.connections.is_unguarded());
        let names: Vec<&str> = shards.map(|shard| shard.db.as_str()).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn returns(&self) -> Returning {
        self.returns.awaited()
    }

    async fn ping(&self) -> Result<Vec<Timestamp>, WalletError> {
        let mut clocks = Vec::with_capacity(self.servers.len());
        for server in &self.servers {
            clocks.push(server.ping().await?);
        }
        Ok(clocks)
    }

    fn queue_depth(&self) -> usize {
        self.shards.iter().map(|open| open.queue.depth()).sum()
    }
}
