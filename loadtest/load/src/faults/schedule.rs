//! The file of `--faults`: what is done to which part of the cluster, and when.
//!
//! ```toml
//! [[fault]]
//! at = "20s"          # after the load has begun
//! do = "slow"         # kill, stop, pause, slow, fill, partition
//! part = "a-mariadb"  # a name that `hongbao-testbed status` prints
//! for = "5s"          # then it is undone
//! delay = "50ms"      # of slow: added to the way in each direction
//! ```

use std::fmt;
use std::ops::Range;
use std::path::Path;
use std::time::Duration;

use hongbao_testbed::{Description, PartEntry, PartKind, SETS_MAX, TopologyChange};
use serde::Deserialize;
use toml::Spanned;

use crate::error::Fallible;
use crate::files;

/// Faults that one schedule may hold: each has a thread that waits for its time.
const FAULTS_MAX: usize = 200;
/// Nothing begins or lasts longer than a night.
const TIME_MAX: Duration = Duration::from_secs(24 * 3600);

/// What is done to a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// It is killed (SIGKILL), and started again.
    Kill,
    /// It is asked to end (SIGTERM), and started again.
    Stop,
    /// It neither runs nor ends (SIGSTOP), and goes on.
    Pause,
    /// The links to it are slow, by this much in each direction.
    Slow(Duration),
    /// Its disk is full.
    Fill,
    /// Nothing comes through to it, nor from it.
    Partition,
    /// The topology changes, by the change of this number; it is not undone.
    Topology(usize),
}

impl fmt::Display for FaultKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FaultKind::Kill => "kill",
            FaultKind::Stop => "stop",
            FaultKind::Pause => "pause",
            FaultKind::Slow(_) => "slow",
            FaultKind::Fill => "fill",
            FaultKind::Partition => "partition",
            FaultKind::Topology(_) => "topology",
        })
    }
}

impl FaultKind {
    /// Whether it is done to the links of a part, not to its process.
    pub fn is_of_links(self) -> bool {
        matches!(self, FaultKind::Slow(_) | FaultKind::Partition)
    }
}

/// One line of the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// After the load has begun.
    pub at: Duration,
    /// For how long.
    pub lasts: Duration,
    /// What.
    pub kind: FaultKind,
    /// To whom.
    pub part: String,
    /// Where it stands in the file, for complaints.
    place: String,
}

/// All faults of a run, in the order of the file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Schedule {
    faults: Vec<Fault>,
    changes: Vec<TopologyChange>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    fault: Vec<Line>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    at: Spanned<String>,
    #[serde(rename = "do")]
    kind: Spanned<String>,
    part: Spanned<String>,
    #[serde(rename = "for")]
    lasts: Spanned<String>,
    delay: Option<Spanned<String>>,
}

impl Schedule {
    /// Reads the file that `flag` names. What it does not understand is refused by its name and line.
    pub fn read(flag: &str, path: &Path) -> Fallible<Schedule> {
        Ok(Schedule::parse(&path.display().to_string(), &files::read(flag, path)?)?)
    }

    fn parse(name: &str, text: &str) -> Result<Schedule, String> {
        let file: File = toml::from_str(text).map_err(|error| {
            let line = error.span().map_or(String::new(), |span| format!(" line {}:", line_of(text, span)));
            format!("{name}:{line} {}", error.message())
        })?;
        if file.fault.len() > FAULTS_MAX {
            return Err(format!("{name}: {} faults, at most {FAULTS_MAX} are possible", file.fault.len()));
        }
        let faults = file.fault.into_iter().map(|line| line.check(name, text)).collect::<Result<_, _>>()?;
        Ok(Schedule { faults, changes: Vec::new() })
    }

    /// Adds a change of the topology: `20s=FILE`, of which the name of the file stands for the part.
    pub fn add_topology(&mut self, flag: &str, text: &str) -> Fallible<()> {
        let (at, file) =
            text.split_once('=').ok_or_else(|| format!("{flag} {text}: it is TIME=FILE, such as 20s=next.toml"))?;
        let at = parse_time(at).map_err(|message| format!("{flag} {text}: {at:?} {message}"))?;
        let change: TopologyChange = toml::from_str(&files::read(flag, Path::new(file))?)
            .map_err(|error| format!("{flag}: {file}: {}", error.message()))?;
        let kind = FaultKind::Topology(self.changes.len());
        self.changes.push(change);
        self.faults.push(Fault {
            at,
            lasts: Duration::ZERO,
            kind,
            part: file.to_owned(),
            place: format!("{flag} {text}"),
        });
        Ok(())
    }

    /// The changes of the topology, by number.
    pub fn changes(&self) -> &[TopologyChange] {
        &self.changes
    }

    /// The SETs that changes of the topology add.
    pub fn added(&self) -> Vec<&str> {
        self.changes.iter().flat_map(|change| &change.add).map(String::as_str).collect()
    }

