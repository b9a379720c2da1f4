//! `fronts`: the gateway and HAProxy with consistent hashing, in turns, in front
//! of the same two bare servers, with the same requests.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitCode};
use std::time::Duration;

use hongbao_load::{Child, Client, Fallible, RequestBuffer, RequestSource, SECRET, TICKET_SECRET, files, push_request};
use hongbao_testbed::{forget_environment, free_port};

use crate::baseline;
use crate::measure::{measure, median};
use crate::options::Common;
use crate::workload::Expect;

/// The least part of HAProxy's throughput that the gateway is to pass.
const GOAL: f64 = 0.80;
/// Envelopes that the requests go to, so that both hash over many.
const ENVELOPES: u64 = 1_000;

/// The options of `fronts`.
#[derive(clap::Args)]
pub struct Args {
    #[command(flatten)]
    common: Common,
    /// Rounds; the medians are reported
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=20))]
    rounds: u32,
    /// Connections that are kept busy
    #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=8192))]
    connections: u32,
}

/// Runs the comparison and prints it.
pub fn fronts(args: &Args) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
    let dir = files::data_dir(&args.common.data)?;
    let bare = [baseline::start(dir.path(), 1)?, baseline::start(dir.path(), 2)?];
    let gateway = start_gateway(&args.common.server, dir.path(), &bare)?;
    let haproxy_addr = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let haproxy = start_haproxy(dir.path(), haproxy_addr, &bare)?;
    let client = Client::new(gateway.addr(), SECRET);
    client.wait_until_ready()?;

    let requests = requests(&client);
    let mut ratios = Vec::new();
    for round in 1..=args.rounds {
        let run = |name, addr, cpu_time: &dyn Fn() -> Fallible<Duration>| {
            let (source, time) = (RequestSource::again_and_again(&requests), args.common.time());
            let sample =
                measure(addr, cpu_time, source, args.connections, time, Expect::Opened)?.without_errors(name)?;
            let ([p50_ms, p99_ms], cpu_us) = (sample.p50_p99_ms(), sample.server_cpu_us.unwrap_or(f64::NAN));
            eprintln!(
                "round {round}: {name:<8} {:>7.0}/s, p50 {p50_ms:.1} ms, p99 {p99_ms:.1} ms, {cpu_us:.1} us of processor a request",
                sample.per_second
            );
            Fallible::Ok(sample.per_second)
        };
        let theirs = run("HAProxy", haproxy.addr(), &|| haproxy.cpu_time())?;
        let ours = run("gateway", gateway.addr(), &|| gateway.cpu_time())?;
        ratios.push(ours / theirs);
    }
    let ratio = median(ratios.into_iter());
    let verdict = if ratio >= GOAL { "met" } else { "MISSED" };
    println!(
        "gateway / HAProxy: {ratio:.2} (median of {} rounds of {} s), goal {GOAL:.2} {verdict}",
        args.rounds, args.common.seconds
    );
    Ok(ExitCode::SUCCESS)
}

fn start_gateway(binary: &Path, dir: &Path, bare: &[Child; 2]) -> Fallible<Child> {
    let address = SocketAddr::from(([127, 0, 0, 1], free_port()));
    let [first, second] = [bare[0].addr(), bare[1].addr()];
    // A gateway opens no database: those that are named here need not exist.
    let topology = format!(
        "version = 1\n[[sets]]\nname = \"a\"\nslots = \"00-99\"\ndatabase = [\"127.0.0.1:1\"]\n\
         servers = [{{ name = \"a1\", address = \"{first}\" }}, {{ name = \"a2\", address = \"{second}\" }}]\n\
         [[wallets]]\nname = \"w\"\nslots = \"00-99\"\ndatabase = [\"127.0.0.1:1\"]\n\
         [[gateways]]\nname = \"g\"\naddress = \"{address}\"\n"
    );
    let settings = format!(
        "topology = \"topology.toml\"\n[auth]\nhs256_secret = \"{SECRET}\"\n\
         [tickets]\nsecret = \"{TICKET_SECRET}\"\n[database]\nuser = \"u\"\npassword = \"p\"\n\
         [rate_limit]\nuser_per_s = 1000000000\nuser_burst = 1000000000\n"
    );
    fs::write(dir.join("topology.toml"), topology)?;
    fs::write(dir.join("hongbao.toml"), settings)?;
    let mut command = Command::new(binary);
    command.args(["gateway", "--config"]).arg(dir.join("hongbao.toml"));
    forget_environment(&mut command);
    Child::start("the gateway", command, &dir.join("gateway.log"))
}

fn start_haproxy(dir: &Path, address: SocketAddr, bare: &[Child; 2]) -> Fallible<Child> {
    let threads = std::thread::available_parallelism()?;
    let config = format!(
        "global\n  nbthread {threads}\n  maxconn 8192\n\
         defaults\n  mode http\n  timeout connect 5s\n  timeout client 60s\n  timeout server 60s\n  http-reuse always\n\
         frontend f\n  bind {address}\n  default_backend b\n\
         backend b\n  balance uri\n  hash-type consistent\n  server s1 {}\n  server s2 {}\n",
        bare[0].addr(),
        bare[1].addr()
    );
    let file = dir.join("haproxy.cfg");
    fs::write(&file, config)?;
    let mut command = Command::new("haproxy");
    command.args(["-db", "-f"]).arg(&file);
    let haproxy = Child::start_at("haproxy", &command, &dir.join("haproxy.log"), address);
    Ok(haproxy.map_err(|error| format!("{error}; `ops/install.sh` installs it"))?)
}

/// Openings of many envelopes by many users, answered by bare servers.
fn requests(client: &Client) -> RequestBuffer {
    let mut requests = RequestBuffer::default();
    for number in 0..ENVELOPES {
        // Ids of version 7 that differ where a hash looks.
        let id = format!("019b0000-0000-7000-8000-{:012x}", number * 7_919);
        let token = client.token(&crate::prepare::user_id(number as u32));
        let path = format!("/v1/envelopes/{id}/open");
        push_request(&mut requests, "POST", &path, &token, r#"{"ticket":"AAABofz1dSdb3X-wNiWr_mnVLUsho-iX"}"#);
    }
    requests
}
