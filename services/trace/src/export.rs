//! Where ended spans go. Nowhere, unless the process has [installed](install) an exporter.

use std::sync::OnceLock;
use std::time::Duration;

use crate::context::random;
use crate::span::{Fields, Span};

/// Takes spans that have ended and whose trace is recorded.
pub trait Export: Send + Sync {
    /// Must not block: it is called where the work was done. `failure` says what went wrong.
    fn ended(&self, span: &Span, took: Duration, failure: Option<&str>);
}

struct Installed {
    exporter: Box<dyn Export>,
    /// A trace that begins here is recorded if its random number is at most this.
    sampled_below: u64,
}

static INSTALLED: OnceLock<Installed> = OnceLock::new();

/// Exports the spans of this process from now on, and records `sampled` (0 to 1) of the
/// traces that begin here. Traces that began elsewhere say so themselves.
///
/// # Panics
/// If it was called before.
pub fn install(exporter: Box<dyn Export>, sampled: f64) {
    // The conversion stops at the ends of the range.
    let sampled_below = (sampled * 2_f64.powi(64)) as u64;
    let installed = INSTALLED.set(Installed { exporter, sampled_below });
    assert!(installed.is_ok(), "a process exports its spans to one place");
}

/// Whether a trace that begins now is recorded.
pub fn samples_next() -> bool {
    INSTALLED.get().is_some_and(|installed| random().get() <= installed.sampled_below)
}

/// The work has ended; `failure` says what went wrong, if anything did.
pub fn end<F: Fields + 'static>(span: &std::sync::Arc<Span<F>>, failure: Option<&str>) {
    if !span.context.is_sampled {
        return;
    }
    if let Some(installed) = INSTALLED.get() {
        installed.exporter.ended(&**span as &Span, span.started.elapsed(), failure);
    }
}
