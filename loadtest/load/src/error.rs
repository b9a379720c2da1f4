//! Errors for the person at the terminal, and the exit code that they end with.

use std::fmt::Display;
use std::path::Path;
use std::process::ExitCode;

/// The exit code when the harness itself fails: nothing is known of the service
/// then. That something about it is bad is 1.
pub const FAILED: u8 = 2;

/// What went wrong, as a message for the person at the terminal.
pub type Fallible<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Prints an error to standard error, after the name of the program.
pub fn complain(error: impl Display) {
    let program = std::env::args().next().unwrap_or_default();
    let name = Path::new(&program).file_name().unwrap_or_default().display();
    eprintln!("{name}: {error}");
}

/// The exit code of a command: its own, or [`FAILED`] with the error printed.
pub fn exit_code(done: Fallible<ExitCode>) -> ExitCode {
    done.unwrap_or_else(|error| {
        complain(error);
        ExitCode::from(FAILED)
    })
}
