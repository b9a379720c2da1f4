//! Which tables a run visits, and in which order.
//!
//! One statement says which of many tables have anything for a job, and when; only these are visited. Where that
//! statement fails, all of them are, one by one.
//!
//! The *hot* tables, the day tables of the days on which an envelope can still be alive,
//! come in every run. The *cold* ones come in rotation, a few a
//! run, so that a service that was off for a week still finishes what it owes.
//! No table starves: a run that reaches its bound goes on with the next table in
//! the next run, and every few runs the cold tables come first. A table that
//! fails is left out for a growing, bounded number of runs, so that it holds up
//! no other.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::limits::BACKED_OFF_RUNS_MAX;
use hongbao_core::{Date, Limits, Timestamp};
use hongbao_store::StoreError;

use crate::job::{JobError, RunReport};

/// Cold tables that one run visits.
pub const COLD_TABLES_PER_RUN: usize = 20;
/// The cold tables come first in every so many runs.
const COLD_FIRST_EVERY: u64 = 4;
const DAY_MS: i64 = 86_400_000;

/// A table to visit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScheduledTable {
    /// The table.
    pub table: TableRef,
    /// Whether it is of a day on which envelopes are alive.
    pub hot: bool,
}

/// The order of visits of one job, kept from run to run.
#[derive(Debug)]
pub struct TableSchedule {
    zone_offset_s: i32,
    days_back: i64,
    cold_per_run: usize,
    turn: u64,
    hot_next: usize,
    cold_next: usize,
    backed_off: HashMap<TableRef, BackOff>,
}

#[derive(Clone, Copy, Debug)]
struct BackOff {
    failures: u32,
    until_turn: u64,
}

impl TableSchedule {
    /// A schedule that visits `cold_per_run` cold tables a run.
    pub fn new(zone_offset_s: i32, limits: &Limits, cold_per_run: usize) -> TableSchedule {
        // The longest way from an id's day to its last entry: wait for the
        // payment, then be open until expiry.
        let alive_ms = (i64::from(limits.expires_in_s_max) + i64::from(limits.pay_within_s)) * 1_000;
        let days_back = (alive_ms + DAY_MS - 1) / DAY_MS;
        TableSchedule {
            zone_offset_s,
            days_back,
            cold_per_run,
            turn: 0,
            hot_next: 0,
            cold_next: 0,
            backed_off: HashMap::new(),
        }
    }

    /// The dates on which envelopes that are alive at `now` can have been made: with the
    /// default limits from two days ago until tomorrow (for ids from clocks ahead).
    pub fn hot_dates(&self, now: Timestamp) -> Vec<Date> {
        (-self.days_back..=1).map(|days| Date::of(now.plus_millis(days * DAY_MS), self.zone_offset_s)).collect()
    }

    /// The tables to visit now, in order. Tell [`TableSchedule::finish`] how far the run came.
    pub fn tables_to_visit(&mut self, tables: &[TableRef], now: Timestamp) -> Vec<ScheduledTable> {
        self.turn += 1;
        let hot_dates = self.hot_dates(now);
        let (mut hot, mut cold): (Vec<TableRef>, Vec<TableRef>) =
            tables.iter().partition(|table| table.is_of(&hot_dates));
        start_with(&mut hot, self.hot_next);
        start_with(&mut cold, self.cold_next);
        cold.truncate(self.cold_per_run);

        let hot = hot.into_iter().map(|table| ScheduledTable { table, hot: true });
        let cold = cold.into_iter().map(|table| ScheduledTable { table, hot: false });
        let scheduled_tables: Vec<ScheduledTable> =
            if self.comes_round(COLD_FIRST_EVERY) { cold.chain(hot).collect() } else { hot.chain(cold).collect() };
        scheduled_tables.into_iter().filter(|scheduled| !self.is_backed_off(scheduled.table)).collect()
    }

    /// True in every `every`th run.
    pub fn comes_round(&self, every: u64) -> bool {
        self.turn.is_multiple_of(every)
    }

    /// The run visited these; the next one starts after them.
    pub fn finish(&mut self, visited: &[ScheduledTable]) {
        let hot = visited.iter().filter(|scheduled| scheduled.hot).count();
        self.hot_next = self.hot_next.wrapping_add(hot);
        self.cold_next = self.cold_next.wrapping_add(visited.len() - hot);
    }

    /// Whether a table is left out because it failed.
    pub fn is_backed_off(&self, table: TableRef) -> bool {
        self.backed_off.get(&table).is_some_and(|backed_off| backed_off.until_turn > self.turn)
    }

