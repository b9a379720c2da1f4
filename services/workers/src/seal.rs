//! Seal: a dated table in which nothing is left to be done gets its manifest.
//!
//! In this order, each step of which may be repeated, also by two workers at the same time:
//!
//! 1. A query says that no envelope of the table waits for anything, and the chain of its database ends well.
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
//! The oldest table comes first, and is read to its end before the next one is begun, so that a worker that is
//! stopped loses what it has read of one. What cannot be sealed is [set aside](set_aside).
//!
//! Round trips of one visit: two where the table is not quiet; four to close it; five for each page of
//! 64 envelopes, and two barriers; at its end two, and a barrier.

pub(crate) mod set_aside;

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::id::{Span, TableRef};
use hongbao_core::limits::{SEAL_AFTER_DAYS, SEAL_TRIES_MAX};
use hongbao_core::manifest::{Chain, Content, Manifest, Sealer};
use hongbao_core::{Date, Timestamp};
use hongbao_database::Generations;
use hongbao_database::durable::{Durable, Reading, durably, read_across_a_start};
use hongbao_store::{Closed, StoreError};
use hongbao_wallet::WalletError;

use self::set_aside::{SetAside, Why};
use crate::audit::{AuditError, SetStore, Walk, check_page};
use crate::job::{Job, JobError, Ports, RunReport, bounded};

const NAME: &str = "seal";
/// Tables that one run visits.
const TABLES_PER_RUN: usize = 4;

/// The job.
pub struct Seal {
    ports: Ports,
    zone_offset_s: i32,
    after_days: i32,
    /// How far the tables have been read that are closed: a hint. There are several only after failures.
    under_way: HashMap<TableRef, UnderWay>,
    set_aside: SetAside,
}

/// A table that is being read.
#[derive(Clone)]
struct UnderWay {
    closed: Closed,
    date: Date,
    walk: Walk,
    /// The databases that it was closed in.
    generations: Generations,
}

/// What a visit came to.
enum Visit {
    /// So many rows were read.
    Read(u32),
    /// There is nothing to read now.
    Not(Why),
}

impl Seal {
    /// The job for these ports: a table may be sealed so many days after its date.
    pub fn new(ports: Ports, zone_offset_s: i32, after_days: u32) -> Seal {
        let (under_way, set_aside) = (HashMap::new(), SetAside::default());
        Seal { ports, zone_offset_s, after_days: after_days as i32, under_way, set_aside }
    }

    /// Dated tables that are not sealed, and so old that some configuration may have closed them, the oldest first.
    fn tables(&self, now: Timestamp) -> Vec<(Date, TableRef)> {
        let youngest = self.date_before(now, *SEAL_AFTER_DAYS.start() as i32);
        let dated = |table: TableRef| match table.span {
            Span::Date(date) if date < youngest => Some((date, table)),
            _ => None,
        };
        let mut tables: Vec<(Date, TableRef)> =
            self.ports.store.unsealed_tables().into_iter().filter_map(dated).collect();
        tables.sort();
        tables
    }

    fn date_before(&self, now: Timestamp, days: i32) -> Date {
        Date::of(now, self.zone_offset_s).plus_days(-days)
    }

    fn failed(&mut self, table: TableRef, error: &JobError, now: Timestamp) {
        let is_unsound =
            matches!(error, JobError::Store(StoreError::Damaged(_)) | JobError::Wallet(WalletError::Damaged(_)));
        let why = if is_unsound { Why::Unsound } else { Why::Failed };
        let is_first = self.set_aside.put(table, why, now);
        if is_first || is_unsound {
            tracing::error!(job = NAME, %table, %error, "a table cannot be sealed");
        } else {
            tracing::debug!(job = NAME, %table, %error, "a table cannot be sealed");
        }
    }
}

#[async_trait]
impl Job for Seal {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.ports.clock.now();
        let mut tables = self.tables(now);
        // Another process may have sealed what was read here; and a database that was restored, or is another
        // node, may not have what was closed.
        let generations = self.ports.store.generations();
        self.under_way.retain(|table, under_way| {
            under_way.generations == generations && tables.contains(&(under_way.date, *table))
        });
        self.set_aside.end_rests(now);
        tables.retain(|(_, table)| !self.set_aside.contains(*table));
        // What was begun is read to its end.
        tables.sort_by_key(|(_, table)| !self.under_way.contains_key(table));
        let mut report = RunReport { more: tables.len() > TABLES_PER_RUN, ..RunReport::default() };
        let mut capacity_left = bounded(limit);
        for (date, table) in tables.into_iter().take(TABLES_PER_RUN) {
            if capacity_left == 0 {
                report.more = true;
                break;
            }
            if self.set_aside.contains(table) {
                // Its database has failed just now.
                continue;
            }
            match self.visit(table, date, now, capacity_left).await {
                Ok(Visit::Read(rows)) => {
                    capacity_left = capacity_left.saturating_sub(rows.max(1));
                    report.rows += rows;
                    report.more |= self.under_way.contains_key(&table);
                }
                Ok(Visit::Not(why)) => _ = self.set_aside.put(table, why, now),
                Err(error) => {
                    self.failed(table, &error, now);
                    report.failures += 1;
                }
            }
        }
        Ok(report)
    }

    fn start_over(&mut self) {
        self.under_way.clear();
    }

    fn forget_failures(&mut self) {
        self.set_aside.forget_failures();
    }
}

