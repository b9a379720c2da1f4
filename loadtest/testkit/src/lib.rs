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
    let mut build = Command::new(env!("CARGO"));
    build.args(["build", "--quiet", "--workspace", "--bin", name]);
    // What cargo says to a test of its package would be news to the build scripts of others (of ring, say), and they
    // and all that depends on them would be built again.
    let of_package = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
    for (variable, _) in std::env::vars_os() {
        let is_of_package = |text: &str| text == "OUT_DIR" || of_package.iter().any(|start| text.starts_with(start));
        if variable.to_str().is_some_and(is_of_package) {
            build.env_remove(variable);
        }
    }
    assert!(build.status().expect("cargo runs this test").success());
    Path::new(binary).with_file_name(name)
}
