//! What an installation asks of its databases while nothing happens in it, and how soon it notices that something does.

use std::time::{Duration, Instant};

use hongbao_testbed::Part;

use crate::backup_installation::{configure, run, user};
use crate::rehearsal_installation::Process;
use crate::support::{Folder, lucky};

/// How long it is counted: twice the time in which each kind of look comes round that is not one of minutes.
const COUNTED_FOR: Duration = Duration::from_secs(8);
/// When the jobs have nothing more to do, and credits look nearly as seldom as they ever do.
const SETTLED_AFTER: Duration = Duration::from_secs(4);
/// Statements a second at most, of one server and two workers.
const OF_THE_SET_MAX: f64 = 20.0;
const OF_THE_WALLET_MAX: f64 = 10.0;
/// What the README promises.
const CREDITED_WITHIN: Duration = Duration::from_secs(1);

/// Statements that a database server was sent since it was started.
fn questions(part: &Part) -> f64 {
    let status = part.sql("SHOW GLOBAL STATUS LIKE 'Questions'");
    status.split_whitespace().last().unwrap().parse().unwrap()
}

#[test]
fn an_idle_set_asks_little_of_its_databases_and_credits_what_comes_after_it_within_a_second() {
    let (folder, set, wallet) = (Folder::new(), Part::mariadb(&[]), Part::mariadb(&[]));
    let server = configure(&folder, &set, &wallet, 4, 2);
    assert_eq!(run(&folder, "migrate", &[]).0, Some(0));
    let _server = Process::start(&folder, "server", &[]);
    let _workers = ["a-w1", "a-w2"].map(|name| Process::start_as(&folder, "worker", Some(name), &[]));
    let sender = user("sender", server);
    sender.top_up(1_000);
    let id = sender.send(&lucky(1_000, 1));
    std::thread::sleep(SETTLED_AFTER);

    let (before, began) = ([&set, &wallet].map(questions), Instant::now());
    std::thread::sleep(COUNTED_FOR);
    let seconds = began.elapsed().as_secs_f64();
    let [of_set, of_wallet] =
        [(&set, before[0]), (&wallet, before[1])].map(|(part, before)| (questions(part) - before) / seconds);
    println!("an idle SET: {of_set:.1} statements a second, and {of_wallet:.1} to the wallet");
    assert!(of_set <= OF_THE_SET_MAX && of_wallet <= OF_THE_WALLET_MAX, "{of_set} and {of_wallet}");

    let opener = user("opener", server);
    assert_eq!(opener.grab_and_open(&id)["outcome"], "opened");
    let opened = Instant::now();
    opener.wait_for_balance(1_000, CREDITED_WITHIN);
    println!("credited after {:?}", opened.elapsed());
}
