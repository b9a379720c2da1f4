//! The comparison as one HTML page.
//!
//! A row of charts for each figure, a column for each number of envelopes; in
//! each chart a curve for each scheme over the openers at once.

use std::fmt::Write as _;

use hongbao_load::number;
use hongbao_load::page::{Axis, Curves, SMALL, Series, Table, bar, caption, card, page as whole_page};
use maud::{Markup, html};

use super::report::{Line, Report};
use super::sample::Sample;
use super::scheme::Scheme;

/// What a row of charts shows.
struct Figure {
    id: &'static str,
    title: &'static str,
    hint: &'static str,
    of: fn(&Sample) -> Option<f64>,
    is_percent: bool,
}

const fn figure(id: &'static str, title: &'static str, hint: &'static str, of: fn(&Sample) -> Option<f64>) -> Figure {
    Figure { id, title, hint, of, is_percent: false }
}

const FIGURES: [Figure; 6] = [
    figure("opens", "Opens", "a second, logarithmic", |sample| Some(sample.load.per_second)),
    figure("p50", "Latency at 50%", "milliseconds, logarithmic", |sample| sample.load.p50_us.map(|us| us / 1_000.0)),
    figure("p99", "Latency at 99%", "milliseconds, logarithmic", |sample| sample.load.p99_us.map(|us| us / 1_000.0)),
    Figure {
        is_percent: true,
        ..figure("errors", "Errors to users", "percent", |sample| Some(100.0 * sample.error_share))
    },
    Figure {
        is_percent: true,
        ..figure("unfair", "Unfair", "percent of openings that the next one overtook", |sample| {
            (sample.pairs > 0).then_some(100.0 * sample.unfair_share)
        })
    },
    figure("database", "Processor time of the database", "microseconds an opening, logarithmic", |sample| {
        sample.database_cpu_us
    }),
];

pub fn page(report: &Report) -> String {
    let (title, verdict) = ("Hongbao and its alternatives", report.verdict());
    let is_right = match report.exit_code() {
        0 => Some(true),
        1 => Some(false),
        _ => None,
    };
    let below = html! { (report.processors) ", " (report.file_system) " disk, " (report.durability) };
    let main = html! {
        section.verdicts aria-label="Verdicts" { (card("Money", is_right, verdict.lines().next().unwrap_or_default())) }
        pre { (verdict) }
        @for figure in &FIGURES { (row(report, figure)) }
        (losses(report))
        section { h2 { "The figures" } pre { (report.table()) } }
    };
    whole_page(title, "Hongbao laboratory", title, &below, &main)
}

fn row(report: &Report, figure: &Figure) -> Markup {
    let legend = schemes(report).map(|scheme| (scheme.text(), colour(scheme)));
    html! {
        figure {
            (caption(figure.title, &format!("{}; from left to right: openers of one envelope at once", figure.hint), legend))
            div.row { @for envelopes in axis(report, |line| line.cell.envelopes) { (chart(report, figure, envelopes)) } }
        }
    }
}

fn chart(report: &Report, figure: &Figure, envelopes: u32) -> Markup {
    let openers = axis(report, |line| line.cell.openers);
    let value = |scheme, openers| {
        let is_here =
            |line: &&Line| (line.scheme, line.cell.envelopes, line.cell.openers) == (scheme, envelopes, openers);
        report.lines.iter().find(is_here)?.sample.as_ref().and_then(figure.of)
    };
    let curve = |scheme: Scheme| Series {
        name: scheme.text().to_owned(),
        colour: colour(scheme),
        broad: false,
        values: openers.iter().map(|openers| value(scheme, *openers)).collect(),
    };
    let curves: Vec<Series> = schemes(report).map(curve).collect();
    let places: Vec<String> = openers.iter().map(u32::to_string).collect();
    let name =
        if envelopes == 1 { "1 envelope".to_owned() } else { format!("{} envelopes", number::count(envelopes.into())) };
    let mut description = format!("{}, {name}, {}.", figure.title, figure.hint);
    for Series { name, values, .. } in &curves {
        let values: Vec<String> = values.iter().map(|value| number::known(*value)).collect();
        let _ = write!(description, " {name}: {}.", values.join(", "));
    }
    let (id, axis) = (format!("{}-{envelopes}", figure.id), axis_of(report, figure));
    let picture =
        Curves { id: &id, title: figure.title, description: &description, places: &places, axis, curves: &curves };
    html! { div { h4 { (name) } (picture.svg(SMALL)) } }
}

