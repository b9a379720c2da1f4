//! What each shard's database has to keep while it is in use.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use hongbao_store::mysql::connection::within;
use hongbao_store::mysql::failure::Broken;
use hongbao_store::mysql::watch::{Promise, Unkept};
use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use super::layout::Plan;
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
    plan: Plan,
    name: String,
    databases: u8,
    guard: Arc<Guard>,
}

impl Complete {
    /// Of the shard with this plan, one of so many databases, whose guard is looked at too.
    pub fn new(plan: Plan, databases: u8, guard: Arc<Guard>) -> Complete {
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

async fn is_guarded(connection: &mut MySqlConnection, limit: Duration, db: &str) -> Result<bool, Broken> {
    let triggers = format!(
        "SELECT trigger_name FROM information_schema.triggers WHERE event_object_schema = '{db}' \
         AND event_object_table = 'transfer' AND action_timing = 'BEFORE' AND event_manipulation IN ('UPDATE', 'DELETE') \
         AND action_statement LIKE 'SIGNAL SQLSTATE%'"
    );
    if within(limit, connection.fetch_all(sqlx::raw_sql(&triggers))).await?.len() == 2 {
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
