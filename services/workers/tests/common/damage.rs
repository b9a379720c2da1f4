//! Damage, done to the files behind everybody's back.

use hongbao_core::{EnvelopeId, TransferId};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Row as _};

use super::World;
use super::columns::{Damage, Database, SQLITE_SYSTEM, Side};

/// A connection of our own to a file of the world.
async fn raw(world: &World, file: &str) -> SqliteConnection {
    SqliteConnectOptions::new().filename(world.dir.path().join(file)).connect().await.unwrap()
}

/// Damages the file of the envelopes. `{e}` and `{j}` are the envelope's and the
/// journal's table, `{id}` the envelope.
pub async fn damage_store(world: &World, id: EnvelopeId, sql: &str) {
    let database = world.table(id).database;
    let sql = with_names(world, id, sql, "");
    execute(&mut raw(world, &format!("db_{database:02}.sqlite")).await, &sql).await;
}

/// The same text with the names that its `{e}`, `{j}` and `{id}` stand for, those of tables behind `database`.
pub fn with_names(world: &World, id: EnvelopeId, sql: &str, database: &str) -> String {
    let table = world.table(id);
    let suffix = format!("{}_{}", table.table, table.span);
    sql.replace("{e}", &format!("{database}envelope_{suffix}"))
        .replace("{j}", &format!("{database}entry_{suffix}"))
        .replace("{id}", &format!("X'{}'", hex(id.as_bytes())))
}

/// Damages the ledger, whose guards are taken down first. `{0}`, `{1}` and so on
/// are the keys of the envelope's transfers.
pub async fn damage_wallet(world: &World, id: EnvelopeId, sql: &str) {
    let mut sql = sql.to_owned();
    for seq in 0..=9 {
        let key = TransferId::Envelope(id, seq).to_key();
        sql = sql.replace(&format!("{{{seq}}}"), &format!("X'{}'", hex(&key)));
    }
    let mut connection = raw(world, "wallet_00.sqlite").await;
    execute(&mut connection, "DROP TRIGGER transfer_refuses_update; DROP TRIGGER transfer_refuses_delete").await;
    execute(&mut connection, &sql).await;
}

async fn execute(connection: &mut SqliteConnection, sql: &str) {
    let done = sqlx::raw_sql(sql).execute(&mut *connection).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
    assert!(done.rows_affected() > 0 || sql.contains("DROP"), "nothing was damaged by {sql}");
}

/// The files of a world.
pub struct Files<'a>(pub &'a World);

impl Files<'_> {
    async fn connection(&self, side: Side) -> SqliteConnection {
        let file = if side == Side::Store { "db_00.sqlite" } else { "wallet_00.sqlite" };
        raw(self.0, file).await
    }
}

impl Database for Files<'_> {
    fn prefix(&self, _: Side) -> &'static str {
        ""
    }

    async fn execute(&self, side: Side, sql: &str) -> u64 {
        let mut connection = self.connection(side).await;
        let guards = "SELECT name FROM sqlite_schema WHERE type = 'trigger'";
        let guards = sqlx::query(guards).fetch_all(&mut connection).await.unwrap();
        let drops = guards.iter().map(|guard| format!("DROP TRIGGER {};", guard.get::<String, _>(0)));
        let unguarded = format!("PRAGMA ignore_check_constraints = ON; {}", drops.collect::<String>());
        sqlx::raw_sql(&unguarded).execute(&mut connection).await.unwrap();
        let done = sqlx::raw_sql(sql).execute(&mut connection).await;
        done.unwrap_or_else(|error| panic!("{sql}: {error}")).rows_affected()
    }

    async fn columns(&self, side: Side, table: &str) -> Vec<String> {
        // What is computed is not among them.
        let sql = format!("SELECT name FROM pragma_table_info('{table}')");
        let rows = sqlx::query(&sql).fetch_all(&mut self.connection(side).await).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    fn system(&self) -> (&'static str, &'static [Damage]) {
        ("system_account", SQLITE_SYSTEM)
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
