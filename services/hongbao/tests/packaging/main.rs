//! What an installation is made of beside the binary: the units of systemd, man pages and completions.

#[path = "../common/mod.rs"]
mod common;
mod generated;
mod units;
