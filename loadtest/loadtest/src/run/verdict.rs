//! From what a run has brought to its outcome: what it cost, whether it can be
//! believed, and what can be planned from it.

use std::time::SystemTime;

use chrono::{DateTime, SecondsFormat, Utc};
use hongbao_load::{Batches, Cluster, Site};

use super::args::RunArgs;
use super::audit::Audit;
use super::drive::{Driven, Pace};
use super::gauges::fetch_metrics;
use super::rehearsal::{Load, Rehearsal};
use super::target::NOT_STATED;
use super::usage::Used;
use crate::outcome::{self, Generator, Measured, Outcome, Slo};

/// A generator that used more of its one processor than this was what was measured.
const GENERATOR_CPU_MAX: f64 = 0.90;

/// Puts everything together.
pub fn outcome(rehearsal: &Rehearsal<'_>, load: Load, audit: Audit, mut notes: Vec<String>, slos: &[Slo]) -> Outcome {
    let args = rehearsal.args;
    let recorder = &load.driven.recorder;
    let generator = Generator {
        cpu_share: load.used.cpu.generator.as_secs_f64() / load.used.load_s,
        service_cpu_share: load.used.cpu.service.map(|used| used.as_secs_f64() / load.used.load_s),
        ..recorder.generator()
    };
    let machine = rehearsal.target.machine();
    if machine.full_durability == Some(false) {
        notes.push("the service runs with relaxed durability: not comparable".to_owned());
    }
    if machine.durability == NOT_STATED {
        notes.push("the service does not state its durability: not comparable".to_owned());
    }
    if cfg!(debug_assertions) {
        notes.push("the generator is a debug build".to_owned());
    }
    if load.settled.credits().is_some_and(|credits| recorder.totals.settled < credits) {
        notes.push("the metrics did not show every credit; the audit asked for the balances themselves".to_owned());
    }
    notes.extend(audit.notes.iter().cloned());
    let mut outcome = Outcome {
        scenario: args.scenario.name().to_owned(),
        command: command_line(std::env::args()),
        parameters: rehearsal.plan.parameters.clone(),
        closed_loop_users: args.closed,
        started_at: rfc3339(load.started_at),
        machine,
        void: void(&generator, args, &load, &audit),
        notes,
        totals: recorder.totals,
        load_s: load.driven.load_s,
        drain_s: load.drain_s,
        phases: load.phases.clone(),
        seconds: recorder.seconds.clone(),
        latencies: recorder.latencies(),
        generator,
        faults: load.faults.clone(),
        audit: audit.checks,
        slos: Vec::new(),
        late_fen: audit.late_fen,
        capacity: rehearsal.target.cluster().and_then(|cluster| {
            let sets = sets_at_work(cluster, rehearsal.target.sets());
            capacity(sets, &load.driven, &load.used, load.drain_s)
        }),
    };
    outcome.slos = outcome::judge(slos, &outcome);
    outcome
}

/// Why the figures cannot be believed.
fn void(generator: &Generator, args: &RunArgs, load: &Load, audit: &Audit) -> Vec<String> {
    let mut reasons = Vec::new();
    reasons.extend(audit.undone.iter().map(|why| format!("the audit could not be done to its end: {why}")));
    reasons.extend(audit.late.iter().map(|late| format!("not settled in time: {late}")));
    if load.driven.recorder.totals.committed == 0 {
        reasons.push("no envelope was opened: there was nothing to audit".to_owned());
    }
    for fault in &load.faults {
        if let Some(error) = &fault.error {
            reasons.push(format!("the fault {} of {} did not go as planned: {error}", fault.kind, fault.part));
        }
    }
    if let Some(used_up_s) = load.driven.used_up_s {
        reasons.push(format!("the plan's visits were used up after {used_up_s:.1} s: ask for a higher --rate"));
    }
    if generator.not_started > 0 {
        let (arrivals, connections) = (generator.not_started, args.connections);
        reasons.push(format!("{arrivals} arrivals could not be started: {connections} connections were all busy"));
    }
    if args.pace() == Pace::Open && generator.lag_p99_ms > args.lag_ms_max {
        reasons.push(format!(
            "1% of the requests were sent more than {:.1} ms late, {} ms are allowed",
            generator.lag_p99_ms, args.lag_ms_max
        ));
    }
    if generator.cpu_share > GENERATOR_CPU_MAX {
        reasons.push(format!(
            "the generator used {:.2} of its one processor, more than {GENERATOR_CPU_MAX:.2}",
            generator.cpu_share
        ));
    }
    reasons
}

