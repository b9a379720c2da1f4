//! Money is an integer number of fen (1/100 yuan) and never a float.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A non-negative amount of money in fen.
///
/// Arithmetic is checked: what would overflow or go below zero is `None`, so
/// that a wrong amount cannot come to be by accident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "i64", into = "i64")]
pub struct Fen(i64);

impl Fen {
    /// No money.
    pub const ZERO: Fen = Fen(0);

    /// An amount in fen; `None` if it is negative.
    pub const fn new(fen: i64) -> Option<Fen> {
        if fen < 0 { None } else { Some(Fen(fen)) }
    }

    /// The amount in fen.
    pub const fn get(self) -> i64 {
        self.0
    }

    /// True for no money at all.
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// The sum; `None` if it does not fit.
    pub const fn checked_add(self, other: Fen) -> Option<Fen> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Fen(sum)),
            None => None,
        }
    }

    /// The difference; `None` if it would be negative.
    pub const fn checked_sub(self, other: Fen) -> Option<Fen> {
        if other.0 > self.0 { None } else { Some(Fen(self.0 - other.0)) }
    }
}

impl TryFrom<i64> for Fen {
    type Error = &'static str;

    fn try_from(fen: i64) -> Result<Fen, Self::Error> {
        Fen::new(fen).ok_or("an amount cannot be negative")
    }
}

impl From<Fen> for i64 {
    fn from(fen: Fen) -> i64 {
        fen.0
    }
}

/// Yuan with two decimals, for people: `12.34`.
impl fmt::Display for Fen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:02}", self.0 / 100, self.0 % 100)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_amount_is_never_negative_and_never_wraps() {
        assert_eq!(Fen::new(-1), None);
        assert_eq!(Fen(i64::MAX).checked_add(Fen(1)), None);
        assert_eq!(Fen(1).checked_sub(Fen(2)), None);
        assert_eq!(Fen(3).checked_sub(Fen(2)), Some(Fen(1)));
        assert_eq!(serde_json::from_str::<Fen>("-5").ok(), None);
    }

    #[test]
    fn people_read_yuan() {
        assert_eq!(Fen(10_000).to_string(), "100.00");
        assert_eq!(Fen(5).to_string(), "0.05");
    }
}
