//! `overload`: three times what the service can do, over many connections.
//!
//! For each workload: the peak at full load over a few connections, with what one
//! answer costs of all processors; the latency at eight tenths of it; then three times the peak at a
//! pace that no answer changes, over many connections; and how long it takes from
//! there until as much is answered as before. A request that was answered `busy` is sent
//! again later, for nothing happened; or at once, beyond that pace, as by clients
//! that know no delay.
//!
//! With a quota, the processes of the SET share a part of the processors and the
//! gateway has the others: how much is answered says whether refusing costs the SET
//! anything. Without one they share all of them, the generator included, so refusals
//! take from what is answered: at most what they measurably cost.

mod quota;
mod seen;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hongbao_load::{
    Client, Fallible, Generator, RequestBuffer, RequestSource, Service, Wanted, files, interrupt, number::within,
};

use self::quota::Quota;
use self::seen::Phase;
use self::show::{Measured, Name};
use crate::prepare::{Look, Opening, open_requests, repeated, send_envelopes};
use crate::workload::Expect;

/// Connections at the peak: enough to keep every lane busy, too few to queue for long, for
/// a refused client asks at once again.
const PEAK_CONNECTIONS: usize = 256;
/// The same where the service has a part of the processors.
const PEAK_CONNECTIONS_OF_PART: usize = 64;
/// Seconds of load before the peak is measured.
const WARM_UP_S: f64 = 1.0;
/// The part of the peak at which latencies are compared.
const EASY: f64 = 0.8;
/// How much more is prepared than is expected to be answered.
const SPARE: f64 = 1.25;
/// Envelopes of the spread workload.
const ENVELOPES: u32 = 10_000;
/// Users who grab.
const GRABBERS: u32 = 100_000;
/// Openings of all phases at most: an envelope has no more shares.
const OPENINGS_MAX: u32 = 9_000_000;

/// The options of `overload`.
#[derive(clap::Args)]
pub struct Args {
    /// The `hongbao` binary, a release build
    #[arg(long)]
    server: PathBuf,
    /// Measure the embedded service instead of a SET behind a gateway
    #[arg(long)]
    embedded: bool,
    /// Only these workloads: hot, spread, grab
    #[arg(long = "workload", value_enum)]
    workloads: Vec<Name>,
    /// The part of all processors that the SET has, the gateway not; 0 for no quota. Needs root
    #[arg(long, default_value_t = 0.2, value_parser = within(0.0, 1.0))]
    quota: f64,
    /// After which the quota is given anew, in milliseconds; 100 is what systemd and container runtimes set
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    quota_period_ms: u64,
    /// How many times the peak is offered
    #[arg(long, default_value_t = 3.0, value_parser = within(1.0, 20.0))]
    factor: f64,
    /// In the storm clients retry a refused request at once, without backoff, on top of what is offered
    #[arg(long)]
    retry_at_once: bool,
    /// Connections over which it is offered
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1..=16_000))]
    connections: u32,
    /// Seconds of overload
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// Seconds in which the peak is found, and of each other phase
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    phase_seconds: u64,
    /// Openings a second that the peak cannot exceed: so many are prepared to find it
    #[arg(long, default_value_t = 40_000, value_parser = clap::value_parser!(u32).range(100..=200_000))]
    peak_max: u32,
    /// Where the service keeps its data; on a real disk, and deleted afterwards
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
    /// Write what was measured to this file
    #[arg(long)]
    json: Option<PathBuf>,
    /// Exit with 1 when a goal is missed
    #[arg(long)]
    enforce: bool,
}

/// Measures and prints.
pub fn overload(args: &Args) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
    if let Some(path) = &args.json {
        files::check_writable("--json", path)?;
    }
    let names = match args.workloads.as_slice() {
        [] => vec![Name::Hot, Name::Spread, Name::Grab],
        some => some.to_vec(),
    };
    let mut measured = Vec::new();
    for name in names {
        let one = Bench::start(args)?.run(name)?;
        print!("{one}");
        measured.push(one);
    }
    let missed = measured.iter().flat_map(Measured::verdicts).any(|verdict| !verdict.is_met);
    let written = files::write("--json", args.json.as_deref(), || Ok(serde_json::to_string_pretty(&measured)?));
    Ok(files::exit_code(u8::from(args.enforce && missed), [written]))
}

/// The service under load. The fields are dropped in this order: its processes end
/// before their group is removed and their data goes.
struct Bench<'a> {
    service: Service,
    quota: Option<Quota>,
    _dir: tempfile::TempDir,
    client: Client,
    args: &'a Args,
}

