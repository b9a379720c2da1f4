//! Which date each day table holds, and which dated tables there are: what this
//! process has read of it last.
//!
//! Another process may have renamed a table since. Nothing depends on what is read
//! here being new: each table refuses the ids of all dates but its own, and a row that
//! is not found where it was is looked for again once that was read anew. A table is
//! renamed no earlier than [`RENAMED_AFTER_DAYS_MIN`] days before the last date that has one.

use std::collections::{BTreeSet, HashMap};
use std::sync::atomic::{AtomicI32, Ordering};

use hongbao_core::id::{Span, TableRef};
use hongbao_core::limits::{OLD_READ_WAIT, OLD_READS_MAX, RENAMED_AFTER_DAYS_MIN, YOUNG_DAYS_MAX};
use hongbao_core::{Date, Day};
use parking_lot::RwLock;
use tokio::sync::{Semaphore, SemaphorePermit};
use tokio::time::timeout;

use crate::StoreError;
use crate::exported::ExportedReads;

/// Where the rows of a date lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the day table.
    Day,
    /// There when it was last looked at, which was long enough ago for a rename.
    DayUnlessRenamed,
    /// In the table of the date.
    Dated(TableRef),
    /// In a file of the archive, which has the rows of the table of the date that was dropped.
    Exported(TableRef),
    /// Not in the day table, which holds a later date, nor in a table of this one when
    /// these were looked at. A late create may have made one since, if `is_young`.
    Nowhere { is_young: bool },
}

/// See the module.
pub struct DayTables {
    known: RwLock<Known>,
    /// All later dates lie in their day tables.
    day_tables_after: AtomicI32,
    old_reads: Semaphore,
    exported_reads: ExportedReads,
}

impl Default for DayTables {
    fn default() -> DayTables {
        DayTables {
            known: RwLock::default(),
            day_tables_after: AtomicI32::new(0),
            old_reads: Semaphore::new(OLD_READS_MAX),
            exported_reads: ExportedReads::default(),
        }
    }
}

#[derive(Default)]
struct Known {
    /// The date of each day table that has one.
    held: HashMap<TableRef, Date>,
    dated: BTreeSet<TableRef>,
    /// Those of them that are sealed, whether they are still there or not.
    sealed: BTreeSet<TableRef>,
    /// Those of these whose rows are in the archive, whether the tables are still there or not.
    exported: BTreeSet<TableRef>,
}

impl Known {
    fn day_tables_after(&self) -> i32 {
        let newest_dated = self.dated.iter().chain(&self.exported).filter_map(|table| date_of(*table)).max();
        let may_be_renamed = self.held.values().max().map(|held| held.plus_days(-RENAMED_AFTER_DAYS_MIN));
        newest_dated.into_iter().chain(may_be_renamed).max().map_or(0, Date::number)
    }
}

/// What was read of some day tables and of the dated tables that they became.
#[derive(Debug, Default)]
pub struct Found {
    /// The day tables that were looked at, each with the date that it holds, if it has one.
    pub held: Vec<(TableRef, Option<Date>)>,
    /// Dated tables. They were looked for after the day tables.
    pub dated: Vec<TableRef>,
    /// Databases all of whose dated tables are among these.
    pub listed: Vec<u8>,
    /// A dated table that is among these if it is there.
    pub looked_for: Option<TableRef>,
    /// Sealed tables.
    pub sealed: Vec<TableRef>,
    /// Exported tables. They were looked for last: what was dropped before the dated tables were read is among them.
    pub exported: Vec<TableRef>,
}

impl DayTables {
    /// Takes over what was read.
    pub fn learn(&self, found: Found) {
        let mut known = self.known.write();
        for (table, date) in found.held {
            match date {
                // A reading that was overtaken by another says less.
                Some(date) => {
                    let kept = known.held.entry(table).or_insert(date);
                    *kept = (*kept).max(date);
                }
                None => _ = known.held.remove(&table),
            }
        }
        known.exported.extend(found.exported);
        let Known { dated, exported, .. } = &mut *known;
        let was_looked_for =
            |table: &TableRef| found.listed.contains(&table.database) || found.looked_for == Some(*table);
        // What another process has dropped. A table that is gone and not exported is for the audit to miss.
        dated.retain(|table| !exported.contains(table) || !was_looked_for(table));
        dated.extend(found.dated);
        known.sealed.extend(found.sealed);
        let after = known.day_tables_after();
        drop(known);
        self.day_tables_after.fetch_max(after, Ordering::AcqRel);
    }

