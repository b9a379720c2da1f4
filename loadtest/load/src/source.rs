//! What a generator sends, and what came of it.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use hdrhistogram::Histogram;

use crate::request_buffer::RequestBuffer;

/// Latencies over this many microseconds count as this many.
const LATENCY_US_MAX: u64 = 60_000_000;

/// Prepared requests, and which is next.
pub struct RequestSource<'a> {
    requests: &'a RequestBuffer,
    next: usize,
    again: bool,
    refused: Refused,
}

/// What becomes of requests that were answered `busy`.
enum Refused {
    /// They are not sent again.
    Dropped,
    /// They are sent once more after all others.
    Later(VecDeque<usize>),
    /// They are sent once more at once, over the same connection, beyond any pace.
    AtOnce,
}

impl<'a> RequestSource<'a> {
    /// Sends each request once.
    pub fn once(requests: &'a RequestBuffer) -> RequestSource<'a> {
        RequestSource { requests, next: 0, again: false, refused: Refused::Dropped }
    }

    /// Starts over when all were sent.
    pub fn again_and_again(requests: &'a RequestBuffer) -> RequestSource<'a> {
        RequestSource { requests, next: 0, again: true, refused: Refused::Dropped }
    }

    /// Sends each request until it is not refused: a request that was answered `busy` is as
    /// good as one that was never sent.
    pub fn until_taken(requests: &'a RequestBuffer) -> RequestSource<'a> {
        RequestSource { refused: Refused::Later(VecDeque::new()), ..RequestSource::once(requests) }
    }

    /// The same requests; a client that is refused retries at once, without backoff.
    pub fn asking_again_at_once(self) -> RequestSource<'a> {
        RequestSource { refused: Refused::AtOnce, ..self }
    }

    /// Whether what is refused is sent once more.
    pub fn takes_back(&self) -> bool {
        !matches!(self.refused, Refused::Dropped)
    }

    /// A request was answered `busy`; gives whether it is to be retried at once.
    pub fn refused(&mut self, index: usize) -> bool {
        if let Refused::Later(refused) = &mut self.refused {
            refused.push_back(index);
        }
        matches!(self.refused, Refused::AtOnce)
    }

    /// What it sends from.
    pub fn requests(&self) -> &'a RequestBuffer {
        self.requests
    }

    /// The place of the next request, if there is one.
    pub fn take(&mut self) -> Option<usize> {
        if self.next == self.requests.count() && self.again {
            self.next = 0;
        }
        let index = self.next;
        if index < self.requests.count() {
            self.next += 1;
            return Some(index);
        }
        match &mut self.refused {
            Refused::Later(refused) => refused.pop_front(),
            Refused::Dropped | Refused::AtOnce => None,
        }
    }
}

/// What a drive has seen.
pub struct LoadStats {
    /// Answers as expected, from the start to the end of full load.
    pub counted: u64,
    /// How long full load lasted.
    pub elapsed: Duration,
    /// Whether the requests were used up before the time was.
    pub used_up: bool,
    /// Arrivals that found no connection without a request, where they have a pace.
    pub missed: u64,
    /// Every request that was sent, also those answered after the end.
    pub sent: u64,
    /// Unexpected answers and lost connections by their label, with their number.
    pub errors: BTreeMap<String, u64>,
    /// From the write of a request to the read of its answer, in microseconds.
    pub latency_us: Histogram<u64>,
}

impl LoadStats {
    /// Nothing seen yet.
    pub(crate) fn new() -> LoadStats {
        let latency_us = Histogram::new_with_max(LATENCY_US_MAX, 3).expect("the bounds are fixed and good");
        let (counted, sent, missed, elapsed) = (0, 0, 0, Duration::ZERO);
        LoadStats { counted, elapsed, used_up: false, sent, missed, errors: BTreeMap::new(), latency_us }
    }

    /// Counts one error.
    pub fn error(&mut self, label: String) {
        *self.errors.entry(label).or_default() += 1;
    }
}