    /// Whether any table is left out, whose turn comes after so many runs.
    pub fn leaves_any_out(&self) -> bool {
        self.backed_off.values().any(|backed_off| backed_off.until_turn > self.turn)
    }

    /// A visit went well.
    pub fn succeeded(&mut self, table: TableRef) {
        if self.backed_off.remove(&table).is_some() && self.backed_off.is_empty() {
            tracing::info!(%table, "tables can be used again");
        }
    }

    /// Every table is visited again: what kept it from being used may be over.
    pub fn forget_failures(&mut self) {
        self.backed_off.clear();
    }

    /// A visit failed: the table is left out for a while. The first failure is
    /// logged loudly; the metrics count the others.
    pub fn failed(&mut self, job: &'static str, table: TableRef, error: &JobError) {
        if self.backed_off.is_empty() {
            tracing::error!(job, %table, %error, "a table cannot be used");
        } else {
            tracing::debug!(job, %table, %error, "a table cannot be used");
        }
        let backed_off = self.backed_off.entry(table).or_insert(BackOff { failures: 0, until_turn: 0 });
        backed_off.failures = backed_off.failures.saturating_add(1);
        let runs = 1_u64.checked_shl(backed_off.failures).unwrap_or(BACKED_OFF_RUNS_MAX).min(BACKED_OFF_RUNS_MAX);
        backed_off.until_turn = self.turn + runs;
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

    /// From when on there is something for the job in each of these tables, in their order, as one look at `now` tells;
    /// `None` where there is nothing.
    async fn due(&self, tables: &[TableRef], now: Timestamp) -> Result<Vec<Option<Timestamp>>, StoreError>;

    /// Handles at most `limit` rows of one table.
    async fn visit(&mut self, table: TableRef, now: Timestamp, limit: u32) -> Result<Visit, JobError>;
}

/// One run of a job over the tables, within `limit` rows.
pub(crate) async fn run_over_tables<J: TableJob>(
    job: &mut J,
    schedule: &mut TableSchedule,
    tables: &[TableRef],
    now: Timestamp,
    limit: u32,
) -> RunReport {
    let scheduled_tables = schedule.tables_to_visit(tables, now);
    let looked_at: Vec<TableRef> = scheduled_tables.iter().map(|scheduled| scheduled.table).collect();
    // A table that cannot be looked at fails for itself when it is visited.
    let due = job.due(&looked_at, now).await.ok();
    let mut report = RunReport { quiet_for: due.is_some().then_some(Duration::MAX), ..RunReport::default() };
    let mut capacity_left = limit;
    let mut visited = 0;
    for scheduled in &scheduled_tables {
        if capacity_left == 0 {
            report.more |= report.rows > 0;
            break;
        }
        let due_at = due.as_ref().map_or(Some(now), |due| due[visited]);
        visited += 1;
        if due_at.is_none_or(|at| at > now) {
            schedule.succeeded(scheduled.table);
            let left = due_at.map(|at| Duration::from_millis(at.millis_since(now).unsigned_abs()));
            report.quiet_for = report.quiet_for.min(left.or(report.quiet_for));
            continue;
        }
        report.quiet_for = None;
        match job.visit(scheduled.table, now, capacity_left).await {
            Ok(visit) => {
                schedule.succeeded(scheduled.table);
                capacity_left = capacity_left.saturating_sub(visit.seen);
                report.rows += visit.rows;
                report.more |= visit.more;
            }
            Err(error) => {
                schedule.failed(J::NAME, scheduled.table, &error);
                report.failures += 1;
            }
        }
    }
    schedule.finish(&scheduled_tables[..visited]);
    if schedule.leaves_any_out() {
        report.quiet_for = None;
    }
    report
}

#[cfg(test)]
mod tests {
    use hongbao_core::Day;
    use hongbao_core::id::Span;
    use hongbao_core::limits::{LIFETIME_S_CEILING, PAY_WITHIN_S, ROTATION_AHEAD_DAYS};

    use super::*;

    const ZONE_S: i32 = 8 * 3_600;

    fn day_of(table: TableRef) -> u8 {
        let Span::Day(day) = table.span else { panic!("{table:?} is a dated table") };
        day.number()
    }

    fn tables() -> Vec<TableRef> {
        Day::all().map(|day| TableRef { database: 0, table: 0, span: Span::Day(day) }).collect()
    }

