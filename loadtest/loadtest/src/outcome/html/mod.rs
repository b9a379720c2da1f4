//! The page of a run: one HTML file that needs nothing else, not even a
//! network. Its policy forbids it to load anything, and it holds no script.

mod axis;
mod chart;
mod charts;
mod curve;
mod table;

use std::fmt::Write;

use hongbao_load::escape::escape;
use hongbao_load::number;
use table::Table;

use super::Outcome;
use super::text::over;

const STYLE: &str = include_str!("page.css");

impl Outcome {
    /// The run as one self-contained HTML page.
    pub fn html(&self) -> String {
        let mut out = String::new();
        let scenario = escape(&self.scenario);
        let _ = write!(
            out,
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
             <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
             <meta name=\"color-scheme\" content=\"light dark\">\
             <title>Rehearsal: {scenario}, {at}</title><style>{STYLE}</style></head><body>\
             <header><p class=\"kicker\">Hongbao rehearsal</p><h1>{scenario}</h1>\
             <p class=\"when\">{load} of load{how}, from <time>{at}</time></p></header><main>",
            at = escape(&self.started_at),
            load = number::length(self.load_s),
            how = self.closed_loop().map_or(String::new(), |how| format!(" in {how}"))
        );
        self.push_verdicts(&mut out);
        self.push_totals(&mut out);
        self.push_charts(&mut out);
        self.push_latencies(&mut out);
        self.push_errors(&mut out);
        self.push_generator(&mut out);
        self.push_ground(&mut out);
        out.push_str("</main></body></html>\n");
        out
    }

    fn push_verdicts(&self, out: &mut String) {
        let broken = self.audit.iter().filter(|check| check.broken > 0).count();
        let held = self.slos.iter().filter(|slo| slo.held).count();
        out.push_str("<section class=\"verdicts\" aria-label=\"Verdicts\">");
        let all = self.audit.len();
        match (self.is_audited(), broken, self.late_fen) {
            (false, ..) => push_card(out, "Money", Mood::Unknown, "Not audited"),
            (true, 0, None) => push_card(out, "Money", Mood::Good, "Every fen is where it should be"),
            (true, 0, Some(fen)) => {
                let words = format!("No fen is wrong, {} fen have not arrived", number::count(fen));
                push_card(out, "Money", Mood::Unknown, &words);
            }
            (true, broken, _) => {
                push_card(out, "Money", Mood::Bad, &format!("Wrong: {broken} of {all} checks are broken"));
            }
        }
        match self.void.is_empty() {
            true => push_card(out, "Validity", Mood::Good, "The figures can be believed"),
            false => push_card(out, "Validity", Mood::Bad, "Void: the figures cannot be believed"),
        }
        match self.slos.len() {
            0 => push_card(out, "Thresholds", Mood::Unknown, "None were asked for"),
            all if all == held => push_card(out, "Thresholds", Mood::Good, &format!("All {all} held")),
            all => push_card(out, "Thresholds", Mood::Bad, &format!("{} of {all} missed", all - held)),
        }
        out.push_str("</section>");
        push_list(out, "Why it is void", &self.void, "bad");
        push_list(out, "To be known", &self.notes, "note");

        if !self.slos.is_empty() {
            let mut table = Table::new("Thresholds", &["", "threshold", "measured"], 3);
            for slo in &self.slos {
                table.row(&[table::mark(slo.held, "held", "missed"), escape(&slo.text), escape(&slo.value)]);
            }
            table.push(out);
        }
        if !self.audit.is_empty() {
            let mut table = Table::new("Checks of the money", &["", "what must hold", "checked", "broken"], 2);
            for check in &self.audit {
                let examples: String =
                    check.examples.iter().map(|example| format!("<li>{}</li>", escape(example))).collect();
                let examples = if examples.is_empty() { examples } else { format!("<ul>{examples}</ul>") };
                let mark = match (check.checked, check.broken) {
                    (0, 0) => "<span class=\"mark few\">nothing to check</span>".into(),
                    (_, broken) => table::mark(broken == 0, "holds", "broken"),
                };
                table.row(&[
                    mark,
                    format!("{}{examples}", escape(&check.rule)),
                    number::count(check.checked),
                    number::count(check.broken),
                ]);
            }
            table.push(out);
        }
    }

