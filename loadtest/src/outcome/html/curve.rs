//! The percentiles of each call as curves: how much slower the slow ones are.

use std::fmt::Write;

use super::super::{Latency, number};
use super::axis::Axis;
use super::chart::{BELOW, NARROW, RIGHT, Size, WIDE, begin, draw_values};
use super::escape;

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

    let mut description = String::from("Milliseconds at 50 and 99.99 percent.");
    for row in rows {
        let (low, high) = (number::figure(row.p50_ms), number::figure(row.p9999_ms));
        let _ = write!(description, " {}: {low} and {high}.", row.call);
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

fn figures(row: &Latency) -> [f64; 5] {
    [row.p50_ms, row.p90_ms, row.p99_ms, row.p999_ms, row.p9999_ms]
}

fn colour(place: usize) -> usize {
    place % COLOURS + 1
}
