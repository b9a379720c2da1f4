//! From one measured run to an installation: pure arithmetic, every line of it kept.
//!
//! A SET is bounded by its one database (processor, commits), by its workers
//! (credits), and by as many servers as it may have (processor, network). What
//! was measured is derated first. SETs hold whole slots, so the busiest one
//! sets the number; it is found for the SETs that are left when some are lost.

use serde::Serialize;

use super::bound::{Basis, Bound, bounds};
use super::evidence::Evidence;
use super::sheet::{Sheet, figure};
use super::wanted::{Load, Wanted, network_bytes_per_s};
use crate::outcome::Measured;

/// Slots that SETs hold: there are no more SETs than these.
const SLOTS: u32 = 100;
/// So many times the sends of the run are no longer the same load.
const SENDS_MORE: f64 = 1.5;

/// An installation that does it.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// SETs, with those that may be lost.
    pub sets: u32,
    /// Servers of each SET, with those that may be lost.
    pub servers_per_set: u32,
    /// Hosts of all SETs' databases.
    pub database_hosts: u32,
    /// Databases of the wallet.
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
    /// In words.
    pub why: String,
    /// Whether the run has shown that no installation does it. If not, it bore too
    /// little to tell.
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

/// Works it out.
pub fn plan(wanted: &Wanted, evidence: &Evidence) -> Result<Plan, NoPlan> {
    let measured = &evidence.measured;
    let mut sheet = Sheet::default();
    evidence.show(&mut sheet);
    let load = Load::of(wanted, measured, &mut sheet);
    let bounds = bounds(wanted, evidence, &load, &mut sheet);
    let narrowest = &bounds[0];

    let cap = narrowest.opens_per_s;
    let peak = wanted.peak_opens_per_s;
    let is_known = narrowest.basis != Basis::AtLeast;
    let Some(left) = sets_for(peak, cap) else {
        let (slot, name, basis) = (figure(busiest_of(peak, SLOTS)), narrowest.name, narrowest.basis.text());
        let why =
            format!("one slot alone needs {slot} openings a second, and a SET takes {} ({name}, {basis})", figure(cap));
        return Err(NoPlan { why, is_known, sheet });
    };
    let sets = left + wanted.lose_sets;
    if sets > SLOTS {
        let (name, basis) = (narrowest.name, narrowest.basis.text());
        let why = format!("{sets} SETs would be needed, and there are {SLOTS} slots to give to them ({name}, {basis})");
        return Err(NoPlan { why, is_known, sheet });
    }
    sheet.heading("SETs");
    let busiest = busiest_of(peak, left);
    let formula = format!("least n with {} x ceil(100 / n) / 100 <= {}", figure(peak), figure(cap));
    sheet.line("SETs that must be left", formula, f64::from(left), "SETs", "whole slots");
    let formula = format!("{} x {} / 100", figure(peak), SLOTS.div_ceil(left));
    sheet.line("openings of the busiest", formula, busiest, "opens/s", "its slots");
    let formula = format!("{left} + {}", wanted.lose_sets);
    sheet.line("SETs", formula, f64::from(sets), "SETs", "--lose-sets");

    let servers_per_set = servers(wanted, &load, busiest, &mut sheet);
    let gateways = gateways(wanted, measured, &load, &mut sheet);
    sheet.heading("Databases");
    let database_hosts = sets * wanted.db_nodes;
    sheet.line("hosts", format!("{sets} x {}", wanted.db_nodes), f64::from(database_hosts), "hosts", "--db-nodes");
    let credits = Credits::of(wanted, evidence, &load, busiest, &mut sheet);

    let mut plan = Plan {
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
fn conclude(plan: &mut Plan, wanted: &Wanted, evidence: &Evidence) {
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
    let (cores, servers, databases) = (measured.cores, wanted.server_cores, wanted.db_cores);
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

/// Servers of each SET, for the busiest.
fn servers(wanted: &Wanted, load: &Load, busiest: f64, sheet: &mut Sheet) -> u32 {
    sheet.heading("Servers of a SET");
    let (cores, derating) = (wanted.server_cores, wanted.derating);
    let for_cpu = (busiest * load.cpu_us / (cores * 1e6 * derating)).ceil();
    let formula =
        format!("ceil({} x {} / ({} x 1,000,000 x {derating}))", figure(busiest), figure(load.cpu_us), figure(cores));
    sheet.line("for CPU", formula, for_cpu, "servers", "--server-cores");
    let network = network_bytes_per_s(wanted);
    let for_network = (busiest * load.bytes / (network * derating)).ceil();
    let formula = format!("ceil({} x {} / ({} x {derating}))", figure(busiest), figure(load.bytes), figure(network));
    sheet.line("for the network", formula, for_network, "servers", "--network-gbit in bytes/s");
    let lost = f64::from(wanted.lose_servers);
    let formula = format!("max({for_cpu}, {for_network}) + {lost}");
    let all = sheet.line("servers of a SET", formula, for_cpu.max(for_network) + lost, "servers", "--lose-servers");
    all as u32
}

/// Gateways for all requests, if their cost was measured.
fn gateways(wanted: &Wanted, measured: &Measured, load: &Load, sheet: &mut Sheet) -> Option<u32> {
    let cost = measured.gateway_cpu_us_per_request?;
    sheet.heading("Gateways");
    let (peak, derating, cores) = (wanted.peak_opens_per_s, wanted.derating, wanted.server_cores);
    let formula = format!("{} x {}", figure(peak), figure(load.requests));
    let requests = sheet.line("requests", formula, peak * load.requests, "requests/s", "--peak");
    let for_cpu = (requests * cost / (cores * 1e6 * derating)).ceil();
    let formula =
        format!("ceil({} x {} / ({} x 1,000,000 x {derating}))", figure(requests), figure(cost), figure(cores));
    sheet.line("for CPU", formula, for_cpu, "gateways", "the run: CPU of a request; --server-cores");
    // What comes in goes out again, so each direction carries requests and answers.
    let both = measured.bytes_in_per_request + measured.bytes_out_per_request;
    let network = network_bytes_per_s(wanted);
    let for_network = (requests * both / (network * derating)).ceil();
    let formula = format!("ceil({} x {} / ({} x {derating}))", figure(requests), figure(both), figure(network));
    sheet.line("for the network", formula, for_network, "gateways", "--network-gbit in bytes/s; requests and answers");
    let lost = f64::from(wanted.lose_servers);
    let formula = format!("max({for_cpu}, {for_network}) + {lost}");
    let all = sheet.line("gateways", formula, for_cpu.max(for_network) + lost, "gateways", "--lose-servers");
    Some(all as u32)
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
        let (peak, peak_s, drain_s, derating) =
            (wanted.peak_opens_per_s, wanted.peak_s, wanted.drain_s, wanted.derating);
        sheet.heading("The wallet, and credits after the peak");
        let formula = format!("{} x {} / ({} + {})", figure(peak), figure(peak_s), figure(peak_s), figure(drain_s));
        let credits = peak * peak_s / (peak_s + drain_s);
        let credits = sheet.line("credits", formula, credits, "credits/s", "--peak-seconds, --drain-seconds");
        let formula = format!("{} x {}", figure(peak), figure(load.sends));
        let payments = sheet.line("payments", formula, peak * load.sends, "payments/s", "sends cannot wait");
        let one = measured.credits_settled_per_s / f64::from(measured.wallets) * derating;
        let formula = format!("{} / {} x {derating}", figure(measured.credits_settled_per_s), measured.wallets);
        let basis = Basis::of_rate(evidence.credits_held_up.as_ref());
        let source = format!("the run: credits/s, wallets; {}", basis.text());
        sheet.line("one database takes", formula, one, "transfers/s", &source);
        let databases = ((credits + payments) / one).ceil();
        let formula = format!("ceil(({} + {}) / {})", figure(credits), figure(payments), figure(one));
        sheet.line("wallet databases", formula, databases, "databases", "both together");

        let share = busiest / peak;
        let of_wallet = (databases * one - payments) * share;
        let of_set = measured.credits_settled_per_s / f64::from(measured.sets) * derating;
        let settled = busiest.min(of_set).min(of_wallet);
        let formula = format!("min({}, {}, {})", figure(busiest), figure(of_set), figure(of_wallet));
        sheet.line(
            "the busiest SET credits",
            formula,
            settled,
            "credits/s",
            "its openings, its workers, its share of the wallet",
        );
        let formula = format!("({} - {}) x {}", figure(busiest), figure(settled), figure(peak_s));
        let backlog = sheet.line(
            "its backlog after the peak",
            formula,
            (busiest - settled) * peak_s,
            "credits",
            "--peak-seconds",
        );
        let formula = format!("{} / {}", figure(backlog), figure(settled));
        let drain = sheet.line("drained after", formula, backlog / settled, "s", "nothing new comes");
        Credits { wallet_databases: databases as u32, settled_per_s: settled, drain_s: drain }
    }
}
