//! For tests: a fake of the service, and the binaries of this workspace.

mod fake;

pub use fake::{serve, start};

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The service's binary, built as it is now, beside the `binary` that a test has from Cargo.
pub fn service(binary: &str) -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| built("hongbao", binary))
}

/// A binary of this workspace, built as it is now, beside the `binary` that a test has from Cargo.
pub fn built(name: &str, binary: &str) -> PathBuf {
    // Of the whole workspace: with `--package` the features of its dependencies differ, and all are built again.
    let done = Command::new(env!("CARGO")).args(["build", "--quiet", "--workspace", "--bin", name]).status();
    assert!(done.expect("cargo runs this test").success());
    Path::new(binary).with_file_name(name)
}
