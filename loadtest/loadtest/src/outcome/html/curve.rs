//! The percentiles of each call as curves: how much slower the slow ones are.

use std::fmt::Write;

use hongbao_load::escape::escape;
use hongbao_load::number;

use super::super::Latency;
use super::axis::Axis;
use super::chart::{BELOW, NARROW, RIGHT, Size, WIDE, begin, draw_values};

/// What stands along the foot, each a power of ten rarer than the one before.
const NAMES: [&str; 5] = ["p50", "p90", "p99", "p99.9", "p99.99"];
/// Colours of the palette that are not grey.
const COLOURS: usize = 6;
const TOP: f64 = 8.0;

/// Draws a curve for each row. The tables that follow hold its figures.
pub fn push_curve(out: &mut String, rows: &[&Latency]) {
    if rows.is_empty() {
        return;
    }
    out.push_str(
        "<figure><figcaption><h3>Latency by percentile</h3><p class=\"hint\">milliseconds, logarithmic; each step to \
         the right is a rarer answer</p></figcaption><ul class=\"legend\">",
    );
    for (place, row) in rows.iter().enumerate() {
        let _ = write!(out, "<li><i class=\"c{}\"></i>{}</li>", colour(place), escape(&row.call));
    }
    out.push_str("</ul>");
    out.push_str(&svg(rows, WIDE));
    out.push_str(&svg(rows, NARROW));
    out.push_str("</figure>");
}

fn svg(rows: &[&Latency], size: Size) -> String {
    let values = || rows.iter().flat_map(|row| figures(row)).filter(|value| *value > 0.0);
    let axis = Axis::logarithmic(values().fold(f64::INFINITY, f64::min), values().fold(0.0, f64::max));
    let bottom = TOP + size.plot_height;
    let column = (size.width - size.left - RIGHT) / NAMES.len() as f64;
    let x = |place: usize| size.left + column * (0.5 + place as f64);
    let y = |value: f64| bottom - axis.share(value) * size.plot_height;

    let mut description = String::from("Milliseconds at 50 percent, and at the most that can be told.");
    for row in rows {
        let figures = figures(row);
        let (Some(low), Some(high)) = (figures.first(), figures.last()) else { continue };
        let (low, high, name) = (number::figure(*low), number::figure(*high), NAMES[figures.len() - 1]);
        let _ = write!(description, " {}: {low}, and {high} at {name}.", row.call);
    }
    let mut out = begin("percentiles", "Latency by percentile", &description, size, bottom + BELOW);
    draw_values(&mut out, &axis, size, bottom);
    for (place, name) in NAMES.iter().enumerate() {
        let (x, y) = (x(place), bottom + 18.0);
        let _ = write!(out, "<text class=\"tick\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{name}</text>");
    }
    for (order, row) in rows.iter().enumerate() {
        let colour = colour(order);
        let path: String = figures(row)
            .into_iter()
            .enumerate()
            .map(|(place, value)| format!("{}{:.1} {:.1}", if place == 0 { 'M' } else { 'L' }, x(place), y(value)))
            .collect();
        let _ = write!(out, "<path class=\"line c{colour}\" d=\"{path}\"/>");
        for (place, value) in figures(row).into_iter().enumerate() {
            let _ = write!(
                out,
                "<circle class=\"dot c{colour}\" cx=\"{:.1}\" cy=\"{:.1}\" r=\"3\"><title>{} {}: {}</title></circle>",
                x(place),
                y(value),
                escape(&row.call),
                NAMES[place],
                number::millis(value)
            );
        }
    }
    out.push_str("</svg>");
    out
}

/// The percentiles as far as there were enough answers to tell them.
fn figures(row: &Latency) -> Vec<f64> {
    let told = row.milliseconds().into_iter().zip(row.told());
    told.take(NAMES.len()).take_while(|(_, told)| *told).map(|(value, _)| value).collect()
}

fn colour(place: usize) -> usize {
    place % COLOURS + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::outcome::sample::outcome;

    #[test]
    fn a_curve_ends_where_there_were_too_few_answers() {
        let mut row = outcome().latencies[0].clone();
        for (count, points) in [(1, 0), (2, 1), (99, 2), (100, 3), (1_000, 4), (10_000, 5)] {
            row.count = count;
            assert_eq!(figures(&row).len(), points, "{count}");
            assert_eq!(svg(&[&row], WIDE).matches("<circle").count(), points);
        }
    }
}