impl Seal {
    /// Reads on in a table, for at least `limit` rows, and seals it at its end.
    async fn visit(&mut self, table: TableRef, date: Date, now: Timestamp, limit: u32) -> Result<Visit, JobError> {
        let Ports { store, wallet, .. } = self.ports.clone();
        // From before the closing on: what is read must be durable together with it.
        let (of_store, of_wallet) = (Reading::begin(&*store), Reading::begin(&*wallet));
        // It stays where it is until there is better: what fails now is not to be read again.
        let mut under_way = match self.under_way.get(&table).cloned() {
            Some(begun) => begun,
            None => match self.begin(table, date, now).await? {
                Ok(begun) => begun,
                Err(why) => return Ok(Visit::Not(why)),
            },
        };
        let rows_before = rows_of(&under_way.walk);
        let wrong = self.read(&mut under_way.walk, limit).await?;
        let rows = (rows_of(&under_way.walk) - rows_before) as u32;
        let is_durable = of_store.end(()).await?.is_some() && of_wallet.end(()).await?.is_some();
        if !is_durable {
            return Err(read_across_a_start().into());
        }
        if let Some(wrong) = wrong {
            self.under_way.remove(&table);
            store.reopen(under_way.closed).await?;
            return Err(StoreError::Damaged(format!("it is not sealed: {wrong}")).into());
        }
        self.under_way.insert(table, under_way.clone());
        let sealer = under_way.walk.sealer.as_ref().filter(|_| under_way.walk.has_ended);
        if let Some(content) = sealer.map(Sealer::content) {
            self.seal(under_way.closed, date, content).await?;
            self.under_way.remove(&table);
        }
        Ok(Visit::Read(rows))
    }

    /// Closes a table in which nothing is left to be done.
    async fn begin(&self, table: TableRef, date: Date, now: Timestamp) -> Result<Result<UnderWay, Why>, JobError> {
        let store = &self.ports.store;
        let generations = store.generations();
        if date >= self.date_before(now, self.after_days) && store.closing(table).await?.is_none() {
            return Ok(Err(Why::Young));
        }
        if !store.is_quiet(table).await? {
            if let Some(closed) = store.closing(table).await? {
                // A row came in just before it was closed by a worker that has died since.
                store.reopen(closed).await?;
            }
            return Ok(Err(Why::Waits));
        }
        // Nothing is read that could not be sealed.
        self.chain(table.database).await?;
        let Some(closed) = store.close(table).await? else {
            // Another process has sealed it.
            store.look().await?;
            return Ok(Err(Why::Waits));
        };
        Ok(Ok(UnderWay { closed, date, walk: Walk::begin(table, Some(Sealer::default())), generations }))
    }

    /// Reads on for at least `limit` rows; says why the table must not be sealed, if so.
    async fn read(&self, walk: &mut Walk, limit: u32) -> Result<Option<String>, JobError> {
        let Ports { store, wallet, .. } = &self.ports;
        let set = SetStore::whole(store.clone());
        let (until, mut wrong) = (rows_of(walk) + u64::from(limit), None);
        while wrong.is_none() && !walk.has_ended && rows_of(walk) < until {
            let breach = check_page(&set, &**wallet, walk).await.map_err(of_audit)?;
            let not_closed = walk.sealer.as_ref().and_then(Sealer::not_closed);
            wrong = breach
                .map(|breach| breach.to_string())
                .or_else(|| not_closed.map(|id| format!("envelope {id} is not settled to its end")));
        }
        Ok(wrong)
    }

    /// The end of a database's chain. What a manifest goes on from must outlive it, so it is durable.
    async fn chain(&self, database: u8) -> Result<Chain, JobError> {
        let store = &self.ports.store;
        let last = durably::<_, StoreError, _>(&**store, || store.last_manifest(database)).await?;
        match last.map(Durable::into_inner) {
            Some(last) if last.hash != last.manifest.hash() => {
                let reason = format!("manifest {} was changed, and nothing is sealed after it", last.manifest.number);
                Err(StoreError::Damaged(reason).into())
            }
            Some(last) => Ok(Chain::up_to(&last.manifest)),
            None => Ok(Chain::default()),
        }
    }

    /// Appends the manifest to the chain; where another one came first, behind that.
    async fn seal(&self, closed: Closed, date: Date, content: Content) -> Result<(), JobError> {
        let store = &self.ports.store;
        let TableRef { database, table, .. } = closed.table;
        for _ in 0..SEAL_TRIES_MAX {
            let (number, previous) = self.chain(database).await?.next();
            let manifest = Manifest { number, database, table, date, content: content.clone(), previous };
            if store.seal(closed, &manifest).await? == hongbao_store::Seal::Done {
                tracing::info!(table = %closed.table, manifest = number, "a table is sealed");
                return Ok(());
            }
            if store.closing(closed.table).await? != Some(closed) {
                // Another process has sealed it, or opened it again.
                store.look().await?;
                return Ok(());
            }
        }
        Err(StoreError::Locked("others seal tables of the same database".to_owned()).into())
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