/// Of so many SETs, which the run has started, those whose servers committed an opening: one
/// envelope is no work for two.
fn sets_at_work(cluster: &Cluster, sets: u16) -> u32 {
    let commits = |addr| fetch_metrics(&Site::from(addr)).map_or(0.0, |text| Batches::read(&text).commits());
    let servers = cluster.server_addrs();
    let of_a_set = servers.chunks((servers.len() / usize::from(sets)).max(1));
    of_a_set.filter(|servers| servers.iter().any(|addr| commits(*addr) > 0.0)).count() as u32
}

/// What a plan can be made from: only of a cluster are the parts known. `sets` of it did the work.
fn capacity(sets: u32, driven: &Driven, used: &Used, drain_s: Option<f64>) -> Option<Measured> {
    let rows = driven.recorder.latencies();
    let count = |call: &str| outcome::answered(&rows, call) as f64;
    let totals = driven.recorder.totals;
    let (opens, grabs, views) = (totals.committed as f64, count("grab"), count("view"));
    let is_server = |name: &str| !name.contains('-') && name != "gateway";
    let traffic = driven.traffic;
    let measured = Measured {
        sets,
        wallets: 1,
        cores: std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64),
        opens_per_s: opens / used.load_s,
        grabs_per_s: grabs / used.load_s,
        views_per_s: views / used.load_s,
        // All calls together, so none is known alone.
        cpu_us_per_open: used.cpu.us_of(is_server) / (opens + grabs + views),
        cpu_us_per_grab: None,
        cpu_us_per_view: None,
        cpu_us_per_send: None,
        gateway_cpu_us_per_request: Some(used.cpu.us_of(|name| name == "gateway") / traffic.requests as f64),
        db_cpu_us_per_open: used.cpu.us_of(|name| name.ends_with("-mariadb") && !name.starts_with("wallet")) / opens,
        db_cpu_us_per_send: None,
        commits_per_s: used.batches.commits() / used.load_s,
        batch_mean: used.batches.mean_since(Batches::default())?,
        bytes_in_per_request: traffic.bytes_out as f64 / traffic.requests as f64,
        bytes_out_per_request: traffic.bytes_in as f64 / traffic.requests as f64,
        credits_settled_per_s: totals.settled as f64 / (driven.load_s + drain_s?),
    };
    measured.check().is_ok().then_some(measured)
}

/// What a shell takes for these arguments again.
fn command_line(arguments: impl Iterator<Item = String>) -> String {
    let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_./:=,%+@".contains(char);
    let quoted = |argument: String| match !argument.is_empty() && argument.chars().all(is_plain) {
        true => argument,
        false => format!("'{}'", argument.replace('\'', r"'\''")),
    };
    arguments.map(quoted).collect::<Vec<_>>().join(" ")
}

