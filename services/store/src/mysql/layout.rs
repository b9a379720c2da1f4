//! Which databases a SET has, and what they and their tables are called.

use hongbao_core::held::{HeldSlots, HeldSpan};
use hongbao_core::id::{Fold, Span, TableRef};
use hongbao_core::{Date, Day, EnvelopeId, Slot, Traffic};

use crate::day_tables::for_date;

/// Makes a table of envelopes and one of entries: `{envelope}`, `{entry}`.
const TEMPLATE: &str = include_str!("../../../../sql/mysql/envelope/day_table.sql");
/// What stands before the date in a table's comment.
const HOLDS: &str = "ids of ";

/// Which databases a SET has, and how they are laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    /// What the SET holds, and how it is folded.
    pub held: HeldSlots,
    /// The zone that days are counted in, in seconds ahead of UTC.
    pub zone_offset_s: i32,
    /// Whose databases: each kind of traffic has its own, by name.
    pub traffic: Traffic,
}

impl Layout {
    /// That of a SET that holds these slots for ever.
    pub fn always(slots: impl IntoIterator<Item = Slot>, fold: Fold, zone_offset_s: i32, traffic: Traffic) -> Layout {
        Layout { held: HeldSlots::always(slots, fold), zone_offset_s, traffic }
    }

    /// The databases of the SET, by number and name.
    pub fn databases(&self) -> Vec<(u8, String)> {
        self.held.databases().into_iter().map(|number| (number, self.database(number))).collect()
    }

    /// The database that has what the SET has once: the first one of those that it had first.
    pub(super) fn first_database(&self) -> Option<String> {
        let of_span = |span: &HeldSpan| span.slots.iter().map(|slot| span.fold.database_of(*slot)).min();
        self.held.spans().iter().find_map(of_span).map(|number| self.database(number))
    }

    /// The names of all databases of the SET. Those of the dated tables come first: a dump that goes
    /// from one to the next would otherwise have a table twice that is renamed meanwhile; so it fails instead.
    pub fn all_databases(&self) -> Vec<String> {
        let databases = self.databases();
        let cold = databases.iter().map(|(number, _)| self.cold_database(*number));
        cold.chain(databases.iter().map(|(_, name)| name.clone())).collect()
    }

    /// The table and the day of each day table of a database, as they stand in its name.
    pub(super) fn day_tables(&self) -> Vec<(String, String)> {
        let of_table = |table: u8| Day::all().map(move |day| (table.to_string(), format!("{:02}", day.number())));
        (0..self.tables()).flat_map(of_table).collect()
    }

    pub(super) fn identity(&self, number: u8) -> [i64; 4] {
        let databases = self.held.fold_of(number).map_or(0, Fold::databases);
        [i64::from(number), i64::from(databases), i64::from(self.tables()), i64::from(self.zone_offset_s)]
    }

    /// Whether the SET has a database from the beginning, and not by a later map alone.
    pub(super) fn is_of_first_map(&self, number: u8) -> bool {
        let first = &self.held.spans()[0];
        first.slots.iter().any(|slot| first.fold.database_of(*slot) == number)
    }

    /// Tables per database and day. They are as many at all times.
    pub fn tables(&self) -> u8 {
        self.held.spans()[0].fold.tables()
    }

    /// The day table that an id leads to, and the id's date.
    pub fn day_table_of(&self, id: EnvelopeId) -> (TableRef, Date) {
        let placement = id.placement(self.zone_offset_s);
        (self.held.at(id.minted_at()).fold.table_of(placement), placement.date)
    }

    /// The database of this number: `db_07`.
    pub fn database(&self, number: u8) -> String {
        format!("db_{number:02}{}", self.traffic.database_suffix())
    }

    /// Its table of manifests: `db_07.manifest`.
    pub fn manifests(&self, number: u8) -> String {
        format!("{}.manifest", self.database(number))
    }

    /// Its table of exported tables: `db_07.exported`.
    pub fn exported(&self, number: u8) -> String {
        format!("{}.exported", self.database(number))
    }

    /// That of its dated tables: `db_07_cold`.
    pub fn cold_database(&self, number: u8) -> String {
        format!("{}_cold", self.database(number))
    }

    /// The fence of a database.
    pub(super) fn fence(&self, number: u8) -> String {
        format!("{}.slot_fence", self.database(number))
    }

    /// What a day table or a dated table is called.
    pub fn names(&self, table: TableRef) -> TableNames {
        let database = match table.span {
            Span::Day(_) => self.database(table.database),
            Span::Date(_) => self.cold_database(table.database),
        };
        TableNames::new(&database, "", table.table, table.span)
    }

    /// What a table is called until it takes the place of a day table, to hold `date`.
    pub fn next_names(&self, day_table: TableRef, date: Date) -> TableNames {
        let database = self.cold_database(day_table.database);
        TableNames::new(&database, "next_", day_table.table, Span::Date(date))
    }
}

/// The two tables of some envelopes, with their databases.
#[derive(Clone, Debug)]
pub struct TableNames {
    /// `db_07.envelope_3_26`.
    pub envelope: String,
    /// `db_07.entry_3_26`.
    pub entry: String,
}

impl TableNames {
    fn new(database: &str, prefix: &str, table: u8, span: Span) -> TableNames {
        TableNames {
            envelope: format!("{database}.{prefix}envelope_{table}_{span}"),
            entry: format!("{database}.{prefix}entry_{table}_{span}"),
        }
    }

    /// The statements that make these tables for a date, unless they are there.
    pub fn creation(&self, table: u8, date: Date, zone_offset_s: i32) -> Vec<String> {
        let text = for_date(TEMPLATE, table, date, zone_offset_s);
        let text = text.replace("{envelope}", &self.envelope).replace("{entry}", &self.entry);
        text.split(";\n").map(str::trim).filter(|statement| !statement.is_empty()).map(str::to_owned).collect()
    }
}

/// What the comment of a table says that holds a date.
pub fn comment(date: Date) -> String {
    format!("{HOLDS}{date}")
}

/// The date that a table holds, by its comment.
pub fn date_in(comment: &str) -> Option<Date> {
    comment.strip_prefix(HOLDS).and_then(Date::parse)
}
