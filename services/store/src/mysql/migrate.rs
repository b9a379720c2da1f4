//! Makes and upgrades the databases and day tables of a SET.
//!
//! A database first says in `meta` what it is, and then has its migrations. All of it
//! may be repeated, and several processes may do it at the same time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::Date;
use hongbao_core::fence::{Accepted, Version, in_force};
use hongbao_core::held::HeldSlots;
use hongbao_core::id::Span;
use hongbao_core::slot_maps::SlotMaps;
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::{Connections, Lease, MysqlOptions};
use hongbao_database::mysql::migration::{Migration, Schema, Target, fetch_insisting, insist};
use hongbao_database::mysql::promise::Unkept;
use hongbao_database::mysql::schema::{BARRIER, BARRIER_KEY, check_engines, check_keys, patient, refused};
use sqlx::mysql::MySqlConnection;

use super::fence;
use super::fences::Fences;
use super::layout::Layout;
use crate::StoreError;
use crate::failure::reading;
use crate::statements::day_tables;

const META: &str = include_str!("../../../../sql/mysql/envelope/meta.sql");
/// The unique keys of a journal, by their columns: they alone decide between two writers (I2, I5).
const FENCE: [&str; 2] = ["envelope_id,seq", "envelope_id,user_id"];

const SCHEMA: Schema = Schema(&[
    Migration {
        name: "0001_day_tables",
        sql: include_str!("../../../../sql/mysql/envelope/0001_day_tables.sql"),
        target: Target::DayTables,
        version: 1,
    },
    Migration {
        name: "0002_lease",
        sql: include_str!("../../../../sql/mysql/envelope/0002_lease.sql"),
        target: Target::Database,
        version: 1,
    },
    Migration { name: "0003_barrier", sql: BARRIER, target: Target::Database, version: 2 },
    Migration {
        name: "0004_cold",
        sql: include_str!("../../../../sql/mysql/envelope/0004_cold.sql"),
        target: Target::Database,
        version: 3,
    },
    Migration { name: "0005_fence", sql: fence::TABLES, target: Target::Database, version: 4 },
    Migration {
        name: "0006_manifest",
        sql: include_str!("../../../../sql/mysql/envelope/0006_manifest.sql"),
        target: Target::Database,
        version: 5,
    },
    Migration {
        name: "0007_exported",
        sql: include_str!("../../../../sql/mysql/envelope/0007_exported.sql"),
        target: Target::Database,
        version: 6,
    },
]);

/// Makes and upgrades the databases of a SET that is alone: [`prepare`], and then its fence.
///
/// # Errors
/// As [`prepare`] and [`Fences`].
pub async fn migrate(options: MysqlOptions, layout: &Layout, through: Date) -> Result<(), StoreError> {
    const ALONE: &str = "alone";
    prepare(options.clone(), layout, through).await?;
    let fences = Fences::open(options, ALONE, layout.clone()).await?;
    let maps = SlotMaps::new(&BTreeMap::from([(ALONE.to_owned(), layout.held.clone())]), BTreeSet::new());
    let next = Version { number: 0, maps };
    let read = fences.read().await?;
    fences.narrow(&next, in_force(read.iter().map(|fence| &fence.state)), "").await?;
    fences.widen(&next).await.map(|_| ())
}

