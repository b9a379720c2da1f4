//! `run`: a rehearsal. A plan is written, the service is driven by it, what was
//! answered is audited, and the outcome is shown.
//!
//! Reading order: [`plan`] says what a run is on paper, [`scenario`] writes it,
//! [`engine`] drives it, [`history`] keeps what was answered, [`settle`] waits for the
//! money, [`audit`] checks it, [`verdict`] says whether it can be believed.

mod accounts;
mod alarm;
mod answer;
mod args;
mod arrivals;
mod audit;
mod balances;
mod books;
mod connection_pool;
mod drive;
mod engine;
mod gauges;
mod history;
mod order;
mod plan;
mod prepare;
mod recorder;
mod rehearsal;
mod request;
mod rule;
mod scenario;
mod settle;
mod shown;
mod target;
#[cfg(test)]
mod tests;
mod usage;
mod users;
mod verdict;

pub use args::RunArgs;

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use hongbao_load::{Fallible, Schedule, files, machine};

use self::rehearsal::Rehearsal;
use self::target::Target;
use self::users::Users;
use crate::outcome;

/// Carries out a run: 0 when everything held, 1 when money or a threshold did
/// not, 2 when the run cannot be believed.
///
/// # Errors
/// When it could not be carried out at all: nothing is known then.
pub fn run(args: &RunArgs) -> Fallible<ExitCode> {
    hongbao_load::begin()?;
    // What is wrong with the arguments is said before anything starts.
    args.check()?;
    let slos = outcome::all_slos(&args.slos, args.slo_file.as_deref())?;
    let header = args.mark()?;
    let mut faults =
        args.faults.as_deref().map(|path| Schedule::read("--faults", path)).transpose()?.unwrap_or_default();
    let wish = args.wish()?;
    let mut plan = args.scenario.plan(&wish)?;
    args.topology_at.iter().try_for_each(|change| faults.add_topology("--topology-at", change))?;
    faults.check_begin(plan.load_s())?;

    let lead = prepare::lead(&plan);
    let mut notes = Vec::new();
    let mut midnight_s = args.scenario.midnight_s(&wish);
    if midnight_s.is_some() && args.target.is_some() {
        midnight_s = None;
        notes.push("no midnight was rehearsed: only a service that the run starts can be put into its zone".to_owned());
    }
    if let Some(midnight_s) = midnight_s {
        plan.parameters.insert("midnight".to_owned(), format!("{midnight_s:.1} s after the start"));
    }
    let begin = midnight_s.map(|midnight_s| (machine::wall_clock() + lead, midnight_s));
    let midnight = begin.map(|(begin, midnight_s)| begin + Duration::from_secs_f64(midnight_s));
    // It is said now that one cannot be written; what is kept in it stays until there is something better.
    for (flag, path) in [("--json", &args.json), ("--html", &args.html), ("--history", &args.history)] {
        path.iter().try_for_each(|path| files::check_writable(flag, path))?;
    }
    eprintln!(
        "{}: {} visits, {} envelopes, {} users",
        args.scenario.name(),
        plan.visits.len(),
        plan.envelopes.len(),
        plan.users
    );
    let target = Target::open(args, args.shares_max_allowed(&wish), midnight, &faults)?;
    target.wait_until_ready()?;

    let run_number =
        machine::wall_clock().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as u32);
    let users = Users::new(&target.site, run_number, &plan, target.signer.as_ref(), header.clone())?;
    let prepared = prepare::prepare(&plan, &users, args.tickets_ahead)?;
    if let Some((begin, _)) = begin {
        match begin.duration_since(machine::wall_clock()) {
            Ok(left) => std::thread::sleep(left),
            Err(late) => notes
                .push(format!("the load began {:.1} s late, so midnight comes early", late.duration().as_secs_f64())),
        }
    }

    let rehearsal = Rehearsal { args, plan: &plan, target: &target, users: &users, faults: &faults };
    let load = rehearsal.drive(prepared, header)?;
    let gone = target.gone();
    if load.driven.tickets_renewed > 0 {
        notes.push(format!(
            "{} tickets that were made ahead were no longer valid and were grabbed anew: ask for --tickets-ahead false",
            load.driven.tickets_renewed
        ));
    }
    eprintln!("auditing {} answers about {} envelopes", load.driven.history.len(), plan.envelopes.len());
    // Before the audit, which may fail: what was said is all that is left then.
    let kept =
        history::export(args.history.as_deref(), &load.driven.history, &load.driven.envelopes, |user| users.id(user));
    let audit = rehearsal.books(&load.driven.envelopes, &load.driven.history).audit(&load.settled);
    let mut outcome = verdict::outcome(&rehearsal, load, audit, notes, &slos);
    outcome
        .void
        .extend(gone.map(|message| format!("something ended by itself, which no fault had asked for: {message}")));
    Ok(outcome.publish(kept, args.json.as_deref(), args.html.as_deref()))
}
