//! `hongbao-loadtest run` against the real service: what it reports when all is
//! well, and that it notices when it is not.

mod common;

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{Dev, Run, SECRET, assert_refused, operator_token, service};

#[test]
fn a_run_that_holds_says_so_in_every_form() {
    let run = Run::embedded(&["hot", "--rate", "200", "--doubles", "0.1", "--slo", "p99<10s,opens>10/s"]).exits_with(0);
    let outcome = run.outcome();
    let committed = outcome["totals"]["committed"].as_u64().unwrap();
    assert!(committed > 200, "{committed}");
    assert_eq!(outcome["totals"]["settled"], committed);
    assert_eq!(outcome["void"], serde_json::json!([]));
    for rule in ["acknowledged", "(I1)", "(I2)", "I1 over the system", "answered before another", "accepted them"] {
        let (checked, broken) = run.checked(rule);
        assert!(checked > 0 && broken == 0, "{rule}: {checked} {broken}");
    }
    let answered = run.read("history").lines().count() as u64;
    assert!(answered > committed, "the second taps are in it, too");
    assert!(run.read("html").starts_with("<!doctype html>") || run.read("html").starts_with("<!DOCTYPE html>"));
}

#[test]
fn groups_send_grab_open_and_look_and_every_balance_is_right() {
    let run = Run::embedded(&["groups", "--rate", "20", "--seconds", "8"]).exits_with(0);
    let outcome = run.outcome();
    let count = |call: &str, outcome_of: &str| {
        let mut rows = outcome["latencies"].as_array().unwrap().iter();
        let row = rows.find(|row| row["call"] == call && row["phase"] == "all" && row["outcome"] == outcome_of);
        row.map_or(0, |row| row["count"].as_u64().unwrap())
    };
    for call in ["create", "pay", "grab", "open", "view"] {
        assert!(count(call, "all") > 0, "{call}");
    }
    for name in ["hongbao", "hongbao-loadtest"] {
        assert_eq!(outcome["machine"]["versions"][name], env!("CARGO_PKG_VERSION"));
    }
    // Who was too many at once for a debug build comes again.
    let (empty, answered) = (count("grab", "empty"), count("grab", "all") - count("grab", "503 busy"));
    assert!(empty * 2 > answered, "most find that others were faster: {empty} of {answered}");
    assert_eq!(run.checked("every balance").1, 0);
    let (paid, unpaid) = run.checked("acknowledged as paid");
    assert!(paid > 0 && unpaid == 0, "{paid} {unpaid}");
    let history = run.read("history");
    assert_eq!(history.matches(r#""outcome":"paid""#).count() as u64, paid);
}

#[test]
fn what_nobody_opened_by_the_end_of_the_night_goes_back() {
    let run = Run::embedded(&["eve", "--rate", "60"]).exits_with(0);
    let phases = run.outcome()["phases"].clone();
    let names: Vec<&str> = phases.as_array().unwrap().iter().map(|phase| phase["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["ramp", "peak", "tail", "expiry", "drain"]);
    assert_eq!(run.checked("I1 over the system").1, 0);
}

#[test]
fn a_missed_threshold_is_the_exit_code_1_and_a_generator_that_falls_behind_2() {
    let run = Run::embedded(&["rain", "--rate", "80", "--slo", "open.p50<0.001ms"]).exits_with(1);
    assert_eq!(run.outcome()["slos"][0]["held"], false);
    let run = Run::embedded(&["hot", "--rate", "300", "--connections", "1", "--slow", "1.0"]).exits_with(2);
    assert!(run.outcome()["generator"]["not_started"].as_u64().unwrap() > 0);
}

#[test]
fn a_closed_loop_keeps_so_many_users_busy() {
    let run = Run::embedded(&["hot", "--rate", "20000", "--closed", "8", "--tickets-ahead", "false"]).exits_with(0);
    assert!(run.outcome()["totals"]["committed"].as_u64().unwrap() > 100);
}

#[test]
fn what_one_envelope_measured_on_a_cluster_is_planned_from_as_that_of_one_set() {
    let dir = tempfile::tempdir().unwrap();
    let own = ["--cluster", "--sets", "2"];
    let place = ["--server", service().to_str().unwrap(), "--data", dir.path().to_str().unwrap()];
    let load = ["hot", "--rate", "4000", "--closed", "8", "--tickets-ahead", "false"];
    let run = Run::of(&[&load[..], &own, &place].concat()).exits_with(0);
    let outcome = run.outcome();
    let capacity = &outcome["capacity"];
    assert_eq!(capacity["sets"], 1, "the other SET had nothing to do: {capacity}");
    let committed = outcome["totals"]["committed"].as_f64().unwrap();
    let opens = capacity["opens_per_s"].as_f64().unwrap() * outcome["load_s"].as_f64().unwrap();
    assert!(committed > 100.0 && (0.5..1.5).contains(&(opens / committed)), "{committed} {capacity}");
    for figure in ["cpu_us_per_open", "db_cpu_us_per_open", "gateway_cpu_us_per_request", "commits_per_s"] {
        assert!(capacity[figure].as_f64().is_some_and(|value| value > 0.0), "{figure}: {capacity}");
    }

    let plan = Command::new(env!("CARGO_BIN_EXE_hongbao-loadtest"))
        .args(["plan", "--peak", "100", "--openers", "10", "--from"])
        .arg(run.dir.path().join("json"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&plan.stdout);
    assert!(plan.status.success() && text.contains("= 1 SETs  [--from"), "{text}");
    assert!(text.contains("measured one lane of one server of one SET"), "{text}");
}

/// A SET is added and another one drained inside the load. (Its slots are its own five minutes later, beyond this test.)
#[test]
fn the_topology_changes_while_the_load_runs() {
    let dir = tempfile::tempdir().unwrap();
    let change = |name: &str, text: &str| {
        std::fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).display().to_string()
    };
    let map = "[[maps]]\nafter_s = 320\n\
               sets = [{ name = 'a', slots = '00-98/2' }, { name = 'c', slots = '01-99/2' }]\n";
    let added = format!("0s={}", change("add.toml", &format!("add = ['c']\n{map}")));
    let drained = format!("1s={}", change("drain.toml", "weights = { a = 0 }\n"));
    let bad = format!("1s={}", change("bad.toml", "colour = 'red'\n"));
    let place = ["--server", service().to_str().unwrap(), "--data", dir.path().to_str().unwrap()];
    let load = ["groups", "--rate", "60", "--cluster", "--sets", "2"];
    let refused = Run::of(&[&load[..], &place, &["--topology-at", &bad]].concat());
    assert_refused(&refused, "bad.toml: unknown field `colour`");
    let run = Run::of(&[&load[..], &place, &["--topology-at", &added, "--topology-at", &drained]].concat());
    let outcome = run.exits_with(0).outcome();
    let changes: Vec<_> = outcome["faults"].as_array().unwrap().iter().collect();
    assert_eq!(changes.len(), 2, "{changes:?}");
    for change in changes {
        assert_eq!((&change["kind"], change["error"].is_null()), (&"topology".into(), true), "{change}");
    }
}

#[test]
fn bad_arguments_are_refused_before_anything_starts() {
    for (arguments, message) in [
        (&["hot"][..], "<--embedded|--cluster|--target <TARGET>>"),
        (&["storm", "--embedded"], "storm"),
        (&["hot", "--embedded", "--rate", "0"], "must be"),
        (&["hot", "--embedded", "--arrivals", "burst"], "arrivals are"),
        (&["replay", "x", "--embedded"], "do not go with replay"),
        (&["rain", "--embedded", "--arrivals", "constant"], "--arrivals goes with hot and groups"),
        (&["eve", "--embedded", "--arrivals", "constant"], "--arrivals goes with hot and groups"),
        (&["replay", "x", "--embedded", "--arrivals", "constant"], "--arrivals goes with hot and groups"),
        (&["hot", "--embedded", "--arrivals", "constant", "--closed", "8"], "cannot be used with"),
        (&["hot", "--embedded", "--slo", "p98<5ms"], "p98"),
        (&["hot", "--embedded", "--faults", "x"], "--cluster"),
        (&["hot", "--embedded", "--topology-at", "1s=x"], "--cluster"),
        (&["hot", "--cluster", "--topology-at", "x"], "it is TIME=FILE"),
        (&["hot", "--cluster", "--topology-at", "1=x"], "is not a time like 50ms"),
        (&["hot", "--embedded", "--secret-file", "x"], "--target"),
        (&["hot", "x", "--embedded"], "only replay"),
        (&["hot", "--embedded", "--cluster"], "cannot be used with"),
        (&["hot", "--target", "127.0.0.1:9", "--sets", "1"], "cannot be used with"),
        (&["hot", "--target", "127.0.0.1:9", "--data", "x"], "cannot be used with"),
        (&["hot", "--target", "127.0.0.1:9", "--server-settings", "x"], "cannot be used with"),
        (&["hot", "--embedded", "--sets", "1"], "cannot be used with"),
        (&["hot", "--cluster", "--sets", "3"], "1, 2 or 4"),
        (
            &["hot", "--embedded", "--rate", "1000000", "--connections", "9", "--slo-file", "/no/such"],
            "--slo-file /no/such",
        ),
        (&["hot", "--target", "127.0.0.1:9", "--rehearsal-token-file", "/no"], "--rehearsal-token-file /no: No such"),
        (&["hot", "--embedded", "--closed", "8", "--connections", "4"], "as many --connections"),
        (&["hot", "--embedded", "--data", "/proc/data"], "--data /proc/data: "),
    ] {
        assert_refused(&Run::of(arguments), message);
    }
    for (arguments, message) in [
        (&["replay", "--embedded"][..], "name the FILE"),
        (&["replay", "x", "--embedded", "--rate", "5"], "do not go with replay"),
    ] {
        assert_refused(&Run::as_long_as_it_takes(arguments), message);
    }
}

#[test]
fn an_installation_that_is_not_there_is_said_at_once() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let other = hongbao_load_testkit::serve(axum::Router::new()).to_string();
    for (target, message) in [(free.as_str(), "Connection refused"), (&other, "is not ready: GET /readyz: 404")] {
        let started = Instant::now();
        assert_refused(&Run::of(&["hot", "--target", target]), message);
        assert!(started.elapsed() < Duration::from_secs(3), "{target}: {:?}", started.elapsed());
    }
}

#[test]
fn a_run_that_is_refused_leaves_what_was_kept_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let kept = dir.path().join("kept");
    let run = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_hongbao-loadtest"))
            .args(["run", "hot", "--embedded", "--json", kept.to_str().unwrap()])
            .args(arguments)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "nothing is known of the service");
    };
    std::fs::write(&kept, "a report").unwrap();
    run(&["--slo-file", "/no/such/file"]);
    run(&["--arrivals", "burst"]);
    run(&["--server", "/no/such/binary", "--data", dir.path().to_str().unwrap()]);
    run(&["--history", "/no/such/folder/history"]);
    assert_eq!(std::fs::read_to_string(&kept).unwrap(), "a report");
}

