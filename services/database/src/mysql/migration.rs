//! Numbered migrations: how a database that exists becomes what this program needs,
//! with all of its day tables.
//!
//! A [`Migration`] is a file under `sql/mysql`, which is never edited once it was
//! released. The table `migration` of a database names those that it has had, each
//! written after the last of its statements. So a run that was killed is repeated:
//! the migration that it had begun starts again, and a statement whose work is done
//! either changes nothing (`IF NOT EXISTS`) or fails for that reason, as where a
//! column is there already. Several processes may run all of them at the same time.
//!
//! `meta.version` says what a program must understand to work with the database: 0
//! while it is incomplete. It rises only with a migration that earlier programs cannot
//! work with, and before its first statement. What they can ignore, such as a column
//! with a default, leaves it as it is and runs while they serve.

use std::collections::HashSet;
use std::time::Duration;

use sqlx::Executor as _;
use sqlx::mysql::{MySqlConnection, MySqlRow};

use super::connection::{Lease, within};
use super::failure::{QueryError, reading};
use super::promise::Unkept;
use super::schema::refused;
use crate::{DatabaseError, StoredRow as _};
use hongbao_core::limits::MIGRATION_TRIES_MAX;

/// How long is waited after the first of these, and so much longer after each further one: 5 s in all.
const DEADLOCK_PAUSE: Duration = Duration::from_millis(25);
/// Makes the table of those that a database has had.
const TABLE: &str = include_str!("../../../../sql/mysql/migration.sql");

/// One change of the schema.
#[derive(Clone, Copy, Debug)]
pub struct Migration {
    /// The name of its file, without the ending.
    pub name: &'static str,
    /// Its statements. `{db}` stands for the database, and in a day table's `{y}` and
    /// `{dd}` for the table and the day.
    pub sql: &'static str,
    /// What its statements are repeated for.
    pub target: Target,
    /// The version that a program must understand to work with a database that has had it.
    pub version: i64,
}

/// What the statements of a migration are repeated for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// Once for the database.
    Database,
    /// Once for each day table.
    DayTables,
}

