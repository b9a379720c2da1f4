//! MariaDB: killed and gone for a while, slow, read-only.

use std::time::Duration;

use rustix::process::Signal;

use crate::noticed::MayNotice;
use crate::trial::Trial;

/// How long a database is gone: longer than a request waits.
const GONE_FOR: Duration = Duration::from_secs(8);
/// How long it answers nobody: shorter than a request waits.
const SLOW_FOR: Duration = Duration::from_secs(3);
const READ_ONLY_FOR: Duration = Duration::from_secs(2);

pub fn a_killed_database_is_noticed_by_its_own_set_alone(trial: &Trial) {
    trial.under_load(MayNotice::Set("a"), |_| {
        trial.cluster.kill("a-mariadb");
        trial.cluster.run(&["a-mariadb"]);
    });
    trial.under_load(MayNotice::Set("a"), |_| {
        trial.cluster.kill("a-mariadb");
        std::thread::sleep(GONE_FOR);
        trial.cluster.run(&["a-mariadb"]);
    });
}

pub fn a_slow_database_is_noticed_by_its_own_set_alone(trial: &Trial) {
    trial.under_load(MayNotice::Set("a"), |_| {
        trial.cluster.signal("a-mariadb", Signal::STOP);
        std::thread::sleep(SLOW_FOR);
        trial.cluster.signal("a-mariadb", Signal::CONT);
    });
}

pub fn a_database_that_only_reads_refuses_and_goes_on_by_itself(trial: &Trial) {
    trial.under_load(MayNotice::Set("a"), |_| {
        trial.cluster.sql("a-mariadb", "SET GLOBAL read_only = 1");
        std::thread::sleep(READ_ONLY_FOR);
        trial.cluster.sql("a-mariadb", "SET GLOBAL read_only = 0");
    });
}

pub fn without_its_database_the_wallet_delays_payments_and_no_opening(trial: &Trial) {
    trial.under_load(MayNotice::Senders, |_| {
        trial.cluster.kill("wallet-mariadb");
        std::thread::sleep(Duration::from_secs(2));
        // A server and a worker start without it, and pay once it is there.
        for name in ["a1", "a-w1"] {
            trial.cluster.terminate(name);
            trial.cluster.run(&[name]);
        }
        trial.cluster.run(&["wallet-mariadb"]);
    });
}
