//! A number of the topology file.

use serde::{Deserialize, Serialize};

use crate::limits::DECIMAL_MAX;

const MILLIONTHS: u32 = 1_000_000;

/// A number from 0 to [`DECIMAL_MAX`], to six decimals. It is kept in millionths, so that sums
/// and comparisons are exact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Decimal(u64);

impl Decimal {
    /// Zero.
    pub const ZERO: Decimal = Decimal(0);
    /// One.
    pub const ONE: Decimal = Decimal(MILLIONTHS as u64);

    /// In millionths.
    pub const fn millionths(self) -> u64 {
        self.0
    }
}

impl From<u32> for Decimal {
    fn from(whole: u32) -> Decimal {
        Decimal(u64::from(whole) * u64::from(MILLIONTHS))
    }
}

impl TryFrom<f64> for Decimal {
    type Error = String;

    fn try_from(number: f64) -> Result<Decimal, String> {
        let millionths = (number * f64::from(MILLIONTHS)).round();
        // What would become zero, and so drain a SET, was not meant so. A NaN lies in no range.
        let is_kept = millionths > 0.0 || number == 0.0;
        if !(0.0..=f64::from(DECIMAL_MAX)).contains(&number) || !is_kept {
            return Err(format!("{number} is not a number from 0 to {DECIMAL_MAX} with six decimals at most"));
        }
        Ok(Decimal(millionths as u64))
    }
}

impl From<Decimal> for f64 {
    fn from(Decimal(millionths): Decimal) -> f64 {
        millionths as f64 / f64::from(MILLIONTHS)
    }
}

impl std::fmt::Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f64::from(*self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_kept_to_the_millionth_and_what_is_none_is_refused() {
        for (number, millionths) in [(0.0, 0), (-0.0, 0), (1.0, 1_000_000), (0.01, 10_000), (0.000_001, 1)] {
            let decimal = Decimal::try_from(number).unwrap();
            assert_eq!((decimal.millionths(), f64::from(decimal)), (millionths, number));
        }
        assert_eq!(Decimal::from(33), Decimal::try_from(33.0).unwrap());
        let above = f64::from(DECIMAL_MAX) + 1.0;
        for number in [-0.5, -1.0, 1e-9, above, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
            assert!(Decimal::try_from(number).unwrap_err().contains("is not a number from 0 to"), "{number}");
        }
    }
}
