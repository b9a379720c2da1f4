//! The options that several commands have in common.

use std::path::PathBuf;
use std::time::Duration;

use crate::measure::WARM_UP;

/// What is measured, for how long, and where its data lies.
#[derive(clap::Args)]
pub struct Common {
    /// The `hongbao` binary, a release build
    #[arg(long)]
    pub server: PathBuf,
    /// Seconds that each run is measured for
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=60))]
    pub seconds: u64,
    /// Where the service keeps its data; on a real disk, and deleted afterwards
    #[arg(long, default_value = "target/bench-data")]
    pub data: PathBuf,
}

impl Common {
    /// How long each run is measured for.
    pub fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// How long the requests of a run must last, in seconds.
    pub fn load_s(&self) -> f64 {
        (self.time() + WARM_UP).as_secs_f64()
    }
}