#[test]
fn a_recording_is_played_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("recorded");
    let lines = [
        r#"{"at_ms":5,"call":"send","envelope":0,"user":1,"shares":2,"total_fen":50}"#,
        r#"{"at_ms":200,"call":"open","envelope":0,"user":2}"#,
        r#"{"at_ms":700,"call":"grab","envelope":0,"user":2}"#,
    ];
    std::fs::write(&file, lines.join("\n")).unwrap();
    let data = dir.path().to_str().unwrap();
    let server = service().to_str().unwrap();
    let replay = ["replay", file.to_str().unwrap(), "--embedded", "--server", server, "--data", data];
    let run = Run::as_long_as_it_takes(&[&replay[..], &["--slow", "0", "--doubles", "0"]].concat()).exits_with(0);
    let history = run.read("history");
    let of = |call: &str| history.lines().filter(|line| line.contains(&format!(r#""call":"{call}""#))).count();
    assert_eq!((of("pay"), of("open"), of("grab")), (1, 1, 1), "{history}");
    assert_eq!(
        run.checked("with the amount that was answered"),
        (2, 0),
        "answered to the opening and to the grab after it"
    );
}

#[test]
fn an_installation_that_runs_is_driven_with_its_secret_or_by_its_dev_call() {
    let dev = Dev::start();
    let addr = dev.addr.to_string();
    Run::of(&["hot", "--rate", "100", "--target", &addr]).exits_with(0);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("secret");
    std::fs::write(&file, SECRET).unwrap();
    let run = Run::of(&["rain", "--rate", "100", "--target", &addr, "--secret-file", file.to_str().unwrap()]);
    run.exits_with(0);
    let dev = Dev::start_with("audience = \"hongbao\"\nissuer = \"bank\"\n");
    let addr = dev.addr.to_string();
    let with = ["hot", "--rate", "100", "--target", &addr, "--secret-file", file.to_str().unwrap()];
    Run::of(&[&with[..], &["--audience", "hongbao", "--issuer", "bank"]].concat()).exits_with(0);
}

#[test]
fn a_marked_run_leaves_no_trace_in_the_real_world() {
    let dev = Dev::start_with("[rehearsal]\nenabled = true\n");
    let dir = tempfile::tempdir().unwrap();
    let (secret, operator) = (dir.path().join("secret"), dir.path().join("operator"));
    std::fs::write(&secret, SECRET).unwrap();
    std::fs::write(&operator, operator_token()).unwrap();
    let addr = dev.addr.to_string();
    let marked = ["--secret-file", secret.to_str().unwrap(), "--rehearsal-token-file", operator.to_str().unwrap()];
    let run = Run::of(&[&["hot", "--rate", "100", "--target", &addr][..], &marked[..]].concat()).exits_with(0);
    let outcome = run.outcome();
    assert_eq!(outcome["totals"]["settled"], outcome["totals"]["committed"]);

    let mut stream = TcpStream::connect(dev.addr).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    let opened = |prefix: &str| {
        let name = format!("\n{prefix}hongbao_open_outcomes_total{{outcome=\"opened\"}} ");
        metrics.split_once(&name).unwrap().1.split(['\n', '\r']).next().unwrap().parse::<u64>().unwrap()
    };
    assert_eq!(opened(""), 0);
    assert_eq!(opened("rehearsal_"), outcome["totals"]["committed"].as_u64().unwrap());
}

/// Passes everything on, but answers one opener with one fen more, or less.
fn liar(server: SocketAddr) -> SocketAddr {
    static OPENED: AtomicU32 = AtomicU32::new(0);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let upstream = TcpStream::connect(server).unwrap();
            let (from, to) = (client.try_clone().unwrap(), upstream.try_clone().unwrap());
            std::thread::spawn(move || pass(from, to, |_| ()));
            std::thread::spawn(move || {
                pass(upstream, client, |bytes| {
                    let text = String::from_utf8_lossy(bytes).into_owned();
                    let Some(at) = text.find(r#""amount_fen":"#).filter(|_| text.contains(r#""replayed":false"#))
                    else {
                        return;
                    };
                    if OPENED.fetch_add(1, Ordering::Relaxed) == 20 {
                        let digit = &mut bytes[at + r#""amount_fen":"#.len()];
                        *digit = if *digit == b'9' { b'8' } else { *digit + 1 };
                    }
                });
            });
        }
    });
    addr
}

fn pass(mut from: TcpStream, mut to: TcpStream, change: impl Fn(&mut [u8])) {
    let mut bytes = vec![0; 1 << 16];
    while let Ok(read @ 1..) = from.read(&mut bytes) {
        change(&mut bytes[..read]);
        if to.write_all(&bytes[..read]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}

#[test]
fn a_single_wrong_fen_fails_the_run() {
    let dev = Dev::start();
    let run =
        Run::of(&["hot", "--rate", "200", "--doubles", "0", "--target", &liar(dev.addr).to_string()]).exits_with(1);
    assert_eq!(run.checked("an acknowledged opening").1, 1);
    assert!(String::from_utf8_lossy(&run.output.stdout).contains("was answered"));
}
