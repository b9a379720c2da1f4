//! Why the job leaves a database alone for a while.

const MINUTE_MS: i64 = 60_000;

/// Why a database is left alone for a while.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// No month is due.
    NotDue,
    /// It could not be used.
    Failed,
    /// Another worker seals it.
    Taken,
    /// Its transfers are not sound, which time does not change.
    Unsound,
}

impl Why {
    /// For how long, in milliseconds.
    pub fn rest_ms(self) -> i64 {
        match self {
            Why::NotDue | Why::Failed => 10 * MINUTE_MS,
            Why::Taken | Why::Unsound => 6 * 60 * MINUTE_MS,
        }
    }
}
