//! Rotation of the day tables: before this process writes anything, and then every minute.

use std::sync::Arc;
use std::time::Duration;

use hongbao_core::limits::ROTATION_TRIES_AT_START;
use hongbao_core::{Clock, Date};
use hongbao_store::{Rotated, Store, clock_ahead_ms, is_far_off};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;

const EVERY: Duration = Duration::from_secs(60);
const START_PAUSE: Duration = Duration::from_secs(1);
/// How long a start waits for the first rotation further ahead.
const FIRST_PASS_WAIT: Duration = Duration::from_secs(5);

/// What rotates the day tables of one store.
pub struct Rotator {
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    zone_offset_s: i32,
    /// Days ahead of the clock that get their day tables.
    ahead_days: i32,
    metrics: RotationMetrics,
}

#[derive(Default)]
struct RotationMetrics {
    rotated: Counter,
    in_use: Gauge,
    behind: Gauge,
}

impl Rotator {
    /// One that makes day tables for so many days ahead.
    pub fn new(
        store: Arc<dyn Store>,
        clock: Arc<dyn Clock>,
        zone_offset_s: i32,
        ahead_days: i32,
        registry: &mut Registry,
    ) -> Rotator {
        let metrics = RotationMetrics::default();
        let in_use = "Day tables whose rename waits for statements that use them";
        registry.register("hongbao_day_tables_rotated", "Day tables that got their next date", metrics.rotated.clone());
        registry.register("hongbao_day_tables_in_use", in_use, metrics.in_use.clone());
        let behind = "1 after a rotation that failed: new envelopes will find no day table";
        registry.register("hongbao_rotation_failing", behind, metrics.behind.clone());
        Rotator { store, clock, zone_offset_s, ahead_days, metrics }
    }

    /// Sees to it that each date up to today has its day table; rotates further ahead at once, and then every
    /// minute until it is aborted.
    ///
    /// # Errors
    /// When today has none: a process that would write into a table of another month must not start.
    pub async fn start(self) -> Result<JoinHandle<()>, String> {
        self.reach_today().await.map_err(|reason| format!("the day tables cannot be rotated: {reason}"))?;
        let (first, passed) = oneshot::channel();
        let rotating = tokio::spawn(async move {
            let (mut failed, mut first) = (false, Some(first));
            loop {
                match self.rotate(self.ahead_days).await {
                    Ok(_) => failed = false,
                    Err(reason) if failed => tracing::debug!(error = %reason, "the day tables cannot be rotated"),
                    Err(reason) => {
                        failed = true;
                        tracing::error!(error = %reason, "the day tables cannot be rotated, and are tried again");
                    }
                }
                // Nothing is lost if it is not waited for any more.
                let _ = first.take().map(|first| first.send(()));
                tokio::time::sleep(EVERY).await;
            }
        });
        // Mostly it is done at once; where tables are in use it goes on beside the requests.
        let _ = timeout(FIRST_PASS_WAIT, passed).await;
        Ok(rotating)
    }

    /// Until none of these tables is in use, or being rotated by another process.
    async fn reach_today(&self) -> Result<(), String> {
        for _ in 0..ROTATION_TRIES_AT_START {
            if self.rotate(0).await? == 0 {
                return Ok(());
            }
            tokio::time::sleep(START_PAUSE).await;
        }
        Err("statements use them, or another process does not finish".to_owned())
    }

    /// Gives how many are left.
    async fn rotate(&self, ahead_days: i32) -> Result<u32, String> {
        let through = Date::of(self.clock.now(), self.zone_offset_s).plus_days(ahead_days);
        let done = self.rotate_once(through).await;
        self.metrics.behind.set(i64::from(done.is_err()));
        let Rotated { tables, in_use } = done?;
        self.metrics.rotated.inc_by(u64::from(tables));
        self.metrics.in_use.set(i64::from(in_use));
        if tables > 0 || in_use > 0 {
            tracing::info!(tables, in_use, %through, "rotated the day tables");
        }
        Ok(in_use)
    }

    async fn rotate_once(&self, through: Date) -> Result<Rotated, String> {
        let ahead_ms = clock_ahead_ms(&*self.store, &*self.clock).await.map_err(|error| error.to_string())?;
        // One that is a month ahead would rename the tables that are in use.
        if is_far_off(ahead_ms) {
            tracing::warn!(ahead_ms, "this clock differs from the database's: the day tables are not rotated");
            self.store.look().await.map_err(|error| error.to_string())?;
            return Ok(Rotated::default());
        }
        self.store.rotate(through).await.map_err(|error| error.to_string())
    }
}