impl<'a> Bench<'a> {
    fn start(args: &'a Args) -> Fallible<Bench<'a>> {
        let period = Duration::from_millis(args.quota_period_ms);
        let quota = (args.quota > 0.0).then(|| Quota::new(period)).transpose()?;
        let dir = files::data_dir(&args.data)?;
        let wanted = Wanted { shares_max: OPENINGS_MAX, ..Wanted::default() };
        let service = Service::start(!args.embedded, &args.server, dir.path(), &wanted)?;
        if let Some(quota) = &quota {
            service.limited_pids()?.into_iter().try_for_each(|pid| quota.add(pid))?;
        }
        let client = service.client(service.front_addr())?;
        Ok(Bench { service, quota, _dir: dir, client, args })
    }

    fn run(&self, name: Name) -> Fallible<Measured> {
        self.measure(name).map_err(|error| self.service.complaint(&error.to_string()))
    }

    fn measure(&self, name: Name) -> Fallible<Measured> {
        let Args { quota, factor, retry_at_once, .. } = *self.args;
        let (phase_s, storm_s) = (self.args.phase_seconds as f64, self.args.seconds as f64);
        let mut supply = Supply::send(name, &self.client)?;
        let expect = supply.expect();
        let phase = |generator: &mut Generator, pace, source: &mut RequestSource<'_>, seconds| {
            Phase::of(&self.service, generator, pace, source, Duration::from_secs_f64(seconds), expect)
        };

        let requests = supply.requests(&self.client, f64::from(self.args.peak_max) * (phase_s + WARM_UP_S))?;
        let mut source = supply.source(&requests);
        let peak_connections = if self.quota.is_some() { PEAK_CONNECTIONS_OF_PART } else { PEAK_CONNECTIONS };
        let peak = self.drive(peak_connections, |generator| {
            phase(generator, None, &mut source, WARM_UP_S)?;
            phase(generator, None, &mut source, phase_s)
        })?;
        if peak.seen.accepted == 0 {
            return Err(format!("nothing was answered at the peak: {:?}", peak.seen.others).into());
        }
        let per_s = peak.per_second();
        eprintln!("{name:?}: the peak is {per_s:.0}/s");

        let connections = self.args.connections as usize;
        let requests = supply.requests(&self.client, SPARE * EASY * per_s * phase_s)?;
        let mut source = supply.source(&requests);
        let easy = self.drive(connections, |generator| phase(generator, Some(EASY * per_s), &mut source, phase_s))?;

        let requests = supply.requests(&self.client, SPARE * per_s * (storm_s + phase_s))?;
        let source = supply.source(&requests);
        let mut source = if retry_at_once { source.asking_again_at_once() } else { source };
        let memory_before = self.service.front_memory()?;
        let (storm, after) = self.drive(connections, |generator| {
            let storm = phase(generator, Some(factor * per_s), &mut source, storm_s)?;
            Ok((storm, phase(generator, Some(show::AFTER * per_s), &mut source, phase_s)?))
        })?;
        let memory_mb = (memory_before, self.memory_given_back(memory_before)?);
        let is_apart = self.quota.is_some() && !self.args.embedded;
        Ok(Measured { name, is_apart, quota, factor, retry_at_once, connections, peak, easy, storm, after, memory_mb })
    }

    /// Drives the service over new connections, within the quota.
    fn drive<T>(&self, connections: usize, run: impl FnOnce(&mut Generator) -> Fallible<T>) -> Fallible<T> {
        self.service.wait_until_idle()?;
        let mut generator = Generator::connect(self.service.front_addr(), connections)?;
        let processors = std::thread::available_parallelism().map_or(1.0, |count| count.get() as f64);
        if let Some(quota) = &self.quota {
            quota.set(Some(self.args.quota * processors))?;
        }
        let ran = run(&mut generator);
        if let Some(quota) = &self.quota {
            quota.set(None)?;
        }
        ran
    }

    /// What the front holds once it has given back all but [`show::KEPT_MB`] of what it
    /// took since it held `before`, or else at the end of [`show::MEMORY_WITHIN`], in MB.
    fn memory_given_back(&self, before: f64) -> Fallible<f64> {
        let began = Instant::now();
        loop {
            interrupt::check()?;
            let held = self.service.front_memory()?;
            if held <= before + show::KEPT_MB || began.elapsed() >= show::MEMORY_WITHIN {
                return Ok(held);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }
}

/// The envelopes of a workload, and the first user that has not opened one.
struct Supply {
    name: Name,
    envelopes: Vec<String>,
    next_user: u32,
}

impl Supply {
    fn send(name: Name, client: &Client) -> Fallible<Supply> {
        let (count, shares) = match name {
            Name::Hot => (1, OPENINGS_MAX),
            Name::Spread => (ENVELOPES, OPENINGS_MAX / ENVELOPES),
            Name::Grab => (1, 1),
        };
        Ok(Supply { name, envelopes: send_envelopes(client, count, shares)?, next_user: 0 })
    }

    /// Requests for so many answers. No user opens twice.
    fn requests(&mut self, client: &Client, count: f64) -> Fallible<RequestBuffer> {
        if self.name == Name::Grab {
            return Ok(repeated(client, Look::Grab, &self.envelopes[0], 0..GRABBERS));
        }
        let (first, envelopes) = (self.next_user, self.envelopes.len() as u32);
        self.next_user = first + count.max(1.0) as u32;
        if self.next_user > OPENINGS_MAX {
            return Err("more openings than an envelope has shares: ask for less time".into());
        }
        let openings: Vec<Opening> =
            (first..self.next_user).map(|user| Opening { user, envelope: user % envelopes }).collect();
        open_requests(client, &self.envelopes, &openings)
    }

    fn source<'r>(&self, requests: &'r RequestBuffer) -> RequestSource<'r> {
        match self.name {
            Name::Grab => RequestSource::again_and_again(requests),
            Name::Hot | Name::Spread => RequestSource::until_taken(requests),
        }
    }

    fn expect(&self) -> Expect {
        if self.name == Name::Grab { Expect::Ready } else { Expect::Opened }
    }
}
