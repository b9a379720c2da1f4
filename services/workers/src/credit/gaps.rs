//! Rechecks of gaps in a tail.
//!
//! Positions are handed out when rows are inserted, and where several writers
//! share a table (two servers of a SET on MySQL) they commit in another order: a
//! row may appear behind the place where the tail already is. What gives it away
//! is a gap in the positions. So the part of a tail that has gaps is read again
//! one to two seconds later, and what is still missing then again after ten.
//! What was credited in the meantime costs that read alone, for a row comes with
//! its envelope's `settled_seq`. Gaps that stay belong to writers that were
//! taken back, or to a database that counts in bigger steps; whatever comes
//! later still is found by the sweep.

use hongbao_core::Timestamp;

/// How long a transaction may take to appear before each recheck.
const RECHECK_AFTER_MS: [i64; 2] = [1_000, 10_000];
/// Rows of one recheck.
pub(super) const RECHECK_PAGE: u32 = 1_000;
/// Positions before the end of a tail that is seen for the first time: they may have gaps.
const FIRST_SPAN: i64 = RECHECK_PAGE as i64;

/// Positions beyond `after`, up to `to`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Span {
    pub after: i64,
    pub to: i64,
}

/// The parts of one tail that are to be read again, and when.
#[derive(Clone, Debug, Default)]
pub(super) struct GapTracker {
    rechecks: [Recheck; RECHECK_AFTER_MS.len()],
}

#[derive(Clone, Debug, Default)]
struct Recheck {
    /// Gaps that were found since the one that waits.
    collected: Option<Span>,
    waiting: Option<(Span, Timestamp)>,
}

impl GapTracker {
    /// For a tail that begins at its end.
    pub fn at_end(end: i64) -> GapTracker {
        let mut gaps = GapTracker::default();
        let span = Span { after: end.saturating_sub(FIRST_SPAN).max(0), to: end };
        gaps.rechecks[0].collected = Some(span).filter(|span| span.after < span.to);
        gaps
    }

    /// Rows at these positions follow the row at `after`.
    pub fn note(&mut self, after: i64, positions: impl Iterator<Item = i64>) {
        self.rechecks[0].collect(gaps_in(after, positions));
    }

    /// A span to recheck now, and which recheck it is.
    pub fn due(&mut self, now: Timestamp) -> Option<(usize, Span)> {
        for (look, recheck) in self.rechecks.iter_mut().enumerate() {
            if recheck.waiting.is_none() {
                recheck.waiting = recheck.collected.take().map(|span| (span, now.plus_millis(RECHECK_AFTER_MS[look])));
            }
            if let Some((span, due_at)) = recheck.waiting
                && due_at <= now
            {
                return Some((look, span));
            }
        }
        None
    }

    /// The recheck of a span has read rows at these positions, up to `seen_to`.
    pub fn rechecked(&mut self, look: usize, span: Span, positions: impl Iterator<Item = i64>, seen_to: i64) {
        if let Some(next) = self.rechecks.get_mut(look + 1) {
            next.collect(gaps_in(span.after, positions));
        }
        let waiting = &mut self.rechecks[look].waiting;
        *waiting = waiting
            .map(|(span, due_at)| (Span { after: seen_to, ..span }, due_at))
            .filter(|(rest, _)| rest.after < rest.to);
    }
}

impl Recheck {
    fn collect(&mut self, found: Option<Span>) {
        let Some(found) = found else { return };
        let span = self.collected.get_or_insert(found);
        *span = Span { after: span.after.min(found.after), to: span.to.max(found.to) };
    }
}

/// From the first gap to the last.
fn gaps_in(after: i64, positions: impl Iterator<Item = i64>) -> Option<Span> {
    let mut span: Option<Span> = None;
    let mut before = after;
    for position in positions {
        if position > before + 1 {
            span.get_or_insert(Span { after: before, to: position }).to = position;
        }
        before = position;
    }
    span
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_tail_without_holes_needs_no_second_look() {
        let mut gaps = GapTracker::default();
        gaps.note(5, 6..=100);
        assert_eq!(gaps.due(at(0)), None);
        assert_eq!(gaps.due(at(1_000_000)), None);
    }

    #[test]
    fn what_has_holes_is_looked_at_after_a_second_and_once_more_after_ten() {
        let mut gaps = GapTracker::default();
        gaps.note(5, [6, 9, 10, 12, 13].into_iter());
        let span = Span { after: 6, to: 12 };
        assert_eq!(gaps.due(at(0)), None);
        assert_eq!(gaps.due(at(999)), None);
        assert_eq!(gaps.due(at(1_000)), Some((0, span)));
        gaps.rechecked(0, span, [7, 9, 10, 11, 12].into_iter(), 12);
        let rest = Span { after: 7, to: 9 };
        assert_eq!(gaps.due(at(1_000)), None);
        assert_eq!(gaps.due(at(11_000)), Some((1, rest)));
        gaps.rechecked(1, rest, [9].into_iter(), 9);
        assert_eq!(gaps.due(at(1_000_000)), None, "what stays is no entry's");
    }

    #[test]
    fn a_long_span_is_looked_at_page_by_page() {
        let mut gaps = GapTracker::default();
        gaps.note(0, [3_000].into_iter());
        gaps.due(at(0));
        assert_eq!(gaps.due(at(1_000)), Some((0, Span { after: 0, to: 3_000 })));
        gaps.rechecked(0, Span { after: 0, to: 3_000 }, 1..=1_000, 1_000);
        assert_eq!(gaps.due(at(1_001)), Some((0, Span { after: 1_000, to: 3_000 })));
    }
}
