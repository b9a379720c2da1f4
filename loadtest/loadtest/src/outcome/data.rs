//! The value itself, and what follows from it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

pub use hongbao_load::faults::FaultDone;
use hongbao_load::number;
pub use hongbao_load::page::Phase;
use serde::{Deserialize, Serialize};

use super::measured::Measured;

/// What calls of clients that send slowly are called: their latency is their own,
/// and no threshold asks for it.
pub const SLOW_CLIENTS: &str = "slow";

/// What a visit is called whose envelope could not be sent: nothing was sent for it.
pub const WITHOUT_ENVELOPE: &str = "visit without an envelope";

/// The percentiles that are kept of latencies, and the longest.
pub const PERCENTILES: [&str; 6] = ["p50", "p90", "p99", "p99.9", "p99.99", "max"];

/// The phase whose backlog is watched.
const PEAK: &str = "peak";

/// A whole run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Outcome {
    /// The scenario's name: `hot`, `groups`, `rain`, `eve`, `replay`.
    pub scenario: String,
    /// The command line that makes the same run again.
    pub command: String,
    /// The scenario's parameters as they were fixed before the run.
    pub parameters: BTreeMap<String, String>,
    /// Of a closed loop, how many users were kept busy; absent when they came by a schedule.
    #[serde(default)]
    pub closed_loop_users: Option<u32>,
    /// When the load began, RFC 3339 in UTC.
    pub started_at: String,
    /// What it ran on.
    pub machine: Machine,
    /// Why the run cannot be believed; empty when it can.
    pub void: Vec<String>,
    /// What keeps its figures from being compared with others, or should be known.
    pub notes: Vec<String>,
    /// Totals over the whole run.
    pub totals: Totals,
    /// How long the load lasted, in seconds.
    pub load_s: f64,
    /// How long it took after the load until every opening was credited, in
    /// seconds; `None` if that was not seen.
    pub drain_s: Option<f64>,
    /// Parts of the run, in order, without gaps.
    pub phases: Vec<Phase>,
    /// What each second saw, in order; the drain included.
    pub seconds: Vec<Second>,
    /// Latencies by call, phase and outcome.
    pub latencies: Vec<Latency>,
    /// How well the generator kept its schedule.
    pub generator: Generator,
    /// Faults that were injected.
    pub faults: Vec<FaultDone>,
    /// The checks of the money.
    pub audit: Vec<Check>,
    /// Fen that had not arrived when the run stopped waiting: not wrong, and not known to be
    /// right. Absent when all had.
    #[serde(default)]
    pub late_fen: Option<u64>,
    /// The thresholds that were asked for.
    pub slos: Vec<Verdict>,
    /// What `plan` needs to know; only of a run on a cluster of its own.
    #[serde(default)]
    pub capacity: Option<Measured>,
}

/// What a run ran on.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Machine {
    /// How many processors, of which model.
    pub processors: String,
    /// The type of the file system of the data, if the run started the service.
    pub file_system: String,
    /// Software by name, with its version.
    pub versions: BTreeMap<String, String>,
    /// The durability settings in force, as the service states them.
    pub durability: String,
    /// Whether commits survive a loss of power, by what all its processes say; absent where none says it.
    #[serde(default)]
    pub full_durability: Option<bool>,
}

/// Requests of a run. Only `committed` and `settled` count openings alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Arrivals that the schedule held.
    pub offered: u64,
    /// Requests that were sent.
    pub started: u64,
    /// Answers of the service that are not a refusal: any 2xx.
    pub accepted: u64,
    /// Openings answered as opened for the first time.
    pub committed: u64,
    /// Openings and refunds that the service has credited, as its metrics say.
    pub settled: u64,
    /// Requests without an answer that says what happened: lost connections and `outcome_unknown`.
    pub unknown: u64,
}

/// One second of the run.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Second {
    /// Its end, in seconds since the load began.
    pub at_s: f64,
    /// What was counted within it.
    pub counted: Totals,
    /// Latency of openings answered in it, from their scheduled start, in milliseconds.
    pub p50_ms: f64,
    /// As above.
    pub p99_ms: f64,
    /// As above.
    pub p999_ms: f64,
    /// Openings that wait in the lanes; `None` where the metrics do not say.
    pub queue_depth: Option<f64>,
    /// Openings a commit; `None` when there was none.
    pub batch_mean: Option<f64>,
    /// What was refused or failed, by what it was: `open 503 busy`.
    pub errors: BTreeMap<String, u64>,
}

/// Latencies of one kind of answer, from the scheduled start, in milliseconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// `create`, `pay`, `grab`, `open`, `view`.
    pub call: String,
    /// The phase's name, or `all`.
    pub phase: String,
    /// What was answered: `opened`, `empty`, `503 busy`, or `all`.
    pub outcome: String,
    /// How many.
    pub count: u64,
    /// Milliseconds at 50, 90, 99, 99.9 and 99.99 percent, and the longest.
    pub p50_ms: f64,
    /// As above.
    pub p90_ms: f64,
    /// As above.
    pub p99_ms: f64,
    /// As above.
    pub p999_ms: f64,
    /// As above.
    pub p9999_ms: f64,
    /// As above.
    pub max_ms: f64,
}

