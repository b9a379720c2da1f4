//! An axis of values: where each stands, and which are written beside it.

use crate::number;

/// Labels of a linear axis, about.
const TICKS: f64 = 5.0;
/// A logarithmic axis has at most so many marks, of which there are three for each power of ten.
const MARKS_MAX: i32 = 21;
/// Up to so many marks each is named.
const MARKS_NAMED_MAX: i32 = 12;

/// From where to where an axis goes.
pub enum Axis {
    /// From zero.
    Linear {
        /// Where it ends.
        high: f64,
        /// From one label to the next.
        step: f64,
    },
    /// Between two marks: 1, 2, 5, 10, 20 are places 0 to 4.
    Logarithmic {
        /// The first mark.
        low: i32,
        /// The last.
        high: i32,
    },
}

impl Axis {
    /// From zero to a round number at or above the highest value.
    pub fn linear(highest: f64) -> Axis {
        if highest.is_nan() || highest <= 0.0 {
            return Axis::Linear { high: 1.0, step: 1.0 };
        }
        let rough = highest / TICKS;
        let power = 10f64.powf(rough.log10().floor());
        let step = [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|factor| factor * power).find(|step| *step >= rough);
        let step = step.unwrap_or(10.0 * power);
        Axis::Linear { high: (highest / step).ceil() * step, step }
    }

    /// From a number such as 1, 2, 5, 10 at or below the lowest value to one at or above the highest.
    pub fn logarithmic(lowest: f64, highest: f64) -> Axis {
        if highest.is_nan() || highest <= 0.0 || !lowest.is_finite() {
            return Axis::Logarithmic { low: 0, high: 3 };
        }
        // What stands on a mark is not to be moved beyond it by the last digit.
        let high = (-60..60).find(|place| mark(*place) * 1.000_001 >= highest).unwrap_or(60);
        let low = (-60..high).rev().find(|place| mark(*place) <= lowest * 1.000_001).unwrap_or(-60);
        Axis::Logarithmic { low: low.max(high - MARKS_MAX), high }
    }

    /// Where a value stands, from 0 at the foot to 1 at the top.
    pub fn share(&self, value: f64) -> f64 {
        match *self {
            Axis::Linear { high, .. } => (value / high).clamp(0.0, 1.0),
            Axis::Logarithmic { low, high } if value > 0.0 => {
                ((value / mark(low)).ln() / (mark(high) / mark(low)).ln()).clamp(0.0, 1.0)
            }
            Axis::Logarithmic { .. } => 0.0,
        }
    }

    /// The values that are written, with their text.
    pub fn ticks(&self) -> Vec<(f64, String)> {
        let values: Vec<f64> = match *self {
            Axis::Linear { high, step } => {
                (0..=(high / step).round() as u32).map(|place| f64::from(place) * step).collect()
            }
            Axis::Logarithmic { low, high } => {
                // Few marks leave room to name them all; of many, the powers of ten.
                let all = high - low <= MARKS_NAMED_MAX;
                (low..=high).filter(|place| all || place.rem_euclid(3) == 0).map(mark).collect()
            }
        };
        values.into_iter().map(|value| (value, number::tick(value))).collect()
    }
}

/// The marks of a logarithmic axis: 1, 2, 5, 10, 20 from place 0 on, 0.5 and 0.2 before it.
fn mark(place: i32) -> f64 {
    [1.0, 2.0, 5.0][place.rem_euclid(3) as usize] * 10f64.powi(place.div_euclid(3))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(axis: &Axis) -> Vec<String> {
        axis.ticks().into_iter().map(|(_, text)| text).collect()
    }

    #[test]
    fn a_linear_axis_has_round_numbers_and_room_for_the_highest() {
        assert_eq!(texts(&Axis::linear(2_345.0)), ["0", "500", "1k", "1.5k", "2k", "2.5k"]);
        assert_eq!(texts(&Axis::linear(0.0)), ["0", "1"]);
        assert_eq!(Axis::linear(100.0).share(100.0), 1.0);
        assert_eq!(Axis::linear(100.0).share(25.0), 0.25);
    }

    #[test]
    fn a_logarithmic_axis_goes_from_mark_to_mark() {
        let axis = Axis::logarithmic(0.3, 42.0);
        assert_eq!(texts(&axis), ["0.2", "0.5", "1", "2", "5", "10", "20", "50"]);
        assert_eq!((axis.share(0.2), axis.share(50.0), axis.share(0.0)), (0.0, 1.0, 0.0));
        assert!((Axis::logarithmic(1.0, 100.0).share(10.0) - 0.5).abs() < 1e-9);
        assert_eq!(texts(&Axis::logarithmic(0.01, 2_000.0)), ["0.01", "0.1", "1", "10", "100", "1k"]);
        assert_eq!(texts(&Axis::logarithmic(1e-9, 1.0)).len(), 8, "it does not reach back without end");
        assert_eq!(texts(&Axis::logarithmic(f64::INFINITY, 0.0)), ["1", "2", "5", "10"]);
        assert_eq!(texts(&Axis::logarithmic(10.0, 10.0)), ["5", "10"]);
    }
}
