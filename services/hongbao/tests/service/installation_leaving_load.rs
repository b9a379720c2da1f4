//! Load while a SET leaves: the load test, as an operator runs it, and readers who ask for envelopes of before and
//! compare what is answered.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hongbao_core::{Clock as _, SystemClock, Timestamp};
use serde_json::Value;

use crate::support::{Answer, Folder, TOKEN_SECRET, User, text, text_of, wait_until};

/// After a step requests may be `unavailable` for so long.
const REFUSED_MS_MAX: i64 = 1_000;
/// What the load test names so is refused because there is too much to do.
const BUSY: &str = " 503 busy";
/// Openings a second; 30 other requests belong to each. Debug builds answer them on two processors, beside the steps.
const RATE: &str = "5";
/// Few, so that a rate as low as this sends an envelope every second.
const SHARES_MAX: &str = "3";
/// A run that ends before the last step is followed by another one.
const SECONDS: &str = "20";
const SOON: Duration = Duration::from_secs(60);
/// Between two questions of a reader.
const READ_AGAIN: Duration = Duration::from_millis(10);

/// What the load test drives.
pub struct Target {
    pub folder: Folder,
    /// With the clock of the installation, which is so far ahead of the machine's.
    pub environment: Vec<(String, String)>,
    pub ahead_ms: i64,
    pub gateway: SocketAddr,
    /// The servers that open what is new.
    pub servers: Vec<SocketAddr>,
}

/// An envelope with its detail, and what came of grabbing and opening it.
pub type Known = (String, Value, Value);

/// The load, and what it has seen.
pub struct Load<'a> {
    target: &'a Target,
    is_over: AtomicBool,
    steps: Mutex<Vec<(&'static str, Timestamp)>>,
    refused: Mutex<Vec<Refused>>,
}

#[derive(Debug)]
struct Refused {
    began: Timestamp,
    ended: Timestamp,
    /// As the load test names it: `open 503 busy`.
    what: String,
}

/// Ends the load, also where a step panics.
struct UntilDropped<'a>(&'a AtomicBool);

