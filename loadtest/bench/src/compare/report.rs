//! What a comparison found, and its table.

use std::fmt::Write as _;

use serde::Serialize;

use super::audit::Audit;
use super::cell::{CONNECTIONS_MAX, Cell};
use super::loss::{Loss, NotKilled};
use super::sample::Sample;
use super::scheme::Scheme;

/// Other processes that use more than this share of one processor are worth a note.
const OTHERS_SHARE_MAX: f64 = 0.25;

/// What every figure means; printed below the table.
const LEGEND: &str = "\
opens/s     first openings answered within the measured time
/bare       the same HTTP and checks, which counts in memory and keeps nothing, is 1
/lock       the row lock is 1
p50, p99    ms from the write of a request to the read of its answer, successes only
errors      requests that were not answered with an opening: busy, unknown, lost
unfair      of pairs of openings of one envelope that stand next to each other in seq, those
            whose earlier seq the generator sent later; it sends from one thread, one request
            after the other, so the order of sending is known. No order at all is 50%; what `bare` has
            comes from requests under way at once being read in another order
overtaken   of all openings but one in a hundred: how many that were sent later came before, at most
db us       processor time of mariadbd for one opening, for redis-always that of its Redis;
            Hongbao's includes the credits that it pays meanwhile, which no alternative does
server us   processor time of the HTTP server for one opening
gen, other  share of one processor that the generator used, and that processes used besides the
            generator, the server and what `db us` counts (the Redis of memory-first, Hongbao's
            workers and wallet, strangers)
opened      envelopes that were opened at all: the time may be over before all have had their turn
lost        acknowledged openings that were not in MariaDB (of redis-always: in its Redis) once the
            scheme had caught up, in all rounds; `ok` when each is there with its amount and every envelope's money adds up";

/// One scheme in one cell.
#[derive(Clone, Debug, Serialize)]
pub struct Line {
    pub cell: Cell,
    /// Connections that were kept busy.
    pub connections: u32,
    pub scheme: Scheme,
    /// The run whose speed is the median, if there was one.
    pub sample: Option<Sample>,
    pub rounds: Vec<Sample>,
    /// Why runs are missing.
    pub failures: Vec<String>,
}

/// Everything.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    pub processors: String,
    /// The type of the file system under the database.
    pub file_system: String,
    /// MariaDB's version and what decides over its durability.
    pub durability: String,
    /// Whether the generator is a debug build, whose figures are worth little.
    pub debug_build: bool,
    /// Connections that each alternative had to MariaDB.
    pub database_connections: u32,
    pub seconds: u64,
    pub rounds: u32,
    pub lines: Vec<Line>,
    /// What a kill in mid-load cost.
    pub losses: Vec<Loss>,
    /// Why kills are missing.
    pub not_killed: Vec<NotKilled>,
    /// Why it ended before all was measured.
    pub stopped: Option<String>,
}

impl Line {
    /// Sums up a line's runs.
    pub fn new(cell: Cell, scheme: Scheme, rounds: Vec<Sample>, failures: Vec<String>) -> Line {
        let mut by_speed: Vec<&Sample> = rounds.iter().collect();
        by_speed.sort_by(|one, other| one.load.per_second.total_cmp(&other.load.per_second));
        // Of an even number the slower of the two in the middle.
        let sample = by_speed.get(by_speed.len().saturating_sub(1) / 2).map(|sample| (*sample).clone());
        Line { cell, connections: cell.connections(), scheme, sample, rounds, failures }
    }

    /// What all of its runs have lost, or that not all of them were audited.
    fn lost(&self) -> String {
        if !self.scheme.keeps_openings() {
            return "keeps nothing".to_owned();
        }
        let audits = || self.rounds.iter().filter_map(|sample| sample.audit.as_ref());
        let all = audits().all(Audit::holds);
        let (lost, fen) = audits().fold((0, 0), |(lost, fen), audit| (lost + audit.lost, fen + audit.lost_fen));
        let mut text = match (all, lost) {
            (true, _) => "ok".to_owned(),
            (false, 0) => "WRONG, see MONEY".to_owned(),
            (false, lost) => format!("{lost} ({fen} fen)"),
        };
        if self.unaudited() > 0 {
            text += &format!(", {} NOT AUDITED", self.unaudited());
        }
        text
    }

