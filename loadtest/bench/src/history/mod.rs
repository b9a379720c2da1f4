//! `history`: what months of old envelopes cost. One cluster has none, another one as many as are asked for; beside
//! both there are as many younger ones, which an audit reads. Then the openings of new envelopes are measured beside the
//! rotation, sealing and export of old tables, in turns with rounds that have none of it.

mod fill;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hongbao_core::limits::AUDIT_SEALED_SAMPLE;
use hongbao_load::{Answer, BUSY, Client, Fallible, RequestSource, SECRET, files, machine, metrics};

use self::world::{Audited, Dates, Duties, QUIET, SEAL_AFTER, World};
use crate::measure::{WARM_UP, drive, median, us_of_each};
use crate::options::Common;
use crate::workload::{Expect, Extent, Name, PreparedWorkload, Workload};

/// What is left of the openings while something is done with old tables, at least.
const OPENINGS_GOAL: f64 = 0.9;
/// By how much an audit may take longer beside sealed rows.
const AUDIT_GOAL: f64 = 0.1;
/// By how much an opening may cost more after all of it.
const COST_GOAL: f64 = 0.1;
/// Dates whose tables are too young to be sealed, and in months of the wallet that are over.
const YOUNGER: Dates = Dates { first_days_ago: 44, count: 6 };
/// The audits of one kind; the medians are reported.
const AUDITS: u32 = 3;
/// An audit takes all sealed tables by their manifests.
const NO_SAMPLE: &str = "0";
/// Refusals among so many openings, at most one, that a round may have.
const BUSY_ONE_IN: u64 = 200;
/// Rounds of openings in one cluster for each that is asked for: quiet ones, and a pair for each of three jobs.
const STATES: u32 = 7;

/// The options of `history`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Entries in the journals of old envelopes; their transfers are as many, so that twice as many rows are sealed
    #[arg(long, default_value_t = 5_000_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    entries: u64,
    /// Entries of younger envelopes, in both clusters
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    younger: u64,
    /// Dates of the old envelopes
    #[arg(long, default_value_t = 62, value_parser = clap::value_parser!(u32).range(1..=366))]
    dates: u32,
    /// Quiet rounds, and pairs for each job; the medians are reported
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=10))]
    rounds: u32,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=8192))]
    connections: u32,
    /// Envelopes that are opened
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    envelopes: u32,
}

/// Runs the measurement and prints it.
pub fn history(args: &Args) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
    let dir = files::data_dir(&args.common.data)?;
    let workload = [Workload { name: Name::Spread, connections: args.connections, goal: None }];
    let extent = Extent::new(&workload, args.rounds * STATES, args.common.load_s(), args.envelopes)?;
    println!("machine     {}, {} disk", machine::processors(), machine::file_system(dir.path()));
    println!(
        "openings    {} rounds of {} s, {} connections, {} envelopes\n",
        args.rounds, args.common.seconds, args.connections, args.envelopes
    );
    let without = without_history(args, &extent, &dir.path().join("without"))?;
    let mut world = World::start(&args.common, &dir.path().join("with"), extent.shares_max())?;
    let sealed = seal_all(args, &mut world)?;
    let mut openings = Openings::begin(args, &extent, &world)?;
    let quiet = openings.measure(&mut world)?;
    let found = beside(&mut openings, &mut world, &sealed)?;
    let last = world.audit(&AUDIT_SEALED_SAMPLE.to_string())?;
    report(&without, &sealed, quiet, &found);
    println!("at the end  an audit of {} entries finds nothing wrong", last.entries);
    Ok(ExitCode::SUCCESS)
}

/// What is measured where nothing is old.
struct Without {
    audit: Audited,
    openings: Measured,
}

/// Audits and openings of the first rounds, in a cluster that has younger envelopes alone.
fn without_history(args: &Args, extent: &Extent, dir: &Path) -> Fallible<Without> {
    let mut world = World::start(&args.common, dir, extent.shares_max())?;
    world.fill(YOUNGER, args.younger)?;
    // The months of their transfers are over, and sealed beside the others as well.
    world.workers(Duties { is_busy: true, ..QUIET })?;
    let months = world.months(YOUNGER, YOUNGER);
    world.wait_until(|done| done.months >= months)?;
    world.workers(QUIET)?;
    world.cluster.wait_until_idle()?;
    let audit = audits(&world, NO_SAMPLE)?;
    let openings = Openings::begin(args, extent, &world)?.measure(&mut world)?;
    Ok(Without { audit, openings })
}

