//! From one measured run to an installation: pure arithmetic, every line of it kept.
//!
//! A SET is bounded by its one database (processor, commits), by its workers
//! (credits), and by as many servers as it may have (processor, network). What
//! was measured is derated first. SETs hold whole slots, so the busiest one
//! sets the number; it is found for the SETs that are left when some are lost.

use serde::Serialize;

use super::bound::{Basis, Bound, bounds};
use super::evidence::Evidence;
use super::sheet::{Sheet, Term, figure, n};
use super::wanted::{Load, Wanted};
use crate::outcome::Measured;

/// Slots that SETs hold: there are no more SETs than these.
const SLOTS: u32 = 100;
/// So many times the sends of the run are no longer the same load.
const SENDS_MORE: f64 = 1.5;

/// An installation that does it.
#[derive(Clone, Debug, Serialize)]
pub struct CapacityPlan {
    /// SETs, with those that may be lost.
    pub sets: u32,
    /// Servers of each SET, with those that may be lost.
    pub servers_per_set: u32,
    pub database_hosts: u32,
    pub wallet_databases: u32,
    /// Gateways, if their cost was measured.
    pub gateways: Option<u32>,
    /// What bounds a SET, the narrowest first.
    pub bounds: Vec<Bound>,
    /// Openings a second in the busiest SET at the peak, when so many are lost as may be.
    pub busiest_opens_per_s: f64,
    /// Openings a second that it credits meanwhile.
    pub busiest_settled_per_s: f64,
    /// Seconds from the end of the peak to its last credit.
    pub drain_s: f64,
    /// All of the arithmetic.
    #[serde(skip)]
    pub sheet: Sheet,
}

/// Why there is no plan.
#[derive(Clone, Debug)]
pub struct NoPlan {
    pub why: String,
    /// Whether the run has shown that no installation does it. If not, it sustained too
    /// little to know.
    pub is_known: bool,
    /// The arithmetic so far.
    pub sheet: Sheet,
}

/// The least number of SETs of which the busiest has no more openings a second than `cap`.
fn sets_for(peak: f64, cap: f64) -> Option<u32> {
    (1..=SLOTS).find(|sets| busiest_of(peak, *sets) <= cap)
}

/// Openings a second of the SET that has the most slots.
fn busiest_of(peak: f64, sets: u32) -> f64 {
    peak * f64::from(SLOTS.div_ceil(sets)) / f64::from(SLOTS)
}

pub fn plan(wanted: &Wanted, evidence: &Evidence) -> Result<CapacityPlan, NoPlan> {
    let measured = &evidence.measured;
    let mut sheet = Sheet::default();
    evidence.show(&mut sheet);
    let load = Load::of(wanted, measured, &mut sheet);
    let bounds = bounds(wanted, evidence, &load, &mut sheet);
    let narrowest = &bounds[0];

    let cap = narrowest.opens_per_s;
    let peak = wanted.peak_opens_per_s;
    let (name, basis, is_known) = (narrowest.name, narrowest.basis.text(), narrowest.basis != Basis::AtLeast);
    let Some(left) = sets_for(peak, cap) else {
        let (slot, cap) = (figure(busiest_of(peak, SLOTS)), figure(cap));
        let why = format!("one slot alone needs {slot} openings a second, and a SET takes {cap} ({name}, {basis})");
        return Err(NoPlan { why, is_known, sheet });
    };
    let sets = left + wanted.lose_sets;
    if sets > SLOTS {
        let why = format!("{sets} SETs would be needed, and there are {SLOTS} slots to give to them ({name}, {basis})");
        return Err(NoPlan { why, is_known, sheet });
    }
    sheet.heading("SETs");
    let least = format!("least n with {} x ceil(100 / n) / 100 <= {}", figure(peak), figure(cap));
    sheet.line("SETs that must be left", Term::stated(f64::from(left), least), "SETs", "whole slots");
    let busiest = n(peak) * n(SLOTS.div_ceil(left)) / n(SLOTS);
    let busiest = sheet.line("openings of the busiest", busiest, "opens/s", "its slots");
    sheet.line("SETs", n(left) + n(wanted.lose_sets), "SETs", "--lose-sets");

    let servers_per_set = servers(wanted, measured, &load, busiest, &mut sheet);
    let gateways = gateways(wanted, measured, &load, &mut sheet);
    sheet.heading("Databases");
    let database_hosts = sheet.line("hosts", n(sets) * n(wanted.db_nodes), "hosts", "--db-nodes") as u32;
    let credits = Credits::of(wanted, evidence, &load, busiest, &mut sheet);

    let mut plan = CapacityPlan {
        sets,
        servers_per_set,
        database_hosts,
        wallet_databases: credits.wallet_databases,
        gateways,
        bounds,
        busiest_opens_per_s: busiest,
        busiest_settled_per_s: credits.settled_per_s,
        drain_s: credits.drain_s,
        sheet,
    };
    conclude(&mut plan, wanted, evidence);
    Ok(plan)
}

