//! `hongbao migrate`: makes and upgrades databases and day tables, and brings fences to what the topology says.

use std::path::Path;
use std::process::ExitCode;

use crate::config::Otlp;
use crate::fences::LeftOut;
use crate::otlp::Process;
use crate::roles::Role;
use crate::{fences, process};

/// May be repeated, and run by several processes at once.
pub fn run(config: &Path, topology: Option<&Path>, left_out: &LeftOut) -> Result<ExitCode, String> {
    let role = Role::load_with(config, topology)?;
    let log = role.installation.log.clone();
    // What it does is in the log; there is nothing to trace.
    let itself = Process { role: "migrate", name: "migrate".to_owned(), set: None };
    // Of the file that is replaced only the databases of SETs that leave are needed.
    let in_use = topology.and_then(|_| Role::load(config).ok()).map_or_else(|| role.file(), |role| role.file());
    process::run(&log, &Otlp::default(), &itself, 1, async {
        fences::migrate(&role.installation, &role.file(), &in_use, left_out).await
    })?;
    Ok(ExitCode::SUCCESS)
}
