//! What a run of `overload` comes to, beside its goals.

use std::fmt;
use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use super::seen::{Costs, Phase};

/// The part of the peak that is offered after the storm, and the part of it that counts as being back.
pub const AFTER: f64 = 0.95;
/// The part of the peak that is still answered where refusing costs the SET nothing.
const GOODPUT: f64 = 0.9;
/// The slowest hundredth may take so many times what it takes at eight tenths of the peak.
const P99_TIMES: f64 = 4.0;
/// Of what an answer costs, a refusal may cost this part.
const REFUSAL_PART: f64 = 0.1;
/// Seconds until as much is answered as before.
const BACK_S: f64 = 3.0;
/// The part of what is offered after the storm that counts as being back.
const BACK: f64 = 0.95;
/// The gateway may keep so many MB more than it had before the storm.
pub const KEPT_MB: f64 = 64.0;
/// How long it may take to give the rest back.
pub const MEMORY_WITHIN: Duration = Duration::from_secs(40);

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Name {
    /// All users open the same envelope
    Hot,
    /// Openings of 10,000 envelopes
    Spread,
    /// Grabs on one envelope with something to open
    Grab,
}

/// A workload as it was measured.
#[derive(Debug, Serialize)]
pub struct Measured {
    pub name: Name,
    /// Whether refusing is done by a gateway outside of the quota, and costs the SET nothing.
    pub is_apart: bool,
    pub quota: f64,
    pub factor: f64,
    /// Whether clients retried at once in the storm.
    pub retry_at_once: bool,
    pub connections: usize,
    pub peak: Phase,
    pub easy: Phase,
    pub storm: Phase,
    pub after: Phase,
    /// What the front holds before and after, in MB.
    pub memory_mb: (f64, f64),
}

/// One goal, and whether it was met.
#[derive(Debug)]
pub struct Verdict {
    pub is_met: bool,
    text: String,
}

impl fmt::Display for Verdict {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.text, if self.is_met { "met" } else { "MISSED" })
    }
}

fn verdict(is_met: bool, text: String) -> Verdict {
    Verdict { is_met, text }
}

impl Measured {
    /// What is answered in the storm, as a part of the peak.
    pub fn goodput(&self) -> f64 {
        self.storm.per_second() / self.peak.per_second()
    }

    /// Of the service alone.
    fn costs(&self) -> Costs {
        Costs::of(&self.peak, &self.storm, |phase| phase.cpu_s)
    }

    /// Of the service and this process, which without a quota share the processors.
    fn costs_with_client(&self) -> Costs {
        Costs::of(&self.peak, &self.storm, |phase| phase.cpu_s + phase.client_cpu_s)
    }

    fn goodput_within(&self, costs: Costs, whose: &str) -> Verdict {
        let (goodput, allowed) = (self.goodput(), costs.goodput(self.factor));
        let text = format!(
            "goodput {goodput:.2} of the peak, goal {GOODPUT:.2} of the {allowed:.2} that the costs of {whose} allow"
        );
        verdict(goodput >= GOODPUT * allowed, text)
    }

    /// The goals and what became of them.
    pub fn verdicts(&self) -> Vec<Verdict> {
        let goodput = self.goodput();
        let mut verdicts = Vec::new();
        if self.is_apart {
            let text = format!("goodput {goodput:.2} of the peak, goal {GOODPUT:.2}");
            verdicts.push(verdict(goodput >= GOODPUT, text));
        } else {
            let part = self.costs().refusal_part();
            let text = format!("a refusal costs {part:.2} of an answer, goal {REFUSAL_PART:.2}");
            verdicts.push(verdict(part <= REFUSAL_PART, text));
            verdicts.push(self.goodput_within(self.costs(), "the service"));
            if self.quota == 0.0 {
                verdicts.push(self.goodput_within(self.costs_with_client(), "service and client"));
            }
        }
        let times = self.storm.p99_ms / self.easy.p99_ms;
        let text = format!("p99 of the accepted {times:.1} times that at 0.8 of the peak, goal {P99_TIMES:.1}");
        verdicts.push(verdict(times <= P99_TIMES, text));
        let unknown: u64 =
            [&self.peak, &self.easy, &self.storm, &self.after].map(|phase| phase.seen.unknown).iter().sum();
        verdicts.push(verdict(unknown == 0, format!("{unknown} outcomes unknown, goal 0")));
        let offered = self.peak.per_second() * AFTER;
        let back = self.after.seconds_until(BACK * offered);
        let text = match back {
            Some(back) => format!("back after {back:.1} s, goal {BACK_S:.0} s"),
            None => format!("not back after {:.0} s, goal {BACK_S:.0} s", self.after.seconds),
        };
        verdicts.push(verdict(back.is_some_and(|back| back <= BACK_S), text));
        let (before, after) = self.memory_mb;
        let text =
            format!("the front holds {after:.0} MB after the storm and {before:.0} before it, goal {KEPT_MB:.0} more");
        verdicts.push(verdict(after <= before + KEPT_MB, text));
        verdicts
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let quota = if self.quota > 0.0 {
            format!("{:.2} of the processors for the {}", self.quota, if self.is_apart { "SET" } else { "service" })
        } else {
            "all on the same processors".to_owned()
        };
        let retries = if self.retry_at_once { ", retries at once" } else { "" };
        writeln!(
            out,
            "{:?}: {:.1} times the peak over {} connections, {quota}{retries}",
            self.name, self.factor, self.connections
        )?;
        for (name, phase) in
            [("peak", &self.peak), ("0.8 of it", &self.easy), ("storm", &self.storm), ("after it", &self.after)]
        {
            writeln!(
                out,
                "  {name:<10} {:>7.0}/s answered, {:>7.0}/s refused, {} unknown, {} missed, p50 {:.1} ms, p99 {:.1} ms{}",
                phase.per_second(),
                phase.seen.refused as f64 / phase.seconds,
                phase.seen.unknown,
                phase.missed,
                phase.p50_ms,
                phase.p99_ms,
                if phase.used_up { ", ended early: the requests were used up" } else { "" }
            )?;
            if !phase.seen.others.is_empty() {
                writeln!(out, "             others: {:?}", phase.seen.others)?;
            }
        }
        let Costs { answer_us, refusal_us } = self.costs();
        writeln!(out, "  of processor: {answer_us:.1} us an answer, {refusal_us:.1} us a refusal")?;
        self.verdicts().iter().try_for_each(|verdict| writeln!(out, "  {verdict}"))
    }
}
