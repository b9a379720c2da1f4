//! Processes that start on databases whose day tables hold the dates of some time ago.

use std::net::SocketAddr;
use std::time::Duration;

use hongbao_testbed::Part;

use crate::backup_installation::{configure, user};
use crate::file_clock::FileClock;
use crate::rehearsal_installation::Process;
use crate::support::{Folder, hongbao, lucky, seconds_from_now, text, wait_until};

const SOON: Duration = Duration::from_secs(60);

/// What `faketime` does, without a process of its own between us and the program: `+40d`.
fn clock_off_by(offset: &str) -> [(&str, &str); 4] {
    [
        ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1"),
        ("FAKETIME", offset),
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ]
}

/// An installation whose databases were made so many days ago, and where its server listens.
fn migrated(days_ago: i64) -> (Part, Folder, SocketAddr) {
    let folder = Folder::new();
    let clock = FileClock::new(&folder, "clock");
    clock.set(-days_ago * 86_400_000);
    let part = Part::mariadb_in(&clock.environment());
    let server = configure(&folder, &part, &part, 1, 1);
    let config = folder.path("hongbao.toml");
    let mut migrate = hongbao(&["migrate", "--config", config.to_str().unwrap()]);
    let done = migrate.envs(clock.environment()).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    // The database has the machine's clock again when it shows it.
    clock.set(0);
    wait_until(SOON, "the clock", || {
        let apart = part.sql(&format!("SELECT abs(UNIX_TIMESTAMP() - {})", seconds_from_now(0)));
        apart.trim().parse::<f64>().unwrap() < 2.0
    });
    (part, folder, server)
}

/// How many tables were renamed to their dates.
fn renamed(part: &Part) -> usize {
    part.sql("SHOW TABLES FROM db_00_cold LIKE 'envelope%'").lines().filter(|line| line.starts_with("envelope")).count()
}

#[test]
fn a_server_without_a_worker_for_forty_days_rotates_before_it_serves() {
    let (part, folder, at) = migrated(40);
    assert_eq!(renamed(&part), 0);
    let _server = Process::start(&folder, "server", &[]);
    assert!(renamed(&part) >= 28, "{} tables were renamed", renamed(&part));
    let sender = user("sender", at);
    sender.top_up(1_000);
    let id = sender.send(&lucky(1_000, 2));
    assert_eq!(sender.grab_and_open(&id)["outcome"], "opened");
}

#[test]
fn a_worker_gives_three_days_to_come_their_tables() {
    let (part, folder, _) = migrated(2);
    let _worker = Process::start(&folder, "worker", &[]);
    // Two more dates than two days ago; at the end of some months they have no other table to rename.
    wait_until(SOON, "the next tables", || {
        let comments = part.sql(
            "SELECT max(table_comment) FROM information_schema.tables \
             WHERE table_schema = 'db_00' AND table_name LIKE 'envelope%'",
        );
        comments.contains(&in_days(3))
    });
}

/// The date so many days from now, as a table's comment has it.
fn in_days(days: i32) -> String {
    let now = hongbao_core::Clock::now(&hongbao_core::SystemClock);
    hongbao_core::Date::of(now, 8 * 3_600).plus_days(days).to_string()
}

/// A clock that is a month ahead of the database's would rename the tables that are in use.
#[test]
fn a_worker_whose_clock_is_far_off_renames_nothing() {
    let (part, folder, _) = migrated(0);
    let _worker = Process::start(&folder, "worker", &clock_off_by("+40d"));
    wait_until(SOON, "the warning", || {
        std::fs::read_to_string(folder.path("log")).unwrap().contains("the day tables are not rotated")
    });
    assert_eq!(renamed(&part), 0);
}
