//! The Dockerfile, the compose file and the manifests of Kubernetes.

use std::path::Path;
use std::process::Command;

use crate::common::text;

#[test]
fn the_container_files_are_valid_and_the_program_takes_what_they_give_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut check = Command::new(root.join("target/containers/bin/python"));
    check.arg(root.join("ops/containers/check.py")).arg(env!("CARGO_BIN_EXE_hongbao"));
    let done = check.output().expect("ops/containers/install.sh has installed it");
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
}
