//! The man pages and completions of the package.

use std::process::Command;

use crate::common::{hongbao, text};

#[test]
fn every_command_has_a_man_page_and_bash_completes_it() {
    let folder = tempfile::tempdir().unwrap();
    assert!(hongbao(&["generate", folder.path().to_str().unwrap()]).status().unwrap().success());
    let help = text(&hongbao(&["--help"]).output().unwrap().stdout);
    let commands = help.split("Commands:\n").nth(1).and_then(|rest| rest.split("\n\n").next()).unwrap();
    let commands: Vec<_> = commands.lines().filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.len() > 7, "{commands:?}");
    for command in commands.iter().filter(|command| **command != "help") {
        let page = std::fs::read_to_string(folder.path().join(format!("man/hongbao-{command}.1"))).unwrap();
        assert!(page.contains(".SH SYNOPSIS"), "{page}");
    }
    assert!(folder.path().join("man/hongbao.1").exists());

    // What bash offers after `hongbao au`.
    let script = "source hongbao.bash; COMP_WORDS=(hongbao au); COMP_CWORD=1; _hongbao hongbao au hongbao; \
                  echo \"${COMPREPLY[@]}\"";
    let mut bash = Command::new("bash");
    bash.args(["-euc", script]).current_dir(folder.path().join("completions"));
    let offered = bash.output().unwrap();
    assert_eq!(text(&offered.stdout), "audit\n", "{}", text(&offered.stderr));
    for shell in ["_hongbao", "hongbao.fish"] {
        assert!(folder.path().join("completions").join(shell).exists(), "{shell}");
    }
}
