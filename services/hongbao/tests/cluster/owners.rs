//! Who owns an envelope: a server that was away and does not know it, a
//! topology that changes, and two topologies at once.

use std::net::SocketAddr;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use hongbao_core::topology::TopologyFile;
use rustix::process::Signal;

use crate::check::until_settled;
use crate::cluster::Cluster;
use crate::common::wait_until;
use crate::extra::Extra;
use crate::history::Fate;
use crate::noticed::MayNotice;
use crate::person::{Person, fresh_name};
use crate::probe::envelope_of;
use crate::trial::Trial;

/// How long a server is stopped: long enough for all its envelopes to move.
const STOPPED_FOR: Duration = Duration::from_secs(10);
/// How long a gateway may take until it has read a new topology.
const REREAD_WITHIN: Duration = Duration::from_secs(10);
/// How long each topology is used.
const IN_FORCE_FOR: Duration = Duration::from_secs(1);
/// For the scenario with two gateways.
const ENVELOPES: usize = 8;
const SHARES: u64 = 20;

pub fn a_server_that_was_stopped_and_goes_on_with_old_memory_doubles_nothing(trial: &Trial) {
    trial.under_load(MayNotice::Set("a"), |_| {
        trial.cluster.signal("a1", Signal::STOP);
        std::thread::sleep(STOPPED_FOR);
        // By now its envelopes are another's.
        trial.cluster.wait_until_up("a1", false);
        trial.cluster.signal("a1", Signal::CONT);
        trial.cluster.wait_until_up("a1", true);
    });
}

pub fn a_server_leaves_the_topology_and_comes_back_without_an_error(trial: &Trial) {
    let before = trial.cluster.topology();
    trial.under_load(MayNotice::Nobody, |_| {
        edit_and_wait(trial, without_a1);
        edit_and_wait(trial, |topology| topology.sets = before.sets.clone());
    });
}

/// Changes the topology, waits until the gateway has read it, and lets the load go on for a moment.
fn edit_and_wait(trial: &Trial, edit: impl FnOnce(&mut TopologyFile)) {
    let cluster = &trial.cluster;
    cluster.edit_topology(edit);
    let version = Some(cluster.topology().version as f64);
    wait_until(REREAD_WITHIN, "the gateway to read the topology", || {
        cluster.metric(cluster.gateway(), "hongbao_gateway_topology_version ") == version
    });
    std::thread::sleep(IN_FORCE_FOR);
}

fn without_a1(topology: &mut TopologyFile) {
    topology.sets.iter_mut().for_each(|set| set.servers.retain(|server| server.name != "a1"));
}

pub fn two_gateways_with_different_topologies_give_one_share_a_user(trial: &Trial) {
    let _second = second_gateway(trial);
    trial.under_load(MayNotice::Nobody, |_| {
        let envelopes: Vec<usize> = (0..ENVELOPES).map(|_| envelope_of(trial, "a1", SHARES)).collect();
        let began = Instant::now();
        for envelope in envelopes {
            open_through_both(trial, envelope);
        }
        println!("    {ENVELOPES} envelopes through both gateways in {} ms", began.elapsed().as_millis());
    });
}

/// Everybody opens an envelope through both gateways at the same moment.
fn open_through_both(trial: &Trial, envelope: usize) {
    let id = trial.history.id_of(envelope);
    let users: Vec<String> = (0..SHARES).map(|_| fresh_name()).collect();
    let together = Barrier::new(4);
    let open_all = |gateway, backwards: bool| {
        let mut person = Person::new(trial.cluster.secret(), gateway);
        let mut order: Vec<&String> = users.iter().collect();
        if backwards {
            order.reverse();
        }
        together.wait();
        for user in order {
            let outcome = until_settled("an opening", || person.open(user, &id));
            // What differs from what the other gateway answered fails the test here.
            trial.history.learn(envelope, user, Fate::of(&outcome));
        }
    };
    std::thread::scope(|scope| {
        for gateway in [trial.cluster.gateway(), second_address(&trial.cluster)] {
            for backwards in [false, true] {
                let open_all = &open_all;
                scope.spawn(move || open_all(gateway, backwards));
            }
        }
    });
    let fates = trial.history.known().fates[&envelope].clone();
    assert!(fates.values().all(|fate| matches!(fate, Fate::Opened { .. })), "one share a user: {fates:?}");
}

/// A gateway that does not know the server a1.
fn second_gateway(trial: &Trial) -> Extra<'_> {
    let cluster = &trial.cluster;
    let mut topology = cluster.topology();
    without_a1(&mut topology);
    topology.gateways[0].address = second_address(cluster).into();
    let file = cluster.path("topology-2.toml");
    std::fs::write(&file, toml::to_string(&topology).unwrap()).unwrap();
    let environment = [("HONGBAO_TOPOLOGY", file.to_str().expect("temporary folders have plain names"))];
    let second = Extra::start(cluster, "gateway-2", "gateway", "gateway", &environment);
    cluster.wait_until_ready(second_address(cluster));
    second
}

/// The port behind the gateway's is free as well.
fn second_address(cluster: &Cluster) -> SocketAddr {
    let first = cluster.gateway();
    SocketAddr::new(first.ip(), first.port() + 1)
}
