//! Which tables a run visits, and in which order.
//!
//! The *hot* tables, those of the days on which an envelope can still be alive,
//! are visited in every run. The *cold* ones are visited in rotation, a few a
//! run, so that a service that was off for a week still finishes what it owes.
//! Nobody starves: a run that reaches its bound goes on with the next table in
//! the next run, and every few runs the cold tables come first. A table that
//! fails is left out for a growing, bounded number of runs, so that it holds up
//! no other.

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::{Day, Limits, Timestamp};

use crate::job::{JobError, RunReport};

/// Cold tables that one run visits.
pub const COLD_TABLES_PER_RUN: usize = 4;
/// The cold tables come first in every so many runs.
const COLD_FIRST_EVERY: u64 = 4;
/// Runs that a failing table is left out, at most.
const HELD_RUNS_MAX: u64 = 64;
const DAY_MS: i64 = 86_400_000;

/// A table to visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stop {
    /// The table.
    pub table: TableRef,
    /// Whether it is of a day on which envelopes are alive.
    pub hot: bool,
}

/// The order of visits of one job, kept from run to run.
#[derive(Debug)]
pub struct Tour {
    zone_offset_s: i32,
    days_back: i64,
    cold_per_run: usize,
    turn: u64,
    hot_next: usize,
    cold_next: usize,
    held: HashMap<TableRef, Held>,
}

#[derive(Clone, Copy, Debug)]
struct Held {
    failures: u32,
    until_turn: u64,
}

impl Tour {
    /// A tour that visits `cold_per_run` cold tables a run.
    pub fn new(zone_offset_s: i32, limits: &Limits, cold_per_run: usize) -> Tour {
        // The longest way from an id's day to its last entry: wait for the
        // payment, then be open until expiry.
        let alive_ms = (i64::from(limits.expires_in_s_max) + i64::from(limits.pay_within_s)) * 1_000;
        let days_back = (alive_ms + DAY_MS - 1) / DAY_MS;
        Tour { zone_offset_s, days_back, cold_per_run, turn: 0, hot_next: 0, cold_next: 0, held: HashMap::new() }
    }

    /// The days of month on which envelopes can be alive at `now`: with the
    /// default limits from two days ago until tomorrow (for ids from clocks ahead).
    pub fn hot_days(&self, now: Timestamp) -> Vec<Day> {
        (-self.days_back..=1).map(|days| Day::of(now.plus_millis(days * DAY_MS), self.zone_offset_s)).collect()
    }

    /// The tables to visit now, in order. Tell [`Tour::finish`] how far the run came.
    pub fn tables_to_visit(&mut self, tables: &[TableRef], now: Timestamp) -> Vec<Stop> {
        self.turn += 1;
        let hot_days = self.hot_days(now);
        let (mut hot, mut cold): (Vec<TableRef>, Vec<TableRef>) =
            tables.iter().partition(|table| hot_days.contains(&table.day));
        start_with(&mut hot, self.hot_next);
        start_with(&mut cold, self.cold_next);
        cold.truncate(self.cold_per_run);

        let hot = hot.into_iter().map(|table| Stop { table, hot: true });
        let cold = cold.into_iter().map(|table| Stop { table, hot: false });
        let stops: Vec<Stop> =
            if self.comes_round(COLD_FIRST_EVERY) { cold.chain(hot).collect() } else { hot.chain(cold).collect() };
        stops.into_iter().filter(|stop| !self.is_held(stop.table)).collect()
    }

    /// True in every `every`th run.
    pub fn comes_round(&self, every: u64) -> bool {
        self.turn.is_multiple_of(every)
    }

    /// The run visited these; the next one starts after them.
    pub fn finish(&mut self, visited: &[Stop]) {
        let hot = visited.iter().filter(|stop| stop.hot).count();
        self.hot_next = self.hot_next.wrapping_add(hot);
        self.cold_next = self.cold_next.wrapping_add(visited.len() - hot);
    }

    /// Whether a table is left out because it failed.
    pub fn is_held(&self, table: TableRef) -> bool {
        self.held.get(&table).is_some_and(|held| held.until_turn > self.turn)
    }

    /// A visit went well.
    pub fn succeeded(&mut self, table: TableRef) {
        if self.held.remove(&table).is_some() && self.held.is_empty() {
            tracing::info!(?table, "tables can be used again");
        }
    }

    /// Every table is visited again: what kept it from being used may be over.
    pub fn forget_failures(&mut self) {
        self.held.clear();
    }

    /// A visit failed: the table is left out for a while. The first failure is
    /// logged loudly; the metrics count the others.
    pub fn failed(&mut self, job: &'static str, table: TableRef, error: &JobError) {
        if self.held.is_empty() {
            tracing::error!(job, ?table, %error, "a table cannot be used");
        } else {
            tracing::debug!(job, ?table, %error, "a table cannot be used");
        }
        let held = self.held.entry(table).or_insert(Held { failures: 0, until_turn: 0 });
        held.failures = held.failures.saturating_add(1);
        let runs = 1_u64.checked_shl(held.failures).unwrap_or(HELD_RUNS_MAX).min(HELD_RUNS_MAX);
        held.until_turn = self.turn + runs;
    }
}

