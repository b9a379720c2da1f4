use std::collections::BTreeMap;
use std::sync::Arc;

use hongbao_core::topology::Address;

use super::*;
use crate::sets::Closed;
use crate::topology::Known;
use crate::upstream::{Health, Upstream};

const NOW: Timestamp = Timestamp::from_millis(1_771_257_600_000);
const IDS: usize = 20_000;

/// SETs by name, slots and weight, each with two servers.
fn fleet(sets: &[(&str, &str, Option<f64>)]) -> Fleet {
    let mut text = "version = 1\n".to_owned();
    for (number, (name, slots, weight)) in sets.iter().enumerate() {
        text += &format!("[[sets]]\nname = '{name}'\nslots = '{slots}'\ndatabase = ['unix:/nowhere/{name}']\n");
        text += &weight.map(|weight| format!("weight = {weight}\n")).unwrap_or_default();
        let server = |place: usize| format!("{{ name = '{name}{place}', address = '127.0.0.1:{number}{place}' }}");
        text += &format!("servers = [{}, {}]\n", server(1), server(2));
    }
    text += "[[wallets]]\nname = 'w'\nslots = '00-99'\ndatabase = ['unix:/nowhere/w']\n";
    let file: hongbao_core::topology::TopologyFile = toml::from_str(&text).unwrap();
    file.check(NOW).unwrap();
    let routing = file.routing().unwrap();
    let upstream = |set: &str, name: &str, address: &Address| {
        Arc::new(Upstream::new(set, name, address, address.socket_address(), 1))
    };
    Fleet::new(Arc::new(Known { file, routing }), upstream, |_| Arc::default())
}

fn server<'a>(fleet: &'a Fleet, name: &str) -> &'a Upstream {
    fleet.all().iter().find(|server| server.name == name).expect("there is one of that name")
}

/// Bytes that look random and are the same in each run (SplitMix64).
fn fixed_bytes() -> impl FnMut(&mut [u8]) -> Result<(), getrandom::Error> {
    let mut state = 0x5eed_u64;
    move |bytes| {
        for byte in bytes {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            *byte = (mixed ^ (mixed >> 31)) as u8;
        }
        Ok(())
    }
}

fn born(fleet: &Fleet) -> Vec<EnvelopeId> {
    let mut fetch = fixed_bytes();
    (0..IDS).map(|_| mint_with(fleet, NOW, &mut fetch).unwrap()).collect()
}

fn by_set(fleet: &Fleet, ids: &[EnvelopeId]) -> BTreeMap<String, usize> {
    let mut counts: BTreeMap<String, usize> = fleet.sets().iter().map(|set| (set.name.clone(), 0)).collect();
    for id in ids {
        *counts.get_mut(&fleet.set_of(*id).name).unwrap() += 1;
    }
    counts
}

/// Pearson's statistic of counts that should be in proportion to `expected`, less its mean, in its standard
/// deviations; the bytes are fixed, so that it is the same in each run.
fn deviation(counts: &[usize], expected: &[f64]) -> f64 {
    let (all, sum) = (counts.iter().sum::<usize>() as f64, expected.iter().sum::<f64>());
    let term = |(count, part): (&usize, &f64)| (*count as f64 - all * part / sum).powi(2) / (all * part / sum);
    let statistic: f64 = counts.iter().zip(expected).map(term).sum();
    let freedom = (counts.len() - 1) as f64;
    (statistic - freedom) / (2.0 * freedom).sqrt()
}

fn by_slot(ids: &[EnvelopeId]) -> Vec<usize> {
    let mut counts = vec![0; usize::from(SLOTS)];
    for id in ids {
        counts[usize::from(id.slot().number())] += 1;
    }
    counts
}

#[test]
fn by_default_every_slot_is_as_likely_as_every_other() {
    let ids = born(&fleet(&[("a", "00", None), ("b", "01-40", None), ("c", "41-99", None)]));
    let deviation = deviation(&by_slot(&ids), &[1.0; SLOTS as usize]);
    assert!(deviation < 3.0, "{deviation}");
    let distinct: std::collections::HashSet<_> = ids.iter().collect();
    assert_eq!(distinct.len(), IDS, "every id is drawn anew");
    assert!(ids.iter().all(|id| id.minted_at() == NOW));
}

