use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::Measured;
use super::plan::{Bound, Plan, Wanted, plan};

/// Plans that the properties are tried on.
const TRIALS: u64 = 3_000;

fn measured() -> Measured {
    Measured {
        sets: 1,
        wallets: 1,
        cores: 2.0,
        opens_per_s: 30_000.0,
        grabs_per_s: 600_000.0,
        views_per_s: 300_000.0,
        cpu_us_per_open: 14.0,
        cpu_us_per_grab: Some(6.0),
        cpu_us_per_view: Some(6.5),
        cpu_us_per_send: Some(120.0),
        gateway_cpu_us_per_request: Some(11.0),
        db_cpu_us_per_open: 6.0,
        db_cpu_us_per_send: None,
        commits_per_s: 400.0,
        batch_mean: 75.0,
        bytes_in_per_request: 420.0,
        bytes_out_per_request: 310.0,
        credits_settled_per_s: 11_000.0,
    }
}

fn wanted() -> Wanted {
    Wanted {
        peak_opens_per_s: 760_000.0,
        openers: 10.0,
        grabs_per_open: 20.0,
        views_per_open: 10.0,
        peak_s: 60.0,
        drain_s: 240.0,
        derating: 0.6,
        lose_sets: 1,
        lose_servers: 1,
        servers_max: 16,
        server_cores: 16.0,
        db_cores: 16.0,
        db_nodes: 3,
        network_gbit_per_s: 10.0,
    }
}

#[test]
fn a_plan_is_printed_line_by_line() {
    assert_eq!(plan(&wanted(), &measured()).unwrap().sheet.to_string(), include_str!("plan.txt"));
}

#[test]
fn the_narrowest_bound_is_named() {
    let small = Wanted { peak_opens_per_s: 10_000.0, ..wanted() };
    let narrowest = |measured: &Measured| plan(&small, measured).unwrap().bounds[0].name;
    assert_eq!(narrowest(&measured()), "commits");
    assert_eq!(narrowest(&Measured { credits_settled_per_s: 5_000.0, ..measured() }), "credit backlog");
    assert_eq!(narrowest(&Measured { db_cpu_us_per_open: 800.0, ..measured() }), "database CPU");
    assert_eq!(narrowest(&Measured { cpu_us_per_open: 9_000.0, ..measured() }), "server CPU");
    assert_eq!(narrowest(&Measured { bytes_out_per_request: 200_000.0, ..measured() }), "network");
}

#[test]
fn what_no_installation_does_is_said() {
    let more = Wanted { peak_opens_per_s: 1_900_000.0, ..wanted() };
    let words = plan(&more, &measured()).unwrap_err();
    assert_eq!(words, "one slot alone needs 19,000 openings a second, and a SET takes 18,000 (commits)");
    let all = Wanted { peak_opens_per_s: 1_800_000.0, ..wanted() };
    let words = plan(&all, &measured()).unwrap_err();
    assert_eq!(words, "101 SETs would be needed, and there are 100 slots to give to them");
}

#[test]
fn figures_that_nothing_can_be_divided_by_are_refused_by_name() {
    measured().check().unwrap();
    let none = Measured { batch_mean: 0.0, ..measured() };
    assert_eq!(none.check().unwrap_err(), "capacity.batch_mean = 0: a plan needs more than nothing");
    let endless = Measured { cpu_us_per_send: Some(f64::INFINITY), ..measured() };
    assert!(endless.check().unwrap_err().starts_with("capacity.cpu_us_per_send = inf"));
}

#[test]
fn a_run_is_read_from_its_json() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.json");
    let run = serde_json::json!({ "scenario": "groups", "capacity": measured() });
    std::fs::write(&file, run.to_string()).unwrap();
    assert_eq!(Measured::read(&file).unwrap(), measured());
    std::fs::write(&file, "{}").unwrap();
    let words = Measured::read(&file).unwrap_err().to_string();
    assert!(words.contains("missing field `capacity`"), "{words}");
}

