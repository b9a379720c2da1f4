//! `kill -9` at random moments under load.
//!
//! What is acknowledged survives, what is unknown settles to one answer, and
//! all money arrives exactly once (I1, I2, I3, I6).

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use crate::faults_clients::{Town, assert_audit_holds};
use crate::support::{Folder, Service, command_in};

/// Clients that work at the same time.
const CLIENTS: usize = 4;

#[test]
fn what_was_acknowledged_survives_kills_and_all_money_arrives_exactly_once() {
    survive("[storage]\ndatabases = 2\ntables = 1", 20, 1);
}

#[test]
fn without_lanes_what_was_acknowledged_survives_kills_too() {
    survive("[server]\nlanes = false", 6, 2);
}

#[test]
fn a_service_that_was_killed_while_it_made_its_folder_starts_the_next_time() {
    for after_ms in [0, 5, 10, 20, 30, 40, 60, 80] {
        let folder = Folder::new();
        kill_at_the_start(&folder, "", Duration::from_millis(after_ms));
        let service = Service::start_in(&folder, "");
        service.user("li").top_up(1);
        service.check();
    }
}

fn survive(settings: &str, kills: u32, seed: u64) {
    println!("seed {seed}");
    let mut dice = StdRng::seed_from_u64(seed);
    let folder = Folder::new();
    let mut service = Service::start_in(&folder, settings);
    let town = Town::new(&service, 15 * kills as usize);
    let mut again = 0;
    std::thread::scope(|scope| {
        let stop = town.stop_on_drop();
        for number in 0..CLIENTS {
            let mut client = town.client(number, seed);
            scope.spawn(move || client.work());
        }
        let mut witness = town.client(CLIENTS, seed);
        for kill in 1..=kills {
            std::thread::sleep(Duration::from_millis(dice.random_range(30..400)));
            service.kill();
            if kill % 5 == 0 {
                // Also what nobody has recovered yet.
                assert_audit_holds(&folder.data());
            }
            if kill % 4 == 0 {
                kill_at_the_start(&folder, settings, Duration::from_millis(dice.random_range(0..120)));
            }
            service = Service::start_in(&folder, settings);
            town.ask_at(&[&service]);
            assert_audit_holds(&folder.data());
            again += witness.ask_for_news_again();
        }
        drop(stop);
    });
    town.settle(&folder.data());
    let lost = town.lost.load(std::sync::atomic::Ordering::Relaxed);
    println!(
        "{kills} kills, {} envelopes, {} openings, {lost} lost answers, {again} asked again",
        town.sent(),
        town.opened()
    );
    assert!(lost > 0, "the kills hit nothing");
    assert!(town.opened() > 0, "nothing was opened");
    assert_no_errors(&folder.path("log"));
}

/// A service that is killed while it starts, recovery and all.
fn kill_at_the_start(folder: &Folder, settings: &str, after: Duration) {
    let mut child = command_in(folder, settings).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    std::thread::sleep(after);
    child.kill().unwrap();
    child.wait().unwrap();
}

/// A crash is the operator's concern, and what comes after it is routine: the
/// service has nothing to report as an error.
fn assert_no_errors(log: &Path) {
    let log = std::fs::read_to_string(log).unwrap();
    let errors: Vec<&str> = log.lines().filter(|line| line.contains("ERROR") || line.contains("panicked")).collect();
    assert!(errors.is_empty(), "{errors:#?}");
}