#[test]
fn sets_are_chosen_by_weight_and_the_slots_of_each_evenly() {
    let fleet = fleet(&[("a", "00-09", Some(0.01)), ("b", "10-49", Some(0.5)), ("c", "50-99", Some(0.49))]);
    let ids = born(&fleet);
    let counts: Vec<usize> = by_set(&fleet, &ids).into_values().collect();
    assert!(deviation(&counts, &[0.01, 0.5, 0.49]) < 3.0, "{counts:?}");
    assert!(deviation(&counts, &[0.1, 0.4, 0.5]) > 3.0, "the slots do not matter: {counts:?}");
    let by_slot = by_slot(&ids);
    for slots in [0..10, 10..50, 50..100] {
        let deviation = deviation(&by_slot[slots.clone()], &vec![1.0; slots.len()]);
        assert!(deviation < 3.0, "{slots:?}: {deviation}");
    }
}

#[test]
fn a_set_without_weight_gets_nothing_and_the_others_keep_their_proportion() {
    let fleet = fleet(&[("a", "00-59", Some(0.0)), ("b", "60-69", Some(1.0)), ("c", "70-99", Some(3.0))]);
    let counts: Vec<usize> = by_set(&fleet, &born(&fleet)).into_values().collect();
    assert_eq!(counts[0], 0);
    assert!(deviation(&counts[1..], &[1.0, 3.0]) < 3.0, "{counts:?}");
}

#[test]
fn a_set_without_a_server_that_is_up_and_takes_new_envelopes_gets_none() {
    let fleet = fleet(&[("a", "00-49", None), ("b", "50-99", None)]);
    for health in [Health::Dead, Health::NotReady, Health::Draining] {
        server(&fleet, "a1").set_health(health);
        server(&fleet, "a2").set_takes_new(false);
        assert_eq!(by_set(&fleet, &born(&fleet))["a"], 0, "{health:?}");
        assert_eq!(fleet.open_weight(0, NOW), Err(Closed::TakesNoNew));
        server(&fleet, "a2").set_health(health);
        assert_eq!(fleet.open_weight(0, NOW), Err(Closed::Down));
        server(&fleet, "a2").set_health(Health::Up);
        server(&fleet, "a2").set_takes_new(true);
        let counts: Vec<usize> = by_set(&fleet, &born(&fleet)).into_values().collect();
        assert!(deviation(&counts, &[1.0, 1.0]) < 3.0, "one server is enough: {counts:?}");
    }
}

#[test]
fn an_envelope_is_born_only_where_its_own_server_takes_new_ones() {
    let fleet = fleet(&[("a", "00-49", None), ("b", "50-99", None)]);
    server(&fleet, "a1").set_takes_new(false);
    let ids = born(&fleet);
    let owners: BTreeMap<String, usize> = ids.iter().fold(BTreeMap::new(), |mut counts, id| {
        *counts.entry(fleet.choose(Key::Envelope(*id), &[]).unwrap().name.clone()).or_default() += 1;
        counts
    });
    assert_eq!(owners.keys().collect::<Vec<_>>(), ["a2", "b1", "b2"]);
    let counts: Vec<usize> = owners.into_values().collect();
    assert!(deviation(&counts, &[2.0, 1.0, 1.0]) < 3.0, "SET a keeps its part: {counts:?}");
}

#[test]
fn where_no_set_takes_new_envelopes_the_answer_says_so_and_the_cause_says_why() {
    let fleet = fleet(&[("a", "00-29", Some(0.0)), ("b", "30-59", None), ("c", "60-99", None)]);
    for name in ["b1", "b2"] {
        server(&fleet, name).set_health(Health::Dead);
    }
    for name in ["c1", "c2"] {
        server(&fleet, name).set_takes_new(false);
    }
    let problem = mint_with(&fleet, NOW, fixed_bytes()).unwrap_err();
    assert_eq!(problem.code, Code::Unavailable);
    let cause = "SET \"a\": its weight is 0; SET \"b\": none of its servers is up; \
                 SET \"c\": its database does not answer";
    assert_eq!(problem.cause.as_deref(), Some(cause));
}

#[test]
fn without_randomness_there_is_no_id() {
    let fleet = fleet(&[("a", "00-99", None)]);
    let problem = mint_with(&fleet, NOW, |_| Err(getrandom::Error::UNSUPPORTED)).unwrap_err();
    assert_eq!(problem.code, Code::Unavailable);
}
