//! Leases in the database, by the database's clock: those of the hosts may differ.
//!
//! Holding on to leases is one round trip, however many they are, and so is finding that they are another's. Learning
//! which of several are the holder's is two, and one more for each job that had none.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::{Connections, within};

use super::statements::Statement;
use crate::StoreError;
use crate::failure::{committing, reading};
use crate::lease::Leases;

/// When a lease ends that begins now: microseconds.
const UNTIL: &str = "UTC_TIMESTAMP(3) + INTERVAL ? MICROSECOND";

/// The leases of one SET.
pub struct MysqlLeases {
    connections: Arc<Connections>,
    /// The table that they lie in.
    table: String,
}

impl MysqlLeases {
    /// The leases of a SET, of which this is the first database.
    pub fn new(connections: &Arc<Connections>, database: &str) -> MysqlLeases {
        MysqlLeases { connections: connections.clone(), table: format!("{database}.worker_lease") }
    }

    /// How many rows the statement found (sqlx sets CLIENT_FOUND_ROWS), or made; `None` where it met
    /// another's transaction: its caller comes again anyway.
    async fn found(&self, statement: Statement<'_>) -> Result<Option<u64>, StoreError> {
        let mut lease = self.connections.lease().await?;
        let done = within(lease.limit(), statement.execute(lease.connection())).await;
        match lease.done(done) {
            Err(broken) if broken.is_deadlock() => Ok(None),
            done => Ok(Some(done.map_err(committing)?.rows_affected())),
        }
    }

    /// Who holds the leases of these jobs: `None` where one is over. A job that had none is absent.
    async fn holders(&self, jobs: &[&str]) -> Result<HashMap<String, Option<String>>, StoreError> {
        let text = format!(
            "SELECT /* lease_holders */ job, holder, held_until > UTC_TIMESTAMP(3) FROM {} WHERE job IN {}",
            self.table,
            places(jobs)
        );
        let query = jobs.iter().fold(sqlx::query(&text), |query, job| query.bind(*job));
        let mut lease = self.connections.lease().await?;
        let asked = within(lease.limit(), query.fetch_all(lease.connection())).await;
        let rows = lease.done(asked).map_err(reading)?;
        rows.iter()
            .map(|row| {
                let is_held = row.int(2)? > 0;
                Ok((row.text(0)?.to_owned(), Some(row.text(1)?.to_owned()).filter(|_| is_held)))
            })
            .collect()
    }

    /// Makes the lease of a job that had none.
    async fn make(&self, job: &str, holder: &str, micros: i64) -> Result<bool, StoreError> {
        let text = format!(
            "INSERT IGNORE /* lease_make */ INTO {} (job, holder, held_until) VALUES (?, ?, {UNTIL})",
            self.table
        );
        Ok(self.found(sqlx::query(&text).bind(job).bind(holder).bind(micros)).await?.is_some_and(|made| made > 0))
    }
}

/// A list of so many values.
fn places(jobs: &[&str]) -> String {
    format!("({})", vec!["?"; jobs.len()].join(","))
}

#[async_trait]
impl Leases for MysqlLeases {
    async fn hold(&self, jobs: &[&str], holder: &str, time: Duration) -> Result<Vec<bool>, StoreError> {
        if self.hold_some(jobs, holder, time).await? == jobs.len() {
            return Ok(vec![true; jobs.len()]);
        }
        let micros = time.as_micros() as i64;
        let holders = self.holders(jobs).await?;
        let mut held = Vec::with_capacity(jobs.len());
        for job in jobs {
            held.push(match holders.get(*job) {
                Some(by) => by.as_deref() == Some(holder),
                None => self.make(job, holder, micros).await?,
            });
        }
        Ok(held)
    }

    async fn hold_some(&self, jobs: &[&str], holder: &str, time: Duration) -> Result<usize, StoreError> {
        let text = format!(
            "UPDATE /* lease_take */ {} SET held_until = {UNTIL}, holder = ? WHERE job IN {} \
             AND (holder = ? OR held_until <= UTC_TIMESTAMP(3))",
            self.table,
            places(jobs)
        );
        let take = sqlx::query(&text).bind(time.as_micros() as i64).bind(holder);
        let take = jobs.iter().fold(take, |take, job| take.bind(*job)).bind(holder);
        let taken = self.found(take).await?;
        taken.map(|taken| taken as usize).ok_or_else(|| StoreError::Locked("another process takes leases".to_owned()))
    }

    async fn could_hold(&self, jobs: &[&str], holder: &str) -> Result<Vec<bool>, StoreError> {
        let holders = self.holders(jobs).await?;
        let could = |job: &&str| holders.get(*job).is_none_or(|by| by.as_deref().is_none_or(|by| by == holder));
        Ok(jobs.iter().map(could).collect())
    }

    async fn give_back(&self, job: &str, holder: &str) -> Result<(), StoreError> {
        let text = format!(
            "UPDATE /* lease_end */ {} SET held_until = UTC_TIMESTAMP(3) WHERE job = ? AND holder = ?",
            self.table
        );
        self.found(sqlx::query(&text).bind(job).bind(holder)).await.map(|_| ())
    }
}
