//! `bench`: the service against a bare route, over the same wire, with the same
//! requests, in turns. The two servers and the generator are three processes.

use std::path::PathBuf;
use std::process::ExitCode;

use hongbao_load::{Batches, Child, Client, Fallible, RequestBuffer, RequestSource, Service, Wanted, files};
use tempfile::TempDir;

use crate::baseline;
use crate::conditions::Conditions;
use crate::measure::{measure, us_of_each};
use crate::options::Common;
use crate::report::{Line, Report, Round};
use crate::workload::{self, Expect, Extent, Name, PreparedWorkload, Workload};

/// The options of bench.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Measure a server of a SET with MariaDB, memcached and Redis, instead of the embedded service
    #[arg(long)]
    cluster: bool,
    /// With --cluster: leave memcached and Redis out, to see what they cost
    #[arg(long, requires = "cluster")]
    bare: bool,
    /// Further settings for the section `[server]`, as TOML
    #[arg(long, default_value = "")]
    server_settings: String,
    /// Rounds of each workload; the medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=8192))]
    connections: u32,
    /// Envelopes of the spread workload
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    envelopes: u32,
    /// Only these workloads: hot, spread, memory, view
    #[arg(long = "workload", value_enum)]
    workloads: Vec<workload::Name>,
    /// Write every round's figures to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Exit with 1 when a goal is missed
    #[arg(long)]
    enforce: bool,
}

/// Runs the bench and prints its table.
pub fn bench(args: &Args) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
    if let Some(path) = &args.json {
        files::check_writable("--json", path)?;
    }
    let report = Bench::start(args)?.run()?;
    print!("{}", report.table());
    let faults = report.faults();
    faults.iter().for_each(|fault| println!("FAILED: {fault}"));
    let written = files::write("--json", args.json.as_deref(), || Ok(serde_json::to_string_pretty(&report)?));
    let failed = !faults.is_empty() || (args.enforce && !report.goals_met());
    Ok(files::exit_code(u8::from(failed), [written]))
}

/// Two servers, and what is to be measured. The fields are dropped in this
/// order: the servers end before their data goes.
struct Bench<'a> {
    service: Service,
    baseline: Child,
    dir: TempDir,
    client: Client,
    lines: Vec<Workload>,
    extent: Extent,
    args: &'a Args,
}

impl<'a> Bench<'a> {
    fn start(args: &'a Args) -> Fallible<Bench<'a>> {
        let lines = workload::lines(&args.workloads, args.connections, args.cluster);
        let extent = Extent::new(&lines, args.rounds, args.common.load_s(), args.envelopes)?;
        let dir = files::data_dir(&args.common.data)?;
        let wanted = Wanted {
            shares_max: extent.shares_max(),
            server: args.server_settings.clone(),
            bare: args.bare,
            ..Wanted::default()
        };
        let service = Service::start(args.cluster, &args.common.server, dir.path(), &wanted)?;
        let baseline = baseline::start(dir.path(), 1)?;
        let client = service.client(service.addr())?;
        Ok(Bench { service, baseline, dir, client, lines, extent, args })
    }

    fn run(self) -> Fallible<Report> {
        self.measure_all().map_err(|error| self.service.complaint(&error.to_string()))
    }

    fn measure_all(&self) -> Fallible<Report> {
        let conditions = Conditions::read(self.dir.path(), &self.client)?;
        let mut lines = Vec::new();
        for name in [Name::Hot, Name::Spread, Name::Memory, Name::View] {
            let of_name: Vec<Workload> = self.lines.iter().filter(|line| line.name == name).copied().collect();
            if of_name.is_empty() {
                continue;
            }
            let mut stage = PreparedWorkload::set(name, &self.client, &self.extent)?;
            for workload in of_name {
                lines.push(self.line(workload, &mut stage)?);
            }
        }
        Ok(Report { conditions, seconds: self.args.common.seconds, lines })
    }

    fn line(&self, workload: Workload, stage: &mut PreparedWorkload) -> Fallible<Line> {
        let mut rounds = Vec::new();
        for number in 1..=self.args.rounds {
            let requests = stage.requests(&self.client, &self.extent)?;
            let round = self.round(workload, &requests)?;
            eprintln!(
                "{} at {}, round {number} of {}: bare {:.0}/s, service {:.0}/s, ratio {:.2}",
                workload.name.text(),
                workload.connections,
                self.args.rounds,
                round.bare.per_second,
                round.service.per_second,
                round.ratio()
            );
            rounds.push(round);
        }
        Ok(Line::new(workload, rounds))
    }

    fn round(&self, workload: Workload, requests: &RequestBuffer) -> Fallible<Round> {
        self.service.wait_until_idle()?;
        let time = self.args.common.time();
        let connections = workload.connections;
        let source = RequestSource::again_and_again(requests);
        let bare = &self.baseline;
        let bare = measure(bare.addr(), &|| bare.cpu_time(), source, connections, time, Expect::Opened)?;

        let before = Batches::read(&self.client.metrics()?);
        let source = if workload.name.consumes() {
            RequestSource::once(requests)
        } else {
            RequestSource::again_and_again(requests)
        };
        let service = &self.service;
        let expect = workload.name.expect();
        let used_before = service.cpu_time()?;
        let mut service = measure(service.addr(), &|| service.cpu_time(), source, connections, time, expect)?;
        service.caught_up_s = self.service.wait_until_idle()?.map(|time| time.as_secs_f64());
        let used = self.service.cpu_time()?.saturating_sub(used_before);
        service.cost_us = us_of_each(used, service.sent);
        service.batch_size_mean = Batches::read(&self.client.metrics()?).mean_since(before);
        Ok(Round { bare, service })
    }
}
