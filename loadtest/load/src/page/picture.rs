//! What all pictures have in common, drawn as SVG.

use std::fmt::{Display, Write as _};

use maud::{Markup, html};

use super::axis::Axis;

/// A picture's measures, in units of its own.
#[derive(Clone, Copy)]
pub struct Size {
    /// All of its width.
    pub width: f64,
    /// The height without what is written above and below.
    pub plot_height: f64,
    /// Room for the labels of the axis at the left.
    pub left: f64,
    /// About how many labels the axis of time has room for.
    pub time_ticks: usize,
    /// Whether each moment answers the pointer with its values.
    pub hover: bool,
    /// Its class: on which screens it is shown.
    pub class: &'static str,
}

/// For a page beside which the picture has room.
pub const WIDE: Size =
    Size { width: 1000.0, plot_height: 220.0, left: 48.0, time_ticks: 12, hover: true, class: "wide" };
/// For a phone, where no pointer hovers.
pub const NARROW: Size =
    Size { width: 380.0, plot_height: 190.0, left: 40.0, time_ticks: 5, hover: false, class: "narrow" };
/// For a row of pictures.
pub const SMALL: Size = Size { class: "small", ..NARROW };

/// Room at the right of a plot.
pub const RIGHT: f64 = 10.0;
/// Room below it.
pub const BELOW: f64 = 26.0;

/// One line, or one layer of the columns.
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its place in the palette of the page's style.
    pub colour: usize,
    /// Drawn broad and pale, so that it still shows where another lies upon it.
    pub broad: bool,
    /// A value for each moment or place; `None` interrupts a line.
    pub values: Vec<Option<f64>>,
}

/// A line through points, interrupted where there is none; one between two gaps is a dot.
pub fn line(points: &[Option<(f64, f64)>]) -> String {
    let mut path = String::new();
    for (index, point) in points.iter().enumerate() {
        let Some((x, y)) = point else { continue };
        let begins = index == 0 || points[index - 1].is_none();
        let _ = write!(path, "{}{x:.1} {y:.1}", if begins { 'M' } else { 'L' });
        if begins && points.get(index + 1).is_none_or(Option::is_none) {
            path.push_str("h.1");
        }
    }
    path
}

/// A coordinate.
pub fn at(value: f64) -> impl Display {
    format!("{value:.1}")
}

/// A picture that says what it shows, to those who do not see it too.
pub fn picture(id: &str, title: &str, description: &str, size: Size, height: f64, inside: &Markup) -> Markup {
    let (class, width) = (size.class, size.width);
    let (title_id, description_id) = (format!("{id}-{class}-t"), format!("{id}-{class}-d"));
    html! {
        svg class=(class) viewBox={ "0 0 " (width) " " (height) } role="img"
            aria-labelledby={ (title_id) " " (description_id) } {
            title id=(title_id) { (title) }
            desc id=(description_id) { (description) }
            (inside)
        }
    }
}

/// A text at a place; `anchor` is its `start`, `middle` or `end`.
pub fn label(class: &str, x: f64, y: f64, anchor: &str, text: impl Display) -> Markup {
    html! { text class=(class) x=(at(x)) y=(at(y)) text-anchor=(anchor) { (text) } }
}

/// The axis of values at the left, and its lines across the plot.
pub fn axis_of_values(axis: &Axis, size: Size, bottom: f64) -> Markup {
    html! {
        @for (value, text) in axis.ticks() {
            @let y = bottom - axis.share(value) * size.plot_height;
            path class="grid" d=(format!("M{:.1} {y:.1}H{:.1}", size.left, size.width - RIGHT)) {}
            (label("tick", size.left - 6.0, y + 4.0, "end", text))
        }
    }
}
