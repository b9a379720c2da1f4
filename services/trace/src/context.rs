//! Which trace a span belongs to: the ids of W3C Trace Context, level 1.

use std::cell::Cell;
use std::hash::{BuildHasher as _, RandomState};
use std::num::{NonZeroU64, NonZeroU128};

/// The header that carries a context from one process to the next.
pub const TRACEPARENT: &str = "traceparent";
/// What vendors add to it; it means nothing where the `traceparent` beside it was not valid.
pub const TRACESTATE: &str = "tracestate";

/// Characters of a `traceparent` of version 00.
pub const TRACEPARENT_CHARS: usize = 55;

const SAMPLED: u8 = 1;

/// The ids of one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    /// Of everything that one request of a client led to.
    pub trace_id: NonZeroU128,
    /// Of this span.
    pub span_id: NonZeroU64,
    /// Of the span that caused it, here or in the process that called.
    pub parent: Option<NonZeroU64>,
    /// Whether the process that began the trace asks for its record.
    pub is_sampled: bool,
}

impl TraceContext {
    /// Begins a trace.
    pub fn root(is_sampled: bool) -> TraceContext {
        let trace_id = NonZeroU128::from(random()) | u128::from(random().get()) << 64;
        TraceContext { trace_id, span_id: random(), parent: None, is_sampled }
    }

    /// A span of its own for a request with this `traceparent`; `None` if the value is
    /// not valid, which begins a new trace (W3C Trace Context, 3.2.2 and 4.3).
    pub fn received(traceparent: &[u8]) -> Option<TraceContext> {
        let (head, rest) = traceparent.split_at_checked(TRACEPARENT_CHARS)?;
        let &[v1, v0, b'-', ref head @ ..] = head else { return None };
        let (trace_id, head) = head.split_first_chunk::<32>()?;
        let (span_id, head) = head.strip_prefix(b"-")?.split_first_chunk::<16>()?;
        let flags = head.strip_prefix(b"-")?;
        // Later versions may append fields, and forbid none of this.
        let is_well_formed = match number(&[v1, v0])? {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.is_empty() || rest[0] == b'-',
        };
        if !is_well_formed {
            return None;
        }
        let is_sampled = number(flags)? as u8 & SAMPLED != 0;
        let trace_id = NonZeroU128::new(number(trace_id)?)?;
        let parent = NonZeroU64::new(number(span_id)? as u64)?;
        Some(TraceContext { trace_id, span_id: random(), parent: Some(parent), is_sampled })
    }

    /// The trace's id as it is shown.
    pub fn trace_id_text(&self) -> String {
        format!("{:032x}", self.trace_id)
    }

    /// The span's id as it is shown.
    pub fn span_id_text(&self) -> String {
        format!("{:016x}", self.span_id)
    }

    /// The header's value for what is called from this span.
    pub fn traceparent(&self) -> [u8; TRACEPARENT_CHARS] {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(self.trace_id.get(), &mut text[3..35]);
        write_hex(self.span_id.get().into(), &mut text[36..52]);
        text[54] += u8::from(self.is_sampled);
        text
    }
}

/// Lower-case hexadecimal digits, at most 32 of them.
fn number(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |number, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(number << 4 | u128::from(digit))
    })
}

fn write_hex(mut number: u128, into: &mut [u8]) {
    for digit in into.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(number & 0xf) as usize];
        number >>= 4;
    }
}

/// A number that is not used twice, as far as chance goes: ids are no secrets. Each thread
/// counts for itself, from a random start, through SplitMix64 (Steele, Lea and Flood 2014).
pub(crate) fn random() -> NonZeroU64 {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    thread_local! {
        static STATE: Cell<u64> = Cell::new(RandomState::new().hash_one(std::thread::current().id()));
    }
    STATE.with(|state| {
        let mut mixed = state.get().wrapping_add(STEP);
        state.set(mixed);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        NonZeroU64::new(mixed ^ mixed >> 31).unwrap_or(NonZeroU64::MIN)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_valid_traceparent_is_continued_by_a_span_of_its_own() {
        let received = TraceContext::received(VALID.as_bytes()).unwrap();
        assert_eq!(received.trace_id.get(), 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        assert_eq!(received.parent.unwrap().get(), 0x00f0_67aa_0ba9_02b7);
        assert!(received.is_sampled);
        let text = String::from_utf8(received.traceparent().to_vec()).unwrap();
        assert_eq!(text, format!("{}{:016x}-01", &VALID[..36], received.span_id.get()));
        let next = TraceContext::received(text.as_bytes()).unwrap();
        assert_eq!((next.trace_id, next.parent), (received.trace_id, Some(received.span_id)));
        assert!(!TraceContext::received(VALID.replace("-01", "-fe").as_bytes()).unwrap().is_sampled);
    }

    #[test]
    fn a_later_version_may_append_fields() {
        for good in [VALID.replacen("00", "01", 1), VALID.replacen("00", "fe", 1) + "-more"] {
            assert!(TraceContext::received(good.as_bytes()).is_some(), "{good}");
        }
    }

    #[test]
    fn what_is_not_valid_is_not_continued() {
        for bad in [
            String::new(),
            "00".to_owned(),
            VALID[1..].to_owned(),
            VALID.to_uppercase(),
            format!("{VALID}-"),
            format!("{VALID}0"),
            VALID.replacen("00", "ff", 1),
            VALID.replacen("00", "01", 1) + "more",
            VALID.replace('-', "_"),
            VALID.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
            VALID.replace("00f067aa0ba902b7", &"0".repeat(16)),
            VALID.replace("b7-01", "b7-0g"),
            VALID.replace("b7-01", "g7-01"),
            VALID.replace("4bf9", "4b 9"),
            VALID.replace("4bf9", "红9"),
        ] {
            assert_eq!(TraceContext::received(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn new_ids_differ() {
        let ids = || (0..1_000).map(|_| TraceContext::root(false)).collect::<Vec<_>>();
        let mut all = std::thread::spawn(ids).join().unwrap();
        all.extend(ids());
        assert_eq!(all.iter().map(|context| context.trace_id).collect::<HashSet<_>>().len(), 2_000);
        assert_eq!(all.iter().map(|context| context.span_id).collect::<HashSet<_>>().len(), 2_000);
    }
}
