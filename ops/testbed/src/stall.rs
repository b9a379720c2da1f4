//! A log that stops answering, as on a disk that has failed: `ops/stall/log_stall.c`
//! preloaded into a database, and a file that says when.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::folder::own_dir;
use crate::install::ops_dir;

/// While it exists in a part's folder, its log waits.
const FLAG: &str = "stall";
/// Made in a part's folder by the first write that has to wait.
const SEEN: &str = "stall-seen";
/// How long a write may take to arrive that is sure to come.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// What a MariaDB gets whose log is to stall. Its thread that keeps statistics of
/// tables commits too, and while that commit waits it holds what every opening of
/// a table needs: then no session could read what is not durable, now and then.
pub(crate) const OPTIONS: &[&str] = &["--innodb-stats-persistent=0"];

/// A log that stalls until this is dropped. It names a file and borrows no part,
/// so the part may be killed meanwhile; drop it before a restart, which writes
/// the log.
#[derive(Debug)]
pub struct LogStall {
    flag: PathBuf,
    seen: PathBuf,
}

impl LogStall {
    /// Begins in the folder of a server that was started with [`environment`].
    pub(crate) fn begin(dir: &Path) -> LogStall {
        let stall = LogStall { flag: dir.join(FLAG), seen: dir.join(SEEN) };
        std::fs::write(&stall.flag, []).expect("a part's folder can be written");
        stall
    }

    /// Whether something waits for the log.
    pub fn holds_somebody(&self) -> bool {
        self.seen.exists()
    }

    /// Waits until something waits for the log.
    pub fn wait_until_it_holds_somebody(&self) {
        let until = Instant::now() + SEEN_WITHIN;
        while !self.holds_somebody() {
            assert!(Instant::now() < until, "the log was not written within {SEEN_WITHIN:?}");
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for LogStall {
    fn drop(&mut self) {
        for file in [&self.flag, &self.seen] {
            // The second one is there only if something has waited; the folder may be gone.
            let _ = std::fs::remove_file(file);
        }
    }
}

/// What a server needs in its environment so that its log can be stalled. The
/// library lies in its folder, because it may run as a user who can read no other.
pub(crate) fn environment(dir: &Path, files: &str) -> Vec<(String, String)> {
    let library = dir.join("log_stall.so");
    std::fs::copy(compiled(), &library).expect("a part's folder can be written");
    let word = |path: PathBuf| path.display().to_string();
    [
        ("LD_PRELOAD", word(library)),
        ("STALL_FLAG", word(dir.join(FLAG))),
        ("STALL_SEEN", word(dir.join(SEEN))),
        ("STALL_FILES", files.to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Whether a process with this environment has a log that can stall.
pub(crate) fn is_in(environment: &[(String, String)]) -> bool {
    environment.iter().any(|(name, _)| name == "STALL_FLAG")
}

/// The library, compiled once a process.
fn compiled() -> &'static Path {
    static LIBRARY: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, library) = LIBRARY.get_or_init(|| {
        let dir = own_dir();
        let library = dir.path().join("log_stall.so");
        let source = ops_dir().join("stall/log_stall.c");
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Wextra", "-Werror", "-o"]).arg(&library).arg(source).arg("-ldl");
        let done = cc.output().expect("a C compiler is there, as Rust needs one");
        assert!(done.status.success(), "cc: {}", String::from_utf8_lossy(&done.stderr));
        (dir, library)
    });
    library
}
