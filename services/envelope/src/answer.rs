//! How an opening ends, with a lane and without one.

use hongbao_core::Opened;
use hongbao_core::envelope::OpenDecision;
use hongbao_store::StoreError;

/// How an opening ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OpenAnswer {
    /// The user has this share, durably.
    Opened {
        /// The share.
        opened: Opened,
        /// It had been opened before.
        replayed: bool,
    },
    /// Every share was opened by others.
    Empty,
    /// Too late.
    Expired,
    /// There is nothing to open under this id.
    NotFound,
    /// Refused for now; nothing happened.
    Busy,
    /// The database cannot be used; nothing happened. With the cause.
    Unavailable(String),
    /// It may have happened or not; asking again settles it. With the cause.
    Unknown(String),
}

/// The answer that a decision comes to, once what it appends is durable.
pub(crate) fn answer_to(decision: OpenDecision) -> OpenAnswer {
    match decision {
        OpenDecision::Append(entry) => OpenAnswer::Opened {
            opened: Opened { seq: entry.seq, amount: entry.amount, at: entry.at },
            replayed: false,
        },
        OpenDecision::Replay(opened) => OpenAnswer::Opened { opened, replayed: true },
        OpenDecision::Empty => OpenAnswer::Empty,
        OpenDecision::Expired => OpenAnswer::Expired,
        OpenDecision::NotActive => OpenAnswer::NotFound,
    }
}

/// The answer to an opening that is not tried again.
pub(crate) fn exhausted(in_doubt: bool) -> OpenAnswer {
    if in_doubt { OpenAnswer::Unknown("no commit was confirmed in time".to_owned()) } else { OpenAnswer::Busy }
}

/// The answer to an opening that could not be read or written.
pub(crate) fn failed(error: &StoreError, in_doubt: bool) -> OpenAnswer {
    if matches!(error, StoreError::Locked(_)) {
        return exhausted(in_doubt);
    }
    let cause = error.to_string();
    // A reading that was not confirmed to be durable may have shown the user's own opening.
    if in_doubt || matches!(error, StoreError::Unknown(_)) {
        OpenAnswer::Unknown(cause)
    } else {
        OpenAnswer::Unavailable(cause)
    }
}

/// The answer after earlier attempts, of which one may have been committed.
pub(crate) fn settled(answer: OpenAnswer, in_doubt: bool) -> OpenAnswer {
    match answer {
        // One of them may have written what this one had no room for.
        OpenAnswer::Busy => exhausted(in_doubt),
        OpenAnswer::Unavailable(cause) if in_doubt => OpenAnswer::Unknown(cause),
        answer => answer,
    }
}
