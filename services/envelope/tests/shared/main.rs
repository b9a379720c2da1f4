//! What the servers of a SET show each other through a real Redis.

mod common;
mod faults;
mod takeover;
mod tls;
