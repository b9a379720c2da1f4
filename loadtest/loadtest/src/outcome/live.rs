//! The view of a run while it runs: a few lines that are drawn again each
//! second on a terminal, a plain line every five seconds elsewhere.

use std::collections::{BTreeMap, VecDeque};
use std::io::{IsTerminal, Stderr, Write};

use hongbao_load::number;

use super::data::{Second, Totals, most_frequent};

/// Seconds that the small curves reach back.
const CURVE_SECONDS: usize = 24;
/// Elsewhere than on a terminal: seconds between two lines.
const PLAIN_EVERY: usize = 5;
/// Kinds of errors that are named; the rest is summed up.
const ERRORS_NAMED_MAX: usize = 3;
/// The width of a terminal that does not state its own.
const COLUMNS: usize = 80;
/// Cells of the bar of progress.
const BAR_CELLS: usize = 30;

/// Shows how a run goes on. Trouble with the terminal never troubles the run.
pub struct Live<W = Stderr> {
    out: W,
    terminal: bool,
    scenario: String,
    load_s: f64,
    recent: VecDeque<Second>,
    counted: Totals,
    errors: BTreeMap<String, u64>,
    seconds: usize,
    lines_drawn: usize,
}

impl Live {
    /// Shows on standard error a run whose load is to last so many seconds.
    pub fn stderr(scenario: &str, load_s: f64) -> Live {
        let out = std::io::stderr();
        let terminal = out.is_terminal();
        Live::new(out, terminal, scenario, load_s)
    }
}

impl<W: Write> Live<W> {
    fn new(out: W, terminal: bool, scenario: &str, load_s: f64) -> Live<W> {
        Live {
            out,
            terminal,
            scenario: scenario.into(),
            load_s,
            recent: VecDeque::with_capacity(CURVE_SECONDS),
            counted: Totals::default(),
            errors: BTreeMap::new(),
            seconds: 0,
            lines_drawn: 0,
        }
    }

    /// Takes in what the last second saw, in the phase of that name.
    pub fn show(&mut self, second: &Second, phase: &str) {
        if self.recent.len() == CURVE_SECONDS {
            self.recent.pop_front();
        }
        self.recent.push_back(second.clone());
        self.counted.add(&second.counted);
        for (label, count) in &second.errors {
            *self.errors.entry(label.clone()).or_default() += count;
        }
        self.seconds += 1;
        if self.terminal {
            self.draw(phase);
        } else if self.seconds.is_multiple_of(PLAIN_EVERY) {
            let _ = writeln!(self.out, "{}", self.plain_line(phase));
        }
    }

    fn draw(&mut self, phase: &str) {
        let columns = rustix::termios::tcgetwinsize(std::io::stderr()).map_or(0, |size| usize::from(size.ws_col));
        let columns = if columns == 0 { COLUMNS } else { columns };
        let lines = self.lines(phase);
        let mut picture = String::new();
        if self.lines_drawn > 0 {
            // To the beginning of the first line that was drawn.
            picture += &format!("\x1b[{}F", self.lines_drawn);
        }
        for line in &lines {
            // A line that wraps would count as two when the next picture goes back.
            picture.extend(line.chars().take(columns.saturating_sub(1)));
            picture += "\x1b[K\n";
        }
        picture += "\x1b[J";
        self.lines_drawn = lines.len();
        let _ = self.out.write_all(picture.as_bytes()).and_then(|()| self.out.flush());
    }

    fn lines(&self, phase: &str) -> Vec<String> {
        let Some(last) = self.recent.back() else { return Vec::new() };
        let mut lines = vec![format!("{} · {phase}  {}", self.scenario, self.progress(last.at_s))];
        let curve = |figure: fn(&Second) -> f64| curve(self.recent.iter().map(figure));
        lines.push(format!(
            "requests  {:>9}/s  {}  {}",
            number::count(last.counted.started),
            curve(|second| second.counted.started as f64),
            number::count(self.counted.started)
        ));
        lines.push(format!(
            "openings  {:>9}/s  {}  {}, credited {}",
            number::count(last.counted.committed),
            curve(|second| second.counted.committed as f64),
            number::count(self.counted.committed),
            number::count(self.counted.settled)
        ));
        lines.push(format!(
            "p99       {:>8} ms  {}  p50 {}, p99.9 {}",
            latency(last.p99_ms),
            curve(|second| second.p99_ms),
            latency(last.p50_ms),
            latency(last.p999_ms)
        ));
        lines.push(format!(
            "queue     {:>11}  {}  {} openings a commit",
            number::known(last.queue_depth),
            curve(|second| second.queue_depth.unwrap_or(0.0)),
            number::known(last.batch_mean)
        ));
        lines.push(format!("errors    {}", self.errors_text()));
        lines
    }

