//! `compare` as it is run: alternatives in processes of their own, a table, a page,
//! and a kill in the middle of the load.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

#[test]
fn a_comparison_measures_checks_the_money_and_counts_what_a_kill_costs() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let run = Command::new(env!("CARGO_BIN_EXE_hongbao-bench"))
        .args(["compare", "--schemes", "bare,row-lock,presplit,memory-first,redis-always"])
        .args(["--openers", "4", "--envelopes", "3"])
        .args(["--seconds", "1", "--database-connections", "8"])
        .arg("--data")
        .arg(file("data"))
        .arg("--json")
        .arg(file("report.json"))
        .arg("--html")
        .arg(file("report.html"))
        .output()
        .unwrap();
    let (table, said) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    assert!(run.status.success(), "{table}{said}");
    assert!(table.contains("4 at once x 3 envelopes, 12 connections"), "{table}");
    for durability in ["innodb_flush_log_at_trx_commit=1", "redis-always appendonly=yes appendfsync=always"] {
        assert!(table.contains(durability), "{table}");
    }
    assert!(said.contains("1 cells x 5 schemes x 1 rounds: 5 runs with 1 min of load"), "{said}");

    let report: Value = serde_json::from_slice(&std::fs::read(file("report.json")).unwrap()).unwrap();
    let lines = report["lines"].as_array().unwrap();
    assert_eq!(lines.len(), 5);
    assert!(lines[0]["scheme"] == "bare" && lines[0]["sample"]["per_second"].as_f64().unwrap() > 0.0, "{report}");
    for line in &lines[1..] {
        let sample = &line["sample"];
        assert!(sample["audit"]["acknowledged"].as_u64().unwrap() > 0, "{line}");
        assert_eq!(sample["envelopes_opened"], 3, "{line}");
        assert_eq!(sample["audit"]["lost"], 0, "{line}");
    }
    let losses = report["losses"].as_array().unwrap();
    assert_eq!(losses.len(), 4, "{report}");
    for loss in losses {
        assert!(loss["audit"]["acknowledged"].as_u64().unwrap() > 0, "{loss}");
    }
    for (loss, scheme) in [(0, "row-lock"), (1, "presplit"), (3, "redis-always")] {
        assert_eq!(losses[loss]["scheme"], scheme);
        assert_eq!(losses[loss]["audit"]["lost"], 0, "what was acknowledged by {scheme} outlives its server");
    }
    assert_eq!(losses[2]["scheme"], "memory-first");
    // Not always nothing: Redis answers before it writes its file while a flush is under way.
    let lost = |look: &str| losses[2][look]["lost"].as_u64().unwrap();
    assert!(lost("after_restart") <= lost("audit"), "what Redis has in its file comes back with it");
    assert!(std::fs::read_to_string(file("report.html")).unwrap().contains("<svg"));
}

#[test]
fn an_interrupted_comparison_keeps_what_it_has_and_is_not_taken_for_a_whole_one() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let mut run = Command::new(env!("CARGO_BIN_EXE_hongbao-bench"))
        .args(["compare", "--schemes", "bare", "--openers", "1,2,4,8", "--envelopes", "3", "--seconds", "1"])
        .arg("--data")
        .arg(file("data"))
        .arg("--json")
        .arg(file("report.json"))
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = BufReader::new(run.stderr.take().unwrap()).lines().map(Result::unwrap);
    let second = said.find(|line| line.starts_with("cell 2 of 4"));
    assert!(second.is_some_and(|line| line.contains(" to go")));
    let report = || serde_json::from_slice::<Value>(&std::fs::read(file("report.json")).unwrap()).unwrap();
    assert_eq!(report()["lines"].as_array().unwrap().len(), 1, "a cell that is done is written down");
    kill_process(Pid::from_child(&run), Signal::INT).unwrap();
    assert!(said.any(|line| line == "stopped: interrupted"));
    let done = run.wait_with_output().unwrap();
    assert_eq!(done.status.code(), Some(2));
    assert_eq!(report()["stopped"], "interrupted");
    let table = String::from_utf8(done.stdout).unwrap();
    assert!(table.contains("1 at once x 3 envelopes") && table.contains("NOT ALL WAS AUDITED"), "{table}");
}
