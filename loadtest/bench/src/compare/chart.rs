//! The comparison as one HTML page: charts as inline SVG, nothing from elsewhere.
//!
//! A row of charts for each figure, a column for each number of envelopes; in
//! each chart a line for each scheme over the openers at once.

use std::fmt::Write as _;

use hongbao_load::escape::escape;

use super::report::{Line, Report, Sample};
use super::scheme::Scheme;

const WIDTH: f64 = 330.0;
const HEIGHT: f64 = 210.0;
/// Room for the labels: left, and the same above and below.
const LEFT: f64 = 52.0;
const EDGE: f64 = 24.0;
/// The height of a bar with the room around it.
const BAR: f64 = 20.0;

/// What a row of charts shows.
struct Figure {
    name: &'static str,
    of: fn(&Sample) -> Option<f64>,
    scale: Scale,
}

/// How heights follow from values.
#[derive(Clone, Copy, PartialEq)]
enum Scale {
    /// A power of ten is always as high.
    Log,
    /// From zero to a hundred.
    Percent,
}

const FIGURES: [Figure; 6] = [
    Figure { name: "opens a second", of: |sample| Some(sample.per_second), scale: Scale::Log },
    Figure { name: "p50, ms", of: |sample| sample.p50_us.map(|us| us / 1_000.0), scale: Scale::Log },
    Figure { name: "p99, ms", of: |sample| sample.p99_us.map(|us| us / 1_000.0), scale: Scale::Log },
    Figure { name: "errors to users, %", of: |sample| Some(100.0 * sample.error_share), scale: Scale::Percent },
    Figure {
        name: "unfair: overtaken by the next, %",
        of: |sample| (sample.pairs > 0).then_some(100.0 * sample.unfair_share),
        scale: Scale::Percent,
    },
    Figure { name: "database processor time an opening, us", of: |sample| sample.database_cpu_us, scale: Scale::Log },
];

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;margin:24px;max-width:1100px;color:#222;background:#fff}\
    h2{font-size:16px;margin:22px 0 4px}svg{margin:0 8px 4px 0}svg text{font-size:11px;fill:#555}\
    pre{font-size:12px;overflow-x:auto}.key span{margin-right:16px;white-space:nowrap}\
    .key i{display:inline-block;width:14px;height:4px;margin-right:5px;vertical-align:middle}";

/// The whole page.
pub fn page(report: &Report) -> String {
    let mut out = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Hongbao and its alternatives</title>\
         <style>{STYLE}</style></head><body><h1>Hongbao and its alternatives</h1>\n<p class=\"key\">"
    );
    for scheme in schemes(report) {
        let _ = write!(out, "<span><i style=\"background:{}\"></i>{}</span>", colour(scheme), scheme.text());
    }
    out += "</p>\n<p>From left to right: openers of one envelope at once.</p>\n";
    let _ = writeln!(out, "<pre>{}</pre>", escape(&report.verdict()));
    for figure in &FIGURES {
        let _ = write!(out, "<h2>{}</h2>\n<div>", figure.name);
        for envelopes in axis(report, |line| line.cell.envelopes) {
            out += &chart(report, figure, envelopes);
        }
        out += "</div>\n";
    }
    out += &losses(report);
    let _ = write!(out, "<h2>The figures</h2>\n<pre>{}</pre>\n</body></html>\n", escape(&report.table()));
    out
}

