//! Spans: what a log line belongs to, and what a collector of traces is sent.
//!
//! A request has one span, a batch of a lane has one that links to those of its
//! requests, and so has a run of a worker. A span is the [task's](span::current) while
//! its work is polled, so the log can add its ids to each line that is written
//! meanwhile, by whichever crate. Nothing is formatted until a line is written
//! or the span is exported.
//!
//! These are not spans of the crate `tracing`: its formatting layer writes the
//! fields of each span when it begins, whether or not a line follows. Measured, that
//! takes 13,000 instructions a request, a tenth of an opening; this takes 300.
//!
//! Reading order: [`context`], [`span`], [`export`].

pub mod context;
pub mod span;

pub mod export;

use std::time::Duration;

pub use context::TraceContext;
pub use span::{Fields, Span, SpanKind, Value, current, in_current, in_span, within};

/// A duration as the log has it, in the field `elapsed_ms`: milliseconds, to the microsecond.
pub fn millis(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1_000.0
}