    /// Runs that failed, or whose money was not checked.
    pub fn unaudited(&self) -> usize {
        self.failures.len() + self.rounds.iter().filter(|round| !round.is_audited(self.scheme)).count()
    }

    fn notes(&self) -> Vec<String> {
        let mut notes: Vec<String> =
            self.failures.iter().map(|failure| format!("NOT MEASURED, NOT AUDITED: {failure}")).collect();
        for sample in &self.rounds {
            if sample.load.used_up {
                notes.push(format!(
                    "used up its prepared requests after {:.1} s; only the time before counts",
                    sample.load.elapsed_s
                ));
            }
            if sample.load.others_share > OTHERS_SHARE_MAX {
                notes.push(format!("other processes used {:.0}% of a processor", 100.0 * sample.load.others_share));
            }
            if let Some(audit) = sample.audit.as_ref().filter(|audit| !audit.holds()) {
                notes.push(format!("MONEY: {audit:?}"));
            }
            let errors: Vec<String> =
                sample.load.errors.iter().map(|(label, count)| format!("{count} x {label}")).collect();
            if !errors.is_empty() {
                notes.push(format!("errors: {}", errors.join(", ")));
            }
        }
        notes.into_iter().map(|note| format!("{}: {note}", self.at())).collect()
    }

    pub fn at(&self) -> String {
        format!("{} at {} x {}", self.scheme.text(), self.cell.openers, self.cell.envelopes)
    }
}

impl Report {
    fn baselines(&self, cell: Cell) -> Baselines {
        let of = |scheme| {
            let line = self.lines.iter().find(|line| line.cell == cell && line.scheme == scheme)?;
            line.sample.as_ref().map(|sample| sample.load.per_second)
        };
        Baselines { bare: of(Scheme::Bare), row_lock: of(Scheme::RowLock) }
    }

    /// The table, with what it was measured on and what it means.
    pub fn table(&self) -> String {
        let mut out = String::new();
        let _ = writeln!(out, "machine     {}, {} disk", self.processors, self.file_system);
        let _ = writeln!(out, "database    {}", self.durability);
        let _ = writeln!(out, "alternatives      {} connections to MariaDB each", self.database_connections);
        let _ = writeln!(
            out,
            "figures     the median of {} alternating rounds of {} s; openers x envelopes connections, but {CONNECTIONS_MAX} at most:\n            \
             then that many of the envelopes are open at a time, each by as many openers",
            self.rounds, self.seconds
        );
        if self.debug_build {
            let _ = writeln!(out, "WORTHLESS   this is a debug build: figures show that it works, not how fast");
        }
        let _ = writeln!(out, "verdict     {}", self.verdict());
        let mut cell = None;
        for line in &self.lines {
            if cell != Some(line.cell) {
                let _ = writeln!(
                    out,
                    "\n{} at once x {} envelopes, {} connections",
                    line.cell.openers, line.cell.envelopes, line.connections
                );
                let _ = writeln!(out, "{HEAD}");
                cell = Some(line.cell);
            }
            let _ = writeln!(out, "{}", row(line, self.baselines(line.cell)));
        }
        let _ = writeln!(out, "\n{LEGEND}");
        let notes: Vec<String> = self.lines.iter().flat_map(Line::notes).collect();
        if !notes.is_empty() {
            let _ = writeln!(out, "\nnotes\n{}", notes.join("\n"));
        }
        if !self.losses.is_empty() || !self.not_killed.is_empty() {
            let _ = writeln!(out, "\n{}", super::loss::table(&self.losses, &self.not_killed));
        }
        out
    }
}

