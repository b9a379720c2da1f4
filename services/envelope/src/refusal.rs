//! Why a verb did not do what was asked.

use hongbao_core::field::FieldError;
use hongbao_core::limits::{ID_AHEAD_MS_MAX, ID_AHEAD_RETRY_S_MAX};
use hongbao_core::{EnvelopeId, Timestamp, UserLimit};
use hongbao_database::DatabaseError;
use hongbao_http::problem::NO_SUCH_ENVELOPE;
use hongbao_http::{Code, Problem};
use hongbao_store::StoreError;
use hongbao_wallet::WalletError;

/// Why a verb did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// A field of the request is wrong.
    #[error(transparent)]
    Invalid(#[from] FieldError),
    /// The slot of the id is another SET's.
    #[error("this envelope belongs to another SET")]
    Misdirected,
    /// An id is not of our time, by so many milliseconds after it or, below
    /// zero, before it: the clock of who minted it is wrong, or ours is. Whether
    /// there is such an envelope is not known yet.
    #[error("the envelope's id is dated {:.1} s ahead of this server's clock; nothing happened, try again", *.0 as f64 / 1_000.0)]
    ClocksApart(i64),
    /// The id of a new envelope is that of another one.
    #[error("there is another envelope with this id")]
    IdTaken,
    /// The key of the request stands for this id, which another SET holds.
    #[error("the key of this request stands for an envelope of another SET")]
    HeldElsewhere(EnvelopeId),
    /// The key was used with another body.
    #[error("this `Idempotency-Key` was used with another body")]
    KeyConflict,
    /// There is nothing under this id for this caller.
    #[error("{NO_SUCH_ENVELOPE}")]
    NotFound,
    /// Only the sender may pay.
    #[error("only its sender can pay for an envelope")]
    NotSender,
    /// Not of its audience.
    #[error("you are not invited to this envelope")]
    NotInvited,
    /// The ticket is not for this user and envelope, or it has expired.
    #[error("the ticket is not valid for you and this envelope, or it has expired: grab again")]
    TicketInvalid,
    /// The balance does not cover it.
    #[error("your balance does not cover this envelope")]
    InsufficientFunds,
    /// There is no provider.
    #[error("there is no payment provider here")]
    NoProvider,
    /// An operator has frozen the caller.
    #[error("your balance is frozen: no money goes out of it, and nothing is opened")]
    Frozen,
    /// A limit of the caller would be exceeded.
    #[error("{}", exceeded(*limit, *resets_at))]
    LimitExceeded {
        /// The limit.
        limit: UserLimit,
        /// When it leaves room again; `None` where it never does.
        resets_at: Option<Timestamp>,
    },
    /// It was not paid in time.
    #[error("the envelope was not paid in time and is cancelled")]
    Cancelled,
    /// Too much is waiting; nothing happened.
    #[error("too many are waiting; nothing happened, try again")]
    Busy,
    /// A database cannot be used; nothing happened. The cause is for the log.
    #[error("the service cannot reach its data; nothing happened, try again")]
    Unavailable(String),
    /// It may have happened or not. The cause is for the log.
    #[error("it may have happened or not; ask again, the answer will be final")]
    Unknown(String),
    /// An envelope may have been made under an id that its sender does not know. The cause is for the log.
    #[error(
        "an envelope may have been made or not, which moved no money; asking again makes another one: with an \
         `Idempotency-Key` it would be the same"
    )]
    PerhapsMade(String),
    /// A charge or a payout may have been made under an id that its user does not know. The cause is for the log.
    #[error(
        "it may have been made or not: look at the list before you ask again, which makes another one; with an \
         `Idempotency-Key` it would be the same"
    )]
    PerhapsOrdered(String),
    /// A defect of ours. The cause is for the log.
    #[error("the service failed; the request id finds it in the log")]
    Internal(String),
}

impl Refusal {
    /// The refusal of a verb that only reads: it has no outcome that could be unknown.
    pub(crate) fn of_reading(self) -> Refusal {
        match self {
            Refusal::Unknown(cause) => Refusal::Unavailable(cause),
            other => other,
        }
    }

