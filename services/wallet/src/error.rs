//! Why a call of the wallet failed.

use hongbao_database::DatabaseError;

/// Why a call failed. Refusals are [`TransferOutcome`]s; this is for what went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum WalletError {
    /// Too many calls wait: nothing was written.
    #[error("the wallet's queue is full")]
    Busy,
    /// Nothing was written.
    #[error("the wallet cannot be used: {0}")]
    Unavailable(String),
    /// It may have been written or not: asking again with the same id settles it.
    #[error("the wallet did not confirm the commit: {0}")]
    Unknown(String),
    /// A stored row makes no sense.
    #[error("a stored row of the wallet is damaged: {0}")]
    Damaged(String),
}

impl From<DatabaseError> for WalletError {
    fn from(error: DatabaseError) -> WalletError {
        match error {
            DatabaseError::Unavailable(reason) | DatabaseError::Locked(reason) => WalletError::Unavailable(reason),
            DatabaseError::Unknown(reason) => WalletError::Unknown(reason),
            DatabaseError::Damaged(reason) => WalletError::Damaged(reason),
        }
    }
}
