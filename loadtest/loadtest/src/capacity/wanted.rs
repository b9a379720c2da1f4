//! What is asked of an installation, and what one opening of that brings with it.

use super::sheet::{Sheet, figure};
use crate::outcome::Measured;

/// Requests that make an envelope: create and pay.
const REQUESTS_PER_SEND: f64 = 2.0;

/// What the installation has to do, and what it is made of.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Openings a second at the peak.
    pub peak_opens_per_s: f64,
    /// Openings of one envelope, on average.
    pub openers: f64,
    /// Grabs for each opening.
    pub grabs_per_open: f64,
    /// Views for each opening.
    pub views_per_open: f64,
    /// How long the peak lasts.
    pub peak_s: f64,
    /// How long after it the last credit may come.
    pub drain_s: f64,
    /// The part of what was measured that is counted on.
    pub derating: f64,
    /// SETs that may be lost at the peak.
    pub lose_sets: u32,
    /// Servers of a SET, and gateways, that may be lost at the peak.
    pub lose_servers: u32,
    /// Servers that a SET may have.
    pub servers_max: u32,
    /// Processors of a server's or gateway's host.
    pub server_cores: f64,
    /// Processors of a database's host.
    pub db_cores: f64,
    /// Hosts of a database: more than one for a cluster.
    pub db_nodes: u32,
    /// The network of a host, in each direction.
    pub network_gbit_per_s: f64,
}

/// What one opening brings with it.
pub struct Load {
    /// Envelopes made and paid for.
    pub sends: f64,
    /// Requests of all kinds.
    pub requests: f64,
    /// Processor time of servers.
    pub cpu_us: f64,
    /// Processor time of databases.
    pub db_cpu_us: f64,
    /// Over the network, the greater of both directions.
    pub bytes: f64,
}

impl Load {
    /// Works it out.
    pub fn of(wanted: &Wanted, measured: &Measured, sheet: &mut Sheet) -> Load {
        let (grabs, views) = (wanted.grabs_per_open, wanted.views_per_open);
        sheet.heading("What is asked for");
        sheet.given("peak", wanted.peak_opens_per_s, "opens/s", "--peak");
        sheet.given("openers of an envelope", wanted.openers, "opens", "--openers");
        sheet.given("grabs for an opening", grabs, "grabs", "--grabs-per-open");
        sheet.given("views for an opening", views, "views", "--views-per-open");
        sheet.given("counted on", wanted.derating, "of what was measured", "--derating");

        sheet.heading("What one opening brings with it");
        let formula = format!("1 / {}", figure(wanted.openers));
        let sends = sheet.line("sends", formula, 1.0 / wanted.openers, "sends", "--openers");
        let formula = format!("1 + {} + {} + {} x {}", figure(grabs), figure(views), REQUESTS_PER_SEND, figure(sends));
        let requests = 1.0 + grabs + views + REQUESTS_PER_SEND * sends;
        let requests = sheet.line("requests", formula, requests, "requests", "open, grabs, views, create and pay");

        let open = measured.cpu_us_per_open;
        let grab = measured.cpu_us_per_grab.unwrap_or(open);
        let view = measured.cpu_us_per_view.unwrap_or(open);
        let send = measured.cpu_us_per_send.unwrap_or(0.0);
        let formula = format!(
            "{} + {} x {} + {} x {} + {} x {}",
            figure(open),
            figure(grabs),
            figure(grab),
            figure(views),
            figure(view),
            figure(sends),
            figure(send)
        );
        let cpu_us = open + grabs * grab + views * view + sends * send;
        let cpu_us = sheet.line("server CPU", formula, cpu_us, "us", "the run: open, grabs, views, sends");

        let (open, send) = (measured.db_cpu_us_per_open, measured.db_cpu_us_per_send.unwrap_or(0.0));
        let formula = format!("{} + {} x {}", figure(open), figure(sends), figure(send));
        let db_cpu_us = sheet.line("database CPU", formula, open + sends * send, "us", "the run: open, sends");

        let (incoming, outgoing) = (measured.bytes_in_per_request, measured.bytes_out_per_request);
        let formula = format!("{} x max({}, {})", figure(requests), figure(incoming), figure(outgoing));
        let bytes = requests * incoming.max(outgoing);
        let bytes = sheet.line("network", formula, bytes, "bytes", "the run: the fuller direction");
        Load { sends, requests, cpu_us, db_cpu_us, bytes }
    }
}

/// Bytes a second of one direction of a host's network.
pub fn network_bytes_per_s(wanted: &Wanted) -> f64 {
    wanted.network_gbit_per_s * 1e9 / 8.0
}
