//! Forget keys: the keys under which clients repeat requests go two days after the first one, and so does what was
//! counted of users on a day, and which of their envelopes waited for payment.
//!
//! What was made under them stays. A repeat that comes later is a new request. Keys lie with their users' money, so
//! the workers of all SETs may do this; a removal that is repeated finds less to remove.
//!
//! Round trips of a run: two for each database of the wallet.

use async_trait::async_trait;
use hongbao_core::Date;
use hongbao_core::limits::REQUEST_KEYS_KEPT_MS;

use crate::job::{Job, JobError, Ports, RunReport, bounded};

const NAME: &str = "forget_keys";

/// The job.
pub struct ForgetKeys {
    ports: Ports,
}

impl ForgetKeys {
    /// The job for these ports.
    pub fn new(ports: Ports) -> ForgetKeys {
        ForgetKeys { ports }
    }
}

#[async_trait]
impl Job for ForgetKeys {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let before = self.ports.clock.now().plus_millis(-REQUEST_KEYS_KEPT_MS);
        // A day in any zone is over a day after it is in this one.
        let date = Date::of(before, 0);
        let limit = bounded(limit);
        let mut report = RunReport::default();
        for place in self.ports.wallet.shards() {
            let (keys, counts) = (
                self.ports.wallet.purge_keys(place.shard, before, limit).await,
                self.ports.wallet.purge_counts(place.shard, date, before, limit).await,
            );
            match keys.and_then(|keys| Ok(keys.saturating_add(counts?))) {
                Ok(rows) => {
                    report.rows = report.rows.saturating_add(rows);
                    report.more |= rows >= limit;
                }
                // The others are none the worse for it.
                Err(error) => {
                    let database = format!("wallet_{:02}", place.database);
                    tracing::warn!(job = NAME, database, %error, "keys of requests, or what was counted, cannot be removed");
                    report.failures += 1;
                }
            }
        }
        Ok(report)
    }
}
