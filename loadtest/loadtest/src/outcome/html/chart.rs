//! Charts over the time of a run, drawn as SVG: lines or stacked columns, with
//! the run's phases and faults as bands behind them.

use std::fmt::Write;

use hongbao_load::escape::escape;
use hongbao_load::number;

use super::super::{FaultDone, Phase};
use super::axis::Axis;

/// A chart's measures, in units of its own picture.
#[derive(Clone, Copy)]
pub struct Size {
    pub width: f64,
    pub plot_height: f64,
    /// Room for the labels of the axis at the left.
    pub left: f64,
    /// About how many labels the axis of time has room for.
    time_ticks: usize,
    /// Whether each moment answers the pointer with its values.
    hover: bool,
}

/// For a page beside which the chart has room.
pub const WIDE: Size = Size { width: 1000.0, plot_height: 220.0, left: 48.0, time_ticks: 12, hover: true };
/// For a phone, where no pointer hovers.
pub const NARROW: Size = Size { width: 380.0, plot_height: 190.0, left: 40.0, time_ticks: 5, hover: false };

pub const RIGHT: f64 = 10.0;
pub const BELOW: f64 = 26.0;
/// The height of a row of labels above the plot.
const LABEL_ROW: f64 = 17.0;
/// Rows that the labels of faults may take; what finds no room is still told by its title.
const FAULT_ROWS_MAX: usize = 3;
/// The width of a character of a label, generously.
const CHARACTER: f64 = 6.6;

/// One line, or one layer of the columns.
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its place in the palette of the page's style.
    pub colour: usize,
    /// Drawn broad and pale, so that it still shows where another lies upon it.
    pub broad: bool,
    /// A value for each moment; `None` interrupts a line.
    pub values: Vec<Option<f64>>,
}

/// A level that is drawn across a chart.
pub struct Bound {
    pub value: f64,
    /// Its place in the palette, as that of the series it bounds.
    pub colour: usize,
    /// What it is.
    pub text: String,
}

/// How the series are drawn.
#[derive(Clone, Copy, PartialEq)]
pub enum Kind {
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
    pub kind: Kind,
    /// Whether the values stand on a logarithmic axis.
    pub logarithmic: bool,
    /// The moments' ends, in seconds, ascending.
    pub moments: &'a [f64],
    pub series: &'a [Series],
    /// Levels that were not to be passed.
    pub bounds: &'a [Bound],
    pub phases: &'a [Phase],
    pub faults: &'a [FaultDone],
}

/// A label of a fault, with its row and its place in it.
struct FaultLabel<'a> {
    fault: &'a FaultDone,
    text: String,
    /// Its row, and whether it stands left of the fault's line; `None` when there was no room.
    place: Option<(usize, bool)>,
}