    fn push_totals(&self, out: &mut String) {
        const MEANINGS: [&str; 7] = [
            "arrivals that the schedule held",
            "requests sent",
            "answers that are no refusal",
            "openings, for the first time",
            "openings and refunds credited",
            "the same while the load lasted",
            "no answer that says what happened",
        ];
        out.push_str("<section><h2>Totals</h2><dl class=\"tiles\">");
        for ((name, count, seconds), meaning) in self.rows_of_totals().into_iter().zip(MEANINGS) {
            let over = if seconds == self.load_s { String::new() } else { format!("; {}", over(seconds)) };
            let _ = write!(
                out,
                "<div><dt>{name}</dt><dd><b>{}</b><span>{} a second</span><small>{meaning}{over}</small></dd></div>",
                number::count(count),
                number::figure(number::rate(count, seconds))
            );
        }
        let drain = self.drain_s.map_or("not seen".into(), |drain| format!("{} s", number::figure(drain)));
        let _ = write!(
            out,
            "<div><dt>drained in</dt><dd><b>{drain}</b><small>after the load, until every opening was credited</small>\
             </dd></div>"
        );
        if let Some(drain) = self.peak_drain_s() {
            let _ = write!(
                out,
                "<div><dt>drained in</dt><dd><b>{} s</b><small>after the peak, until all that it had opened was \
                 credited</small></dd></div>",
                number::figure(drain)
            );
        }
        out.push_str("</dl></section>");
    }

    fn push_errors(&self, out: &mut String) {
        let errors = self.errors();
        if errors.is_empty() {
            return;
        }
        let mut table = Table::new("Refusals and failures", &["what", "count", "of all requests"], 1);
        let mut errors: Vec<_> = errors.into_iter().collect();
        errors.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        for (label, count) in errors {
            let share = match self.totals.started {
                0 => "-".into(),
                started => number::share(count as f64 / started as f64),
            };
            table.row(&[escape(label), number::count(count), share]);
        }
        out.push_str("<section>");
        table.push(out);
        out.push_str("</section>");
    }

    fn push_generator(&self, out: &mut String) {
        let generator = &self.generator;
        out.push_str("<section><h2>The generator itself</h2><dl class=\"facts\">");
        push_fact(out, "its processors", &format!("{} of one", number::share(generator.cpu_share)));
        if let Some(share) = generator.service_cpu_share {
            push_fact(out, "the service's", &format!("{} of one", number::share(share)));
        }
        push_fact(out, "lag at 99%", &number::millis(generator.lag_p99_ms));
        push_fact(out, "greatest lag", &number::millis(generator.lag_max_ms));
        push_fact(out, "not started", &format!("{} arrivals", number::count(generator.not_started)));
        out.push_str("</dl>");
        table::push_lag(out, generator);
        out.push_str("</section>");
    }

    fn push_ground(&self, out: &mut String) {
        out.push_str("<section><h2>What was run, and on what</h2><dl class=\"facts wide-facts\">");
        push_fact(out, "command", &format!("<code>{}</code>", escape(&self.command)));
        for (name, value) in &self.parameters {
            push_fact(out, &escape(name), &escape(value));
        }
        push_fact(out, "processors", &escape(&self.machine.processors));
        if !self.machine.file_system.is_empty() {
            push_fact(out, "file system", &escape(&self.machine.file_system));
        }
        for (name, version) in &self.machine.versions {
            push_fact(out, &escape(name), &escape(version));
        }
        push_fact(out, "durability", &escape(&self.machine.durability));
        out.push_str("</dl>");
        if !self.faults.is_empty() {
            let mut table = Table::new("Faults", &["", "fault", "part", "from", "to"], 3);
            for fault in &self.faults {
                let error = fault.error.as_ref().map(|error| format!("<ul><li>{}</li></ul>", escape(error)));
                table.row(&[
                    table::mark(fault.error.is_none(), "done", "failed"),
                    format!("{}{}", escape(&fault.kind), error.unwrap_or_default()),
                    escape(&fault.part),
                    number::clock(fault.at_s),
                    number::clock(fault.until_s),
                ]);
            }
            table.push(out);
        }
        out.push_str("</section>");
    }
}

enum Mood {
    Good,
    Bad,
    Unknown,
}

fn push_card(out: &mut String, name: &str, mood: Mood, words: &str) {
    let (class, sign) = match mood {
        Mood::Good => ("good", "✓"),
        Mood::Bad => ("bad", "✗"),
        Mood::Unknown => ("unknown", "–"),
    };
    let _ = write!(
        out,
        "<div class=\"card {class}\"><span class=\"sign\" aria-hidden=\"true\">{sign}</span>\
         <h2>{name}</h2><p>{words}</p></div>"
    );
}

fn push_list(out: &mut String, name: &str, items: &[String], class: &str) {
    if items.is_empty() {
        return;
    }
    let items: String = items.iter().map(|item| format!("<li>{}</li>", escape(item))).collect();
    let _ = write!(out, "<section class=\"list {class}\"><h3>{name}</h3><ul>{items}</ul></section>");
}

/// Name and value are HTML.
fn push_fact(out: &mut String, name: &str, value: &str) {
    let _ = write!(out, "<div><dt>{name}</dt><dd>{value}</dd></div>");
}

#[cfg(test)]
mod tests;
