//! A database that a move is about, and transactions there.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use hongbao_core::limits::{DURABLE_READ_TRIES_MAX, WALLET_ROW_LOCK_WAIT_S};
use hongbao_database::durable::read_across_a_start;
use hongbao_database::mysql::connection::{Connections, MysqlOptions, within};
use hongbao_database::mysql::failure::reading;
use hongbao_database::mysql::schema::patient;
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use crate::WalletError;
use crate::mysql::fence::{FENCE_COLUMNS, Fence};
use crate::mysql::slots::SlotSet;
use crate::mysql::transact::{Write, transact};

/// A database and the way to it.
pub(super) struct Place {
    pub db: String,
    pub connections: Arc<Connections>,
}

impl Place {
    pub async fn open(options: MysqlOptions, db: String) -> Result<Place, WalletError> {
        // As long as writers wait for the same row.
        let options = MysqlOptions { row_lock_wait_s: WALLET_ROW_LOCK_WAIT_S, ..patient(options) };
        Ok(Place { db, connections: Connections::open(options).await? })
    }

    /// Rows as they are visible.
    pub async fn fetch(&self, sql: &str) -> Result<Vec<MySqlRow>, WalletError> {
        let mut lease = self.connections.lease().await?;
        let asked = within(lease.limit(), lease.connection().fetch_all(sqlx::raw_sql(sql))).await;
        Ok(lease.done(asked).map_err(reading)?)
    }

    /// Refuses where some of the slots are not served here: they are arriving, or have left.
    pub async fn check_serves(&self, slots: SlotSet) -> Result<(), WalletError> {
        let mut lease = self.connections.lease().await?;
        let sql = format!("SELECT /* move */ {FENCE_COLUMNS} FROM {}.fence f WHERE f.one = 1", self.db);
        let limit = lease.limit();
        let rows = match within(limit, lease.connection().fetch_all(sqlx::raw_sql(&sql))).await {
            Err(broken) if broken.is_missing() => return Ok(()),
            rows => rows.map_err(reading)?,
        };
        lease.give_back();
        let fence = rows.first().map(|row| Fence::read(row, 0)).transpose()?.flatten();
        let fence = fence.ok_or_else(|| WalletError::Damaged(format!("{}.fence has no row", self.db)))?;
        fence.check_all(&self.db, slots)
    }

    /// The same for what is acted on at another place: no crash takes it back.
    pub async fn fetch_durably(&self, sql: &str) -> Result<Vec<MySqlRow>, WalletError> {
        self.connections.barrier_lies_in(&self.db);
        for _ in 0..DURABLE_READ_TRIES_MAX {
            let generation = self.connections.generation();
            let rows = self.fetch(sql).await?;
            if self.connections.barrier(generation).await? {
                return Ok(rows);
            }
        }
        Err(read_across_a_start().into())
    }

    /// Reads under a lock, decides, and writes; durable when it returns.
    pub async fn transact<T>(
        &self,
        read: &str,
        decide: impl Fn(&[MySqlRow]) -> Result<Write<T>, WalletError>,
    ) -> Result<T, WalletError> {
        transact(&self.db, || self.connections.lease(), read, decide).await
    }
}

/// 32 hexadecimal digits that nothing else has. Not secret: nothing rests on guessing it.
pub(super) fn new_id() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}
