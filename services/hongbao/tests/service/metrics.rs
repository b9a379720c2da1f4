//! What `/metrics` of every role says, read by Prometheus' own programs, and the handbook, which names all of it.
//! `ops/observe/install.sh` brings the programs.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::LazyLock;
use std::time::Duration;

use hongbao_testbed::ops_dir;

use crate::rehearsal_installation::{Installation, rehearsing, top_up_of};
use crate::support::{Service, User, lucky, text};

const OPENMETRICS: &str = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5";
/// What the measures of rehearsals begin with.
const REHEARSAL: &str = "rehearsal_";

/// What one process says, in both forms.
struct Said {
    plain: String,
    open: String,
}

/// One process of each role, after an envelope and a rehearsed one were sent and opened.
static SAID: LazyLock<BTreeMap<&str, Said>> = LazyLock::new(|| {
    let installation = Installation::new();
    let (code, said) = installation.run("migrate", &[]);
    assert_eq!(code, Some(0), "{said}");
    // No one listens there: what is measured of a provider is there before it is asked.
    let environment = [
        ("HONGBAO_DEV_CALLS", "true"),
        ("HONGBAO_PROVIDER__KIND", "http"),
        ("HONGBAO_PROVIDER__URL", "http://127.0.0.1:9"),
        ("HONGBAO_PROVIDER__SECRET", "a secret of the provider in tests"),
    ];
    let processes = ["server", "worker", "gateway"].map(|role| installation.start_with(role, &environment));
    let dev = Service::start("[rehearsal]\nenabled = true\n");
    let real = installation.user("li");
    for user in [&real, &rehearsing(&real)] {
        user.at(installation.server).post("/v1/dev/top-up", &top_up_of(1_000, 7)).ok(200);
        let id = user.send(&lucky(1_000, 1));
        let share = user.grab_and_open(&id)["amount_fen"].as_i64().unwrap();
        user.wait_for_balance(share, Duration::from_secs(15));
    }
    dev.user("li").get("/v1/wallet").ok(200);
    let addresses =
        [("gateway", installation.gateway), ("server", installation.server), ("worker", installation.worker)];
    let said = addresses.into_iter().chain([("dev", dev.address())]).map(|(role, address)| {
        let anyone = User::new("", None, address);
        let (plain, open) = (anyone.get("/metrics"), anyone.with_header("accept", OPENMETRICS).get("/metrics"));
        assert_eq!(plain.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"), "{role}");
        let of_open = "application/openmetrics-text; version=1.0.0; charset=utf-8";
        assert_eq!(open.header("content-type"), Some(of_open), "{role}");
        (role, Said { plain: plain.text(), open: open.text() })
    });
    let said = said.collect();
    drop(processes);
    said
});

/// A program that `ops/observe/install.sh` has brought.
pub fn program(name: &str) -> PathBuf {
    static INSTALLED: LazyLock<()> = LazyLock::new(|| {
        let done = Command::new(ops_dir().join("observe/install.sh")).status().unwrap();
        assert!(done.success(), "ops/observe/install.sh: {done}");
    });
    *INSTALLED;
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/prometheus").join(name)
}

/// Runs a program with a text as its input.
fn fed(mut command: Command, input: &str) -> Output {
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it is installed");
    child.stdin.take().expect("it is piped").write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn promtool_finds_no_fault_with_the_metrics_of_any_role() {
    for (role, said) in &*SAID {
        let mut promtool = Command::new(program("promtool"));
        promtool.args(["check", "metrics"]);
        let done = fed(promtool, &said.plain);
        let complaints = format!("{}{}", text(&done.stdout), text(&done.stderr));
        assert!(done.status.success() && complaints.is_empty(), "{role}: {complaints}\n{}", said.plain);
    }
}

#[test]
fn the_metrics_of_every_role_are_openmetrics_where_that_is_asked_for() {
    let parser = "import sys\nfrom prometheus_client.openmetrics.parser import text_string_to_metric_families as parse\n\
                  print(len(list(parse(sys.stdin.read()))))";
    for (role, said) in &*SAID {
        let mut python = Command::new(program("python/bin/python"));
        python.args(["-c", parser]);
        let done = fed(python, &said.open);
        assert!(done.status.success(), "{role}: {}\n{}", text(&done.stderr), said.open);
        let families: usize = text(&done.stdout).trim().parse().unwrap();
        assert_eq!(families, names_in(&said.plain).len(), "{role}: as many as in the other form");
    }
}

#[test]
fn every_help_is_a_sentence_and_every_process_says_what_it_uses() {
    for (role, said) in &*SAID {
        for help in said.plain.lines().filter(|line| line.starts_with("# HELP ")) {
            let (_, sentence) =
                help.split_at(help.rfind(|letter: char| letter.is_alphanumeric() || letter == ')').unwrap());
            assert_eq!(&sentence[1..], ".", "{role}: {help}");
        }
        let value = |name: &str| {
            let line = said.plain.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
            line.unwrap_or_else(|| panic!("{role} has no {name}")).parse::<f64>().unwrap()
        };
        assert!(value("process_resident_memory_bytes") > 1e6, "{role}");
        assert!(value("process_open_fds") < value("process_max_fds"), "{role}");
        assert!(value("process_cpu_seconds_total") > 0.0, "{role}");
    }
}

/// The metrics of a text in Prometheus' form.
fn names_in(plain: &str) -> BTreeSet<&str> {
    plain.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect()
}

/// All metrics of all roles.
pub fn all_names() -> BTreeSet<&'static str> {
    SAID.values().flat_map(|said| names_in(&said.plain)).collect()
}

/// The rows of the handbook's table of metrics: who has them, and their names.
fn rows_of_handbook(handbook: &str) -> Vec<(&str, Vec<&str>)> {
    let section = handbook.split("\n## ").find(|section| section.starts_with("What to look at\n")).unwrap();
    let cells = section.lines().filter(|line| line.starts_with('|')).map(|line| line.split('|').map(str::trim));
    let rows = cells.filter_map(|mut cells| {
        let (who, metrics) = (cells.nth(1)?, cells.next()?);
        let names = metrics.split('`').skip(1).step_by(2).map(|name| name.split('{').next().unwrap_or_default());
        Some((who, names.collect::<Vec<_>>()))
    });
    rows.filter(|(_, names)| !names.is_empty()).collect()
}

#[test]
fn the_handbook_names_every_metric_of_every_role_and_no_other() {
    let handbook = std::fs::read_to_string(ops_dir().join("README.md")).unwrap();
    let rows = rows_of_handbook(&handbook);
    let without_prefix = |plain: &'static str| -> BTreeSet<&str> {
        names_in(plain).into_iter().map(|name| name.strip_prefix(REHEARSAL).unwrap_or(name)).collect()
    };
    for role in ["gateway", "server", "worker"] {
        let is_of_role = |who: &str| who == "every process" || who.split(", ").any(|name| name == role);
        let named = rows.iter().filter(|(who, _)| is_of_role(who)).flat_map(|(_, names)| names.iter().copied());
        assert_eq!(
            named.collect::<BTreeSet<_>>(),
            without_prefix(&SAID[role].plain),
            "left: the handbook, of a {role}"
        );
    }
    let all: BTreeSet<&str> = rows.iter().flat_map(|(_, names)| names.iter().copied()).collect();
    let of_dev = without_prefix(&SAID["dev"].plain);
    assert!(of_dev.is_subset(&all), "the handbook lacks {:?}", of_dev.difference(&all));
}

#[test]
fn measures_of_rehearsals_have_names_of_their_own() {
    for role in ["gateway", "server", "worker", "dev"] {
        let names = names_in(&SAID[role].plain);
        let rehearsed: Vec<&str> = names.iter().filter_map(|name| name.strip_prefix(REHEARSAL)).collect();
        assert!(rehearsed.len() > 3, "{role}: {names:?}");
        assert!(rehearsed.iter().all(|name| names.contains(name)), "{role}: {names:?}");
    }
}