fn chart(report: &Report, figure: &Figure, envelopes: u32) -> String {
    let openers = axis(report, |line| line.cell.openers);
    let range = Range::of(report, figure);
    let x = |index: usize| {
        let steps = openers.len().saturating_sub(1).max(1) as f64;
        LEFT + (WIDTH - LEFT - EDGE) * index as f64 / steps
    };
    let y = |value: f64| HEIGHT - EDGE - (HEIGHT - 2.0 * EDGE) * range.height(value);
    let mut out = format!(
        "<svg width=\"{WIDTH}\" height=\"{HEIGHT}\" role=\"img\" aria-label=\"{}, {envelopes} envelopes\">\
         <text x=\"{LEFT}\" y=\"12\">{envelopes} envelope{}</text>",
        figure.name,
        if envelopes == 1 { "" } else { "s" }
    );
    for tick in range.ticks() {
        let at = y(tick);
        let _ = write!(
            out,
            "<line x1=\"{LEFT}\" x2=\"{}\" y1=\"{at:.1}\" y2=\"{at:.1}\" stroke=\"#ddd\"/>\
             <text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{tick}</text>",
            WIDTH - EDGE,
            LEFT - 5.0,
            at + 4.0
        );
    }
    for (index, openers) in openers.iter().enumerate() {
        let _ =
            write!(out, "<text x=\"{:.1}\" y=\"{}\" text-anchor=\"middle\">{openers}</text>", x(index), HEIGHT - 8.0);
    }
    for scheme in schemes(report) {
        let mut points = Vec::new();
        for (index, openers) in openers.iter().enumerate() {
            let here = |line: &&Line| {
                line.scheme == scheme && line.cell.envelopes == envelopes && line.cell.openers == *openers
            };
            let sample = report.lines.iter().find(here).and_then(|line| line.sample.as_ref());
            if let Some(value) = sample.and_then(figure.of) {
                points.push((x(index), y(value), value));
            }
        }
        out += &line(scheme, &points);
    }
    out + "</svg>"
}

fn line(scheme: Scheme, points: &[(f64, f64, f64)]) -> String {
    let (colour, name) = (colour(scheme), scheme.text());
    let path = points.iter().map(|(x, y, _)| format!("{x:.1},{y:.1}")).collect::<Vec<_>>().join(" ");
    let mut out = format!("<polyline points=\"{path}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\"/>");
    for (x, y, value) in points {
        let _ = write!(
            out,
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\" fill=\"{colour}\"><title>{name}: {value:.1}</title></circle>"
        );
    }
    out
}

/// A bar for each scheme that was killed in the middle of its load.
fn losses(report: &Report) -> String {
    if report.losses.is_empty() && report.not_killed.is_empty() {
        return String::new();
    }
    let most = report.losses.iter().map(|loss| loss.audit.lost_fen).max().unwrap_or(0).max(1) as f64;
    let height = BAR * (report.losses.len() + report.not_killed.len()) as f64;
    let mut out = format!(
        "<h2>money lost when the server was killed, fen</h2>\n\
         <svg width=\"{}\" height=\"{height}\" role=\"img\" aria-label=\"money lost\">",
        3.0 * WIDTH
    );
    for (index, loss) in report.losses.iter().enumerate() {
        let (y, name, fen) = (BAR * index as f64, loss.scheme.text(), loss.audit.lost_fen);
        let length = 1.5 * WIDTH * fen as f64 / most;
        let mut words = match loss.audit.lost {
            0 => "none".to_owned(),
            lost => format!("{fen} ({lost} of {} acknowledged openings)", loss.audit.acknowledged),
        };
        if let Some(audit) = &loss.after_restart {
            words += &format!("; {} once Redis was started from its file", audit.lost_fen);
        }
        let _ = write!(
            out,
            "<text x=\"0\" y=\"{:.0}\">{name}</text>\
             <rect x=\"90\" y=\"{:.0}\" width=\"{length:.1}\" height=\"{:.0}\" fill=\"{}\"/>\
             <text x=\"{:.1}\" y=\"{:.0}\">{words}</text>",
            y + 14.0,
            y + 3.0,
            BAR - 6.0,
            colour(loss.scheme),
            96.0 + length,
            y + 14.0
        );
    }
    for (index, not) in report.not_killed.iter().enumerate() {
        let y = BAR * (report.losses.len() + index) as f64 + 14.0;
        let _ = write!(
            out,
            "<text x=\"0\" y=\"{y:.0}\">{}</text><text x=\"96\" y=\"{y:.0}\">not audited: {}</text>",
            not.scheme.text(),
            escape(not.reason.lines().next().unwrap_or_default())
        );
    }
    out + "</svg>\n"
}

/// What a row of charts spans, so that its charts can be compared.
struct Range {
    low: f64,
    high: f64,
    scale: Scale,
}

