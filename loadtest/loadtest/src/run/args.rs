//! The command line of a run.

use std::path::PathBuf;

use clap::ArgGroup;
use hongbao_load::number::within;
use hongbao_load::{Fallible, Resolve, Url, files, parse_set_count};

use super::arrivals::Arrivals;
use super::drive::Pace;
use super::scenario::{Scenario, Wish};
use crate::outcome::Slo;

/// Openings a second at the full rate, where nothing else is asked for.
const RATE: f64 = 1_000.0;
/// How long the load lasts then, in seconds.
const SECONDS: f64 = 30.0;
/// Shares that an envelope may have in an installation, where nothing else is asked for.
const SHARES_MAX: u32 = 500;
/// Shares that an envelope may have in a service that the run starts itself.
const SHARES_MAX_OWN: u32 = 10_000_000;

/// The options of a run.
#[derive(Clone, Debug, clap::Args)]
#[group(skip)]
#[command(group(ArgGroup::new("on").required(true)))]
pub struct RunArgs {
    /// What to rehearse
    #[arg(value_enum)]
    pub scenario: Scenario,
    /// With replay: the file to replay
    pub file: Option<PathBuf>,

    /// Start `hongbao dev` on SQLite and drive it
    #[arg(long, group = "on", help_heading = "What is driven")]
    pub embedded: bool,
    /// Start a cluster on this machine and drive it through its gateway
    #[arg(long, group = "on", help_heading = "What is driven")]
    pub cluster: bool,
    /// Drive an installation that runs: https://name, http://name:port or address:port of its gateway, or of
    /// what stands before it
    #[arg(long, group = "on", help_heading = "What is driven")]
    pub target: Option<Url>,
    /// With --target: a file with certificates of authorities (PEM) that are trusted besides the system's
    #[arg(long, value_name = "FILE", help_heading = "What is driven")]
    pub ca: Vec<PathBuf>,
    /// With --target: connect to an address instead of where a name leads, as curl does
    #[arg(long, value_name = "NAME:PORT:ADDRESS", help_heading = "What is driven")]
    pub resolve: Vec<Resolve>,
    /// With --target: a file with the secret that tokens are signed with; without it the dev call is asked for tokens
    #[arg(long, help_heading = "What is driven")]
    pub secret_file: Option<PathBuf>,
    /// With --secret-file: whom tokens are for (`aud`), where the installation demands it
    #[arg(long, requires = "secret_file", help_heading = "What is driven")]
    pub audience: Option<String>,
    /// With --secret-file: whom tokens are from (`iss`), where the installation demands it
    #[arg(long, requires = "secret_file", help_heading = "What is driven")]
    pub issuer: Option<String>,
    /// With --target: a file with an operator's token; everything is then marked as a rehearsal and touches no real money
    #[arg(long, help_heading = "What is driven")]
    pub rehearsal_token_file: Option<PathBuf>,
    /// With --target: whose metrics to read, if not the target's: servers and workers
    #[arg(long, value_delimiter = ',', help_heading = "What is driven")]
    pub metrics: Vec<Url>,
    /// The `hongbao` binary, a release build
    #[arg(long, default_value = "target/release/hongbao", conflicts_with = "target", help_heading = "What is driven")]
    pub server: PathBuf,
    /// With --cluster: how many SETs, 1, 2 or 4
    #[arg(long, default_value_t = 2, value_parser = parse_set_count, conflicts_with_all = ["target", "embedded"], help_heading = "What is driven")]
    pub sets: u16,
    /// Further settings for the section `[server]`, as TOML
    #[arg(long, default_value = "", conflicts_with = "target", help_heading = "What is driven")]
    pub server_settings: String,
    /// Where a service that is started keeps its data; deleted afterwards
    #[arg(long, default_value = "target/bench-data", conflicts_with = "target", help_heading = "What is driven")]
    pub data: PathBuf,

