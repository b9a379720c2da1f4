//! Seal: a dated table in which nothing is left to be done gets its manifest.
//!
//! In this order, each step of which may be repeated, also by two workers at the same time:
//!
//! 1. A query says that no envelope of the table waits for anything.
//! 2. The table is closed: the database refuses every further row.
//! 3. Its rows are read in order, a part in each visit. Each envelope has to be closed, and to pass the check of the
//!    audit, its transfers included. What is read is durable, by a barrier of the store and one of the wallet, before
//!    anything follows from it. If something is wrong the table is opened again, and stays as it was.
//! 4. The manifest goes to the end of its database's chain, which was read behind a barrier. Two that meet there
//!    have one winner, by the key of the place in the chain; and one whose closing was taken back meanwhile
//!    writes nothing, by the closing's number.
//!
//! A worker that dies in between leaves a closed table, in which nothing is to happen anyway; the next one
//! finds it closed and goes on from step 3.
//!
//! Round trips of one visit: two where the table is not quiet; one or two to close it; five for each page of
//! 64 envelopes, and two barriers; at its end two, and a barrier.

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::id::{Span, TableRef};
use hongbao_core::manifest::{Chain, Content, Manifest, Sealer};
use hongbao_core::{Date, Limits, Timestamp};
use hongbao_database::durable::{Durable, Reading, durably, read_across_a_start};
use hongbao_store::{Closed, StoreError};

use crate::audit::{AuditError, SetStore, Walk, check_page};
use crate::job::{Job, JobError, Ports, RunReport, bounded};
use crate::schedule::{COLD_TABLES_PER_RUN, TableJob, TableSchedule, Visit, run_over_tables};

/// The job.
pub struct Seal {
    worker: SealWorker,
    schedule: TableSchedule,
    zone_offset_s: i32,
    after_days: i32,
}

struct SealWorker {
    ports: Ports,
    /// How far the tables have been read that are closed: a hint.
    under_way: HashMap<TableRef, UnderWay>,
}

/// A table that is being read.
#[derive(Clone)]
struct UnderWay {
    closed: Closed,
    walk: Walk,
}

impl Seal {
    /// The job for these ports: a table may be sealed so many days after its date.
    pub fn new(ports: Ports, zone_offset_s: i32, limits: &Limits, after_days: u32) -> Seal {
        Seal {
            worker: SealWorker { ports, under_way: HashMap::new() },
            schedule: TableSchedule::new(zone_offset_s, limits, COLD_TABLES_PER_RUN),
            zone_offset_s,
            after_days: after_days as i32,
        }
    }

    /// Dated tables that are old enough and not sealed.
    fn tables(&self, now: Timestamp) -> Vec<TableRef> {
        let youngest = Date::of(now, self.zone_offset_s).plus_days(-self.after_days);
        let mut tables = self.worker.ports.store.unsealed_tables();
        tables.retain(|table| matches!(table.span, Span::Date(date) if date < youngest));
        tables
    }
}

#[async_trait]
impl Job for Seal {
    fn name(&self) -> &'static str {
        SealWorker::NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.worker.ports.clock.now();
        let tables = self.tables(now);
        // Another process may have sealed what was read here.
        self.worker.under_way.retain(|table, _| tables.contains(table));
        Ok(run_over_tables(&mut self.worker, &mut self.schedule, &tables, now, bounded(limit)).await)
    }

    fn start_over(&mut self) {
        self.worker.under_way.clear();
    }

    fn forget_failures(&mut self) {
        self.schedule.forget_failures();
    }
}

#[async_trait]
impl TableJob for SealWorker {
    const NAME: &'static str = "seal";