/// The schema of one kind of database: its migrations, in order.
#[derive(Clone, Copy, Debug)]
pub struct Schema(pub &'static [Migration]);

impl Schema {
    /// The highest version that this program understands.
    pub fn version(self) -> i64 {
        self.0.iter().map(|migration| migration.version).max().unwrap_or(0)
    }

    /// Runs what the database has not had. It has a row in `meta`; `day_tables` are the
    /// table and the day of each, as they stand in the names.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`] names the migration that failed; the next run begins with it.
    pub async fn migrate(
        self,
        lease: &mut Lease,
        database: &str,
        day_tables: &[(String, String)],
    ) -> Result<(), DatabaseError> {
        self.prepare(lease, database, day_tables).await?;
        self.complete(lease, database).await
    }

    /// The same, but a new database is still incomplete after it: something else has to be
    /// written before it may be used.
    ///
    /// # Errors
    /// As [`Schema::migrate`].
    pub async fn prepare(
        self,
        lease: &mut Lease,
        database: &str,
        day_tables: &[(String, String)],
    ) -> Result<(), DatabaseError> {
        insist(lease, &TABLE.replace("{db}", database)).await.map_err(reading)?;
        let limit = lease.limit();
        let had = names(lease.connection(), limit, database).await?;
        let is_in_use = version(lease.connection(), limit, database).await? > 0;
        for migration in self.0.iter().filter(|migration| !had.contains(migration.name)) {
            let name = migration.name;
            if is_in_use {
                raise(lease, database, migration.version).await.map_err(reading)?;
            }
            for statement in migration.statements(database, day_tables) {
                match insist(lease, &statement).await {
                    Err(broken) if broken.is_done_already() => {}
                    done => done.map_err(|broken| {
                        DatabaseError::Unavailable(format!("{database}: the migration {name} failed: {broken}"))
                    })?,
                }
            }
            let done = format!("INSERT IGNORE INTO {database}.migration VALUES ('{name}', UTC_TIMESTAMP())");
            insist(lease, &done).await.map_err(reading)?;
            tracing::info!(database, migration = name, "migrated");
        }
        Ok(())
    }

    /// From now on the database may be used.
    ///
    /// # Errors
    /// [`DatabaseError::Unavailable`]: it could not be written.
    pub async fn complete(self, lease: &mut Lease, database: &str) -> Result<(), DatabaseError> {
        raise(lease, database, self.version()).await.map_err(reading)
    }

    /// Checks that this program understands a database of this version, and that it has
    /// had all migrations.
    ///
    /// # Errors
    /// [`Unkept::Broken`] for the operator, with the database's name.
    pub async fn check(
        self,
        connection: &mut MySqlConnection,
        limit: Duration,
        database: &str,
        version: i64,
    ) -> Result<(), Unkept> {
        if version > self.version() {
            let reason = format!("is of a newer version than this program ({version}, not {})", self.version());
            return Err(refused(database, &reason));
        }
        let had = names(connection, limit, database).await?;
        match self.0.iter().find(|migration| !had.contains(migration.name)) {
            Some(Migration { name, .. }) => {
                Err(refused(database, &format!("is not complete: run `hongbao migrate`, it has not had {name}")))
            }
            None if version == 0 => Err(refused(database, "is not complete: run `hongbao migrate`")),
            None => Ok(()),
        }
    }
}

impl Migration {
    fn statements(&self, database: &str, day_tables: &[(String, String)]) -> Vec<String> {
        let sql = self.sql.replace("{db}", database);
        let texts = match self.target {
            Target::Database => vec![sql],
            Target::DayTables => {
                day_tables.iter().map(|(table, day)| sql.replace("{y}", table).replace("{dd}", day)).collect()
            }
        };
        texts
            .iter()
            .flat_map(|text| text.split(";\n"))
            .map(str::trim)
            .filter(|one| !one.is_empty())
            .map(str::to_owned)
            .collect()
    }
}

/// The names of those that a database has had; none where it has no table of them yet.
async fn names(connection: &mut MySqlConnection, limit: Duration, database: &str) -> Result<HashSet<String>, Unkept> {
    let text = format!("SELECT name FROM {database}.migration");
    match fetch_insisting(connection, limit, &text).await {
        Err(broken) if broken.is_missing() => Ok(HashSet::new()),
        rows => rows.map_err(Unkept::Unasked)?.iter().map(|row| Ok(row.text(0)?.to_owned())).collect(),
    }
}

async fn version(connection: &mut MySqlConnection, limit: Duration, database: &str) -> Result<i64, Unkept> {
    let rows = fetch_insisting(connection, limit, &format!("SELECT version FROM {database}.meta")).await;
    let rows = rows.map_err(Unkept::Unasked)?;
    Ok(rows.first().ok_or_else(|| refused(database, "does not say what it is"))?.int(0)?)
}

async fn raise(lease: &mut Lease, database: &str, version: i64) -> Result<(), QueryError> {
    insist(lease, &format!("UPDATE {database}.meta SET version = {version} WHERE version < {version}")).await
}

/// Executes a statement that may be repeated. On a cluster another process may be
/// making the same through another node, and one of the two is taken back (error
/// 1213): it finds the work done.
///
/// # Errors
/// That of the last try.
pub async fn insist(lease: &mut Lease, sql: &str) -> Result<(), QueryError> {
    let limit = lease.limit();
    let mut tries = 1;
    loop {
        match within(limit, lease.connection().execute(sqlx::raw_sql(sql))).await {
            Err(broken) if broken.is_deadlock() && tries < MIGRATION_TRIES_MAX => pause_after(tries).await,
            done => return done.map(|_| ()),
        }
        tries += 1;
    }
}

/// Reads rows, by a statement that may meet what another process makes.
///
/// # Errors
/// That of the last try.
pub async fn fetch_insisting(
    connection: &mut MySqlConnection,
    limit: Duration,
    sql: &str,
) -> Result<Vec<MySqlRow>, QueryError> {
    let mut tries = 1;
    loop {
        match within(limit, connection.fetch_all(sqlx::raw_sql(sql))).await {
            Err(broken) if broken.is_deadlock() && tries < MIGRATION_TRIES_MAX => pause_after(tries).await,
            found => return found,
        }
        tries += 1;
    }
}

/// The other one needs time to make a table, and the more so the longer it has taken.
async fn pause_after(tries: u32) {
    tokio::time::sleep(DEADLOCK_PAUSE * tries).await;
}
