//! The summary that a run ends with in the terminal.

use std::fmt::Write;

use hongbao_load::number;

use super::data::{Check, Latency, Outcome, PERCENTILES, Verdict, most_frequent};

impl Outcome {
    /// The verdicts, the totals, the percentiles and what they were measured on.
    pub fn text(&self) -> String {
        let mut out = String::new();
        self.write_verdicts(&mut out);
        self.write_totals(&mut out);
        self.write_latencies(&mut out);
        self.write_errors(&mut out);
        self.write_conditions(&mut out);
        out
    }

    fn write_verdicts(&self, out: &mut String) {
        let money = match (self.is_audited(), self.money_holds(), self.late_fen) {
            (false, ..) => "not audited".to_owned(),
            (true, false, _) => "WRONG".to_owned(),
            (true, true, Some(fen)) => format!("no fen is wrong, {} fen have not arrived", number::count(fen)),
            (true, true, None) => "every fen is where it should be".to_owned(),
        };
        let how = self.closed_loop().map_or(String::new(), |how| format!(" in {how}"));
        let length = number::length(self.load_s);
        let _ = writeln!(out, "\n{}, {length} of load{how}, from {}\n", self.scenario, self.started_at);
        let _ = writeln!(out, "money       {money}");
        for check in &self.audit {
            let _ = writeln!(out, "            {}", check.line());
            for example in &check.examples {
                let _ = writeln!(out, "              {}", number::plain(example));
            }
        }
        let _ =
            writeln!(out, "validity    {}", if self.void.is_empty() { "the figures can be believed" } else { "VOID" });
        for why in &self.void {
            let _ = writeln!(out, "            {}", number::plain(why));
        }
        for (place, slo) in self.slos.iter().enumerate() {
            let _ = writeln!(out, "{:<12}{}", if place == 0 { "thresholds" } else { "" }, slo.line());
        }
    }

    fn write_totals(&self, out: &mut String) {
        let _ = writeln!(out, "\n{:<12}{:>14}{:>12}", "", "total", "a second");
        for (name, count, seconds) in self.rows_of_totals() {
            let over = if seconds == self.load_s { String::new() } else { format!("  {}", over(seconds)) };
            let _ = writeln!(
                out,
                "{name:<13}{:>13}{:>12}{over}",
                number::count(count),
                number::figure(number::rate(count, seconds))
            );
        }
        let _ = match self.drain_s {
            Some(drain) => writeln!(out, "drained     {} s after the load", number::figure(drain)),
            None => writeln!(out, "drained     not seen"),
        };
        if let Some(drain) = self.peak_drain_s() {
            let _ =
                writeln!(out, "            what was opened until the peak's end, {} s after it", number::figure(drain));
        }
    }

    fn write_latencies(&self, out: &mut String) {
        if self.latencies.is_empty() {
            return;
        }
        let percentiles = PERCENTILES.map(|name| format!("{name:>10}")).concat();
        let (call, phase, outcome, count) = ("call", "phase", "outcome", "count");
        let origin = self.latency_origin();
        let _ = writeln!(out, "\n{call:<12}{phase:<10}{outcome:<22}{count:>12}{percentiles}  ms {origin}");
        // Both by phase and by outcome they would fill the screen: the page and the JSON have those.
        for (place, (phase, outcome)) in [(false, false), (false, true), (true, false)].into_iter().enumerate() {
            let mut rows = self.latencies_by(phase, outcome).peekable();
            if place > 0 && rows.peek().is_some() {
                out.push('\n');
            }
            for row in rows {
                write_latency(out, row);
            }
        }
    }

    fn write_errors(&self, out: &mut String) {
        for (place, (label, count)) in self.errors().into_iter().enumerate() {
            let head = if place == 0 { "\nerrors      " } else { "            " };
            let _ = writeln!(out, "{head}{:>14}  {}", number::count(count), number::plain(label));
        }
    }

    fn write_conditions(&self, out: &mut String) {
        let generator = &self.generator;
        let _ = write!(out, "\ngenerator   {} of a processor", number::share(generator.cpu_share));
        if let Some(share) = generator.service_cpu_share {
            let _ = write!(out, ", the service {}", number::share(share));
        }
        let _ = writeln!(
            out,
            "; sent late by {} at 99%, {} at most; {} arrivals not started",
            number::millis(generator.lag_p99_ms),
            number::millis(generator.lag_max_ms),
            number::count(generator.not_started)
        );
        for fault in &self.faults {
            let (from, to) = (number::clock(fault.at_s), number::clock(fault.until_s));
            let error =
                fault.error.as_ref().map(|error| format!(": FAILED, {}", number::plain(error))).unwrap_or_default();
            let _ = writeln!(out, "fault       {} {}, {from} to {to}{error}", fault.kind, fault.part);
        }
        let machine = &self.machine;
        let disk = if machine.file_system.is_empty() { "" } else { &format!(", {} disk", machine.file_system) };
        let _ = writeln!(out, "machine     {}{disk}", machine.processors);
        let versions: Vec<_> = machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        let _ = writeln!(out, "versions    {}", number::plain(&versions.join(", ")));
        let _ = writeln!(out, "durability  {}", number::plain(&machine.durability));
        for note in &self.notes {
            let _ = writeln!(out, "note        {note}");
        }
        let _ = writeln!(out, "command     {}", self.command);
    }

