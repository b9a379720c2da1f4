//! Rotation: each table by one `RENAME`, which puts the old one aside and the new one
//! in its place at the same moment, or does nothing.
//!
//! A rename waits for the statements that use a table, and new ones wait behind it: so
//! it waits a second at most, and comes again later. What a process that was killed has
//! left is a table with no rows, which the next rotation makes anew.

use std::sync::atomic::Ordering;

use async_trait::async_trait;
use hongbao_core::id::TableRef;
use hongbao_core::limits::{RENAME_WAIT_S_MAX, ROTATION_STATEMENT_TIMES};
use hongbao_core::{Date, EnvelopeId};
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::{Lease, within};
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;

use super::ddl::execute;
use super::layout::{TableNames, date_in};
use super::legacy;
use super::store::MysqlStore;
use crate::day_tables::{Found, Place, dated_table, day_table, due, sealed};
use crate::failure::{committing, reading};
use crate::place::DayTableStore as _;
use crate::statements::day_tables;
use crate::{Rotated, Rotation, StoreError};

/// All tables of envelopes.
const ALL: &str = "LIKE 'envelope\\_%'";

#[async_trait]
impl Rotation for MysqlStore {
    async fn rotate(&self, through: Date) -> Result<Rotated, StoreError> {
        if self.connections.generation() != self.looked_in.load(Ordering::Acquire) {
            // It may have been restored, or be another node: what is known may be ahead of it.
            self.look_at_all().await?;
        }
        let (mut due, mut failed) = (0, None);
        for (database, tables) in self.day_tables_by_database() {
            // Other processes may have renamed tables, and mostly have.
            let looked = match self.due(&tables, through).is_empty() {
                true => self.look_at_dated(database).await,
                false => self.look_at_database(database).await,
            };
            match looked {
                Ok(()) => due += self.due(&tables, through).len() as u32,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        if due == 0 {
            return failed.map_or(Ok(Rotated::default()), Err);
        }
        if !self.rotation.hold().await? {
            return Ok(Rotated { tables: 0, in_use: due });
        }
        let mut rotated = Rotated::default();
        for (database, tables) in self.day_tables_by_database() {
            // One database that fails keeps no other from its tables.
            if let Err(error) = self.rotate_database(database, &tables, through, &mut rotated).await {
                failed = failed.or(Some(error));
            }
        }
        self.rotation.give_back().await;
        failed.map_or(Ok(rotated), Err)
    }

    async fn look(&self) -> Result<(), StoreError> {
        self.look_at_all().await
    }
}

impl MysqlStore {
    fn day_tables_by_database(&self) -> Vec<(u8, Vec<TableRef>)> {
        let databases = self.layout.databases().into_iter();
        databases.map(|(database, _)| (database, day_tables([database], self.layout.tables()))).collect()
    }

    fn due(&self, tables: &[TableRef], through: Date) -> Vec<(TableRef, Date)> {
        due(tables, through, |table| self.day_tables().held(table))
    }

    async fn rotate_database(
        &self,
        database: u8,
        tables: &[TableRef],
        through: Date,
        rotated: &mut Rotated,
    ) -> Result<(), StoreError> {
        if self.due(tables, through).is_empty() {
            return Ok(());
        }
        self.look_at_database(database).await?;
        let mut failed = None;
        for (table, date) in self.due(tables, through) {
            if !self.rotation.hold().await? {
                // Another process rotates on.
                rotated.in_use += 1;
                break;
            }
            match self.rotate_table(table, date).await {
                Ok(true) => rotated.tables += 1,
                Ok(false) => rotated.in_use += 1,
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        self.look_at_database(database).await?;
        failed.map_or(Ok(()), Err)
    }

    /// False if statements use it.
    async fn rotate_table(&self, table: TableRef, next: Date) -> Result<bool, StoreError> {
        // Its session's settings are of no use to others, so it is not given back.
        let mut lease = self.connections.lease().await?;
        let limit_s = (lease.limit() * ROTATION_STATEMENT_TIMES).as_secs();
        let settings = format!(
            "SET SESSION lock_wait_timeout = {RENAME_WAIT_S_MAX} /*M!100300 , SESSION max_statement_time = {limit_s} */"
        );
        execute(&mut lease, &settings).await.map_err(reading)?;
        let names = self.layout.names(table);
        let held = match self.day_tables().held(table) {
            Some(held) => held,
            None => match legacy::date(&mut lease, &self.rotation, &self.layout, table, next).await {
                Ok(held) if held == next => return Ok(true),
                Ok(held) => held,
                Err(legacy::NotSorted::InUse) => return Ok(false),
                Err(legacy::NotSorted::Failed(error)) => return Err(error),
            },
        };
        let (aside, put_aside) = (self.layout.names(table.dated(held)), self.layout.next_names(table, next));
        // One that a process has left which was killed, and that need not be what its name says.
        let left = format!("DROP TABLE IF EXISTS {}, {}", put_aside.envelope, put_aside.entry);
        execute(&mut lease, &left).await.map_err(committing)?;
        self.make(&mut lease, &put_aside, table.table, next).await?;
        let text = format!(
            "RENAME /* rotate */ TABLE {} TO {}, {} TO {}, {} TO {}, {} TO {}",
            names.envelope,
            aside.envelope,
            names.entry,
            aside.entry,
            put_aside.envelope,
            names.envelope,
            put_aside.entry,
            names.entry
        );
        match execute(&mut lease, &text).await {
            Ok(()) => Ok(true),
            Err(broken) => {
                if !broken.is_of_connection() {
                    // If it fails the next rotation does it.
                    let _ = execute(&mut lease, &left).await;
                }
                if broken.is_locked() { Ok(false) } else { Err(committing(broken)) }
            }
        }
    }

    /// Makes the tables of a date, unless they are there.
    async fn make(&self, lease: &mut Lease, names: &TableNames, table: u8, date: Date) -> Result<(), StoreError> {
        for statement in names.creation(table, date, self.layout.zone_offset_s) {
            execute(lease, &statement).await.map_err(committing)?;
        }
        Ok(())
    }

    /// Where an envelope that is made has no table of its date, because its day table
    /// holds a later one already, makes one.
    pub(super) async fn make_room(&self, id: EnvelopeId) -> Result<(), StoreError> {
        let (day_table, date) = self.day_table_of(id);
        self.look_at(day_table, date).await?;
        if self.found_closing(day_table.dated(date)).await? == Some(None) {
            return Err(sealed());
        }
        if !matches!(self.day_tables().place(day_table, date), Place::Nowhere { .. }) {
            return Ok(());
        }
        let dated = day_table.dated(date);
        let mut lease = self.connections.lease().await?;
        self.make(&mut lease, &self.layout.names(dated), dated.table, date).await?;
        lease.give_back();
        self.day_tables().learn(Found { dated: vec![dated], ..Found::default() });
        Ok(())
    }

    /// Reads which date each day table holds, and which dated tables there are, and forgets what was known of it.
    pub(super) async fn look_at_all(&self) -> Result<(), StoreError> {
        let generation = self.connections.generation();
        let mut found = Found::default();
        for (database, _) in self.layout.databases() {
            self.find_days(database, ALL, &mut found).await?;
            self.find_dated(database, ALL, &mut found).await?;
            self.find_sealed(database, &mut found).await?;
        }
        self.day_tables().replace(found);
        self.looked_in.store(generation, Ordering::Release);
        Ok(())
    }

    async fn look_at_database(&self, database: u8) -> Result<(), StoreError> {
        let mut found = Found { listed: vec![database], ..Found::default() };
        self.find_days(database, ALL, &mut found).await?;
        self.find_dated(database, ALL, &mut found).await?;
        self.find_sealed(database, &mut found).await?;
        self.day_tables().learn(found);
        Ok(())
    }

    async fn look_at_dated(&self, database: u8) -> Result<(), StoreError> {
        let mut found = Found { listed: vec![database], ..Found::default() };
        self.find_dated(database, ALL, &mut found).await?;
        self.find_sealed(database, &mut found).await?;
        self.day_tables().learn(found);
        Ok(())
    }

    /// Reads of a day table and a dated one that comes from it. What is read is learned at once: a day table with a
    /// later date, without the dated table and its export, is one whose rows are nowhere. The export is asked for also
    /// where the table is there, of which a drop may have left one half.
    pub(super) async fn look_for(&self, day_table: TableRef, dated: TableRef) -> Result<(), StoreError> {
        let name = |table: TableRef| format!("= 'envelope_{}_{}'", table.table, table.span);
        let mut found = Found { looked_for: Some(dated), ..Found::default() };
        self.find_days(day_table.database, &name(day_table), &mut found).await?;
        self.find_dated(day_table.database, &name(dated), &mut found).await?;
        self.find_exported(dated, &mut found).await?;
        self.day_tables().learn(found);
        Ok(())
    }

    async fn find_days(&self, database: u8, those: &str, found: &mut Found) -> Result<(), StoreError> {
        let rows = self.tables_in(&self.layout.database(database), "table_name, table_comment", those).await?;
        for row in &rows {
            if let Some(table) = day_table(database, row.text(0)?) {
                found.held.push((table, date_in(row.text(1)?)));
            }
        }
        Ok(())
    }

    async fn find_dated(&self, database: u8, those: &str, found: &mut Found) -> Result<(), StoreError> {
        let rows = self.tables_in(&self.layout.cold_database(database), "table_name", those).await?;
        for row in &rows {
            found.dated.extend(dated_table(database, row.text(0)?));
        }
        Ok(())
    }

    async fn tables_in(&self, database: &str, columns: &str, those: &str) -> Result<Vec<MySqlRow>, StoreError> {
        let text = format!(
            "SELECT /* look */ {columns} FROM information_schema.tables \
             WHERE table_schema = '{database}' AND table_name {those}"
        );
        let mut lease = self.connections.lease().await?;
        let limit = lease.limit() * ROTATION_STATEMENT_TIMES;
        let rows = within(limit, lease.connection().fetch_all(sqlx::raw_sql(&text))).await;
        lease.done(rows).map_err(reading)
    }
}
