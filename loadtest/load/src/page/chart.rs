//! Charts over the time of a run, drawn as SVG: lines or stacked columns, with
//! the run's phases and faults as bands behind them.

use std::fmt::Write as _;

use maud::{Markup, html};
use serde::{Deserialize, Serialize};

use super::axis::Axis;
use super::picture::{BELOW, RIGHT, Series, Size, at, axis_of_values, label, line, picture};
use crate::faults::FaultDone;
use crate::number;

/// The height of a row of labels above the plot.
const LABEL_ROW: f64 = 17.0;
/// Rows that the labels of faults may take; what finds no room still has its title.
const FAULT_ROWS_MAX: usize = 3;
/// The width of a character of a label, generously.
const CHARACTER: f64 = 6.6;

/// A part of a run on the time axis.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Phase {
    /// What it is called: `ramp`, `peak`, `tail`, `drain`.
    pub name: String,
    /// From here, in seconds since the load began.
    pub from_s: f64,
    /// To here.
    pub to_s: f64,
}

/// A level that is drawn across a chart.
pub struct Bound {
    /// Where.
    pub value: f64,
    /// Its place in the palette, as that of the series it bounds.
    pub colour: usize,
    /// What it is.
    pub text: String,
}

/// How the series are drawn.
#[derive(Clone, Copy, PartialEq)]
pub enum ChartKind {
    /// As lines.
    Lines,
    /// As columns, one upon the other.
    Columns,
}

/// A chart over time.
pub struct Chart<'a> {
    /// An identifier that is unique on the page.
    pub id: &'a str,
    /// What it shows, for those who do not see it.
    pub title: &'a str,
    /// The same in a sentence with its extremes.
    pub description: &'a str,
    /// As lines or columns.
    pub kind: ChartKind,
    /// Whether the values stand on a logarithmic axis.
    pub logarithmic: bool,
    /// The moments' ends, in seconds, ascending.
    pub moments: &'a [f64],
    /// What is drawn.
    pub series: &'a [Series],
    /// Levels that were not to be passed.
    pub bounds: &'a [Bound],
    /// Bands behind it.
    pub phases: &'a [Phase],
    /// Bands over those.
    pub faults: &'a [FaultDone],
}

/// A label of a fault, with its row and its place in it.
struct FaultLabel<'a> {
    fault: &'a FaultDone,
    text: String,
    /// Its row, and whether it stands left of the fault's line; `None` when there was no room.
    place: Option<(usize, bool)>,
}

/// Where the picture has its plot.
struct Plot<'a> {
    x: &'a dyn Fn(f64) -> f64,
    y: &'a dyn Fn(f64) -> f64,
    top: f64,
    bottom: f64,
}

