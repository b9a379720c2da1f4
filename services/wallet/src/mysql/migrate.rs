//! Makes the databases of the wallet, and checks that they are what they should be.
//!
//! Every statement may be repeated, and several processes may run all of them at
//! the same time: what exists is left as it is.

use std::sync::Arc;
use std::time::Duration;

use hongbao_store::StoreError;
use hongbao_store::mysql::connection::{Connections, Lease, within};
use hongbao_store::mysql::failure::{Broken, reading};
use hongbao_store::mysql::watch::Unkept;
use hongbao_store::mysql::{BARRIER, check_engines, check_keys, patient};
use hongbao_store::rows::StoredRow as _;
use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use super::Home;
use super::layout::{Plan, plan};
use crate::WalletError;

/// The version of a database that is complete.
const VERSION: i64 = 2;
/// How often a step that met another process is tried in all.
const DEADLOCK_TRIES_MAX: u32 = 20;
/// How long is waited after the first of these, and so much longer after each further one: 5 s in all.
const DEADLOCK_PAUSE: Duration = Duration::from_millis(25);
const DATABASE: &str = include_str!("../../../../sql/mysql/wallet/database.sql");
const APPEND_ONLY: &str = include_str!("../../../../sql/mysql/wallet/append_only.sql");
const UNGUARDED: &str = include_str!("../../../../sql/mysql/wallet/unguarded.sql");

/// Makes what is missing of the databases of the wallet: `databases` over all
/// slots, called `wallet_00` and so on.
///
/// # Errors
/// When slots do not add up, a database was made for others, or its server refuses.
pub async fn migrate(homes: &[Home], databases: u8) -> Result<(), WalletError> {
    let plans = plan(homes, databases)?;
    for (place, home) in homes.iter().enumerate() {
        let connections = Connections::open(patient(home.options.clone())).await?;
        let mut lease = connections.lease().await?;
        for plan in plans.iter().filter(|plan| plan.home == place) {
            make(&mut lease, plan, databases).await?;
        }
        lease.give_back();
    }
    Ok(())
}

async fn make(lease: &mut Lease, plan: &Plan, databases: u8) -> Result<(), WalletError> {
    let (name, slots) = (plan.name(), plan.slots_text());
    insist(lease, &format!("CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"))
        .await
        .map_err(reading)?;
    insist(lease, &DATABASE.replace("{db}", &name)).await.map_err(reading)?;
    insist(lease, &BARRIER.replace("{db}", &name)).await.map_err(reading)?;
    let claim = format!("INSERT IGNORE INTO {name}.meta VALUES (1, 0, {}, {databases}, '{slots}')", plan.database);
    insist(lease, &claim).await.map_err(reading)?;
    let limit = lease.limit();
    check_identity(lease.connection(), limit, plan, databases).await.map_err(StoreError::from)?;
    guard_transfers(lease, &name).await?;
    check_engines(lease.connection(), limit, &name).await.map_err(StoreError::from)?;
    let complete = format!("UPDATE {name}.meta SET version = {VERSION} WHERE version < {VERSION}");
    insist(lease, &complete).await.map_err(reading)?;
    Ok(())
}

/// Makes the triggers that keep transfers append-only, where the database can have them.
///
/// On Galera it takes away those that came with moved data. A statement that a
/// node takes back while it opens a table leaves that table in the node's cache
/// with its triggers half read, and from then on inserts through it fail (error
/// 1064) until somebody flushes it: seen with MariaDB 10.11.
async fn guard_transfers(lease: &mut Lease, name: &str) -> Result<(), WalletError> {
    let is_galera = is_galera(lease).await.map_err(reading)?;
    let statements = if is_galera { UNGUARDED } else { APPEND_ONLY };
    for statement in statements.replace("{db}", name).split(";\n").filter(|statement| !statement.trim().is_empty()) {
        match insist(lease, statement).await {
            Err(broken) if !broken.is_of_connection() && !is_galera => {
                tracing::warn!(database = name, %broken, "the database does not guard its transfers against changes");
            }
            done => done.map_err(reading)?,
        }
    }
    if is_galera {
        tracing::warn!(database = name, "on Galera no trigger guards transfers against changes: see the handbook");
    }
    Ok(())
}