impl Chart<'_> {
    /// The chart as one `svg` element.
    pub fn svg(&self, size: Size) -> String {
        let end = self.end_s();
        let plot_width = size.width - size.left - RIGHT;
        let x = |seconds: f64| size.left + (seconds / end).clamp(0.0, 1.0) * plot_width;
        let labels = self.fault_labels(size, &x);
        let rows = labels.iter().filter_map(|label| label.place).map(|(row, _)| row + 1).max().unwrap_or(0);
        let top = LABEL_ROW * (1 + rows) as f64 + 6.0;
        let bottom = top + size.plot_height;
        let axis = self.axis();
        let y = |value: f64| bottom - axis.share(value) * size.plot_height;

        let mut out = begin(self.id, self.title, self.description, size, bottom + BELOW);
        self.draw_phases(&mut out, &x, top, bottom);
        draw_faults(&mut out, &labels, &x, bottom);
        draw_values(&mut out, &axis, size, bottom);
        for seconds in time_ticks(end, size.time_ticks) {
            let at = x(seconds);
            let _ = write!(
                out,
                "<path class=\"grid\" d=\"M{at:.1} {bottom:.1}v4\"/><text class=\"tick\" x=\"{at:.1}\" y=\"{:.1}\" \
                 text-anchor=\"middle\">{}</text>",
                bottom + 18.0,
                number::clock(seconds)
            );
        }
        for bound in self.bounds {
            let at = y(bound.value);
            let _ = write!(
                out,
                "<g class=\"bound c{}\"><path d=\"M{:.1} {at:.1}H{:.1}\"/><text x=\"{:.1}\" y=\"{:.1}\" \
                 text-anchor=\"end\">{}</text></g>",
                bound.colour,
                size.left,
                size.width - RIGHT,
                size.width - RIGHT - 2.0,
                at - 4.0,
                escape(&bound.text)
            );
        }
        match self.kind {
            Kind::Lines => self.draw_lines(&mut out, &x, &y),
            Kind::Columns => self.draw_columns(&mut out, &x, &y),
        }
        if size.hover {
            self.draw_moments(&mut out, &x, top, bottom);
        }
        out.push_str("</svg>");
        out
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
        if self.kind == Kind::Columns {
            return Axis::linear((0..self.moments.len()).map(stacked).fold(0.0, f64::max));
        }
        let values = || self.series.iter().flat_map(|series| &series.values).flatten().copied();
        let highest = values().chain(self.bounds.iter().map(|bound| bound.value)).fold(0.0, f64::max);
        match self.logarithmic {
            true => Axis::logarithmic(values().filter(|value| *value > 0.0).fold(f64::INFINITY, f64::min), highest),
            false => Axis::linear(highest),
        }
    }

    fn draw_phases(&self, out: &mut String, x: &impl Fn(f64) -> f64, top: f64, bottom: f64) {
        for (place, phase) in self.phases.iter().enumerate() {
            let (from, to) = (x(phase.from_s), x(phase.to_s));
            let name = escape(&phase.name);
            let _ = write!(
                out,
                "<g><title>{name}: {} to {}</title><rect class=\"phase{}\" x=\"{from:.1}\" y=\"0\" width=\"{:.1}\" \
                 height=\"{bottom:.1}\"/>",
                number::clock(phase.from_s),
                number::clock(phase.to_s),
                if place % 2 == 0 { "" } else { " other" },
                (to - from).max(0.0)
            );
            if text_width(&phase.name) + 8.0 <= to - from {
                let _ = write!(out, "<text class=\"phase-name\" x=\"{:.1}\" y=\"12.5\">{name}</text>", from + 6.0);
            }
            if place > 0 {
                let _ = write!(out, "<path class=\"edge\" d=\"M{from:.1} 0V{top:.1}\"/>");
            }
            out.push_str("</g>");
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

    fn draw_lines(&self, out: &mut String, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) {
        for series in self.series {
            let mut path = String::new();
            let mut drawing = false;
            for (index, (moment, value)) in self.moments.iter().zip(&series.values).enumerate() {
                let Some(value) = value else {
                    drawing = false;
                    continue;
                };
                let _ = write!(path, "{}{:.1} {:.1}", if drawing { 'L' } else { 'M' }, x(*moment), y(*value));
                // A moment between two gaps would be a line without length: a dot shows it.
                if !drawing && series.values.get(index + 1).is_none_or(Option::is_none) {
                    path.push_str("h.1");
                }
                drawing = true;
            }
            if !path.is_empty() {
                let broad = if series.broad { " broad" } else { "" };
                let _ = write!(out, "<path class=\"line c{}{broad}\" d=\"{path}\"/>", series.colour);
            }
        }
    }

    fn draw_columns(&self, out: &mut String, x: &impl Fn(f64) -> f64, y: &impl Fn(f64) -> f64) {
        let mut floor = vec![0.0; self.moments.len()];
        for series in self.series {
            let mut path = String::new();
            for (index, moment) in self.moments.iter().enumerate() {
                let value = series.values[index].unwrap_or(0.0);
                if value <= 0.0 {
                    continue;
                }
                let (from, to) = (x(self.begin_s(index)), x(*moment));
                // A hair of ground between columns, as long as they are wide enough to bear it.
                let gap = if to - from > 3.0 { 0.5 } else { 0.0 };
                let (low, high) = (y(floor[index]), y(floor[index] + value));
                let _ = write!(path, "M{:.1} {low:.1}V{high:.1}H{:.1}V{low:.1}z", from + gap, to - gap);
                floor[index] += value;
            }
            if !path.is_empty() {
                let _ = write!(out, "<path class=\"column c{}\" d=\"{path}\"/>", series.colour);
            }
        }
    }

    /// Columns over the whole height that show their moment's values when pointed at.
    fn draw_moments(&self, out: &mut String, x: &impl Fn(f64) -> f64, top: f64, bottom: f64) {
        for (index, moment) in self.moments.iter().enumerate() {
            let from = x(self.begin_s(index));
            let _ = write!(
                out,
                "<rect class=\"moment\" x=\"{from:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\"><title>{}",
                (x(*moment) - from).max(0.1),
                bottom - top,
                number::clock(*moment)
            );
            for series in self.series {
                let value = series.values[index];
                if self.kind == Kind::Lines || value.is_some_and(|value| value > 0.0) {
                    let _ = write!(out, "\n{}: {}", escape(&series.name), number::known(value));
                }
            }
            out.push_str("</title></rect>");
        }
    }
}

/// The beginning of a picture that says what it shows.
pub fn begin(id: &str, title: &str, description: &str, size: Size, height: f64) -> String {
    let class = if size.hover { "wide" } else { "narrow" };
    format!(
        "<svg class=\"{class}\" viewBox=\"0 0 {} {height}\" role=\"img\" \
         aria-labelledby=\"{id}-{class}-t {id}-{class}-d\"><title id=\"{id}-{class}-t\">{}</title>\
         <desc id=\"{id}-{class}-d\">{}</desc>",
        size.width,
        escape(title),
        escape(description)
    )
}

/// The axis of values at the left, and its lines across the plot.
pub fn draw_values(out: &mut String, axis: &Axis, size: Size, bottom: f64) {
    for (value, text) in axis.ticks() {
        let at = bottom - axis.share(value) * size.plot_height;
        let _ = write!(
            out,
            "<path class=\"grid\" d=\"M{:.1} {at:.1}H{:.1}\"/><text class=\"tick\" x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{text}</text>",
            size.left,
            size.width - RIGHT,
            size.left - 6.0,
            at + 4.0
        );
    }
}

fn draw_faults(out: &mut String, labels: &[FaultLabel], x: &impl Fn(f64) -> f64, bottom: f64) {
    for FaultLabel { fault, text, place } in labels {
        let (from, to) = (x(fault.at_s), x(fault.until_s));
        let y = LABEL_ROW * place.map_or(1.0, |(row, _)| 1.0 + row as f64);
        let class = if fault.error.is_some() { "fault failed" } else { "fault" };
        let _ = write!(
            out,
            "<g class=\"{class}\"><title>{}: {} to {}</title><rect x=\"{from:.1}\" y=\"{y:.1}\" width=\"{:.1}\" \
             height=\"{:.1}\"/><path d=\"M{from:.1} {y:.1}V{bottom:.1}\"/>",
            escape(text),
            number::clock(fault.at_s),
            number::clock(fault.until_s),
            (to - from).max(0.0),
            bottom - y
        );
        out.push_str("</g>");
    }
    // Over all lines, so that none crosses a text.
    for FaultLabel { fault, text, place } in labels {
        let Some((row, before)) = place else { continue };
        let line = x(fault.at_s);
        let (x, anchor) = if *before { (line - 4.0, "end") } else { (line + 4.0, "start") };
        let y = LABEL_ROW * (1.0 + *row as f64) + 12.0;
        let text = escape(text);
        let _ =
            write!(out, "<text class=\"fault-name\" x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>");
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
    use super::*;

    fn fault(at_s: f64) -> FaultDone {
        FaultDone { at_s, until_s: at_s + 1.0, kind: "kill".into(), part: "db".into(), error: None }
    }

    fn chart<'a>(series: &'a [Series], faults: &'a [FaultDone]) -> Chart<'a> {
        Chart {
            id: "c",
            title: "A chart",
            description: "It shows",
            kind: Kind::Lines,
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
        let svg = chart(&series, &[]).svg(WIDE);
        let path = svg.split("class=\"line c1\" d=\"").nth(1).expect("there is a line");
        let path = path.split('"').next().expect("the attribute ends");
        assert_eq!(path.matches('M').count(), 2, "{path}");
        assert!(path.ends_with("h.1"), "{path}");
        assert!(svg.contains("3 s\np99: -</title>"), "{svg}");
    }

    #[test]
    fn labels_of_faults_do_not_cover_each_other() {
        let faults = [fault(1.0), fault(1.1), fault(1.2), fault(1.3), fault(3.5)];
        let svg = chart(&[], &faults).svg(NARROW);
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
