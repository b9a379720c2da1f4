//! Migrations on MariaDB: they reach old day tables, the next run finishes a killed one,
//! and programs that must not work with a database are refused.

use std::sync::Arc;
use std::time::Duration;

use hongbao_database::DatabaseError;
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_database::mysql::migration::{Migration, Schema, Target};
use hongbao_database::mysql::promise::Unkept;
use hongbao_database::mysql::schema::patient;
use hongbao_testbed::Part;

const TABLES: Migration = Migration {
    name: "0001_tables",
    sql: "CREATE TABLE IF NOT EXISTS {db}.envelope_{y}_{dd} (id INT NOT NULL PRIMARY KEY) ENGINE=InnoDB",
    target: Target::DayTables,
    version: 1,
};
/// Two statements, neither of which can be repeated.
const COLOUR: Migration = Migration {
    name: "0002_colour",
    sql: "ALTER TABLE {db}.envelope_{y}_{dd} ADD COLUMN colour INT NOT NULL DEFAULT 7;\n\
          ALTER TABLE {db}.envelope_{y}_{dd} ADD KEY by_colour (colour);\n",
    target: Target::DayTables,
    version: 1,
};
const SIZE: Migration = Migration {
    name: "0003_size",
    sql: "CREATE TABLE {db}.size (id INT NOT NULL PRIMARY KEY) ENGINE=InnoDB",
    target: Target::Database,
    version: 2,
};
const FIRST: Schema = Schema(&[TABLES]);
const SECOND: Schema = Schema(&[TABLES, COLOUR]);
const THIRD: Schema = Schema(&[TABLES, COLOUR, SIZE]);

struct Server {
    part: Part,
    connections: Arc<Connections>,
}

impl Server {
    async fn start() -> Server {
        let part = Part::mariadb(&[]);
        let connections = Connections::open(patient(options(&part, "hongbao", "hongbao"))).await.unwrap();
        Server { part, connections }
    }

    /// Makes a database that has had nothing.
    fn make(&self, database: &str) {
        self.part.sql(&format!(
            "CREATE DATABASE {database}; CREATE TABLE {database}.meta (version INT NOT NULL) ENGINE=InnoDB; \
             INSERT INTO {database}.meta VALUES (0)"
        ));
    }

    async fn migrate(&self, schema: Schema, database: &str) -> Result<(), DatabaseError> {
        migrate(&self.connections, schema, database).await
    }

    async fn check(&self, schema: Schema, database: &str) -> Result<(), String> {
        let version = self.number(&format!("SELECT version FROM {database}.meta"));
        let mut lease = self.connections.lease().await.unwrap();
        let limit = lease.limit();
        match schema.check(lease.connection(), limit, database, version).await {
            Ok(()) => Ok(()),
            Err(Unkept::Broken(reason)) => Err(reason),
            Err(unasked) => panic!("{unasked:?}"),
        }
    }

    fn number(&self, sql: &str) -> i64 {
        self.part.sql(sql).trim().parse().unwrap()
    }
}

fn options(part: &Part, user: &str, password: &str) -> MysqlOptions {
    MysqlOptions {
        nodes: vec![part.node().parse().unwrap()],
        user: user.to_owned(),
        password: password.to_owned(),
        connect_timeout: Duration::from_secs(10),
        ..MysqlOptions::default()
    }
}

async fn migrate(connections: &Arc<Connections>, schema: Schema, database: &str) -> Result<(), DatabaseError> {
    let day_tables = [("0", "01"), ("0", "31"), ("1", "15")].map(|(table, day)| (table.to_owned(), day.to_owned()));
    let mut lease = connections.lease().await?;
    schema.migrate(&mut lease, database, &day_tables).await
}

#[tokio::test]
async fn a_new_column_reaches_every_day_table_that_exists_with_its_rows() {
    let server = Server::start().await;
    server.make("db_00");
    server.migrate(FIRST, "db_00").await.unwrap();
    server.part.sql("INSERT INTO db_00.envelope_0_31 VALUES (1); INSERT INTO db_00.envelope_1_15 VALUES (2)");
    server.migrate(SECOND, "db_00").await.unwrap();
    assert_eq!(server.number("SELECT colour FROM db_00.envelope_0_31"), 7);
    assert_eq!(server.number("SELECT colour FROM db_00.envelope_1_15"), 7);
    assert_eq!(server.number("SELECT count(colour) FROM db_00.envelope_0_01"), 0);
    server.check(SECOND, "db_00").await.unwrap();
}