/// Anything that an operator may have measured or may want, from a seed.
fn anything(seed: u64) -> (Wanted, Measured) {
    let mut dice = StdRng::seed_from_u64(seed);
    let mut about = |least: f64, most: f64| least * (most / least).powf(dice.random::<f64>());
    let measured = Measured {
        sets: about(1.0, 4.0) as u32,
        wallets: about(1.0, 3.0) as u32,
        cpu_us_per_open: about(3.0, 300.0),
        cpu_us_per_grab: Some(about(1.0, 100.0)).filter(|cost| *cost < 60.0),
        cpu_us_per_view: Some(about(1.0, 100.0)).filter(|cost| *cost < 60.0),
        cpu_us_per_send: Some(about(10.0, 1_000.0)).filter(|cost| *cost < 500.0),
        gateway_cpu_us_per_request: Some(about(1.0, 100.0)).filter(|cost| *cost < 60.0),
        db_cpu_us_per_open: about(1.0, 300.0),
        db_cpu_us_per_send: Some(about(10.0, 1_000.0)).filter(|cost| *cost < 500.0),
        commits_per_s: about(50.0, 5_000.0),
        batch_mean: about(1.0, 500.0),
        bytes_in_per_request: about(100.0, 2_000.0),
        bytes_out_per_request: about(100.0, 5_000.0),
        credits_settled_per_s: about(500.0, 50_000.0),
        ..measured()
    };
    let wanted = Wanted {
        peak_opens_per_s: about(1.0, 2_000_000.0),
        openers: about(1.0, 1_000.0),
        grabs_per_open: about(1.0, 40.0),
        views_per_open: about(1.0, 40.0),
        peak_s: about(1.0, 3_600.0),
        drain_s: about(1.0, 3_600.0),
        derating: about(0.1, 1.0),
        lose_sets: about(1.0, 5.0) as u32 - 1,
        lose_servers: about(1.0, 5.0) as u32 - 1,
        servers_max: 5 + about(1.0, 20.0) as u32,
        ..wanted()
    };
    (wanted, measured)
}

#[test]
fn more_peak_never_needs_fewer_parts() {
    let mut planned = 0;
    for seed in 0..TRIALS {
        let (wanted, measured) = anything(seed);
        let more = Wanted { peak_opens_per_s: wanted.peak_opens_per_s * 1.3, ..wanted.clone() };
        let (less, more) = (plan(&wanted, &measured), plan(&more, &measured));
        let Ok(less) = less else {
            assert!(more.is_err(), "seed {seed}: what cannot be done cannot be done with more, either");
            continue;
        };
        let Ok(more) = more else { continue };
        planned += 1;
        // Servers go with SETs: more SETs may need fewer each, the same number of them never.
        let sets = |plan: &Plan| (plan.sets, plan.servers_per_set);
        assert!(sets(&less) <= sets(&more), "seed {seed}: {less:?} for less, {more:?} for more");
        let others = |plan: &Plan| [plan.database_hosts, plan.wallet_databases, plan.gateways.unwrap_or(0)];
        for (less, more) in others(&less).into_iter().zip(others(&more)) {
            assert!(less <= more, "seed {seed}: {less} for less, {more} for more");
        }
    }
    assert!(planned > TRIALS / 4, "only {planned} plans were compared");
}

#[test]
fn losing_what_may_be_lost_leaves_enough_of_everything() {
    let mut planned = 0;
    for seed in 0..TRIALS {
        let (wanted, measured) = anything(seed);
        let Ok(plan) = plan(&wanted, &measured) else { continue };
        planned += 1;
        let left = plan.sets - wanted.lose_sets;
        let busiest = wanted.peak_opens_per_s * f64::from(100_u32.div_ceil(left)) / 100.0;
        for Bound { name, opens_per_s } in &plan.bounds {
            assert!(busiest <= *opens_per_s, "seed {seed}: {name} lets {opens_per_s}, the busiest SET has {busiest}");
        }
        let servers = plan.servers_per_set - wanted.lose_servers;
        assert!(servers >= 1 && plan.servers_per_set <= wanted.servers_max, "seed {seed}: {servers} servers are left");
        let cpu = measured.cpu_us_per_open
            + wanted.grabs_per_open * measured.cpu_us_per_grab.unwrap_or(measured.cpu_us_per_open)
            + wanted.views_per_open * measured.cpu_us_per_view.unwrap_or(measured.cpu_us_per_open)
            + measured.cpu_us_per_send.unwrap_or(0.0) / wanted.openers;
        let used = busiest * cpu / (f64::from(servers) * wanted.server_cores * 1e6);
        assert!(used <= wanted.derating * 1.000_001, "seed {seed}: the servers that are left are used at {used}");
        assert!(plan.drain_s <= wanted.drain_s * 1.000_001, "seed {seed}: drained after {} s", plan.drain_s);
        assert!(plan.busiest_settled_per_s > 0.0 && plan.drain_s >= 0.0, "seed {seed}: {plan:?}");
    }
    assert!(planned > TRIALS / 4, "only {planned} plans were looked at");
}

#[test]
fn counting_on_less_never_needs_fewer_sets_and_losing_more_needs_exactly_as_many_more() {
    for seed in 0..TRIALS {
        let (wanted, measured) = anything(seed);
        let Ok(usual) = plan(&wanted, &measured) else { continue };
        let careful = Wanted { derating: wanted.derating * 0.8, ..wanted.clone() };
        assert!(!plan(&careful, &measured).is_ok_and(|plan| plan.sets < usual.sets), "seed {seed}");
        let unlucky = Wanted { lose_sets: wanted.lose_sets + 1, ..wanted };
        assert!(plan(&unlucky, &measured).map_or(true, |plan| plan.sets == usual.sets + 1), "seed {seed}");
    }
}