    /// Openings a second at the full rate; 1000 if it is not given. A profile and a recording have their own
    #[arg(long, value_parser = within(0.01, 1_000_000.0), help_heading = "The load")]
    pub rate: Option<f64>,
    /// How long the load lasts, in seconds; 30 if it is not given. A profile and a recording have their own length
    #[arg(long, value_parser = within(0.1, 86_400.0), help_heading = "The load")]
    pub seconds: Option<f64>,
    /// With hot and groups, how arrivals lie in time: poisson (if it is not given), constant, steps:N, ramp,
    /// profile:FILE (a rate a line, for a second each; --rate scales it to another highest rate, --seconds repeats it)
    #[arg(long, conflicts_with = "closed", help_heading = "The load")]
    pub arrivals: Option<String>,
    /// Closed loop instead: so many users at a time, each coming when another has left; finds the ceiling
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=16_384), help_heading = "The load")]
    pub closed: Option<u32>,
    /// Connections at most
    #[arg(long, default_value_t = 1_024, value_parser = clap::value_parser!(u32).range(1..=16_384), help_heading = "The load")]
    pub connections: u32,
    /// The part of openings that are sent twice at once
    #[arg(long, default_value_t = 0.01, value_parser = within(0.0, 1.0), help_heading = "The load")]
    pub doubles: f64,
    /// The part of users whose clients send slowly
    #[arg(long, default_value_t = 0.001, value_parser = within(0.0, 1.0), help_heading = "The load")]
    pub slow: f64,
    /// How often a refused request is sent again, with jitter
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u8).range(0..=20), help_heading = "The load")]
    pub retries: u8,
    /// Shares of an envelope at most; what the installation allows
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000), help_heading = "The load")]
    pub shares_max: Option<u32>,
    /// Fetch tickets before the load, where it sends nothing (`hot`, `rain`, some recordings); off when the
    /// installation's tickets would be too old by then
    #[arg(long, default_value_t = true, action = clap::ArgAction::Set, help_heading = "The load")]
    pub tickets_ahead: bool,
    /// The seed of everything that is random
    #[arg(long, default_value_t = 1, help_heading = "The load")]
    pub seed: u64,
    /// A schedule of faults, with --cluster
    #[arg(long, help_heading = "The load")]
    pub faults: Option<PathBuf>,
    /// A change of the topology while the load runs, as TIME=FILE, with --cluster; repeatable
    #[arg(long, value_name = "TIME=FILE", help_heading = "The load")]
    pub topology_at: Vec<String>,

    /// Thresholds: p99<50ms,open.p99.9<200ms,busy<1%,opens>1000/s,drain<60s
    #[arg(long = "slo", value_delimiter = ',', help_heading = "The verdict")]
    pub slos: Vec<Slo>,
    /// Thresholds from a file, one a line
    #[arg(long, help_heading = "The verdict")]
    pub slo_file: Option<PathBuf>,
    /// Requests that are sent later than this, in milliseconds, at 99%, void the run
    #[arg(long, default_value_t = 50.0, value_parser = within(0.1, 86_400.0), help_heading = "The verdict")]
    pub lag_ms_max: f64,
    /// Write the outcome as JSON
    #[arg(long, help_heading = "The verdict")]
    pub json: Option<PathBuf>,
    /// Write the outcome as one HTML page
    #[arg(long, help_heading = "The verdict")]
    pub html: Option<PathBuf>,
    /// Write what was answered to each request to open or to pay, and by grabs of an opening that was there, as JSON lines
    #[arg(long, help_heading = "The verdict")]
    pub history: Option<PathBuf>,
}

impl RunArgs {
    /// What belongs to another way to drive is refused: it would be ignored.
    pub fn check(&self) -> Fallible<()> {
        let of_target = [
            ("--secret-file", self.secret_file.is_some()),
            ("--rehearsal-token-file", self.rehearsal_token_file.is_some()),
            ("--metrics", !self.metrics.is_empty()),
            ("--ca", !self.ca.is_empty()),
            ("--resolve", !self.resolve.is_empty()),
        ];
        if let Some((name, _)) = of_target.iter().find(|(_, given)| *given && self.target.is_none()) {
            return Err(format!("{name} goes with --target").into());
        }
        if self.faults.is_some() && !self.cluster {
            return Err("--faults goes with --cluster: faults happen to parts of a cluster that the run started".into());
        }
        if !self.topology_at.is_empty() && !self.cluster {
            return Err(
                "--topology-at goes with --cluster: it changes the topology of a cluster that the run started".into()
            );
        }
        if let Some(users) = self.closed.filter(|users| *users > self.connections) {
            return Err(format!(
                "--closed {users} keeps {} users busy: it needs as many --connections",
                self.connections
            )
            .into());
        }
        if self.file.is_some() && self.scenario != Scenario::Replay {
            return Err("only replay reads a FILE".into());
        }
        if self.arrivals.is_some() && !matches!(self.scenario, Scenario::Hot | Scenario::Groups) {
            return Err(format!("--arrivals goes with hot and groups: {} has its own", self.scenario.name()).into());
        }
        if self.scenario == Scenario::Replay && (self.rate.is_some() || self.seconds.is_some()) {
            return Err("--rate and --seconds do not go with replay: a recording has its own".into());
        }
        Ok(())
    }

    /// What the scenario is given.
    pub fn wish(&self) -> Fallible<Wish> {
        let arrivals = self.arrivals.as_deref().map_or(Ok(Arrivals::Poisson), Arrivals::read)?;
        let (rate, seconds) = arrivals.own().unwrap_or((RATE, SECONDS));
        Ok(Wish {
            rate: self.rate.unwrap_or(rate),
            seconds: self.seconds.unwrap_or(seconds),
            arrivals,
            shares_max: self.shares_max.unwrap_or(if self.target.is_some() { SHARES_MAX } else { SHARES_MAX_OWN }),
            doubles: self.doubles,
            slow: self.slow,
            seed: self.seed,
            file: self.file.clone(),
        })
    }

    /// The shares that the service must allow an envelope.
    pub fn shares_max_allowed(&self, wish: &Wish) -> u32 {
        if self.target.is_some() { wish.shares_max } else { SHARES_MAX_OWN }
    }

    /// The header that marks everything as a rehearsal, if it is one.
    pub fn mark(&self) -> Fallible<String> {
        let Some(path) = &self.rehearsal_token_file else { return Ok(String::new()) };
        Ok(format!("x-hongbao-rehearsal: {}\r\n", files::read_line("--rehearsal-token-file", path)?))
    }

    /// How visits follow one another.
    pub fn pace(&self) -> Pace {
        self.closed.map_or(Pace::Open, Pace::Closed)
    }
}
