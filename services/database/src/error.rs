//! What went wrong, by what it means for what was to be written.

/// Why a database did not do what it was asked for.
#[derive(Clone, Debug, thiserror::Error)]
pub enum DatabaseError {
    /// Nothing of it was written: it may be tried again.
    #[error("the database cannot be used: {0}")]
    Unavailable(String),
    /// Nothing of it was written: another transaction holds what it needs for too long.
    #[error("another transaction holds it: {0}")]
    Locked(String),
    /// It may have been written or not: only reading again tells.
    #[error("the database did not confirm the commit: {0}")]
    Unknown(String),
    /// A stored row makes no sense: a defect or a damaged database.
    #[error("a stored row is damaged: {0}")]
    Damaged(String),
}
