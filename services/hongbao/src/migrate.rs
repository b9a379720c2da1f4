//! `hongbao migrate`: makes and upgrades databases and day tables.

use std::path::Path;
use std::process::ExitCode;

use crate::config::Otlp;
use crate::otlp::Process;
use crate::roles::Role;
use crate::{process, stores};

/// May be repeated, and run by several processes at once.
pub fn run(config: &Path) -> Result<ExitCode, String> {
    let role = Role::load(config)?;
    let log = role.installation.log.clone();
    // What it does is in the log; there is nothing to trace.
    let itself = Process { role: "migrate", name: "migrate".to_owned(), set: None };
    process::run(&log, &Otlp::default(), &itself, async { stores::migrate(&role.installation, &role.file()).await })?;
    Ok(ExitCode::SUCCESS)
}
