//! One shard: a ledger in one database.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::TransferId;
use hongbao_core::limits::{DURABLE_READ_TRIES_MAX, SQL_LIST_MAX};
use hongbao_database::durable::read_across_a_start;
use hongbao_database::mysql::connection::{Connections, Lease, within};
use hongbao_database::mysql::failure::{QueryError, reading};
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::row::StoredRow as _;
use parking_lot::Mutex;
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use super::layout::ShardPlan;
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
    /// The way to its server.
    pub connections: VerifiedConnections,
    durable_to: DurableTo,
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
            connections: VerifiedConnections::new(server, plan, databases),
            durable_to: DurableTo::default(),
        }
    }

    /// A position as callers see it: the shard's number, then the place inside it.
    pub fn outer(&self, position: i64) -> i64 {
        position + (i64::from(self.number) << POSITION_BITS)
    }

    /// The same for a transfer.
    pub fn outer_posted(&self, posted: Posted) -> Posted {
        Posted { position: self.outer(posted.position), ..posted }
    }

    /// The place inside the shard of a position as callers see it.
    pub fn inner(&self, position: i64) -> i64 {
        position.saturating_sub(i64::from(self.number) << POSITION_BITS)
    }

    /// The rows that a text finds; one round trip.
    pub async fn fetch(&self, sql: &str) -> Result<Vec<MySqlRow>, WalletError> {
        let try_fetch = || async {
            let lease = self.connections.lease().await?;
            let limit = lease.limit();
            Ok(ask(lease, sql, limit).await)
        };
        once_more_if_lost(try_fetch).await
    }

    /// The same for what a user is shown: no crash takes it back. The column
    /// `position_in` of each row is its position in this shard. Positions have no
    /// gaps and are written in order, so a barrier that comes after one was seen
    /// covers all before it, and most readings need none.
    pub async fn fetch_durably(&self, sql: &str, position_in: usize) -> Result<Vec<MySqlRow>, WalletError> {
        for _ in 0..DURABLE_READ_TRIES_MAX {
            let generation = self.connections.generation();
            let rows = self.fetch(sql).await?;
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

    /// The same for the audit, which may take longer.
    pub async fn fetch_patiently(&self, sql: &str) -> Result<Vec<MySqlRow>, WalletError> {
        let try_fetch = || async {
            let lease = self.connections.lease().await?;
            let (before, limit) = lease.with_timeout_factor(AUDIT_PATIENCE);
            Ok(ask(lease, &format!("{before}{sql}"), limit).await)
        };
        once_more_if_lost(try_fetch).await
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
