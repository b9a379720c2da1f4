//! A clock that is an hour ahead of the database's.

use std::time::Duration;

use crate::common::wait_until;
use crate::extra::Extra;
use crate::noticed::MayNotice;
use crate::person::fresh_name;
use crate::probe::envelope_of;
use crate::trial::Trial;

/// Long enough for a gateway to send requests, and for a worker to refund.
const LOOK_FOR: Duration = Duration::from_secs(3);
const NOTICED_WITHIN: Duration = Duration::from_secs(15);

pub fn a_server_whose_clock_is_an_hour_ahead_gets_no_requests(trial: &Trial) {
    let cluster = &trial.cluster;
    let address = cluster.address_of("a1");
    trial.under_load(MayNotice::Set("a"), |_| cluster.kill("a1"));
    trial.under_load(MayNotice::Nobody, |_| {
        let ahead = ahead(trial, "server", "a1");
        wait_until(NOTICED_WITHIN, "a server with a wrong clock to say so", || {
            cluster.ask(address, "/readyz").is_ok_and(|answer| answer.status == 503 && names_the_clock(&answer.text()))
        });
        std::thread::sleep(LOOK_FOR);
        assert!(names_the_clock(&cluster.log(log_of("server"))), "{}", cluster.log(log_of("server")));
        cluster.wait_until_up("a1", false);
        let metrics = cluster.ask(address, "/metrics").unwrap().text();
        let is_open = |line: &&str| line.starts_with("hongbao_http_requests_total") && line.contains("/open");
        let opens: Vec<&str> = metrics.lines().filter(is_open).filter(|line| !line.ends_with(" 0")).collect();
        assert!(opens.is_empty(), "requests went to a server that is not ready: {opens:?}");
        drop(ahead);
        cluster.run(&["a1"]);
        cluster.wait_until_up("a1", true);
    });
}

pub fn a_worker_whose_clock_is_an_hour_ahead_refunds_nothing_early_and_leaves_the_jobs_to_others(trial: &Trial) {
    let cluster = &trial.cluster;
    let envelope = envelope_of(trial, "a1", 5);
    trial.under_load(MayNotice::Nobody, |load| {
        cluster.kill("a-w1");
        cluster.kill("a-w2");
        let ahead = ahead(trial, "worker", "a-w1");
        wait_until(NOTICED_WITHIN, "a worker with a wrong clock to say so", || {
            names_the_clock(&cluster.log(log_of("worker")))
        });
        // Most envelopes live for half an hour: who is an hour ahead would end them, and the check below would see it.
        std::thread::sleep(LOOK_FOR);
        cluster.run(&["a-w2"]);
        let mut person = load.person();
        let user = fresh_name();
        load.open(&mut person, envelope, &user).expect("servers need no workers");
        wait_until(NOTICED_WITHIN, "the other worker to credit", || {
            person.balance(&user).is_ok_and(|balance_fen| balance_fen > 0)
        });
        drop(ahead);
        cluster.run(&["a-w1"]);
    });
}

fn names_the_clock(reason: &str) -> bool {
    reason.contains("clock")
}

/// The log of a process whose clock is an hour ahead.
/// The log of each role is its own, so that no scenario reads the lines of another.
fn log_of(role: &str) -> &'static str {
    if role == "worker" { "ahead-worker" } else { "ahead-server" }
}

fn ahead<'a>(trial: &'a Trial, role: &str, name: &str) -> Extra<'a> {
    let clock = [
        // What `faketime` does, without a process of its own between us and this one.
        ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1"),
        ("FAKETIME", "+1h"),
        // Durations go on as they are: only the time of day is wrong.
        ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
        ("DONT_FAKE_MONOTONIC", "1"),
    ];
    Extra::start(&trial.cluster, log_of(role), role, name, &clock)
}
