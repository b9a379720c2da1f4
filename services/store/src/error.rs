//! Why a verb of a store fails.

use hongbao_database::DatabaseError;
use hongbao_database::mysql::promise::Unkept;

/// Why a verb failed. Refusals are values; this is for what went wrong.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StoreError {
    /// Nothing of it was written: it may be tried again. The reason says what cannot be used, the database or the archive.
    #[error("it cannot be used: {0}")]
    Unavailable(String),
    /// Nothing of it was written: what it needs was in use for too long.
    #[error("it is in use: {0}")]
    Locked(String),
    /// An id of new envelopes is that of another one: nothing of it was written, and never will be.
    #[error("an envelope with this id exists")]
    Exists,
    /// The database does not accept the ids of new envelopes: by their time another one holds their slot. Nothing of
    /// it was written.
    #[error("the fence of the database does not accept this id")]
    NotHeld,
    /// It may have been written or not: only reading again tells.
    #[error("the database did not confirm the commit: {0}")]
    Unknown(String),
    /// This program cannot take it: it is too large, or of a later version. Nothing of it was written, and trying again
    /// does not help.
    #[error("it is not supported: {0}")]
    Unsupported(String),
    /// A stored row makes no sense: a defect or a damaged database.
    #[error("a stored row is damaged: {0}")]
    Damaged(String),
}

impl From<DatabaseError> for StoreError {
    fn from(error: DatabaseError) -> StoreError {
        match error {
            DatabaseError::Unavailable(reason) => StoreError::Unavailable(reason),
            DatabaseError::Locked(reason) => StoreError::Locked(reason),
            DatabaseError::Unknown(reason) => StoreError::Unknown(reason),
            DatabaseError::Damaged(reason) => StoreError::Damaged(reason),
        }
    }
}

impl From<Unkept> for StoreError {
    fn from(unkept: Unkept) -> StoreError {
        DatabaseError::from(unkept).into()
    }
}
