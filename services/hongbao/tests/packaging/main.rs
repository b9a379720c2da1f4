//! What an installation is made of beside the binary: the units of systemd, man pages and completions, and
//! container files.

#[path = "../common/mod.rs"]
mod common;
mod containers;
mod generated;
mod units;
