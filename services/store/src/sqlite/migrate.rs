//! Makes a database file and brings it up to date.
//!
//! The steps stand in `sql/sqlite/envelope/` and are part of the binary. How
//! many of them a file has taken stands in its `user_version`; each runs once,
//! and all that are missing run in one transaction. A new step is a new file at
//! the end of [`STEPS`]; a step that was released is never edited.

use hongbao_core::Day;
use hongbao_core::id::Fold;
use hongbao_database::sqlite::file::SqliteFile;
use sqlx::pool::PoolConnection;
use sqlx::{Executor as _, Row as _, Sqlite, SqliteConnection};

use crate::StoreError;
use crate::failure::unavailable;

/// One step of the schema.
enum Step {
    /// Runs once for the file.
    File(&'static str),
    /// Runs for each day table, with `{y}` and `{dd}` replaced.
    DayTable(&'static str),
}

const STEPS: [Step; 7] = [
    Step::File(include_str!("../../../../sql/sqlite/envelope/0001_meta.sql")),
    Step::DayTable(include_str!("../../../../sql/sqlite/envelope/0002_day_tables.sql")),
    Step::DayTable(include_str!("../../../../sql/sqlite/envelope/0003_cancelled.sql")),
    Step::File(include_str!("../../../../sql/sqlite/envelope/0004_folder.sql")),
    Step::File(include_str!("../../../../sql/sqlite/envelope/0005_dates.sql")),
    Step::File(include_str!("../../../../sql/sqlite/envelope/0006_manifest.sql")),
    Step::File(include_str!("../../../../sql/sqlite/envelope/0007_exported.sql")),
];
/// The version of a file that has taken all steps.
const VERSION: i64 = STEPS.len() as i64;
/// The oldest version that can be read as it is: the steps after it change nothing that is read.
const READABLE_VERSION: i64 = 2;
/// Marks a file as Hongbao's: `HONG` in ASCII.
const APPLICATION_ID: i64 = 0x484f_4e47;

/// What a file is: where an envelope lies follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `xx` of the database in this file.
    pub database: u8,
    /// How many databases and tables there are.
    pub fold: Fold,
    /// The zone that days are counted in.
    pub zone_offset_s: i32,
}

/// Makes or upgrades the file; refuses one that is something else.
pub async fn migrate(file: &SqliteFile, wanted: Identity) -> Result<(), StoreError> {
    if version(&mut *reader(file).await?).await? == VERSION {
        return check(file, wanted).await;
    }
    // The version is read again, for another process may be making the same file.
    let mut transaction = file.begin().await?;
    let version = version(&mut transaction).await?;
    if version > 0 {
        check_identity(&mut transaction, wanted).await?;
    }
    for (number, step) in (1..).zip(&STEPS) {
        if number > version {
            run(&mut transaction, step, wanted.fold).await?;
        }
    }
    if version == 0 {
        write_identity(&mut transaction, wanted).await?;
    }
    let mark = format!("PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {VERSION};");
    transaction.execute(sqlx::raw_sql(&mark)).await.map_err(unavailable)?;
    Ok(transaction.commit().await?)
}

/// Checks a file that must not be written: it has to be new enough to be read.
pub async fn check(file: &SqliteFile, wanted: Identity) -> Result<(), StoreError> {
    let mut reader = reader(file).await?;
    let version = version(&mut reader).await?;
    if version < READABLE_VERSION {
        return Err(refused(format!(
            "its schema has version {version}, this program reads {VERSION}: migrate it first"
        )));
    }
    check_identity(&mut reader, wanted).await
}

/// What an existing file says that it is.
pub async fn identity(file: &SqliteFile) -> Result<Identity, StoreError> {
    let mut reader = reader(file).await?;
    if version(&mut reader).await? == 0 {
        return Err(refused("it holds no Hongbao data".to_owned()));
    }
    read_identity(&mut reader).await
}

async fn reader(file: &SqliteFile) -> Result<PoolConnection<Sqlite>, StoreError> {
    file.readers().acquire().await.map_err(unavailable)
}

/// How many steps the file has taken; 0 for a new one.
async fn version(connection: &mut SqliteConnection) -> Result<i64, StoreError> {
    let version = number(connection, "PRAGMA user_version").await?;
    let application = number(connection, "PRAGMA application_id").await?;
    let tables = number(connection, "SELECT count(*) FROM sqlite_schema").await?;
    match (application, version) {
        (APPLICATION_ID, 1..=VERSION) => Ok(version),
        (APPLICATION_ID, _) => Err(refused(format!("its schema has version {version}, this program knows {VERSION}"))),
        (0, 0) if tables == 0 => Ok(0),
        _ => Err(refused("it is a database of another program".to_owned())),
    }
}

async fn run(connection: &mut SqliteConnection, step: &Step, fold: Fold) -> Result<(), StoreError> {
    let text = match step {
        Step::File(text) => (*text).to_owned(),
        Step::DayTable(template) => (0..fold.tables())
            .flat_map(|table| Day::all().map(move |day| for_day_table(template, table, day)))
            .collect(),
    };
    connection.execute(sqlx::raw_sql(&text)).await.map_err(unavailable)?;
    Ok(())
}

fn for_day_table(template: &str, table: u8, day: Day) -> String {
    template.replace("{y}", &table.to_string()).replace("{dd}", &format!("{:02}", day.number()))
}

async fn write_identity(connection: &mut SqliteConnection, identity: Identity) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO meta (one, database, databases, tables, zone_offset_s) VALUES (1, ?, ?, ?, ?)")
        .bind(identity.database)
        .bind(identity.fold.databases())
        .bind(identity.fold.tables())
        .bind(identity.zone_offset_s)
        .execute(connection)
        .await
        .map_err(unavailable)?;
    Ok(())
}

async fn read_identity(connection: &mut SqliteConnection) -> Result<Identity, StoreError> {
    let row = sqlx::query("SELECT database, databases, tables, zone_offset_s FROM meta")
        .fetch_one(connection)
        .await
        .map_err(unavailable)?;
    let (databases, tables) = (row.try_get(1).map_err(unavailable)?, row.try_get(2).map_err(unavailable)?);
    Ok(Identity {
        database: row.try_get(0).map_err(unavailable)?,
        fold: Fold::new(databases, tables)
            .ok_or_else(|| StoreError::Damaged(format!("a fold of {databases} x {tables}")))?,
        zone_offset_s: row.try_get(3).map_err(unavailable)?,
    })
}

async fn check_identity(connection: &mut SqliteConnection, wanted: Identity) -> Result<(), StoreError> {
    let found = read_identity(connection).await?;
    if found != wanted {
        return Err(refused(format!("it was made for {}, not for {}", in_words(found), in_words(wanted))));
    }
    Ok(())
}

fn in_words(identity: Identity) -> String {
    let Identity { database, fold, zone_offset_s } = identity;
    format!(
        "database {database} of {} with {} tables a day and a zone {zone_offset_s} s ahead of UTC",
        fold.databases(),
        fold.tables()
    )
}

async fn number(connection: &mut SqliteConnection, sql: &str) -> Result<i64, StoreError> {
    sqlx::query(sql).fetch_one(connection).await.and_then(|row| row.try_get(0)).map_err(unavailable)
}

fn refused(why: String) -> StoreError {
    StoreError::Unavailable(why)
}
