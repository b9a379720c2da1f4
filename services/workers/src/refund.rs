//! Refund: what was not opened goes back to the sender, to the fen.
//!
//! The refund is the journal's last entry. It is decided like an opening and
//! written under the same keys, so a racing opening and the refund cannot both
//! have the same place; the loser is simply seen again in the next run. The
//! credit job then pays it to the sender like any other entry.
//!
//! Envelopes that cannot be refunded, because something is wrong with them, are
//! passed by a cursor, so that any number of them holds up no other. Before rows
//! that cannot even be read the others are read one by one, and the next visit
//! begins behind them.
//!
//! Round trips of a run: one look at all tables, which says when the first envelope of each expires, so that a refund
//! comes at its time. Of one visit: one read, and where it found something a barrier and one transaction; each
//! lost race adds twice the logarithm of the page; where rows are damaged up to [`REFUND_SINGLE_READS_MAX`] reads,
//! and one for each bit of a time.

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::limits::REFUND_SINGLE_READS_MAX;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal, Limits, Timestamp};
use hongbao_database::durably;
use hongbao_store::{Append, StoreError};

use crate::job::{Job, JobError, Ports, RunReport, bounded};
use crate::schedule::{COLD_TABLES_PER_RUN, TableJob, TableSchedule, Visit, run_over_tables};

/// The job.
pub struct Refund {
    refunder: Refunder,
    schedule: TableSchedule,
}

struct Refunder {
    ports: Ports,
    /// Where the next page begins in tables with more than one page: a hint.
    pages: HashMap<TableRef, Cursor>,
}

/// An envelope's place in the order of expiry.
type Cursor = (Timestamp, EnvelopeId);

/// Envelopes that are over.
struct Page {
    expired: Vec<(Envelope, Journal)>,
    /// Where the page after it begins; `None` if that is the first.
    next: Option<Cursor>,
    /// What stands behind them and cannot be read.
    damage: Option<StoreError>,
}

impl Page {
    /// There is nothing to do.
    fn is_blank(&self) -> bool {
        self.expired.is_empty() && self.next.is_none() && self.damage.is_none()
    }

    fn refunds(&self, now: Timestamp) -> Vec<Entry> {
        self.expired.iter().filter_map(|(envelope, journal)| envelope.decide_refund(journal, now)).collect()
    }
}

impl Refund {
    /// The job for these ports.
    pub fn new(ports: Ports, zone_offset_s: i32, limits: &Limits) -> Refund {
        Refund {
            refunder: Refunder { ports, pages: HashMap::new() },
            schedule: TableSchedule::new(zone_offset_s, limits, COLD_TABLES_PER_RUN),
        }
    }
}

#[async_trait]
impl Job for Refund {
    fn name(&self) -> &'static str {
        Refunder::NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.refunder.ports.clock.now();
        let tables = self.refunder.ports.store.unsealed_tables();
        Ok(run_over_tables(&mut self.refunder, &mut self.schedule, &tables, now, bounded(limit)).await)
    }

    fn forget_failures(&mut self) {
        self.schedule.forget_failures();
    }
}

#[async_trait]
impl TableJob for Refunder {
    const NAME: &'static str = "refund";

    async fn due(&self, tables: &[TableRef], _: Timestamp) -> Result<Vec<Option<Timestamp>>, StoreError> {
        Ok(self.ports.store.waiting(tables).await?.into_iter().map(|waiting| waiting.first_expiry).collect())
    }

    async fn visit(&mut self, table: TableRef, now: Timestamp, limit: u32) -> Result<Visit, JobError> {
        let epoch = self.ports.store.epoch(table.database);
        // A refund that follows an entry which a crash takes back would leave a gap in the journal.
        let page = durably::<_, StoreError, _>(&*self.ports.store, || async {
            Ok(Some(self.page(table, now, limit).await?).filter(|page| !page.is_blank()))
        });
        let Some(page) = page.await? else {
            self.pages.remove(&table);
            return Ok(Visit::default());
        };
        let refunds = page.refunds(now);
        let rows = if refunds.is_empty() { 0 } else { self.append(&refunds, epoch).await? };
        let Page { expired, next, damage } = page.into_inner();
        match next {
            Some(next) => self.pages.insert(table, next),
            None => self.pages.remove(&table),
        };
        if let Some(damage) = damage {
            return Err(damage.into());
        }
        // What is missing in `rows` has lost a race; that alone is no reason to hurry.
        let more = expired.len() as u32 == limit && rows > 0;
        Ok(Visit { seen: expired.len() as u32, rows, more })
    }
}