/// What the speeds in a cell are compared with, in openings a second.
#[derive(Clone, Copy)]
struct Baselines {
    bare: Option<f64>,
    row_lock: Option<f64>,
}

const HEAD: &str = "scheme          opens/s   /bare   /lock     p50     p99  errors  unfair  overtaken   db us  server us    gen  other  opened  lost";

fn row(line: &Line, baselines: Baselines) -> String {
    let name = line.scheme.text();
    let Some(sample) = &line.sample else { return format!("{name:<13}  NOT MEASURED, NOT AUDITED: see the notes") };
    let ms = |us: Option<f64>| us.map_or("-".into(), |us| format!("{:.1}", us / 1_000.0));
    let us = |us: Option<f64>| us.map_or("-".into(), |us| format!("{us:.1}"));
    let percent = |share: f64| format!("{:.1}%", 100.0 * share);
    let unfair = if sample.pairs > 0 { percent(sample.unfair_share) } else { "-".into() };
    let lost = line.lost();
    let times = |than: Option<f64>| than.map_or("-".into(), |than| format!("{:.2}", sample.load.per_second / than));
    format!(
        "{name:<13}{:>10.0}{:>8}{:>8}{:>8}{:>8}{:>8}{:>8}{:>11}{:>8}{:>11}{:>7}{:>7}{:>8}  {lost}",
        sample.load.per_second,
        times(baselines.bare),
        times(baselines.row_lock),
        ms(sample.load.p50_us),
        ms(sample.load.p99_us),
        percent(sample.error_share),
        unfair,
        sample.overtaken_p99,
        us(sample.database_cpu_us),
        us(sample.load.server_cpu_us),
        format!("{:.0}%", 100.0 * sample.load.generator_share),
        format!("{:.0}%", 100.0 * sample.load.others_share),
        sample.envelopes_opened,
    )
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::measure;

    fn sample(per_second: f64) -> Sample {
        let load = measure::Sample {
            per_second,
            p50_us: Some(1_500.0),
            p99_us: Some(12_340.0),
            sent: 10,
            ..Default::default()
        };
        Sample {
            load,
            pairs: 4,
            unfair_share: 0.25,
            database_cpu_us: Some(33.3),
            audit: Some(Audit { acknowledged: 10, ..Audit::default() }),
            ..Sample::default()
        }
    }

    /// A report with a scheme that could not be measured.
    pub fn report() -> Report {
        let cell = Cell { openers: 8, envelopes: 100 };
        let line = |scheme, rounds, failures| Line::new(cell, scheme, rounds, failures);
        Report {
            processors: "2 x <fast & cheap>".into(),
            file_system: "ext4".into(),
            durability: "innodb_flush_log_at_trx_commit=1".into(),
            debug_build: false,
            database_connections: 32,
            seconds: 3,
            rounds: 3,
            lines: vec![
                line(Scheme::RowLock, vec![sample(900.0), sample(3_000.0), sample(2_000.0)], Vec::new()),
                line(Scheme::Serial, Vec::new(), vec!["no database".into()]),
            ],
            losses: vec![Loss::of(
                Scheme::MemoryFirst,
                Audit { acknowledged: 9, lost: 2, lost_fen: 25, ..Audit::default() },
            )],
            not_killed: Vec::new(),
            stopped: None,
        }
    }

    #[test]
    fn the_table_shows_medians_and_says_what_was_not_measured() {
        let table = report().table();
        let row = table.lines().find(|line| line.starts_with("row-lock")).unwrap();
        let cells: Vec<&str> = row.split_whitespace().collect();
        assert_eq!(cells[..8], ["row-lock", "2000", "-", "1.00", "1.5", "12.3", "0.0%", "25.0%"], "{row}");
        assert!(table.contains("8 at once x 100 envelopes, 800 connections"));
        assert!(table.contains("serial at 8 x 100: NOT MEASURED, NOT AUDITED: no database"));
        assert!(table.contains("memory-first") && table.contains("25 fen"), "{table}");
    }
}
