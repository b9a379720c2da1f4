//! `hongbao migrate`: makes and upgrades databases and day tables, and brings fences to what the topology says.

use std::path::Path;
use std::process::ExitCode;

use crate::config::Otlp;
use crate::otlp::Process;
use crate::roles::Role;
use crate::stores::LeftOut;
use crate::{process, stores};

/// May be repeated, and run by several processes at once.
pub fn run(config: &Path, topology: Option<&Path>, left_out: &LeftOut) -> Result<ExitCode, String> {
    let role = Role::load_with(config, topology)?;
    let log = role.installation.log.clone();
    // What it does is in the log; there is nothing to trace.
    let itself = Process { role: "migrate", name: "migrate".to_owned(), set: None };
    process::run(&log, &Otlp::default(), &itself, async {
        stores::migrate(&role.installation, &role.file(), left_out).await
    })?;
    Ok(ExitCode::SUCCESS)
}
