//! Leases in the database, by the database's clock: those of the hosts may differ.
//!
//! Holding on to a lease is one round trip; finding that it is another's, two.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hongbao_database::mysql::connection::{Connections, within};

use super::statements::Statement;
use crate::StoreError;
use crate::failure::committing;
use crate::lease::Leases;

/// The leases of one SET.
pub struct MysqlLeases {
    connections: Arc<Connections>,
    /// Takes or renews a lease that is free, over, or the holder's: time, holder, job, holder.
    take: String,
    /// Makes the lease of a job that had none: job, holder, time.
    make: String,
    /// Ends a lease: job, holder.
    end: String,
}

impl MysqlLeases {
    /// The leases of a SET, of which this is the first database.
    pub fn new(connections: &Arc<Connections>, database: &str) -> MysqlLeases {
        let until = "UTC_TIMESTAMP(3) + INTERVAL ? MICROSECOND";
        MysqlLeases {
            connections: connections.clone(),
            take: format!(
                "UPDATE /* lease_take */ {database}.worker_lease SET held_until = {until}, holder = ? \
                 WHERE job = ? AND (holder = ? OR held_until <= UTC_TIMESTAMP(3))"
            ),
            make: format!(
                "INSERT IGNORE /* lease_make */ INTO {database}.worker_lease (job, holder, held_until) \
                 VALUES (?, ?, {until})"
            ),
            end: format!(
                "UPDATE /* lease_end */ {database}.worker_lease SET held_until = UTC_TIMESTAMP(3) \
                 WHERE job = ? AND holder = ?"
            ),
        }
    }

    /// Whether the statement found a row (sqlx sets CLIENT_FOUND_ROWS), or made
    /// one. Who met another's transaction finds none: it comes again anyway.
    async fn finds(&self, statement: Statement<'_>) -> Result<bool, StoreError> {
        let mut lease = self.connections.lease().await?;
        let done = within(lease.limit(), statement.execute(lease.connection())).await;
        match lease.done(done) {
            Err(broken) if broken.is_deadlock() => Ok(false),
            done => Ok(done.map_err(committing)?.rows_affected() > 0),
        }
    }
}

#[async_trait]
impl Leases for MysqlLeases {
    async fn hold(&self, job: &str, holder: &str, time: Duration) -> Result<bool, StoreError> {
        let micros = time.as_micros() as i64;
        let take = sqlx::query(&self.take).bind(micros).bind(holder).bind(job).bind(holder);
        if self.finds(take).await? {
            return Ok(true);
        }
        self.finds(sqlx::query(&self.make).bind(job).bind(holder).bind(micros)).await
    }

    async fn give_back(&self, job: &str, holder: &str) -> Result<(), StoreError> {
        self.finds(sqlx::query(&self.end).bind(job).bind(holder)).await.map(|_| ())
    }
}