    /// What was read of all tables takes the place of what was known.
    pub fn replace(&self, found: Found) {
        let mut held = HashMap::new();
        held.extend(found.held.into_iter().filter_map(|(table, date)| Some((table, date?))));
        let (dated, sealed) = (found.dated.into_iter().collect(), found.sealed.into_iter().collect());
        let known = Known { held, dated, sealed, exported: found.exported.into_iter().collect() };
        let after = known.day_tables_after();
        *self.known.write() = known;
        self.exported_reads.forget();
        self.day_tables_after.store(after, Ordering::Release);
    }

    /// Where the rows of a date lie, whose day table is this one.
    pub fn place(&self, day_table: TableRef, date: Date) -> Place {
        if date.number() > self.day_tables_after.load(Ordering::Acquire) {
            return Place::Day;
        }
        let known = self.known.read();
        let dated = day_table.dated(date);
        // An exported table that is still there is as good as its file, which costs more, and may be damaged.
        if known.dated.contains(&dated) {
            return Place::Dated(dated);
        }
        if known.exported.contains(&dated) {
            return Place::Exported(dated);
        }
        match known.held.get(&day_table) {
            Some(held) if *held > date => Place::Nowhere { is_young: held.number() - date.number() < YOUNG_DAYS_MAX },
            _ => Place::DayUnlessRenamed,
        }
    }

    /// Room for a read of an old envelope, until it is dropped: those of today come first.
    ///
    /// # Errors
    /// [`StoreError::Locked`] when none is left for a while.
    pub async fn old_read(&self) -> Result<SemaphorePermit<'_>, StoreError> {
        match timeout(OLD_READ_WAIT, self.old_reads.acquire()).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(StoreError::Locked("too many old envelopes are being read".to_owned())),
        }
    }

    /// The date that a day table holds; `None` where it is not known, or where it may hold several.
    pub fn held(&self, day_table: TableRef) -> Option<Date> {
        self.known.read().held.get(&day_table).copied()
    }

    /// All dated tables, by their place and date.
    pub fn dated(&self) -> Vec<TableRef> {
        self.known.read().dated.iter().copied().collect()
    }

    /// Those of them that are not sealed.
    pub fn unsealed(&self) -> Vec<TableRef> {
        let known = self.known.read();
        known.dated.difference(&known.sealed).copied().collect()
    }

    /// Whether the day table that a dated table comes from holds one date, so that no row of an
    /// earlier version is moved out of it any more.
    pub fn is_sorted(&self, dated: TableRef) -> bool {
        date_of(dated).is_some_and(|date| self.held(TableRef { span: Span::Day(date.day()), ..dated }).is_some())
    }

    /// Sealed tables that are there.
    pub fn sealed(&self) -> Vec<TableRef> {
        let known = self.known.read();
        known.dated.intersection(&known.sealed).copied().collect()
    }

    /// Whether a table was exported and dropped.
    pub fn is_in_file(&self, table: TableRef) -> bool {
        let known = self.known.read();
        known.exported.contains(&table) && !known.dated.contains(&table)
    }

    /// Whether a dated table is there.
    pub fn is_dated(&self, table: TableRef) -> bool {
        self.known.read().dated.contains(&table)
    }

    /// All exported tables.
    pub fn exported(&self) -> Vec<TableRef> {
        self.known.read().exported.iter().copied().collect()
    }

    /// Whether the rows of a table are in the archive.
    pub fn is_exported(&self, table: TableRef) -> bool {
        self.known.read().exported.contains(&table)
    }

    /// A table was dropped.
    pub fn dropped(&self, table: TableRef) {
        self.known.write().dated.remove(&table);
    }

    /// What was read of exported tables.
    pub fn exported_reads(&self) -> &ExportedReads {
        &self.exported_reads
    }

    /// Whether a table is sealed.
    pub fn is_sealed(&self, table: TableRef) -> bool {
        self.known.read().sealed.contains(&table)
    }
}

/// The date of a dated table.
pub fn date_of(table: TableRef) -> Option<Date> {
    match table.span {
        Span::Date(date) => Some(date),
        Span::Day(_) => None,
    }
}

/// The day tables that do not hold what they should once all dates up to `through` have one.
pub fn due(tables: &[TableRef], through: Date, held: impl Fn(TableRef) -> Option<Date>) -> Vec<(TableRef, Date)> {
    let is_due = |table: &TableRef| match table.span {
        Span::Day(day) => {
            let wanted = through.last_with(day);
            held(*table).is_none_or(|held| held < wanted).then_some((*table, wanted))
        }
        Span::Date(_) => None,
    };
    tables.iter().filter_map(is_due).collect()
}

/// The text that makes a table of one date: `{y}`, `{date}` and the first bytes of its ids.
pub fn for_date(template: &str, table: u8, date: Date, zone_offset_s: i32) -> String {
    let bytes = |date: Date| format!("{:012x}", date.starts_at(zone_offset_s).millis().max(0));
    template
        .replace("{y}", &table.to_string())
        .replace("{date}", &date.to_string())
        .replace("{from}", &bytes(date))
        .replace("{until}", &bytes(date.plus_days(1)))
}

