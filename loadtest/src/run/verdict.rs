//! From what a run has brought to its outcome: what it cost, whether it can be
//! believed, and what can be planned from it.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat, Utc};

use super::audit::Audit;
use super::drive::Pace;
use super::rehearsal::{Load, Rehearsal};
use super::target::{NOT_STATED, Target};
use crate::capacity::Measured;
use crate::metrics::Batches;
use crate::outcome::{self, Generator, Outcome, Slo};
use crate::{Fallible, machine};

/// A generator that used more of its one processor than this was what was measured.
const GENERATOR_CPU_MAX: f64 = 0.90;

/// Processor time so far, by who used it.
pub struct Usage {
    generator: Duration,
    service: Option<Duration>,
    parts: BTreeMap<String, Duration>,
}

/// Processor time that the load took.
#[derive(Default)]
pub struct Used {
    load_s: f64,
    generator: Duration,
    service: Option<Duration>,
    parts: BTreeMap<String, Duration>,
    /// Commits, and openings in them.
    pub batches: Batches,
}

impl Usage {
    /// Reads it. Relays of faults are a thread of this process, but not the generator.
    pub fn read(target: &Target) -> Fallible<Usage> {
        let relays = target.cluster().and_then(|cluster| cluster.relay_cpu_time().ok()).unwrap_or_default();
        Ok(Usage {
            generator: machine::cpu_time(std::process::id())?.saturating_sub(relays),
            service: target.cpu_time(),
            parts: target.cluster().and_then(|cluster| cluster.cpu_times().ok()).unwrap_or_default(),
        })
    }

    /// What was used in between.
    pub fn since(&self, before: &Usage, took: Duration) -> Used {
        let part = |(name, now): (&String, &Duration)| {
            let used = now.saturating_sub(before.parts.get(name).copied().unwrap_or_default());
            (name.clone(), used)
        };
        Used {
            load_s: took.as_secs_f64(),
            generator: self.generator.saturating_sub(before.generator),
            service: self.service.zip(before.service).map(|(now, before)| now.saturating_sub(before)),
            parts: self.parts.iter().map(part).collect(),
            batches: Batches::default(),
        }
    }
}

impl Used {
    /// Of all parts whose names end like this, in microseconds.
    fn us_of(&self, of: impl Fn(&str) -> bool) -> f64 {
        let parts = self.parts.iter().filter(|(name, _)| of(name));
        parts.map(|(_, used)| used.as_secs_f64() * 1e6).sum()
    }
}

/// What the audit found, or why it could not be made.
pub type Audited = Fallible<Audit>;

/// Puts everything together.
pub fn outcome(rehearsal: &Rehearsal<'_>, load: Load, audit: Audited, mut notes: Vec<String>, slos: &[Slo]) -> Outcome {
    let args = rehearsal.args;
    let recorder = &load.driven.recorder;
    let generator = Generator {
        cpu_share: load.used.generator.as_secs_f64() / load.used.load_s,
        service_cpu_share: load.used.service.map(|used| used.as_secs_f64() / load.used.load_s),
        ..recorder.generator()
    };
    if rehearsal.target.is_relaxed() {
        notes.push("the service runs with relaxed durability: not comparable".to_owned());
    }
    if rehearsal.target.machine(args).durability == NOT_STATED {
        notes.push("the service does not state its durability: not comparable".to_owned());
    }
    if cfg!(debug_assertions) {
        notes.push("the generator is a debug build".to_owned());
    }
    if recorder.totals.settled < recorder.totals.committed {
        notes.push("the metrics did not show every credit; the audit asked for the balances themselves".to_owned());
    }
    if let Ok(audit) = &audit {
        notes.extend(audit.notes.iter().cloned());
    }
    let mut outcome = Outcome {
        scenario: args.scenario.name().to_owned(),
        command: std::env::args().collect::<Vec<_>>().join(" "),
        parameters: rehearsal.plan.parameters.clone(),
        closed_loop_users: args.closed,
        started_at: rfc3339(load.started_at),
        machine: rehearsal.target.machine(args),
        void: void(&generator, rehearsal, &load, &audit),
        notes,
        totals: recorder.totals,
        load_s: load.driven.load_s,
        drain_s: load.drain_s,
        phases: load.phases.clone(),
        seconds: recorder.seconds.clone(),
        latencies: recorder.latencies(),
        generator,
        faults: load.faults.clone(),
        audit: audit.map(|audit| audit.checks).unwrap_or_default(),
        slos: Vec::new(),
        capacity: capacity(rehearsal, &load),
    };
    outcome.slos = outcome::judge(slos, &outcome);
    outcome
}

