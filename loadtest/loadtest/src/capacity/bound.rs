//! What bounds one SET, and what each bound rests on.

use serde::Serialize;

use super::evidence::Evidence;
use super::sheet::{Sheet, figure};
use super::wanted::{Load, Wanted, network_bytes_per_s};

/// What could be the narrowest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bound {
    /// In words.
    pub name: &'static str,
    /// Openings a second that it lets one SET take, derated.
    pub opens_per_s: f64,
    /// What that rests on.
    pub basis: Basis,
}

/// What a bound rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Basis {
    /// The cost of one opening at the ceiling, and what there is to pay it from.
    Cost,
    /// A rate that the run could not pass.
    Reached,
    /// A rate that the run bore, and nobody tried more; or what an opening cost below the
    /// ceiling, where small batches and looking for work make it dearer. The bound may lie higher.
    AtLeast,
}

impl Basis {
    /// Of processor time for an opening.
    fn of_cost(evidence: &Evidence) -> Basis {
        if evidence.openings_held_up.is_some() { Basis::Cost } else { Basis::AtLeast }
    }

    /// Of a rate, by why it was no higher.
    pub fn of_rate(held_up: Option<&String>) -> Basis {
        if held_up.is_some() { Basis::Reached } else { Basis::AtLeast }
    }

    /// In words.
    pub fn text(self) -> &'static str {
        match self {
            Basis::Cost => "from the cost of an opening",
            Basis::Reached => "a ceiling that the run reached",
            Basis::AtLeast => "AT LEAST: the run did not reach the ceiling",
        }
    }
}

/// What bounds a SET, the narrowest first.
pub fn bounds(wanted: &Wanted, evidence: &Evidence, load: &Load, sheet: &mut Sheet) -> Vec<Bound> {
    let measured = &evidence.measured;
    sheet.heading("What bounds one SET, derated");
    let derating = wanted.derating;
    let servers = f64::from(wanted.servers_max - wanted.lose_servers);
    let measured_sets = f64::from(measured.sets);
    let mut bounds = Vec::new();
    let mut bound = |name: &'static str, basis: Basis, formula: String, opens_per_s: f64, source: &str| {
        sheet.line(name, formula, opens_per_s, "opens/s", &format!("{source}; {}", basis.text()));
        bounds.push(Bound { name, opens_per_s, basis });
    };

    let (cores, cpu) = (wanted.server_cores, load.cpu_us);
    bound(
        "server CPU",
        Basis::of_cost(evidence),
        format!("{servers} x {} x 1,000,000 x {derating} / {}", figure(cores), figure(cpu)),
        servers * cores * 1e6 * derating / cpu,
        "--servers-max less --lose-servers, --server-cores",
    );
    let (cores, cpu) = (wanted.db_cores, load.db_cpu_us);
    bound(
        "database CPU",
        Basis::of_cost(evidence),
        format!("{} x 1,000,000 x {derating} / {}", figure(cores), figure(cpu)),
        cores * 1e6 * derating / cpu,
        "--db-cores",
    );
    let (commits, batch) = (measured.commits_per_s / measured_sets, evidence.opens_per_commit());
    bound(
        "commits",
        Basis::of_rate(evidence.openings_held_up.as_ref()),
        format!("{} x {} x {derating}", figure(commits), figure(batch)),
        commits * batch * derating,
        "the run: commits/s of a SET, openings a commit",
    );
    let network = network_bytes_per_s(wanted);
    bound(
        "network",
        Basis::Cost,
        format!("{servers} x {} x {derating} / {}", figure(network), figure(load.bytes)),
        servers * network * derating / load.bytes,
        "--servers-max less --lose-servers, --network-gbit in bytes/s",
    );
    let settled = measured.credits_settled_per_s / measured_sets;
    let (peak_s, drain_s) = (wanted.peak_s, wanted.drain_s);
    bound(
        "credit backlog",
        Basis::of_rate(evidence.credits_held_up.as_ref()),
        format!("{} x {derating} x ({} + {}) / {}", figure(settled), figure(peak_s), figure(drain_s), figure(peak_s)),
        settled * derating * (peak_s + drain_s) / peak_s,
        "the run: credits/s of a SET; --peak-seconds, --drain-seconds",
    );
    bounds.sort_by(|a, b| a.opens_per_s.total_cmp(&b.opens_per_s));
    bounds
}