/// The error of a create whose date has no table, although it was looked for.
pub fn no_day_table() -> StoreError {
    StoreError::Unavailable("the id's date has no day table yet: day tables are not being rotated".to_owned())
}

/// The error of what would change a sealed table. No table of its date is made anew.
pub fn sealed() -> StoreError {
    StoreError::Unavailable("the table of the id's date is sealed, and takes no rows".to_owned())
}

/// What stands in the name of the constraint by which a table refuses the ids of other dates.
pub const OTHER_DATE: &str = "ids_of_";

/// The day table that is called so, `envelope_3_26`, in this database.
pub fn day_table(database: u8, name: &str) -> Option<TableRef> {
    let (table, day) = name.strip_prefix("envelope_")?.split_once('_')?;
    Some(TableRef { database, table: table.parse().ok()?, span: Span::Day(Day::new(day.parse().ok()?)?) })
}

/// The dated table that is called so, `envelope_3_20261126`, in this database.
pub fn dated_table(database: u8, name: &str) -> Option<TableRef> {
    let (table, date) = name.strip_prefix("envelope_")?.split_once('_')?;
    Some(TableRef { database, table: table.parse().ok()?, span: Span::Date(Date::parse(date)?) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> Date {
        Date::parse(text).unwrap()
    }

    fn table(day: u8) -> TableRef {
        TableRef { database: 0, table: 3, span: Span::Day(Day::new(day).unwrap()) }
    }

    fn holding(day: u8, held: &str) -> DayTables {
        let tables = DayTables::default();
        tables.learn(Found { held: vec![(table(day), Some(date(held)))], ..Found::default() });
        tables
    }

    #[test]
    fn what_was_never_renamed_lies_in_its_day_table() {
        let tables = holding(17, "20260217");
        assert_eq!(tables.place(table(17), date("20260217")), Place::Day);
        assert_eq!(tables.held(table(17)), Some(date("20260217")));
    }

    #[test]
    fn a_date_that_is_old_enough_may_have_been_renamed() {
        let tables = holding(17, "20260217");
        tables.learn(Found { held: vec![(table(12), Some(date("20260312")))], ..Found::default() });
        assert_eq!(tables.place(table(18), date("20260218")), Place::Day);
        assert_eq!(tables.place(table(17), date("20260217")), Place::DayUnlessRenamed);
        let renamed = table(17).dated(date("20260217"));
        tables.learn(Found {
            held: vec![(table(17), Some(date("20260317")))],
            dated: vec![renamed],
            ..Found::default()
        });
        assert_eq!(tables.place(table(17), date("20260217")), Place::Dated(renamed));
        assert_eq!(tables.place(table(17), date("20260117")), Place::Nowhere { is_young: true });
        assert_eq!(tables.place(table(17), date("20251217")), Place::Nowhere { is_young: false });
        assert_eq!(tables.place(table(17), date("20260317")), Place::Day);
    }

    #[test]
    fn an_exported_table_that_is_looked_for_in_vain_was_dropped() {
        let [one, other] = ["20260217", "20260218"].map(|text| table(date(text).day().number()).dated(date(text)));
        let all = || vec![one, other];
        let looks = [
            Found { listed: vec![0], ..Found::default() },
            Found { looked_for: Some(one), ..Found::default() },
            Found { listed: vec![1], looked_for: Some(other), ..Found::default() },
        ];
        for (look, left) in looks.into_iter().zip([vec![], vec![other], vec![one]]) {
            let tables = DayTables::default();
            tables.learn(Found { dated: all(), exported: all(), ..Found::default() });
            tables.learn(look);
            assert_eq!((tables.dated(), tables.exported()), (left, all()));
        }
        let tables = DayTables::default();
        tables.learn(Found { dated: all(), exported: vec![one], ..Found::default() });
        tables.learn(Found { listed: vec![0], ..Found::default() });
        assert_eq!(tables.dated(), [other], "what is not exported is missing");
    }

    #[test]
    fn an_older_reading_that_comes_late_changes_nothing() {
        let tables = holding(17, "20260317");
        tables.learn(Found { held: vec![(table(17), Some(date("20260217")))], ..Found::default() });
        assert_eq!(tables.held(table(17)), Some(date("20260317")));
    }

    #[test]
    fn the_name_of_a_dated_table_is_read() {
        assert_eq!(dated_table(0, "envelope_3_20260217"), Some(table(17).dated(date("20260217"))));
        for name in ["envelope_3_17", "entry_3_20260217", "envelope_3_20260230", "next_envelope_3_17", "envelope_3"] {
            assert_eq!(dated_table(0, name), None, "{name}");
        }
    }
}
