//! A whole installation of real processes on this machine, under load, while
//! one thing after the other is taken away from it.
//!
//! Two SETs with two servers, a MariaDB, a Redis and two workers each, a
//! memcached per server, a wallet database and a gateway, as `make cluster`
//! starts them. After every fault: the audit holds, what was acknowledged is
//! there, what was unknown settles, and who was not hit has noticed nothing.
//!
//! It has a `main` of its own because all scenarios share the one installation,
//! one after the other, and because what they measured is worth printing when
//! they succeed too. Words on the command line choose scenarios by their names.

mod births;
mod caches;
mod check;
mod clocks;
mod cluster;
#[path = "../common/mod.rs"]
mod common;
mod databases;
mod extra;
mod history;
mod load;
mod noticed;
mod owners;
mod person;
mod probe;
mod processes;
mod trial;
mod whole;

use std::process::ExitCode;
use std::time::Instant;

use trial::{Scenario, Trial};

fn scenarios() -> Vec<Scenario> {
    vec![
        Scenario::of(processes::a_killed_server_is_noticed_by_its_own_set_alone_and_for_less_than_a_second),
        Scenario::of(processes::who_opened_is_told_so_by_a_grab_after_all_servers_of_the_set_were_killed),
        Scenario::of(processes::a_server_that_is_told_to_go_and_comes_back_is_noticed_by_nobody),
        Scenario::of(processes::a_killed_worker_is_noticed_by_nobody),
        Scenario::of(processes::a_killed_gateway_is_back_as_soon_as_it_is_started_again),
        Scenario::of(caches::a_killed_memcached_is_noticed_by_nobody),
        Scenario::of(caches::a_memcached_that_does_not_answer_is_noticed_by_nobody),
        Scenario::of(caches::a_killed_redis_is_noticed_by_nobody),
        Scenario::of(caches::a_redis_full_of_wrong_types_is_noticed_by_nobody),
        Scenario::of(databases::a_killed_database_is_noticed_by_its_own_set_alone),
        Scenario::of(databases::a_slow_database_is_noticed_by_its_own_set_alone),
        Scenario::of(databases::a_database_that_only_reads_refuses_and_goes_on_by_itself),
        Scenario::of(databases::without_its_database_the_wallet_delays_payments_and_no_opening),
        Scenario::of(births::a_set_whose_database_is_gone_gets_no_new_envelope_after_the_first_second),
        Scenario::of(owners::a_server_that_was_stopped_and_goes_on_with_old_memory_doubles_nothing),
        Scenario::of(owners::a_server_leaves_the_topology_and_comes_back_without_an_error),
        Scenario::of(owners::two_gateways_with_different_topologies_give_one_share_a_user),
        Scenario::of(clocks::a_server_whose_clock_is_an_hour_ahead_gets_no_requests),
        Scenario::of(clocks::a_worker_whose_clock_is_an_hour_ahead_refunds_nothing_early_and_leaves_the_jobs_to_others),
        Scenario::of(whole::everything_is_there_after_a_restart_of_everything),
    ]
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let reason: Vec<&String> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    let mut chosen = scenarios();
    chosen.retain(|scenario| reason.is_empty() || reason.iter().any(|word| scenario.name.contains(word.as_str())));
    if arguments.iter().any(|argument| argument == "--list") {
        chosen.iter().for_each(|scenario| println!("{}: test", scenario.name));
        return ExitCode::SUCCESS;
    }
    if chosen.is_empty() {
        return ExitCode::SUCCESS;
    }
    let began = Instant::now();
    let trial = Trial::start();
    println!("the cluster runs after {:.1} s", began.elapsed().as_secs_f64());
    for scenario in &chosen {
        trial.play(scenario);
    }
    trial.check_the_books();
    println!("{} scenarios in {:.0} s, all well", chosen.len(), began.elapsed().as_secs_f64());
    ExitCode::SUCCESS
}
