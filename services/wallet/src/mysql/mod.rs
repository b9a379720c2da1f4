//! The built-in ledger over the MySQL protocol, sharded by user.
//!
//! A user's slot is `stable_hash(user) % 100`; a database server (or a
//! cluster that looks like one) holds some of the slots, folded by modulo to its
//! databases `wallet_00` and so on. Each of these is a shard.
//!
//! Several processes may write a shard: a transaction first locks the row of
//! `ledger`, so writers come one after another, and none ever waits for a second
//! lock. In a process the calls that wait for a shard share its next transaction.
//!
//! | verb | round trips |
//! |---|---|
//! | `transfer`, for up to 1,024 transfers of any number of callers | 2 in each shard, the shards at the same time |
//! | the same after a deadlock (error 1213, on a cluster also at the commit) | 2 more each time, at most 5 times in all |
//! | `balance`, `history` | 1 |
//! | `find`, `of_envelopes`, whose ids do not tell the user | 1 in each shard, at the same time |
//! | `scan`, `accounts`, `balances`, a page of them | 1 in each shard that it reaches, 2 where a history goes on; for the first page of accounts in a shard 1 more, and 1 for each 10,000 transfers there |
//! | `books` | 1 in each shard, and 1 for each 1,000 users there, the shards at the same time |

mod layout;
mod migrate;
mod promise;
mod reader;
mod shard;
mod transaction;
mod verified;

use std::collections::HashSet;
use std::sync::Arc;

use async_trait::async_trait;
use hongbao_core::audit::Books;
use hongbao_core::limits::{WALLET_QUEUE_MAX, WALLET_ROW_LOCK_WAIT_S};
use hongbao_core::{
    EnvelopeId, Fen, Slot, Timestamp, Traffic, Transfer, TransferId, TransferKind, TransferOutcome, UserId,
};
use hongbao_database::DatabaseError;
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_database::mysql::watch::Promise;
use hongbao_database::returns::{Returning, Returns};
use hongbao_database::{Barrier, Durability, Generations};
use tokio::task::JoinSet;

use self::layout::{plan, slot_of};
use self::shard::{Shard, ShardWriter};
use crate::writer::{Queue, Waiting, check_size};
use crate::{AccountRow, BalanceLine, Posted, Wallet, WalletError};

pub use self::layout::database_names;
pub use self::migrate::migrate;

/// Bits of a position that count inside a shard; those above it name the shard.
/// With 100 shards all of it stays below 2^53, up to which JSON numbers are exact.
const POSITION_BITS: u32 = 46;
const _: () = assert!((hongbao_core::id::SLOTS as i64) << POSITION_BITS < 1 << 53);

/// A database server, or a cluster of them, with the slots of users that it holds.
#[derive(Clone, Debug)]
pub struct DatabaseServer {
    /// How to reach it.
    pub options: MysqlOptions,
    /// Its slots.
    pub slots: Vec<Slot>,
    /// Whose money: each kind of traffic has databases of its own, by name.
    pub traffic: Traffic,
}

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

struct Open {
    shard: Arc<Shard>,
    queue: Queue,
}

impl MysqlWallet {
    /// Connects to all servers; [`migrate`] has made their databases, of which
    /// there are `databases` over all slots.
    ///
    /// # Errors
    /// [`WalletError::Unavailable`] in words for an operator: slots that do not
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

    /// Like [`MysqlWallet::open`], but a server that is down keeps nobody from
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
            // One that refuses says so again to whoever needs it.
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
        self.places[usize::from(slot_of(user).number())]
    }

    fn shard_of(&self, user: &UserId) -> &Shard {
        &self.shards[self.place_of(user)].shard
    }

    /// The shards from the one of this number on.
    fn from(&self, number: u8) -> impl Iterator<Item = &Shard> {
        self.shards.iter().map(|open| &*open.shard).skip_while(move |shard| shard.number < number)
    }

    /// Asks all shards at the same time; gives the answers in no order.
    async fn ask_all<T, F>(&self, ask: impl Fn(Arc<Shard>) -> F) -> Result<Vec<T>, WalletError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, WalletError>> + Send + 'static,
    {
        // Dropped when this is: then nobody waits for the answers.
        let mut asked: JoinSet<Result<T, WalletError>> =
            self.shards.iter().map(|open| ask(Arc::clone(&open.shard))).collect();
        let mut answers = Vec::with_capacity(self.shards.len());
        while let Some(answer) = asked.join_next().await {
            answers.push(answer.map_err(|error| WalletError::Unavailable(error.to_string()))??);
        }
        Ok(answers)
    }

    /// What all shards have of what is wanted, in the order of the ids.
    async fn found<T, F>(&self, wanted: &[T], ask: fn(Arc<Shard>, Arc<[T]>) -> F) -> Result<Vec<Transfer>, WalletError>
    where
        T: Copy,
        F: Future<Output = Result<Vec<Transfer>, WalletError>> + Send + 'static,
    {
        if wanted.is_empty() {
            return Ok(Vec::new());
        }
        let wanted: Arc<[T]> = wanted.into();
        let mut found = self.ask_all(|shard| ask(shard, Arc::clone(&wanted))).await?.concat();
        found.sort_by_key(|transfer| transfer.id);
        Ok(found)
    }
}

/// A position as callers see it: the shard's number, then the place inside it.
fn outer(shard: &Shard, position: i64) -> i64 {
    position + (i64::from(shard.number) << POSITION_BITS)
}

fn outer_posted(shard: &Shard, posted: Posted) -> Posted {
    Posted { position: outer(shard, posted.position), ..posted }
}

