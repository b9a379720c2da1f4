//! What each shard's database has to keep while it is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hongbao_database::mysql::connection::within;
use hongbao_database::mysql::failure::QueryError;
use hongbao_database::mysql::promise::{Promise, Unkept};
use sqlx::mysql::MySqlConnection;
use sqlx::{Executor as _, Row as _};

use super::layout::ShardPlan;
use super::migrate::check_database;

/// Whether something in the database keeps the transfers of a shard append-only:
/// triggers, or that our user may not change them. Without it only the program
/// does, which is shown and not refused: some databases can have no triggers.
#[derive(Default)]
pub(super) struct Guard {
    is_missing: AtomicBool,
}

impl Guard {
    /// Nothing that we can see does.
    pub fn is_missing(&self) -> bool {
        self.is_missing.load(Ordering::Relaxed)
    }

    fn found(&self, database: &str, is_there: bool) {
        match (self.is_missing.swap(!is_there, Ordering::Relaxed), is_there) {
            (false, false) => tracing::error!(database, "nothing in the database keeps transfers append-only"),
            (true, true) => tracing::warn!(database, "the database keeps transfers append-only again"),
            _ => {}
        }
    }
}

/// A shard's database is there, complete, of its slots and this version, and
/// every table of it can be written in transactions.
pub(super) struct Complete {
    plan: ShardPlan,
    name: String,
    databases: u8,
    guard: Arc<Guard>,
}

impl Complete {
    /// Of the shard with this plan, one of so many databases, whose guard is looked at too.
    pub fn new(plan: ShardPlan, databases: u8, guard: Arc<Guard>) -> Complete {
        Complete { name: plan.name(), plan, databases, guard }
    }
}

#[async_trait]
impl Promise for Complete {
    fn database(&self) -> &str {
        &self.name
    }

    async fn look(&self, connection: &mut MySqlConnection, limit: Duration) -> Result<(), Unkept> {
        check_database(connection, limit, &self.plan, self.databases).await?;
        let is_there = is_guarded(connection, limit, &self.name).await.map_err(Unkept::Unasked)?;
        self.guard.found(&self.name, is_there);
        Ok(())
    }
}

/// Events, and the triggers that refuse them (`sql/mysql/wallet/append_only.sql`).
const TRIGGERS: [(&str, &str); 2] = [("UPDATE", "transfer_refuses_update"), ("DELETE", "transfer_refuses_delete")];
/// The column of `SHOW CREATE TRIGGER` with the statement that made it.
const TRIGGER_TEXT: usize = 2;

/// Whether a trigger of this text refuses an event before it happens.
fn refuses(text: &str, event: &str) -> bool {
    let reason = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (head, body) = reason.split_once(" FOR EACH ROW ").unwrap_or_default();
    head.contains(&format!("BEFORE {event} ON ")) && body.starts_with("SIGNAL SQLSTATE")
}

/// Asks by `SHOW CREATE TRIGGER`, and not `information_schema.triggers`: this makes
/// a temporary table, and MariaDB 10.11 dies of a null pointer (`ha_maria::drop_table`)
/// when the statement is interrupted by its time limit at the wrong moment.
async fn is_guarded(connection: &mut MySqlConnection, limit: Duration, db: &str) -> Result<bool, QueryError> {
    let mut refusing = 0;
    for (event, trigger) in TRIGGERS {
        let ask = format!("SHOW CREATE TRIGGER {db}.{trigger}");
        match within(limit, connection.fetch_one(sqlx::raw_sql(&ask))).await {
            Ok(row) => refusing += u32::from(refuses(row.try_get(TRIGGER_TEXT).map_err(QueryError::Sql)?, event)),
            Err(broken) if broken.is_missing() || broken.is_denied() => {}
            Err(broken) => return Err(broken),
        }
    }
    if refusing == 2 {
        return Ok(true);
    }
    // The database says itself what our user may do, however it came by its rights.
    for statement in ["DELETE FROM {db}.transfer WHERE FALSE", "UPDATE {db}.transfer SET kind = kind WHERE FALSE"] {
        let ask = format!("EXPLAIN {}", statement.replace("{db}", db));
        match within(limit, connection.fetch_all(sqlx::raw_sql(&ask))).await {
            Ok(_) => return Ok(false),
            Err(broken) if broken.is_denied() => {}
            Err(broken) => return Err(broken),
        }
    }
    Ok(true)
}