fn start_with(tables: &mut [TableRef], next: usize) {
    if !tables.is_empty() {
        tables.rotate_left(next % tables.len());
    }
}

/// What a visit to one table came to.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Visit {
    /// Rows that were read: they count towards the bound.
    pub seen: u32,
    /// Rows that were moved forward.
    pub rows: u32,
    /// There is more to do at once.
    pub more: bool,
}

/// A job that handles one table at a time.
#[async_trait]
pub(crate) trait TableJob: Send {
    /// Its name.
    const NAME: &'static str;

    /// Handles at most `limit` rows of one table.
    async fn visit(&mut self, table: TableRef, now: Timestamp, limit: u32) -> Result<Visit, JobError>;
}

/// One run of a job over the tables, within `limit` rows.
pub(crate) async fn run_over_tables<J: TableJob>(
    job: &mut J,
    tour: &mut Tour,
    tables: &[TableRef],
    now: Timestamp,
    limit: u32,
) -> RunReport {
    let stops = tour.tables_to_visit(tables, now);
    let mut report = RunReport::default();
    let mut room = limit;
    let mut visited = 0;
    for stop in &stops {
        if room == 0 {
            report.more |= report.rows > 0;
            break;
        }
        visited += 1;
        match job.visit(stop.table, now, room).await {
            Ok(visit) => {
                tour.succeeded(stop.table);
                room = room.saturating_sub(visit.seen);
                report.rows += visit.rows;
                report.more |= visit.more;
            }
            Err(error) => {
                tour.failed(J::NAME, stop.table, &error);
                report.failures += 1;
            }
        }
    }
    tour.finish(&stops[..visited]);
    report
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZONE_S: i32 = 8 * 3_600;

    fn tables() -> Vec<TableRef> {
        Day::all().map(|day| TableRef { database: 0, table: 0, day }).collect()
    }

    /// 2026-02-10, 10:00 in the zone.
    fn now() -> Timestamp {
        Timestamp::parse_rfc3339("2026-02-10T10:00:00+08:00").unwrap()
    }

    fn days(stops: &[Stop], hot: bool) -> Vec<u8> {
        stops.iter().filter(|stop| stop.hot == hot).map(|stop| stop.table.day.number()).collect()
    }

    #[test]
    fn the_hot_days_cover_the_life_of_an_envelope() {
        let tour = Tour::new(ZONE_S, &Limits::default(), 4);
        assert_eq!(tour.hot_days(now()).iter().map(|day| day.number()).collect::<Vec<_>>(), [8, 9, 10, 11]);
        let a_week = Limits { expires_in_s_max: 7 * 86_400, ..Limits::default() };
        assert_eq!(Tour::new(ZONE_S, &a_week, 4).hot_days(now()).len(), 10);
    }

    #[test]
    fn every_cold_table_comes_round() {
        let mut tour = Tour::new(ZONE_S, &Limits::default(), 4);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..7 {
            let stops = tour.tables_to_visit(&tables(), now());
            assert_eq!(days(&stops, true), [8, 9, 10, 11]);
            seen.extend(days(&stops, false));
            tour.finish(&stops);
        }
        assert_eq!(seen.len(), 27);
    }

    #[test]
    fn a_run_that_reached_its_bound_goes_on_with_the_next_table() {
        let mut tour = Tour::new(ZONE_S, &Limits::default(), 4);
        let mut first: HashMap<u8, u32> = HashMap::new();
        for _ in 0..1_000 {
            let stops = tour.tables_to_visit(&tables(), now());
            *first.entry(stops[0].table.day.number()).or_default() += 1;
            tour.finish(&stops[..1]);
        }
        assert_eq!(first.len(), 31, "each table is the first of some run: {first:?}");
        assert!(first.values().all(|times| *times >= 9), "{first:?}");
    }

    #[test]
    fn a_failing_table_is_left_out_for_a_bounded_time() {
        let mut tour = Tour::new(ZONE_S, &Limits::default(), 0);
        let bad = TableRef { database: 0, table: 0, day: Day::new(9).unwrap() };
        let mut visits = 0;
        for _ in 0..1_000 {
            let stops = tour.tables_to_visit(&tables(), now());
            if stops.iter().any(|stop| stop.table == bad) {
                visits += 1;
                tour.failed("test", bad, &JobError::Panicked);
            }
            assert!(stops.len() >= 3);
            tour.finish(&stops);
        }
        assert!((15..=25).contains(&visits), "{visits}");
        tour.succeeded(bad);
        assert!(!tour.is_held(bad));
    }

    #[test]
    fn a_failing_table_is_visited_at_once_when_its_database_is_back() {
        let mut tour = Tour::new(ZONE_S, &Limits::default(), 0);
        let bad = TableRef { database: 0, table: 0, day: Day::new(9).unwrap() };
        for _ in 0..10 {
            tour.failed("test", bad, &JobError::Panicked);
        }
        let visits_it = |tour: &mut Tour| tour.tables_to_visit(&tables(), now()).iter().any(|stop| stop.table == bad);
        assert!(!visits_it(&mut tour));
        tour.forget_failures();
        assert!(visits_it(&mut tour));
    }
}
