//! What bounds one SET, and what each bound rests on.

use serde::Serialize;

use super::evidence::Evidence;
use super::sheet::{Sheet, Term, n};
use super::wanted::{Load, Wanted};

/// What could be the narrowest.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Bound {
    pub name: &'static str,
    /// Openings a second that it lets one SET take, derated.
    pub opens_per_s: f64,
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
    /// A rate that the run sustained, while no more was offered; or what an opening cost below the
    /// ceiling, where small batches and polling for work make it dearer. The bound may lie higher.
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
    let derated = |term: Term| term * n(wanted.derating);
    let servers = wanted.servers_max - wanted.lose_servers;
    let mut bounds = Vec::new();
    let mut bound = |name: &'static str, basis: Basis, term: Term, source: &str| {
        let opens_per_s = sheet.line(name, term, "opens/s", &format!("{source}; {}", basis.text()));
        bounds.push(Bound { name, opens_per_s, basis });
    };

    let of_cost = Basis::of_cost(evidence);
    let cores = n(wanted.server_cores.unwrap_or(measured.cores));
    let term = derated(n(servers) * cores * n(1e6)) / n(load.cpu_us);
    bound("server CPU", of_cost, term, "--servers-max less --lose-servers, --server-cores");
    let term = derated(n(wanted.db_cores.unwrap_or(measured.cores)) * n(1e6)) / n(load.db_cpu_us);
    bound("database CPU", of_cost, term, "--db-cores");
    let of_set = |rate: f64| n(rate / f64::from(measured.sets));
    let basis = Basis::of_rate(evidence.openings_held_up.as_ref());
    let term = derated(of_set(measured.commits_per_s) * n(evidence.opens_per_commit()));
    bound("commits", basis, term, "the run: commits/s of a SET, openings a commit");
    let term = derated(n(servers) * n(wanted.network_bytes_per_s())) / n(load.bytes);
    bound("network", Basis::Cost, term, "--servers-max less --lose-servers, --network-gbit in bytes/s");
    let (peak_s, drain_s) = (|| n(wanted.peak_s), n(wanted.drain_s));
    let basis = Basis::of_rate(evidence.credits_held_up.as_ref());
    let term = derated(of_set(measured.credits_settled_per_s)) * (peak_s() + drain_s) / peak_s();
    bound("credit backlog", basis, term, "the run: credits/s of a SET; --peak-seconds, --drain-seconds");
    bounds.sort_by(|a, b| a.opens_per_s.total_cmp(&b.opens_per_s));
    bounds
}