#[tokio::test]
async fn a_run_that_was_killed_after_any_statement_is_finished_by_the_next_one() {
    let server = Server::start().await;
    let mut cut = 0;
    for statements in 1..=200 {
        let database = format!("db_{statements:02}");
        server.make(&database);
        server.migrate(FIRST, &database).await.unwrap();
        server.part.sql(&format!("INSERT INTO {database}.envelope_0_31 VALUES (1)"));
        // The server itself refuses this user's next statement.
        server.part.sql(&format!(
            "CREATE OR REPLACE USER cut@'127.0.0.1' IDENTIFIED BY 'short' WITH MAX_QUERIES_PER_HOUR {statements}; \
             GRANT ALL ON `{database}`.* TO cut@'127.0.0.1'; FLUSH USER_RESOURCES"
        ));
        let done = match Connections::open(options(&server.part, "cut", "short")).await {
            Ok(connections) => migrate(&connections, THIRD, &database).await,
            // It did not come as far as to begin.
            Err(_) => continue,
        };
        if done.is_ok() {
            break;
        }
        cut += 1;
        server.migrate(THIRD, &database).await.unwrap();
        server.check(THIRD, &database).await.unwrap();
        let columns = "SELECT count(*) FROM information_schema.columns WHERE column_name = 'colour' AND table_schema";
        let keys = "SELECT count(*) FROM information_schema.statistics WHERE index_name = 'by_colour' AND table_schema";
        for whole in [columns, keys] {
            assert_eq!(server.number(&format!("{whole} = '{database}'")), 3, "after {statements} statements");
        }
        assert_eq!(server.number(&format!("SELECT colour FROM {database}.envelope_0_31")), 7);
    }
    assert!(cut >= 10, "it was cut {cut} times");
}

#[tokio::test]
async fn several_processes_migrate_at_the_same_time() {
    let server = Server::start().await;
    server.make("db_00");
    let runs = (0..4).map(|_| {
        let connections = server.connections.clone();
        tokio::spawn(async move { migrate(&connections, THIRD, "db_00").await })
    });
    for run in runs.collect::<Vec<_>>() {
        run.await.unwrap().unwrap();
    }
    server.check(THIRD, "db_00").await.unwrap();
    assert_eq!(server.number("SELECT count(*) FROM db_00.migration"), 3);
}

#[tokio::test]
async fn a_column_with_a_default_lets_earlier_programs_go_on_and_what_they_cannot_work_with_refuses_them() {
    let server = Server::start().await;
    server.make("db_00");
    server.migrate(FIRST, "db_00").await.unwrap();
    server.migrate(SECOND, "db_00").await.unwrap();
    server.check(FIRST, "db_00").await.expect("it ignores the column");
    server.migrate(THIRD, "db_00").await.unwrap();
    for earlier in [FIRST, SECOND] {
        let refused = server.check(earlier, "db_00").await.unwrap_err();
        assert!(refused.starts_with("db_00 is of a newer version than this program"), "{refused}");
    }
    server.migrate(FIRST, "db_00").await.unwrap();
    assert_eq!(server.number("SELECT version FROM db_00.meta"), 2, "an earlier program takes nothing back");
}

#[tokio::test]
async fn a_database_that_lacks_a_migration_is_refused_by_the_name_of_both() {
    let server = Server::start().await;
    server.make("db_00");
    let refused = server.check(FIRST, "db_00").await.unwrap_err();
    assert!(refused.contains("db_00 is not complete: run `hongbao migrate`"), "{refused}");
    server.migrate(FIRST, "db_00").await.unwrap();
    let refused = server.check(SECOND, "db_00").await.unwrap_err();
    assert!(refused.contains("db_00") && refused.contains("0002_colour"), "{refused}");
}

#[tokio::test]
async fn a_migration_that_fails_is_named_and_earlier_programs_are_refused_while_it_is_half_done() {
    const BROKEN: Migration = Migration {
        name: "0002_broken",
        sql: "ALTER TABLE {db}.nowhere ADD COLUMN a INT",
        target: Target::Database,
        version: 2,
    };
    let server = Server::start().await;
    server.make("db_00");
    server.migrate(FIRST, "db_00").await.unwrap();
    let failed = server.migrate(Schema(&[TABLES, BROKEN]), "db_00").await.unwrap_err().to_string();
    assert!(failed.contains("db_00: the migration 0002_broken failed"), "{failed}");
    assert!(server.check(FIRST, "db_00").await.unwrap_err().contains("newer version"));
}
