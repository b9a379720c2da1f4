//! One run of a case: what it cost, beside the floor and the bare route of the same round.

use serde::Serialize;

use super::case::{Case, Via};
use super::floor::Floor;
use super::usage::{PARTS, UsOfEach};
use crate::measure::Sample;

/// One run of a case.
#[derive(Debug, Serialize)]
pub struct Run {
    pub case: Case,
    pub via: Via,
    /// Microseconds for each request.
    pub us: UsOfEach,
    /// The share of the requests that were refused as busy; what they cost is a cost of the others.
    pub refused: f64,
    /// The least that a request can cost, in microseconds; only of what writes.
    pub floor_us: Option<f64>,
    /// Of the bare route's server and of its client, for each request.
    bare_server_us: f64,
    bare_generator_us: f64,
    bare_per_second: f64,
    pub per_second: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
}

impl Run {
    /// A run of the service, beside that of the bare route.
    pub fn new(case: Case, via: Via, floor: &Floor, bare: &Sample, sample: &Sample, us: UsOfEach, refused: f64) -> Run {
        let bare_server_us = bare.server_cpu_us.unwrap_or(f64::NAN);
        let bare_generator_us = bare.generator_share / bare.per_second * 1e6;
        let entry_us = if case == Case::Hot { floor.hot_entry_us } else { floor.spread_entry_us };
        let floor_us = bare_server_us + bare_generator_us + entry_us + floor.transfer_us;
        let [p50_ms, p99_ms] = sample.p50_p99_ms();
        Run {
            case,
            via,
            us,
            refused,
            floor_us: case.writes().then_some(floor_us),
            bare_server_us,
            bare_generator_us,
            bare_per_second: bare.per_second,
            per_second: sample.per_second,
            p50_ms,
            p99_ms,
        }
    }

    /// What it costs, in floors.
    pub fn of_floor(&self) -> f64 {
        self.us.all() / self.floor_us.unwrap_or(f64::NAN)
    }

    /// Its speed over that of the bare route.
    pub fn of_throughput(&self) -> f64 {
        self.per_second / self.bare_per_second
    }

    /// Gateway and server together, in requests to the bare route's server.
    pub fn of_bare_server(&self) -> f64 {
        (self.us.part("gateway") + self.us.part("server")) / self.bare_server_us
    }

    /// One line about it.
    pub fn line(&self) -> String {
        let parts: Vec<String> = PARTS.iter().map(|part| format!("{part} {:.1}", self.us.part(part))).collect();
        format!(
            "{} {}: {:.0}/s, {:.1} us ({}), {:.2} of the floor",
            self.case.text(),
            self.via.text(),
            self.per_second,
            self.us.all(),
            parts.join(", "),
            self.of_floor()
        )
    }
}