    /// The faults, in the order of the file.
    pub fn faults(&self) -> &[Fault] {
        &self.faults
    }

    /// Whether a cluster needs relays before some of its parts.
    pub fn needs_relays(&self) -> bool {
        self.faults.iter().any(|fault| fault.kind.is_of_links())
    }

    /// Parts that need a relay, each once.
    pub fn relayed(&self) -> Vec<&str> {
        self.parts_of(FaultKind::is_of_links)
    }

    /// Databases that will be full, each once.
    pub fn filled(&self) -> Vec<&str> {
        self.parts_of(|kind| kind == FaultKind::Fill)
    }

    fn parts_of(&self, is_meant: impl Fn(FaultKind) -> bool) -> Vec<&str> {
        let mut parts: Vec<&str> =
            self.faults.iter().filter(|fault| is_meant(fault.kind)).map(|fault| fault.part.as_str()).collect();
        parts.sort_unstable();
        parts.dedup();
        parts
    }

    /// Refuses what begins after a load of so many seconds.
    pub fn check_begin(&self, load_s: f64) -> Fallible<()> {
        match self.faults.iter().find(|fault| fault.at.as_secs_f64() >= load_s) {
            Some(late) => Err(format!("{}: the fault comes after the load, which lasts {load_s} s", late.place).into()),
            None => Ok(()),
        }
    }

    /// Refuses parts that a cluster of so many SETs does not have; `bare` ones go
    /// without memcached and Redis.
    pub fn check(&self, sets: u16, bare: bool) -> Fallible<()> {
        let cluster = Description { sets, bare, ..Description::default() };
        for fault in self.faults.iter().filter(|fault| !matches!(fault.kind, FaultKind::Topology(_))) {
            cluster.part(&fault.part).map_err(|error| format!("{}: {error}", fault.place))?;
        }
        Ok(())
    }
}

impl Line {
    fn check(self, name: &str, text: &str) -> Result<Fault, String> {
        let place = |span: Range<usize>| format!("{name}: line {}", line_of(text, span));
        let time = |key: &str, text: &Spanned<String>| {
            parse_time(text.get_ref())
                .map_err(|message| format!("{}: {key} = \"{}\" {message}", place(text.span()), text.get_ref()))
        };
        let (at, lasts) = (time("at", &self.at)?, time("for", &self.lasts)?);
        let delay = self.delay.as_ref().map(|delay| time("delay", delay)).transpose()?;
        let kind = match (self.kind.get_ref().as_str(), delay) {
            ("slow", Some(delay)) => FaultKind::Slow(delay),
            ("slow", None) => return Err(format!("{}: slow needs a delay", place(self.kind.span()))),
            (kind, Some(_)) => return Err(format!("{}: {kind} has no delay", place(self.kind.span()))),
            ("kill", None) => FaultKind::Kill,
            ("stop", None) => FaultKind::Stop,
            ("pause", None) => FaultKind::Pause,
            ("fill", None) => FaultKind::Fill,
            ("partition", None) => FaultKind::Partition,
            (unknown, None) => {
                let known = "kill, stop, pause, slow, fill, partition";
                return Err(format!("{}: there is no fault `{unknown}`: {known}", place(self.kind.span())));
            }
        };
        let part = self.part.get_ref();
        let part_place = place(self.part.span());
        let largest = Description { sets: SETS_MAX, ..Description::default() };
        let Ok(PartEntry { kind: of, .. }) = largest.part(part) else {
            return Err(format!("{part_place}: there is no part `{part}` in any cluster, such as a1 or a-mariadb"));
        };
        if kind == FaultKind::Fill && of != PartKind::Database {
            return Err(format!("{part_place}: only the disk of a MariaDB can be full, not that of `{part}`"));
        }
        if kind.is_of_links() && !of.has_links() {
            return Err(format!(
                "{part_place}: no part of the cluster talks to `{part}`, so there is no link for {kind}"
            ));
        }
        Ok(Fault { at, lasts, kind, part: part.clone(), place: part_place })
    }
}

/// A time like `50ms`, `1.5s` or `2m`.
fn parse_time(text: &str) -> Result<Duration, &'static str> {
    const REFUSAL: &str = "is not a time like 50ms, 1.5s or 2m";
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit_s = match unit {
        "ms" => 0.001,
        "s" => 1.0,
        "m" => 60.0,
        _ => return Err(REFUSAL),
    };
    let number: f64 = number.parse().map_err(|_| REFUSAL)?;
    let time = Duration::try_from_secs_f64(number * unit_s).map_err(|_| REFUSAL)?;
    if time > TIME_MAX {
        return Err("is more than a day");
    }
    Ok(time)
}

