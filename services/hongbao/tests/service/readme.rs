//! The README's commands do what they say, and the handbook's settings exist.

use std::process::Command;

use crate::support::{Service, text};

const README: &str = include_str!("../../../../README.md");
const HANDBOOK: &str = include_str!("../../../../ops/README.md");

/// The walk-through, the first block that is marked as shell, and the check of the
/// draw that follows it.
fn walk_through() -> String {
    let (_, rest) = README.split_once("```sh\n").expect("the README has a walk-through");
    let (walk, rest) = rest.split_once("```").expect("the walk-through ends");
    let (_, rest) = rest.split_once("```\n").expect("the draw is checked");
    let (check, _) = rest.split_once("```").expect("the check ends");
    [walk, check].concat()
}

#[test]
fn the_walk_through_runs_as_it_is_written() {
    let service = Service::start("");
    let script = walk_through().replace("127.0.0.1:8080", &service.address().to_string());
    let script = script.replace("target/release/hongbao", env!("CARGO_BIN_EXE_hongbao"));
    let ran = Command::new("bash").args(["-euc", &script]).output().expect("bash and curl are there");
    let (out, err) = (text(&ran.stdout), text(&ran.stderr));
    assert!(ran.status.success(), "{out}\n{err}");

    let (answers, checked) = out.trim_end().rsplit_once('\n').expect("it says more than a line");
    assert_eq!(checked, "3 openings: every amount is what the committed seed draws");
    let answers: Vec<serde_json::Value> =
        answers.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not JSON: {line}"))).collect();
    let [top_up, paid, opened, wallet, detail, second, third] = &answers[..] else {
        panic!("seven answers, not {out}")
    };
    assert_eq!(top_up["balance_fen"], 10_000);
    assert_eq!(paid["state"], "active");
    assert_eq!(opened["outcome"], "opened");
    assert_eq!(wallet["balance_fen"], opened["amount_fen"]);
    assert_eq!(detail["mine"]["amount_fen"], opened["amount_fen"]);
    let shares = [opened, second, third].map(|answer| answer["amount_fen"].as_i64().expect("a share"));
    assert_eq!(shares.iter().sum::<i64>(), 8_888);
    service.check();
}

#[test]
fn the_makefile_has_the_commands_that_the_readme_names() {
    let makefile = include_str!("../../../../Makefile");
    for target in ["run", "test", "demo", "bench"] {
        assert!(README.contains(&format!("make {target}")), "{target}");
        assert!(makefile.contains(&format!("\n{target}:")), "{target}");
    }
}

#[test]
fn every_setting_that_the_handbook_explains_exists() {
    // What is off is not shown.
    let mut command = crate::support::hongbao(&["dev", "--check"]);
    command
        .env("HONGBAO_ARCHIVE__URL", "file:///srv/archive")
        .env("HONGBAO_ARCHIVE__ID", "main")
        .env("HONGBAO_CORS__ORIGINS", "['https://app.example']")
        .env("HONGBAO_ARCHIVE__AFTER_DAYS", "60");
    let shown = command.output().expect("the binary runs");
    let shown: toml::Table = text(&shown.stdout).parse().expect("the settings are TOML");
    let rows = HANDBOOK.split("\n## Settings\n").nth(1).expect("there is a section on settings");
    let rows = rows.split("\n## ").next().expect("it ends");
    let keys = rows.lines().filter_map(|line| line.strip_prefix("| `")).flat_map(|line| {
        let first_cell = line.split(" | ").next().unwrap_or_default();
        first_cell.split(", ").map(|key| key.trim_matches('`')).collect::<Vec<_>>()
    });
    let mut seen = 0;
    // What is off by default, and the second half of a pair, is not shown.
    const IS_OFF: [&str; 6] =
        ["eddsa_public_key_file", "jwks_file", "keys]]", "also_accepted_secret", "audience", "issuer"];
    for key in keys.filter(|key| {
        !key.contains('…') && !key.starts_with("rate_limit.") && !IS_OFF.iter().any(|off| key.ends_with(off))
    }) {
        let (section, name) = key.split_once('.').unwrap_or(("", key));
        let table = if section.is_empty() { Some(&shown) } else { shown.get(section).and_then(toml::Value::as_table) };
        assert!(table.is_some_and(|table| table.contains_key(name)), "{key}");
        seen += 1;
    }
    assert!(seen >= 10, "{seen}");
}
