//! Bills: what a provider says has happened on a day. One that is not whole and in order is refused, with its line.

pub mod plain;

use std::collections::HashMap;

use hongbao_core::Timestamp;
use hongbao_core::date::Date;
use hongbao_core::order::OrderKind;

/// What a line is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BillKind {
    /// A user paid us.
    Charge,
    /// A user was paid.
    Payout,
    /// A charge went back.
    Refund,
    /// A payout came back.
    Return,
}

impl BillKind {
    /// All of them.
    pub const ALL: [BillKind; 4] = [BillKind::Charge, BillKind::Payout, BillKind::Refund, BillKind::Return];

    /// What an order of this kind is on a bill.
    pub const fn of(kind: OrderKind) -> BillKind {
        match kind {
            OrderKind::Charge => BillKind::Charge,
            OrderKind::Payout => BillKind::Payout,
            OrderKind::Refund => BillKind::Refund,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            BillKind::Charge => "charge",
            BillKind::Payout => "payout",
            BillKind::Refund => "refund",
            BillKind::Return => "return",
        }
    }

    fn parse(text: &str) -> Option<BillKind> {
        BillKind::ALL.into_iter().find(|kind| kind.name() == text)
    }
}

/// A line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BillLine {
    /// The number of the order, as the bill says it: not all numbers need be ours.
    pub number: String,
    /// What happened.
    pub kind: BillKind,
    /// How much was moved, in fen.
    pub amount_fen: i64,
    /// When.
    pub at: Timestamp,
    /// What the provider calls it.
    pub reference: String,
}

/// A bill that is whole and in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bill {
    /// The day.
    pub date: Date,
    /// What happened on it.
    pub lines: Vec<BillLine>,
}

/// Why a bill is not taken. Lines are counted from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadBill {
    /// It does not begin like a bill.
    #[error("line 1: this is no bill: it does not begin with its columns")]
    NoBill,
    /// Its end is missing.
    #[error("line {line}: the bill is cut off: its totals are missing or not whole")]
    CutOff {
        /// The last line.
        line: usize,
    },
    /// There is more after its end.
    #[error("line {line}: the bill goes on after its totals")]
    GoesOn {
        /// The line.
        line: usize,
    },
    /// A field cannot be read.
    #[error("line {line}: {field} cannot be read: {value:?}")]
    Field {
        /// The line.
        line: usize,
        /// The column.
        field: &'static str,
        /// What stands there.
        value: String,
    },
    /// A line has more or fewer fields.
    #[error("line {line}: {found} fields instead of {wanted}")]
    Fields {
        /// The line.
        line: usize,
        /// So many.
        found: usize,
        /// Instead of so many.
        wanted: usize,
    },
    /// A total is not the sum of the lines.
    #[error("line {line}: {what} is said to be {said}, and is {is}")]
    WrongTotal {
        /// The line.
        line: usize,
        /// Which total.
        what: String,
        /// What the bill says.
        said: i64,
        /// What its lines come to.
        is: i64,
    },
    /// An amount is in another currency.
    #[error("line {line}: the currency is {currency:?}, and not CNY")]
    ForeignCurrency {
        /// The line.
        line: usize,
        /// The currency.
        currency: String,
    },
    /// Two lines say the same.
    #[error("line {line}: number {number} stands on line {first} already")]
    Duplicate {
        /// The line.
        line: usize,
        /// The other line.
        first: usize,
        /// The number.
        number: String,
    },
    /// It is of another day, or has something of another day in it.
    #[error("line {line}: this is of {found}, and not of {wanted}")]
    WrongDay {
        /// The line.
        line: usize,
        /// The day that it is of.
        found: String,
        /// The day that was asked for.
        wanted: String,
    },
}

/// What a bill is checked against.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The day that was asked for.
    pub date: Date,
    /// Offset from UTC, in seconds, of the provider's days.
    pub zone_offset_s: i32,
}

/// The lines so far, with what must hold among them.
struct Lines {
    expected: Expected,
    lines: Vec<BillLine>,
    places: HashMap<(String, BillKind), usize>,
}

impl Lines {
    fn new(expected: Expected) -> Lines {
        Lines { expected, lines: Vec::new(), places: HashMap::new() }
    }

    /// Takes a line, with where it stands and what makes it another one than those of its kind.
    fn take(&mut self, place: usize, key: &str, line: BillLine) -> Result<(), BadBill> {
        if let Some(first) = self.places.insert((key.to_owned(), line.kind), place) {
            return Err(BadBill::Duplicate { line: place, first, number: line.number });
        }
        self.is_of_day(place, Date::of(line.at, self.expected.zone_offset_s))?;
        self.lines.push(line);
        Ok(())
    }

    fn is_of_day(&self, line: usize, date: Date) -> Result<(), BadBill> {
        let wanted = self.expected.date;
        if date == wanted {
            return Ok(());
        }
        Err(BadBill::WrongDay { line, found: date.to_string(), wanted: wanted.to_string() })
    }

    /// How many there are of a kind, and what they come to.
    fn sums(&self, kind: BillKind) -> (i64, i64) {
        let of_kind = self.lines.iter().filter(|line| line.kind == kind);
        of_kind.fold((0, 0), |(count, sum): (i64, i64), line| (count + 1, sum.saturating_add(line.amount_fen)))
    }
}

fn field<T>(line: usize, field: &'static str, value: &str, parsed: Option<T>) -> Result<T, BadBill> {
    parsed.ok_or_else(|| BadBill::Field { line, field, value: crate::connect::shortened(value) })
}

/// An amount of at least one fen: digits alone.
fn fen_of(text: &str) -> Option<i64> {
    let is_digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    text.parse().ok().filter(|_| is_digits)
}
