//! Webhook: sends the events of all users to the installation's owner.
//!
//! The events of each database are sent in the order of their positions, from a place that is stored there and moves on
//! only when the endpoint has taken them. So those of an envelope come in order and at least once, and the backlog of an
//! endpoint that does not answer is what is stored anyway. One that takes nothing is asked less and less often, each
//! database by itself. The workers of all SETs may do this; a database is taken up by one of them for a while.
//!
//! Round trips of a run: two for each database of the wallet whose turn it is, and where it has events one request.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use hongbao_core::Timestamp;
use hongbao_core::event::EventView;
use hongbao_core::limits::{
    WEBHOOK_AGAIN_MS_MAX, WEBHOOK_AGAIN_MS_MIN, WEBHOOK_CLAIM_MS, WEBHOOK_EVENTS_MAX, WEBHOOK_ROWS_MAX,
};
use hongbao_provider::Endpoint;
use hongbao_wallet::{EventsBehind, WalletError, WebhookPlace};

use crate::job::{Job, JobError, Ports, RunReport};
use crate::metrics::WorkerMetrics;

const NAME: &str = "webhook";

/// The job.
pub struct Webhook {
    ports: Ports,
    endpoint: Endpoint,
    metrics: WorkerMetrics,
    /// Names this process to the others.
    name: String,
    /// Up to where there was nothing left to send in each shard.
    done_to: HashMap<u8, i64>,
}

impl Webhook {
    /// The job for these ports, which sends to this endpoint.
    ///
    /// # Errors
    /// There is no randomness to be had.
    pub fn new(ports: Ports, endpoint: Endpoint) -> Result<Webhook, String> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| error.to_string())?;
        let name = format!("{:032x}", u128::from_be_bytes(random));
        Ok(Webhook { ports, endpoint, metrics: WorkerMetrics::default(), name, done_to: HashMap::new() })
    }

    /// The same, telling these metrics how far behind it is.
    pub fn measured_by(self, metrics: WorkerMetrics) -> Webhook {
        Webhook { metrics, ..self }
    }

    /// Sends what comes next in a shard; how many events that were, and how many positions are left behind.
    async fn deliver(&mut self, shard: u8) -> Result<Option<(usize, i64)>, WalletError> {
        let (wallet, now) = (&self.ports.wallet, self.ports.clock.now());
        // What is quiet is not taken up, which is a write.
        if let Some(done_to) = self.done_to.get(&shard)
            && wallet.feeds_written(shard, None).await?.end == *done_to
        {
            return Ok(Some((0, 0)));
        }
        let until = now.plus_millis(WEBHOOK_CLAIM_MS);
        let Some(place) = wallet.take_webhook(shard, &self.name, now, until).await? else { return Ok(None) };
        let behind = wallet.events_behind(shard, place.position, WEBHOOK_ROWS_MAX).await?;
        if place.position < behind.purged_to && place.position > 0 {
            self.metrics.webhook_lost();
        }
        let (events, read_to) = taken(&behind);
        let sent = events.len();
        let next = match events.is_empty() {
            true => Ok(()),
            false => self.endpoint.send(&events, now).await,
        };
        let next = match next {
            Ok(()) => WebhookPlace { position: read_to.max(place.position), failures: 0, due_at: now },
            Err(reason) => {
                if place.failures == 0 {
                    tracing::warn!(error = reason, "the webhook takes no events");
                }
                self.metrics.webhook_refused();
                let failures = place.failures.saturating_add(1);
                WebhookPlace { failures, due_at: again_at(self.ports.clock.now(), failures), ..place }
            }
        };
        let is_ours = wallet.leave_webhook(shard, &self.name, next).await?;
        let left = (behind.end - next.position).max(0);
        match left {
            0 => self.done_to.insert(shard, next.position),
            _ => self.done_to.remove(&shard),
        };
        Ok(Some((if next.failures == 0 && is_ours { sent } else { 0 }, left)))
    }
}

/// Events of whole rows, and up to which position these go.
fn taken(behind: &EventsBehind) -> (Vec<EventView>, i64) {
    let mut events = Vec::new();
    for row in &behind.rows {
        events.extend(row.events(None));
        if events.len() >= WEBHOOK_EVENTS_MAX {
            return (events, row.position);
        }
    }
    (events, behind.read_to)
}

/// When it is tried again after so many failures in a row.
fn again_at(now: Timestamp, failures: u32) -> Timestamp {
    let times = 1_i64.checked_shl(failures.saturating_sub(1).min(32)).unwrap_or(i64::MAX);
    now.plus_millis(WEBHOOK_AGAIN_MS_MIN.saturating_mul(times).min(WEBHOOK_AGAIN_MS_MAX))
}

#[async_trait]
impl Job for Webhook {
    fn name(&self) -> &'static str {
        NAME
    }

    fn start_over(&mut self) {
        self.done_to.clear();
    }

    fn hand_over(&mut self) {
        self.metrics.webhook_behind(0);
    }

    async fn run_once(&mut self, _: u32) -> Result<RunReport, JobError> {
        let mut report = RunReport::default();
        let mut behind = None;
        for place in self.ports.wallet.shards() {
            match self.deliver(place.shard).await {
                Ok(None) => {}
                Ok(Some((sent, left))) => {
                    report.rows += sent as u32;
                    report.more |= sent > 0 && left > 0;
                    *behind.get_or_insert(0) += left;
                }
                // The others are none the worse for it.
                Err(error) => {
                    let database = format!("wallet_{:02}", place.database);
                    tracing::warn!(job = NAME, database, %error, "events cannot be read for the webhook");
                    report.failures += 1;
                }
            }
        }
        self.metrics.webhook_sent(report.rows);
        if let Some(behind) = behind {
            self.metrics.webhook_behind(behind);
        }
        report.quiet_for = (report.rows == 0).then_some(Duration::from_millis(500));
        Ok(report)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_intervals_grow_up_to_an_hour() {
        let at = |failures| again_at(Timestamp::from_millis(0), failures).millis();
        assert_eq!(
            [1, 2, 3, 12, 13, 40, u32::MAX].map(at),
            [1_000, 2_000, 4_000, 2_048_000, 3_600_000, 3_600_000, 3_600_000]
        );
    }
}
