//! The faults of the sandbox: which there are, and how one is chosen.

use std::fmt;
use std::str::FromStr;

use hongbao_core::Fen;
use serde::{Deserialize, Serialize};

/// The header by which a request asks for a fault, by its name.
pub const FAULT_HEADER: &str = "hongbao-sandbox-fault";

/// The first of the amounts that ask for a fault: an order whose last four digits are `9001` has the first one.
const FIRST_AMOUNT: i64 = 9_001;

/// Something that goes wrong on demand.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// The answer takes a while.
    Slow,
    /// It is done, and there is no answer.
    TimeoutDone,
    /// It is not done, and there is no answer.
    TimeoutNotDone,
    /// There is no answer, and it is done a while later, as if the network had kept the request.
    Delayed,
    /// It fails.
    Refusal,
    /// It is not done; the answer is 500.
    #[serde(rename = "error_500")]
    Error500,
    /// It is done, and the connection is cut half way through the answer.
    Cut,
    /// Its notification comes twice.
    Duplicate,
    /// It happens at once, and its notification comes before the answer.
    Early,
    /// It happens a day later, and cannot be closed meanwhile.
    Late,
    /// A notification from before it happened comes after that from afterwards.
    OutOfOrder,
    /// It fails, and a notification under another secret says that it happened.
    Forged,
    /// It happens with one fen more.
    WrongAmount,
    /// It happens with half of the amount.
    Partial,
    /// It is not done; the answer is 429 with `Retry-After`.
    RateLimited,
    /// From now on nothing is done for an hour; all answers are 503.
    Down,
    /// It happens, and comes back a while later: payouts alone.
    Returned,
    /// It does not happen by itself.
    Never,
}

impl Fault {
    /// All of them, in the order of their amounts.
    pub const ALL: [Fault; 18] = [
        Fault::Slow,
        Fault::TimeoutDone,
        Fault::TimeoutNotDone,
        Fault::Delayed,
        Fault::Refusal,
        Fault::Error500,
        Fault::Cut,
        Fault::Duplicate,
        Fault::Early,
        Fault::Late,
        Fault::OutOfOrder,
        Fault::Forged,
        Fault::WrongAmount,
        Fault::Partial,
        Fault::RateLimited,
        Fault::Down,
        Fault::Returned,
        Fault::Never,
    ];

    /// Its name, as in options and headers.
    pub const fn name(self) -> &'static str {
        match self {
            Fault::Slow => "slow",
            Fault::TimeoutDone => "timeout_done",
            Fault::TimeoutNotDone => "timeout_not_done",
            Fault::Delayed => "delayed",
            Fault::Refusal => "refusal",
            Fault::Error500 => "error_500",
            Fault::Cut => "cut",
            Fault::Duplicate => "duplicate",
            Fault::Early => "early",
            Fault::Late => "late",
            Fault::OutOfOrder => "out_of_order",
            Fault::Forged => "forged",
            Fault::WrongAmount => "wrong_amount",
            Fault::Partial => "partial",
            Fault::RateLimited => "rate_limited",
            Fault::Down => "down",
            Fault::Returned => "returned",
            Fault::Never => "never",
        }
    }

    /// The one that an amount asks for: amounts that end in 90.01 to 90.18 yuan do.
    pub fn of_amount(amount: Fen) -> Option<Fault> {
        let place = usize::try_from(amount.get() % 10_000 - FIRST_AMOUNT).ok()?;
        Fault::ALL.get(place).copied()
    }

    /// The least amount that asks for it.
    pub fn amount(self) -> Fen {
        let place = Fault::ALL.iter().position(|fault| *fault == self).unwrap_or_default();
        Fen::new(FIRST_AMOUNT + place as i64).unwrap_or_default()
    }

    /// Whether it concerns a request and not the order: it also meets requests about orders that are there.
    pub const fn is_of_request(self) -> bool {
        matches!(
            self,
            Fault::Slow
                | Fault::TimeoutDone
                | Fault::TimeoutNotDone
                | Fault::Delayed
                | Fault::Error500
                | Fault::Cut
                | Fault::RateLimited
                | Fault::Down
        )
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Fault, String> {
        let found = Fault::ALL.into_iter().find(|fault| fault.name() == text);
        found.ok_or_else(|| format!("{text:?} is no fault; there are {}", Fault::ALL.map(Fault::name).join(", ")))
    }
}

/// How often each fault happens by chance, of a thousand requests: `cut=5,late=2`, or `all=3`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Chances([u32; Fault::ALL.len()]);

impl Chances {
    /// The fault that a number below a thousand stands for.
    pub fn draw(&self, number: u32) -> Option<Fault> {
        let mut end = 0;
        self.0.iter().zip(Fault::ALL).find_map(|(chance, fault)| {
            end += chance;
            (number < end).then_some(fault)
        })
    }
}

impl FromStr for Chances {
    type Err = String;

    fn from_str(text: &str) -> Result<Chances, String> {
        let mut chances = Chances::default();
        for part in text.split(',').filter(|part| !part.is_empty()) {
            let (name, number) = part.split_once('=').ok_or_else(|| format!("{part:?} is not like cut=5"))?;
            let number: u32 = number.parse().map_err(|_| format!("{part:?}: {number:?} is not a number"))?;
            if number > 1_000 {
                return Err(format!("{part:?}: of a thousand requests"));
            }
            match name {
                "all" => chances.0 = [number; Fault::ALL.len()],
                _ => {
                    let fault: Fault = name.parse()?;
                    let place = Fault::ALL.iter().position(|known| *known == fault).unwrap_or_default();
                    chances.0[place] = number;
                }
            }
        }
        match chances.0.iter().sum::<u32>() {
            0..=1_000 => Ok(chances),
            more => Err(format!("{more} of a thousand requests cannot go wrong")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_fault_has_a_name_and_an_amount() {
        for fault in Fault::ALL {
            assert_eq!(fault.name().parse(), Ok(fault));
            assert_eq!(serde_json::to_string(&fault).unwrap(), format!("{:?}", fault.name()));
            assert_eq!(Fault::of_amount(fault.amount()), Some(fault));
            let larger = fault.amount().get() + 70_000;
            assert_eq!(Fault::of_amount(Fen::new(larger).unwrap()), Some(fault));
        }
        for none in [0, 1, 100, 9_000, 9_019, 19_000, 19_019] {
            assert_eq!(Fault::of_amount(Fen::new(none).unwrap()), None, "{none}");
        }
        assert!("cuts".parse::<Fault>().unwrap_err().contains("timeout_not_done"));
    }

    #[test]
    fn chances_are_of_a_thousand() {
        let chances: Chances = "cut=5,late=2".parse().unwrap();
        let drawn: Vec<_> = (0..1_000).filter_map(|number| chances.draw(number)).collect();
        assert_eq!(drawn.len(), 7);
        assert_eq!(drawn.iter().filter(|fault| **fault == Fault::Cut).count(), 5);
        let all: Chances = "all=1,down=0".parse().unwrap();
        assert_eq!((0..1_000).filter_map(|number| all.draw(number)).count(), Fault::ALL.len() - 1);
        for (text, reason) in [
            ("cut", "not like cut=5"),
            ("cuts=5", "is no fault"),
            ("cut=-1", "not a number"),
            ("cut=1001", "of a thousand"),
            ("all=100", "1800 of a thousand"),
        ] {
            assert!(text.parse::<Chances>().unwrap_err().contains(reason), "{text}");
        }
    }
}
