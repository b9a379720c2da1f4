//! `run`: a rehearsal. A plan is written, the service is driven by it, what it
//! was told is audited, and the outcome is shown.
//!
//! Reading order: [`plan`] says what a run is on paper, [`scenario`] writes it,
//! [`engine`] drives it, [`history`] keeps what was said, [`audit`] checks it.

mod alarm;
mod answer;
mod arrivals;
mod audit;
mod drive;
mod engine;
mod gauges;
mod history;
mod people;
mod plan;
mod prepare;
mod recorder;
mod request;
mod scenario;
mod seats;
mod target;
#[cfg(test)]
mod tests;
mod verdict;
mod wire;

use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant, SystemTime};

use rand::SeedableRng;
use rand::rngs::SmallRng;

use self::arrivals::Arrivals;
use self::audit::Books;
use self::drive::{Driven, Equipment, Pace};
use self::engine::Engine;
use self::gauges::GaugeWatch;
use self::people::People;
use self::plan::Plan;
use self::recorder::Gauges;
use self::scenario::{Scenario, Wish};
use self::target::Target;
use crate::client::Client;
use crate::faults::Schedule;
use crate::outcome::{self, FaultDone, Live, Phase, Second, Slo};
use crate::service::SECRET;
use crate::{Fallible, interrupt, machine};

/// How long credits may take after the load.
const DRAIN_WITHIN: Duration = Duration::from_secs(300);
/// Shares that an envelope may have in a service that the run starts itself.
const SHARES_MAX_OWN: u32 = 10_000_000;

/// What a run is told.
#[derive(Clone, Debug, clap::Args)]
pub struct RunArgs {
    /// What to rehearse
    #[arg(value_enum)]
    scenario: Scenario,
    /// With replay: the file to replay
    file: Option<PathBuf>,

