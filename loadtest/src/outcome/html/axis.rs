//! An axis of values: where each stands, and which are written beside it.

use super::super::number;

/// Labels of a linear axis, about.
const TICKS: f64 = 5.0;
/// A logarithmic axis reaches back at most so many powers of ten.
const DECADES_MAX: i32 = 7;

/// From where to where an axis goes.
pub enum Axis {
    Linear {
        high: f64,
        step: f64,
    },
    /// Powers of ten.
    Logarithmic {
        low: i32,
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

    /// From a power of ten at or below the lowest value to one at or above the highest.
    pub fn logarithmic(lowest: f64, highest: f64) -> Axis {
        if highest.is_nan() || highest <= 0.0 || !lowest.is_finite() {
            return Axis::Logarithmic { low: 0, high: 1 };
        }
        let high = highest.log10().ceil() as i32;
        let low = (lowest.log10().floor() as i32).clamp(high - DECADES_MAX, high - 1);
        Axis::Logarithmic { low, high }
    }

    /// Where a value stands, from 0 at the foot to 1 at the top.
    pub fn share(&self, value: f64) -> f64 {
        match *self {
            Axis::Linear { high, .. } => (value / high).clamp(0.0, 1.0),
            Axis::Logarithmic { low, high } if value > 0.0 => {
                ((value.log10() - f64::from(low)) / f64::from(high - low)).clamp(0.0, 1.0)
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
                // Few powers leave room for numbers between them.
                let between: &[f64] = if high - low <= 3 { &[1.0, 2.0, 5.0] } else { &[1.0] };
                let top = 10f64.powi(high);
                (low..=high)
                    .flat_map(|power| between.iter().map(move |factor| factor * 10f64.powi(power)))
                    .filter(|value| *value <= top * 1.000_001)
                    .collect()
            }
        };
        values.into_iter().map(|value| (value, number::tick(value))).collect()
    }
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
    fn a_logarithmic_axis_goes_from_power_to_power() {
        let axis = Axis::logarithmic(0.3, 42.0);
        assert_eq!(texts(&axis), ["0.1", "0.2", "0.5", "1", "2", "5", "10", "20", "50", "100"]);
        assert!((axis.share(1.0) - 1.0 / 3.0).abs() < 1e-9);
        assert_eq!(texts(&Axis::logarithmic(0.01, 2_000.0)), ["0.01", "0.1", "1", "10", "100", "1k", "10k"]);
        assert_eq!(texts(&Axis::logarithmic(f64::INFINITY, 0.0)), ["1", "2", "5", "10"]);
        assert_eq!(texts(&Axis::logarithmic(10.0, 10.0)), ["1", "2", "5", "10"]);
    }
}
