use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

use super::bound::{Basis, Bound};
use super::evidence::Evidence;
use super::plan::{self, CapacityPlan};
use super::wanted::Wanted;
use crate::outcome::tests::sample::outcome;
use crate::outcome::{FaultDone, Measured, Outcome};

/// Plans that the properties are tried on.
const TRIALS: u64 = 3_000;

fn measured() -> Measured {
    Measured {
        sets: 1,
        wallets: 1,
        cores: 4.0,
        opens_per_s: 30_000.0,
        grabs_per_s: 60_000.0,
        views_per_s: 30_000.0,
        cpu_us_per_open: 14.0,
        cpu_us_per_grab: Some(6.0),
        cpu_us_per_view: Some(6.5),
        cpu_us_per_send: Some(120.0),
        gateway_cpu_us_per_request: Some(11.0),
        db_cpu_us_per_open: 6.0,
        db_cpu_us_per_send: None,
        commits_per_s: 400.0,
        batch_mean: 76.5,
        bytes_in_per_request: 420.0,
        bytes_out_per_request: 310.0,
        credits_settled_per_s: 11_000.0,
    }
}

/// A run with these figures that could do no more.
fn evidence(measured: &Measured) -> Evidence {
    Evidence {
        measured: measured.clone(),
        openings_held_up: Some("a closed loop of 256 users".into()),
        credits_held_up: Some("300,000 openings waited for theirs when the load ended".into()),
        requests_per_s: 123_000.0,
        sends_per_open: 0.1,
        service_processors: Some(3.1),
        generator_processors: 0.8,
        remarks: Vec::new(),
    }
}

fn plan(wanted: &Wanted, measured: &Measured) -> Result<CapacityPlan, String> {
    plan::plan(wanted, &evidence(measured)).map_err(|no| no.why)
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
        server_cores: Some(16.0),
        db_cores: Some(16.0),
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
    assert_eq!(narrowest(&Measured { opens_per_s: 20_000.0, ..measured() }), "commits");
    assert_eq!(narrowest(&Measured { db_cpu_us_per_open: 800.0, ..measured() }), "database CPU");
    assert_eq!(narrowest(&Measured { cpu_us_per_open: 9_000.0, ..measured() }), "server CPU");
    assert_eq!(narrowest(&Measured { bytes_out_per_request: 200_000.0, ..measured() }), "network");
}

#[test]
fn what_no_installation_does_is_said() {
    let more = Wanted { peak_opens_per_s: 1_900_000.0, ..wanted() };
    let message = plan(&more, &measured()).unwrap_err();
    assert_eq!(
        message,
        "one slot alone needs 19,000 openings a second, and a SET takes 18,000 (commits, a ceiling that the run reached)"
    );
    let all = Wanted { peak_opens_per_s: 1_800_000.0, ..wanted() };
    let message = plan(&all, &measured()).unwrap_err();
    let needed =
        "101 SETs would be needed, and there are 100 slots to give to them (commits, a ceiling that the run reached)";
    assert_eq!(message, needed);
    let sustained = Evidence { openings_held_up: None, ..evidence(&measured()) };
    let no = plan::plan(&more, &sustained).unwrap_err();
    assert!(
        !no.is_known && no.why.ends_with("18,000 (commits, AT LEAST: the run did not reach the ceiling)"),
        "{}",
        no.why
    );
    assert!(no.sheet.to_string().contains("What bounds one SET"), "what was worked out is printed all the same");
    assert!(plan::plan(&more, &evidence(&measured())).unwrap_err().is_known);
}

#[test]
fn figures_that_nothing_can_be_divided_by_are_refused_by_name() {
    measured().check().unwrap();
    let none = Measured { batch_mean: 0.0, ..measured() };
    assert_eq!(none.check().unwrap_err(), "capacity.batch_mean = 0: a plan needs more than nothing");
    let endless = Measured { cpu_us_per_send: Some(f64::INFINITY), ..measured() };
    assert!(endless.check().unwrap_err().starts_with("capacity.cpu_us_per_send = inf"));
}

/// The sample of a run, on a cluster and with nothing broken on purpose.
fn run() -> Outcome {
    Outcome { capacity: Some(measured()), faults: Vec::new(), slos: Vec::new(), ..outcome() }
}