/// Why the figures cannot be believed.
fn void(generator: &Generator, rehearsal: &Rehearsal<'_>, load: &Load, audit: &Audited) -> Vec<String> {
    let mut reasons = Vec::new();
    match audit {
        Err(error) => reasons.push(format!("the audit could not be done: {error}")),
        Ok(audit) => reasons.extend(audit.late.iter().map(|late| format!("not settled in time: {late}"))),
    }
    if load.driven.recorder.totals.committed == 0 {
        reasons.push("nobody opened anything: there was nothing to audit".to_owned());
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
        let connections = rehearsal.args.connections;
        reasons.push(format!(
            "{} arrivals could not be started: {connections} connections were all busy",
            generator.not_started
        ));
    }
    if rehearsal.args.pace() == Pace::Open && generator.lag_p99_ms > rehearsal.args.lag_ms_max {
        reasons.push(format!(
            "1% of the requests were sent more than {:.1} ms late, {} ms are allowed",
            generator.lag_p99_ms, rehearsal.args.lag_ms_max
        ));
    }
    if generator.cpu_share > GENERATOR_CPU_MAX {
        reasons.push(format!("the generator used {:.0}% of its processor", generator.cpu_share * 100.0));
    }
    reasons
}

/// What a plan can be made from: only a cluster tells its parts apart.
fn capacity(rehearsal: &Rehearsal<'_>, load: &Load) -> Option<Measured> {
    rehearsal.target.cluster()?;
    let used = &load.used;
    let count = |call: &str| {
        let rows = load.driven.recorder.latencies();
        let row = rows.into_iter().find(|row| row.call == call && row.phase == "all" && row.outcome == "all");
        row.map_or(0.0, |row| row.count as f64)
    };
    let totals = load.driven.recorder.totals;
    let (opens, grabs, views) = (totals.committed as f64, count("grab"), count("view"));
    let is_server = |name: &str| !name.contains('-') && name != "gateway";
    let traffic = load.driven.traffic;
    let measured = Measured {
        sets: rehearsal.target.sets().into(),
        wallets: 1,
        cores: std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64),
        opens_per_s: opens / used.load_s,
        grabs_per_s: grabs / used.load_s,
        views_per_s: views / used.load_s,
        // All calls together, so none is told apart from the others.
        cpu_us_per_open: used.us_of(is_server) / (opens + grabs + views),
        cpu_us_per_grab: None,
        cpu_us_per_view: None,
        cpu_us_per_send: None,
        gateway_cpu_us_per_request: Some(used.us_of(|name| name == "gateway") / traffic.requests as f64),
        db_cpu_us_per_open: used.us_of(|name| name.ends_with("-mariadb") && !name.starts_with("wallet")) / opens,
        db_cpu_us_per_send: None,
        commits_per_s: used.batches.commits() / used.load_s,
        batch_mean: used.batches.mean_since(Batches::default())?,
        bytes_in_per_request: traffic.bytes_out as f64 / traffic.requests as f64,
        bytes_out_per_request: traffic.bytes_in as f64 / traffic.requests as f64,
        credits_settled_per_s: totals.settled as f64 / (load.driven.load_s + load.drain_s?),
    };
    measured.check().is_ok().then_some(measured)
}

/// A moment as text, in UTC.
fn rfc3339(at: SystemTime) -> String {
    DateTime::<Utc>::from(at).to_rfc3339_opts(SecondsFormat::Secs, true)
}
