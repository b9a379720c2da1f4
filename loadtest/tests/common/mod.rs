//! What the tests of the binary share.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// The service's binary, built as it is now.
pub fn service() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| {
        // Of the whole workspace: with `--package` the features of its dependencies differ, and all are built again.
        let done = Command::new(env!("CARGO")).args(["build", "--quiet", "--workspace", "--bin", "hongbao"]).status();
        assert!(done.expect("cargo runs this test").success());
        let harness = Path::new(env!("CARGO_BIN_EXE_hongbao-loadtest"));
        harness.with_file_name("hongbao")
    })
}
