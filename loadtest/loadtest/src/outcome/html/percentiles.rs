//! The percentiles of a run: as curves, and as tables.

use std::fmt::Write as _;

use hongbao_load::number;
use hongbao_load::page::{Axis, Curves, NARROW, Series, Table, WIDE, caption};
use maud::{Markup, Render, html};

use crate::outcome::data::{Latency, Outcome, PERCENTILES};

/// All but the longest stand along the foot, each a power of ten rarer than the one before.
const NAMED: usize = PERCENTILES.len() - 1;
/// Colours of the palette that are not grey.
const COLOURS: usize = 6;

/// Of each call, then by outcome, by phase, by both.
pub fn percentiles(run: &Outcome) -> Markup {
    let by_call: Vec<&Latency> = run.latencies_by(false, false).filter(|row| row.count > 0).collect();
    let both: Vec<&Latency> = run.latencies_by(true, true).collect();
    html! {
        @if !run.latencies.is_empty() {
            section {
                h2 { "Percentiles" }
                p.hint {
                    "Milliseconds, " (run.latency_origin()) ". Of what happened too seldom for a percentile, "
                    span.few { "it is the longest" } "."
                }
                @if !by_call.is_empty() { (curves(&by_call)) }
                (table("By call", &[], run.latencies_by(false, false)))
                (table("By outcome", &["outcome"], run.latencies_by(false, true)))
                (table("By phase", &["phase"], run.latencies_by(true, false)))
                @if !both.is_empty() {
                    details {
                        summary { "By phase and outcome" }
                        (table("By phase and outcome", &["phase", "outcome"], both))
                    }
                }
            }
        }
    }
}

fn table<'a>(caption: &str, keys: &[&str], rows: impl IntoIterator<Item = &'a Latency>) -> Markup {
    let columns = ["call"].into_iter().chain(keys.iter().copied()).chain(["count"]).chain(PERCENTILES);
    let mut table = Table::new(caption, columns, 1 + keys.len());
    for row in rows {
        let count = number::count(row.count);
        let figures = row.milliseconds().into_iter().zip(row.enough()).map(|(value, is_enough)| {
            let value = number::figure(value);
            html! { @if is_enough { (value) } @else { span.few { (value) } } }
        });
        let figures: Vec<Markup> = figures.collect();
        let mut cells: Vec<&dyn Render> = vec![&row.call];
        cells.extend(keys.iter().map(|key| if *key == "phase" { &row.phase as &dyn Render } else { &row.outcome }));
        cells.push(&count);
        cells.extend(figures.iter().map(|figure| figure as &dyn Render));
        table.row(&cells);
    }
    html! { (table) }
}

/// A curve for each row: how much slower the slow answers are. The tables hold its figures.
fn curves(rows: &[&Latency]) -> Markup {
    let curve = |(place, row): (usize, &&'_ Latency)| (place % COLOURS + 1, figures(row));
    let curves: Vec<(usize, Vec<f64>)> = rows.iter().enumerate().map(curve).collect();
    let values = || curves.iter().flat_map(|(_, values)| values).copied().filter(|value| *value > 0.0);
    let axis = Axis::logarithmic(values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let mut description = String::from("Milliseconds at 50 percent, and at the highest that is known.");
    for (row, (_, values)) in rows.iter().zip(&curves) {
        let (Some(low), Some(high)) = (values.first(), values.last()) else { continue };
        let (low, high, name) = (number::figure(*low), number::figure(*high), PERCENTILES[values.len() - 1]);
        let _ = write!(description, " {}: {low}, and {high} at {name}.", row.call);
    }
    let series = |(row, (colour, values)): (&&Latency, &(usize, Vec<f64>))| Series {
        name: row.call.clone(),
        colour: *colour,
        broad: false,
        values: (0..NAMED).map(|place| values.get(place).copied()).collect(),
    };
    let drawn: Vec<Series> = rows.iter().zip(&curves).map(series).collect();
    let title = "Latency by percentile";
    let places: Vec<String> = PERCENTILES[..NAMED].iter().map(|&name| name.to_owned()).collect();
    let picture = Curves { id: "percentiles", title, description: &description, places: &places, axis, curves: &drawn };
    html! {
        figure {
            (caption(title, "milliseconds, logarithmic; each step to the right is a rarer answer",
                drawn.iter().map(|curve| (curve.name.as_str(), curve.colour))))
            (picture.svg(WIDE))
            (picture.svg(NARROW))
        }
    }
}

/// The percentiles as far as there were enough answers for them.
fn figures(row: &Latency) -> Vec<f64> {
    let kept = row.milliseconds().into_iter().zip(row.enough());
    kept.take(NAMED).take_while(|(_, is_enough)| *is_enough).map(|(value, _)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::tests::sample::outcome;

    #[test]
    fn a_curve_ends_where_there_were_too_few_answers() {
        let mut row = outcome().latencies[0].clone();
        for (count, points) in [(1, 0), (2, 1), (99, 2), (100, 3), (1_000, 4), (10_000, 5)] {
            row.count = count;
            assert_eq!(figures(&row).len(), points, "{count}");
            let page = curves(&[&row]).into_string();
            assert_eq!(page.matches("<circle").count(), 2 * points, "for a wide screen and for a narrow one");
        }
    }
}
