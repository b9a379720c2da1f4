//! Routing: a whole topology or none, and rendezvous hashing that moves little.

use std::collections::HashMap;

use hongbao_core::routing::{SetTopology, Topology, owner};
use hongbao_core::{EnvelopeId, Slot, Timestamp};
use proptest::prelude::*;

use crate::sample::{NEW_YEAR, id_in, scrambled};

fn slots(numbers: impl IntoIterator<Item = u8>) -> Vec<Slot> {
    numbers.into_iter().map(|number| Slot::new(number).unwrap()).collect()
}

fn set(name: &str, held: impl IntoIterator<Item = u8>, servers: &[&str]) -> (SetTopology, Vec<Slot>) {
    let servers = servers.iter().map(|server| server.to_string()).collect();
    (SetTopology { name: name.to_owned(), servers }, slots(held))
}

#[track_caller]
fn assert_refused(sets: Vec<(SetTopology, Vec<Slot>)>, reason: &str) {
    let refusal = Topology::new(sets).unwrap_err();
    assert!(refusal.contains(reason), "{refusal}");
}

fn ids(count: u64) -> impl Iterator<Item = EnvelopeId> {
    (0..count).map(|number| EnvelopeId::mint(NEW_YEAR.plus_millis(number as i64 / 10), scrambled(number)))
}

fn server_names() -> impl Strategy<Value = Vec<String>> {
    proptest::collection::btree_set("[a-z]{1,8}-[0-9]{1,2}", 1..9)
        .prop_map(|names| names.into_iter().collect::<Vec<_>>())
        .prop_shuffle()
}

fn owner_of(id: EnvelopeId, servers: &[String]) -> &str {
    owner(id, servers.iter().map(String::as_str)).unwrap()
}

#[test]
fn a_whole_topology_knows_the_set_of_every_slot() {
    let topology = Topology::new(vec![set("a", 0..40, &["a1", "a2"]), set("b", 40..100, &["b1"])]).unwrap();
    for slot in 0..100 {
        let expected = if slot < 40 { "a" } else { "b" };
        assert_eq!(topology.set_of(id_in(slot, NEW_YEAR)).name, expected);
    }
}

#[test]
fn a_hundred_sets_of_one_slot_are_the_most() {
    let one_each = (0..100).map(|n| set(&format!("set_{n}"), [n], &[&format!("server_{n}")])).collect();
    let topology = Topology::new(one_each).unwrap();
    assert!(ids(1_000).all(|id| topology.set_of(id).name == format!("set_{}", id.slot().number())));
    let too_many = (0..101).map(|n| set(&format!("set_{n}"), [n % 100], &["server"])).collect();
    assert_refused(too_many, "1 to 100 SETs, not 101");
}

#[test]
fn a_topology_that_is_not_whole_is_refused_with_what_is_wrong() {
    assert_refused(vec![], "not 0");
    assert_refused(vec![set("a", 0..99, &["a1"])], "slot 99 is held by no SET");
    assert_refused(vec![set("a", 0..100, &["a1"]), set("b", [7], &["b1"])], "slot 07 is held by \"a\" and by \"b\"");
    assert_refused(vec![set("a", (0..100).chain([3]), &["a1"])], "slot 03 is held by \"a\" and by \"a\"");
    assert_refused(vec![set("a", 0..50, &["a1"]), set("a", 50..100, &["b1"])], "SET \"a\" is named twice");
    assert_refused(vec![set("a", 0..100, &["a1", "a1"])], "server \"a1\" is named twice");
    assert_refused(vec![set("a", 0..50, &["x"]), set("b", 50..100, &["x"])], "server \"x\" is named twice");
    assert_refused(vec![set("a", 0..100, &[])], "SET \"a\" has no servers");
}

#[test]
fn an_id_belongs_to_the_set_that_held_its_slot_at_its_own_time() {
    let sets = vec![set("a", 0..50, &["a1"]), set("b", 50..100, &["b1"]), set("c", [], &["c1"])];
    let (first, second) = (NEW_YEAR, NEW_YEAR.plus_millis(1_000));
    let topology = Topology::new(sets).unwrap();
    let topology = topology
        .followed_by(first, &[("a", &slots(0..40)), ("b", &slots(50..90)), ("c", &slots((40..50).chain(90..100)))])
        .unwrap()
        .followed_by(second, &[("c", &slots(0..100))])
        .unwrap();
    let holder = |slot, at| topology.set_of(id_in(slot, at)).name.as_str();
    for (slot, was, then) in [(7, "a", "a"), (45, "a", "c"), (60, "b", "b"), (95, "b", "c")] {
        assert_eq!(holder(slot, Timestamp::from_millis(0)), was);
        assert_eq!(holder(slot, first.plus_millis(-1)), was);
        assert_eq!(holder(slot, first), then);
        assert_eq!(holder(slot, second.plus_millis(-1)), then);
        assert_eq!(holder(slot, second), "c");
    }
}