impl Refunder {
    async fn page(&self, table: TableRef, now: Timestamp, limit: u32) -> Result<Page, StoreError> {
        let after = self.pages.get(&table).copied();
        match self.ports.store.expired(table, now, after, limit).await {
            Ok(expired) => {
                let last = expired.last().filter(|_| expired.len() as u32 == limit);
                let next = last.and_then(|(envelope, _)| Some((envelope.expires_at?, envelope.id)));
                Ok(Page { expired, next, damage: None })
            }
            Err(StoreError::Damaged(_)) => self.page_before_damage(table, now, after, limit).await,
            Err(error) => Err(error),
        }
    }

    async fn page_before_damage(
        &self,
        table: TableRef,
        now: Timestamp,
        mut after: Option<Cursor>,
        limit: u32,
    ) -> Result<Page, StoreError> {
        let mut expired = Vec::new();
        while expired.len() < REFUND_SINGLE_READS_MAX.min(limit as usize) {
            match self.ports.store.expired(table, now, after, 1).await {
                Ok(one) if one.is_empty() => return Ok(Page { expired, next: None, damage: None }),
                Ok(one) => {
                    after = one.last().and_then(|(envelope, _)| Some((envelope.expires_at?, envelope.id)));
                    expired.extend(one);
                }
                Err(damage @ StoreError::Damaged(_)) => {
                    let next = self.behind(table, now, after).await?;
                    return Ok(Page { expired, next: Some(next), damage: Some(damage) });
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Page { expired, next: after, damage: None })
    }

    /// The place behind the damaged row that comes after `after`: it is found
    /// by the earliest time at which that row has expired.
    async fn behind(&self, table: TableRef, now: Timestamp, after: Option<Cursor>) -> Result<Cursor, StoreError> {
        let (mut too_early, mut late_enough) = (after.map_or(0, |(at, _)| at.millis()) - 1, now.millis());
        while late_enough - too_early > 1 {
            let time = i64::midpoint(too_early, late_enough);
            match self.ports.store.expired(table, Timestamp::from_millis(time), after, 1).await {
                Ok(none) if none.is_empty() => too_early = time,
                Ok(_) | Err(StoreError::Damaged(_)) => late_enough = time,
                Err(error) => return Err(error),
            }
        }
        // Others of the same millisecond are passed with it, if their ids are greater.
        Ok((Timestamp::from_millis(late_enough), EnvelopeId::mint(Timestamp::from_millis(i64::MAX), [u8::MAX; 10])))
    }

    /// Writes what can be written; gives how many that were. A table lies in
    /// one database, so its refunds are one transaction, unless some have lost a race:
    /// they are found by halves.
    async fn append(&self, refunds: &[Entry], epoch: u64) -> Result<u32, JobError> {
        let (mut rows, mut parts) = (0, vec![refunds]);
        while let Some(part) = parts.pop() {
            let [first, rest @ ..] = part else { continue };
            if self.ports.store.append(part).await? == Append::Done {
                rows += part.len() as u32;
                continue;
            }
            if self.ports.store.epoch(self.ports.store.table_of(first.envelope_id).database) != epoch {
                // The database may be another one than what was decided rests on: the next visit reads again.
                return Ok(rows);
            }
            if rest.is_empty() {
                tracing::debug!(envelope_id = %first.envelope_id, "another entry was first");
            } else {
                let (one, other) = part.split_at(part.len() / 2);
                parts.extend([other, one]);
            }
        }
        Ok(rows)
    }
}
