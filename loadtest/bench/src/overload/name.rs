//! The workloads of `overload`.

use clap::ValueEnum;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// Everybody opens the same envelope
    Hot,
    /// Openings of 10,000 envelopes
    Spread,
    /// Grabs on one envelope with something to open
    Grab,
}
