//! What a run proves: whether it may be planned from at all, what each thing used
//! in it, and which of its rates were ceilings. A rate that nothing held up is
//! only known to be sustained: no more was offered.

use std::path::Path;

use hongbao_load::Fallible;

use super::sheet::{Sheet, figure, n};
use crate::outcome::{Measured, Outcome, answered};

/// From this share of openings on that are answered `busy`, the service took all that it could.
const BUSY_SHARE_MIN: f64 = 0.01;
/// A closed loop that keeps this share of the machine busy, the generator included, finds no
/// more by more users. Commits that follow one another prove nothing: more users share them.
const BUSY_MACHINE_MIN: f64 = 0.90;
/// Openings that the service puts into one commit at most.
const OPENINGS_OF_A_COMMIT_MAX: f64 = 1_024.0;
/// From this share of them on, on average, commits are full: more users only wait.
const FULL_COMMIT_MIN: f64 = 0.90;
/// The scenario that has one envelope. All of its openings pass through one lane of one server.
const ONE_ENVELOPE: &str = "hot";
/// From so many seconds of credits on that wait when the load ends, the workers did all that they could.
const WAITING_S_MIN: f64 = 2.0;

/// A run that can be believed, and how far it went.
#[derive(Clone, Debug)]
pub struct Evidence {
    pub measured: Measured,
    /// Why its openings a second are a ceiling; absent when they are merely what was offered.
    pub openings_held_up: Option<String>,
    /// Why its credits a second are a ceiling; likewise.
    pub credits_held_up: Option<String>,
    /// Requests a second, of all kinds.
    pub requests_per_s: f64,
    /// Envelopes that were paid for, for each opening.
    pub sends_per_open: f64,
    pub service_processors: Option<f64>,
    /// Processors that the generator used. They are in none of the figures.
    pub generator_processors: f64,
    /// What else should be known of the run, in sentences.
    pub remarks: Vec<String>,
}

impl Evidence {
    /// Reads the JSON of a run.
    ///
    /// # Errors
    /// When it is none, or none that can be planned from.
    pub fn read(path: &Path) -> Fallible<Evidence> {
        let run = Outcome::read("--from", path)?;
        Evidence::of(&run).map_err(|message| format!("{}: {message}", path.display()).into())
    }

    /// What a run proves. `Err` says why nothing can be planned from it.
    pub fn of(run: &Outcome) -> Result<Evidence, String> {
        if !run.money_holds() {
            return Err("money is wrong after this run: nothing is planned from it".to_owned());
        }
        if !run.void.is_empty() {
            return Err(format!("the run is void ({}): nothing is planned from it", run.void.join("; ")));
        }
        if !run.is_audited() {
            return Err("the money of this run was not checked: nothing is planned from it".to_owned());
        }
        if !run.faults.is_empty() {
            return Err("parts were broken on purpose during this run: what it sustained is no measure of \
                        their capacity; run it without --faults"
                .to_owned());
        }
        if run.machine.full_durability == Some(false) {
            return Err(
                "the service ran with relaxed durability: what it sustained is no measure of full one".to_owned()
            );
        }
        let measured = run.capacity.clone().ok_or("only a run with --cluster knows what each process used")?;
        measured.check()?;
        let pays = answered(&run.latencies, "pay") as f64;
        Ok(Evidence {
            openings_held_up: openings_held_up(run, &measured),
            credits_held_up: credits_held_up(run, &measured),
            requests_per_s: run.totals.started as f64 / run.load_s,
            sends_per_open: pays / run.totals.committed.max(1) as f64,
            service_processors: run.generator.service_cpu_share,
            generator_processors: run.generator.cpu_share,
            remarks: remarks(run, &measured),
            measured,
        })
    }

    /// Writes down what the run did, and what it used for that.
    pub fn show(&self, sheet: &mut Sheet) {
        let run = &self.measured;
        let (opens, grabs, views) = (|| n(run.opens_per_s), n(run.grabs_per_s), n(run.views_per_s));
        sheet.heading("What the run did");
        sheet.given("SETs", f64::from(run.sets), "SETs", "--from; those that committed openings");
        sheet.given("processors", run.cores, "processors for all of it", "--from");
        let source = format!("committed; {}", rate_text(&self.openings_held_up));
        sheet.given("openings", run.opens_per_s, "opens/s", &source);
        sheet.given("grabs", run.grabs_per_s, "grabs/s", "answered");
        sheet.given("views", run.views_per_s, "views/s", "answered");
        sheet.given("requests", self.requests_per_s, "requests/s", "sent, of all kinds");
        sheet.given("credits", run.credits_settled_per_s, "credits/s", &rate_text(&self.credits_held_up));

        sheet.heading("What it used for that");
        let open = run.cpu_us_per_open;
        sheet.given("server CPU of an opening", open, "us", "committed, with what refusals cost");
        let (grab, view) = (run.cpu_us_per_grab.unwrap_or(open), run.cpu_us_per_view.unwrap_or(open));
        let term = (opens() * n(open) + grabs * n(grab) + views * n(view)) / n(1e6);
        sheet.line("servers", term, "processors", "openings, grabs, views");
        if let Some(cost) = run.gateway_cpu_us_per_request {
            sheet.line("gateways", n(self.requests_per_s) * n(cost) / n(1e6), "processors", "CPU of a request");
        }
        sheet.line("databases", opens() * n(run.db_cpu_us_per_open) / n(1e6), "processors", "CPU of an opening");
        if let Some(all) = self.service_processors {
            sheet.given("all of the service", all, "processors", "workers, wallet and caches among them");
        }
        sheet.given("generator", self.generator_processors, "processors", "counted nowhere below");
        sheet.given("commits", run.commits_per_s, "commits/s", "the run");
        sheet.line("openings a commit", opens() / n(run.commits_per_s), "opens", "committed ones");
        sheet.given("bytes of a request", run.bytes_in_per_request, "bytes", "the run");
        sheet.given("bytes of an answer", run.bytes_out_per_request, "bytes", "the run");
    }

