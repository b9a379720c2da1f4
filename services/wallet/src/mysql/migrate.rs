//! Makes the databases of the wallet, and checks that they are what they should be.
//!
//! All of it may be repeated, and several processes may do it at the same time.

use std::sync::Arc;
use std::time::Duration;

use hongbao_database::mysql::connection::{Connections, Lease, within};
use hongbao_database::mysql::failure::{QueryError, reading};
use hongbao_database::mysql::migration::{Migration, Schema, Target, fetch_insisting, insist};
use hongbao_database::mysql::promise::Unkept;
use hongbao_database::mysql::schema::{BARRIER, BARRIER_KEY, check_engines, check_keys, patient, refused};
use hongbao_database::{DatabaseError, StoredRow as _};
use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use super::layout::{DatabaseServer, ShardPlan, plan};
use super::slots::SlotSet;
use crate::WalletError;

const META: &str = include_str!("../../../../sql/mysql/wallet/meta.sql");
pub(super) const SCHEMA: Schema = Schema(&[
    Migration {
        name: "0001_ledger",
        sql: include_str!("../../../../sql/mysql/wallet/0001_ledger.sql"),
        target: Target::Database,
        version: 1,
    },
    Migration { name: "0002_barrier", sql: BARRIER, target: Target::Database, version: 2 },
    // Earlier programs would write for users who were moved away.
    Migration {
        name: "0003_moves",
        sql: include_str!("../../../../sql/mysql/wallet/0003_moves.sql"),
        target: Target::Database,
        version: 3,
    },
    // Earlier programs would move slots without a thought for the months that they belong to.
    Migration {
        name: "0004_months",
        sql: include_str!("../../../../sql/mysql/wallet/0004_months.sql"),
        target: Target::Database,
        version: 4,
    },
    // Earlier programs would make another envelope for a request that is repeated under its key.
    Migration {
        name: "0005_request_keys",
        sql: include_str!("../../../../sql/mysql/wallet/0005_request_keys.sql"),
        target: Target::Database,
        version: 5,
    },
    // Earlier programs would find transfers of kinds that they do not know.
    Migration {
        name: "0006_orders",
        sql: include_str!("../../../../sql/mysql/wallet/0006_orders.sql"),
        target: Target::Database,
        version: 6,
    },
    // Earlier programs would write no events, and move slots without them.
    Migration {
        name: "0007_events",
        sql: include_str!("../../../../sql/mysql/wallet/0007_events.sql"),
        target: Target::Database,
        version: 7,
    },
    // Earlier programs would let a frozen user pay.
    Migration {
        name: "0008_freezes",
        sql: include_str!("../../../../sql/mysql/wallet/0008_freezes.sql"),
        target: Target::Database,
        version: 8,
    },
    // Earlier programs would let users exceed their limits, and move slots without what was counted.
    Migration {
        name: "0009_user_limits",
        sql: include_str!("../../../../sql/mysql/wallet/0009_user_limits.sql"),
        target: Target::Database,
        version: 9,
    },
]);
/// Made and dropped with every run, for a database may have moved to a server of another kind.
const APPEND_ONLY: &str = include_str!("../../../../sql/mysql/wallet/append_only.sql");
const UNGUARDED: &str = include_str!("../../../../sql/mysql/wallet/unguarded.sql");

/// Makes and upgrades the databases of the wallet, and names what was made once and is gone: `databases` over all
/// slots, called `wallet_00` and so on. For a first installation: an empty database in the place of one that
/// has money elsewhere would serve empty balances. Where one of these has money, it is [`upgrade`] therefore.
///
/// # Errors
/// When slots do not add up, a database was made for others, or its server refuses.
pub async fn migrate(servers: &[DatabaseServer], databases: u8) -> Result<(), WalletError> {
    if is_any_in_use(servers, databases).await? {
        return upgrade(servers, databases).await;
    }
    each(servers, databases, Task::Claim).await?;
    each(servers, databases, Task::Upgrade).await
}

/// Upgrades the databases of the wallet, and makes none: a slot whose database is missing has its money elsewhere.
///
/// # Errors
/// As [`migrate`], and where a database is not there, or was never completed: before any of them is changed.
pub async fn upgrade(servers: &[DatabaseServer], databases: u8) -> Result<(), WalletError> {
    each(servers, databases, Task::Check).await?;
    each(servers, databases, Task::Upgrade).await
}