    /// 2026-02-10, 10:00 in the zone.
    fn now() -> Timestamp {
        Timestamp::parse_rfc3339("2026-02-10T10:00:00+08:00").unwrap()
    }

    fn days(scheduled_tables: &[ScheduledTable], hot: bool) -> Vec<u8> {
        scheduled_tables
            .iter()
            .filter(|scheduled| scheduled.hot == hot)
            .map(|scheduled| day_of(scheduled.table))
            .collect()
    }

    #[test]
    fn the_hot_days_cover_the_life_of_an_envelope() {
        let schedule = TableSchedule::new(ZONE_S, &Limits::default(), 4);
        assert_eq!(
            schedule.hot_dates(now()).iter().map(|date| date.day().number()).collect::<Vec<_>>(),
            [8, 9, 10, 11]
        );
        let a_week = Limits { expires_in_s_max: 7 * 86_400, ..Limits::default() };
        assert_eq!(TableSchedule::new(ZONE_S, &a_week, 4).hot_dates(now()).len(), 10);
    }

    /// A table that credits follow is not renamed: its tail would be lost, and the credits late by up to a minute.
    #[test]
    fn no_table_of_a_hot_date_is_renamed_whatever_the_limits_are() {
        let longest =
            Limits { expires_in_s_max: LIFETIME_S_CEILING, pay_within_s: *PAY_WITHIN_S.end(), ..Limits::default() };
        let schedule = TableSchedule::new(ZONE_S, &longest, 4);
        for days in 0..1_500 {
            let now = now().plus_millis(days * DAY_MS);
            let through = Date::of(now, ZONE_S).plus_days(ROTATION_AHEAD_DAYS);
            for hot in schedule.hot_dates(now) {
                assert_eq!(through.last_with(hot.day()), hot, "{through}");
            }
        }
    }

    #[test]
    fn every_cold_table_comes_round() {
        let mut schedule = TableSchedule::new(ZONE_S, &Limits::default(), 4);
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..7 {
            let scheduled_tables = schedule.tables_to_visit(&tables(), now());
            assert_eq!(days(&scheduled_tables, true), [8, 9, 10, 11]);
            seen.extend(days(&scheduled_tables, false));
            schedule.finish(&scheduled_tables);
        }
        assert_eq!(seen.len(), 27);
    }

    #[test]
    fn a_run_that_reached_its_bound_goes_on_with_the_next_table() {
        let mut schedule = TableSchedule::new(ZONE_S, &Limits::default(), 4);
        let mut first: HashMap<u8, u32> = HashMap::new();
        for _ in 0..1_000 {
            let scheduled_tables = schedule.tables_to_visit(&tables(), now());
            *first.entry(day_of(scheduled_tables[0].table)).or_default() += 1;
            schedule.finish(&scheduled_tables[..1]);
        }
        assert_eq!(first.len(), 31, "each table is the first of some run: {first:?}");
        assert!(first.values().all(|times| *times >= 9), "{first:?}");
    }

    #[test]
    fn a_failing_table_is_left_out_for_a_bounded_time() {
        let mut schedule = TableSchedule::new(ZONE_S, &Limits::default(), 0);
        let bad = TableRef { database: 0, table: 0, span: Span::Day(Day::new(9).unwrap()) };
        let mut visits = 0;
        for _ in 0..1_000 {
            let scheduled_tables = schedule.tables_to_visit(&tables(), now());
            if scheduled_tables.iter().any(|scheduled| scheduled.table == bad) {
                visits += 1;
                schedule.failed("test", bad, &JobError::Panicked);
            }
            assert!(scheduled_tables.len() >= 3);
            schedule.finish(&scheduled_tables);
        }
        assert!((15..=25).contains(&visits), "{visits}");
        schedule.succeeded(bad);
        assert!(!schedule.is_backed_off(bad));
    }

    #[test]
    fn a_failing_table_is_visited_at_once_when_its_database_is_back() {
        let mut schedule = TableSchedule::new(ZONE_S, &Limits::default(), 0);
        let bad = TableRef { database: 0, table: 0, span: Span::Day(Day::new(9).unwrap()) };
        for _ in 0..10 {
            schedule.failed("test", bad, &JobError::Panicked);
        }
        let visits_it = |schedule: &mut TableSchedule| {
            schedule.tables_to_visit(&tables(), now()).iter().any(|scheduled| scheduled.table == bad)
        };
        assert!(!visits_it(&mut schedule));
        schedule.forget_failures();
        assert!(visits_it(&mut schedule));
    }
}
