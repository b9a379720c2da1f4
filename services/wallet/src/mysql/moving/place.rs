//! A database that a move is about, and transactions there.

use std::sync::Arc;

use hongbao_core::limits::{DEADLOCK_TRIES_MAX, DURABLE_READ_TRIES_MAX};
use hongbao_database::durable::read_across_a_start;
use hongbao_database::mysql::connection::{Connections, MysqlOptions, within};
use hongbao_database::mysql::failure::{committing, reading};
use hongbao_database::mysql::schema::patient;
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use crate::WalletError;

/// A database and the way to it.
pub(super) struct Place {
    pub db: String,
    pub connections: Arc<Connections>,
}

/// What a transaction writes after it has read.
pub(super) struct Write<T> {
    /// Statements, of which the first tests a version that was read.
    pub sql: String,
    /// The rows that they touch together.
    pub rows: u64,
    /// What comes of it.
    pub value: T,
}

impl Place {
    pub async fn open(options: MysqlOptions, db: String) -> Result<Place, WalletError> {
        Ok(Place { db, connections: Connections::open(patient(options)).await? })
    }

    /// Rows as they are visible.
    pub async fn fetch(&self, sql: &str) -> Result<Vec<MySqlRow>, WalletError> {
        let mut lease = self.connections.lease().await?;
        let asked = within(lease.limit(), lease.connection().fetch_all(sqlx::raw_sql(sql))).await;
        Ok(lease.done(asked).map_err(reading)?)
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
            let text = format!("{sql}; COMMIT");
            let done = match within(limit, lease.connection().execute(sqlx::raw_sql(&text))).await {
                Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => {
                    tries += 1;
                    lease.close();
                    continue;
                }
                done => done.map_err(committing)?,
            };
            if done.rows_affected() != expected {
                let reason = format!("{}: another node or another move was first: run it again", self.db);
                return Err(WalletError::Unknown(reason));
            }
            lease.give_back();
            return Ok(value);
        }
    }
}