    /// The totals by name, each with the seconds that its rate is over. What was
    /// settled is shown twice, since it goes on after the load.
    pub(super) fn rows_of_totals(&self) -> [(&'static str, u64, f64); 7] {
        let totals = &self.totals;
        [
            ("offered", totals.offered, self.load_s),
            ("started", totals.started, self.load_s),
            ("accepted", totals.accepted, self.load_s),
            ("committed", totals.committed, self.load_s),
            ("settled", totals.settled, self.settling_s()),
            ("in the load", self.settled_in_load(), self.load_s),
            ("unknown", totals.unknown, self.load_s),
        ]
    }

    /// The latencies of each phase or of all together, and outcomes likewise.
    pub(super) fn latencies_by(&self, phase: bool, outcome: bool) -> impl Iterator<Item = &Latency> + Clone {
        let wanted = move |row: &&Latency| (row.phase != "all") == phase && (row.outcome != "all") == outcome;
        self.latencies.iter().filter(wanted)
    }

    /// All that was refused or failed, by what it was.
    pub(super) fn errors(&self) -> Vec<(&str, u64)> {
        most_frequent(self.seconds.iter().flat_map(|second| &second.errors))
    }
}

/// Of a rate that is over more than the load: over what.
pub(super) fn over(seconds: f64) -> String {
    format!("over {}, the drain included", number::length(seconds))
}

fn write_latency(out: &mut String, row: &Latency) {
    let outcome = number::plain(&row.outcome);
    let _ = write!(out, "{:<12}{:<10}{outcome:<22}{:>12}", row.call, row.phase, number::count(row.count));
    for (value, is_enough) in row.milliseconds().into_iter().zip(row.enough()) {
        let _ = write!(out, "{:>10}", number::known(is_enough.then_some(value)));
    }
    out.push('\n');
}

impl Check {
    fn line(&self) -> String {
        match self.broken {
            0 if self.checked == 0 => format!("-       {} (nothing to check)", self.rule),
            0 => format!("holds   {} ({} checked)", self.rule, number::count(self.checked)),
            broken => format!("BROKEN  {} ({} of {})", self.rule, number::count(broken), number::count(self.checked)),
        }
    }
}

impl Verdict {
    fn line(&self) -> String {
        format!("{:<8}{:<24}{}", if self.held { "held" } else { "MISSED" }, self.text, self.value)
    }
}

#[cfg(test)]
mod tests {
    use crate::outcome::tests::sample::outcome;
    use crate::outcome::{Outcome, Second, Totals};

    #[test]
    fn the_summary_says_the_verdicts_first_and_then_the_figures() {
        let text = outcome().text();
        let places = ["money ", "validity ", "open.p99<50ms", "committed ", "p99.99", "open 503 busy", "durability "]
            .map(|message| text.find(message).unwrap_or_else(|| panic!("{message} is missing in\n{text}")));
        assert!(places.is_sorted(), "{text}");
        assert!(text.contains("MISSED  open.busy<1%            5.00% (1,000 of 20,000)"), "{text}");
        assert!(text.contains("FAILED, no such part"), "{text}");
    }

    #[test]
    fn a_wrong_fen_and_a_void_run_are_told_in_capitals_with_their_reasons() {
        let mut outcome = outcome();
        outcome.audit[0].broken = 1;
        outcome.audit[0].examples.push("envelope 7 paid 3 fen twice".into());
        outcome.void.push("12 arrivals could not be started".into());
        let text = outcome.text();
        for message in ["money       WRONG", "BROKEN  every", "paid 3 fen twice", "VOID", "12 arrivals could not"] {
            assert!(text.contains(message), "{message} is missing in\n{text}");
        }
        assert_eq!(outcome.exit_code(), 1);
        outcome.audit[0].broken = 0;
        assert_eq!(outcome.exit_code(), 2);
        outcome.void.clear();
        assert_eq!(outcome.exit_code(), 1, "a threshold was missed");
        outcome.slos[1].held = true;
        assert_eq!(outcome.exit_code(), 0);
    }

    #[test]
    fn a_check_that_looked_at_nothing_does_not_hold_anything() {
        let mut outcome = outcome();
        outcome.audit[1].checked = 0;
        assert!(outcome.text().contains("-       no refused opening exists (nothing to check)"));
        assert!(outcome.text().contains("every fen is where it should be"));
        for check in &mut outcome.audit {
            check.checked = 0;
        }
        assert!(outcome.text().contains("not audited"));
        assert!(outcome.html().contains("Not audited") && outcome.html().contains("nothing to check"));
    }

