//! A SET that loses its weight by itself when it does worse than it may.

use std::ops::RangeInclusive;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::decimal::Decimal;
use crate::limits::CANARY_WINDOW_S;
use crate::settings::{at_least, check, setting};

/// The rule of a canary SET: what a gateway measures of the requests that it forwards there. At least one of the
/// bounds is set.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Canary {
    /// Seconds that are looked back at.
    #[serde(default = "window_s")]
    pub window_s: u32,
    /// Requests in these seconds below which nothing is decided.
    #[serde(default = "requests_min")]
    pub requests_min: u32,
    /// The largest part of its requests that may end in a status of 500 or above, or without an answer: 0.01 is one
    /// in a hundred.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub errors_max: Option<Decimal>,
    /// Milliseconds within which 99 of 100 requests must be answered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_ms_max: Option<u32>,
    /// The same as a multiple of what the other SETs need, once these have had `requests_min` requests too.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_factor_max: Option<Decimal>,
}

fn window_s() -> u32 {
    60
}

fn requests_min() -> u32 {
    100
}

/// What was measured of some requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measured {
    /// All of them.
    pub requests: u64,
    /// Those that ended in a status of 500 or above, or without an answer.
    pub errors: u64,
    /// Within which time 99 of 100 of the answered ones were; `None` where none was.
    pub p99: Option<Duration>,
}

impl Canary {
    /// Checks that each figure is in its range and that there is a bound.
    ///
    /// # Errors
    /// What is wrong, for the operator.
    pub fn check(&self) -> Result<(), String> {
        const WHOLE: RangeInclusive<u64> = 0..=Decimal::ONE.millionths();
        let window = setting("window_s", self.window_s, CANARY_WINDOW_S);
        check("canary", &[window, at_least("requests_min", self.requests_min, 1)])?;
        if self.errors_max.is_some_and(|part| !WHOLE.contains(&part.millionths())) {
            return Err("canary: errors_max is a part of all requests, 0 to 1".to_owned());
        }
        if self.p99_factor_max.is_some_and(|factor| factor < Decimal::ONE) {
            return Err("canary: p99_factor_max must be at least 1".to_owned());
        }
        if self.errors_max.is_none() && self.p99_ms_max.is_none() && self.p99_factor_max.is_none() {
            return Err("canary: it needs errors_max, p99_ms_max or p99_factor_max".to_owned());
        }
        Ok(())
    }

    /// Which bound is broken, with the figures; `None` while none is.
    pub fn breach(&self, own: &Measured, others: &Measured) -> Option<String> {
        let is_enough = |measured: &Measured| measured.requests >= u64::from(self.requests_min);
        if !is_enough(own) {
            return None;
        }
        if let Some(part) = self.errors_max
            && u128::from(own.errors) * u128::from(Decimal::ONE.millionths())
                > u128::from(own.requests) * u128::from(part.millionths())
        {
            return Some(format!("{} of {} requests failed: more than errors_max = {part}", own.errors, own.requests));
        }
        let p99 = own.p99?;
        if let Some(most) = self.p99_ms_max
            && p99 > Duration::from_millis(most.into())
        {
            return Some(format!("the p99 of {} requests is {p99:?}: over p99_ms_max = {most}", own.requests));
        }
        if let (Some(factor), Some(theirs)) = (self.p99_factor_max, others.p99)
            && is_enough(others)
            && p99 > theirs.mul_f64(factor.into())
        {
            let requests = own.requests;
            return Some(format!(
                "the p99 of {requests} requests is {p99:?}, and that of the other SETs {theirs:?}: more than \
                 p99_factor_max = {factor} times as long"
            ));
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(bounds: &str) -> Canary {
        toml::from_str(&format!("requests_min = 100\n{bounds}")).unwrap()
    }

    fn measured(requests: u64, errors: u64, p99_ms: u64) -> Measured {
        Measured { requests, errors, p99: Some(Duration::from_millis(p99_ms)) }
    }

    #[test]
    fn each_bound_is_broken_by_what_lies_beyond_it_and_by_nothing_else() {
        let others = measured(1_000, 0, 10);
        for (bounds, kept, broken, reason) in [
            ("errors_max = 0.01", measured(200, 2, 9_000), measured(200, 3, 1), "3 of 200 requests failed"),
            ("errors_max = 0", measured(200, 0, 9_000), measured(200, 1, 1), "1 of 200 requests failed"),
            ("p99_ms_max = 50", measured(200, 200, 50), measured(200, 0, 51), "is 51ms: over p99_ms_max = 50"),
            ("p99_factor_max = 2.5", measured(200, 200, 25), measured(200, 0, 26), "that of the other SETs 10ms"),
        ] {
            let rule = rule(bounds);
            assert_eq!(rule.check(), Ok(()));
            assert_eq!(rule.breach(&kept, &others), None, "{bounds}");
            let found = rule.breach(&broken, &others).unwrap();
            assert!(found.contains(reason), "{bounds}: {found}");
            let few = Measured { requests: 99, ..broken };
            assert_eq!(rule.breach(&few, &others), None, "{bounds}: too few requests to tell");
        }
        let few = measured(99, 0, 10);
        assert_eq!(rule("p99_factor_max = 2").breach(&measured(200, 0, 900), &few), None, "nothing to compare with");
        let unanswered = Measured { requests: 100, errors: 100, p99: None };
        assert!(rule("errors_max = 0.5\np99_ms_max = 50").breach(&unanswered, &others).is_some());
        assert_eq!(rule("p99_ms_max = 50").breach(&unanswered, &others), None);
    }

    #[test]
    fn a_rule_without_a_bound_or_with_a_wrong_one_is_refused() {
        for (bounds, reason) in [
            ("", "it needs errors_max"),
            ("errors_max = 1.01", "0 to 1"),
            ("p99_factor_max = 0.9", "at least 1"),
            ("errors_max = 0.1\nwindow_s = 0", "window_s must be"),
        ] {
            let error = rule(bounds).check().unwrap_err();
            assert!(error.contains(reason), "{bounds}: {error}");
        }
        let none: Canary = toml::from_str("errors_max = 0.1\nrequests_min = 0").unwrap();
        assert!(none.check().unwrap_err().contains("requests_min must be"));
        assert!(toml::from_str::<Canary>("errors = 0.1").is_err());
    }
}
