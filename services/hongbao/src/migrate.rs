//! `hongbao migrate`: makes and upgrades databases and day tables.

use std::path::Path;
use std::process::ExitCode;

use crate::roles::Role;
use crate::{process, stores};

/// May be repeated, and run by several processes at once.
pub fn run(config: &Path) -> Result<ExitCode, String> {
    let role = Role::load(config)?;
    let log = role.installation.log.clone();
    process::run(&log, async { stores::migrate(&role.installation, &role.file()).await })?;
    Ok(ExitCode::SUCCESS)
}