/// The audit in the middle of some, each of which reads the rows of so many sealed tables.
fn audits(world: &World, sealed: &str) -> Fallible<Audited> {
    let mut audits = (0..AUDITS).map(|_| world.audit(sealed)).collect::<Fallible<Vec<_>>>()?;
    audits.sort_by_key(|audit| audit.duration_ms);
    Ok(audits[audits.len() / 2])
}

/// What it took to seal everything, and an audit beside it.
struct Sealed {
    tables: u64,
    months: u64,
    tables_s: f64,
    months_s: f64,
    /// By the manifests alone.
    audit: Audited,
    /// With the rows of the sample.
    sampled: Audited,
}

/// Fills the old tables, has them sealed as fast as can be, and audits.
fn seal_all(args: &Args, world: &mut World) -> Fallible<Sealed> {
    let old = Dates { first_days_ago: SEAL_AFTER.saturating_add(args.dates), count: args.dates };
    world.fill(old, args.entries)?;
    world.fill(YOUNGER, args.younger)?;
    let (tables, months) = (old.tables(), world.months(old, YOUNGER));
    world.workers(Duties { seals: true, is_busy: true, ..QUIET })?;
    let began = Instant::now();
    world.wait_until(|done| done.tables >= tables)?;
    let tables_s = began.elapsed().as_secs_f64();
    world.wait_until(|done| done.months >= months)?;
    let months_s = began.elapsed().as_secs_f64();
    world.workers(QUIET)?;
    world.cluster.wait_until_idle()?;
    let (audit, sampled) = (audits(world, NO_SAMPLE)?, world.audit(&AUDIT_SEALED_SAMPLE.to_string())?);
    Ok(Sealed { tables, months, tables_s, months_s, audit, sampled })
}

/// What is left of the openings beside each job, and what was exported when openings were not measured.
struct Beside {
    shares: [(&'static str, f64); 3],
    exported_tables: u64,
    exported_s: f64,
}

fn beside(openings: &mut Openings<'_>, world: &mut World, sealed: &Sealed) -> Fallible<Beside> {
    let rotation = openings.compare(world, "rotation", QUIET)?;
    world.unseal()?;
    let seals = Duties { seals: true, ..QUIET };
    let sealing = openings.compare(world, "sealing", seals)?;
    is_under_way("sealing", world.done()?.tables, sealed.tables)?;
    world.workers(Duties { is_busy: true, ..seals })?;
    world.wait_until(|done| done.tables >= sealed.tables && done.months >= sealed.months)?;
    let exports = Duties { exports: true, ..QUIET };
    let export = openings.compare(world, "export", exports)?;
    let before = world.done()?.exported;
    is_under_way("export", before, sealed.tables)?;
    world.workers(Duties { is_busy: true, ..exports })?;
    let exported_s = world.wait_until(|done| done.exported >= sealed.tables)?.as_secs_f64();
    let shares = [("rotation", rotation), ("sealing", sealing), ("export", export)];
    Ok(Beside { shares, exported_tables: sealed.tables - before, exported_s })
}

fn report(without: &Without, sealed: &Sealed, quiet: Measured, beside: &Beside) {
    let Sealed { tables, months, tables_s, months_s, audit, sampled } = sealed;
    let rows = (audit.sealed.entries + audit.sealed.envelopes) as f64;
    println!("\nsealed      {rows:.0} rows of {tables} tables in {tables_s:.0} s: {:.0} rows/s", rows / tables_s);
    let transfers = audit.sealed.transfers as f64;
    println!(
        "            beside {transfers:.0} transfers of {months} months in {months_s:.0} s: {:.0} transfers/s",
        transfers / months_s
    );
    let exported = rows * beside.exported_tables as f64 / *tables as f64;
    println!(
        "exported    {exported:.0} rows in {:.0} s: {:.0} rows/s",
        beside.exported_s,
        exported / beside.exported_s
    );
    let (grown, goal) = (audit.duration_ms as f64 / without.audit.duration_ms as f64, 1.0 + AUDIT_GOAL);
    println!(
        "audit       {} ms beside them, {} ms beside none, of {} entries that are not sealed: {grown:.2}, goal at most \
         {goal:.2} {}",
        audit.duration_ms,
        without.audit.duration_ms,
        audit.entries,
        verdict(grown <= goal)
    );
    println!(
        "            {} ms with the sample, as many tables and blocks however much is sealed: {} entries more",
        sampled.duration_ms,
        sampled.entries - audit.entries
    );
    for (job, share) in beside.shares {
        let met = verdict(share >= OPENINGS_GOAL);
        println!("{job:<12}{share:.2} of the openings of quiet rounds, goal at least {OPENINGS_GOAL:.2} {met}");
    }
    let (cost, goal) = (quiet.us / without.openings.us, 1.0 + COST_GOAL);
    println!(
        "cost        of an opening {cost:.2} of that beside none, goal at most {goal:.2} {}",
        verdict(cost <= goal)
    );
}

/// A job that is done within its rounds was not measured in all of them.
fn is_under_way(job: &str, done: u64, tables: u64) -> Fallible<()> {
    match done < tables {
        true => Ok(()),
        false => Err(format!("the {job} ended before its rounds: ask for more --entries").into()),
    }
}

fn verdict(is_met: bool) -> &'static str {
    if is_met { "met" } else { "MISSED" }
}

/// The openings, and what they are measured by.
struct Openings<'a> {
    args: &'a Args,
    extent: &'a Extent,
    client: Client,
    stage: PreparedWorkload,
}