/// A moment as text, in UTC.
fn rfc3339(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use clap::{Args as _, FromArgMatches as _};

    use super::*;
    use crate::outcome::{FaultDone, Phase};
    use crate::run::drive::Traffic;
    use crate::run::recorder::{AnswerKind, Gauges, Recorder};
    use crate::run::request::UserCall;
    use crate::run::settle::Settled;
    use crate::run::usage::Usage;

    /// 400 openings, 100 of them refused, and 500 grabs in a load of ten seconds; 300 credits.
    fn driven() -> Driven {
        let phases = [Phase { name: "load".into(), from_s: 0.0, to_s: 10.0 }];
        let mut recorder = Recorder::new(&phases);
        for number in 0..400 {
            let (label, kind) =
                if number < 300 { ("opened", AnswerKind::Committed) } else { ("503 busy", AnswerKind::Refused) };
            recorder.answered(UserCall::Open, 0, label, kind, 1_000);
        }
        (0..500).for_each(|_| recorder.answered(UserCall::Grab, 0, "ready", AnswerKind::Accepted, 100));
        recorder.tick(10.0, Gauges { settled: 300, ..Gauges::default() });
        Driven {
            recorder,
            history: Vec::new(),
            envelopes: Vec::new(),
            traffic: Traffic { requests: 900, bytes_in: 450_000, bytes_out: 270_000 },
            load_s: 10.0,
            used_up_s: None,
            tickets_renewed: 0,
        }
    }

    /// Of two SETs of which one works, in milliseconds of processor time.
    fn used() -> Used {
        let parts = [
            ("a1", 700),
            ("a2", 50),
            ("b1", 25),
            ("b2", 25),
            ("a-mariadb", 500),
            ("b-mariadb", 100),
            ("wallet-mariadb", 9_000),
            ("a-redis", 9_000),
            ("a-w1", 9_000),
            ("gateway", 90),
        ];
        let parts = parts.map(|(name, ms)| (name.to_owned(), Duration::from_millis(ms))).into();
        let metrics = "hongbao_open_batch_size_sum 360\nhongbao_open_batch_size_count 60\n";
        let cpu = Usage { parts, ..Usage::default() };
        Used { load_s: 10.0, cpu, batches: Batches::read(metrics) }
    }

    #[test]
    fn what_a_plan_is_made_from_is_worked_out_of_what_was_counted() {
        let cores = std::thread::available_parallelism().unwrap().get() as f64;
        let expected = Measured {
            sets: 1,
            wallets: 1,
            cores,
            opens_per_s: 30.0,
            grabs_per_s: 50.0,
            views_per_s: 0.0,
            // 800 ms of servers for 300 openings and 500 grabs.
            cpu_us_per_open: 1_000.0,
            cpu_us_per_grab: None,
            cpu_us_per_view: None,
            cpu_us_per_send: None,
            gateway_cpu_us_per_request: Some(100.0),
            db_cpu_us_per_open: 2_000.0,
            db_cpu_us_per_send: None,
            commits_per_s: 6.0,
            batch_mean: 6.0,
            bytes_in_per_request: 300.0,
            bytes_out_per_request: 500.0,
            // Over 10 s of load and 5 s of drain.
            credits_settled_per_s: 20.0,
        };
        assert_eq!(capacity(1, &driven(), &used(), Some(5.0)), Some(expected));
    }

    /// Why a run is void that was sound before this change.
    fn reasons(arguments: &[&str], change: impl FnOnce(&mut Generator, &mut Load, &mut Audit)) -> Vec<String> {
        let line = [&["run", "hot", "--embedded"], arguments].concat();
        let matches = RunArgs::augment_args(clap::Command::new("run")).get_matches_from(line);
        let args = RunArgs::from_arg_matches(&matches).unwrap();
        let mut driven = driven();
        driven.recorder.totals.committed = 300;
        let settled = Settled { at: None, within: Duration::ZERO, look: Err("not asked".into()) };
        let (phases, faults, started_at) = (Vec::new(), Vec::new(), SystemTime::UNIX_EPOCH);
        let mut load = Load { driven, phases, faults, settled, drain_s: None, started_at, used: used() };
        let (mut generator, mut audit) = (Generator::default(), Audit::default());
        change(&mut generator, &mut load, &mut audit);
        void(&generator, &args, &load, &audit)
    }

    #[test]
    fn everything_that_makes_a_run_unbelievable_voids_it_and_is_named() {
        assert_eq!(reasons(&[], |_, _, _| ()), Vec::<String>::new());
        let fault = |error| FaultDone { at_s: 1.0, until_s: 2.0, kind: "kill".into(), part: "a1".into(), error };
        let one = |message: &str, change: fn(&mut Generator, &mut Load, &mut Audit)| {
            let reasons = reasons(&[], change);
            assert!(reasons.len() == 1 && reasons[0].contains(message), "{message}: {reasons:?}");
        };
        one("3 arrivals could not be started", |generator, _, _| generator.not_started = 3);
        one("sent more than 50.1 ms late", |generator, _, _| generator.lag_p99_ms = 50.1);
        one("used 0.91 of its one processor", |generator, _, _| generator.cpu_share = 0.91);
        one("no envelope was opened", |_, load, _| load.driven.recorder.totals.committed = 0);
        one("used up after 1.5 s", |_, load, _| load.driven.used_up_s = Some(1.5));
        one("done to its end: no answer", |_, _, audit| audit.undone = Some("no answer".into()));
        one("not settled in time: 4 fen", |_, _, audit| audit.late.push("4 fen".into()));
        let failed = reasons(&[], |_, load, _| load.faults = vec![fault(None), fault(Some("it is gone".into()))]);
        assert_eq!(failed, ["the fault kill of a1 did not go as planned: it is gone"]);
        // A closed loop has no schedule to be late for.
        assert_eq!(reasons(&["--closed", "8"], |generator, _, _| generator.lag_p99_ms = 900.0).len(), 0);
    }

    #[test]
    fn the_command_of_a_report_can_be_given_to_a_shell() {
        let line = command_line(["run", "hot", "--slo", "p99<5ms,busy<1%", "it's", ""].map(str::to_owned).into_iter());
        assert_eq!(line, r"run hot --slo 'p99<5ms,busy<1%' 'it'\''s' ''");
    }

    #[test]
    fn where_something_was_not_seen_nothing_is_planned_from_it() {
        assert_eq!(capacity(1, &driven(), &used(), None), None, "the last credit was not seen");
        assert_eq!(capacity(0, &driven(), &used(), Some(5.0)), None, "no SET did anything");
        let uncommitted = Used { batches: Batches::default(), ..used() };
        assert_eq!(capacity(1, &driven(), &uncommitted, Some(5.0)), None);
        let unseen = Used { cpu: Usage::default(), ..used() };
        assert_eq!(capacity(1, &driven(), &unseen, Some(5.0)), None);
    }
}
