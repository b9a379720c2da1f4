//! What the store and the wallet have in common of their databases, and neither's
//! tables: connections that are watched, what an error means for a commit, barriers,
//! and migrations; over the MySQL protocol ([`mysql`]) and on SQLite ([`sqlite`]).

pub mod durable;
mod error;
pub mod mysql;
pub mod returns;
pub mod row;
pub mod sqlite;

pub use durable::{Barrier, Durable, Generations, Reading, durably};
pub use error::DatabaseError;
pub use row::StoredRow;

/// What a commit of a database is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Durability {
    /// The settings in force, as text, as read back from the database.
    pub settings: String,
    /// A commit that has returned survives a loss of power (I3).
    pub full: bool,
}