    /// Start `hongbao dev` on SQLite and drive it
    #[arg(long, group = "on", help_heading = "What is driven")]
    embedded: bool,
    /// Start a cluster on this machine and drive it through its gateway
    #[arg(long, group = "on", help_heading = "What is driven")]
    cluster: bool,
    /// Drive an installation that runs: the address of its gateway
    #[arg(long, group = "on", required_unless_present_any = ["embedded", "cluster"], help_heading = "What is driven")]
    target: Option<SocketAddr>,
    /// With --target: a file with the secret that tokens are signed with; without it the dev call is asked for tokens
    #[arg(long, help_heading = "What is driven")]
    secret_file: Option<PathBuf>,
    /// With --target: a file with an operator's token; everything is then marked as a rehearsal and touches no real money
    #[arg(long, help_heading = "What is driven")]
    rehearsal_token_file: Option<PathBuf>,
    /// With --target: whose metrics to read, if not the target's: servers and workers
    #[arg(long, value_delimiter = ',', help_heading = "What is driven")]
    metrics: Vec<SocketAddr>,
    /// The `hongbao` binary, a release build
    #[arg(long, default_value = "target/release/hongbao", help_heading = "What is driven")]
    server: PathBuf,
    /// The script that starts a cluster
    #[arg(long, default_value = "ops/cluster.sh", help_heading = "What is driven")]
    cluster_script: PathBuf,
    /// With --cluster: how many SETs
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u16).range(1..=10), help_heading = "What is driven")]
    sets: u16,
    /// Further settings for the section `[server]`, as TOML
    #[arg(long, default_value = "", help_heading = "What is driven")]
    server_settings: String,
    /// Where a service that is started keeps its data; deleted afterwards
    #[arg(long, default_value = "target/bench-data", help_heading = "What is driven")]
    data: PathBuf,

    /// Openings a second at the full rate
    #[arg(long, default_value_t = 1_000.0, value_parser = parse_rate, help_heading = "The load")]
    rate: f64,
    /// How long the load lasts, in seconds
    #[arg(long, default_value_t = 30.0, value_parser = parse_seconds, help_heading = "The load")]
    seconds: f64,
    /// How arrivals lie in time: constant, poisson, steps:N, ramp, profile:FILE (a rate a line, for a second each)
    #[arg(long, default_value = "poisson", help_heading = "The load")]
    arrivals: String,
    /// Closed loop instead: so many users at a time, each coming when another has left; finds the ceiling
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16_384), help_heading = "The load")]
    closed: Option<u32>,
    /// Connections at most
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=16_384), help_heading = "The load")]
    connections: u32,
    /// The part of openings that are sent twice at once
    #[arg(long, default_value_t = 0.01, value_parser = parse_part, help_heading = "The load")]
    doubles: f64,
    /// The part of users whose clients send slowly
    #[arg(long, default_value_t = 0.001, value_parser = parse_part, help_heading = "The load")]
    slow: f64,
    /// How often somebody who was told to come again does so, with jitter
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=20), help_heading = "The load")]
    retries: u8,
    /// Shares of an envelope at most; what the installation allows
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000), help_heading = "The load")]
    shares_max: Option<u32>,
    /// Fetch tickets before the load (`hot` and `rain`); off when the installation's tickets would be too old by then
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, help_heading = "The load")]
    tickets_ahead: bool,
    /// The seed of everything that is random
    #[arg(long, default_value_t = 1, help_heading = "The load")]
    seed: u64,
    /// A schedule of faults, with --cluster
    #[arg(long, help_heading = "The load")]
    faults: Option<PathBuf>,

    /// Thresholds: p99<50ms,open.p99.9<200ms,busy<1%,opens>1000/s,drain<60s
    #[arg(long = "slo", value_delimiter = ',', help_heading = "The verdict")]
    slos: Vec<Slo>,
    /// Thresholds from a file, one a line
    #[arg(long, help_heading = "The verdict")]
    slo_file: Option<PathBuf>,
    /// Requests that are sent later than this, in milliseconds, at 99%, void the run
    #[arg(long, default_value_t = 50.0, value_parser = parse_seconds, help_heading = "The verdict")]
    lag_ms_max: f64,
    /// Write the outcome as JSON
    #[arg(long, help_heading = "The verdict")]
    json: Option<PathBuf>,
    /// Write the outcome as one HTML page
    #[arg(long, help_heading = "The verdict")]
    html: Option<PathBuf>,
    /// Write what was said to each request to open, as JSON lines
    #[arg(long, help_heading = "The verdict")]
    history: Option<PathBuf>,
}