impl Range {
    fn of(report: &Report, figure: &Figure) -> Range {
        if figure.scale == Scale::Percent {
            return Range { low: 0.0, high: 100.0, scale: Scale::Percent };
        }
        let samples = report.lines.iter().filter_map(|line| line.sample.as_ref());
        let values = samples.filter_map(figure.of).filter(|value| *value > 0.0);
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        let (low, high) = if low > high { (1.0, 10.0) } else { (low, high) };
        let low = 10_f64.powf(low.log10().floor());
        let high = 10_f64.powf(high.log10().ceil()).max(10.0 * low);
        Range { low, high, scale: Scale::Log }
    }

    /// From 0 at the bottom to 1 at the top; what lies outside stands at the edge.
    fn height(&self, value: f64) -> f64 {
        let share = match self.scale {
            Scale::Percent => value / self.high,
            Scale::Log if value <= 0.0 => 0.0,
            Scale::Log => (value / self.low).log10() / (self.high / self.low).log10(),
        };
        share.clamp(0.0, 1.0)
    }

    fn ticks(&self) -> Vec<f64> {
        match self.scale {
            Scale::Percent => vec![0.0, 25.0, 50.0, 75.0, 100.0],
            Scale::Log => {
                let first = self.low.log10().round() as i32;
                (first..=self.high.log10().round() as i32).map(|power| 10_f64.powi(power)).collect()
            }
        }
    }
}

/// The values of an axis, in order.
fn axis(report: &Report, value: fn(&Line) -> u32) -> Vec<u32> {
    let mut values: Vec<u32> = report.lines.iter().map(value).collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn schemes(report: &Report) -> impl Iterator<Item = Scheme> {
    Scheme::all().iter().copied().filter(|scheme| report.lines.iter().any(|line| line.scheme == *scheme))
}

/// Apart from one another also for who does not see red and green apart.
fn colour(scheme: Scheme) -> &'static str {
    match scheme {
        Scheme::Bare => "#222222",
        Scheme::RowLock => "#0072b2",
        Scheme::NoWait => "#56b4e9",
        Scheme::Optimistic => "#e69f00",
        Scheme::MemoryFirst => "#009e73",
        Scheme::Serial => "#cc79a7",
        Scheme::Hongbao => "#d01010",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::loss::NotKilled;
    use crate::compare::report::tests::report;

    #[test]
    fn a_kill_that_did_not_happen_is_no_bar_without_a_loss() {
        let mut report = report();
        report.losses.clear();
        report.not_killed.push(NotKilled { scheme: Scheme::Serial, reason: "<it> went on".into() });
        let page = page(&report);
        assert!(page.contains("not audited: &lt;it&gt; went on"), "{page}");
        assert!(page.contains("NOT ALL WAS AUDITED"));
    }

    #[test]
    fn the_page_needs_nothing_from_elsewhere_and_shows_every_scheme_and_figure() {
        let page = page(&report());
        for other in ["http:", "https:", "src=", "<script", "<link", "url(", "@import"] {
            assert!(!page.contains(other), "{other}");
        }
        assert_eq!(page.matches("<svg").count(), FIGURES.len() + 1);
        assert!(page.contains("25 (2 of 9 acknowledged openings)"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.contains("row-lock: 2000.0") && page.contains("&lt;fast &amp; cheap&gt;"));
        assert!(!page.contains("NaN") && !page.contains("inf"), "what was not measured is not drawn");
    }

    #[test]
    fn a_power_of_ten_is_always_as_high_and_nothing_leaves_the_chart() {
        let range = Range::of(&report(), &FIGURES[0]);
        assert_eq!((range.low, range.high), (1_000.0, 10_000.0));
        assert_eq!(range.ticks(), [1_000.0, 10_000.0]);
        assert_eq!([range.height(0.0), range.height(1_000.0), range.height(1e9)], [0.0, 0.0, 1.0]);
        assert!((range.height(10_000.0_f64.sqrt() * 1_000.0_f64.sqrt()) - 0.5).abs() < 1e-9);
    }
}