impl Chart<'_> {
    /// The chart as one `svg` element.
    pub fn svg(&self, size: Size) -> Markup {
        let end = self.end_s();
        let (right, width) = (size.width - RIGHT, size.width - size.left - RIGHT);
        let x = |seconds: f64| size.left + (seconds / end).clamp(0.0, 1.0) * width;
        let labels = self.fault_labels(size, &x);
        let rows = labels.iter().filter_map(|label| label.place).map(|(row, _)| row + 1).max().unwrap_or(0);
        let top = LABEL_ROW * (1 + rows) as f64 + 6.0;
        let bottom = top + size.plot_height;
        let axis = self.axis();
        let y = |value: f64| bottom - axis.share(value) * size.plot_height;
        let plot = Plot { x: &x, y: &y, top, bottom };
        let inside = html! {
            (self.phases(&plot))
            (faults(&labels, &plot))
            (axis_of_values(&axis, size, bottom))
            @for seconds in time_ticks(end, size.time_ticks) {
                path class="grid" d=(format!("M{:.1} {bottom:.1}v4", x(seconds))) {}
                (label("tick", x(seconds), bottom + 18.0, "middle", number::clock(seconds)))
            }
            @for bound in self.bounds {
                @let y = y(bound.value);
                g class={ "bound c" (bound.colour) } {
                    path d=(format!("M{:.1} {y:.1}H{right:.1}", size.left)) {}
                    (label("", right - 2.0, y - 4.0, "end", &bound.text))
                }
            }
            @match self.kind {
                ChartKind::Lines => (self.lines(&plot)),
                ChartKind::Columns => (self.columns(&plot)),
            }
            @if size.hover { (self.moments(&plot)) }
        };
        picture(self.id, self.title, self.description, size, bottom + BELOW, &inside)
    }

    fn end_s(&self) -> f64 {
        let moments = self.moments.last().copied().unwrap_or(0.0);
        self.phases.iter().map(|phase| phase.to_s).fold(moments, f64::max).max(1.0)
    }

    /// A moment begins where the one before it ended.
    fn begin_s(&self, index: usize) -> f64 {
        index.checked_sub(1).map_or(0.0, |before| self.moments[before])
    }

    fn axis(&self) -> Axis {
        let stacked = |index: usize| self.series.iter().filter_map(|series| series.values[index]).sum::<f64>();
        if self.kind == ChartKind::Columns {
            return Axis::linear((0..self.moments.len()).map(stacked).fold(0.0, f64::max));
        }
        let values = || self.series.iter().flat_map(|series| &series.values).flatten().copied();
        let highest = values().chain(self.bounds.iter().map(|bound| bound.value)).fold(0.0, f64::max);
        match self.logarithmic {
            true => Axis::logarithmic(values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min), highest),
            false => Axis::linear(highest),
        }
    }

    fn phases(&self, Plot { x, top, bottom, .. }: &Plot<'_>) -> Markup {
        html! {
            @for (place, phase) in self.phases.iter().enumerate() {
                @let (from, to) = (x(phase.from_s), x(phase.to_s));
                g {
                    title { (phase.name) ": " (number::clock(phase.from_s)) " to " (number::clock(phase.to_s)) }
                    rect class=(if place % 2 == 0 { "phase" } else { "phase other" }) x=(at(from)) y="0"
                        width=(at((to - from).max(0.0))) height=(at(*bottom)) {}
                    @if text_width(&phase.name) + 8.0 <= to - from {
                        (label("phase-name", from + 6.0, 12.5, "start", &phase.name))
                    }
                    @if place > 0 { path class="edge" d=(format!("M{from:.1} 0V{top:.1}")) {} }
                }
            }
        }
    }

    /// Gives each fault's label the first row in which it covers no other.
    fn fault_labels(&self, size: Size, x: &impl Fn(f64) -> f64) -> Vec<FaultLabel<'_>> {
        let mut taken = [f64::NEG_INFINITY; FAULT_ROWS_MAX];
        let mut labels = Vec::new();
        let mut faults: Vec<&FaultDone> = self.faults.iter().collect();
        faults.sort_by(|left, right| left.at_s.total_cmp(&right.at_s));
        for fault in faults {
            let mut text = format!("{} {}", fault.kind, fault.part);
            if fault.error.is_some() {
                text.push_str(" (failed)");
            }
            let width = text_width(&text);
            let line = x(fault.at_s);
            let before = line + 4.0 + width > size.width;
            let left = if before { line - 4.0 - width } else { line + 4.0 };
            let row = taken.iter().position(|end| *end <= left);
            if let Some(row) = row {
                taken[row] = left + width + 6.0;
            }
            labels.push(FaultLabel { fault, text, place: row.map(|row| (row, before)) });
        }
        labels
    }

    fn lines(&self, Plot { x, y, .. }: &Plot<'_>) -> Markup {
        let path = |series: &Series| {
            let points = self.moments.iter().zip(&series.values);
            line(&points.map(|(moment, value)| Some((x(*moment), y((*value)?)))).collect::<Vec<_>>())
        };
        html! {
            @for series in self.series {
                path class={ "line c" (series.colour) (if series.broad { " broad" } else { "" }) } d=(path(series)) {}
            }
        }
    }

    fn columns(&self, Plot { x, y, .. }: &Plot<'_>) -> Markup {
        let mut floor = vec![0.0; self.moments.len()];
        let mut path = |series: &Series| {
            let mut path = String::new();
            for (index, moment) in self.moments.iter().enumerate() {
                let value = series.values[index].unwrap_or(0.0);
                if value > 0.0 {
                    let (from, to) = (x(self.begin_s(index)), x(*moment));
                    // A hair of ground between columns, as long as they are wide enough to bear it.
                    let gap = if to - from > 3.0 { 0.5 } else { 0.0 };
                    let (low, high) = (y(floor[index]), y(floor[index] + value));
                    let _ = write!(path, "M{:.1} {low:.1}V{high:.1}H{:.1}V{low:.1}z", from + gap, to - gap);
                    floor[index] += value;
                }
            }
            path
        };
        html! { @for series in self.series { path class={ "column c" (series.colour) } d=(path(series)) {} } }
    }

    /// Columns over the whole height that show their moment's values when pointed at.
    fn moments(&self, Plot { x, top, bottom, .. }: &Plot<'_>) -> Markup {
        let is_shown = |value: Option<f64>| self.kind == ChartKind::Lines || value.is_some_and(|value| value > 0.0);
        html! {
            @for (index, moment) in self.moments.iter().enumerate() {
                @let from = x(self.begin_s(index));
                rect class="moment" x=(at(from)) y=(at(*top)) width=(at((x(*moment) - from).max(0.1)))
                    height=(at(bottom - top)) {
                    title {
                        (number::clock(*moment))
                        @for series in self.series.iter().filter(|series| is_shown(series.values[index])) {
                            "\n" (series.name) ": " (number::known(series.values[index]))
                        }
                    }
                }
            }
        }
    }
}