impl RunArgs {
    /// What belongs to another way to drive is refused: it would be ignored.
    fn check(&self) -> Fallible<()> {
        let of_target = [
            ("--secret-file", self.secret_file.is_some()),
            ("--rehearsal-token-file", self.rehearsal_token_file.is_some()),
            ("--metrics", !self.metrics.is_empty()),
        ];
        if let Some((name, _)) = of_target.iter().find(|(_, given)| *given && self.target.is_none()) {
            return Err(format!("{name} goes with --target").into());
        }
        if self.faults.is_some() && !self.cluster {
            return Err("--faults goes with --cluster: faults happen to parts of a cluster that the run started".into());
        }
        if self.file.is_some() && self.scenario != Scenario::Replay {
            return Err("only replay reads a FILE".into());
        }
        Ok(())
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    parse_within(text, 0.01, 1_000_000.0)
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    parse_within(text, 0.1, 86_400.0)
}

fn parse_part(text: &str) -> Result<f64, String> {
    parse_within(text, 0.0, 1.0)
}

fn parse_within(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (least..=most).contains(&value) { Ok(value) } else { Err(format!("must be {least} to {most}")) }
}

/// Carries out a run: 0 when everything held, 1 when money or a threshold did
/// not, 2 when the run cannot be believed.
pub fn run(args: &RunArgs) -> Fallible<ExitCode> {
    interrupt::watch()?;
    machine::raise_open_files()?;
    // What is wrong with the arguments is said before anything starts.
    args.check()?;
    for path in [&args.json, &args.html, &args.history].into_iter().flatten() {
        File::create(path).map_err(|error| format!("{}: {error}", path.display()))?;
    }
    let mut slos = args.slos.clone();
    if let Some(path) = &args.slo_file {
        slos.extend(outcome::read_slos(path)?);
    }
    let faults = args.faults.as_deref().map(Schedule::read).transpose()?.unwrap_or_default();
    let wish = wish(args)?;
    let plan = args.scenario.plan(&wish)?;
    if let Some(late) = faults.faults().iter().find(|fault| fault.at.as_secs_f64() >= plan.load_s()) {
        return Err(format!("{}: a fault comes after the load, which lasts {} s", late.part, plan.load_s()).into());
    }

    let lead = prepare::lead(&plan);
    let begin = args.scenario.midnight_s(&wish).map(|midnight_s| (machine::wall_clock() + lead, midnight_s));
    let midnight = begin.map(|(begin, midnight_s)| begin + Duration::from_secs_f64(midnight_s));
    eprintln!(
        "{}: {} visits, {} envelopes, {} users",
        args.scenario.name(),
        plan.visits.len(),
        plan.envelopes.len(),
        plan.users
    );
    let shares_max = if args.target.is_some() { wish.shares_max } else { SHARES_MAX_OWN };
    let target = Target::open(args, shares_max, midnight, &faults)?;
    Client::new(target.addr, SECRET).wait_until_ready()?;

    let run_number =
        machine::wall_clock().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u32);
    let header = mark(args)?;
    let people = People::new(target.addr, run_number, &plan, &target.passes, header.clone())?;
    let prepared = prepare::prepare(&plan, &people, args.tickets_ahead)?;
    let mut notes = Vec::new();
    if let Some((begin, _)) = begin {
        match begin.duration_since(machine::wall_clock()) {
            Ok(left) => std::thread::sleep(left),
            Err(late) => notes
                .push(format!("the load began {:.1} s late, so midnight comes early", late.duration().as_secs_f64())),
        }
    }

    let rehearsal = Rehearsal { args, plan: &plan, target: &target, people: &people, faults: &faults };
    let load = rehearsal.drive(prepared, header)?;
    let books = Books {
        plan: &plan,
        people: &people,
        envelopes: &load.driven.envelopes,
        history: &load.driven.history,
        top_ups: &plan.money(),
    };
    eprintln!("auditing {} openings in {} envelopes", load.driven.history.len(), plan.envelopes.len());
    // Before the audit, which may fail: what was said is all that is left then.
    if let Some(path) = &args.history {
        history::export(path, &load.driven.history, &load.driven.envelopes, |user| people.id(user))?;
    }
    let audit = books.audit();
    interrupt::check()?;
    let outcome = verdict::outcome(&rehearsal, load, audit, notes, &slos);
    print!("{}", outcome.text());
    if let Some(path) = &args.json {
        std::fs::write(path, outcome.json()?)?;
    }
    if let Some(path) = &args.html {
        std::fs::write(path, outcome.html())?;
    }
    Ok(ExitCode::from(outcome.exit_code()))
}

/// The header that marks everything as a rehearsal, if it is one.
fn mark(args: &RunArgs) -> Fallible<String> {
    let Some(path) = &args.rehearsal_token_file else { return Ok(String::new()) };
    let token = std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    Ok(format!("x-hongbao-rehearsal: {}\r\n", token.trim()))
}

fn wish(args: &RunArgs) -> Fallible<Wish> {
    let shares_max = args.shares_max.unwrap_or(if args.target.is_some() { 500 } else { SHARES_MAX_OWN });
    Ok(Wish {
        rate: args.rate,
        seconds: args.seconds,
        arrivals: Arrivals::read(&args.arrivals)?,
        shares_max,
        doubles: args.doubles,
        slow: args.slow,
        seed: args.seed,
        file: args.file.clone(),
    })
}

