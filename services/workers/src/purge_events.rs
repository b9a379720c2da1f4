//! Purge events: events are kept for some days, and go after that.
//!
//! Feeds lie in the wallet, so the workers of all SETs may do this; a removal that is repeated finds less to remove. A
//! reader whose cursor lies before what is kept is shown that it has lost some.
//!
//! Round trips of a run: one for each database of the wallet, and one more where something goes.

use async_trait::async_trait;

use crate::job::{Job, JobError, Ports, RunReport, bounded};

const NAME: &str = "purge_events";
const DAY_MS: i64 = 86_400_000;

/// The job.
pub struct PurgeEvents {
    ports: Ports,
    keep_ms: i64,
}

impl PurgeEvents {
    /// The job for these ports: events are kept for so many days.
    pub fn new(ports: Ports, keep_days: u32) -> PurgeEvents {
        PurgeEvents { ports, keep_ms: i64::from(keep_days) * DAY_MS }
    }
}

#[async_trait]
impl Job for PurgeEvents {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let before = self.ports.clock.now().plus_millis(-self.keep_ms);
        let limit = bounded(limit);
        let mut report = RunReport::default();
        for place in self.ports.wallet.shards() {
            match self.ports.wallet.purge_events(place.shard, before, limit).await {
                Ok(rows) => {
                    report.rows = report.rows.saturating_add(rows);
                    report.more |= rows == limit;
                }
                // The others are none the worse for it.
                Err(error) => {
                    let database = format!("wallet_{:02}", place.database);
                    tracing::warn!(job = NAME, database, %error, "events cannot be removed");
                    report.failures += 1;
                }
            }
        }
        Ok(report)
    }
}