    #[test]
    fn money_that_has_not_arrived_is_neither_wrong_nor_where_it_should_be() {
        let mut outcome = outcome();
        outcome.late_fen = Some(1_234);
        assert!(outcome.text().contains("money       no fen is wrong, 1,234 fen have not arrived\n"));
        assert!(outcome.html().contains("<p>No fen is wrong, 1,234 fen have not arrived</p>"));
        outcome.audit[0].broken = 1;
        for shown in [outcome.text(), outcome.html()] {
            assert!(!shown.contains("have not arrived") && !shown.contains("very fen is where"), "{shown}");
        }
    }

    #[test]
    fn a_percentile_of_too_few_answers_is_left_out() {
        let mut outcome = outcome();
        outcome.latencies.truncate(1);
        outcome.latencies[0].count = 3;
        let text = outcome.text();
        let row: Vec<&str> = text.lines().find(|line| line.starts_with("create")).unwrap().split_whitespace().collect();
        assert_eq!(row, ["create", "all", "all", "3", "6.00", "-", "-", "-", "-", "165"]);
    }

    #[test]
    fn the_rate_of_credits_says_over_which_time_it_is() {
        // The load takes 120 s, and the drain 10 s.
        let text = outcome().text();
        let line = text.lines().find(|line| line.starts_with("settled")).unwrap();
        assert!(line.ends_with("18,981         146  over 2 min 10 s, the drain included"), "{line}");
        assert!(outcome().html().contains("openings and refunds credited; over 2 min 10 s, the drain included"));
        let line = text.lines().skip_while(|line| !line.starts_with("settled")).nth(1).unwrap();
        assert!(line.ends_with("in the load         18,777         156"), "{line}");
    }

    #[test]
    fn what_the_service_wrote_cannot_end_a_line_or_steer_the_terminal() {
        const HOSTILE: &str = "busy\r\nmoney       every fen\x1b[2J";
        let mut outcome = outcome();
        let lines = outcome.text().lines().count();
        outcome.seconds[0].errors = [(HOSTILE.to_owned(), 1)].into();
        outcome.audit[0].examples = vec![HOSTILE.to_owned()];
        outcome.latencies[0].outcome = HOSTILE.to_owned();
        outcome.machine.durability = HOSTILE.to_owned();
        outcome.faults[1].error = Some(HOSTILE.to_owned());
        let text = outcome.text();
        assert_eq!(text.lines().count(), lines + 2, "one error and one example more\n{text}");
        assert!(!text.contains('\x1b') && !text.contains('\r'));
    }

    #[test]
    fn a_closed_loop_is_told_with_what_its_latencies_are_worth() {
        let mut outcome = outcome();
        assert!(!outcome.text().contains("closed loop"));
        assert!(!outcome.html().contains("closed loop"));
        outcome.closed_loop_users = Some(1_024);
        assert!(outcome.text().contains("2 min of load in a closed loop of 1,024 users, from"));
        assert!(outcome.html().contains("2 min of load in a closed loop of 1,024 users, from"));
        for shown in [outcome.text(), outcome.html()] {
            assert!(shown.contains("from the sending") && !shown.contains("scheduled start"), "{shown}");
        }
    }

    #[test]
    fn the_backlog_of_the_peak_is_drained_when_as_much_was_credited_as_was_opened_until_its_end() {
        let mut outcome = outcome();
        let second = |at_s, committed, settled| {
            let counted = Totals { committed, settled, ..Totals::default() };
            Second { at_s, counted, ..Second::default() }
        };
        outcome.seconds = vec![second(84.0, 70, 10), second(85.0, 30, 20), second(86.0, 10, 40), second(87.0, 10, 40)];
        assert_eq!(outcome.peak_drain_s(), Some(2.0));
        assert!(outcome.text().contains("what was opened until the peak's end, 2.00 s after it"));
        assert!(outcome.html().contains("<b>2.00 s</b><small>after the peak"));
        outcome.seconds.pop();
        assert_eq!(outcome.peak_drain_s(), None, "it was not seen");
        outcome.seconds = vec![second(84.0, 30, 30), second(85.0, 0, 0), second(86.0, 0, 0)];
        assert_eq!(outcome.peak_drain_s(), Some(0.0), "a peak is not drained before it is over");
        outcome.phases.clear();
        assert_eq!(outcome.peak_drain_s(), None, "there was no peak");
    }

    #[test]
    fn the_disk_of_a_service_that_was_there_before_is_not_known() {
        let mut outcome = outcome();
        assert!(
            outcome.text().contains("machine     2 x AMD EPYC, ext4 disk\n") && outcome.html().contains("file system")
        );
        outcome.machine.file_system.clear();
        assert!(outcome.text().contains("machine     2 x AMD EPYC\n") && !outcome.html().contains("file system"));
    }

    #[test]
    fn a_run_without_anything_can_be_shown_and_is_not_believed() {
        let nothing = Outcome::default();
        assert!(nothing.text().contains("not audited"));
        assert_eq!(nothing.exit_code(), 2);
    }
}