    /// The refusal of a request that cannot be repeated: its outcome stays unknown.
    pub(crate) fn of_making_without_a_key(self) -> Refusal {
        match self {
            Refusal::Unknown(cause) => Refusal::PerhapsMade(cause),
            other => other,
        }
    }

    /// The same for a charge or a payout, whose money moves.
    pub(crate) fn of_ordering_without_a_key(self) -> Refusal {
        match self {
            Refusal::Unknown(cause) => Refusal::PerhapsOrdered(cause),
            other => other,
        }
    }

    /// The refusal of what comes after money has moved: no longer did nothing happen.
    pub(crate) fn after_a_transfer(self) -> Refusal {
        match self {
            Refusal::Unavailable(cause) => Refusal::Unknown(format!("money has moved, then {cause}")),
            Refusal::Busy => Refusal::Unknown("money has moved, then too many were waiting".to_owned()),
            other => other,
        }
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        let cause = error.to_string();
        match error {
            StoreError::Locked(_) => Refusal::Busy,
            StoreError::Unavailable(_) | StoreError::Unsupported(_) => Refusal::Unavailable(cause),
            StoreError::Exists => Refusal::IdTaken,
            StoreError::NotHeld => Refusal::Misdirected,
            StoreError::Unknown(_) => Refusal::Unknown(cause),
            StoreError::Damaged(_) => Refusal::Internal(cause),
        }
    }
}

impl From<DatabaseError> for Refusal {
    fn from(error: DatabaseError) -> Refusal {
        StoreError::from(error).into()
    }
}

impl From<WalletError> for Refusal {
    fn from(error: WalletError) -> Refusal {
        let cause = error.to_string();
        match error {
            WalletError::Busy => Refusal::Busy,
            WalletError::Unavailable(_) => Refusal::Unavailable(cause),
            WalletError::Unknown(_) => Refusal::Unknown(cause),
            WalletError::Damaged(_) => Refusal::Internal(cause),
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let detail = refusal.to_string();
        let code = match refusal {
            Refusal::Invalid(error) => return error.into(),
            Refusal::Misdirected | Refusal::HeldElsewhere(_) => Code::Misdirected,
            Refusal::ClocksApart(ahead_ms) => {
                return Problem::new(Code::Unavailable, detail).retry_after_s(known_after_s(ahead_ms));
            }
            Refusal::IdTaken => Code::IdConflict,
            Refusal::KeyConflict => Code::IdempotencyConflict,
            Refusal::NotFound | Refusal::NoProvider => Code::NotFound,
            Refusal::NotSender => Code::NotSender,
            Refusal::NotInvited => Code::NotInvited,
            Refusal::TicketInvalid => Code::TicketInvalid,
            Refusal::Frozen => Code::Frozen,
            Refusal::InsufficientFunds => Code::InsufficientFunds,
            Refusal::LimitExceeded { limit, resets_at } => return Problem::limit_exceeded(limit, resets_at, detail),
            Refusal::Cancelled => Code::Cancelled,
            Refusal::Busy => Code::Busy,
            Refusal::Unavailable(cause) => return Problem::new(Code::Unavailable, detail).caused_by(cause),
            Refusal::Unknown(cause) | Refusal::PerhapsMade(cause) | Refusal::PerhapsOrdered(cause) => {
                return Problem::new(Code::OutcomeUnknown, detail).caused_by(cause);
            }
            Refusal::Internal(cause) => return Problem::new(Code::Internal, detail).caused_by(cause),
        };
        Problem::new(code, detail)
    }
}

fn exceeded(limit: UserLimit, resets_at: Option<Timestamp>) -> String {
    match resets_at {
        Some(resets_at) => format!("your limit `{}` leaves no room for this until {resets_at}", limit.as_str()),
        None => format!("this is more than your limit `{}`", limit.as_str()),
    }
}

/// Seconds until an id so far ahead of the clock will be known or not, within reason: the clock may be set right
/// before.
fn known_after_s(ahead_ms: i64) -> u32 {
    let seconds = ahead_ms.saturating_sub(ID_AHEAD_MS_MAX).max(0) / 1_000 + 1;
    u32::try_from(seconds).unwrap_or(u32::MAX).min(ID_AHEAD_RETRY_S_MAX)
}
