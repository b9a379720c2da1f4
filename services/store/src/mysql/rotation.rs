//! Rotation: each table by one `RENAME`, which puts the old one aside and the new one
//! in its place at the same moment, or does nothing.
//!
//! A rename waits for the statements that use a table, and new ones wait behind it: so
//! it waits a second at most, and comes again later. What a process that was killed has
//! left is a table with no rows, which the next rotation makes anew.

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
use crate::day_tables::{Found, Place, dated_table, day_table, due};
use crate::failure::{committing, reading};
use crate::place::DayTableStore as _;
use crate::statements::day_tables;
use crate::{Rotated, Rotation, StoreError};

/// All tables of envelopes.
const ALL: &str = "LIKE 'envelope\\_%'";

#[async_trait]
impl Rotation for MysqlStore {
    async fn rotate(&self, through: Date) -> Result<Rotated, StoreError> {
        let mut rotated = Rotated::default();
        for (database, _) in self.layout.databases() {
            let tables = day_tables([database], self.layout.fold.tables());
            // Those that other processes have renamed.
            self.look_at_dated(database, ALL).await?;
            if self.due(&tables, through).is_empty() {
                continue;
            }
            self.look_at_database(database).await?;
            for (table, date) in self.due(&tables, through) {
                match self.rotate_one(table, date).await {
                    Ok(()) => rotated.tables += 1,
                    Err(NotRotated::InUse) => rotated.in_use += 1,
                    Err(NotRotated::Failed(error)) => return Err(error),
                }
            }
            self.look_at_database(database).await?;
        }
        Ok(rotated)
    }

    async fn look(&self) -> Result<(), StoreError> {
        self.look_at_all().await
    }
}

/// Why a table keeps its date for now.
enum NotRotated {
    /// Statements use it, or another process is rotating it.
    InUse,
    Failed(StoreError),
}

impl<E: Into<StoreError>> From<E> for NotRotated {
    fn from(error: E) -> NotRotated {
        NotRotated::Failed(error.into())
    }
}

impl MysqlStore {
    fn due(&self, tables: &[TableRef], through: Date) -> Vec<(TableRef, Date)> {
        due(tables, through, |table| self.day_tables().held(table))
    }

    async fn rotate_one(&self, table: TableRef, next: Date) -> Result<(), NotRotated> {
        let mut lease = self.connections.lease().await?;
        let names = self.layout.names(table);
        let held = match self.day_tables().held(table) {
            Some(held) => held,
            // An earlier version made it.
            None => {
                let held = legacy::date(&mut lease, &self.layout, table, next).await?;
                if held == next {
                    lease.give_back();
                    return Ok(());
                }
                held
            }
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
        let waiting = format!("/*M!100300 SET STATEMENT lock_wait_timeout = {RENAME_WAIT_S_MAX} FOR */ {text}");
        let renamed = execute(&mut lease, &waiting).await;
        match lease.done(renamed) {
            Ok(()) => Ok(()),
            // Another process has been faster.
            Err(broken) if broken.is_done_already() || broken.is_missing() => Err(NotRotated::InUse),
            Err(broken) if broken.is_locked() || broken.is_deadlock() => Err(NotRotated::InUse),
            Err(broken) => Err(committing(broken).into()),
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
        if self.day_tables().place(day_table, date) != Place::Nowhere {
            return Ok(());
        }
        let dated = day_table.dated(date);
        let mut lease = self.connections.lease().await?;
        self.make(&mut lease, &self.layout.names(dated), dated.table, date).await?;
        lease.give_back();
        self.day_tables().learn(Found { held: Vec::new(), dated: vec![dated] });
        Ok(())
    }

    /// Reads which date each day table holds, and which dated tables there are.
    pub(super) async fn look_at_all(&self) -> Result<(), StoreError> {
        for (database, _) in self.layout.databases() {
            self.look_at_database(database).await?;
        }
        Ok(())
    }

    async fn look_at_database(&self, database: u8) -> Result<(), StoreError> {
        self.look_at_days(database, ALL).await?;
        self.look_at_dated(database, ALL).await
    }

    /// Reads which date the day tables hold whose names are `those`, a condition.
    pub(super) async fn look_at_days(&self, database: u8, those: &str) -> Result<(), StoreError> {
        let rows = self.tables_in(&self.layout.database(database), "table_name, table_comment", those).await?;
        let mut found = Found::default();
        for row in &rows {
            if let Some(table) = day_table(database, row.text(0)?) {
                found.held.push((table, date_in(row.text(1)?)));
            }
        }
        self.day_tables().learn(found);
        Ok(())
    }

    /// Reads which dated tables there are whose names are `those`, a condition. To be called after the look at the day tables.
    pub(super) async fn look_at_dated(&self, database: u8, those: &str) -> Result<(), StoreError> {
        let rows = self.tables_in(&self.layout.cold_database(database), "table_name", those).await?;
        let mut found = Found::default();
        for row in &rows {
            found.dated.extend(dated_table(database, row.text(0)?));
        }
        self.day_tables().learn(found);
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