#[test]
fn a_run_is_read_from_its_json() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.json");
    std::fs::write(&file, run().json().unwrap()).unwrap();
    let evidence = Evidence::read(&file).unwrap();
    assert_eq!(evidence.measured, measured());
    // The sample has 1,000 sends for 18,981 openings, and sends 200,000 requests in 120 s.
    assert_eq!((evidence.sends_per_open, evidence.requests_per_s), (1_000.0 / 18_981.0, 200_000.0 / 120.0));
    std::fs::write(&file, "{}").unwrap();
    let message = Evidence::read(&file).unwrap_err().to_string();
    assert!(message.contains("run.json is no run: missing field"), "{message}");
}

#[test]
fn nothing_is_planned_from_a_run_that_cannot_be_believed() {
    let refused = |change: &dyn Fn(&mut Outcome)| {
        let mut run = run();
        change(&mut run);
        Evidence::of(&run).expect_err("it was changed for the worse")
    };
    assert!(refused(&|run| run.void.push("the generator used 99%".into())).contains("void (the generator used 99%)"));
    assert!(refused(&|run| run.audit[1].broken = 1).starts_with("money is wrong"));
    assert!(refused(&|run| run.audit.clear()).contains("was not checked"));
    assert!(refused(&|run| run.audit.iter_mut().for_each(|check| check.checked = 0)).contains("was not checked"));
    let fault = FaultDone { at_s: 1.0, until_s: 2.0, kind: "kill".into(), part: "a1".into(), error: None };
    assert!(refused(&|run| run.faults.push(fault.clone())).contains("without --faults"));
    assert!(refused(&|run| run.machine.full_durability = Some(false)).contains("relaxed durability"));
    assert!(refused(&|run| run.capacity = None).contains("--cluster"));
    let nothing = Measured { commits_per_s: 0.0, ..measured() };
    assert!(refused(&|run| run.capacity = Some(nothing.clone())).starts_with("capacity.commits_per_s = 0"));
}

#[test]
fn a_rate_is_a_ceiling_only_if_something_held_the_run_up() {
    let quiet = |mut run: Outcome| {
        run.seconds.iter_mut().for_each(|second| {
            second.errors.clear();
            second.counted.settled = second.counted.committed;
        });
        run
    };
    let evidence = Evidence::of(&quiet(run())).unwrap();
    assert_eq!((&evidence.openings_held_up, &evidence.credits_held_up), (&None, &None));
    let plan = plan::plan(&wanted(), &evidence).unwrap();
    let basis = |plan: &CapacityPlan, name| plan.bounds.iter().find(|bound| bound.name == name).unwrap().basis;
    assert_eq!(basis(&plan, "commits"), Basis::AtLeast);
    assert_eq!(basis(&plan, "credit backlog"), Basis::AtLeast);
    assert_eq!([basis(&plan, "server CPU"), basis(&plan, "database CPU")], [Basis::AtLeast; 2]);
    assert_eq!(basis(&plan, "network"), Basis::Cost, "a request is as long at any rate");
    let text = plan.sheet.to_string();
    assert!(text.contains("[committed; sustained, no more was offered]"), "{text}");
    assert!(
        text.contains("The narrowest: commits, AT LEAST: the run did not reach the ceiling.\nSo 51 SETs are enough"),
        "{text}"
    );
    assert!(!text.contains("in any case"), "{text}");
    assert!(text.contains("The run had 75 openings a commit: under more load there are more"), "{text}");
    assert!(text.contains("35 wallet databases are enough, and fewer may do"), "{text}");
    // In the sample 1,000 of 20,000 openings are answered busy.
    let busy = Evidence::of(&run()).unwrap();
    assert_eq!(busy.openings_held_up.as_deref(), Some("5% of the openings were answered busy"));
    let mut slow = quiet(run());
    slow.seconds.iter_mut().for_each(|second| second.counted.settled /= 2);
    slow.capacity = Some(Measured { credits_settled_per_s: 100.0, ..measured() });
    assert!(Evidence::of(&slow).unwrap().credits_held_up.is_some_and(|why| why.contains("waited for theirs")));
}

/// The sample with this many users in a closed loop, of whom the service and the generator used so many processors.
fn closed(users: u32, service: f64, generator: f64) -> Outcome {
    let mut run = Outcome { closed_loop_users: Some(users), ..run() };
    run.seconds.iter_mut().for_each(|second| second.errors.clear());
    (run.generator.service_cpu_share, run.generator.cpu_share) = (Some(service), generator);
    run
}

