//! The summary that a run ends with in the terminal.

use std::fmt::Write;

use hongbao_load::number;

use super::data::{Check, Latency, Outcome, PERCENTILES, most_frequent};
use super::wrap::{self, COLUMNS, paragraph};

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
        out.push('\n');
        paragraph(out, "", &format!("{}, {length} of load{how}, from {}", self.scenario, self.started_at));
        out.push('\n');
        paragraph(out, "money       ", &money);
        for check in &self.audit {
            let (verdict, text) = check.verdict();
            paragraph(out, &format!("            {verdict:<8}"), &text);
            for example in &check.examples {
                paragraph(out, "                      ", example);
            }
        }
        paragraph(out, "validity    ", if self.void.is_empty() { "the figures can be believed" } else { "VOID" });
        for why in &self.void {
            paragraph(out, "            ", why);
        }
        for (place, slo) in self.slos.iter().enumerate() {
            let (head, held) = (if place == 0 { "thresholds" } else { "" }, if slo.held { "held" } else { "MISSED" });
            paragraph(out, &format!("{head:<12}{held:<8}{:<23} ", slo.text), &slo.value);
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
        out.push('\n');
        paragraph(out, "latencies   ", &format!("ms {}", self.latency_origin()));
        // Both by phase and by outcome they would fill the screen: the page and the JSON have those.
        let tables: [(&str, bool, bool, Key); 3] = [
            ("", false, false, |_| ""),
            ("outcome", false, true, |row| &row.outcome),
            ("phase", true, false, |row| &row.phase),
        ];
        for (name, phase, outcome, key) in tables {
            let mut rows = self.latencies_by(phase, outcome).peekable();
            if rows.peek().is_some() {
                out.push('\n');
                write_row(out, "call", name, "count", PERCENTILES.map(str::to_owned));
            }
            for row in rows {
                let cells = row.milliseconds().into_iter().zip(row.enough());
                let cells = cells.map(|(value, is_enough)| number::known(is_enough.then_some(value)));
                let cells = cells.collect::<Vec<_>>().try_into().expect("there is one for each percentile");
                write_row(out, &row.call, key(row), &number::count(row.count), cells);
            }
        }
    }

    fn write_errors(&self, out: &mut String) {
        for (place, (label, count)) in self.errors().into_iter().enumerate() {
            if place == 0 {
                out.push('\n');
            }
            let head = if place == 0 { "errors" } else { "" };
            paragraph(out, &format!("{head:<12}{:>14}  ", number::count(count)), label);
        }
    }

    fn write_conditions(&self, out: &mut String) {
        let generator = &self.generator;
        let service = generator.service_cpu_share.map(|used| format!(", the service {}", number::figure(used)));
        out.push('\n');
        paragraph(
            out,
            "generator   ",
            &format!(
                "{} of a processor{}; sent late by {} at 99%, {} at most; {} arrivals not started",
                number::figure(generator.cpu_share),
                service.unwrap_or_default(),
                number::millis(generator.lag_p99_ms),
                number::millis(generator.lag_max_ms),
                number::count(generator.not_started)
            ),
        );
        for fault in &self.faults {
            let (from, to) = (number::clock(fault.at_s), number::clock(fault.until_s));
            let error = fault.error.as_ref().map(|error| format!(": FAILED, {error}")).unwrap_or_default();
            paragraph(out, "fault       ", &format!("{} {}, {from} to {to}{error}", fault.kind, fault.part));
        }
        let machine = &self.machine;
        let disk = if machine.file_system.is_empty() { "" } else { &format!(", {} disk", machine.file_system) };
        paragraph(out, "machine     ", &format!("{}{disk}", machine.processors));
        let versions: Vec<_> = machine.versions.iter().map(|(name, version)| format!("{name} {version}")).collect();
        paragraph(out, "versions    ", &versions.join(", "));
        paragraph(out, "durability  ", &machine.durability);
        for note in &self.notes {
            paragraph(out, "note        ", note);
        }
        wrap::command(out, "command     ", &self.command);
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

/// What a table of latencies is by, besides the call.
type Key = fn(&Latency) -> &str;

/// Writes a row whose figures stand right. A name that leaves them no room has a line of its own.
fn write_row(out: &mut String, call: &str, key: &str, count: &str, cells: [String; PERCENTILES.len()]) {
    let mut figures = format!("{count:>10}");
    for cell in cells {
        let _ = write!(figures, " {cell:>6}");
    }
    let room = COLUMNS.saturating_sub(figures.chars().count());
    let name = number::plain(&format!("{call:<8}{key}"));
    if name.chars().count() < room {
        let _ = writeln!(out, "{name:<room$}{figures}");
    } else {
        paragraph(out, "", &name);
        let _ = writeln!(out, "{figures:>COLUMNS$}");
    }
}

impl Check {
    /// The verdict in a word, and what it is about.
    fn verdict(&self) -> (&'static str, String) {
        match self.broken {
            0 if self.checked == 0 => ("-", format!("{} (nothing to check)", self.rule)),
            0 => ("holds", format!("{} ({} checked)", self.rule, number::count(self.checked))),
            broken => {
                ("BROKEN", format!("{} ({} of {})", self.rule, number::count(broken), number::count(self.checked)))
            }
        }
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
    fn no_line_is_longer_than_the_narrowest_terminal() {
        let long = |word: &str| [word; 40].join(" ");
        let widest = |outcome: &Outcome| {
            let text = outcome.text();
            let line = text.lines().max_by_key(|line| line.chars().count()).unwrap_or_default().to_owned();
            assert!(line.chars().count() <= 80, "{line}");
        };
        let mut outcome = outcome();
        outcome.slos[0].text = "create.p99.99<=60000ms".into();
        widest(&outcome);
        outcome.closed_loop_users = Some(16_384);
        outcome.command = format!("hongbao-loadtest run hot --slo '{}' --data /{}", long("p99<5ms"), "d".repeat(120));
        (outcome.load_s, outcome.drain_s) = (86_400.0, Some(86_399.0));
        outcome.totals.started = 1_234_567_890;
        outcome.late_fen = Some(u64::MAX);
        outcome.void.push(long("reason"));
        outcome.notes.push(long("note"));
        (outcome.audit[0].rule, outcome.audit[0].examples) = (long("rule"), vec![long("example"), "x".repeat(300)]);
        (outcome.slos[1].text, outcome.slos[1].value) = ("open.outcome_unknown<=0.01%".into(), long("value"));
        outcome.faults[1].error = Some(long("error"));
        outcome.seconds[0].errors = [(long("label"), u64::MAX)].into();
        (outcome.latencies[0].count, outcome.latencies[0].max_ms) = (u64::MAX, 120_000.0);
        for row in &mut outcome.latencies[1..] {
            (row.outcome, row.p50_ms, row.max_ms) = (long("outcome"), 119_999.0, 119_999.0);
        }
        outcome.machine.processors = long("processor");
        outcome.machine.durability = long("durability");
        outcome.machine.versions.insert("mariadbd".into(), long("version"));
        widest(&outcome);
    }

    #[test]
    fn processors_are_counted_and_no_share_is_above_the_whole() {
        let mut outcome = outcome();
        (outcome.generator.cpu_share, outcome.generator.service_cpu_share) = (1.02, Some(3.5));
        outcome.seconds[0].errors = [("visit without an envelope".to_owned(), 900_000)].into();
        assert!(outcome.text().contains("generator   1.02 of a processor, the service 3.50; "), "{}", outcome.text());
        for shown in [outcome.text(), outcome.html()] {
            let percents = shown.split('%').map(|before| {
                let digits = before.trim_end_matches(|char: char| char.is_ascii_digit() || "., ".contains(char));
                before[digits.len()..].replace([',', ' '], "")
            });
            let above = percents.filter(|text| text.parse::<f64>().is_ok_and(|value| value > 100.0));
            assert_eq!(above.collect::<Vec<_>>(), Vec::<String>::new());
        }
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
        assert_eq!(row, ["create", "3", "6.00", "-", "-", "-", "-", "165"]);
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
        outcome.seconds[0].errors = [(HOSTILE.to_owned(), 1)].into();
        outcome.audit[0].examples = vec![HOSTILE.to_owned()];
        outcome.latencies[0].outcome = HOSTILE.to_owned();
        outcome.machine.durability = HOSTILE.to_owned();
        outcome.faults[1].error = Some(HOSTILE.to_owned());
        let text = outcome.text();
        assert_eq!(text.lines().filter(|line| line.starts_with("money")).count(), 1, "{text}");
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
