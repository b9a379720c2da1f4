//! Credit: pays every journal entry into a balance, exactly once (I6).
//!
//! There is no queue of credits. The journal is gapless, so `settled_seq` in the
//! envelope row says how far an envelope has been credited. A run
//! 1. **collects** entries beyond `settled_seq`, from the tail of the hot tables
//!    and, slower, from a sweep over all tables, and makes them durable: an entry
//!    that a crash takes back must not have been paid;
//! 2. **transfers** them to the wallet in one batch, under the ids
//!    `(envelope, seq)`, which the wallet executes at most once, and with them the events of these entries, of
//!    which it writes at most once what is not in the feeds;
//! 3. **settles**: moves `settled_seq` over what the wallet has taken, one
//!    transaction for each database.
//!
//! Killed before 2, nothing has happened. Killed between 2 and 3, the next run
//! collects the same entries, and the wallet answers that it has them. The
//! cursors of the collection move only after 3, so a run that failed is simply
//! repeated; a process that starts anew has no cursors and begins with a sweep.
//!
//! A credit that the wallet refuses stops the settlement of its envelope, and
//! of no other. The envelope's later entries are credited all the same.
//!
//! Round trips of one run:
//!
//! | step | store | wallet |
//! |---|---|---|
//! | look where the hot tables end | 1 | |
//! | follow the tails that have more | 1 each, 1 for a recheck; 1 for each envelope with a gap | |
//! | sweep, when it is due | at most 4 pages; 1 for each envelope found | |
//! | the barrier, if there was anything new | 1 | |
//! | transfer | | 1 |
//! | settle | 1 for each database with something to settle | |

mod batch;
mod collect;
mod gaps;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::limits::{
    CREDIT_QUIET_REST_MAX, CREDIT_QUIET_TIMES, CREDIT_STUCK_REMEMBERED_MAX, DURABLE_READ_TRIES_MAX,
};
use hongbao_core::{EnvelopeId, Limits, Timestamp, Transfer, TransferOutcome};
use hongbao_database::durable::read_across_a_start;
use hongbao_database::{Durable, Reading};
use hongbao_store::{Settlement, StoreError};
use hongbao_wallet::WalletError;

use crate::job::{Job, JobError, Ports, RunReport, bounded};
use crate::metrics::WorkerMetrics;
use crate::schedule::{ScheduledTable, TableSchedule};
use batch::{Batch, EnvelopeCredits};
use collect::Cursors;

const NAME: &str = "credit";
/// In every so many runs the sweep comes before the tail, so that a tail without end does not starve it.
const SWEEP_FIRST_EVERY: u64 = 4;

/// The job.
pub struct Credit {
    ports: Ports,
    metrics: WorkerMetrics,
    schedule: TableSchedule,
    cursors: Cursors,
    stuck: HashSet<EnvelopeId>,
    started_at: Option<Timestamp>,
    /// Since when there was nothing to credit.
    quiet_since: Option<Timestamp>,
}

/// A run between collecting and settling.
struct Step {
    cursors: Cursors,
    batch: Batch,
    report: RunReport,
    /// Tables that were read: they count as failed if their database cannot be settled.
    touched: BTreeSet<TableRef>,
    now: Timestamp,
}

impl Credit {
    /// The job for these ports.
    pub fn new(ports: Ports, zone_offset_s: i32, limits: &Limits) -> Credit {
        Credit {
            ports,
            metrics: WorkerMetrics::default(),
            // Cold tables have no tail to follow: the sweep visits them.
            schedule: TableSchedule::new(zone_offset_s, limits, 0),
            cursors: Cursors::default(),
            stuck: HashSet::new(),
            started_at: None,
            quiet_since: None,
        }
    }

    /// The same, telling these metrics how far behind the credits are.
    pub fn measured_by(self, metrics: WorkerMetrics) -> Credit {
        Credit { metrics, ..self }
    }
}

#[async_trait]
impl Job for Credit {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.ports.clock.now();
        let started_at = *self.started_at.get_or_insert(now);
        let tables = self.ports.store.unsealed_tables();
        let outcome = self.run(&tables, bounded(limit), now).await;

