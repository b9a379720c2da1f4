//! Processes that end when this process ends, however it ends.

use std::io::{self, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, OnceLock, mpsc};

/// Runs in the place of a command that must end with us: after the kernel was asked
/// to end it, it looks whether who asked is still there, for a parent that was gone
/// before would never be missed.
const BOUND: &str = "[ \"$PPID\" = \"$0\" ] && exec \"$@\"; exit 1";

/// The same command, ended by the kernel when this process ends, however it ends;
/// to be started with [`spawn_command`]. What stands on its input and outputs is
/// not taken over.
///
/// The kernel forgets it where the program has more rights than we (set-user-ID).
pub fn bound(command: &Command) -> Command {
    let us = std::process::id().to_string();
    prefixed(&["setpriv", "--pdeathsig", "KILL", "--", "sh", "-c", BOUND, &us], command)
}

/// The same command, started by the program that `words` begin with. What stands on
/// its input and outputs is not taken over.
pub(crate) fn prefixed(words: &[&str], command: &Command) -> Command {
    let mut prefixed = Command::new(words[0]);
    prefixed.args(&words[1..]).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => prefixed.env(name, value),
            None => prefixed.env_remove(name),
        };
    }
    if let Some(dir) = command.get_current_dir() {
        prefixed.current_dir(dir);
    }
    prefixed
}

/// Sends what a command prints to the end of a file.
pub(crate) fn log_to(command: &mut Command, log: &Path) -> io::Result<()> {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log)?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    Ok(())
}

type Job = (Command, mpsc::SyncSender<io::Result<Child>>);

/// Starts a process from a thread that lives as long as this process. A child
/// that asked for a signal at its parent's death (`setpriv --pdeathsig`) gets
/// it when the *thread* ends that started it, and a test's thread ends early.
pub fn spawn_command(command: Command) -> io::Result<Child> {
    static SPAWNER: OnceLock<Mutex<mpsc::SyncSender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (jobs, inbox) = mpsc::sync_channel::<Job>(1);
        std::thread::spawn(move || {
            for (mut command, answer) in inbox {
                // The caller is waiting for it.
                let _ = answer.send(command.spawn());
            }
        });
        Mutex::new(jobs)
    });
    let (answer, child) = mpsc::sync_channel(1);
    let jobs = spawner.lock().expect("no holder of the lock panics").clone();
    jobs.send((command, answer)).expect("the spawner never ends");
    child.recv().expect("the spawner answers every job")
}

/// Writes a script that can be run. Another process writes it: a file that this
/// one has open for writing is open in every child that another thread starts
/// meanwhile, and cannot be executed until all of them have begun their own
/// program (`ETXTBSY`).
pub fn write_executable(path: &Path, text: &str) {
    let mut install = Command::new("install");
    install.args(["-m", "755", "/dev/stdin"]).arg(path).stdin(Stdio::piped());
    let mut install = install.spawn().expect("install is part of coreutils");
    let written = install.stdin.take().expect("it is piped").write_all(text.as_bytes());
    let done = install.wait().expect("it was started");
    assert!(written.is_ok() && done.success(), "{}: {written:?}, {done}", path.display());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_whose_parent_is_gone_already_does_not_begin() {
        let mut command = Command::new("echo");
        command.arg("it has begun").env("A_WORD", "here").current_dir("/");
        let run = |command: &Command| {
            let mut spawned = Command::new(command.get_program());
            spawned.args(command.get_args()).stdout(Stdio::piped());
            let output = spawn_command(spawned).expect("setpriv is there").wait_with_output().expect("it ends");
            String::from_utf8(output.stdout).expect("it is text")
        };
        let bound = bound(&command);
        assert!(bound.get_envs().any(|(name, value)| name == "A_WORD" && value.is_some_and(|value| value == "here")));
        assert_eq!(bound.get_current_dir(), Some(Path::new("/")));
        assert_eq!(run(&bound), "it has begun\n");
        // The same for a parent that is not ours.
        let us = std::process::id().to_string();
        let mut orphan = Command::new(bound.get_program());
        orphan.args(bound.get_args().map(|word| if word.to_str() == Some(&us) { "1".as_ref() } else { word }));
        assert_eq!(run(&orphan), "");
    }
}
