//! `cost`: the processor time of one opening in all processes, its credit included,
//! beside the least that the same machine needs for it in the same round: a request to a
//! bare route, a row of the journal and a row of the wallet, written by a plain client.
//!
//! Processor time varies far less with what else the machine does than throughput does,
//! and it does not reward putting credits off: each run ends when the service is idle.
//!
//! Reading order: [`case`](mod@case) says what is measured, [`floor`] what it is divided by,
//! [`usage`] whose time counts, [`run`] what a run gave, [`goal`] and [`report`] what is printed.

mod case;
mod floor;
mod goal;
mod report;
mod run;
mod usage;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use hongbao_load::{Answer, BUSY, Child, Client, Cluster, Fallible, Generator, RequestBuffer, RequestSource, Wanted};
use hongbao_load::{SECRET, files, machine};
use rustix::process::Signal;

use self::case::{Case, Via};
use self::floor::Floor;
use self::report::Report;
use self::run::Run;
use self::usage::Usage;
use crate::baseline;
use crate::conditions::Conditions;
use crate::measure::{Sample, measure};
use crate::options::Common;
use crate::prepare::{Look, Opening, open_requests, repeated, send_envelopes};
use crate::workload::{Expect, Extent, Name, PreparedWorkload, Workload};

/// The server of the one SET.
const SERVER: &str = "a1";
/// Longer than a job that has more to do rests between two runs.
const JOB_REST: Duration = Duration::from_millis(1_500);
/// After which time an idle service looks for work as seldom as ever.
const QUIET_AFTER: Duration = Duration::from_secs(7);
/// For how long the use of an idle service is observed.
const IDLE_OBSERVED: Duration = Duration::from_secs(3);
/// Users who ask for a ticket again and again.
const TICKET_USERS: u32 = 100_000;

/// The options of `cost`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Rounds; the medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Envelopes of the cases with many
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(100..=100_000))]
    envelopes: u32,
    /// Only these cases; all by default
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Only directly at the server, or only through the gateway; both by default
    #[arg(long = "via", value_enum)]
    vias: Vec<Via>,
    /// Further settings for the section `[server]`, as TOML
    #[arg(long, default_value = "")]
    server_settings: String,
    /// Write every round's figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
}

/// Runs the measurement and prints its table.
pub fn cost(args: &Args) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
    if let Some(path) = &args.json {
        files::check_writable("--json", path)?;
    }
    let mut bench = Bench::start(args)?;
    let report = bench.run()?;
    print!("{}", report.table());
    let written = files::write("--json", args.json.as_deref(), || Ok(serde_json::to_string_pretty(&report)?));
    Ok(files::exit_code(0, [written]))
}

/// A cluster of one SET, a bare route, and what is opened. The fields are dropped in this
/// order: processes end before their data goes.
struct Bench<'a> {
    cluster: Cluster,
    baseline: Child,
    dir: tempfile::TempDir,
    client: Client,
    runs: Vec<(Case, Via)>,
    stages: Vec<PreparedWorkload>,
    cold: Vec<String>,
    extent: Extent,
    idle: Usage,
    args: &'a Args,
}