        let hot_dates = self.schedule.hot_dates(now);
        let hot = tables.into_iter().filter(|table| table.is_of(&hot_dates));
        let now = self.ports.clock.now();
        let reached = self.cursors.reached(hot, started_at).unwrap_or(now);
        self.metrics.settled_lag(now.millis_since(reached));
        let report = outcome?;
        Ok(RunReport { quiet_for: self.quiet_for(&report, now), ..report })
    }

    fn start_over(&mut self) {
        // A tail that stood still while another followed it would read again all that is credited.
        self.cursors = Cursors::default();
        self.started_at = None;
        self.quiet_since = None;
    }

    fn hand_over(&mut self) {
        self.stuck.clear();
        self.metrics.stuck(0);
        self.metrics.settled_lag(0);
    }

    fn forget_failures(&mut self) {
        self.schedule.forget_failures();
    }
}

impl Credit {
    /// How long the next look may wait: the longer nothing was to be credited, the longer, and never so long that a user
    /// would notice.
    fn quiet_for(&mut self, report: &RunReport, now: Timestamp) -> Option<Duration> {
        let has_arrived = report.rows > 0 || report.arrived.is_some_and(|arrived| arrived > 0);
        if has_arrived || report.more || report.failures > 0 || self.schedule.leaves_any_out() {
            self.quiet_since = None;
            return None;
        }
        let quiet_since = *self.quiet_since.get_or_insert(now);
        let quiet_ms = u64::try_from(now.millis_since(quiet_since)).unwrap_or(0);
        Some((Duration::from_millis(quiet_ms) / CREDIT_QUIET_TIMES).min(CREDIT_QUIET_REST_MAX))
    }

    /// Step 1. Gives only what a crash of the database cannot take back any more.
    async fn collect_durably(
        &mut self,
        tables: &[TableRef],
        limit: u32,
        now: Timestamp,
    ) -> Result<Durable<Step>, JobError> {
        for _ in 0..DURABLE_READ_TRIES_MAX {
            let store = self.ports.store.clone();
            let reading = Reading::begin(&*store);
            let step = self.collect(tables, limit, now).await;
            if !step.batch.has_entries() && step.cursors.are_where(&self.cursors) {
                return Ok(reading.end_proven(step));
            }
            if let Some(step) = reading.end(step).await? {
                return Ok(step);
            }
        }
        Err(read_across_a_start().into())
    }

    async fn collect(&mut self, tables: &[TableRef], limit: u32, now: Timestamp) -> Step {
        // The run works on a copy: cursors move only when what they passed is settled.
        let mut step = Step {
            cursors: self.cursors.clone(),
            batch: Batch::new(limit),
            report: RunReport::default(),
            touched: BTreeSet::new(),
            now,
        };
        let scheduled_tables = self.schedule.tables_to_visit(tables, now);
        step.cursors.keep_hot(&self.schedule.hot_dates(now));
        let sweep_first = self.schedule.comes_round(SWEEP_FIRST_EVERY);
        if sweep_first {
            self.sweep(&mut step, tables).await;
        }
        self.follow_tails(&mut step, &scheduled_tables).await;
        if !sweep_first {
            self.sweep(&mut step, tables).await;
        }
        step
    }

    async fn run(&mut self, tables: &[TableRef], limit: u32, now: Timestamp) -> Result<RunReport, JobError> {
        let step = self.collect_durably(tables, limit, now).await?;
        let (mut report, touched, cursors) = (step.report, step.touched.clone(), step.cursors.clone());
        let envelopes = step.map(|step| step.batch.into_envelopes());
        report.rows = envelopes.iter().map(|credits| credits.entries.len() as u32).sum();
        let settlements = self.transfer(&envelopes).await?;
        let failed = self.settle(settlements).await;
        report.failures += failed.len() as u32;
        for table in touched {
            match failed.get(&table.database) {
                Some(error) => self.schedule.failed(NAME, table, error),
                // One read of it failed all the same.
                None if self.schedule.is_backed_off(table) => {}
                None => self.schedule.succeeded(table),
            }
        }
        self.cursors.replace_except(cursors, &failed);
        Ok(report)
    }

