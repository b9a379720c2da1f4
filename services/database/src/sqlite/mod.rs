//! SQLite: one file a database, with one writer in this process and SQLite's lock
//! between processes; readers see one moment each and wait for nobody.

pub mod copy;
pub mod failure;
pub mod file;
pub mod mark;

mod row;
mod seen;
mod tables;
mod watch;
