//! `faults`: a schedule carried out on a cluster without load, so that a night's
//! run does not fail on a fault that cannot be done.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use hongbao_load::{Client, Cluster, Fallible, SECRET, Schedule, Wanted, files, parse_set_count};

/// How long after the end of the last fault the cluster is given to be whole.
const AFTER: Duration = Duration::from_secs(1);
/// Shares of envelopes, of which there are none here.
const SHARES_MAX: u32 = 1_000;

/// The options of `faults`.
#[derive(clap::Args)]
pub struct Args {
    /// The schedule
    file: PathBuf,
    /// Only read the schedule, and say what is wrong with it
    #[arg(long)]
    check: bool,
    /// The `hongbao` binary
    #[arg(long, default_value = "target/release/hongbao")]
    server: PathBuf,
    /// SETs of the cluster: 1, 2 or 4
    #[arg(long, default_value_t = 1, value_parser = parse_set_count)]
    sets: u16,
    /// Where the cluster keeps its data; deleted afterwards
    #[arg(long, default_value = "target/bench-data")]
    data: PathBuf,
}

/// Carries it out and prints what happened. The exit code is 1 if a fault could not be done or undone.
pub fn rehearse(args: &Args) -> Fallible<ExitCode> {
    let schedule = Schedule::read("faults", &args.file)?;
    schedule.check(args.sets, false)?;
    if args.check {
        println!("{} faults, all understood", schedule.faults().len());
        return Ok(ExitCode::SUCCESS);
    }
    hongbao_load::begin()?;
    let dir = files::data_dir(&args.data)?;
    let wanted = Wanted { shares_max: SHARES_MAX, ..Wanted::default() };
    let cluster = Cluster::start_for(&schedule, &args.server, dir.path(), args.sets, &wanted)?;
    let client = Client::new(cluster.gateway_addr(), SECRET);
    client.wait_until_ready()?;

    let running = schedule.start(cluster.site(&schedule), Instant::now())?;
    running.wait()?;
    std::thread::sleep(AFTER);
    let faults = running.finish();
    for fault in &faults {
        let error = fault.error.as_ref().map_or(String::new(), |error| format!("  {error}"));
        println!("{:>8.2} s to {:>8.2} s  {:<9} {}{error}", fault.at_s, fault.until_s, fault.kind, fault.part);
    }
    if schedule.needs_relays() {
        println!("the relays used {:.2} s of processor", cluster.relay_cpu_time()?.as_secs_f64());
    }
    client.wait_until_ready()?;
    println!("the gateway is ready");
    Ok(ExitCode::from(u8::from(faults.iter().any(|fault| fault.error.is_some()))))
}