#[test]
fn a_closed_loop_reaches_the_ceiling_where_no_processor_is_left() {
    let busy = Evidence::of(&closed(64, 3.1, 0.55)).unwrap();
    let why = "a closed loop of 64 users that kept 91% of the machine busy";
    assert_eq!(busy.openings_held_up.as_deref(), Some(why));
    let plan = plan::plan(&wanted(), &busy).unwrap();
    let basis = |plan: &CapacityPlan, name| plan.bounds.iter().find(|bound| bound.name == name).unwrap().basis;
    assert_eq!((basis(&plan, "commits"), basis(&plan, "server CPU")), (Basis::Reached, Basis::Cost));

    // 75 openings in a commit on average: so few users share them well, and more users would do more.
    let few = Evidence::of(&closed(8, 1.5, 0.3)).unwrap();
    assert_eq!(few.openings_held_up, None);
    let message = "Of the run: a closed loop of 8 users kept 45% of the machine busy; more of them may do more.";
    assert!(few.remarks.iter().any(|remark| remark == message), "{:?}", few.remarks);
    assert!(!busy.remarks.iter().any(|remark| remark.contains("more of them")), "{:?}", busy.remarks);
    let more = Wanted { peak_opens_per_s: 1_900_000.0, ..wanted() };
    assert!(!plan::plan(&more, &few).unwrap_err().is_known, "that no installation does it is not known");

    let mut unseen = closed(64, 3.1, 0.55);
    unseen.generator.service_cpu_share = None;
    assert_eq!(Evidence::of(&unseen).unwrap().openings_held_up, None);
}

#[test]
fn full_commits_are_a_ceiling_of_many_lanes_and_not_of_one() {
    let full = |scenario: &str, batch_mean| {
        let mut run = Outcome { scenario: scenario.into(), ..closed(4_096, 1.5, 0.3) };
        run.capacity = Some(Measured { batch_mean, ..measured() });
        Evidence::of(&run).unwrap()
    };
    let message = full("rain", 1_000.0).openings_held_up.unwrap();
    assert_eq!(message, "a closed loop of 4,096 users, 1,000 openings a commit");
    assert_eq!(full("rain", 900.0).openings_held_up, None);
    let hot = full("hot", 1_000.0);
    assert_eq!(hot.openings_held_up, None, "a SET has more lanes");
    assert!(hot.remarks.iter().any(|remark| remark.contains("measured one lane")), "{:?}", hot.remarks);
    assert!(!full("rain", 1_000.0).remarks.iter().any(|remark| remark.contains("one lane")));
}

#[test]
fn what_should_be_known_of_the_run_stands_at_the_end_of_its_plan() {
    let mut run = run();
    run.slos = outcome().slos;
    run.drain_s = None;
    let text = plan::plan(&wanted(), &Evidence::of(&run).unwrap()).unwrap().sheet.to_string();
    for message in [
        "Of the run: the generator ran on the same machine as the service.",
        "Of the run: its last credit was not seen",
        "Of the run: it missed open.busy<1%",
        "0.1 sends for an opening are planned and the run had 0.0527",
    ] {
        assert!(text.contains(message), "{message} is missing in\n{text}");
    }
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
        opens_per_s: about(50.0, 500_000.0),
        commits_per_s: about(50.0, 5_000.0),
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
        let sets = |plan: &CapacityPlan| (plan.sets, plan.servers_per_set);
        assert!(sets(&less) <= sets(&more), "seed {seed}: {less:?} for less, {more:?} for more");
        let others = |plan: &CapacityPlan| [plan.database_hosts, plan.wallet_databases, plan.gateways.unwrap_or(0)];
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
        for Bound { name, opens_per_s, .. } in &plan.bounds {
            assert!(busiest <= *opens_per_s, "seed {seed}: {name} lets {opens_per_s}, the busiest SET has {busiest}");
        }
        let servers = plan.servers_per_set - wanted.lose_servers;
        assert!(servers >= 1 && plan.servers_per_set <= wanted.servers_max, "seed {seed}: {servers} servers are left");
        let cpu = measured.cpu_us_per_open
            + wanted.grabs_per_open * measured.cpu_us_per_grab.unwrap_or(measured.cpu_us_per_open)
            + wanted.views_per_open * measured.cpu_us_per_view.unwrap_or(measured.cpu_us_per_open)
            + measured.cpu_us_per_send.unwrap_or(0.0) / wanted.openers;
        let used = busiest * cpu / (f64::from(servers) * 16.0 * 1e6);
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