    async fn follow_tails(&mut self, step: &mut Step, scheduled_tables: &[ScheduledTable]) {
        let tables: Vec<TableRef> = scheduled_tables.iter().map(|scheduled| scheduled.table).collect();
        // A table that cannot be looked at fails for itself below.
        let ends = self.ports.store.tail_positions(&tables).await.ok();
        let mut visited = 0;
        for scheduled in scheduled_tables {
            if step.batch.capacity_left() == 0 {
                step.report.more = true;
                break;
            }
            let end = ends.as_ref().map(|ends| ends[visited]);
            visited += 1;
            let (cursors, batch) = (&mut step.cursors, &mut step.batch);
            match collect::follow_tail(&*self.ports.store, cursors, batch, scheduled.table, end, step.now).await {
                Ok(followed) => {
                    step.report.more |= followed.more;
                    let arrived = step.report.arrived.unwrap_or(0).saturating_add(followed.arrived);
                    step.report.arrived = Some(arrived);
                    step.touched.insert(scheduled.table);
                }
                Err(error) => {
                    step.cursors.tail_failed(scheduled.table);
                    self.failed(step, scheduled.table, error);
                }
            }
        }
        self.schedule.finish(&scheduled_tables[..visited]);
    }

    async fn sweep(&mut self, step: &mut Step, tables: &[TableRef]) {
        for _ in 0..collect::SWEEP_PAGES_PER_RUN {
            let Some(table) = step.cursors.table_to_sweep(tables, step.now) else { return };
            if step.batch.capacity_left() == 0 {
                break;
            }
            if self.schedule.is_backed_off(table) {
                step.cursors.pass(step.now);
                continue;
            }
            let (cursors, batch) = (&mut step.cursors, &mut step.batch);
            match collect::sweep_table(&*self.ports.store, cursors, batch, table, step.now).await {
                Ok(()) => {
                    step.touched.insert(table);
                }
                Err(error) => {
                    self.failed(step, table, error);
                    step.cursors.pass(step.now);
                }
            }
        }
        step.report.more |= step.cursors.sweep_is_due(step.now);
    }

    fn failed(&mut self, step: &mut Step, table: TableRef, error: StoreError) {
        self.schedule.failed(NAME, table, &error.into());
        step.report.failures += 1;
    }

    /// Step 2. Gives how far each envelope may be settled.
    async fn transfer(&mut self, envelopes: &Durable<Vec<EnvelopeCredits>>) -> Result<Vec<Settlement>, JobError> {
        let transfers: Vec<Transfer> = envelopes.iter().flat_map(EnvelopeCredits::credits).collect();
        if transfers.is_empty() {
            return Ok(Vec::new());
        }
        let sent = transfers.len();
        let notes = envelopes.iter().flat_map(EnvelopeCredits::notes).collect();
        let outcomes = self.ports.wallet.transfer_noting(transfers, notes).await?;
        if outcomes.len() != sent {
            let reason = format!("{} outcomes for {sent} transfers", outcomes.len());
            return Err(WalletError::Damaged(reason).into());
        }
        let mut outcomes = outcomes.into_iter();
        let mut settlements = Vec::with_capacity(envelopes.len());
        for credits in envelopes.iter() {
            let outcomes: Vec<TransferOutcome> = outcomes.by_ref().take(credits.entries.len()).collect();
            self.note_refused(credits, &outcomes);
            settlements.extend(credits.settlement(&outcomes));
        }
        Ok(settlements)
    }

    fn note_refused(&mut self, credits: &EnvelopeCredits, outcomes: &[TransferOutcome]) {
        let mut refused = 0;
        for (entry, outcome) in credits.entries.iter().zip(outcomes).filter(|(_, outcome)| !batch::is_taken(**outcome))
        {
            refused += 1;
            self.metrics.credit_refused();
            if !self.stuck.contains(&credits.envelope_id) {
                let (envelope_id, seq) = (credits.envelope_id, entry.seq);
                tracing::error!(%envelope_id, seq, ?outcome, "the wallet refuses a credit");
            }
        }
        if refused > 0 && self.stuck.len() < CREDIT_STUCK_REMEMBERED_MAX {
            self.stuck.insert(credits.envelope_id);
        } else if refused == 0 && credits.settled_seq.is_some() {
            self.stuck.remove(&credits.envelope_id);
        }
        self.metrics.stuck(self.stuck.len());
    }

    /// Step 3. Gives the databases that could not be settled.
    async fn settle(&self, settlements: Vec<Settlement>) -> HashMap<u8, JobError> {
        let mut by_database: BTreeMap<u8, Vec<Settlement>> = BTreeMap::new();
        for settlement in settlements {
            let table = self.ports.store.table_of(settlement.envelope_id);
            by_database.entry(table.database).or_default().push(settlement);
        }
        let mut failed = HashMap::new();
        for (database, settlements) in by_database {
            if let Err(error) = self.ports.store.settle(&settlements).await {
                failed.insert(database, error.into());
            }
        }
        failed
    }
}
