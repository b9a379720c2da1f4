//! Folders that go when this process ends, however it ends.

use std::io::Write as _;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock};

use crate::spawn::spawn_command;

/// An empty folder for a part.
pub(crate) fn own_dir() -> tempfile::TempDir {
    let dir = tempfile::Builder::new().prefix("hongbao-part-").tempdir().expect("a temporary folder can be made");
    remove_at_the_end(dir.path());
    dir
}

/// Sees to it that a folder goes when this process ends, even if it is killed or
/// the value that owns the folder is a static, which is never dropped: a shell reads
/// folders from us until we have ended.
fn remove_at_the_end(dir: &Path) {
    const REMOVE: &str = "trap '' INT TERM; while read -r dir; do dirs+=(\"$dir\"); done; \
                          for wait in 0.5 2 5; do sleep $wait; rm -rf \"${dirs[@]}\" && exit; done";
    static SHELL: OnceLock<Mutex<Child>> = OnceLock::new();
    let shell = SHELL.get_or_init(|| {
        let mut command = Command::new("bash");
        command.args(["-c", REMOVE]).stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Mutex::new(spawn_command(command).expect("bash can be started"))
    });
    let mut shell = shell.lock().expect("no holder of the lock panics");
    let folders = shell.stdin.as_mut().expect("its input is ours");
    writeln!(folders, "{}", dir.display()).expect("the shell reads until we end");
}