/// Whether some database has seen a transaction, be it that of a move which fills it.
async fn is_any_in_use(servers: &[DatabaseServer], databases: u8) -> Result<bool, WalletError> {
    for plan in plan(servers, databases)? {
        let connections = Connections::open(patient(servers[plan.server].options.clone())).await?;
        let mut lease = connections.lease().await?;
        let limit = lease.limit();
        let text = format!("SELECT 1 FROM {}.ledger WHERE transactions > 0", plan.name());
        match fetch_insisting(lease.connection(), limit, &text).await {
            Err(broken) if broken.is_missing() => {}
            rows if rows.as_ref().is_ok_and(Vec::is_empty) => {}
            rows => return Ok(rows.map(|_| true).map_err(reading)?),
        }
        lease.give_back();
    }
    Ok(false)
}

/// What is done to a database.
#[derive(Clone, Copy)]
enum Task {
    /// It is made where it is missing.
    Claim,
    /// It is refused where it is missing.
    Check,
    Upgrade,
}

/// Does it to one database after the other.
async fn each(servers: &[DatabaseServer], databases: u8, task: Task) -> Result<(), WalletError> {
    let plans = plan(servers, databases)?;
    for (place, server) in servers.iter().enumerate() {
        let connections = Connections::open(patient(server.options.clone())).await?;
        let mut lease = connections.lease().await?;
        for plan in plans.iter().filter(|plan| plan.server == place) {
            match task {
                Task::Claim => claim(&mut lease, plan, databases).await?,
                Task::Check => check_complete(&mut lease, plan, databases).await?,
                Task::Upgrade => upgrade_one(&mut lease, plan, databases).await?,
            }
        }
        lease.give_back();
    }
    Ok(())
}

async fn check_complete(lease: &mut Lease, plan: &ShardPlan, databases: u8) -> Result<(), WalletError> {
    let limit = lease.limit();
    match check_identity(lease.connection(), limit, plan, databases).await.map_err(DatabaseError::from)? {
        Some(version) if version > 0 => Ok(()),
        _ => Err(WalletError::Unavailable(format!(
            "{} is not there, or not complete, and no migration makes it: it would be empty. `hongbao move-wallet` \
             brings the slots that are to lie there; what was lost is restored; where there was never any money, \
             drop the empty databases of the SETs, and migrate again",
            plan.name()
        ))),
    }
}

/// Makes a database that says what it is, and is incomplete.
pub(super) async fn claim(lease: &mut Lease, plan: &ShardPlan, databases: u8) -> Result<(), WalletError> {
    let (name, slots) = (plan.name(), plan.slot_set());
    let create = format!("CREATE DATABASE IF NOT EXISTS {name} CHARACTER SET utf8mb4 COLLATE utf8mb4_bin");
    let claim = format!("INSERT IGNORE INTO {name}.meta VALUES (1, 0, {}, {databases}, '{slots}')", plan.database);
    for statement in [create, META.replace("{db}", &name), claim] {
        insist(lease, &statement).await.map_err(reading)?;
    }
    Ok(())
}

async fn upgrade_one(lease: &mut Lease, plan: &ShardPlan, databases: u8) -> Result<(), WalletError> {
    let (name, limit) = (plan.name(), lease.limit());
    check_identity(lease.connection(), limit, plan, databases).await.map_err(DatabaseError::from)?;
    SCHEMA.migrate(lease, &name, &[]).await?;
    guard_transfers(lease, &name).await?;
    check_database(lease.connection(), limit, plan, databases).await.map_err(DatabaseError::from)?;
    Ok(())
}

/// Makes the triggers that keep transfers append-only, where the database can have them.
///
/// On Galera it takes away those that came with moved data. A statement that a
/// node takes back while it opens a table leaves that table in the node's cache
/// with its triggers half read, and from then on inserts through it fail (error
/// 1064) until an operator flushes it: seen with MariaDB 10.11.
pub(super) async fn guard_transfers(lease: &mut Lease, name: &str) -> Result<(), WalletError> {
    let is_galera = is_galera(lease).await.map_err(reading)?;
    let statements = if is_galera { UNGUARDED } else { APPEND_ONLY };
    for statement in statements.replace("{db}", name).split(";\n").filter(|statement| !statement.trim().is_empty()) {
        match insist(lease, statement).await {
            Err(broken) if !broken.is_of_connection() && !is_galera => {
                tracing::warn!(database = name, error = %broken, "the database does not guard its transfers against changes");
            }
            done => done.map_err(reading)?,
        }
    }
    if is_galera {
        tracing::warn!(database = name, "on Galera no trigger guards transfers against changes: see the handbook");
    }
    Ok(())
}

async fn is_galera(lease: &mut Lease) -> Result<bool, QueryError> {
    let limit = lease.limit();
    let ask = "SHOW VARIABLES WHERE Variable_name = 'wsrep_on' AND Value = 'ON'";
    within(limit, lease.connection().fetch_optional(sqlx::raw_sql(ask))).await.map(|row| row.is_some())
}

