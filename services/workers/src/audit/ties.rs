//! What ties the envelopes to sealed transfers and sealed tables, date by date.
//!
//! A transfer in a sealed month is not read, nor is an envelope in a sealed table. So the transfers that
//! envelopes are due, and those that the wallet holds, are compared as sets: of each date in which
//! an envelope was made, over all tables and parts of the wallet. By date and no finer, because which
//! database holds an envelope, and how many tables that has, may change in the middle of a day.
//!
//! | | due | found |
//! |---|---|---|
//! | sealed table, sealed month | the manifest's tie | the month's tie |
//! | sealed table, later transfer | the manifest's tie | the transfer, as it is read |
//! | other envelope, sealed month | the transfer, as it is read with the envelope | the month's tie |
//! | other envelope, later transfer | checked row by row | whether its envelope exists |

use std::collections::BTreeMap;

use hongbao_core::id::{Span, TableRef};
use hongbao_core::manifest::Tie;
use hongbao_core::{Date, Transfer};

/// The rows of a sealed table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// They were not read.
    Unread,
    /// They were read.
    Read,
    /// The table, or that of its journals, is not there, or its file cannot be opened.
    Missing,
}

/// A table whose name may change: the place of its SET, its database, its `y`.
type TablePlace = (usize, u8, u8);

/// What is due, and what was found.
#[derive(Default)]
pub(super) struct Ties {
    /// To sealed tables, by the place of their SET and their own; and what becomes of their rows.
    pub sealed: BTreeMap<(usize, TableRef), (Tie, Rows)>,
    /// To envelopes that were read, in sealed months.
    read: BTreeMap<(TablePlace, Date), Tie>,
    /// In sealed months, and of later transfers those of sealed tables.
    found: BTreeMap<Date, Tie>,
}

fn place_of(number: usize, table: TableRef) -> TablePlace {
    (number, table.database, table.table)
}

/// The date that a dated table holds.
pub(super) fn date_of(table: TableRef) -> Option<Date> {
    match table.span {
        Span::Date(date) => Some(date),
        Span::Day(_) => None,
    }
}

impl Ties {
    /// The transfers of a date in a sealed month.
    pub fn add_found(&mut self, date: Date, tie: &Tie) {
        self.found.entry(date).or_default().add_all(tie);
    }

    /// A table is read from its first row on. If it was renamed, what was read of it under the name of before is read again.
    pub fn begin_table(&mut self, number: usize, table: TableRef) {
        if let Some(date) = date_of(table) {
            self.read.remove(&(place_of(number, table), date));
        }
    }

    /// A later transfer of a sealed table of this date was read.
    pub fn add_later(&mut self, date: Date, transfer: &Transfer) {
        self.found.entry(date).or_default().add(transfer);
    }

    /// A transfer in a sealed month was read with its envelope, of this date, in a table that is not sealed.
    pub fn add_read(&mut self, number: usize, table: TableRef, date: Date, transfer: &Transfer) {
        self.read.entry((place_of(number, table), date)).or_default().add(transfer);
    }

    /// Dates of which another set is due than was found, with both.
    pub fn differences(&self) -> BTreeMap<Date, (Tie, Tie)> {
        let mut sides: BTreeMap<Date, (Tie, Tie)> = BTreeMap::new();
        let of_sealed = self.sealed.iter().filter_map(|((_, table), (due, _))| Some((date_of(*table)?, due)));
        let of_read = self.read.iter().map(|((_, date), due)| (*date, due));
        for (date, due) in of_sealed.chain(of_read) {
            sides.entry(date).or_default().0.add_all(due);
        }
        for (date, found) in &self.found {
            sides.entry(*date).or_default().1.add_all(found);
        }
        sides.retain(|_, (due, found)| due != found);
        sides
    }
}
