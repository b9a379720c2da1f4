//! Tables of the page.

use std::fmt::Write;

use hongbao_load::escape::escape;
use hongbao_load::number;

use super::super::{Generator, Latency, Outcome};
use super::curve;

/// A table with a heading, that scrolls by itself where it is too wide.
pub struct Table {
    caption: String,
    head: String,
    body: String,
    /// Columns from the left that hold words; the others hold figures.
    words: usize,
}

impl Table {
    /// A table whose cells stand right but for the first ones, which hold words.
    pub fn new(caption: &str, columns: &[&str], words: usize) -> Table {
        let mut head = String::new();
        for (place, column) in columns.iter().enumerate() {
            let class = if place < words { " class=\"words\"" } else { "" };
            match column.is_empty() {
                true => head.push_str("<td></td>"),
                false => {
                    let _ = write!(head, "<th scope=\"col\"{class}>{}</th>", escape(column));
                }
            }
        }
        Table { caption: escape(caption), head, body: String::new(), words }
    }

    /// Adds a row of cells, which are HTML.
    pub fn row(&mut self, cells: &[String]) {
        self.body.push_str("<tr>");
        for (place, cell) in cells.iter().enumerate() {
            let class = if place < self.words { " class=\"words\"" } else { "" };
            let _ = write!(self.body, "<td{class}>{cell}</td>");
        }
        self.body.push_str("</tr>");
    }

    /// Writes it, if it has rows.
    pub fn push(&self, out: &mut String) {
        if self.body.is_empty() {
            return;
        }
        // It can be focused, so that the keyboard can scroll it too.
        let _ = write!(
            out,
            "<div class=\"table\" tabindex=\"0\" role=\"group\" aria-label=\"{caption}\"><table>\
             <caption>{caption}</caption><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>",
            self.head,
            self.body,
            caption = self.caption
        );
    }
}

impl Outcome {
    /// The percentiles: of each call, then by outcome, by phase, by both.
    pub(super) fn push_latencies(&self, out: &mut String) {
        if self.latencies.is_empty() {
            return;
        }
        let _ = write!(
            out,
            "<section><h2>Percentiles</h2><p class=\"hint\">Milliseconds, {}. Of what happened too seldom for a \
             percentile, <span class=\"few\">it is the longest</span>.</p>",
            self.latency_origin()
        );
        let by_call: Vec<&Latency> = self.latencies_by(false, false).filter(|row| row.count > 0).collect();
        curve::push_curve(out, &by_call);
        push_percentiles(out, "By call", &[], self.latencies_by(false, false));
        push_percentiles(out, "By outcome", &["outcome"], self.latencies_by(false, true));
        push_percentiles(out, "By phase", &["phase"], self.latencies_by(true, false));
        let both = self.latencies_by(true, true);
        if both.clone().next().is_some() {
            out.push_str("<details><summary>By phase and outcome</summary>");
            push_percentiles(out, "By phase and outcome", &["phase", "outcome"], both);
            out.push_str("</details>");
        }
        out.push_str("</section>");
    }
}

fn push_percentiles<'a>(out: &mut String, caption: &str, keys: &[&str], rows: impl Iterator<Item = &'a Latency>) {
    let mut columns = vec!["call"];
    columns.extend(keys);
    columns.extend(["count", "p50", "p90", "p99", "p99.9", "p99.99", "max"]);
    let mut table = Table::new(caption, &columns, 1 + keys.len());
    for row in rows {
        let mut cells = vec![escape(&row.call)];
        for key in keys {
            cells.push(escape(if *key == "phase" { &row.phase } else { &row.outcome }));
        }
        cells.push(number::count(row.count));
        for (value, told) in row.milliseconds().into_iter().zip(row.told()) {
            let value = number::figure(value);
            cells.push(if told { value } else { format!("<span class=\"few\">{value}</span>") });
        }
        table.row(&cells);
    }
    table.push(out);
}

/// How late requests were sent, as bars. Their length is logarithmic: the few late ones matter.
pub fn push_lag(out: &mut String, generator: &Generator) {
    let Some(last) = generator.lag_bars.iter().rposition(|(_, count)| *count > 0) else { return };
    let bars = &generator.lag_bars[..=last];
    let all: u64 = bars.iter().map(|(_, count)| count).sum();
    let most = bars.iter().map(|(_, count)| *count).max().unwrap_or(0);
    let mut table = Table::new("How late requests were sent", &["up to", "bars (logarithmic)", "requests", "share"], 2);
    for (place, (up_to_ms, count)) in bars.iter().enumerate() {
        // The last bar holds what was later than its bound, too.
        let up_to_ms = if place == last { up_to_ms.max(generator.lag_max_ms) } else { *up_to_ms };
        let length = 100.0 * (1.0 + *count as f64).log10() / (1.0 + most as f64).log10();
        table.row(&[
            number::millis(up_to_ms),
            format!("<i class=\"bar\" style=\"width:{length:.1}%\"></i>"),
            number::count(*count),
            number::share(*count as f64 / all as f64),
        ]);
    }
    table.push(out);
}

/// A sign and a word for a verdict: never a colour alone.
pub fn mark(held: bool, good: &str, bad: &str) -> String {
    match held {
        true => format!("<span class=\"mark good\">✓ {good}</span>"),
        false => format!("<span class=\"mark bad\">✗ {bad}</span>"),
    }
}