/// The unique keys that a database must have; those of transfers see to it that each is written once (I6), that
/// of requests that a key stands for one id.
const KEYS: [(&str, &str); 21] = [
    ("transfer", "position"),
    ("transfer", "id"),
    ("ledger", "one"),
    ("fence", "one"),
    ("slot_move", "id"),
    ("slot_move", "arrival"),
    ("sealed_month", "number"),
    ("month_block", "number,last_position"),
    ("month_balance", "user_id,number"),
    ("month_tie", "number,date"),
    ("month_attempt", "one"),
    ("request_key", "user_id,call_kind,request_key"),
    ("provider_order", "id"),
    ("provider_order", "user_id,kind,id"),
    ("provider_order", "of_id"),
    ("event", "position"),
    ("event", "subject,series,feed,last_seq"),
    ("event_end", "one"),
    ("webhook", "one"),
    ("freeze_log", "number"),
    BARRIER_KEY,
];

/// Checks that a shard's database is there, complete, and made for its slots.
pub(super) async fn check(connections: &Arc<Connections>, plan: &ShardPlan, databases: u8) -> Result<(), WalletError> {
    let mut lease = connections.lease().await?;
    let limit = lease.limit();
    check_database(lease.connection(), limit, plan, databases).await.map_err(DatabaseError::from)?;
    lease.give_back();
    Ok(())
}

/// The same over a connection that is there.
pub(super) async fn check_database(
    connection: &mut MySqlConnection,
    limit: Duration,
    plan: &ShardPlan,
    databases: u8,
) -> Result<(), Unkept> {
    let version = check_identity(connection, limit, plan, databases).await?.unwrap_or(0);
    if version == 0 {
        let reason = "is not complete: run `hongbao migrate` in a new installation; to one that has money \
                      `hongbao move-wallet` brings a new part of the wallet";
        return Err(refused(&plan.name(), reason));
    }
    SCHEMA.check(connection, limit, &plan.name(), version).await?;
    check_engines(connection, limit, &plan.name(), None).await?;
    check_keys(connection, limit, &plan.name(), &KEYS.map(|(table, key)| (table.to_owned(), key))).await
}

/// Gives the version of a database that is what it should be; `None` if there is none.
/// It may have been made for more slots than the plan has, since they leave by a move: the topology files of
/// before and after differ in that, and the fence tells whose money is there. But each of the others has to be
/// known here as one that has left or is about to: a copy of another part of the wallet knows nothing of that.
pub(super) async fn check_identity(
    connection: &mut MySqlConnection,
    limit: Duration,
    plan: &ShardPlan,
    databases: u8,
) -> Result<Option<i64>, Unkept> {
    let text = format!("SELECT version, db_number, db_count, slots FROM {}.meta", plan.name());
    let rows = match fetch_insisting(connection, limit, &text).await {
        Err(broken) if broken.is_missing() => return Ok(None),
        found => found.map_err(Unkept::Unasked)?,
    };
    let row = rows.first().ok_or_else(|| refused(&plan.name(), "does not say what it is"))?;
    let (number, count, of) = (row.int(1)?, row.int(2)?, row.text(3)?);
    let (own, made_for) = (plan.slot_set(), SlotSet::parse(of).unwrap_or_default());
    let is_made_for_them = made_for.includes(own)
        && (made_for == own || left(connection, limit, &plan.name()).await?.or(own).includes(made_for));
    if (number, count) != (plan.database.into(), databases.into()) || !is_made_for_them {
        return Err(refused(
            &plan.name(),
            &format!(
                "was made as number {number} of {count} databases for the slots {of}; the configuration says {} of \
                 {databases} for {own}{}",
                plan.database,
                if made_for.includes(own) { ": the others leave it by `hongbao move-wallet`" } else { "" }
            ),
        ));
    }
    Ok(Some(row.int(0)?))
}

/// The slots that have left a database, or are announced to leave it.
async fn left(connection: &mut MySqlConnection, limit: Duration, name: &str) -> Result<SlotSet, Unkept> {
    let text = format!(
        "SELECT moved_slots FROM {name}.fence UNION ALL SELECT slots FROM {name}.slot_move WHERE arrival IS NULL"
    );
    let rows = match fetch_insisting(connection, limit, &text).await {
        Err(broken) if broken.is_missing() => return Ok(SlotSet::default()),
        rows => rows.map_err(Unkept::Unasked)?,
    };
    let mut left = SlotSet::default();
    for row in &rows {
        left = left.or(SlotSet::parse(row.text(0)?).unwrap_or_default());
    }
    Ok(left)
}
