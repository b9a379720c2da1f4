//! Curves over a few named places, such as percentiles: a dot for each value.

use maud::{Markup, html};

use super::axis::Axis;
use super::picture::{BELOW, RIGHT, Series, Size, at, axis_of_values, label, line, picture};
use crate::number;

const TOP: f64 = 8.0;

/// Curves in one picture.
pub struct Curves<'a> {
    /// An identifier that is unique on the page.
    pub id: &'a str,
    /// What it shows.
    pub title: &'a str,
    /// The same in a sentence with its extremes, for those who do not see it.
    pub description: &'a str,
    /// The places from left to right.
    pub places: &'a [String],
    /// The axis of values.
    pub axis: Axis,
    /// The curves.
    pub curves: &'a [Series],
}

impl Curves<'_> {
    /// The picture as one `svg` element.
    pub fn svg(&self, size: Size) -> Markup {
        let bottom = TOP + size.plot_height;
        let column = (size.width - size.left - RIGHT) / self.places.len() as f64;
        let x = |place: usize| size.left + column * (0.5 + place as f64);
        let y = |value: f64| bottom - self.axis.share(value) * size.plot_height;
        let inside = html! {
            (axis_of_values(&self.axis, size, bottom))
            @for (place, name) in self.places.iter().enumerate() {
                (label("tick", x(place), bottom + 18.0, "middle", name))
            }
            @for curve in self.curves {
                @let points = curve.values.iter().zip(0..).map(|(value, place)| Some((x(place), y((*value)?))));
                path class={ "line c" (curve.colour) } d=(line(&points.collect::<Vec<_>>())) {}
                @for (place, value) in curve.values.iter().enumerate().filter_map(|(place, value)| Some((place, (*value)?))) {
                    circle class={ "dot c" (curve.colour) } cx=(at(x(place))) cy=(at(y(value))) r="3" {
                        title { (curve.name) " " (self.places[place]) ": " (number::figure(value)) }
                    }
                }
            }
        };
        picture(self.id, self.title, self.description, size, bottom + BELOW, &inside)
    }
}

#[cfg(test)]
mod tests {
    use super::super::picture::WIDE;
    use super::*;

    #[test]
    fn a_curve_has_a_dot_for_each_value_and_no_line_over_a_gap() {
        let values = vec![Some(1.0), Some(10.0), None, Some(5.0)];
        let curves = [Series { name: "open".into(), colour: 3, broad: false, values }];
        let places = ["p50", "p90", "p99", "max"].map(str::to_owned);
        let axis = Axis::logarithmic(1.0, 10.0);
        let svg = Curves { id: "c", title: "t", description: "d", places: &places, axis, curves: &curves }.svg(WIDE);
        let svg = svg.into_string();
        assert_eq!(svg.matches("<circle").count(), 3);
        let line = svg.split("class=\"line c3\" d=\"").nth(1).and_then(|rest| rest.split('"').next()).unwrap();
        assert_eq!((line.matches('M').count(), line.matches('L').count()), (2, 1), "{line}");
        assert!(svg.contains("<title>open max: 5.00</title>"), "{svg}");
    }
}
