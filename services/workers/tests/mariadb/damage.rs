//! Damage that a real database holds, and that an audit names.

use std::sync::Arc;

use hongbao_core::Slot;
use hongbao_store::Store;
use hongbao_testbed::Part;
use sqlx::{Executor as _, Row as _};

use super::databases::{mariadb, raw, raw_on, set, set_on, wallet_on, world};
use crate::common::columns::{Damage, Database, MYSQL_SYSTEM, Side};
use crate::common::damage::with_names;
use crate::common::{World, before, columns, long, months, sealed};

#[tokio::test]
async fn the_audit_names_damage_on_the_third_page_of_a_journal() {
    let world = world(6, set(6).await).await;
    let damage = async |id, sql: &str| {
        let sql = with_names(&world, id, sql, "db_06.");
        assert_eq!(raw().await.execute(sqlx::raw_sql(&sql)).await.unwrap().rows_affected(), 1, "{sql}");
    };
    long::damage_on_the_third_page_is_named(&world, damage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_audit_raises_no_false_alarm_while_a_long_journal_grows() {
    long::no_false_alarm_while_it_grows(Arc::new(world(7, set(7).await).await)).await;
}

#[tokio::test]
async fn the_audit_names_rows_before_the_first_entry() {
    let world = world(8, set(8).await).await;
    let damage = async |id, sql: &str| {
        let sql = format!("SET check_constraint_checks = 0; {}", with_names(&world, id, sql, "db_08."));
        assert_eq!(raw().await.execute(sqlx::raw_sql(&sql)).await.unwrap().rows_affected(), 1, "{sql}");
    };
    before::rows_before_the_first_entry_are_named(&world, damage).await;
}

/// The databases of one slot, and a wallet in one database.
struct Databases<'a> {
    part: &'a Part,
    store: &'static str,
}

impl Databases<'_> {
    /// Takes down what keeps transfers append-only.
    async fn unguard(&self) {
        let unguarded = ["update", "delete"].map(|what| format!("DROP TRIGGER wallet_00.transfer_refuses_{what}"));
        self.execute(Side::Wallet, &unguarded.join("; ")).await;
    }
}

impl Database for Databases<'_> {
    fn prefix(&self, side: Side) -> &'static str {
        if side == Side::Store { self.store } else { "wallet_00." }
    }

    async fn execute(&self, _: Side, sql: &str) -> u64 {
        let mut connection = raw_on(self.part).await;
        connection.execute("SET check_constraint_checks = 0").await.unwrap();
        let mut rows = 0;
        for statement in sql.split("; ") {
            let done = connection.execute(sqlx::raw_sql(statement)).await;
            rows = done.unwrap_or_else(|error| panic!("{statement}: {error}")).rows_affected();
        }
        rows
    }

    async fn columns(&self, _: Side, table: &str) -> Vec<String> {
        let (database, table) = table.split_once('.').unwrap();
        let sql = format!(
            "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
             WHERE table_schema = '{database}' AND table_name = '{table}'"
        );
        let mut connection = raw_on(self.part).await;
        connection.fetch_all(sqlx::raw_sql(&sql)).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    fn system(&self) -> (&'static str, &'static [Damage]) {
        ("ledger", MYSQL_SYSTEM)
    }
}

#[tokio::test]
async fn each_damaged_column_is_named_or_the_reason_why_not_is_stated() {
    let (store, wallet) = (set(9).await, wallet_on(mariadb()).await);
    let mut world = World::with(store, wallet, tempfile::tempdir().unwrap()).await;
    world.slots = vec![Slot::new(9).unwrap()];
    let databases = Databases { part: mariadb(), store: "db_09." };
    databases.unguard().await;
    columns::each_damaged_column_is_named_or_the_reason_why_not_is_stated(&world, &databases).await;
}

/// A world with a SET and a wallet of its own, in this MariaDB.
async fn world_on(part: &Part) -> World {
    let (store, wallet) = (set_on(part, 8).await, wallet_on(part).await);
    let mut world = World::with(store, wallet, tempfile::tempdir().unwrap()).await;
    world.slots = vec![Slot::new(8).unwrap()];
    world
}

/// The databases of such a world, without what keeps its transfers append-only.
async fn unguarded(part: &Part) -> Databases<'_> {
    let databases = Databases { part, store: "db_08." };
    databases.unguard().await;
    databases
}

#[tokio::test]
async fn each_damage_of_sealed_tables_is_named() {
    let part = Part::mariadb(&[]);
    let world = world_on(&part).await;
    let databases = unguarded(&part).await;
    let open = async || set_on(&part, 8).await as Arc<dyn Store>;
    sealed::each_damage_of_sealed_tables_is_named(&world, &databases, open).await;
}

#[tokio::test]
async fn each_damage_of_sealed_months_is_named() {
    let part = Part::mariadb(&[]);
    let world = world_on(&part).await;
    let databases = unguarded(&part).await;
    months::each_damage_of_sealed_months_is_named(&world, &databases).await;
}

#[tokio::test]
async fn an_audit_reads_none_of_many_sealed_rows() {
    let part = Part::mariadb(&[]);
    sealed::many_sealed_rows_are_not_read(&world_on(&part).await).await;
}
