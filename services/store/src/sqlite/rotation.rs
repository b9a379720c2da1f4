//! Rotation: all of a file's day tables that are due, in one transaction.

use std::collections::BTreeSet;

use async_trait::async_trait;
use hongbao_core::id::{Span, TableRef};
use hongbao_core::{Date, EnvelopeId};
use hongbao_database::StoredRow as _;
use hongbao_database::sqlite::file::SqliteFile;
use sqlx::{Executor as _, SqliteConnection};

use super::sealing::find_sealed;
use super::store::SqliteStore;
use crate::day_tables::{Found, Place, dated_table, due, for_date, sealed};
use crate::failure::unavailable;
use crate::place::DayTableStore as _;
use crate::rows::{self, ENTRY_COLUMNS, ENVELOPE_COLUMNS};
use crate::statements::day_tables;
use crate::{Rotated, Rotation, StoreError};

const TEMPLATE: &str = include_str!("../../../../sql/sqlite/envelope/day_table.sql");
/// A day table of which it is not known what it holds, while its rows are sorted by date.
const UNSORTED: &str = "unsorted";

#[async_trait]
impl Rotation for SqliteStore {
    async fn rotate(&self, through: Date) -> Result<Rotated, StoreError> {
        self.check_writable()?;
        let mut rotated = Rotated::default();
        for (database, file) in (0..).zip(&self.files) {
            let tables = day_tables([database], self.fold().tables());
            self.look_at_database(database).await?;
            if due(&tables, through, |table| self.day_tables().held(table)).is_empty() {
                continue;
            }
            rotated.tables += self.rotate_file(file, database, &tables, through).await?;
        }
        Ok(rotated)
    }

    async fn look(&self) -> Result<(), StoreError> {
        self.look_at_all().await
    }
}

impl SqliteStore {
    /// Reads which date each day table holds, and which dated tables there are.
    pub(super) async fn look_at_all(&self) -> Result<(), StoreError> {
        for database in 0..self.fold().databases() {
            self.look_at_database(database).await?;
        }
        Ok(())
    }

    pub(super) async fn look_at_database(&self, database: u8) -> Result<(), StoreError> {
        let file = &self.files[usize::from(database)];
        let mut reader = file.readers().acquire().await.map_err(unavailable)?;
        self.day_tables().learn(look(&mut reader, database, self.fold().tables()).await?);
        Ok(())
    }

    async fn rotate_file(
        &self,
        file: &SqliteFile,
        database: u8,
        tables: &[TableRef],
        through: Date,
    ) -> Result<u32, StoreError> {
        let mut transaction = file.begin().await?;
        let rotated = async {
            // Another process may have done it since.
            let found = look(&mut transaction, database, self.fold().tables()).await?;
            let held = |table| found.held.iter().find(|(other, _)| *other == table).and_then(|(_, date)| *date);
            let due = due(tables, through, held);
            for (table, date) in &due {
                let held = held(*table);
                Rotating { connection: &mut transaction, zone_offset_s: self.zone_offset_s, table: *table }
                    .rotate(held, *date)
                    .await?;
            }
            let found = look(&mut transaction, database, self.fold().tables()).await?;
            Ok::<_, StoreError>((due.len() as u32, found))
        };
        match rotated.await {
            Ok((count, found)) => {
                transaction.commit_tables().await?;
                self.day_tables().learn(found);
                Ok(count)
            }
            Err(error) => {
                transaction.rollback().await;
                Err(error)
            }
        }
    }

    /// Where an envelope that is made has no table of its date, because its day table
    /// holds a later one already, makes one.
    pub(super) async fn make_room(&self, id: EnvelopeId) -> Result<(), StoreError> {
        let (day_table, date) = self.day_table_of(id);
        self.look_at_database(day_table.database).await?;
        if self.day_tables().is_sealed(day_table.dated(date)) {
            return Err(sealed());
        }
        if !matches!(self.day_tables().place(day_table, date), Place::Nowhere { .. }) {
            return Ok(());
        }
        let file = &self.files[usize::from(day_table.database)];
        let mut transaction = file.begin().await?;
        let mut making = Rotating { connection: &mut transaction, zone_offset_s: self.zone_offset_s, table: day_table };
        match making.make_once(date).await {
            Ok(()) => transaction.commit_tables().await?,
            Err(error) => {
                transaction.rollback().await;
                return Err(error);
            }
        }
        self.day_tables().learn(Found { dated: vec![day_table.dated(date)], ..Found::default() });
        Ok(())
    }
}

/// Day tables without a row in `day_table` hold what they hold.
async fn look(connection: &mut SqliteConnection, database: u8, tables: u8) -> Result<Found, StoreError> {
    let rows = sqlx::query("SELECT y, dd, date FROM day_table").fetch_all(&mut *connection).await;
    let rows = match rows {
        Ok(rows) => rows,
        // A file that is only read may be of an older version, whose tables were never renamed.
        Err(error) if error.to_string().contains("no such table") => return Ok(Found::default()),
        Err(error) => return Err(unavailable(error)),
    };
    let mut found = Found::default();
    for table in day_tables([database], tables) {
        found.held.push((table, None));
    }
    for row in &rows {
        let [y, dd, date] = [row.int(0)?, row.int(1)?, row.int(2)?];
        let is_it = |table: &TableRef| {
            i64::from(table.table) == y && matches!(table.span, Span::Day(day) if i64::from(day.number()) == dd)
        };
        if let Some((_, held)) = found.held.iter_mut().find(|(table, _)| is_it(table)) {
            *held = Some(
                Date::parse(&date.to_string())
                    .ok_or_else(|| StoreError::Damaged(format!("the date {date} of a day table")))?,
            );
        }
    }
    let names = sqlx::query("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'envelope_*'");
    found.listed.push(database);
    for row in names.fetch_all(&mut *connection).await.map_err(unavailable)? {
        found.dated.extend(dated_table(database, row.text(0)?));
    }
    find_sealed(connection, database, &mut found).await?;
    Ok(found)
}