/// Makes and upgrades a SET's databases but for their fence: a new one accepts no id, and one of an earlier version
/// all of its slots. What was made once and is gone is named, and not made anew: it had rows.
/// In a new database each date up to `through` has its day table.
///
/// # Errors
/// When a database is of another layout, or the database server refuses.
pub async fn prepare(options: MysqlOptions, layout: &Layout, through: Date) -> Result<(), StoreError> {
    let connections = Connections::open(patient(options)).await?;
    let mut lease = connections.lease().await?;
    let day_tables = layout.day_tables();
    for (number, name) in layout.databases() {
        let create = format!("CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
        let [database, databases, tables, zone] = layout.identity(number);
        let claim = format!("INSERT IGNORE INTO {name}.meta VALUES (1, 0, {database}, {databases}, {tables}, {zone})");
        for statement in [create, META.replace("{db}", &name), claim] {
            insist(&mut lease, &statement).await.map_err(reading)?;
        }
        let limit = lease.limit();
        if check_identity(lease.connection(), limit, layout, number, &name).await? == Some(0) {
            make_day_tables(&mut lease, layout, number, through).await?;
            begin_fence(&mut lease, &name, &[]).await?;
        }
        SCHEMA.migrate(&mut lease, &name, &day_tables).await?;
        let first = &layout.held.spans()[0];
        let accepted = HeldSlots::always(first.slots.iter().copied(), first.fold).accepted_in(number);
        begin_fence(&mut lease, &name, &accepted).await?;
        check_database(lease.connection(), limit, layout, number, &name).await?;
    }
    lease.give_back();
    Ok(())
}

/// Gives a database its first fence, unless it has one: that it has is one commit with what it accepts.
async fn begin_fence(lease: &mut Lease, database: &str, accepted: &[Accepted]) -> Result<(), StoreError> {
    for statement in fence::TABLES.replace("{db}", database).split(";\n").map(str::trim).filter(|text| !text.is_empty())
    {
        insist(lease, statement).await.map_err(reading)?;
    }
    let limit = lease.limit();
    let text = format!("SELECT one FROM {database}.slot_fence_version");
    if !fetch_insisting(lease.connection(), limit, &text).await.map_err(reading)?.is_empty() {
        return Ok(());
    }
    let table = format!("{database}.slot_fence");
    let insert = |row| format!("INSERT IGNORE INTO {table} VALUES {}; ", fence::values(row));
    let rows = accepted.iter().map(insert).collect::<String>();
    let begin = format!("INSERT IGNORE INTO {database}.slot_fence_version VALUES (1, 0, NULL, 0, NULL, '')");
    insist(lease, &format!("START TRANSACTION; {rows}{begin}; COMMIT")).await.map_err(reading)?;
    // On Galera a COMMIT at the end of a text may succeed and commit nothing.
    match fetch_insisting(lease.connection(), limit, &text).await.map_err(reading)?.is_empty() {
        true => Err(StoreError::Unavailable(format!("{database}: its fence was not begun; try again"))),
        false => Ok(()),
    }
}

/// Those of a database that is not in use yet. The first migration finds them made.
async fn make_day_tables(lease: &mut Lease, layout: &Layout, number: u8, through: Date) -> Result<(), StoreError> {
    for table in day_tables([number], layout.tables()) {
        let Span::Day(day) = table.span else { continue };
        let date = through.last_with(day);
        for statement in layout.names(table).creation(table.table, date, layout.zone_offset_s) {
            insist(lease, &statement).await.map_err(reading)?;
        }
    }
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
    SCHEMA.check(connection, limit, name, version).await?;
    check_engines(connection, limit, name, Some(&layout.cold_database(number))).await?;
    check_keys(connection, limit, name, &keys(layout)).await
}

/// The unique keys that a database must have.
fn keys(layout: &Layout) -> Vec<(String, &'static str)> {
    let of_day_table = |(table, day): (String, String)| {
        let journal = format!("entry_{table}_{day}");
        let of_journal = FENCE.map(|key| (journal.clone(), key));
        of_journal.into_iter().chain([(format!("envelope_{table}_{day}"), "id")])
    };
    let of_database = [
        ("worker_lease", "job"),
        ("slot_fence", "slot,from_ms"),
        ("manifest", "y,date"),
        ("manifest", "number"),
        ("exported", "y,date"),
        BARRIER_KEY,
    ]
    .map(|(table, key)| (table.to_owned(), key));
    layout.day_tables().into_iter().flat_map(of_day_table).chain(of_database).collect()
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
    let rows = match fetch_insisting(connection, limit, &text).await {
        Err(broken) if broken.is_missing() => return Ok(None),
        found => found.map_err(Unkept::Unasked)?,
    };
    let row = rows.first().ok_or_else(|| refused(name, "does not say what it is"))?;
    let column = |column| row.int(column);
    let found = [column(1)?, column(2)?, column(3)?, column(4)?];
    let mut wanted = layout.identity(number);
    // That of a later map stands with what the fence accepts: the map may be taken back, and another one come.
    if !layout.is_of_first_map(number) {
        wanted[1] = found[1];
    }
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
