//! Servers that are gone, slow, going, or break a connection: the same tests as where openings go over links, over HTTP alone.

#[path = "faults.rs"]
mod faults;