/// What openings gave.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    /// Microseconds of processor time of the server and its database for an opening.
    us: f64,
}

impl<'a> Openings<'a> {
    /// Sends the envelopes that are to be opened.
    fn begin(args: &'a Args, extent: &'a Extent, world: &World) -> Fallible<Openings<'a>> {
        let client = Client::new(world.cluster.server_addr(0), SECRET);
        client.wait_until_ready()?;
        println!("durability  {}", metrics::durability(&client.metrics()?).unwrap_or("not stated"));
        let stage = PreparedWorkload::set(Name::Spread, &client, extent)?;
        Ok(Openings { args, extent, client, stage })
    }

    /// The medians of rounds in which workers do nothing else.
    fn measure(&mut self, world: &mut World) -> Fallible<Measured> {
        let rounds = (0..self.args.rounds).map(|_| self.round(world, "quiet", false)).collect::<Fallible<Vec<_>>>()?;
        let middle = |figure: fn(&Measured) -> f64| median(rounds.iter().map(figure));
        Ok(Measured { per_second: middle(|round| round.per_second), us: middle(|round| round.us) })
    }

    /// What is left of the openings beside a job, by pairs of rounds: each round costs more than the one before, for
    /// the journals grow.
    fn compare(&mut self, world: &mut World, job: &str, duties: Duties) -> Fallible<f64> {
        let mut shares = Vec::new();
        for pair in 0..self.args.rounds {
            let mut of_pair = [0.0; 2];
            let order = if pair % 2 == 0 { [0, 1] } else { [1, 0] };
            for beside in order {
                world.workers(if beside == 1 { duties } else { QUIET })?;
                let name = if beside == 1 { job } else { "quiet" };
                of_pair[beside] = self.round(world, name, beside == 1 && job == "rotation")?.per_second;
            }
            shares.push(of_pair[1] / of_pair[0]);
        }
        Ok(median(shares.into_iter()))
    }

    fn round(&mut self, world: &mut World, name: &str, rotates: bool) -> Fallible<Measured> {
        let requests = self.stage.requests(&self.client, self.extent)?;
        world.wait_until_credited()?;
        let time = self.args.common.time();
        let rotation = rotates.then(|| world.rotate_after(WARM_UP + time / 2));
        let used = || -> Fallible<[Duration; 1]> {
            let times = world.cluster.cpu_times()?;
            Ok([times["a1"] + times["a-mariadb"]])
        };
        let check = |_: usize, answer: &Answer<'_>| Expect::Opened.check(answer);
        let source = RequestSource::once(&requests);
        let driven = drive(world.cluster.server_addr(0), &used, source, self.args.connections, time, check)?;
        let mut sample = driven.sample;
        // Documented, and rare: more of them would be another state than the one that is measured.
        sample.errors.retain(|label, count| label != BUSY || *count * BUSY_ONE_IN > sample.sent);
        let sample = sample.without_errors(name)?;
        let us = us_of_each(driven.used[0], driven.stats.sent).unwrap_or(f64::NAN);
        let (per_second, p99_ms) = (sample.per_second, sample.p50_p99_ms()[1]);
        print!("{name:<12}{per_second:>6.0} opens/s, {us:>5.1} us of server and database, p99 {p99_ms:.1} ms");
        match rotation.map(|rotation| rotation.join().expect("it does not panic")).transpose()? {
            Some((tables, took)) => println!(", {tables} tables rotated in {} ms", took.as_millis()),
            None => println!(),
        }
        Ok(Measured { per_second, us })
    }
}