/// One table that gets its next date.
struct Rotating<'a> {
    connection: &'a mut SqliteConnection,
    zone_offset_s: i32,
    table: TableRef,
}

impl Rotating<'_> {
    /// It gets the date `next`; what it held before goes to where it belongs.
    async fn rotate(&mut self, held: Option<Date>, next: Date) -> Result<(), StoreError> {
        let (table, span) = (self.table.table, self.table.span);
        match held {
            Some(held) => {
                // No row comes into an empty one that is behind the time in which envelopes are made.
                if self.is_empty(&span.to_string()).await? {
                    self.drop(&span.to_string()).await?;
                } else {
                    self.rename(&held.to_string()).await?;
                }
                self.make(span, next).await?;
            }
            None if self.is_empty(&span.to_string()).await? => {
                self.drop(&span.to_string()).await?;
                self.make(span, next).await?;
            }
            None => {
                self.rename(UNSORTED).await?;
                self.make(span, next).await?;
                self.sort(next).await?;
            }
        }
        let Span::Day(day) = span else { return Ok(()) };
        self.execute(&format!(
            "INSERT OR REPLACE INTO day_table (y, dd, date) VALUES ({table}, {}, {next})",
            day.number()
        ))
        .await
    }

    async fn rename(&mut self, to: &str) -> Result<(), StoreError> {
        let (table, span) = (self.table.table, self.table.span);
        self.execute(&format!(
            "ALTER TABLE envelope_{table}_{span} RENAME TO envelope_{table}_{to}; \
             ALTER TABLE entry_{table}_{span} RENAME TO entry_{table}_{to};"
        ))
        .await
    }

    async fn make(&mut self, span: Span, date: Date) -> Result<(), StoreError> {
        let text = for_date(TEMPLATE, self.table.table, date, self.zone_offset_s);
        self.execute(&text.replace("{span}", &span.to_string())).await
    }

    /// Makes the table of a date, unless it is there.
    async fn make_once(&mut self, date: Date) -> Result<(), StoreError> {
        let name = format!("envelope_{}_{date}", self.table.table);
        let there = sqlx::query("SELECT 1 FROM sqlite_schema WHERE name = ?").bind(&name);
        if there.fetch_optional(&mut *self.connection).await.map_err(unavailable)?.is_some() {
            return Ok(());
        }
        self.make(Span::Date(date), date).await
    }

    /// Rows that an earlier version wrote, of whatever months, go to the tables of their dates.
    async fn sort(&mut self, next: Date) -> Result<(), StoreError> {
        let table = self.table.table;
        for date in self.dates().await? {
            let to = if date == next { self.table.span } else { Span::Date(date) };
            if date != next {
                self.make_once(date).await?;
            }
            let within = |id: &str| {
                for_date(&format!("{id} >= x'{{from}}' AND {id} < x'{{until}}'"), table, date, self.zone_offset_s)
            };
            let (envelopes, entries) = (ENVELOPE_COLUMNS.join(", "), format!("position, {}", ENTRY_COLUMNS.join(", ")));
            let text = format!(
                "INSERT INTO envelope_{table}_{to} ({envelopes}) \
                 SELECT {envelopes} FROM envelope_{table}_{UNSORTED} WHERE {}; \
                 INSERT INTO entry_{table}_{to} ({entries}) \
                 SELECT {entries} FROM entry_{table}_{UNSORTED} WHERE {};",
                within("id"),
                within("envelope_id")
            );
            self.execute(&text).await?;
        }
        self.drop(UNSORTED).await
    }

    /// The dates of the rows that are to be sorted.
    async fn dates(&mut self) -> Result<BTreeSet<Date>, StoreError> {
        let table = self.table.table;
        let mut dates = BTreeSet::new();
        for (name, id) in [("envelope", "id"), ("entry", "envelope_id")] {
            let mut after: Vec<u8> = Vec::new();
            loop {
                let text = format!("SELECT {id} FROM {name}_{table}_{UNSORTED} WHERE {id} >= ? ORDER BY {id} LIMIT 1");
                let next = sqlx::query(&text).bind(after).fetch_optional(&mut *self.connection).await;
                let Some(row) = next.map_err(unavailable)? else { break };
                let date = Date::of(rows::envelope_id(&row, 0)?.minted_at(), self.zone_offset_s);
                dates.insert(date);
                after = date.plus_days(1).starts_at(self.zone_offset_s).millis().to_be_bytes()[2..].to_vec();
            }
        }
        Ok(dates)
    }

    async fn is_empty(&mut self, span: &str) -> Result<bool, StoreError> {
        for name in ["envelope", "entry"] {
            let text = format!("SELECT 1 FROM {name}_{}_{span} LIMIT 1", self.table.table);
            if sqlx::query(&text).fetch_optional(&mut *self.connection).await.map_err(unavailable)?.is_some() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    async fn drop(&mut self, span: &str) -> Result<(), StoreError> {
        let table = self.table.table;
        self.execute(&format!("DROP TABLE envelope_{table}_{span}; DROP TABLE entry_{table}_{span};")).await
    }

    async fn execute(&mut self, text: &str) -> Result<(), StoreError> {
        self.connection.execute(sqlx::raw_sql(text)).await.map_err(unavailable)?;
        Ok(())
    }
}
