//! Expiring soon: says once of an envelope with money in it that it expires soon.
//!
//! When that is follows from its life ([`EXPIRING_SOON_MS`]). The envelopes of each such span are followed in the order
//! of their expiry. One whose life is at least four times the span is paid with its expiry far ahead of where they are
//! followed, so none is passed; one of another span is left to that. What is remembered of it are hints: a job that
//! starts anew says it again, and the wallet writes nothing that stands in the feed already.
//!
//! Round trips of a run: one look at all tables. Of a table in which something expires within a span: one read for each
//! span, and where it found something a barrier and one wallet transaction.

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::event::Note;
use hongbao_core::id::TableRef;
use hongbao_core::limits::EXPIRING_SOON_MS;
use hongbao_core::{Envelope, EnvelopeId, Journal, Limits, Timestamp};
use hongbao_database::durably;
use hongbao_store::StoreError;

use crate::job::{Job, JobError, Ports, RunReport, bounded};
use crate::schedule::{TableJob, TableSchedule, Visit, run_over_tables};

/// The job.
pub struct ExpiringSoon {
    follower: Follower,
    schedule: TableSchedule,
}

struct Follower {
    ports: Ports,
    /// Up to where each table was followed, in the order of expiry, for each of [`EXPIRING_SOON_MS`].
    followed: HashMap<(TableRef, usize), (Timestamp, EnvelopeId)>,
}

impl ExpiringSoon {
    /// The job for these ports.
    pub fn new(ports: Ports, zone_offset_s: i32, limits: &Limits) -> ExpiringSoon {
        ExpiringSoon {
            follower: Follower { ports, followed: HashMap::new() },
            // Nothing in a cold table is alive.
            schedule: TableSchedule::new(zone_offset_s, limits, 0),
        }
    }
}

/// Which of the spans is that of an envelope.
fn span_of(envelope: &Envelope) -> Option<usize> {
    EXPIRING_SOON_MS.iter().position(|span| envelope.lifetime_ms / 4 >= *span)
}

#[async_trait]
impl Job for ExpiringSoon {
    fn name(&self) -> &'static str {
        Follower::NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.follower.ports.clock.now();
        let tables = self.follower.ports.store.unsealed_tables();
        let hot = self.schedule.hot_dates(now);
        self.follower.followed.retain(|(table, _), _| table.is_of(&hot));
        Ok(run_over_tables(&mut self.follower, &mut self.schedule, &tables, now, bounded(limit)).await)
    }

    fn start_over(&mut self) {
        self.follower.followed.clear();
    }

    fn forget_failures(&mut self) {
        self.schedule.forget_failures();
    }
}

#[async_trait]
impl TableJob for Follower {
    const NAME: &'static str = "expiring_soon";

    async fn due(&self, tables: &[TableRef], _: Timestamp) -> Result<Vec<Option<Timestamp>>, StoreError> {
        let waiting = self.ports.store.waiting(tables).await?;
        let due = |first: Timestamp| first.plus_millis(-EXPIRING_SOON_MS[0]);
        Ok(waiting.into_iter().map(|waiting| waiting.first_expiry.map(due)).collect())
    }

    async fn visit(&mut self, table: TableRef, now: Timestamp, limit: u32) -> Result<Visit, JobError> {
        let mut visit = Visit::default();
        for (span, span_ms) in EXPIRING_SOON_MS.into_iter().enumerate() {
            let after = self.followed.get(&(table, span)).copied();
            let until = now.plus_millis(span_ms);
            let store = &*self.ports.store;
            let page = durably::<_, StoreError, _>(store, || async {
                let page = store.expired(table, until, after, limit).await?;
                Ok(Some(page).filter(|page| !page.is_empty()))
            });
            let Some(page) = page.await? else { continue };
            let is_due = |(envelope, _): &&(Envelope, Journal)| {
                span_of(envelope) == Some(span) && envelope.expires_at.is_some_and(|at| at > now)
            };
            let notes: Vec<Note> = page
                .iter()
                .filter(is_due)
                .flat_map(|(envelope, journal)| Note::expiring_soon(envelope, journal.remaining, now))
                .collect();
            if !notes.is_empty() {
                visit.rows += notes.len() as u32;
                self.ports.wallet.transfer_noting(Vec::new(), notes).await?;
            }
            visit.seen += page.len() as u32;
            visit.more |= page.len() as u32 == limit;
            if let Some((last, expires_at)) = page.last().and_then(|(last, _)| Some((last, last.expires_at?))) {
                self.followed.insert((table, span), (expires_at, last.id));
            }
        }
        Ok(visit)
    }
}
