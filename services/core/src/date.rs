//! Days of the calendar, in one configured zone: a day table holds those envelopes
//! that were minted on one of them.

use std::fmt;

use chrono::{DateTime, Datelike as _, NaiveDate};

use crate::time::Timestamp;

const DAY_MS: i64 = 86_400_000;

/// A date, counted in days since 1970-01-01.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Date(i32);

impl Date {
    /// The date of `at`, in a zone that is so many seconds ahead of UTC.
    pub const fn of(at: Timestamp, zone_offset_s: i32) -> Date {
        let local = at.plus_millis(zone_offset_s as i64 * 1_000);
        Date(local.millis().div_euclid(DAY_MS) as i32)
    }

    /// Reads `20261126`; `None` for what is no date.
    pub fn parse(text: &str) -> Option<Date> {
        if text.len() != 8 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let date = NaiveDate::parse_from_str(text, "%Y%m%d").ok()?;
        Some(Date(date.to_epoch_days()))
    }

    /// So many days later, or earlier.
    pub const fn plus_days(self, days: i32) -> Date {
        Date(self.0.saturating_add(days))
    }

    /// Days since 1970-01-01.
    pub const fn number(self) -> i32 {
        self.0
    }

    /// The first millisecond of it in a zone.
    pub const fn starts_at(self, zone_offset_s: i32) -> Timestamp {
        Timestamp::from_millis(self.0 as i64 * DAY_MS - zone_offset_s as i64 * 1_000)
    }

    /// Its day of month.
    pub fn day(self) -> Day {
        Day(self.calendar().day() as u8)
    }

    /// The last date up to this one whose day of month is `day`: what the day table of
    /// that day holds, once all dates up to this one have their tables.
    pub fn last_with(self, day: Day) -> Date {
        // No two months without a 31st follow each other: within 61 days there is one of each.
        let found = (0..62).map(|back| self.plus_days(-back)).find(|date| date.day() == day);
        found.unwrap_or(self)
    }

    /// `202611`: its year and month.
    pub fn year_and_month(self) -> u32 {
        let date = self.calendar();
        date.year().unsigned_abs() * 100 + date.month()
    }

    fn calendar(self) -> NaiveDate {
        DateTime::from_timestamp_millis(i64::from(self.0) * DAY_MS).unwrap_or_default().date_naive()
    }
}

/// `20261126`.
impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let date = self.calendar();
        write!(f, "{:04}{:02}{:02}", date.year(), date.month(), date.day())
    }
}

/// A day of month, 1..=31: the day tables are used in a circle of 31.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u8);

impl Day {
    /// A day of month by number, 1..=31.
    pub const fn new(number: u8) -> Option<Day> {
        if number >= 1 && number <= 31 { Some(Day(number)) } else { None }
    }

    /// The day of month that `at` falls on in the zone.
    pub fn of(at: Timestamp, zone_offset_s: i32) -> Day {
        Date::of(at, zone_offset_s).day()
    }

    /// Its number, 1..=31.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Day> {
        (1..=31).map(Day)
    }
}