fn line_of(text: &str, span: Range<usize>) -> usize {
    text.bytes().take(span.start).filter(|byte| *byte == b'\n').count() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Schedule, String> {
        Schedule::parse("night.toml", text)
    }

    fn refusal(text: &str) -> String {
        parse(text).unwrap_err()
    }

    const NIGHT: &str = r#"
        [[fault]]
        at = "20s"
        do = "slow"
        part = "a-mariadb"
        for = "1.5m"
        delay = "50ms"

        [[fault]]
        at = "0s"
        do = "kill"
        part = "b1"
        for = "500ms"
    "#;

    #[test]
    fn a_schedule_says_what_happens_when_to_whom() {
        let night = parse(NIGHT).unwrap();
        let [slow, kill] = night.faults() else { panic!("{night:?}") };
        assert_eq!((slow.at, slow.lasts), (Duration::from_secs(20), Duration::from_secs(90)));
        assert_eq!((slow.kind, slow.part.as_str()), (FaultKind::Slow(Duration::from_millis(50)), "a-mariadb"));
        assert_eq!((kill.at, kill.lasts), (Duration::ZERO, Duration::from_millis(500)));
        assert!(night.needs_relays());
        assert_eq!((night.relayed(), night.filled()), (vec!["a-mariadb"], vec![]));
        assert!(!parse("").unwrap().needs_relays());
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name_and_line() {
        let with = |from: &str, to: &str| refusal(&NIGHT.replace(from, to));
        assert_eq!(
            with("for = \"500ms\"", "duration = \"1s\""),
            "night.toml: line 13: unknown field `duration`, expected one of `at`, `do`, `part`, `for`, `delay`"
        );
        assert_eq!(with("for = \"500ms\"", ""), "night.toml: line 9: missing field `for`");
        assert_eq!(
            with("do = \"kill\"", "do = \"melt\""),
            "night.toml: line 11: there is no fault `melt`: kill, stop, pause, slow, fill, partition"
        );
        assert_eq!(
            with("\"b1\"", "\"b3\""),
            "night.toml: line 12: there is no part `b3` in any cluster, such as a1 or a-mariadb"
        );
        assert_eq!(
            with("\"kill\"", "\"fill\""),
            "night.toml: line 12: only the disk of a MariaDB can be full, not that of `b1`"
        );
        assert_eq!(
            with("a-mariadb", "a-w1"),
            "night.toml: line 5: no part of the cluster talks to `a-w1`, so there is no link for slow"
        );
        assert_eq!(with("delay = \"50ms\"", ""), "night.toml: line 4: slow needs a delay");
        assert_eq!(with("\"slow\"", "\"stop\""), "night.toml: line 4: stop has no delay");
        assert_eq!(with("20s", "20"), "night.toml: line 3: at = \"20\" is not a time like 50ms, 1.5s or 2m");
        assert_eq!(with("1.5m", "2000m"), "night.toml: line 6: for = \"2000m\" is more than a day");
        assert!(refusal("[[fault]\n").starts_with("night.toml: line 1: "), "{}", refusal("[[fault]\n"));
        assert_eq!(refusal("faults = 1"), "night.toml: line 1: unknown field `faults`, expected `fault`");
    }

    #[test]
    fn parts_must_be_those_of_the_cluster() {
        let night = parse(NIGHT).unwrap();
        night.check(2, false).unwrap();
        let message = night.check(1, false).unwrap_err().to_string();
        assert!(message.starts_with("night.toml: line 12: there is no part `b1`: there are a-mariadb, "), "{message}");
        let caches = parse(&NIGHT.replace("a-mariadb", "a-redis")).unwrap();
        caches.check(4, false).unwrap();
        let message = caches.check(4, true).unwrap_err().to_string();
        assert!(
            message.starts_with("night.toml: line 5: there is no part `a-redis`: there are a-mariadb, "),
            "{message}"
        );
        parse(&NIGHT.replace("b1", "gateway")).unwrap().check(1, true).unwrap();
        parse(&NIGHT.replace("b1", "wallet-mariadb")).unwrap().check(1, true).unwrap();
    }

    #[test]
    fn what_begins_after_the_load_is_refused() {
        let night = parse(NIGHT).unwrap();
        night.check_begin(20.1).unwrap();
        let message = night.check_begin(20.0).unwrap_err().to_string();
        assert_eq!(message, "night.toml: line 5: the fault comes after the load, which lasts 20 s");
    }

    #[test]
    fn a_schedule_is_bounded() {
        let fault = "[[fault]]\nat = \"1s\"\ndo = \"kill\"\npart = \"a1\"\nfor = \"1s\"\n";
        parse(&fault.repeat(FAULTS_MAX)).unwrap();
        assert_eq!(refusal(&fault.repeat(FAULTS_MAX + 1)), "night.toml: 201 faults, at most 200 are possible");
    }
}