    async fn visit(&mut self, table: TableRef, _now: Timestamp, limit: u32) -> Result<Visit, JobError> {
        let begun = match self.under_way.remove(&table) {
            Some(begun) => begun,
            None => match self.begin(table).await? {
                Some(begun) => begun,
                None => return Ok(Visit::default()),
            },
        };
        let rows_before = rows_of(&begun.walk);
        let (under_way, wrong) = self.read(begun, limit).await?;
        let rows = (rows_of(&under_way.walk) - rows_before) as u32;
        if let Some(wrong) = wrong {
            self.ports.store.reopen(under_way.closed).await?;
            return Err(StoreError::Damaged(format!("it is not sealed: {wrong}")).into());
        }
        let content = under_way.walk.sealer.as_ref().filter(|_| under_way.walk.has_ended).map(Sealer::content);
        match content {
            Some(content) => self.seal(under_way.closed, content).await?,
            None => _ = self.under_way.insert(table, under_way),
        }
        Ok(Visit { seen: rows.max(1), rows: rows.max(1), more: true })
    }
}

impl SealWorker {
    /// Closes a table in which nothing is left to be done.
    async fn begin(&self, table: TableRef) -> Result<Option<UnderWay>, JobError> {
        let store = &self.ports.store;
        if !store.is_quiet(table).await? {
            if let Some(closed) = store.closing(table).await? {
                // A row came in just before it was closed by a worker that has died since.
                store.reopen(closed).await?;
            }
            return Ok(None);
        }
        let Some(closed) = store.close(table).await? else {
            // Another process has sealed it.
            store.look().await?;
            return Ok(None);
        };
        Ok(Some(UnderWay { closed, walk: Walk::begin(table, Some(Sealer::default())) }))
    }

    /// Reads on for at least `limit` rows, durably; and says why the table must not be sealed, if so.
    async fn read(&self, mut under_way: UnderWay, limit: u32) -> Result<(UnderWay, Option<String>), JobError> {
        let Ports { store, wallet, .. } = &self.ports;
        let set = SetStore::whole(store.clone());
        let (of_store, of_wallet) = (Reading::begin(&**store), Reading::begin(&**wallet));
        let walk = &mut under_way.walk;
        let (until, mut wrong) = (rows_of(walk) + u64::from(limit), None);
        while wrong.is_none() && !walk.has_ended && rows_of(walk) < until {
            let breach = check_page(&set, &**wallet, walk).await.map_err(of_audit)?;
            let not_closed = walk.sealer.as_ref().and_then(Sealer::not_closed);
            wrong = breach
                .map(|breach| breach.to_string())
                .or_else(|| not_closed.map(|id| format!("envelope {id} is not settled to its end")));
        }
        let is_durable = of_store.end(()).await?.is_some() && of_wallet.end(()).await?.is_some();
        if !is_durable {
            return Err(read_across_a_start().into());
        }
        Ok((under_way, wrong))
    }

    /// Appends the manifest to the chain; where another one came first, the table is read again.
    async fn seal(&self, closed: Closed, content: Content) -> Result<(), JobError> {
        let Ports { store, .. } = &self.ports;
        let TableRef { database, table, span } = closed.table;
        let Span::Date(date) = span else { return Ok(()) };
        // What the manifest goes on from must outlive it.
        let last = durably::<_, StoreError, _>(&**store, || store.last_manifest(database)).await?;
        let chain = match last.map(Durable::into_inner) {
            Some(last) if last.hash != last.manifest.hash() => {
                let reason = format!("manifest {} was changed, and nothing is sealed after it", last.manifest.number);
                return Err(StoreError::Damaged(reason).into());
            }
            Some(last) => Chain::up_to(&last.manifest),
            None => Chain::default(),
        };
        let (number, previous) = chain.next();
        let manifest = Manifest { number, database, table, date, content, previous };
        match store.seal(closed, &manifest).await? {
            hongbao_store::Seal::Done => tracing::info!(database, table, %date, number, "a table is sealed"),
            hongbao_store::Seal::Fenced => store.look().await?,
        }
        Ok(())
    }
}

fn rows_of(walk: &Walk) -> u64 {
    walk.sealer.as_ref().map_or(0, Sealer::rows)
}

fn of_audit(error: AuditError) -> JobError {
    match error {
        AuditError::Store(_, error) => error.into(),
        AuditError::Wallet(error) => error.into(),
        other => StoreError::Unavailable(other.to_string()).into(),
    }
}
