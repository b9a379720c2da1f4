//! Tables that a job which seals or exports leaves out for a while.

use std::collections::HashMap;

use hongbao_core::Timestamp;
use hongbao_core::id::TableRef;

const MINUTE_MS: i64 = 60_000;

/// Why a table is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// Something in it is still to be done.
    Waits,
    /// It is younger than what the configuration has sealed, and not closed.
    Young,
    /// Its rows or the end of its chain are not sound, which time does not change.
    Unsound,
    /// This program cannot take it, or has a defect that it shows: another version may.
    Unsupported,
    /// It could not be used. Its database is left out, too, for a shorter time: mostly that is the cause.
    Failed,
}

impl Why {
    fn rest_ms(self) -> i64 {
        match self {
            Why::Waits | Why::Failed => 10 * MINUTE_MS,
            // To learn it again may take the reading of the whole table.
            Why::Young | Why::Unsound | Why::Unsupported => 6 * 60 * MINUTE_MS,
        }
    }
}

/// What is left out, each until some time.
#[derive(Default)]
pub struct SetAside {
    tables: HashMap<TableRef, (Why, Timestamp)>,
    databases: HashMap<u8, Timestamp>,
}

impl SetAside {
    /// Leaves a table out from now on; tells whether none was left out for the same reason before.
    pub fn put(&mut self, table: TableRef, why: Why, now: Timestamp) -> bool {
        let is_first = self.tables.values().all(|(other, _)| *other != why);
        self.tables.insert(table, (why, now.plus_millis(why.rest_ms())));
        if why == Why::Failed {
            self.databases.insert(table.database, now.plus_millis(MINUTE_MS));
        }
        is_first
    }

    /// Takes in again what has been left out for long enough.
    pub fn end_rests(&mut self, now: Timestamp) {
        self.tables.retain(|_, (_, until)| *until > now);
        self.databases.retain(|_, until| *until > now);
    }

    /// Takes in again what could not be used.
    pub fn forget_failures(&mut self) {
        self.tables.retain(|_, (why, _)| *why != Why::Failed);
        self.databases.clear();
    }

    /// Whether a table is left out.
    pub fn contains(&self, table: TableRef) -> bool {
        self.tables.contains_key(&table) || self.databases.contains_key(&table.database)
    }
}

#[cfg(test)]
mod tests {
    use hongbao_core::Date;
    use hongbao_core::id::Span;

    use super::*;

    fn table(database: u8, day: &str) -> TableRef {
        TableRef { database, table: 0, span: Span::Date(Date::parse(day).unwrap()) }
    }

    #[test]
    fn neither_a_bad_table_holds_up_its_database_nor_a_bad_database_the_others() {
        let (bad, same, other) = (table(0, "20260101"), table(0, "20260102"), table(1, "20260103"));
        let now = Timestamp::from_millis(1_000_000);
        let mut aside = SetAside::default();
        assert!(aside.put(bad, Why::Failed, now));
        assert_eq!([bad, same, other].map(|table| aside.contains(table)), [true, true, false]);
        aside.end_rests(now.plus_millis(MINUTE_MS));
        assert_eq!([bad, same, other].map(|table| aside.contains(table)), [true, false, false]);
        aside.end_rests(now.plus_millis(10 * MINUTE_MS));
        assert!(!aside.contains(bad));
    }

    #[test]
    fn a_database_that_comes_back_makes_no_table_sound() {
        let (unsound, failed) = (table(0, "20260101"), table(0, "20260102"));
        let mut aside = SetAside::default();
        for (table, why) in [(unsound, Why::Unsound), (failed, Why::Failed)] {
            assert!(aside.put(table, why, Timestamp::from_millis(0)));
        }
        aside.forget_failures();
        assert_eq!([unsound, failed].map(|table| aside.contains(table)), [true, false]);
    }
}
