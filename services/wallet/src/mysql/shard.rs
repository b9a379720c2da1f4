//! One shard: a ledger in one database.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::limits::{DURABLE_READ_TRIES_MAX, SQL_LIST_MAX};
use hongbao_core::{TransferId, UserId};
use hongbao_database::durable::read_across_a_start;
use hongbao_database::mysql::connection::{Connections, Lease, within};
use hongbao_database::mysql::failure::{QueryError, reading};
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::row::StoredRow as _;
use parking_lot::Mutex;
use sqlx::mysql::MySqlRow;
use sqlx::{Executor as _, Row as _};

use super::fence::{Fence, split_fence, text_joined_with_fence, text_with_fence};
use super::layout::ShardPlan;
use super::slots::SlotSet;
use super::verified::VerifiedConnections;
use crate::{Posted, WalletError};

/// Bits of a position that count inside a shard; those above it name the shard.
/// With 100 shards all of it stays below 2^53, up to which JSON numbers are exact.
const POSITION_BITS: u32 = 46;
const _: () = assert!((hongbao_core::id::SLOTS as i64) << POSITION_BITS < 1 << 53);

/// What a transfer is read from.
pub(super) const TRANSFER_COLUMNS: &str = "id, user_id, kind, amount_fen, at_ms";
/// How much longer a statement of the audit may take: it goes over whole tables.
const AUDIT_PATIENCE: u32 = 12;

/// What a shard is made of.
pub(super) struct Shard {
    /// Its lowest slot.
    pub number: u8,
    /// `wallet_00`, which stands before each table's name.
    pub db: String,
    /// The number in it.
    pub database: u8,
    /// The slots that it holds.
    slots: SlotSet,
    /// The way to its server.
    pub connections: VerifiedConnections,
    durable_to: DurableTo,
    /// The same of events.
    events_durable_to: DurableTo,
    /// Slots that are known to have left; they never come back.
    left: Mutex<Fence>,
}

/// The greatest position that is known to be durable, in one generation of the
/// shard's server: after it, another node may have taken its place.
#[derive(Default)]
struct DurableTo(Mutex<(u64, i64)>);

impl DurableTo {
    fn covers(&self, generation: u64, position: i64) -> bool {
        let known = *self.0.lock();
        position == 0 || (known.0 == generation && position <= known.1)
    }

    /// Up to where it is known.
    fn known(&self, generation: u64) -> i64 {
        let known = *self.0.lock();
        if known.0 == generation { known.1 } else { 0 }
    }

    fn note(&self, generation: u64, position: i64) {
        let mut known = self.0.lock();
        if known.0 != generation {
            *known = (generation, 0);
        }
        known.1 = known.1.max(position);
    }
}

impl Shard {
    pub fn new(plan: ShardPlan, databases: u8, server: Arc<Connections>) -> Shard {
        Shard {
            number: plan.number,
            db: plan.name(),
            database: plan.database,
            slots: plan.slot_set(),
            connections: VerifiedConnections::new(server, plan, databases),
            durable_to: DurableTo::default(),
            events_durable_to: DurableTo::default(),
            left: Mutex::default(),
        }
    }

    /// The slots that it holds.
    pub fn slots(&self) -> SlotSet {
        self.slots
    }

    /// Refuses a user who is known to have left, before the refusal disturbs a batch.
    pub fn check_known(&self, user: &UserId) -> Result<(), WalletError> {
        self.left.lock().check_user(&self.db, user)
    }

    /// Remembers who has left.
    pub fn note_left(&self, fence: Fence) {
        self.left.lock().moved = fence.moved;
    }

    /// A position as callers see it: the shard's number, then the place inside it.
    pub fn outer(&self, position: i64) -> i64 {
        position + (i64::from(self.number) << POSITION_BITS)
    }

    /// The same for a transfer.
    pub fn outer_posted(&self, posted: Posted) -> Posted {
        Posted { position: self.outer(posted.position), ..posted }
    }

    /// The place inside a shard of a position that a user was shown, be it before the
    /// user's slot was moved here: places are kept, and only the shard's number differs.
    pub fn inner_of_any(position: i64) -> i64 {
        if position <= 0 { position } else { position & ((1 << POSITION_BITS) - 1) }
    }