/// The result in sentences, and what it rests on.
fn conclude(plan: &mut CapacityPlan, wanted: &Wanted, evidence: &Evidence) {
    let measured = &evidence.measured;
    let mut remarks = vec![format!(
        "Needed: {} SETs with {} servers each ({} servers), {} database hosts, {} wallet databases, {}.",
        plan.sets,
        plan.servers_per_set,
        plan.sets * plan.servers_per_set,
        plan.database_hosts,
        plan.wallet_databases,
        plan.gateways
            .map_or("gateways unknown: the run had none".to_owned(), |gateways| format!("{gateways} gateways"))
    )];
    let narrowest = &plan.bounds[0];
    remarks.push(format!("The narrowest: {}, {}.", narrowest.name, narrowest.basis.text()));
    if narrowest.basis == Basis::AtLeast {
        remarks.push(format!(
            "So {} SETs are enough, and fewer may do: a run with more --closed users finds out.",
            plan.sets
        ));
    }
    if evidence.openings_held_up.is_none() {
        remarks.push(format!(
            "The run had {} openings a commit: under more load there are more, and one costs less processor time, so fewer servers may do, too.",
            figure(evidence.opens_per_commit())
        ));
    }
    if evidence.credits_held_up.is_none() {
        remarks.push(format!(
            "{} wallet databases are enough, and fewer may do: no credit waited.",
            plan.wallet_databases
        ));
    }
    remarks.push("At the peak the busiest SET uses, of what is counted on:".to_owned());
    for Bound { name, opens_per_s, basis } in &plan.bounds {
        let used = plan.busiest_opens_per_s / opens_per_s * 100.0;
        remarks.push(format!("  {used:>5.1}% of {name} ({})", basis.text()));
    }
    let cores = measured.cores;
    let (servers, databases) = (wanted.server_cores.unwrap_or(cores), wanted.db_cores.unwrap_or(cores));
    if (servers, databases) != (cores, cores) {
        remarks.push(format!(
            "CPU is taken to grow with processors, from {cores} in the run to {servers} and {databases}; commits and credits are not."
        ));
    }
    let missing = [
        (measured.cpu_us_per_grab, "Grabs were not measured apart: one counts as an opening."),
        (measured.cpu_us_per_view, "Views were not measured apart: one counts as an opening."),
        (measured.cpu_us_per_send, "What a send costs servers was not measured, and is left out."),
        (measured.db_cpu_us_per_send, "What a send costs databases was not measured, and is left out."),
    ];
    remarks.extend(missing.iter().filter(|(cost, _)| cost.is_none()).map(|(_, text)| (*text).to_owned()));
    let (sends, planned) = (evidence.sends_per_open, 1.0 / wanted.openers);
    if planned > sends * SENDS_MORE {
        remarks.push(format!(
            "{} sends for an opening are planned and the run had {}: their commits are only counted as far as it had them.",
            figure(planned),
            figure(sends)
        ));
    }
    remarks.extend(evidence.remarks.iter().cloned());
    remarks.into_iter().for_each(|text| plan.sheet.remark(text));
}

fn servers(wanted: &Wanted, measured: &Measured, load: &Load, busiest: f64, sheet: &mut Sheet) -> u32 {
    sheet.heading("Servers of a SET");
    let needs = Needs { rate: busiest, cpu_us: load.cpu_us, bytes: load.bytes };
    let sources = ["--server-cores", "--network-gbit in bytes/s"];
    needs.hosts(wanted, measured, "servers", ("servers of a SET", sources), sheet)
}

