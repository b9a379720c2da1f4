//! `hongbao move-wallet`: carries slots of users to other databases while the wallet serves.
//!
//! Exit 0 when every slot is where the next topology file says, or when all was done that was asked for;
//! otherwise 2 (an error): it can be run again at any time, and goes on.

use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use hongbao_core::topology::TopologyFile;
use hongbao_wallet::mysql::{Carried, Moved, Step, move_slots};

use crate::config::installation::Installation;
use crate::roles::Role;
use crate::{process, stores};

/// Moves what differs between two topology files: the one in force, by default that of the settings, and `next`.
pub fn run(config: &Path, current: Option<&Path>, next: &Path, copy_only: bool) -> Result<ExitCode, String> {
    let in_force = Role::load_with(config, current)?;
    let next = Role::load_with(config, Some(next))?;
    let (in_force_file, next_file) = (in_force.file(), next.file());
    // Files that were taken for one another would fence the wrong database.
    if next_file.version <= in_force_file.version {
        return Err(format!(
            "move-wallet: the file to come is of version {}, and that in force of {}: the next one has a higher version",
            next_file.version, in_force_file.version
        ));
    }
    process::block_on(move_all(&in_force.installation, &in_force_file, &next_file, copy_only))?;
    Ok(ExitCode::SUCCESS)
}

/// Why a folder of `hongbao dev` has nothing to move.
pub fn refuse_folder() -> String {
    "move-wallet: --data: the wallet of `hongbao dev` is one SQLite file, so no slot of it can lie elsewhere".to_owned()
}

/// The money of a rehearsal too, where it is enabled: its databases lie beside the real ones.
async fn move_all(
    installation: &Installation,
    current: &TopologyFile,
    next: &TopologyFile,
    copy_only: bool,
) -> Result<(), String> {
    let mut go_on = |carried: &Carried, step: Step| {
        let stops = copy_only && step == Step::Fence;
        if !stops {
            let Carried { database, slots, copied } = carried;
            let (number, count) = (step as usize + 1, Step::ALL.len());
            say(&format!("{database}: {number}/{count} {} (slots {slots}; {copied} copied by this run)", name(step)));
        }
        !stops
    };
    for traffic in installation.rehearsal.traffics() {
        let from = stores::wallet_servers(installation, current, *traffic)?;
        let to = stores::wallet_servers(installation, next, *traffic)?;
        let moved = move_slots(&from, &to, installation.storage.wallet_databases, &mut go_on).await;
        let suffix = traffic.database_suffix();
        match moved.map_err(|error| format!("wallet{suffix}: {error}"))? {
            Moved::All => say(&format!("wallet{suffix}: every slot is where the next topology file says")),
            Moved::Stopped => say(&format!("wallet{suffix}: copied so far, and nothing is refused yet")),
        }
    }
    Ok(())
}

/// A line at once, also into a file: an operator waits for it.
fn say(line: &str) {
    let mut out = std::io::stdout();
    // Its reader may have gone away.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn name(step: Step) -> &'static str {
    match step {
        Step::Make => "make the new database",
        Step::Copy => "copy its transfers",
        Step::Compare => "compare them",
        Step::Fence => "refuse these users at the old place",
        Step::CopyRest => "copy the last transfers",
        Step::CompareRest => "compare the last",
        Step::Settle => "take them out of the old books",
        Step::Open => "serve at the new place",
    }
}