    /// The place inside the shard of a position as callers see it.
    pub fn inner(&self, position: i64) -> i64 {
        position.saturating_sub(i64::from(self.number) << POSITION_BITS)
    }

    /// The rows that a statement finds, of all users that the shard holds; one round trip.
    pub async fn fetch(&self, sql: &str) -> Result<Found, WalletError> {
        let (rows, fence) = split_fence(self.ask_for(&text_with_fence(&self.db, "", sql)).await?)?;
        let fence = fence.ok_or_else(|| self.without_fence())?;
        fence.check_all(&self.db, self.slots)?;
        Ok(Found { rows, fence })
    }

    /// The rows that a statement finds of a user, as they are visible.
    pub async fn fetch_for(&self, user: &UserId, sql: &str) -> Result<Vec<MySqlRow>, WalletError> {
        let (rows, fence) = split_fence(self.ask_for(&text_with_fence(&self.db, "", sql)).await?)?;
        fence.ok_or_else(|| self.without_fence())?.check_user(&self.db, user)?;
        Ok(rows)
    }

    /// The rows that a statement finds of users who have not left, whose name is in this column; and how many it
    /// finds of all.
    pub async fn fetch_of_those_who_stay(
        &self,
        sql: &str,
        name_in: usize,
    ) -> Result<(Vec<MySqlRow>, usize), WalletError> {
        let (rows, fence) = split_fence(self.ask_for(&text_with_fence(&self.db, "", sql)).await?)?;
        let fence = fence.ok_or_else(|| self.without_fence())?;
        fence.check_open(&self.db)?;
        let (mut staying, found) = (Vec::with_capacity(rows.len()), rows.len());
        for row in rows {
            if !fence.has_left(row.text(name_in)?) {
                staying.push(row);
            }
        }
        Ok((staying, found))
    }

    /// What a user is shown: no crash takes it back. The column `position_in` of each
    /// row is its position in this shard. Positions are written in order, so a barrier
    /// that comes after one was seen covers all before it, and most readings need none.
    pub async fn fetch_durably(
        &self,
        user: &UserId,
        sql: &str,
        position_in: usize,
    ) -> Result<Vec<MySqlRow>, WalletError> {
        let text = text_joined_with_fence(&self.db, sql);
        for _ in 0..DURABLE_READ_TRIES_MAX {
            let generation = self.connections.generation();
            let mut rows = self.ask_for(&text).await?;
            let first = rows.first().ok_or_else(|| self.without_fence())?;
            let fence = Fence::read(first, first.len() - 2)?.ok_or_else(|| self.without_fence())?;
            fence.check_user(&self.db, user)?;
            if first.int_or_null(position_in)?.is_none() {
                rows.clear();
            }
            let mut newest = 0;
            for row in &rows {
                newest = newest.max(row.int(position_in)?);
            }
            if self.durable_to.covers(generation, newest) && self.connections.generation() == generation {
                return Ok(rows);
            }
            if self.connections.barrier(generation).await? {
                self.durable_to.note(generation, newest);
                return Ok(rows);
            }
        }
        Err(read_across_a_start().into())
    }

    /// The rows of events that `read` finds in the answer to a text between two that read the fence, for users and
    /// groups of these slots: no crash takes them back. `read` also gives the greatest position among them, and what
    /// it makes of them where all up to a position is durable.
    pub async fn fetch_events<T>(
        &self,
        slots: SlotSet,
        sql: &str,
        read: impl Fn(Vec<MySqlRow>) -> Result<(i64, T), WalletError>,
    ) -> Result<(T, i64), WalletError> {
        let text = text_with_fence(&self.db, "", sql);
        for _ in 0..DURABLE_READ_TRIES_MAX {
            let generation = self.connections.generation();
            let (rows, fence) = split_fence(self.ask_for(&text).await?)?;
            fence.ok_or_else(|| self.without_fence())?.check_all(&self.db, slots)?;
            let (newest, found) = read(rows)?;
            if self.events_durable_to.covers(generation, newest) && self.connections.generation() == generation {
                return Ok((found, self.events_durable_to.known(generation)));
            }
            if self.connections.barrier(generation).await? {
                self.events_durable_to.note(generation, newest);
                return Ok((found, newest));
            }
        }
        Err(read_across_a_start().into())
    }

