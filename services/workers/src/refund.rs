//! Refund: what nobody opened goes back to the sender, to the fen.
//!
//! The refund is the journal's last entry. It is decided like an opening and
//! written under the same keys, so a racing opening and the refund cannot both
//! have the same place; the loser is simply seen again in the next run. The
//! credit job then pays it to the sender like any other entry.
//!
//! Round trips of one visit: one read, one transaction; after a lost race one
//! transaction an entry.

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Limits, Timestamp};
use hongbao_store::Append;

use crate::job::{Job, JobError, Ports, RunReport, bounded};
use crate::tour::{COLD_TABLES_PER_RUN, TableJob, Tour, Visit, run_over_tables};

/// The job.
pub struct Refund {
    refunder: Refunder,
    tour: Tour,
}

struct Refunder {
    ports: Ports,
}

impl Refund {
    /// The job for these ports.
    pub fn new(ports: Ports, zone_offset_s: i32, limits: &Limits) -> Refund {
        Refund { refunder: Refunder { ports }, tour: Tour::new(zone_offset_s, limits, COLD_TABLES_PER_RUN) }
    }
}

#[async_trait]
impl Job for Refund {
    fn name(&self) -> &'static str {
        Refunder::NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.refunder.ports.clock.now();
        let tables = self.refunder.ports.store.tables();
        Ok(run_over_tables(&mut self.refunder, &mut self.tour, &tables, now, bounded(limit)).await)
    }
}

#[async_trait]
impl TableJob for Refunder {
    const NAME: &'static str = "refund";

    async fn visit(&mut self, table: TableRef, now: Timestamp, limit: u32) -> Result<Visit, JobError> {
        let expired = self.ports.store.expired(table, now, limit).await?;
        let refunds: Vec<Entry> =
            expired.iter().filter_map(|(envelope, journal)| envelope.decide_refund(journal, now)).collect();
        if refunds.is_empty() {
            return Ok(Visit { seen: expired.len() as u32, ..Visit::default() });
        }
        let rows = self.append(&refunds).await?;
        // A race was lost by whoever is missing in `rows`; that alone is no reason to hurry.
        let more = expired.len() as u32 == limit && rows > 0;
        Ok(Visit { seen: expired.len() as u32, rows, more })
    }
}

impl Refunder {
    /// Writes what can be written; gives how many that were. A table lies in
    /// one database, so its refunds are one transaction.
    async fn append(&self, refunds: &[Entry]) -> Result<u32, JobError> {
        if self.ports.store.append(refunds).await? == Append::Done {
            return Ok(refunds.len() as u32);
        }
        let mut rows = 0;
        for refund in refunds {
            match self.ports.store.append(std::slice::from_ref(refund)).await? {
                Append::Done => rows += 1,
                Append::Fenced => tracing::debug!(envelope_id = %refund.envelope_id, "an opening was faster"),
            }
        }
        Ok(rows)
    }
}