    /// Openings for the first time in one commit. A batch may hold repeats, too.
    pub fn opens_per_commit(&self) -> f64 {
        self.measured.opens_per_s / self.measured.commits_per_s
    }
}

fn rate_text(held_up: &Option<String>) -> String {
    held_up.as_ref().map_or("sustained, no more was offered".to_owned(), |why| format!("a ceiling: {why}"))
}

/// Whether more openings were wanted than were made, and how that showed.
fn openings_held_up(run: &Outcome, measured: &Measured) -> Option<String> {
    if let Some(users) = run.closed_loop() {
        let busy = busy_machine(run, measured);
        if busy.is_some_and(|busy| busy >= BUSY_MACHINE_MIN) {
            return Some(format!("{users} that kept {} of the machine busy", share(busy)));
        }
        // One envelope fills one lane, and a SET has more of them.
        let is_full = measured.batch_mean >= FULL_COMMIT_MIN * OPENINGS_OF_A_COMMIT_MAX;
        return (is_full && run.scenario != ONE_ENVELOPE)
            .then(|| format!("{users}, {} openings a commit", figure(measured.batch_mean)));
    }
    let errors = run.seconds.iter().flat_map(|second| &second.errors);
    let busy: u64 = errors.filter(|(label, _)| label.as_str() == "open 503 busy").map(|(_, count)| count).sum();
    let share = busy as f64 / answered(&run.latencies, "open").max(1) as f64;
    (share >= BUSY_SHARE_MIN).then(|| format!("{:.0}% of the openings were answered busy", share * 100.0))
}

/// The part of the machine's processors that service and generator used; `None` if it was not measured.
fn busy_machine(run: &Outcome, measured: &Measured) -> Option<f64> {
    // The system counts processor time in ticks, so a little more than there is may come out.
    run.generator.service_cpu_share.map(|service| ((service + run.generator.cpu_share) / measured.cores).min(1.0))
}

fn share(value: Option<f64>) -> String {
    value.map_or("an unknown part".to_owned(), |value| format!("{:.0}%", value * 100.0))
}

/// Whether credits had to wait for the end of the load.
fn credits_held_up(run: &Outcome, measured: &Measured) -> Option<String> {
    let load = run.seconds.iter().filter(|second| second.at_s <= run.load_s);
    let (committed, settled) = load.fold((0, 0), |(committed, settled), second| {
        (committed + second.counted.committed, settled + second.counted.settled)
    });
    let waiting = committed.saturating_sub(settled) as f64;
    let is_backlog = waiting / measured.credits_settled_per_s >= WAITING_S_MIN;
    is_backlog.then(|| format!("{} openings waited for theirs when the load ended", figure(waiting)))
}

fn remarks(run: &Outcome, measured: &Measured) -> Vec<String> {
    let mut remarks: Vec<String> = run.notes.iter().map(|note| format!("Of the run: {note}.")).collect();
    if let Some(users) = run.closed_loop()
        && openings_held_up(run, measured).is_none()
    {
        let busy = share(busy_machine(run, measured));
        remarks.push(format!("Of the run: {users} kept {busy} of the machine busy; more of them may do more."));
    }
    if run.scenario == ONE_ENVELOPE {
        remarks.push(
            "Of the run: it had one envelope, and so measured one lane of one server of one SET; each server of a SET has up to four."
                .to_owned(),
        );
    }
    if run.drain_s.is_none() {
        remarks.push("Of the run: its last credit was not seen, so credits may be faster than they seem.".to_owned());
    }
    let missed: Vec<&str> = run.slos.iter().filter(|slo| !slo.held).map(|slo| slo.text.as_str()).collect();
    if !missed.is_empty() {
        remarks.push(format!("Of the run: it missed {}; its rates were not sustained as promised.", missed.join(", ")));
    }
    remarks
}
