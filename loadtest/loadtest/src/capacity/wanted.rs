//! What is asked of an installation, and what one opening of that brings with it.

use hongbao_load::number::within;

use super::sheet::{Sheet, Term, n};
use crate::outcome::Measured;

/// Requests that make an envelope: create and pay.
const REQUESTS_PER_SEND: f64 = 2.0;
/// The least and the most that a flag may ask for: beyond them lie slips of the finger.
const LEAST: f64 = 0.001;
const MOST: f64 = 1e12;

/// What the installation has to do, and what it is made of.
#[derive(Clone, Debug, clap::Args)]
pub struct Wanted {
    /// Openings a second at the peak
    #[arg(long = "peak", value_parser = within(LEAST, MOST))]
    pub peak_opens_per_s: f64,
    /// Openings of one envelope, on average
    #[arg(long, value_parser = within(1.0, MOST))]
    pub openers: f64,
    /// The part of what was measured that is counted on
    #[arg(long, default_value_t = 0.6, value_parser = within(LEAST, 1.0))]
    pub derating: f64,
    /// SETs that may be lost at the peak
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=50))]
    pub lose_sets: u32,
    /// Servers of a SET, and gateways, that may be lost at the peak
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=50))]
    pub lose_servers: u32,
    /// Servers that a SET may have
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub servers_max: u32,
    /// Grabs for each opening
    #[arg(long, default_value_t = 20.0, value_parser = within(0.0, MOST))]
    pub grabs_per_open: f64,
    /// Views for each opening
    #[arg(long, default_value_t = 10.0, value_parser = within(0.0, MOST))]
    pub views_per_open: f64,
    /// How long the peak lasts
    #[arg(long = "peak-seconds", default_value_t = 60.0, value_parser = within(LEAST, MOST))]
    pub peak_s: f64,
    /// How long after the peak its last credit may come
    #[arg(long = "drain-seconds", default_value_t = 240.0, value_parser = within(LEAST, MOST))]
    pub drain_s: f64,
    /// Processors of a server's or gateway's host; those of the run's machine if absent
    #[arg(long, value_parser = within(LEAST, MOST))]
    pub server_cores: Option<f64>,
    /// Processors of a database's host; those of the run's machine if absent
    #[arg(long, value_parser = within(LEAST, MOST))]
    pub db_cores: Option<f64>,
    /// Hosts of a database: 3 for a Galera cluster
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=9))]
    pub db_nodes: u32,
    /// The network of a host, in each direction
    #[arg(long = "network-gbit", default_value_t = 10.0, value_parser = within(LEAST, MOST))]
    pub network_gbit_per_s: f64,
}

impl Wanted {
    /// Bytes a second of one direction of a host's network.
    pub fn network_bytes_per_s(&self) -> f64 {
        self.network_gbit_per_s * 1e9 / 8.0
    }
}

/// What one opening brings with it.
pub struct Load {
    /// Envelopes made and paid for.
    pub sends: f64,
    pub requests: f64,
    /// Processor time of servers.
    pub cpu_us: f64,
    /// Processor time of databases.
    pub db_cpu_us: f64,
    /// Over the network, the greater of both directions.
    pub bytes: f64,
}

impl Load {
    pub fn of(wanted: &Wanted, measured: &Measured, sheet: &mut Sheet) -> Load {
        let (grabs, views) = (|| n(wanted.grabs_per_open), || n(wanted.views_per_open));
        sheet.heading("What is asked for");
        sheet.given("peak", wanted.peak_opens_per_s, "opens/s", "--peak");
        sheet.given("openers of an envelope", wanted.openers, "opens", "--openers");
        sheet.given("grabs for an opening", wanted.grabs_per_open, "grabs", "--grabs-per-open");
        sheet.given("views for an opening", wanted.views_per_open, "views", "--views-per-open");
        sheet.given("counted on", wanted.derating, "of what was measured", "--derating");

        sheet.heading("What one opening brings with it");
        let sends = sheet.line("sends", n(1) / n(wanted.openers), "sends", "--openers");
        let requests = n(1) + grabs() + views() + n(REQUESTS_PER_SEND) * n(sends);
        let requests = sheet.line("requests", requests, "requests", "open, grabs, views, create and pay");
        let open = measured.cpu_us_per_open;
        let (grab, view) = (measured.cpu_us_per_grab.unwrap_or(open), measured.cpu_us_per_view.unwrap_or(open));
        let of_sends = |cost: Option<f64>| n(sends) * n(cost.unwrap_or(0.0));
        let term = n(open) + grabs() * n(grab) + views() * n(view) + of_sends(measured.cpu_us_per_send);
        let cpu_us = sheet.line("server CPU", term, "us", "the run: open, grabs, views, sends");
        let term = n(measured.db_cpu_us_per_open) + of_sends(measured.db_cpu_us_per_send);
        let db_cpu_us = sheet.line("database CPU", term, "us", "the run: open, sends");
        let fuller = Term::max(&[n(measured.bytes_in_per_request), n(measured.bytes_out_per_request)]);
        let bytes = sheet.line("network", n(requests) * fuller, "bytes", "the run: the fuller direction");
        Load { sends, requests, cpu_us, db_cpu_us, bytes }
    }
}
