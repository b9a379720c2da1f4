//! Tables that the seal job leaves out for a while.

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
    /// Its rows or the end of its chain are not sound, which time does not mend.
    Unsound,
    /// It could not be used.
    Failed,
}

impl Why {
    fn rest_ms(self) -> i64 {
        match self {
            Why::Failed => MINUTE_MS,
            Why::Waits => 10 * MINUTE_MS,
            // To learn it again may take the reading of the whole table.
            Why::Young | Why::Unsound => 6 * 60 * MINUTE_MS,
        }
    }
}

/// The tables that are left out, each until some time.
#[derive(Default)]
pub struct SetAside(HashMap<TableRef, (Why, Timestamp)>);

impl SetAside {
    /// Leaves a table out from now on; tells whether none was left out for the same reason before.
    pub fn put(&mut self, table: TableRef, why: Why, now: Timestamp) -> bool {
        let is_first = self.0.values().all(|(other, _)| *other != why);
        self.0.insert(table, (why, now.plus_millis(why.rest_ms())));
        is_first
    }

    /// Takes in again what has been left out for long enough.
    pub fn end_rests(&mut self, now: Timestamp) {
        self.0.retain(|_, (_, until)| *until > now);
    }

    /// Takes in again what could not be used.
    pub fn forget_failures(&mut self) {
        self.0.retain(|_, (why, _)| *why != Why::Failed);
    }

    /// Whether a table is left out.
    pub fn contains(&self, table: TableRef) -> bool {
        self.0.contains_key(&table)
    }
}
