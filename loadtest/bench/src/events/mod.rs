//! `events`: openings of a service whose events many clients and a webhook follow, beside one whose events no one
//! asks for; in turns, with the same requests. With `--before` the other one is an older build, which may know no events.

mod listeners;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use hongbao_load::{Client, Fallible, RequestSource, Service, Wanted, files};
use tempfile::TempDir;

use self::listeners::Listeners;
use crate::measure::{measure, median, us_of_each};
use crate::options::Common;
use crate::prepare::{SENDER, user_id};
use crate::workload::{Expect, Extent, Name, PreparedWorkload, Workload};

/// The least share of the openings a second of the other service.
const GOAL: f64 = 0.95;

/// The options of `events`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// The `hongbao` binary of the service that no one follows, a release build; --server unless given
    #[arg(long)]
    before: Option<PathBuf>,
    /// Measure servers of a SET with MariaDB, memcached and Redis, instead of the embedded service
    #[arg(long)]
    cluster: bool,
    /// Streams of events, of the sender and of users who open
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=4_000))]
    streams: u32,
    /// Rounds; the medians are reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=8192))]
    connections: u32,
    /// Envelopes that are opened
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    envelopes: u32,
    /// Exit with 1 when the goal is missed
    #[arg(long)]
    enforce: bool,
}

/// Runs the comparison and prints it.
pub fn events(args: &Args) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
    let workload = [Workload { name: Name::Spread, connections: args.connections, goal: None }];
    let extent = Extent::new(&workload, args.rounds, args.common.load_s(), args.envelopes)?;
    let listeners = Listeners::start()?;
    let before = args.before.as_deref().unwrap_or(&args.common.server);
    let mut alone = Side::start("alone", before, String::new(), &extent, args)?;
    let mut followed = Side::start("followed", &args.common.server, listeners.webhook_settings(), &extent, args)?;
    let users = (0..args.streams - 1).map(user_id);
    let tokens: Vec<String> = users.chain([SENDER.to_owned()]).map(|user| followed.client.token(&user)).collect();
    listeners.open_streams(followed.service.front_addr(), &tokens)?;

    let mut rounds = Vec::new();
    for round in 1..=args.rounds {
        let (of_alone, of_followed) = (alone.round(round, &extent, args)?, followed.round(round, &extent, args)?);
        rounds.push([of_followed.0 / of_alone.0, of_followed.1 / of_alone.1]);
    }
    let (streamed, delivered) = listeners.events();
    println!("{} streams got {streamed} events, the webhook {delivered}", args.streams);
    if streamed == 0 || delivered == 0 {
        return Err("nothing was measured: no event came".into());
    }
    let [speed, cost] = [0, 1].map(|place| median(rounds.iter().map(|round| round[place])));
    let met = speed >= GOAL;
    println!(
        "openings a second, followed / alone: {speed:.3} (median of {} rounds of {} s), goal {GOAL:.2} {}; processor time for one, with its credit and its events: {cost:.3}",
        args.rounds,
        args.common.seconds,
        if met { "met" } else { "MISSED" },
    );
    Ok(ExitCode::from(u8::from(args.enforce && !met)))
}

/// One of the two services. It ends before its data goes.
struct Side {
    name: &'static str,
    service: Service,
    client: Client,
    stage: PreparedWorkload,
    _dir: TempDir,
}

impl Side {
    fn start(name: &'static str, binary: &Path, sections: String, extent: &Extent, args: &Args) -> Fallible<Side> {
        let dir = files::data_dir(&args.common.data)?;
        let wanted = Wanted { shares_max: extent.shares_max(), sections, ..Wanted::default() };
        let service = Service::start(args.cluster, binary, dir.path(), &wanted)?;
        let client = service.client(service.addr())?;
        let stage = PreparedWorkload::set(Name::Spread, &client, extent)?;
        Ok(Side { name, service, client, stage, _dir: dir })
    }

    /// Openings a second, and microseconds of processor time for one with all that follows from it.
    fn round(&mut self, round: u32, extent: &Extent, args: &Args) -> Fallible<(f64, f64)> {
        let requests = self.stage.requests(&self.client, extent)?;
        self.service.wait_until_idle()?;
        let service = &self.service;
        let before = service.cpu_time()?;
        let (source, time) = (RequestSource::once(&requests), args.common.time());
        let cpu_time = || service.cpu_time();
        let sample = measure(service.addr(), &cpu_time, source, args.connections, time, Expect::Opened)?;
        let sample = sample.without_errors(self.name).map_err(|error| service.complaint(&error.to_string()))?;
        service.wait_until_idle()?;
        let used = service.cpu_time()?.saturating_sub(before);
        let (cost, [p50_ms, p99_ms]) = (us_of_each(used, sample.sent).unwrap_or(f64::NAN), sample.p50_p99_ms());
        eprintln!(
            "round {round}: {:<8} {:>7.0} openings/s, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, {cost:.1} us of processor for each",
            self.name, sample.per_second
        );
        Ok((sample.per_second, cost))
    }
}