/// Everything that a run has at hand.
struct Rehearsal<'a> {
    args: &'a RunArgs,
    plan: &'a Plan,
    target: &'a Target,
    people: &'a People,
    faults: &'a Schedule,
}

/// What the load and the drain brought.
struct Load {
    driven: Driven,
    phases: Vec<Phase>,
    faults: Vec<FaultDone>,
    drain_s: Option<f64>,
    started_at: SystemTime,
    used: verdict::Used,
}

impl Rehearsal<'_> {
    fn pace(&self) -> Pace {
        self.args.closed.map_or(Pace::Open, Pace::Closed)
    }

    fn drive(&self, prepared: prepare::Prepared, header: String) -> Fallible<Load> {
        let watch = GaugeWatch::start(self.target.metrics.clone(), self.args.rehearsal_token_file.is_some());
        let mut live = Live::stderr(self.args.scenario.name(), self.plan.load_s());
        let phase_of = |at_s: f64| self.plan.phases[self.plan.phase_at((at_s * 1e6) as u64)].name.as_str();
        let mut on_second = |second: &Second| live.show(second, phase_of(second.at_s - 0.5));
        let equipment = Equipment {
            addr: self.target.addr,
            tokens: &self.people.tokens,
            tickets: &prepared.tickets,
            envelopes: prepared.envelopes,
            header,
            connections: self.args.connections as usize,
            retries: self.args.retries,
            random: SmallRng::seed_from_u64(self.args.seed),
            gauges: &|| watch.gauges(),
            on_second: &mut on_second,
        };
        let engine = Engine::new(self.plan, self.pace(), equipment)?;
        let before = verdict::Usage::read(self.target)?;
        let (started, started_at) = (Instant::now(), machine::wall_clock());
        let faults = self.target.cluster().map(|cluster| self.faults.start(cluster, started)).transpose()?;
        let mut driven = engine.drive(started)?;
        let mut used = verdict::Usage::read(self.target)?.since(&before, started.elapsed());
        let faults = faults.map_or_else(|| Ok(Vec::new()), |faults| faults.wait().map(|()| faults.finish()))?;

        let load_s = started.elapsed().as_secs_f64();
        let mut phases = self.plan.phases.clone();
        let drain_s = self.drain(&mut driven, &|| watch.gauges(), started, &mut |second| live.show(second, "drain"))?;
        let ended_s = started.elapsed().as_secs_f64();
        phases.push(Phase { name: "drain".to_owned(), from_s: self.plan.load_s(), to_s: ended_s });
        used.batches = watch.batches();
        let drain_s = drain_s.map(|drain_s| drain_s + (load_s - self.plan.load_s()).max(0.0));
        Ok(Load { driven, phases, faults, drain_s, started_at, used })
    }

    /// Waits until every opening that was acknowledged is credited; how long
    /// that took, if it was seen.
    fn drain(
        &self,
        driven: &mut Driven,
        gauges: &dyn Fn() -> Gauges,
        started: Instant,
        on_second: &mut dyn FnMut(&Second),
    ) -> Fallible<Option<f64>> {
        let from = Instant::now();
        loop {
            let totals = driven.recorder.totals;
            if totals.settled >= totals.committed && from.elapsed() > Duration::from_secs(1) {
                return Ok(Some((from.elapsed() - Duration::from_secs(1)).as_secs_f64()));
            }
            if from.elapsed() > DRAIN_WITHIN || (totals.settled == 0 && from.elapsed() > DRAIN_WITHIN / 10) {
                return Ok(None);
            }
            interrupt::check()?;
            std::thread::sleep(Duration::from_secs(1));
            let second = driven.recorder.tick(started.elapsed().as_secs_f64(), gauges());
            on_second(second);
        }
    }
}
