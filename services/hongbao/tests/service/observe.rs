//! `ops/observe`: its files are what Prometheus takes, its alerts lead to the handbook, and it asks for metrics that
//! exist. `ops/observe/try.py` shows the same of a cluster, with faults.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use hongbao_testbed::ops_dir;

use crate::metrics::{all_names, program};
use crate::support::{Folder, text};

fn observe() -> PathBuf {
    ops_dir().join("observe")
}

fn promtool(arguments: &[&str], folder: &std::path::Path) -> String {
    let done = Command::new(program("promtool")).args(arguments).current_dir(folder).output().unwrap();
    let said = format!("{}{}", text(&done.stdout), text(&done.stderr));
    assert!(done.status.success(), "promtool {arguments:?}: {said}");
    said
}

#[test]
fn promtool_takes_the_scrape_configuration_and_the_targets_of_the_sample_topology() {
    let folder = Folder::new();
    let topology = ops_dir().join("config/topology.toml");
    let done = Command::new("python3").arg(observe().join("targets.py")).arg(topology).output().unwrap();
    assert!(done.status.success(), "{}", text(&done.stderr));
    let targets: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    let of_role =
        |role: &str| targets.as_array().unwrap().iter().filter(|group| group["labels"]["role"] == role).count();
    assert_eq!([of_role("gateway"), of_role("server"), of_role("worker")], [2, 6, 6], "{targets}");
    folder.write("targets.json", &text(&done.stdout));
    for file in ["prometheus.yml", "rules.yml"] {
        folder.write(file, &std::fs::read_to_string(observe().join(file)).unwrap());
    }
    let said = promtool(&["check", "config", "prometheus.yml"], &folder.path(""));
    assert!(said.contains("is valid prometheus config file"), "{said}");
}

#[test]
fn each_alert_fires_in_what_it_is_for_and_is_silent_without() {
    let said = promtool(&["check", "rules", "rules.yml"], &observe());
    assert!(said.contains("SUCCESS"), "{said}");
    promtool(&["test", "rules", "rules_test.yml"], &observe());
    let tested = std::fs::read_to_string(observe().join("rules_test.yml")).unwrap();
    for alert in values_of("rules.yml", "- alert: ") {
        assert!(tested.contains(&format!("\n  - name: {alert}\n")), "rules_test.yml has no test of {alert}");
        assert!(tested.contains(&format!("- alertname: {alert}\n        eval_time: 1h\n")), "{alert}");
    }
}

/// What follows a word in the lines of a file.
fn values_of(file: &str, word: &str) -> BTreeSet<String> {
    let file = std::fs::read_to_string(observe().join(file)).unwrap();
    file.lines().filter_map(|line| line.trim_start().strip_prefix(word)).map(str::to_owned).collect()
}

#[test]
fn each_alert_leads_to_a_row_of_the_handbook() {
    let handbook = std::fs::read_to_string(ops_dir().join("README.md")).unwrap();
    let links = values_of("rules.yml", "handbook: ");
    let alerts = std::fs::read_to_string(observe().join("rules.yml")).unwrap();
    assert_eq!(alerts.matches("- alert: ").count(), alerts.matches("handbook: ").count(), "each has one");
    for link in &links {
        let anchor = link.strip_prefix("ops/README.md#").unwrap_or_else(|| panic!("{link}"));
        let row = format!("\n| <a id=\"{anchor}\"></a>");
        assert_eq!(handbook.matches(&row).count(), 1, "{link}");
    }
    let anchors = handbook.split("\n| <a id=\"").skip(1).filter_map(|rest| rest.split('"').next());
    for anchor in anchors {
        assert!(links.contains(&format!("ops/README.md#{anchor}")), "no alert leads to {anchor}");
    }
}

#[test]
fn the_dashboard_is_what_grafana_takes() {
    let mut python = Command::new(program("python/bin/python"));
    let done = python.arg(observe().join("check_dashboard.py")).output().unwrap();
    assert!(done.status.success(), "{}{}", text(&done.stdout), text(&done.stderr));
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_exist() {
    let known = all_names();
    let exists = |name: &str| {
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        known.contains(name) || of_histogram.is_some_and(|histogram| known.contains(histogram))
    };
    let mut asked = 0;
    for file in ["rules.yml", "dashboard.json"] {
        let file_text = std::fs::read_to_string(observe().join(file)).unwrap();
        let words = file_text.split(|letter: char| !(letter.is_ascii_alphanumeric() || letter == '_'));
        for name in words.filter(|word| word.starts_with("hongbao_") || word.starts_with("process_")) {
            assert!(exists(name), "{file} asks for {name}");
            asked += 1;
        }
    }
    assert!(asked > 80, "{asked}");
}