async fn is_galera(lease: &mut Lease) -> Result<bool, Broken> {
    let limit = lease.limit();
    let ask = "SHOW VARIABLES WHERE Variable_name = 'wsrep_on' AND Value = 'ON'";
    within(limit, lease.connection().fetch_optional(sqlx::raw_sql(ask))).await.map(|row| row.is_some())
}

/// The unique keys of transfers, by their columns: each is written once (I6).
const ONCE: &[&str] = &["position", "id"];

/// Checks that a shard's database is there, complete, and made for its slots.
pub(super) async fn check(connections: &Arc<Connections>, plan: &Plan, databases: u8) -> Result<(), WalletError> {
    let mut lease = connections.lease().await?;
    let limit = lease.limit();
    check_database(lease.connection(), limit, plan, databases).await.map_err(StoreError::from)?;
    lease.give_back();
    Ok(())
}

/// The same over a connection that is there.
pub(super) async fn check_database(
    connection: &mut MySqlConnection,
    limit: Duration,
    plan: &Plan,
    databases: u8,
) -> Result<(), Unkept> {
    let version = check_identity(connection, limit, plan, databases).await?;
    check_engines(connection, limit, &plan.name()).await?;
    match version {
        Some(VERSION) => check_keys(connection, limit, &plan.name(), &["transfer".to_owned()], ONCE).await,
        Some(newer) if newer > VERSION => Err(refused(plan, "is of a newer version than this program")),
        _ => Err(refused(plan, "is not complete: run `hongbao migrate`")),
    }
}

/// Gives the version of a database that is what it should be; `None` if there is none.
async fn check_identity(
    connection: &mut MySqlConnection,
    limit: Duration,
    plan: &Plan,
    databases: u8,
) -> Result<Option<i64>, Unkept> {
    let text = format!("SELECT version, db_number, db_count, slots FROM {}.meta", plan.name());
    let mut tries = 1;
    let row = loop {
        match within(limit, connection.fetch_optional(sqlx::raw_sql(&text))).await {
            Err(broken) if broken.is_missing() => return Ok(None),
            Err(broken) if broken.is_deadlock() && tries < DEADLOCK_TRIES_MAX => pause_after(tries).await,
            found => break found.map_err(Unkept::Unasked)?,
        }
        tries += 1;
    };
    let row = row.ok_or_else(|| refused(plan, "does not say what it is"))?;
    let found = (row.int(1)?, row.int(2)?, row.text(3)?);
    let slots = plan.slots_text();
    if found != (plan.database.into(), databases.into(), slots.as_str()) {
        let (number, count, of) = found;
        return Err(refused(
            plan,
            &format!(
                "was made as number {number} of {count} databases for the slots {of}; the configuration says {} of \
                 {databases} for {slots}",
                plan.database
            ),
        ));
    }
    Ok(Some(row.int(0)?))
}

/// On a cluster another process may be making the same through another node,
/// and one of the two is sent back (error 1213): it finds the work done.
async fn insist(lease: &mut Lease, sql: &str) -> Result<(), Broken> {
    for tries in 1..DEADLOCK_TRIES_MAX {
        match run(lease, sql).await {
            Err(broken) if broken.is_deadlock() => pause_after(tries).await,
            done => return done,
        }
    }
    run(lease, sql).await
}

/// The other one needs time to make a table, and the more so the longer it has taken.
async fn pause_after(tries: u32) {
    tokio::time::sleep(DEADLOCK_PAUSE * tries).await;
}

async fn run(lease: &mut Lease, sql: &str) -> Result<(), Broken> {
    let limit = lease.limit();
    within(limit, lease.connection().execute(sqlx::raw_sql(sql))).await.map(|_| ())
}

fn refused(plan: &Plan, words: &str) -> Unkept {
    Unkept::Broken(format!("{} {words}", plan.name()))
}
