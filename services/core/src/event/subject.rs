//! What events are about.

use crate::id::EnvelopeId;
use crate::order::OrderId;

/// What an event is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Subject {
    /// An envelope.
    Envelope(EnvelopeId),
    /// An order at the provider.
    Order(OrderId),
}

impl Subject {
    /// The 16 bytes of its id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        match self {
            Subject::Envelope(id) => id.as_bytes(),
            Subject::Order(id) => id.as_bytes(),
        }
    }
}

/// What is counted apart within a subject: within each, events have a rising `seq`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Series {
    /// The payment, which is 0, and the journal's entries.
    Journal,
    /// That an envelope expires soon.
    Timer,
    /// What became of an order.
    Order,
}

impl Series {
    const CODES: [(Series, i64); 3] = [(Series::Journal, 1), (Series::Timer, 2), (Series::Order, 3)];

    /// The number that it is stored as. It must never change.
    pub fn code(self) -> i64 {
        Series::CODES.iter().find(|(series, _)| *series == self).expect("all of them are listed").1
    }

    /// Reads that number.
    pub fn of_code(code: i64) -> Option<Series> {
        Series::CODES.iter().find(|(_, known)| *known == code).map(|(series, _)| *series)
    }
}