#[test]
fn a_map_that_is_not_whole_or_comes_out_of_order_is_refused() {
    let topology = Topology::new(vec![set("a", 0..50, &["a1"]), set("b", 50..100, &["b1"])]).unwrap();
    let refused = |at: Timestamp, held: &[(&str, &[Slot])]| topology.clone().followed_by(at, held).unwrap_err();
    let (all, most) = (slots(0..100), slots(0..99));
    for (held, reason) in [
        (vec![("a", most.as_slice())], "slot 99 is held by no SET"),
        (vec![("a", &most), ("b", &all)], "slot 00 is held by \"a\" and by \"b\""),
        (vec![("a", &all), ("c", &[])], "there is no SET \"c\""),
        (vec![("a", &most), ("a", &all)], "SET \"a\" is in it twice"),
    ] {
        let refusal = refused(NEW_YEAR, &held);
        assert!(refusal.starts_with("map from 2026-") && refusal.contains(reason), "{refusal}");
    }
    let later = topology.clone().followed_by(NEW_YEAR, &[("a", &all)]).unwrap();
    for at in [NEW_YEAR, NEW_YEAR.plus_millis(-1)] {
        assert!(later.clone().followed_by(at, &[("b", &all)]).unwrap_err().contains("come after the map before it"));
    }
    assert!(refused(Timestamp::from_millis(0), &[("a", &all)]).contains("come after the map before it"));
}

#[test]
fn a_set_and_a_server_may_share_a_name() {
    assert!(Topology::new(vec![set("a", 0..100, &["a"])]).is_ok());
}

/// Computed by another program from the hash in `id.rs`.
#[test]
fn owners_stay_where_they_are() {
    let owners = [
        ("019c6730-8800-7000-8000-000000000000", "server-a"),
        ("019c6730-8800-7fff-bfff-ffffffffffff", "server-a"),
        ("018df087-0000-7a0b-8c0d-0e0f10111213", "server-b"),
        ("018df087-0000-7a0b-8c0d-0e0f10111210", "server-c"),
    ];
    for (id, expected) in owners {
        let id = EnvelopeId::parse(id).unwrap();
        assert_eq!(owner(id, ["server-a", "server-b", "server-c"]), Some(expected), "{id}");
    }
}

#[test]
fn without_servers_there_is_no_owner() {
    assert_eq!(owner(ids(1).next().unwrap(), []), None);
}

#[test]
fn five_servers_own_about_a_fifth_each() {
    let servers = ["a", "b", "c", "d", "e"];
    let mut counts: HashMap<&str, u32> = HashMap::new();
    for id in ids(10_000) {
        *counts.entry(owner(id, servers).unwrap()).or_default() += 1;
    }
    // A fifth of 10,000 with a standard deviation of 40: five of them.
    assert!(servers.iter().all(|server| counts[server].abs_diff(2_000) < 200), "{counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn a_server_that_leaves_moves_its_own_envelopes_alone(servers in server_names(), gone: prop::sample::Index) {
        prop_assume!(servers.len() > 1);
        let gone = &servers[gone.index(servers.len())];
        let rest: Vec<String> = servers.iter().filter(|server| *server != gone).cloned().collect();
        for id in ids(200) {
            let before = owner_of(id, &servers);
            let after = owner_of(id, &rest);
            prop_assert!(before == gone || before == after, "{} went from {} to {}", id, before, after);
        }
    }

    #[test]
    fn a_server_that_comes_takes_envelopes_to_itself_alone(servers in server_names(), new in "new-[0-9]{3}") {
        let more: Vec<String> = servers.iter().chain([&new]).cloned().collect();
        for id in ids(200) {
            let (before, after) = (owner_of(id, &servers), owner_of(id, &more));
            prop_assert!(after == new || before == after, "{} went from {} to {}", id, before, after);
        }
    }

    #[test]
    fn the_order_of_the_list_does_not_matter(servers in server_names(), other in any::<prop::sample::Index>()) {
        let mut turned = servers.clone();
        turned.rotate_left(other.index(servers.len()));
        turned.reverse();
        for id in ids(50) {
            prop_assert_eq!(owner_of(id, &servers), owner_of(id, &turned));
        }
    }
}

#[test]
fn the_envelopes_of_a_lost_server_spread_over_all_the_others() {
    let mut heirs: HashMap<&str, u32> = HashMap::new();
    for id in ids(10_000) {
        if owner(id, ["a", "b", "c", "d", "e"]) == Some("c") {
            *heirs.entry(owner(id, ["a", "b", "d", "e"]).unwrap()).or_default() += 1;
        }
    }
    // About 2,000 over four, with a standard deviation of 19.
    assert!(heirs.len() == 4 && heirs.values().all(|count| count.abs_diff(500) < 130), "{heirs:?}");
}