    /// What the audit reads, which may take longer, of all users that the shard holds.
    pub async fn fetch_patiently(&self, sql: &str) -> Result<Found, WalletError> {
        let try_fetch = || async {
            let lease = self.connections.lease().await?;
            let (before, limit) = lease.with_timeout_factor(AUDIT_PATIENCE);
            Ok(ask(lease, &text_with_fence(&self.db, &before, sql), limit).await)
        };
        let (rows, fence) = split_fence(once_more_if_lost(try_fetch).await?)?;
        // The audit goes on without it, and no user is served.
        let fence = fence.unwrap_or_default();
        fence.check_all(&self.db, self.slots)?;
        Ok(Found { rows, fence })
    }

    /// The rows of a text; one round trip.
    pub async fn ask_for(&self, text: &str) -> Result<Vec<MySqlRow>, WalletError> {
        let try_fetch = || async {
            let lease = self.connections.lease().await?;
            let limit = lease.limit();
            Ok(ask(lease, text, limit).await)
        };
        once_more_if_lost(try_fetch).await
    }

    fn without_fence(&self) -> WalletError {
        WalletError::Damaged(format!("{}.fence has no row", self.db))
    }
}

/// Rows, among which there are those of users who have left.
pub(super) struct Found {
    /// As they are stored.
    pub rows: Vec<MySqlRow>,
    /// What tells who has left.
    pub fence: Fence,
}

impl Found {
    /// What becomes of the rows, without those of users who have left.
    pub fn parse<T>(
        &self,
        parse: impl Fn(&MySqlRow) -> Result<T, WalletError>,
        name: impl Fn(&T) -> &str,
    ) -> Result<Vec<T>, WalletError> {
        self.parse_first(usize::MAX, parse, name)
    }

    /// The same of the first so many that are left; those behind them are not looked at.
    pub fn parse_first<T>(
        &self,
        limit: usize,
        parse: impl Fn(&MySqlRow) -> Result<T, WalletError>,
        name: impl Fn(&T) -> &str,
    ) -> Result<Vec<T>, WalletError> {
        let parsed = self.rows.iter().map(parse);
        let stays = |row: &Result<T, WalletError>| !row.as_ref().is_ok_and(|row| self.fence.has_left(name(row)));
        parsed.filter(stays).take(limit).collect()
    }
}

/// The number of the shard that a position as callers see it belongs to.
pub(super) fn shard_number(position: i64) -> u8 {
    u8::try_from(position.max(0) >> POSITION_BITS).unwrap_or(u8::MAX)
}

async fn ask(mut lease: Lease, sql: &str, limit: Duration) -> Result<Vec<MySqlRow>, QueryError> {
    let asked = within(limit, lease.connection().fetch_all(sqlx::raw_sql(sql))).await;
    lease.done(asked)
}

async fn once_more_if_lost<F>(try_fetch: impl Fn() -> F) -> Result<Vec<MySqlRow>, WalletError>
where
    F: Future<Output = Result<Result<Vec<MySqlRow>, QueryError>, WalletError>>,
{
    match try_fetch().await? {
        Err(broken) if is_lost(&broken) => Ok(try_fetch().await?.map_err(reading)?),
        found => Ok(found.map_err(reading)?),
    }
}

/// The connection was closed by the other side, perhaps long ago: one that
/// waited in idleness tells so only when it is used. The others that waited are
/// closed with it, so the next one is new, and what only reads is tried again.
pub(super) fn is_lost(broken: &QueryError) -> bool {
    matches!(broken, QueryError::Sql(sqlx::Error::Io(_)))
}

/// Writes the condition that the column `id` is one of these, of which there is one at least.
pub(super) fn put_id_is_one_of(sql: &mut String, ids: impl Iterator<Item = TransferId>) {
    for (number, id) in ids.enumerate() {
        match number {
            0 => sql.push_str("(id IN ("),
            _ if number % SQL_LIST_MAX == 0 => sql.push_str(") OR id IN ("),
            _ => sql.push(','),
        }
        put_bytes(sql, &id.to_key());
    }
    sql.push_str("))");
}

/// Writes a name as a literal of the columns' own character set, so that their
/// keys can be used. Names hold only letters, digits, `_` and `-`.
pub(super) fn put_name(sql: &mut String, name: &str) {
    put(sql, format_args!("_ascii'{name}' COLLATE ascii_bin"));
}
