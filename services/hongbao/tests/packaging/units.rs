//! The units of systemd, as systemd itself reads them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{hongbao, text};

/// Tenths, of at most 10: `systemd-analyze security` calls what is below 3.0 "OK".
const EXPOSURE_MAX: &str = "29";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/systemd")
}

/// Files of the folder with this ending.
fn files(ending: &str) -> Vec<PathBuf> {
    let all = folder().read_dir().unwrap().map(|entry| entry.unwrap().path());
    all.filter(|path| path.extension().is_some_and(|found| found == ending)).collect()
}

/// Runs a program of systemd; what it says must be nothing but a success.
fn succeeds(command: &mut Command) -> String {
    let done = command.output().expect("ops/install.sh has installed systemd");
    let said = text(&done.stdout) + &text(&done.stderr);
    assert!(done.status.success(), "{command:?}: {said}");
    said
}

#[test]
fn every_unit_is_less_exposed_than_three() {
    let units = files("service");
    assert_eq!(units.len(), 5);
    for unit in units {
        let mut analyze = Command::new("systemd-analyze");
        analyze.args(["security", "--offline=true", "--no-pager", "--threshold", EXPOSURE_MAX]).arg(&unit);
        succeeds(&mut analyze);
    }
}

#[test]
fn systemd_knows_every_line_of_every_unit() {
    // A root of its own, in which the program of the units is there.
    let root = tempfile::tempdir().unwrap();
    let (units, programs) = (root.path().join("etc/systemd/system"), root.path().join("usr/bin"));
    std::fs::create_dir_all(&programs).unwrap();
    std::fs::create_dir_all(units.parent().unwrap()).unwrap();
    succeeds(Command::new("cp").arg("-r").arg(folder()).arg(&units));
    succeeds(Command::new("cp").args(["/bin/true", "/bin/kill"]).arg(&programs));
    std::fs::rename(programs.join("true"), programs.join("hongbao")).unwrap();
    succeeds(Command::new("ln").args(["-s", "usr/bin"]).arg(root.path().join("bin")));
    for unit in files("service").iter().chain(&files("timer")) {
        let name = unit.file_name().unwrap().to_str().unwrap().replace('@', "@a1");
        let mut verify = Command::new("systemd-analyze");
        verify.arg("verify").arg("--man=no").arg("--recursive-errors=no").arg("--root").arg(root.path()).arg(&name);
        assert_eq!(succeeds(&mut verify), "", "{name}");
    }
}

#[test]
fn the_user_of_the_units_is_made_by_systemd_sysusers() {
    let root = tempfile::tempdir().unwrap();
    let packaged = root.path().join("usr/lib/sysusers.d");
    std::fs::create_dir_all(&packaged).unwrap();
    std::fs::create_dir_all(root.path().join("etc")).unwrap();
    std::fs::copy(folder().join("hongbao.sysusers"), packaged.join("hongbao.conf")).unwrap();
    succeeds(Command::new("systemd-sysusers").arg("--root").arg(root.path()));
    let users = std::fs::read_to_string(root.path().join("etc/passwd")).unwrap();
    assert!(users.lines().any(|user| user.starts_with("hongbao:")), "{users}");
    for unit in files("service") {
        assert!(std::fs::read_to_string(&unit).unwrap().contains("\nUser=hongbao\n"), "{}", unit.display());
    }
}

#[test]
fn the_commands_of_the_units_are_taken_by_the_program() {
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../ops/config/hongbao.toml");
    let mut checked = 0;
    for (role, name) in [("gateway", "g1"), ("server", "a1"), ("worker", "a-w1")] {
        let unit = std::fs::read_to_string(folder().join(format!("hongbao-{role}@.service"))).unwrap();
        let line =
            |key: &str| unit.lines().find_map(|line| line.strip_prefix(key)).expect("the unit has it").to_owned();
        let check = line("ExecStartPre=");
        assert_eq!(check, line("ExecStart=") + " --check");
        let words = check.strip_prefix("/usr/bin/hongbao ").expect("it is the program of the package");
        let words = words.replace("/etc/hongbao/hongbao.toml", samples.to_str().unwrap()).replace("%i", name);
        let mut command = hongbao(&words.split(' ').collect::<Vec<_>>());
        command.env("HONGBAO_AUTH__HS256_SECRET", "a-secret-for-the-tests-of-the-units");
        command.env("HONGBAO_TICKETS__SECRET", "another-secret-for-the-tests-of-the-units");
        command.env("HONGBAO_DATABASE__PASSWORD", "a-password-for-the-tests-of-the-units");
        succeeds(&mut command);
        checked += 1;
    }
    assert_eq!(checked, 3);
}
