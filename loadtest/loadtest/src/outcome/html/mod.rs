//! The page of a run.

mod charts;
mod percentiles;

use hongbao_load::number;
use hongbao_load::page::{Table, bar, card, fact, list, mark, page};
use maud::{Markup, html};

use self::charts::charts;
use self::percentiles::percentiles;
use super::data::{Generator, Outcome};
use super::text::over;

impl Outcome {
    /// The run as one self-contained HTML page.
    pub fn html(&self) -> String {
        let title = format!("Rehearsal: {}, {}", self.scenario, self.started_at);
        let how = self.closed_loop().map_or(String::new(), |how| format!(" in {how}"));
        let below = html! { (number::length(self.load_s)) " of load" (how) ", from " time { (self.started_at) } };
        let main = html! {
            (verdicts(self))
            (totals(self))
            (charts(self))
            (percentiles(self))
            (errors(self))
            (generator(&self.generator))
            (conditions(self))
        };
        page(&title, "Hongbao rehearsal", &self.scenario, &below, &main)
    }
}

fn verdicts(run: &Outcome) -> Markup {
    let broken = run.audit.iter().filter(|check| check.broken > 0).count();
    let (all, held) = (run.slos.len(), run.slos.iter().filter(|slo| slo.held).count());
    let (is_right, money) = match (run.is_audited(), broken, run.late_fen) {
        (false, ..) => (None, "Not audited".to_owned()),
        (true, 0, None) => (Some(true), "Every fen is where it should be".to_owned()),
        (true, 0, Some(fen)) => (None, format!("No fen is wrong, {} fen have not arrived", number::count(fen))),
        (true, broken, _) => (Some(false), format!("Wrong: {broken} of {} checks are broken", run.audit.len())),
    };
    let (is_valid, validity) = match run.void.is_empty() {
        true => (Some(true), "The figures can be believed"),
        false => (Some(false), "Void: the figures cannot be believed"),
    };
    let (are_held, thresholds) = match all - held {
        _ if all == 0 => (None, "None were asked for".to_owned()),
        0 => (Some(true), format!("All {all} held")),
        missed => (Some(false), format!("{missed} of {all} missed")),
    };
    let mut slos = Table::new("Thresholds", ["", "threshold", "measured"], 2).stacked();
    for slo in &run.slos {
        slos.row(&[&mark(slo.held, "held", "missed"), &slo.text, &slo.value]);
    }
    let mut checks = Table::new("Checks of the money", ["", "what must hold", "checked", "broken"], 2).stacked();
    for check in &run.audit {
        let held = match (check.checked, check.broken) {
            (0, 0) => html! { span class="mark few" { "nothing to check" } },
            (_, broken) => mark(broken == 0, "holds", "broken"),
        };
        let rule = html! { (check.rule) (details(&check.examples)) };
        checks.row(&[&held, &rule, &number::count(check.checked), &number::count(check.broken)]);
    }
    html! {
        section.verdicts aria-label="Verdicts" {
            (card("Money", is_right, &money))
            (card("Validity", is_valid, validity))
            (card("Thresholds", are_held, &thresholds))
        }
        (list("Why it is void", &run.void, "bad"))
        (list("To be known", &run.notes, "note"))
        (slos)
        (checks)
    }
}

/// Further lines in a cell of a table.
fn details<'a>(lines: impl IntoIterator<Item = &'a String>) -> Markup {
    let mut lines = lines.into_iter().peekable();
    html! { @if lines.peek().is_some() { ul { @for line in lines { li { (line) } } } } }
}

