//! `kill -9` of what is Hongbao's own: servers, workers, the gateway.

use std::time::Duration;

use crate::check::until_settled;
use crate::noticed::MayNotice;
use crate::person::fresh_name;
use crate::probe::{SHARES, envelope_of, without_service};
use crate::trial::Trial;

/// Who opened an envelope just before its servers were killed.
const OPENERS: u64 = 32;
/// Kills whose time without service is measured.
const KILLS: usize = 3;
/// What it should stay under on a machine that has nothing else to do.
const GOAL: Duration = Duration::from_secs(1);
/// What it must stay under on any.
const LIMIT: Duration = Duration::from_secs(3);

pub fn a_killed_server_is_noticed_by_its_own_set_alone_and_for_less_than_a_second(trial: &Trial) {
    for _ in 0..KILLS {
        let envelope = envelope_of(trial, "a1", SHARES);
        trial.under_load(MayNotice::Set("a"), |load| {
            let away = without_service(load, envelope, || trial.cluster.kill("a1"));
            println!("    without service: {} ms (goal: {} ms)", away.as_millis(), GOAL.as_millis());
            assert!(away < LIMIT, "an envelope of the killed server had no service for {away:?}");
            trial.cluster.run(&["a1"]);
            trial.cluster.wait_until_up("a1", true);
        });
    }
}

/// What a dead server has left in Redis is authentic and old.
pub fn who_opened_is_told_so_by_a_grab_after_all_servers_of_the_set_were_killed(trial: &Trial) {
    let envelope = envelope_of(trial, "a1", 2 * OPENERS);
    trial.under_load(MayNotice::Set("a"), |load| {
        let mut person = load.person();
        let openers: Vec<String> = (0..OPENERS).map(|_| fresh_name()).collect();
        for opener in &openers {
            until_settled("an opening", || load.open(&mut person, envelope, opener));
        }
        let servers = ["a1", "a2"];
        servers.iter().for_each(|server| trial.cluster.kill(server));
        trial.cluster.run(&servers);
        servers.iter().for_each(|server| trial.cluster.wait_until_up(server, true));
        let grab = format!("/v1/envelopes/{}/grab", trial.history.id_of(envelope));
        for opener in &openers {
            let told = until_settled("a grab", || person.ask(opener, "POST", &grab, None));
            assert_eq!(told["outcome"], "opened", "{opener}: {told}");
        }
    });
}

pub fn a_server_that_is_told_to_go_and_comes_back_is_noticed_by_nobody(trial: &Trial) {
    trial.under_load(MayNotice::Nobody, |_| {
        trial.cluster.terminate("a1");
        trial.cluster.run(&["a1"]);
        trial.cluster.wait_until_up("a1", true);
    });
}

pub fn a_killed_worker_is_noticed_by_nobody(trial: &Trial) {
    trial.under_load(MayNotice::Nobody, |_| {
        trial.cluster.kill("a-w1");
        trial.cluster.kill("b-w2");
        std::thread::sleep(Duration::from_secs(2));
        trial.cluster.run(&["a-w1", "b-w2"]);
    });
}

pub fn a_killed_gateway_is_back_as_soon_as_it_is_started_again(trial: &Trial) {
    trial.under_load(MayNotice::Everybody, |_| {
        trial.cluster.kill("gateway");
        trial.cluster.run(&["gateway"]);
    });
}
