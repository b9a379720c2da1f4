//! The store on SQLite: the embedded default.
//!
//! One file a database, `db_00.sqlite` and so on in one folder. Each file has
//! one writer in this process, and SQLite's lock between processes; readers see
//! one moment each and never wait.

mod creation;
mod crediting;
mod exporting;
mod journals;
mod maintenance;
mod migrate;
mod query;
mod rotation;
mod rows;
mod scans;
mod sealing;
mod statements;
mod store;
mod transaction;

#[cfg(test)]
mod tests;

pub use self::store::{SqliteStore, file_name};
