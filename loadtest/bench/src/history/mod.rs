//! `history`: what months of old envelopes cost. One cluster has none, another one as many as are asked for; beside
//! both there are as many younger ones, which an audit reads. Then the openings of new envelopes are measured while old
//! tables are rotated, sealed and exported, and before and after.

mod fill;
mod world;

use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hongbao_core::limits::AUDIT_SEALED_SAMPLE;
use hongbao_load::{Answer, BUSY, Client, Fallible, RequestSource, SECRET, files, machine, metrics};

use self::world::{Audited, Dates, Done, Duties, QUIET, SEAL_AFTER, World};
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
/// States of the cluster in which openings are measured.
const STATES: u32 = 6;

/// The options of `history`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Entries in the journals of old envelopes; their transfers are as many
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u64).range(10_000..=100_000_000))]
    entries: u64,
    /// Entries of younger envelopes, in both clusters
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1_000..=10_000_000))]
    younger: u64,
    /// Dates of the old envelopes
    #[arg(long, default_value_t = 62, value_parser = clap::value_parser!(u32).range(1..=366))]
    dates: u32,
    /// Rounds in each state of the cluster; the medians are reported
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
    let without = audit_without(args, &dir.path().join("without"))?;
    let workload = [Workload { name: Name::Spread, connections: args.connections, goal: None }];
    let extent = Extent::new(&workload, args.rounds * STATES, args.common.load_s(), args.envelopes)?;
    let mut world = World::start(&args.common, &dir.path().join("with"), extent.shares_max())?;
    println!("machine     {}, {} disk", machine::processors(), machine::file_system(dir.path()));
    let rows = seal_all(args, &mut world, &without)?;
    let client = Client::new(world.cluster.server_addr(0), SECRET);
    client.wait_until_ready()?;
    println!("durability  {}", metrics::durability(&client.metrics()?).unwrap_or("not stated"));
    let stage = PreparedWorkload::set(Name::Spread, &client, &extent)?;
    openings(&mut Openings { args, extent, client, stage }, &mut world, rows)?;
    let last = world.audit(&AUDIT_SEALED_SAMPLE.to_string())?;
    println!("audit       nothing is wrong at the end, where {} entries were read", last.entries);
    Ok(ExitCode::SUCCESS)
}

/// How long an audit takes beside no old envelope.
fn audit_without(args: &Args, dir: &Path) -> Fallible<Audited> {
    let world = World::start(&args.common, dir, 1)?;
    world.fill(YOUNGER, args.younger)?;
    world.workers(QUIET)?;
    world.cluster.wait_until_idle()?;
    audits(&world, NO_SAMPLE)
}

/// The audit in the middle of some, each of which reads the rows of so many sealed tables.
fn audits(world: &World, sealed: &str) -> Fallible<Audited> {
    let mut audits = (0..AUDITS).map(|_| world.audit(sealed)).collect::<Fallible<Vec<_>>>()?;
    audits.sort_by_key(|audit| audit.duration_ms);
    Ok(audits[audits.len() / 2])
}

/// Fills the old tables, has them sealed as fast as can be, and audits; gives the rows of these tables.
fn seal_all(args: &Args, world: &mut World, without: &Audited) -> Fallible<u64> {
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
    let (with, sampled) = (audits(world, NO_SAMPLE)?, world.audit(&AUDIT_SEALED_SAMPLE.to_string())?);
    let rows = with.sealed.entries + with.sealed.envelopes;
    println!("sealed      {rows} rows of {tables} tables in {tables_s:.0} s: {:.0} rows/s", rows as f64 / tables_s);
    let transfers = with.sealed.transfers;
    println!(
        "            beside {transfers} transfers of {months} months in {months_s:.0} s: {:.0} transfers/s",
        transfers as f64 / months_s
    );
    let grown = with.duration_ms as f64 / without.duration_ms as f64;
    println!(
        "audit       {} ms beside them, {} ms beside none, of {} entries that are not sealed: {grown:.2} times, goal at \
         most {:.2} {}",
        with.duration_ms,
        without.duration_ms,
        with.entries,
        1.0 + AUDIT_GOAL,
        verdict(grown <= 1.0 + AUDIT_GOAL)
    );
    println!(
        "            {} ms with the sample, as many tables and blocks however much is sealed: {} entries more",
        sampled.duration_ms,
        sampled.entries - with.entries
    );
    Ok(rows)
}

