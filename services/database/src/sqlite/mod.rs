//! SQLite: one file a database, with one writer in this process and SQLite's lock
//! between processes; each reader has a snapshot and waits for no writer.

pub mod copy;
pub mod failure;
pub mod file;
pub mod mark;

mod row;
mod seen;
mod tables;
mod watch;
