//! A log that stops answering, as on a disk that has failed: `ops/stall/log_stall.c`
//! preloaded into a database, and a file that says when.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::{Part, ops_dir, own_dir};

/// While it exists in a part's folder, its log waits.
const FLAG: &str = "stall";
/// Made in a part's folder by the first write that has to wait.
const SEEN: &str = "stall-seen";
/// How long a write may take to arrive that is sure to come.
const SEEN_WITHIN: Duration = Duration::from_secs(20);

/// What a MariaDB gets whose log is to stall. Its thread that keeps statistics of
/// tables commits too, and while that commit waits it holds what every opening of
/// a table needs: then nobody could read what is not durable, now and then.
pub(crate) const OPTIONS: &[&str] = &["--innodb-stats-persistent=0"];

/// A log that stalls until this is dropped. It names a file and borrows no part,
/// so the part may be killed meanwhile; drop it before a restart, which writes
/// the log.
#[derive(Debug)]
pub struct LogStall {
    flag: PathBuf,
    seen: PathBuf,
}

impl Part {
    /// From now on whatever this server writes to its log waits, and so does
    /// every commit that changes something; readers do not.
    ///
    /// # Panics
    /// When the part was not started with a log that can stall.
    pub fn stall_log(&self) -> LogStall {
        assert!(!self.environment.is_empty(), "{:?} has no log that can stall", self.start);
        let stall = LogStall { flag: self.dir().join(FLAG), seen: self.dir().join(SEEN) };
        std::fs::write(&stall.flag, []).expect("a part's folder can be written");
        stall
    }

    /// Runs SQL as `root`, which must succeed; what it printed, without names of columns.
    pub fn sql(&self, sql: &str) -> String {
        let done = self.sql_client(sql).output().expect("the client is installed with the server");
        assert!(done.status.success(), "{sql}: {}", String::from_utf8_lossy(&done.stderr));
        String::from_utf8(done.stdout).expect("MariaDB prints UTF-8")
    }

    /// The command that runs SQL as `root`, for whoever does not want to wait for it.
    pub fn sql_client(&self, sql: &str) -> Command {
        let mut client = Command::new("mariadb");
        client.args(["--no-defaults", "--user=root", "--batch", "--skip-column-names"]);
        client.arg(format!("--socket={}", self.dir().join("mysqld.sock").display())).arg(format!("--execute={sql}"));
        client
    }
}

impl LogStall {
    /// Whether something waits for the log.
    pub fn holds_somebody(&self) -> bool {
        self.seen.exists()
    }

    /// Waits until something waits for the log.
    pub fn wait_until_it_holds_somebody(&self) {
        let until = Instant::now() + SEEN_WITHIN;
        while !self.holds_somebody() {
            assert!(Instant::now() < until, "nobody has written the log within {SEEN_WITHIN:?}");
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

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    /// Long beyond the time that a commit takes on a busy machine, and its client's start.
    const WAITS_FOR: Duration = Duration::from_millis(1_500);

    fn with_a_row() -> Part {
        let mariadb = Part::mariadb_with_a_log_that_stalls("ib_logfile0", &["--innodb-buffer-pool-size=32M"]);
        mariadb.sql("CREATE DATABASE db_00; CREATE TABLE db_00.t (id INT PRIMARY KEY, v INT) ENGINE=InnoDB");
        mariadb.sql("INSERT INTO db_00.t VALUES (1, 1)");
        mariadb
    }

    fn rows(mariadb: &Part) -> String {
        mariadb.sql("SELECT GROUP_CONCAT(id ORDER BY id) FROM db_00.t").trim().to_owned()
    }

    /// A commit that may well not return; the client's words about that are no use.
    fn commit(mariadb: &Part) -> std::process::Child {
        let mut client = mariadb.sql_client("INSERT INTO db_00.t VALUES (2, 2)");
        client.stderr(Stdio::null()).spawn().expect("it is installed")
    }

    fn wait_until_there(mariadb: &Part, expected: &str) {
        let until = Instant::now() + SEEN_WITHIN;
        while rows(mariadb) != expected {
            assert!(Instant::now() < until, "{} instead of {expected}", rows(mariadb));
        }
    }

    /// What the whole project's barrier is about, on the real database.
    #[test]
    fn a_commit_whose_log_is_stalled_can_be_read_and_is_gone_after_a_kill() {
        let mut mariadb = with_a_row();
        let stall = mariadb.stall_log();
        let mut client = commit(&mariadb);
        wait_until_there(&mariadb, "1,2");
        stall.wait_until_it_holds_somebody();
        assert!(client.try_wait().expect("it is ours").is_none(), "the commit returned though its log is stalled");
        mariadb.kill();
        client.wait().expect("it is ours");
        drop(stall);
        mariadb.restart();
        assert_eq!(rows(&mariadb), "1", "what could be read did not survive");
    }

    #[test]
    fn a_commit_returns_when_its_log_goes_on_and_survives() {
        let mut mariadb = with_a_row();
        let stall = mariadb.stall_log();
        let began = Instant::now();
        let mut client = commit(&mariadb);
        stall.wait_until_it_holds_somebody();
        while began.elapsed() < WAITS_FOR {
            assert!(client.try_wait().expect("it is ours").is_none(), "the commit returned though its log is stalled");
            std::thread::sleep(Duration::from_millis(10));
        }
        drop(stall);
        assert!(client.wait().expect("it is ours").success());
        mariadb.restart();
        assert_eq!(rows(&mariadb), "1,2");
    }
}