/// Measures the openings in all states of the cluster.
fn openings(openings: &mut Openings<'_>, world: &mut World, rows: u64) -> Fallible<()> {
    let args = openings.args;
    println!(
        "openings    medians of {} rounds of {} s, {} connections, {} envelopes\n",
        args.rounds, args.common.seconds, args.connections, args.envelopes
    );
    let Done { tables, months, .. } = world.done()?;
    let before = openings.measure(world, "before", false)?;
    let rotation = openings.measure(world, "rotation", true)?;
    world.unseal()?;
    world.workers(Duties { seals: true, ..QUIET })?;
    let sealing = openings.measure(world, "sealing", false)?;
    is_under_way("sealing", world.done()?.tables, tables)?;
    world.workers(Duties { seals: true, is_busy: true, ..QUIET })?;
    world.wait_until(|done| done.tables >= tables && done.months >= months)?;
    world.workers(QUIET)?;
    let between = openings.measure(world, "between", false)?;
    world.workers(Duties { exports: true, ..QUIET })?;
    world.restart_server()?;
    openings.client.wait_until_ready()?;
    let export = openings.measure(world, "export", false)?;
    let exported_before = world.done()?.exported;
    is_under_way("export", exported_before, tables)?;
    world.workers(Duties { exports: true, is_busy: true, ..QUIET })?;
    let export_s = world.wait_until(|done| done.exported >= tables)?.as_secs_f64();
    world.workers(Duties { exports: true, ..QUIET })?;
    let after = openings.measure(world, "after", false)?;

    let exported = rows as f64 * (tables - exported_before) as f64 / tables as f64;
    println!("\nexported    {exported:.0} rows in {export_s:.0} s: {:.0} rows/s", exported / export_s);
    for (name, during, quiet) in [
        ("rotation", rotation, [before, between]),
        ("sealing", sealing, [before, between]),
        ("export", export, [between, after]),
    ] {
        let share = during.per_second / f64::midpoint(quiet[0].per_second, quiet[1].per_second);
        println!(
            "{name:<12}{share:.2} of the openings, goal at least {OPENINGS_GOAL:.2} {}",
            verdict(share >= OPENINGS_GOAL)
        );
    }
    let (cost, goal) = (after.us / before.us, 1.0 + COST_GOAL);
    println!("cost        of an opening {cost:.2} of that before, goal at most {goal:.2} {}", verdict(cost <= goal));
    Ok(())
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
    extent: Extent,
    client: Client,
    stage: PreparedWorkload,
}

/// What openings gave in one state of the cluster.
#[derive(Clone, Copy)]
struct Measured {
    per_second: f64,
    /// Microseconds of processor time of the server and its database for an opening.
    us: f64,
}

impl Openings<'_> {
    /// The medians of the rounds; in each of them the tables of a day are rotated, if asked for.
    fn measure(&mut self, world: &mut World, state: &str, rotates: bool) -> Fallible<Measured> {
        let mut rounds = Vec::new();
        for _ in 0..self.args.rounds {
            let (round, p99_ms) = self.round(world, state, rotates)?;
            println!(
                "{state:<12}{:>6.0} opens/s, {:>5.1} us of server and database, p99 {p99_ms:.1} ms",
                round.per_second, round.us
            );
            rounds.push(round);
        }
        let middle = |figure: fn(&Measured) -> f64| median(rounds.iter().map(figure));
        Ok(Measured { per_second: middle(|round| round.per_second), us: middle(|round| round.us) })
    }

    fn round(&mut self, world: &mut World, state: &str, rotates: bool) -> Fallible<(Measured, f64)> {
        let requests = self.stage.requests(&self.client, &self.extent)?;
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
        let sample = sample.without_errors(state)?;
        if let Some(rotation) = rotation {
            let (tables, took) = rotation.join().expect("it does not panic")?;
            println!("            {tables} tables were rotated in {} ms", took.as_millis());
        }
        let us = us_of_each(driven.used[0], driven.stats.sent).unwrap_or(f64::NAN);
        Ok((Measured { per_second: sample.per_second, us }, sample.p50_p99_ms()[1]))
    }
}
