//! No room to write.
//!
//! A limit on the size of files stands in for a full disk: it needs no mount
//! and no privileges, hits the write-ahead logs of a real process in the middle
//! of its work, and can be lifted while that runs. A write beyond it fails with
//! `EFBIG` once the signal that goes with it is ignored, which SQLite reports as
//! an I/O error. A disk that is full fails with `ENOSPC`, which SQLite reports as
//! `FULL` after rolling back by itself; the store's tests have that one.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, prlimit};
use serde_json::json;

use crate::faults_clients::{Town, assert_audit_holds};
use crate::support::{Folder, Service, command_in, wait_until};

const CLIENTS: usize = 4;
/// Bytes that a log may still grow by: a few commits.
const ROOM: u64 = 64 * 1024;

#[test]
fn without_room_to_write_nothing_is_acknowledged_that_is_not_there() {
    let folder = Folder::new();
    let mut service = Service::try_run(&folder, surviving_full_disks(&command_in(&folder, ""))).unwrap();
    let town = Town::new(&service, 400);
    std::thread::scope(|scope| {
        let stop = town.stop_on_drop();
        for number in 0..CLIENTS {
            let mut client = town.client(number, 4);
            scope.spawn(move || client.work());
        }
        let mut witness = town.client(CLIENTS, 4);
        wait_until(Duration::from_secs(5), "some openings", || town.opened() > 50);

        // First the logs of openings and transfers fill up, one after the other;
        // then there is no room from the start.
        for room in [ROOM, 0] {
            let refused = town.refused.load(Ordering::Relaxed);
            limit_files(&service, Some(largest_log(&folder.data()) + room));
            wait_until(Duration::from_secs(10), "writes to fail", || {
                town.refused.load(Ordering::Relaxed) > refused + 100
            });
            service.nobody().get("/healthz");
            assert!(witness.ask_for_news_again() > 0 || room == 0, "I3: what was acknowledged can still be read");
            assert_audit_holds(&folder.data());

            // Room again: it goes on by itself.
            limit_files(&service, None);
            let opened = town.opened();
            wait_until(Duration::from_secs(10), "openings again", || town.opened() > opened + 20);
        }
        assert_eq!(town.lost.load(Ordering::Relaxed), 0, "every request was answered");

        // And the same through a restart in the middle of it.
        let refused = town.refused.load(Ordering::Relaxed);
        limit_files(&service, Some(0));
        wait_until(Duration::from_secs(10), "writes to fail", || town.refused.load(Ordering::Relaxed) > refused + 100);
        let stopping = Instant::now();
        service.terminate();
        // What the logs hold finds no room in the files, and whoever copies these has to know.
        assert_eq!(service.wait().code(), Some(2));
        assert!(stopping.elapsed() < Duration::from_secs(10), "it hangs at the end");
        service = Service::start_in(&folder, "");
        town.ask_at(&[&service]);
        assert_audit_holds(&folder.data());
        witness.ask_for_news_again();
        drop(stop);
    });
    println!("{} envelopes, {} openings, {:?} refused", town.sent(), town.opened(), town.refused);
    town.settle(&folder.data());
    service.check();
    assert!(!service.log().contains("panicked"), "no task has died of it");
}

#[test]
fn a_refusal_for_want_of_room_says_that_it_may_be_tried_again() {
    let folder = Folder::new();
    let service = Service::try_run(&folder, surviving_full_disks(&command_in(&folder, ""))).unwrap();
    let sender = service.user("li");
    sender.top_up(1_000);
    let id = sender.send(&json!({ "kind": "equal", "total_fen": 100, "shares": 2 }));
    let ticket = sender.ticket(&id);

    limit_files(&service, Some(0));
    let asked = Instant::now();
    for refused in [
        sender.open(&id, &ticket),
        sender.post("/v1/envelopes", &json!({ "kind": "equal", "total_fen": 1, "shares": 1 })),
        sender.post("/v1/dev/top-up", &json!({ "amount_fen": 1, "id": "01890a5d-ac96-774b-bcce-b302099a8057" })),
    ] {
        match refused.status {
            503 => refused.problem(503, "unavailable"),
            _ => refused.problem(504, "outcome_unknown"),
        };
    }
    assert!(asked.elapsed() < Duration::from_secs(5), "it fails at once: {:?}", asked.elapsed());
    assert_eq!(sender.balance(), 900);
    assert_eq!(sender.grab(&id).ok(200)["outcome"], "ready");

    limit_files(&service, None);
    assert_eq!(sender.open(&id, &ticket).ok(200)["replayed"], false, "nothing had happened");
    sender.wait_for_balance(950, Duration::from_secs(10));
    service.check();
}

/// The same command, with the signal ignored that would end a process that
/// writes beyond its limit.
fn surviving_full_disks(command: &Command) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"trap "" XFSZ; exec "$0" "$@""#]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => shell.env(name, value),
            None => shell.env_remove(name),
        };
    }
    shell
}

/// Bytes that a file of the service may have from now on.
fn limit_files(service: &Service, bytes: Option<u64>) {
    prlimit(Some(service.pid()), Resource::Fsize, Rlimit { current: bytes, maximum: None }).unwrap();
}

/// Bytes of the largest write-ahead log.
fn largest_log(data: &Path) -> u64 {
    let files = std::fs::read_dir(data).unwrap().map(|file| file.unwrap());
    let logs = files.filter(|file| file.path().to_str().unwrap().ends_with("-wal"));
    logs.map(|log| log.metadata().unwrap().len()).max().unwrap()
}