impl Drop for UntilDropped<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load<'_> {
    /// Takes steps while the load test runs and each reader asks for what is known. Panics unless each run of the load
    /// test ends with a good verdict, each reader is answered what is known, and nothing is refused but in the first second
    /// after a step, or because the machine is busy.
    pub fn around(target: &Target, readers: &[(&str, User)], known: &[Known], steps: impl FnOnce(&Load<'_>)) {
        // Before the first step waits for it: a build of this folder that runs holds this one up.
        let binary = hongbao_load_testkit::built("hongbao-loadtest", env!("CARGO_BIN_EXE_hongbao"));
        let load = Load { target, is_over: AtomicBool::new(false), steps: Mutex::default(), refused: Mutex::default() };
        let answers = std::thread::scope(|scope| {
            let until_dropped = UntilDropped(&load.is_over);
            let load = &load;
            scope.spawn(|| load.drive(&binary));
            let reading = readers.iter().map(|(_, reader)| scope.spawn(move || load.read(reader, known)));
            let reading: Vec<_> = reading.collect();
            steps(load);
            drop(until_dropped);
            reading.into_iter().map(|answers| answers.join().unwrap()).collect::<Vec<usize>>()
        });
        for ((gateway, _), answers) in readers.iter().zip(&answers) {
            println!("{answers} answers through {gateway}");
        }
        let (steps, refused) = (load.steps.into_inner().unwrap(), load.refused.into_inner().unwrap());
        if let (Some((_, first)), Some((_, last))) = (steps.first(), steps.last()) {
            println!("the steps took {} ms; refused: {refused:?}", last.millis() - first.millis());
        }
        let is_first_second = |refused: &&Refused| steps.iter().any(|(_, at)| refused.is_near(*at));
        let (busy, other): (Vec<&Refused>, Vec<_>) = refused
            .iter()
            .filter(|refused| !(refused.what.ends_with(" 503 unavailable") && is_first_second(refused)))
            .partition(|refused| refused.what.ends_with(BUSY));
        assert!(other.is_empty(), "{other:?}, where the steps were {steps:?}");
        // A machine that others use may be too slow at any time.
        assert!(busy.len() * 100 <= answers.iter().sum(), "{} requests were busy", busy.len());
    }

    /// Does something while envelopes are being opened.
    pub fn step<T>(&self, name: &'static str, act: impl FnOnce() -> T) -> T {
        let before = self.opened();
        wait_until(SOON, "the load test to open envelopes", || self.opened() > before);
        let began = SystemClock.now();
        self.steps.lock().unwrap().push((name, began));
        let done = act();
        let ended = SystemClock.now();
        self.steps.lock().unwrap().push((name, ended));
        println!("{name}: {} ms", ended.millis() - began.millis());
        done
    }

    fn opened(&self) -> f64 {
        self.target.servers.iter().map(|at| metric(*at, "hongbao_open_outcomes_total{outcome=\"opened\"}")).sum()
    }

    /// Runs the load test again and again.
    fn drive(&self, binary: &Path) {
        let Target { folder, environment, ahead_ms, gateway, servers } = self.target;
        let (secret, json) = (folder.write("secret", TOKEN_SECRET), folder.path("load.json"));
        let servers: Vec<String> = servers.iter().map(SocketAddr::to_string).collect();
        while !self.is_over.load(Ordering::Relaxed) {
            let mut run = Command::new(binary);
            run.args(["run", "groups", "--target", &gateway.to_string(), "--metrics", &servers.join(",")])
                .args(["--rate", RATE, "--shares-max", SHARES_MAX, "--seconds", SECONDS])
                // Builds and other tests may run beside it.
                .args(["--lag-ms-max", "1000", "--slo", "busy<1%,unknown<0.01%"])
                .args(["--secret-file".as_ref(), secret.as_path(), "--json".as_ref(), json.as_path()])
                .envs(environment.iter().map(|(name, value)| (name, value)));
            let done = run.output().unwrap();
            let said = format!("{}{}", text(&done.stdout), text(&done.stderr));
            println!("{said}");
            assert_eq!(done.status.code(), Some(0), "{said}");
            let outcome: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
            let started = Timestamp::parse_rfc3339(text_of(&outcome["started_at"])).unwrap().plus_millis(-ahead_ms);
            for second in outcome["seconds"].as_array().unwrap() {
                // It names the second in which it was started, and not the moment.
                let ended = started.plus_millis((second["at_s"].as_f64().unwrap() * 1_000.0) as i64 + 1_000);
                let began = ended.plus_millis(-2_000);
                // How many may be busy is a threshold of it.
                for what in second["errors"].as_object().unwrap().keys().filter(|what| !what.ends_with(BUSY)) {
                    self.refused.lock().unwrap().push(Refused { began, ended, what: what.clone() });
                }
            }
        }
    }

    /// Asks for what is known until the load is over; how many answers were so.
    fn read(&self, reader: &User, known: &[Known]) -> usize {
        let mut good = 0;
        for (id, detail, opened) in known.iter().cycle() {
            if self.is_over.load(Ordering::Relaxed) {
                break;
            }
            let look = || reader.try_call("GET", &format!("/v1/envelopes/{id}"), None).unwrap();
            good += usize::from(self.is_answered("view", look, detail));
            good += usize::from(self.is_answered("open", || reader.try_grab_and_open(id).unwrap(), opened));
            std::thread::sleep(READ_AGAIN);
        }
        assert!(good >= 2 * known.len(), "all of it was asked for at least once: {good}");
        good
    }

    /// Whether it is answered so, and not refused. An answer that is lost ends the test.
    fn is_answered(&self, call: &str, ask: impl FnOnce() -> Answer, expected: &Value) -> bool {
        let began = SystemClock.now();
        let answer = ask();
        let (ended, said) = (SystemClock.now(), answer.json());
        if answer.status == 200 {
            assert_eq!(said, *expected);
            return true;
        }
        let what = format!("{call} {} {}", answer.status, said["code"].as_str().unwrap_or_default());
        self.refused.lock().unwrap().push(Refused { began, ended, what });
        false
    }
}

impl Refused {
    /// Whether it was within the first second after something was begun or done.
    fn is_near(&self, at: Timestamp) -> bool {
        at <= self.ended && self.began < at.plus_millis(REFUSED_MS_MAX)
    }
}

/// What a process says of a metric, with its labels; 0 where it does not name it.
pub fn metric(at: SocketAddr, name: &str) -> f64 {
    let metrics = User::new("", None, at).get("/metrics").text();
    let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok());
    value.unwrap_or_default()
}
