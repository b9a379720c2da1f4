//! `hongbao generate`: the man pages and completions of a package, made from the commands themselves.

use std::io;
use std::path::Path;
use std::process::ExitCode;

use clap_complete::Shell;

/// The shells that Debian has, and that look in folders of the system.
const SHELLS: [Shell; 3] = [Shell::Bash, Shell::Fish, Shell::Zsh];

/// Writes `man/hongbao.1`, one page more for each command, and `completions/` into a folder.
pub fn run(commands: clap::Command, to: &Path) -> Result<ExitCode, String> {
    let name = commands.get_name().to_owned();
    let (man, completions) = (to.join("man"), to.join("completions"));
    let written = || -> io::Result<()> {
        std::fs::create_dir_all(&man)?;
        std::fs::create_dir_all(&completions)?;
        for shell in SHELLS {
            clap_complete::generate_to(shell, &mut commands.clone(), &name, &completions)?;
        }
        clap_mangen::generate_to(commands.disable_help_subcommand(true), &man)
    };
    written().map_err(|error| format!("generate: {}: {error}", to.display()))?;
    Ok(ExitCode::SUCCESS)
}