    fn progress(&self, at_s: f64) -> String {
        if at_s > self.load_s {
            return format!("the load is over, draining for {}", number::clock(at_s - self.load_s));
        }
        let done = at_s / self.load_s;
        let full = (done * BAR_CELLS as f64) as usize;
        let bar = "█".repeat(full) + &"░".repeat(BAR_CELLS.saturating_sub(full));
        format!("{bar}  {} of {}", number::clock(at_s), number::clock(self.load_s))
    }

    fn errors_text(&self) -> String {
        if self.errors.is_empty() {
            return "none".into();
        }
        let kinds = most_frequent(&self.errors);
        let (named, rest) = kinds.split_at(kinds.len().min(ERRORS_NAMED_MAX));
        let part = |(label, count): &(&str, u64)| format!("{} {}", number::count(*count), number::plain(label));
        let mut parts: Vec<String> = named.iter().map(part).collect();
        if !rest.is_empty() {
            parts.push(format!("{} others", number::count(rest.iter().map(|(_, count)| count).sum())));
        }
        parts.join(", ")
    }

    /// The last five seconds in one line: means of the rates, the worst of the rest.
    fn plain_line(&self, phase: &str) -> String {
        let last = || self.recent.iter().rev().take(PLAIN_EVERY);
        let mean = |figure: fn(&Second) -> u64| last().map(figure).sum::<u64>() / PLAIN_EVERY as u64;
        let most = |figure: fn(&Second) -> Option<f64>| last().filter_map(figure).reduce(f64::max);
        format!(
            "{:>8} {phase}: {} requests/s, {} openings/s, p99 {} ms, queue {}, {} errors",
            number::clock(self.recent.back().map_or(0.0, |second| second.at_s)),
            number::count(mean(|second| second.counted.started)),
            number::count(mean(|second| second.counted.committed)),
            latency(most(|second| Some(second.p99_ms)).unwrap_or(0.0)),
            number::known(most(|second| second.queue_depth)),
            number::count(last().flat_map(|second| second.errors.values()).sum())
        )
    }
}

/// Milliseconds, or a dash when nothing was answered.
fn latency(value_ms: f64) -> String {
    number::known(Some(value_ms).filter(|value_ms| *value_ms > 0.0))
}

/// A curve of one character a value, from none to the highest; one of fixed width.
fn curve(values: impl Iterator<Item = f64> + Clone) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let highest = values.clone().fold(0.0, f64::max);
    let bars = values.map(|value| match highest > 0.0 {
        true => BARS[((value / highest * 7.0).round().clamp(0.0, 7.0)) as usize],
        false => BARS[0],
    });
    format!("{:<CURVE_SECONDS$}", bars.collect::<String>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::sample::outcome;

    fn shown(terminal: bool, seconds: usize) -> String {
        let mut out = Vec::new();
        let mut live = Live::new(&mut out, terminal, "groups", 120.0);
        for second in outcome().seconds.iter().take(seconds) {
            live.show(second, "peak");
        }
        String::from_utf8(out).expect("only text is drawn")
    }

    #[test]
    fn a_terminal_is_drawn_over_line_by_line() {
        let first = shown(true, 1);
        assert_eq!(first.matches('\n').count(), 6);
        assert!(!first.contains("\x1b[6F"), "there is nothing to go back over");
        let both = shown(true, 2);
        assert_eq!(both.matches("\x1b[6F").count(), 1);
        assert_eq!(both.matches('\n').count(), 12);
    }

    #[test]
    fn the_view_tells_progress_rates_latency_and_errors() {
        let picture = shown(true, 66);
        let last = picture.rsplit("\x1b[6F").next().expect("a split has a last part");
        for parts in ["groups · peak", "1:06 of 2:00", "openings", "credited", "p99 ", "240", "1,000 open 503 busy"] {
            assert!(last.contains(parts), "{parts} is missing in\n{last}");
        }
        assert!(shown(true, 125).contains("the load is over, draining for 5 s"));
    }

    #[test]
    fn elsewhere_one_plain_line_tells_of_five_seconds() {
        let text = shown(false, 66);
        assert_eq!(text.lines().count(), 13);
        assert!(!text.contains('\x1b'));
        let line = text.lines().last().expect("there are thirteen");
        assert!(line.starts_with("    1:05 peak: ") && line.ends_with("queue 240, 765 errors"), "{line}");
    }

    #[test]
    fn a_curve_reaches_from_none_to_the_highest() {
        assert_eq!(curve([0.0, 1.0, 2.0].into_iter()).trim_end(), "▁▅█");
        assert_eq!(curve([0.0, 0.0].into_iter()).trim_end(), "▁▁");
        assert_eq!(curve([1.0].into_iter()).chars().count(), CURVE_SECONDS);
    }
}
