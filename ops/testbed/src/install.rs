//! What must be there before a server can be started.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// A value, or an error for the person at the terminal.
pub type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// The checkout's folder `ops`.
pub fn ops_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("this crate lies in ops").to_owned()
}

/// Installs what is missing from Debian's packages, once a process.
pub fn install() -> Fallible<()> {
    static DONE: OnceLock<Result<(), String>> = OnceLock::new();
    let done = DONE.get_or_init(|| match Command::new(ops_dir().join("install.sh")).status() {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("ops/install.sh: {status}")),
        Err(error) => Err(format!("ops/install.sh: {error}")),
    });
    Ok(done.clone()?)
}