fn totals(run: &Outcome) -> Markup {
    const MEANINGS: [&str; 7] = [
        "arrivals that the schedule held",
        "requests sent",
        "answers that are no refusal",
        "openings, for the first time",
        "openings and refunds credited",
        "the same while the load lasted",
        "no answer that says what happened",
    ];
    let seconds = |seconds: f64| format!("{} s", number::figure(seconds));
    let drained =
        |drain: String, after: &str| html! { div { dt { "drained in" } dd { b { (drain) } small { (after) } } } };
    html! {
        section {
            h2 { "Totals" }
            dl.tiles {
                @for ((name, count, over_s), meaning) in run.rows_of_totals().into_iter().zip(MEANINGS) {
                    div {
                        dt { (name) }
                        dd {
                            b { (number::count(count)) }
                            span { (number::figure(number::rate(count, over_s))) " a second" }
                            small { (meaning) @if over_s != run.load_s { "; " (over(over_s)) } }
                        }
                    }
                }
                (drained(run.drain_s.map_or("not seen".into(), seconds), "after the load, until every opening was credited"))
                @if let Some(drain) = run.peak_drain_s() {
                    (drained(seconds(drain), "after the peak, until all that it had opened was credited"))
                }
            }
        }
    }
}

fn errors(run: &Outcome) -> Markup {
    let errors = run.errors();
    let mut table = Table::new("Refusals and failures", ["what", "count", "of all"], 1);
    for (label, count) in &errors {
        let share = match run.wanted() {
            0 => "-".into(),
            wanted => number::share(*count as f64 / wanted as f64),
        };
        table.row(&[label, &number::count(*count), &share]);
    }
    html! { @if !errors.is_empty() { section { (table) } } }
}

fn generator(generator: &Generator) -> Markup {
    html! {
        section {
            h2 { "The generator itself" }
            dl.facts {
                (fact("processors that it used", number::figure(generator.cpu_share)))
                @if let Some(used) = generator.service_cpu_share {
                    (fact("that the service used", number::figure(used)))
                }
                (fact("lag at 99%", number::millis(generator.lag_p99_ms)))
                (fact("greatest lag", number::millis(generator.lag_max_ms)))
                (fact("not started", format!("{} arrivals", number::count(generator.not_started))))
            }
            (lag(generator))
        }
    }
}

/// How late requests were sent, as bars. Their length is logarithmic: the few late ones matter.
fn lag(generator: &Generator) -> Markup {
    let last = generator.lag_bars.iter().rposition(|(_, count)| *count > 0);
    let bars = &generator.lag_bars[..last.map_or(0, |last| last + 1)];
    let all: u64 = bars.iter().map(|(_, count)| count).sum();
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let columns = ["up to", "bars (logarithmic)", "requests", "share"];
    let mut table = Table::new("How late requests were sent", columns, 2);
    for (place, (up_to_ms, count)) in bars.iter().enumerate() {
        // The last bar holds what was later than its bound, too.
        let up_to_ms = if Some(place) == last { up_to_ms.max(generator.lag_max_ms) } else { *up_to_ms };
        let percent = 100.0 * (1.0 + *count as f64).log10() / (1.0 + most as f64).log10();
        let share = number::share(*count as f64 / all as f64);
        table.row(&[&number::millis(up_to_ms), &bar(percent), &number::count(*count), &share]);
    }
    html! { (table) }
}

fn conditions(run: &Outcome) -> Markup {
    let machine = &run.machine;
    let mut faults = Table::new("Faults", ["", "fault", "part", "from", "to"], 3).stacked();
    for fault in &run.faults {
        let kind = html! { (fault.kind) (details(&fault.error)) };
        let (from, to) = (number::clock(fault.at_s), number::clock(fault.until_s));
        faults.row(&[&mark(fault.error.is_none(), "done", "failed"), &kind, &fault.part, &from, &to]);
    }
    html! {
        section {
            h2 { "What was run, and on what" }
            dl class="facts wide-facts" {
                (fact("command", html! { code { (run.command) } }))
                @for (name, value) in &run.parameters { (fact(name, value)) }
                (fact("processors", &machine.processors))
                @if !machine.file_system.is_empty() { (fact("file system", &machine.file_system)) }
                @for (name, version) in &machine.versions { (fact(name, version)) }
                (fact("durability", &machine.durability))
            }
            (faults)
        }
    }
}

#[cfg(test)]
mod tests;