/// The place inside a shard of a position as callers see it.
fn inner(shard: &Shard, position: i64) -> i64 {
    position.saturating_sub(i64::from(shard.number) << POSITION_BITS)
}

/// The number of the shard that a position as callers see it belongs to.
fn number_of(position: i64) -> u8 {
    u8::try_from(position.max(0) >> POSITION_BITS).unwrap_or(u8::MAX)
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
    async fn transfer(&self, transfers: Vec<Transfer>) -> Result<Vec<TransferOutcome>, WalletError> {
        check_size(&transfers)?;
        let count = transfers.len();
        let mut split: Vec<(Vec<usize>, Vec<Transfer>)> = self.shards.iter().map(|_| Default::default()).collect();
        for (place, transfer) in transfers.into_iter().enumerate() {
            let (places, part) = &mut split[self.place_of(&transfer.user)];
            places.push(place);
            part.push(transfer);
        }
        // A place in every queue first: when one is full, nothing has happened in the others.
        let mut parts = Vec::new();
        for (open, (places, part)) in self.shards.iter().zip(split).filter(|(_, (places, _))| !places.is_empty()) {
            parts.push((open.queue.place()?, places, part));
        }
        let queued = parts.into_iter().map(|(queue, places, part)| PartOfCall { places, waiting: queue.fill(part) });
        gather(queued.collect(), count).await
    }

    async fn balance(&self, user: &UserId) -> Result<Fen, WalletError> {
        reader::balance(self.shard_of(user), user).await
    }

    async fn history(
        &self,
        user: &UserId,
        kinds: &[TransferKind],
        before: Option<i64>,
        limit: u32,
    ) -> Result<Vec<Posted>, WalletError> {
        let shard = self.shard_of(user);
        let before = before.map_or(i64::MAX, |before| inner(shard, before));
        let page = reader::history(shard, user, kinds, before, limit).await?;
        Ok(page.into_iter().map(|posted| outer_posted(shard, posted)).collect())
    }

    async fn of_envelopes(&self, envelopes: &[EnvelopeId]) -> Result<Vec<Transfer>, WalletError> {
        self.found(envelopes, |shard, envelopes| async move { reader::of_envelopes(&shard, &envelopes).await }).await
    }

    async fn find(&self, ids: &[TransferId]) -> Result<Vec<Transfer>, WalletError> {
        self.found(ids, |shard, ids| async move { reader::find(&shard, &ids).await }).await
    }

    async fn scan(&self, after: i64, limit: u32) -> Result<Vec<Posted>, WalletError> {
        let mut page: Vec<Posted> = Vec::new();
        for shard in self.from(number_of(after)) {
            let room = limit - page.len() as u32;
            if room == 0 {
                break;
            }
            let rows = reader::scan(shard, inner(shard, after).max(0), room).await?;
            page.extend(rows.into_iter().map(|posted| outer_posted(shard, posted)));
        }
        Ok(page)
    }

    async fn accounts(&self, after: Option<&str>, limit: u32) -> Result<Vec<AccountRow>, WalletError> {
        // An account of the system names its shard, a user's name leads to it.
        let first = match (after, after.and_then(UserId::parse)) {
            (None, _) => 0,
            (Some(_), Some(user)) => self.shard_of(&user).number,
            (Some(system), None) => {
                let number = system.rsplit_once('/').and_then(|(_, number)| number.parse().ok());
                number.ok_or_else(|| WalletError::Unavailable(format!("no account is called {system:?}")))?
            }
        };
        let mut page: Vec<AccountRow> = Vec::new();
        for shard in self.from(first) {
            let after = after.filter(|_| shard.number == first).unwrap_or_default();
            let is_user = UserId::parse(after).is_some();
            if !is_user {
                let system = reader::system_accounts(shard).await?;
                page.extend(system.into_iter().filter(|row| row.account.as_str() > after));
            }
            page.truncate(limit as usize);
            let room = limit - page.len() as u32;
            if room == 0 {
                break;
            }
            page.extend(reader::user_accounts(shard, if is_user { after } else { "" }, room).await?);
        }
        Ok(page)
    }

    async fn balances(&self, after: Option<(&UserId, i64)>, limit: u32) -> Result<Vec<BalanceLine>, WalletError> {
        let first = after.map_or(0, |(user, _)| self.shard_of(user).number);
        let mut page: Vec<BalanceLine> = Vec::new();
        for shard in self.from(first) {
            let room = limit - page.len() as u32;
            if room == 0 {
                break;
            }
            let after = after.filter(|_| shard.number == first);
            let after = after.map(|(user, position)| (user, inner(shard, position)));
            let lines = reader::balances(shard, after, room).await?;
            page.extend(lines.into_iter().map(|line| BalanceLine { position: outer(shard, line.position), ..line }));
        }
        Ok(page)
    }

    async fn books(&self) -> Result<Books, WalletError> {
        let of_shards = self.ask_all(|shard| async move { reader::books(&shard).await }).await?;
        Ok(of_shards.into_iter().fold(Books::default(), |sum, books| Books {
            balances_fen: sum.balances_fen + books.balances_fen,
            outstanding_fen: sum.outstanding_fen + books.outstanding_fen,
            top_ups_fen: sum.top_ups_fen + books.top_ups_fen,
        }))
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
            clocks.extend(server.ping().await?);
        }
        Ok(clocks)
    }

    fn queue_depth(&self) -> usize {
        self.shards.iter().map(|open| open.queue.depth()).sum()
    }
}
