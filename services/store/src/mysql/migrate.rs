//! Makes the databases and day tables of a SET.
//!
//! Every statement may be repeated, and several processes may run all of them
//! at the same time: what exists is left as it is. The row in `meta` says what a
//! database is, and its version, written last, that everything in it is there.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::id::Fold;
use hongbao_core::{Day, Slot, World};
use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use super::connection::{Connections, Lease, MysqlOptions, within};
use super::failure::{Broken, reading};
use super::watch::Unkept;
use crate::StoreError;
use crate::rows::StoredRow as _;

/// The version of a database that is complete.
const VERSION: i64 = 2;
const DATABASE: &str = include_str!("../../../../sql/mysql/envelope/database.sql");
/// Makes the table of the barrier in the database `{db}`.
pub const BARRIER: &str = include_str!("../../../../sql/mysql/barrier.sql");
const LEASE: &str = include_str!("../../../../sql/mysql/envelope/lease.sql");
/// The unique keys of a journal, by their columns: they alone decide between two writers (I2, I5).
const FENCE: &[&str] = &["envelope_id,seq", "envelope_id,user_id"];
const DAY_TABLE: &str = include_str!("../../../../sql/mysql/envelope/day_table.sql");

/// Which databases a SET has, and how they are laid out.
#[derive(Clone, Debug)]
pub struct Layout {
    /// How many databases and tables there are over all SETs.
    pub fold: Fold,
    /// The slots of this SET.
    pub slots: Vec<Slot>,
    /// The zone that days are counted in, in seconds ahead of UTC.
    pub zone_offset_s: i32,
    /// Whose databases: each world has its own, by name.
    pub world: World,
}

impl Layout {
    /// The databases of the SET, by number and name.
    pub fn databases(&self) -> Vec<(u8, String)> {
        let numbers: BTreeSet<u8> = self.slots.iter().map(|slot| slot.number() % self.fold.databases()).collect();
        let suffix = self.world.database_suffix();
        numbers.into_iter().map(|number| (number, format!("db_{number:02}{suffix}"))).collect()
    }

    fn identity(&self, number: u8) -> [i64; 4] {
        let fold = self.fold;
        [i64::from(number), i64::from(fold.databases()), i64::from(fold.tables()), i64::from(self.zone_offset_s)]
    }
}

/// Makes what is missing of a SET's databases.
///
/// # Errors
/// When a database is of another layout, or the database server refuses.
pub async fn migrate(options: MysqlOptions, layout: &Layout) -> Result<(), StoreError> {
    let connections = Connections::open(patient(options)).await?;
    let mut lease = connections.lease().await?;
    for (number, name) in layout.databases() {
        run(&mut lease, &format!("CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"))
            .await?;
        run(&mut lease, &DATABASE.replace("{db}", &name)).await?;
        run(&mut lease, &LEASE.replace("{db}", &name)).await?;
        run(&mut lease, &BARRIER.replace("{db}", &name)).await?;
        let [database, databases, tables, zone] = layout.identity(number);
        let claim = format!("INSERT IGNORE INTO {name}.meta VALUES (1, 0, {database}, {databases}, {tables}, {zone})");
        run(&mut lease, &claim).await?;
        let limit = lease.limit();
        check_identity(lease.connection(), limit, layout, number, &name).await?;
        for table in 0..layout.fold.tables() {
            for day in Day::all() {
                let text = DAY_TABLE.replace("{db}", &name).replace("{y}", &table.to_string());
                run(&mut lease, &text.replace("{dd}", &format!("{:02}", day.number()))).await?;
            }
        }
        check_engines(lease.connection(), limit, &name).await?;
        run(&mut lease, &format!("UPDATE {name}.meta SET version = {VERSION} WHERE version < {VERSION}")).await?;
    }
    lease.give_back();
    Ok(())
}

/// Checks that the databases are there, complete, and of this layout.
pub async fn check(connections: &Arc<Connections>, layout: &Layout) -> Result<(), StoreError> {
    let mut lease = connections.lease().await?;
    let limit = lease.limit();
    for (number, name) in layout.databases() {
        check_database(lease.connection(), limit, layout, number, &name).await?;
    }
    lease.give_back();
    Ok(())
}

/// Checks one of them.
pub async fn check_database(
    connection: &mut MySqlConnection,
    limit: Duration,
    layout: &Layout,
    number: u8,
    name: &str,
) -> Result<(), Unkept> {
    let version = check_identity(connection, limit, layout, number, name).await?.unwrap_or(0);
    if version < VERSION {
        return Err(refused(name, "is not complete: run `hongbao migrate`"));
    }
    if version > VERSION {
        return Err(refused(name, "is of a newer version than this program"));
    }
    check_engines(connection, limit, name).await?;
    check_keys(connection, limit, name, &journals(layout), FENCE).await
}