impl<'a> Bench<'a> {
    fn start(args: &'a Args) -> Fallible<Bench<'a>> {
        let is_wanted = |(case, via): &(Case, Via)| {
            (args.cases.is_empty() || args.cases.contains(case)) && (args.vias.is_empty() || args.vias.contains(via))
        };
        let runs: Vec<_> = Case::runs().into_iter().filter(is_wanted).collect();
        if runs.is_empty() {
            return Err("of these cases none is measured in this way".into());
        }
        let workload = |(case, _): &(Case, Via)| {
            let name = case.workload()?;
            Some(Workload { name, connections: case.connections(), goal: None })
        };
        let workloads: Vec<Workload> = runs.iter().filter_map(workload).collect();
        let extent = Extent::new(&workloads, args.rounds, args.common.load_s(), args.envelopes)?;
        let dir = files::data_dir(&args.common.data)?;
        let wanted = Wanted {
            shares_max: extent.shares_max().max(args.rounds),
            server: args.server_settings.clone(),
            ..Wanted::default()
        };
        let cluster = Cluster::start(&args.common.server, dir.path(), 1, &wanted)?;
        let client = Client::new(cluster.server_addr(0), SECRET);
        client.wait_until_ready()?;
        Client::new(cluster.gateway_addr(), SECRET).wait_until_ready()?;
        let baseline = baseline::start(dir.path(), 1)?;
        let mut bench = Bench {
            cluster,
            baseline,
            dir,
            client,
            runs,
            stages: Vec::new(),
            cold: Vec::new(),
            extent,
            idle: Usage::default(),
            args,
        };
        bench.wait_until_idle()?;
        std::thread::sleep(QUIET_AFTER);
        bench.idle = Usage::of(&bench.cluster, || {
            std::thread::sleep(IDLE_OBSERVED);
            Ok(())
        })?
        .0;
        Ok(bench)
    }

    fn run(&mut self) -> Fallible<Report> {
        let mut report = Report {
            conditions: Conditions::read(self.dir.path(), &self.client)?,
            seconds: self.args.common.seconds,
            rounds: self.args.rounds,
            idle_share: self.idle.all().as_secs_f64() / IDLE_OBSERVED.as_secs_f64(),
            floors: Vec::new(),
            runs: Vec::new(),
        };
        for round in 1..=self.args.rounds {
            let floor = Floor::measure(&self.cluster)?;
            eprintln!("round {round} of {}: {}", self.args.rounds, floor.line());
            for (case, via) in self.runs.clone() {
                let run = self.measure(case, via, round, &floor)?;
                eprintln!("round {round} of {}: {}", self.args.rounds, run.line());
                report.runs.push(run);
            }
            report.floors.push(floor);
        }
        Ok(report)
    }

    /// The bare route and the service, one after the other, with the same requests.
    fn measure(&mut self, case: Case, via: Via, round: u32, floor: &Floor) -> Fallible<Run> {
        let requests = self.requests(case, via, round)?;
        if case == Case::Cold {
            self.restart_server()?;
        }
        let time = self.args.common.time();
        let bare = &self.baseline;
        let source = RequestSource::again_and_again(&requests);
        let bare = measure(bare.addr(), &|| bare.cpu_time(), source, case.connections(), time, Expect::Opened)?
            .without_errors("the bare route")?;

        self.wait_until_idle()?;
        let addr = self.addr(via);
        let ((sample, sent), usage) = self.usage_of(|| self.drive(case, addr, &requests))?;
        let (refused, others): (Vec<_>, Vec<_>) = sample.errors.iter().partition(|(label, _)| *label == BUSY);
        if !others.is_empty() {
            return Err(format!("{} {}: {others:?} of {sent}", case.text(), via.text()).into());
        }
        // What was refused was not opened, and what it cost is a cost of the others.
        let refused: u64 = refused.into_iter().map(|(_, count)| count).sum();
        let us = usage.of_each(sent.saturating_sub(refused));
        Ok(Run::new(case, via, floor, &bare, &sample, us, refused as f64 / sent.max(1) as f64))
    }

    fn addr(&self, via: Via) -> SocketAddr {
        match via {
            Via::Direct => self.cluster.server_addr(0),
            Via::Gateway => self.cluster.gateway_addr(),
        }
    }

    fn client(&self, via: Via) -> Client {
        Client::new(self.addr(via), SECRET)
    }

    /// What the service and this process use until all of what `drive` did is credited, beyond
    /// what the service uses when idle.
    fn usage_of<T>(&self, drive: impl FnOnce() -> Fallible<T>) -> Fallible<(T, Usage)> {
        let (usage, done) = Usage::of(&self.cluster, || {
            let generator = machine::cpu_time(std::process::id())?;
            let done = drive()?;
            let generator = machine::cpu_time(std::process::id())?.saturating_sub(generator);
            self.wait_until_idle()?;
            Ok((done, generator))
        })?;
        let (done, generator) = done;
        Ok((done, usage.beyond(&self.idle, IDLE_OBSERVED).with_generator(generator)))
    }

    fn drive(&self, case: Case, addr: SocketAddr, requests: &RequestBuffer) -> Fallible<(Sample, u64)> {
        let no_time = || Ok(Duration::ZERO);
        let (time, expect) = (self.args.common.time(), case.expect());
        if case == Case::Cold {
            return all_once(addr, requests, case.connections(), expect);
        }
        let source = match case.workload().is_some_and(Name::consumes) {
            true => RequestSource::once(requests),
            false => RequestSource::again_and_again(requests),
        };
        let sample = measure(addr, &no_time, source, case.connections(), time, expect)?;
        let sent = sample.sent;
        Ok((sample, sent))
    }

    /// The next requests of a case; no opening comes twice in all rounds.
    fn requests(&mut self, case: Case, via: Via, round: u32) -> Fallible<RequestBuffer> {
        let Some(name) = case.workload() else {
            return match case {
                Case::Cold => self.cold_requests(round),
                _ => {
                    let envelope = send_envelopes(&self.client, 1, TICKET_USERS)?;
                    Ok(repeated(&self.client, Look::Grab, &envelope[0], 1..TICKET_USERS + 1))
                }
            };
        };
        // Who opens at a gateway has grabbed there.
        let client = self.client(via);
        let stage = match self.stages.iter().position(|stage| stage.name() == name) {
            Some(place) => &mut self.stages[place],
            None => {
                self.stages.push(PreparedWorkload::set(name, &self.client, &self.extent)?);
                self.stages.last_mut().expect("one was pushed just now")
            }
        };
        stage.requests(&client, &self.extent)
    }

    /// One opening of each envelope.
    fn cold_requests(&mut self, round: u32) -> Fallible<RequestBuffer> {
        if self.cold.is_empty() {
            self.cold = send_envelopes(&self.client, self.args.envelopes, self.args.rounds)?;
        }
        let openings: Vec<Opening> =
            (0..self.args.envelopes).map(|envelope| Opening { user: round, envelope }).collect();
        open_requests(&self.client, &self.cold, &openings)
    }

    fn restart_server(&self) -> Fallible<()> {
        self.wait_until_idle()?;
        self.cluster.processes().end(SERVER, Signal::TERM)?;
        self.cluster.run(&[SERVER])?;
        self.client.wait_until_ready()
    }

    fn wait_until_idle(&self) -> Fallible<()> {
        // A job that has more to do rests between its runs: one look may fall into such a rest.
        for look in 0..2 {
            if look > 0 {
                std::thread::sleep(JOB_REST);
            }
            if self.cluster.wait_until_idle()?.is_none() {
                return Err("the service does not become idle: what it still does would be counted wrongly".into());
            }
        }
        Ok(())
    }
}

/// Sends each request once, however long it takes.
fn all_once(addr: SocketAddr, requests: &RequestBuffer, connections: u32, expect: Expect) -> Fallible<(Sample, u64)> {
    let mut generator = Generator::connect(addr, connections as usize)?;
    let check = |_: usize, answer: &Answer<'_>| expect.check(answer);
    let stats = generator.drive(&mut RequestSource::once(requests), None, check)?;
    Ok((Sample::of(&stats), stats.sent))
}