fn faults(labels: &[FaultLabel<'_>], Plot { x, bottom, .. }: &Plot<'_>) -> Markup {
    html! {
        @for FaultLabel { fault, text, place } in labels {
            @let (from, to) = (x(fault.at_s), x(fault.until_s));
            @let y = LABEL_ROW * place.map_or(1.0, |(row, _)| 1.0 + row as f64);
            g class=(if fault.error.is_some() { "fault failed" } else { "fault" }) {
                title { (text) ": " (number::clock(fault.at_s)) " to " (number::clock(fault.until_s)) }
                rect x=(at(from)) y=(at(y)) width=(at((to - from).max(0.0))) height=(at(bottom - y)) {}
                path d=(format!("M{from:.1} {y:.1}V{bottom:.1}")) {}
            }
        }
        // Over all lines, so that none crosses a text.
        @for FaultLabel { fault, text, place } in labels {
            @if let Some((row, before)) = place {
                @let (shift, anchor) = if *before { (-4.0, "end") } else { (4.0, "start") };
                (label("fault-name", x(fault.at_s) + shift, LABEL_ROW * (1.0 + *row as f64) + 12.0, anchor, text))
            }
        }
    }
}

fn text_width(text: &str) -> f64 {
    // Letters beyond Latin are about twice as wide.
    text.chars().map(|char| if char.is_ascii() { CHARACTER } else { 2.0 * CHARACTER }).sum()
}

/// Moments that people count in, about as many as there is room for.
fn time_ticks(end: f64, room: usize) -> Vec<f64> {
    const STEPS: [f64; 14] =
        [1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 900.0, 1_800.0, 3_600.0, 7_200.0];
    let step = STEPS.into_iter().find(|step| end / step <= room as f64).unwrap_or((end / room as f64).ceil());
    (0..).map(|place| f64::from(place) * step).take_while(|seconds| *seconds <= end).collect()
}

#[cfg(test)]
mod tests {
    use super::super::picture::{NARROW, WIDE};
    use super::*;

    fn fault(at_s: f64) -> FaultDone {
        FaultDone { at_s, until_s: at_s + 1.0, kind: "kill".into(), part: "db".into(), error: None }
    }

    fn chart<'a>(series: &'a [Series], faults: &'a [FaultDone]) -> Chart<'a> {
        Chart {
            id: "c",
            title: "A chart",
            description: "It shows",
            kind: ChartKind::Lines,
            logarithmic: false,
            moments: &[1.0, 2.0, 3.0, 4.0],
            series,
            bounds: &[],
            phases: &[],
            faults,
        }
    }

    #[test]
    fn a_gap_interrupts_a_line_and_a_lone_moment_is_a_dot() {
        let series = [Series {
            name: "p99".into(),
            colour: 1,
            broad: false,
            values: vec![Some(1.0), Some(2.0), None, Some(1.0)],
        }];
        let svg = chart(&series, &[]).svg(WIDE).into_string();
        let path = svg.split("class=\"line c1\" d=\"").nth(1).expect("there is a line");
        let path = path.split('"').next().expect("the attribute ends");
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert!(path.ends_with("h.1"), "{path}");
        assert!(svg.contains("3 s\np99: -</title>"), "{svg}");
    }

    #[test]
    fn labels_of_faults_do_not_cover_each_other() {
        let faults = [fault(1.0), fault(1.1), fault(1.2), fault(1.3), fault(3.5)];
        let svg = chart(&[], &faults).svg(NARROW).into_string();
        let label = |y: f64| svg.matches(&format!("y=\"{y:.1}\" text-anchor")).count();
        let rows: Vec<usize> = (1..5).map(|row| label(LABEL_ROW * f64::from(row) + 12.0)).collect();
        assert_eq!(rows, [2, 1, 1, 0], "{svg}");
        assert_eq!(svg.matches("<g class=\"fault\">").count(), 5, "what has no label is still drawn");
    }

    #[test]
    fn time_is_counted_in_steps_that_people_use() {
        assert_eq!(time_ticks(130.0, 12), [0.0, 15.0, 30.0, 45.0, 60.0, 75.0, 90.0, 105.0, 120.0]);
        assert_eq!(time_ticks(3_600.0, 4), [0.0, 900.0, 1_800.0, 2_700.0, 3_600.0]);
        assert!(time_ticks(1e6, 12).len() <= 13);
    }
}