/// Gateways for all requests, if their cost was measured.
fn gateways(wanted: &Wanted, measured: &Measured, load: &Load, sheet: &mut Sheet) -> Option<u32> {
    let cpu_us = measured.gateway_cpu_us_per_request?;
    sheet.heading("Gateways");
    let requests = n(wanted.peak_opens_per_s) * n(load.requests);
    let rate = sheet.line("requests", requests, "requests/s", "--peak");
    // What comes in goes out again, so each direction carries requests and answers.
    let needs = Needs { rate, cpu_us, bytes: measured.bytes_in_per_request + measured.bytes_out_per_request };
    let sources = ["the run: CPU of a request; --server-cores", "--network-gbit in bytes/s; requests and answers"];
    Some(needs.hosts(wanted, measured, "gateways", ("gateways", sources), sheet))
}

/// What comes to a kind of hosts: how much a second, and what each takes.
struct Needs {
    rate: f64,
    cpu_us: f64,
    bytes: f64,
}

impl Needs {
    /// As many hosts as processors and network ask for, with those that may be lost.
    fn hosts(
        &self,
        wanted: &Wanted,
        measured: &Measured,
        unit: &'static str,
        (name, [cpu_source, network_source]): (&str, [&str; 2]),
        sheet: &mut Sheet,
    ) -> u32 {
        let (rate, derating) = (|| n(self.rate), || n(wanted.derating));
        let cores = n(wanted.server_cores.unwrap_or(measured.cores));
        let for_cpu = (rate() * n(self.cpu_us) / (cores * n(1e6) * derating())).ceil();
        let for_cpu = sheet.line("for CPU", for_cpu, unit, cpu_source);
        let for_network = (rate() * n(self.bytes) / (n(wanted.network_bytes_per_s()) * derating())).ceil();
        let for_network = sheet.line("for the network", for_network, unit, network_source);
        let all = Term::max(&[n(for_cpu), n(for_network)]) + n(wanted.lose_servers);
        sheet.line(name, all, unit, "--lose-servers") as u32
    }
}

/// The wallet, and what waits for it after the peak.
struct Credits {
    wallet_databases: u32,
    settled_per_s: f64,
    drain_s: f64,
}

impl Credits {
    fn of(wanted: &Wanted, evidence: &Evidence, load: &Load, busiest: f64, sheet: &mut Sheet) -> Credits {
        let measured = &evidence.measured;
        let (peak, peak_s) = (|| n(wanted.peak_opens_per_s), || n(wanted.peak_s));
        sheet.heading("The wallet, and credits after the peak");
        let credits = peak() * peak_s() / (peak_s() + n(wanted.drain_s));
        let credits = sheet.line("credits", credits, "credits/s", "--peak-seconds, --drain-seconds");
        let payments = sheet.line("payments", peak() * n(load.sends), "payments/s", "sends cannot wait");
        let one = n(measured.credits_settled_per_s) / n(measured.wallets) * n(wanted.derating);
        let basis = Basis::of_rate(evidence.credits_held_up.as_ref());
        let source = format!("the run: credits/s, wallets; {}", basis.text());
        let one = sheet.line("one database takes", one, "transfers/s", &source);
        let databases = ((n(credits) + n(payments)) / n(one)).ceil();
        let databases = sheet.line("wallet databases", databases, "databases", "both together");

        let of_wallet = (databases * one - payments) * busiest / wanted.peak_opens_per_s;
        let of_set = measured.credits_settled_per_s / f64::from(measured.sets) * wanted.derating;
        let settled = Term::min(&[n(busiest), n(of_set), n(of_wallet)]);
        let source = "its openings, its workers, its share of the wallet";
        let settled = sheet.line("the busiest SET credits", settled, "credits/s", source);
        let backlog = (n(busiest) - n(settled)) * peak_s();
        let backlog = sheet.line("its backlog after the peak", backlog, "credits", "--peak-seconds");
        let drain_s = sheet.line("drained after", n(backlog) / n(settled), "s", "nothing new comes");
        Credits { wallet_databases: databases as u32, settled_per_s: settled, drain_s }
    }
}
