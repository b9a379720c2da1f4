//! `overload` as it is run, on a SET within a processor quota and a gateway outside of
//! it: a short one, whose bounds hold on a busy machine.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const CONNECTIONS: f64 = 600.0;

fn overload(quota: &str, dir: &Path, report: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hongbao-bench"))
        .args(["overload", "--workload", "hot", "--quota", quota])
        .args(["--connections", "600", "--seconds", "4", "--phase-seconds", "2", "--peak-max", "4000"])
        .arg("--server")
        .arg(hongbao_load_testkit::service(env!("CARGO_BIN_EXE_hongbao-bench")))
        .arg("--data")
        .arg(dir.join("data"))
        .arg("--json")
        .arg(report)
        .output()
        .unwrap()
}

/// What a run measured: whether as much was answered as was hoped, and what it printed.
fn measured(is_last: bool) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let report = dir.path().join("report.json");
    let mut run = overload("0.2", dir.path(), &report);
    let said = String::from_utf8_lossy(&run.stderr).into_owned();
    let is_apart = !(said.contains("cpu controller") || said.contains("needs root"));
    if !is_apart {
        // The lanes under a slowed store are tested in `envelope/tests/admission.rs`.
        eprintln!("no processor quota here, measured without one: {said}");
        run = overload("0", dir.path(), &report);
    }
    let (shown, said) = (String::from_utf8(run.stdout).unwrap(), String::from_utf8(run.stderr).unwrap());
    assert!(run.status.success(), "{shown}{said}");
    eprintln!("{shown}");
    let measured: Value = serde_json::from_slice(&std::fs::read(&report).unwrap()).unwrap();
    let measured = &measured[0];
    let number = |phase: &str, what: &str| measured[phase]["seen"][what].as_f64().unwrap();
    assert!(number("storm", "refused") > 0.0, "{shown}");
    for phase in ["peak", "easy", "storm", "after"] {
        assert_eq!(number(phase, "unknown"), 0.0, "{phase}: {shown}");
        assert_eq!(measured[phase]["seen"]["others"], serde_json::json!({}), "{phase}: {shown}");
    }
    let memory_mb = |place: usize| measured["memory_mb"][place].as_f64().unwrap();
    assert!(memory_mb(1) < memory_mb(0) + 64.0, "{shown}");
    let per_s = |phase: &str| number(phase, "accepted") / measured[phase]["seconds"].as_f64().unwrap();
    // By Little's law so many of those that were let in are under way: without a limit in time all connections are.
    let under_way = per_s("storm") * measured["storm"]["p50_ms"].as_f64().unwrap() / 1_000.0;
    assert!(under_way < CONNECTIONS / 2.0, "{under_way} under way: {shown}");
    // On a quiet machine nine tenths of the peak are left, and without a gateway that refuses a tenth.
    let held = (!is_apart || per_s("storm") > 0.4 * per_s("peak")) && per_s("after") > 0.2 * per_s("peak");
    assert!(held || !is_last, "{shown}");
    held
}

/// Other tests may take the processors in the storm and not at the peak, so the best of three runs counts for the
/// rates; that no outcome is unknown and that few requests are under way holds in each.
#[test]
fn three_times_the_capacity_leaves_most_of_it_and_no_outcome_unknown() {
    assert!((1..=3).any(|run| measured(run == 3)));
}