/// The tables that hold journals in a database.
fn journals(layout: &Layout) -> Vec<String> {
    let of_table = |table| Day::all().map(move |day| format!("entry_{table}_{:02}", day.number()));
    (0..layout.fold.tables()).flat_map(of_table).collect()
}

/// Refuses a database one of whose tables is of another engine, and so perhaps
/// without transactions: somebody may have converted it by hand, or restored it
/// from a dump that says otherwise.
///
/// # Errors
/// [`Unkept::Broken`] that names the table.
pub async fn check_engines(connection: &mut MySqlConnection, limit: Duration, name: &str) -> Result<(), Unkept> {
    let text = format!(
        "SELECT table_name, coalesce(engine, 'not known') FROM information_schema.tables WHERE table_schema = '{name}' \
         AND table_type = 'BASE TABLE' AND coalesce(engine, '') <> 'InnoDB' ORDER BY table_name LIMIT 1"
    );
    let found = within(limit, connection.fetch_optional(sqlx::raw_sql(&text))).await.map_err(Unkept::Unasked)?;
    let Some(row) = found else { return Ok(()) };
    let (table, engine) = (row.text(0)?, row.text(1)?);
    Err(refused(&format!("{name}.{table}"), &format!("must be of the engine InnoDB; its engine is {engine}")))
}

/// Refuses a database one of whose tables is not there or lacks a unique key, given by
/// its columns: two writers, or a writer and its own repetition, would both succeed.
///
/// # Errors
/// [`Unkept::Broken`] that names the table and the key.
pub async fn check_keys(
    connection: &mut MySqlConnection,
    limit: Duration,
    name: &str,
    tables: &[String],
    keys: &[&str],
) -> Result<(), Unkept> {
    let text = format!(
        "SELECT table_name, group_concat(column_name ORDER BY seq_in_index) FROM information_schema.statistics \
         WHERE table_schema = '{name}' AND non_unique = 0 GROUP BY table_name, index_name"
    );
    let rows = within(limit, connection.fetch_all(sqlx::raw_sql(&text))).await.map_err(Unkept::Unasked)?;
    let found: HashSet<(&str, &str)> =
        rows.iter().map(|row| Ok((row.text(0)?, row.text(1)?))).collect::<Result<_, Unkept>>()?;
    for table in tables {
        if let Some(key) = keys.iter().find(|key| !found.contains(&(table.as_str(), **key))) {
            return Err(refused(&format!("{name}.{table}"), &format!("is not there or has no unique key ({key})")));
        }
    }
    Ok(())
}

/// Gives the version of a database that is what it should be; `None` if there is none.
async fn check_identity(
    connection: &mut MySqlConnection,
    limit: Duration,
    layout: &Layout,
    number: u8,
    name: &str,
) -> Result<Option<i64>, Unkept> {
    let text = format!("SELECT version, db_number, db_count, table_count, zone_offset_s FROM {name}.meta");
    let row = match within(limit, connection.fetch_optional(sqlx::raw_sql(&text))).await {
        Err(broken) if broken.is_missing() => return Ok(None),
        found => found.map_err(Unkept::Unasked)?,
    };
    let row = row.ok_or_else(|| refused(name, "does not say what it is"))?;
    let column = |column| row.int(column);
    let found = [column(1)?, column(2)?, column(3)?, column(4)?];
    let wanted = layout.identity(number);
    if found != wanted {
        return Err(refused(
            name,
            &format!(
                "was made as number {} of {} databases with {} tables a day in zone {} s; \
                 the configuration says {} of {} with {} in zone {} s",
                found[0], found[1], found[2], found[3], wanted[0], wanted[1], wanted[2], wanted[3]
            ),
        ));
    }
    Ok(Some(column(0)?))
}

/// Making tables is slow on a busy cluster, and nobody waits for it.
pub fn patient(options: MysqlOptions) -> MysqlOptions {
    MysqlOptions { statement_timeout: options.statement_timeout * 12, ..options }
}

async fn run(lease: &mut Lease, sql: &str) -> Result<(), StoreError> {
    let limit = lease.limit();
    let done: Result<_, Broken> = within(limit, lease.connection().execute(sqlx::raw_sql(sql))).await;
    done.map(|_| ()).map_err(reading)
}

fn refused(name: &str, words: &str) -> Unkept {
    Unkept::Broken(format!("{name} {words}"))
}
