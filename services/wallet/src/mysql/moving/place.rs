//! A database that a move is about, and transactions there.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};
use std::sync::Arc;

use hongbao_core::limits::{DEADLOCK_TRIES_MAX, DURABLE_READ_TRIES_MAX, WALLET_ROW_LOCK_WAIT_S};
use hongbao_database::durable::read_across_a_start;
use hongbao_database::mysql::connection::{Connections, MysqlOptions, within};
use hongbao_database::mysql::failure::{committing, reading};
use hongbao_database::mysql::schema::patient;
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use crate::WalletError;
use crate::mysql::fence::{FENCE_COLUMNS, Fence};
use crate::mysql::slots::SlotSet;

/// A database and the way to it.
pub(super) struct Place {
    pub db: String,
    pub connections: Arc<Connections>,
}

/// What a transaction writes after it has read.
pub(super) struct Write<T> {
    /// Statements, each of which does nothing, or nothing new, where the version that was read is no more: a
    /// node of a cluster may end the transaction between two of them, and runs the rest alone.
    pub sql: String,
    /// The rows that they touch together.
    pub rows: u64,
    /// What comes of it.
    pub value: T,
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
        let mut tries = 1;
        loop {
            let mut lease = self.connections.lease().await?;
            let limit = lease.limit();
            let text = format!("START TRANSACTION; {read}");
            let asked = within(limit, lease.connection().fetch_all(sqlx::raw_sql(&text))).await;
            let rows = match asked {
                Err(broken) if (broken.is_deadlock() || broken.is_locked()) && tries < DEADLOCK_TRIES_MAX => {
                    tries += 1;
                    lease.close();
                    continue;
                }
                rows => rows.map_err(reading)?,
            };
            // A lease that is dropped is closed, and what it had begun is rolled back.
            let Write { sql, rows: expected, value } = decide(&rows)?;
            let written = within(limit, lease.connection().execute(sqlx::raw_sql(&sql))).await;
            let (mut failed, mut is_whole) = (None, false);
            match written {
                Ok(done) => is_whole = done.rows_affected() == expected,
                Err(broken) => failed = Some(broken),
            }
            if is_whole {
                // A command of its own: where a node of a cluster has ended the transaction before it, this fails. As a
                // further statement of one text it would succeed, and commit nothing.
                failed = within(limit, lease.connection().execute("COMMIT")).await.err();
            }
            match failed {
                None if is_whole => {
                    lease.give_back();
                    return Ok(value);
                }
                // It was taken back; or another one was first, and what is read again shows what is there.
                None if tries < DEADLOCK_TRIES_MAX => {}
                Some(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => {}
                Some(broken) => return Err(committing(broken).into()),
                None => {
                    let reason = format!("{}: another node or another move was first: run it again", self.db);
                    return Err(WalletError::Unknown(reason));
                }
            }
            tries += 1;
            lease.close();
        }
    }
}

/// 32 hexadecimal digits that nothing else has. Not secret: nothing rests on guessing it.
pub(super) fn new_id() -> String {
    let half = || RandomState::new().build_hasher().finish();
    format!("{:016x}{:016x}", half(), half())
}