/// How the generator itself did.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Generator {
    /// Processors that it used on average; 1.0 is one of them the whole time.
    pub cpu_share: f64,
    /// Processors that the service used on average, if the run started it.
    pub service_cpu_share: Option<f64>,
    /// How late requests were sent: bars of (up to so many milliseconds, how many).
    pub lag_bars: Vec<(f64, u64)>,
    /// Lag at 99 percent, in milliseconds.
    pub lag_p99_ms: f64,
    /// The greatest lag, in milliseconds.
    pub lag_max_ms: f64,
    /// Arrivals that could not be started. More than none voids the run.
    pub not_started: u64,
}

/// One check of the audit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// What must hold.
    pub rule: String,
    /// How many things were looked at.
    pub checked: u64,
    /// How many break it.
    pub broken: u64,
    /// The first of those.
    pub examples: Vec<String>,
}

/// One threshold, and whether it held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// As it was written: `open.p99<50ms`.
    pub text: String,
    /// What was measured, with its unit; `not measured` if nothing was.
    pub value: String,
    /// Whether it held. What was not measured did not.
    pub held: bool,
}

impl Totals {
    /// Adds what was counted elsewhere, or later.
    pub fn add(&mut self, other: &Totals) {
        self.offered += other.offered;
        self.started += other.started;
        self.accepted += other.accepted;
        self.committed += other.committed;
        self.settled += other.settled;
        self.unknown += other.unknown;
    }
}

impl Latency {
    /// In the order of [`PERCENTILES`].
    pub fn milliseconds(&self) -> [f64; 6] {
        [self.p50_ms, self.p90_ms, self.p99_ms, self.p999_ms, self.p9999_ms, self.max_ms]
    }

    /// Of each of these, whether there were enough to set it apart from the longest.
    pub fn enough(&self) -> [bool; 6] {
        [2, 10, 100, 1_000, 10_000, 1].map(|least| self.count >= least)
    }
}

/// Errors by what they were, the most frequent first.
pub fn most_frequent<'a>(errors: impl IntoIterator<Item = (&'a String, &'a u64)>) -> Vec<(&'a str, u64)> {
    let mut kinds: BTreeMap<&str, u64> = BTreeMap::new();
    for (label, count) in errors {
        *kinds.entry(label).or_default() += count;
    }
    let mut kinds: Vec<_> = kinds.into_iter().collect();
    kinds.sort_by_key(|(_, count)| Reverse(*count));
    kinds
}

/// Answers to one call, whatever they said.
pub fn answered(latencies: &[Latency], call: &str) -> u64 {
    let is_whole = |row: &&Latency| row.call == call && row.phase == "all" && row.outcome == "all";
    latencies.iter().find(is_whole).map_or(0, |row| row.count)
}

impl Outcome {
    /// Whether any check looked at anything: without it, that the money holds says nothing.
    pub fn is_audited(&self) -> bool {
        self.audit.iter().any(|check| check.checked > 0 || check.broken > 0)
    }

    /// Whether no fen is known to be wrong.
    pub fn money_holds(&self) -> bool {
        self.audit.iter().all(|check| check.broken == 0)
    }

    /// Requests that were sent, and visits for which none could be: what refusals and failures are a share of.
    pub fn wanted(&self) -> u64 {
        let in_vain = |second: &Second| second.errors.get(WITHOUT_ENVELOPE).copied().unwrap_or(0);
        self.totals.started + self.seconds.iter().map(in_vain).sum::<u64>()
    }

    /// The time until the last opening was credited, or until the run stopped looking, in seconds.
    pub fn settling_s(&self) -> f64 {
        let seen = self.seconds.last().map_or(0.0, |second| second.at_s);
        self.drain_s.map_or(seen.max(self.load_s), |drain| self.load_s + drain)
    }

    /// What was credited while the load lasted.
    pub fn settled_in_load(&self) -> u64 {
        self.seconds.iter().filter(|second| second.at_s <= self.load_s).map(|second| second.counted.settled).sum()
    }

    /// The time from the end of the peak until as much was credited as had been opened by
    /// then, in seconds; `None` if there was no peak, or it was not seen.
    pub fn peak_drain_s(&self) -> Option<f64> {
        let end_s = self.phases.iter().find(|phase| phase.name == PEAK)?.to_s;
        let of_peak = self.seconds.iter().filter(|second| second.at_s <= end_s);
        let opened: u64 = of_peak.map(|second| second.counted.committed).sum();
        let mut credited = 0;
        let drained = self.seconds.iter().find(|second| {
            credited += second.counted.settled;
            credited >= opened && second.at_s >= end_s
        });
        drained.map(|second| second.at_s - end_s)
    }

    /// How users came, if not by a schedule.
    pub fn closed_loop(&self) -> Option<String> {
        self.closed_loop_users.map(|users| format!("a closed loop of {} users", number::count(users.into())))
    }

    /// Where latencies begin.
    pub fn latency_origin(&self) -> &'static str {
        match self.closed_loop_users {
            None => "from the scheduled start",
            Some(_) => "from the sending: a closed loop asks less of a slow service, which flatters it",
        }
    }

    /// 0: all held. 1: money or a threshold did not. 2: the run cannot be
    /// believed, or its money was not checked. A wrong fen comes before anything else.
    pub fn exit_code(&self) -> u8 {
        if !self.money_holds() {
            return 1;
        }
        if !self.void.is_empty() || !self.is_audited() {
            return 2;
        }
        u8::from(!self.slos.iter().all(|slo| slo.held))
    }
}
