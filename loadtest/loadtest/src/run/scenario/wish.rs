//! What every scenario is given, and what its plan is put together from.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::outcome::Phase;
use crate::run::arrivals::Arrivals;
use crate::run::plan::PlannedEnvelope;

/// Visits that a plan may have; each takes 32 bytes.
pub const VISITS_MAX: usize = 20_000_000;
/// Envelopes that a plan may have.
pub const ENVELOPES_MAX: usize = 1_000_000;
/// What a share holds on average, in fen.
pub const SHARE_FEN_MEAN: i64 = 10;
/// Seconds until an envelope expires, where a scenario does not want it to.
pub const EXPIRES_IN_S: u32 = 3_600;

/// What every scenario is given.
#[derive(Clone, Debug)]
pub struct Wish {
    /// Openings a second at the full rate.
    pub rate: f64,
    /// How long the load lasts, in seconds.
    pub seconds: f64,
    /// How arrivals lie in time, where the scenario leaves that open.
    pub arrivals: Arrivals,
    pub shares_max: u32,
    /// The part of the openings that are sent twice at once, 0 to 1.
    pub doubles: f64,
    /// The part of the visits by clients that are slow.
    pub slow: f64,
    /// What makes one run differ from another.
    pub seed: u64,
    /// Where `replay` reads.
    pub file: Option<PathBuf>,
}

/// An envelope for everybody, sent ahead by user 0.
pub fn ahead(shares: u32) -> PlannedEnvelope {
    let total_fen = i64::from(shares) * SHARE_FEN_MEAN;
    PlannedEnvelope { sender: 0, shares, total_fen, group: None, expires_in_s: EXPIRES_IN_S, sent_ahead: true }
}

/// Parameters as a plan holds them.
pub fn named<const COUNT: usize>(parameters: [(&str, String); COUNT]) -> BTreeMap<String, String> {
    parameters.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Phases from their names and lengths.
pub fn phases(parts: &[(&str, f64)]) -> Vec<Phase> {
    let mut from_s = 0.0;
    let phase = |(name, length_s): &(&str, f64)| {
        let phase = Phase { name: (*name).to_owned(), from_s, to_s: from_s + length_s };
        from_s = phase.to_s;
        phase
    };
    parts.iter().map(phase).collect()
}