/// What a row of charts spans, so that its charts can be compared.
fn axis_of(report: &Report, figure: &Figure) -> Axis {
    if figure.is_percent {
        return Axis::linear(100.0);
    }
    let samples = report.lines.iter().filter_map(|line| line.sample.as_ref());
    let values: Vec<f64> = samples.filter_map(figure.of).filter(|value| *value > 0.0).collect();
    Axis::logarithmic(values.iter().copied().fold(f64::INFINITY, f64::min), values.iter().copied().fold(0.0, f64::max))
}

/// A bar for each scheme that was killed in the middle of its load.
fn losses(report: &Report) -> Markup {
    let most = report.losses.iter().map(|loss| loss.audit.lost_fen).max().unwrap_or(0).max(1) as f64;
    let mut table = Table::new("Money lost when the server was killed, fen", ["scheme", "", "lost"], 3);
    for loss in &report.losses {
        let audit = &loss.audit;
        let mut lost = match audit.lost {
            0 => "none".to_owned(),
            lost => format!("{} ({lost} of {} acknowledged openings)", audit.lost_fen, audit.acknowledged),
        };
        if let Some(audit) = &loss.after_restart {
            let _ = write!(lost, "; {} once Redis was started from its file", audit.lost_fen);
        }
        table.row(&[&loss.scheme.text(), &bar(100.0 * audit.lost_fen as f64 / most), &lost]);
    }
    for not in &report.not_killed {
        let reason = format!("not audited: {}", not.reason.lines().next().unwrap_or_default());
        table.row(&[&not.scheme.text(), &"", &reason]);
    }
    html! { (table) }
}

fn axis(report: &Report, value: fn(&Line) -> u32) -> Vec<u32> {
    let mut values: Vec<u32> = report.lines.iter().map(value).collect();
    values.sort_unstable();
    values.dedup();
    values
}

fn schemes(report: &Report) -> impl Iterator<Item = Scheme> {
    Scheme::all().iter().copied().filter(|scheme| report.lines.iter().any(|line| line.scheme == *scheme))
}

/// Its place in the palette of the page's style; the grey one is no scheme's but that of `bare`.
fn colour(scheme: Scheme) -> usize {
    match scheme {
        Scheme::RowLock => 1,
        Scheme::NoWait => 6,
        Scheme::Optimistic => 2,
        Scheme::MemoryFirst => 4,
        Scheme::Serial => 5,
        Scheme::Hongbao => 3,
        Scheme::Bare => 7,
        Scheme::Presplit => 8,
        Scheme::RedisAlways => 9,
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
        assert_eq!(page.matches("<svg").count(), FIGURES.len());
        assert!(page.contains("25 (2 of 9 acknowledged openings)"));
        assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
        assert!(page.contains("row-lock 8: 2,000") && page.contains("&lt;fast &amp; cheap&gt;"));
        assert!(!page.contains("NaN") && !page.contains("inf"), "what was not measured is not drawn");
    }

    #[test]
    fn charts_of_a_row_have_the_same_axis_and_nothing_leaves_it() {
        let axis = axis_of(&report(), &FIGURES[0]);
        assert_eq!(axis.ticks().first().map(|(value, _)| *value), Some(1_000.0));
        assert_eq!([axis.share(0.0), axis.share(1_000.0), axis.share(1e9)], [0.0, 0.0, 1.0]);
        let percent = axis_of(&report(), &FIGURES[3]);
        assert_eq!([percent.share(0.0), percent.share(25.0), percent.share(100.0)], [0.0, 0.25, 1.0]);
    }
}
