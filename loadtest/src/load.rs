//! What a generator sends, and what came of it.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::arena::Arena;

/// Latencies over this many microseconds count as this many.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Prepared requests, and which is next.
pub struct Feed<'a> {
    requests: &'a Arena,
    next: usize,
    again: bool,
}

impl<'a> Feed<'a> {
    /// Sends each request once.
    pub fn once(requests: &'a Arena) -> Feed<'a> {
        Feed { requests, next: 0, again: false }
    }

    /// Starts over when all were sent.
    pub fn again_and_again(requests: &'a Arena) -> Feed<'a> {
        Feed { requests, next: 0, again: true }
    }

    /// What it sends from.
    pub fn requests(&self) -> &'a Arena {
        self.requests
    }

    /// The place of the next request, if there is one.
    pub fn take(&mut self) -> Option<usize> {
        if self.next == self.requests.len() && self.again {
            self.next = 0;
        }
        let index = self.next;
        (index < self.requests.len()).then(|| {
            self.next += 1;
            index
        })
    }
}

/// What a drive has seen.
pub struct Tally {
    /// Answers as expected, from the start to the end of full load.
    pub counted: u64,
    /// How long full load lasted.
    pub elapsed: Duration,
    /// Whether the requests were used up before the time was.
    pub used_up: bool,
    /// Every request that was sent, also those answered after the end.
    pub sent: u64,
    /// Unexpected answers and lost connections by their label, with their number.
    pub errors: BTreeMap<String, u64>,
    /// From the write of a request to the read of its answer, in microseconds.
    pub latency_us: Histogram<u64>,
}

impl Tally {
    /// Nothing seen yet.
    pub fn new() -> Tally {
        let latency_us = Histogram::new_with_max(LATENCY_US_MAX, 3).expect("the bounds are fixed and good");
        let (counted, sent, elapsed) = (0, 0, Duration::ZERO);
        Tally { counted, elapsed, used_up: false, sent, errors: BTreeMap::new(), latency_us }
    }

    /// Counts one error.
    pub fn error(&mut self, label: String) {
        *self.errors.entry(label).or_default() += 1;
    }
}
