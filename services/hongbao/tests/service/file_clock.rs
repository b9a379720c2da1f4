//! Clocks of real processes, databases included, that a test sets while they run.

use std::path::PathBuf;

use crate::support::Folder;

/// A clock that processes read from a file: how far it is ahead of the machine's.
pub struct FileClock(PathBuf);

impl FileClock {
    /// One that shows what the machine's does.
    pub fn new(folder: &Folder, name: &str) -> FileClock {
        let clock = FileClock(folder.path(name));
        clock.set(0);
        clock
    }

    /// Sets it so far ahead of the machine's. Processes take it over within a second.
    pub fn set(&self, ahead_ms: i64) {
        let next = self.0.with_extension("next");
        std::fs::write(&next, format!("{:+.3}\n", ahead_ms as f64 / 1_000.0)).unwrap();
        std::fs::rename(next, &self.0).unwrap();
    }

    /// What a process has to have in its environment.
    pub fn environment(&self) -> Vec<(String, String)> {
        [
            ("LD_PRELOAD", "/usr/$LIB/faketime/libfaketime.so.1"),
            ("FAKETIME_TIMESTAMP_FILE", self.0.to_str().unwrap()),
            ("FAKETIME_CACHE_DURATION", "1"),
            ("FAKETIME_DONT_FAKE_MONOTONIC", "1"),
            ("DONT_FAKE_MONOTONIC", "1"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec()
    }
}
