//! Retries that come before the `Retry-After` of a refusal.
//!
//! The first retry of a request is delayed until its `Retry-After` and then served like
//! any other request; it costs a timer and its connection. A client without backoff
//! would otherwise be refused again and again, each time at the price of an answer, and
//! many such clients would leave no processor time for answers. An equal request that
//! comes during the delay is refused at once, and so is every early retry while
//! [`EARLY_WAITING_MAX`] are delayed. So a client gains next to nothing by retrying
//! often. A process remembers its own refusals only, and of two with the same hash slot
//! the later one.

use std::hash::{BuildHasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hongbao_core::limits::{
    ADMISSION_ANSWERS_MIN, ADMISSION_WINDOW_MS, EARLY_WAITING_MAX, REFUSED_REMEMBERED_MAX, REFUSED_REMEMBERED_MS,
};

/// Who was refused lately, and until when they are to wait. Bounded: of two
/// whose places are the same, the later one is remembered. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Refused(Arc<Remembered>);

#[derive(Debug)]
struct Remembered {
    origin: Instant,
    keys: RandomState,
    /// A tenth of a second from `origin`, and how many were refused in it.
    refusals: AtomicU64,
    /// When there were last many in one, in milliseconds from `origin`.
    many_ms: AtomicU64,
    /// A part of a key, whether a retry is delayed, and the millisecond of its `Retry-After`.
    places: Box<[AtomicU64]>,
    /// How many wait.
    waiting: AtomicUsize,
}

/// What becomes of a request that comes too early.
#[derive(Debug)]
pub(crate) enum Early {
    /// It waits for so long, and is then taken as any other.
    Waits(Duration, Waiting),
    /// It is refused for so many seconds.
    IsRefused(u32),
}

/// A request that waits; another one of its kind may when this is dropped.
#[derive(Debug)]
pub(crate) struct Waiting {
    refused: Refused,
    request: Key,
    /// What stands in its place meanwhile.
    mark: u64,
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let place = self.refused.place(self.request);
        // It may have been refused anew, or forgotten for another one.
        let _ = place.compare_exchange(self.mark, self.mark & !WAITS, Ordering::Relaxed, Ordering::Relaxed);
        self.refused.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Default for Refused {
    fn default() -> Refused {
        Refused(Arc::new(Remembered {
            origin: Instant::now(),
            keys: RandomState::new(),
            refusals: AtomicU64::new(0),
            many_ms: AtomicU64::new(0),
            places: (0..REFUSED_REMEMBERED_MAX).map(|_| AtomicU64::new(0)).collect(),
            waiting: AtomicUsize::new(0),
        }))
    }
}

impl Refused {
    /// Remembers that this request is to come again in so many seconds.
    pub(crate) fn remember(&self, request: Key, seconds: u32, now: Instant) {
        let now_ms = self.millis(now);
        let window = (now_ms / ADMISSION_WINDOW_MS + 1) << COUNT_BITS;
        let count =
            |before: u64| Some(if before >> COUNT_BITS == window >> COUNT_BITS { before + 1 } else { window + 1 });
        let before = self.0.refusals.fetch_update(Ordering::Relaxed, Ordering::Relaxed, count);
        let refusals = before.ok().and_then(count).unwrap_or_default() & ((1 << COUNT_BITS) - 1);
        if refusals >= u64::from(ADMISSION_ANSWERS_MIN) {
            self.0.many_ms.store(now_ms.max(1), Ordering::Relaxed);
        }
        let until_ms = (now_ms + 1_000 * u64::from(seconds)) & UNTIL;
        self.place(request).store(request.0 & KEY | until_ms, Ordering::Relaxed);
    }

    /// What becomes of this request if it comes before its `Retry-After`; `None` as well
    /// when there were few refusals lately, for then there is capacity for it.
    pub(crate) fn early(&self, request: impl FnOnce(&Refused) -> Key, may_wait: bool, now: Instant) -> Option<Early> {
        let (many_ms, now_ms) = (self.0.many_ms.load(Ordering::Relaxed), self.millis(now));
        if many_ms == 0 || now_ms > many_ms + REFUSED_REMEMBERED_MS {
            return None;
        }
        let request = request(self);
        let place = self.place(request);
        let seen = place.load(Ordering::Relaxed);
        let left_ms = (seen & UNTIL).checked_sub(now_ms & UNTIL).filter(|left| *left > 0)?;
        if seen & KEY != request.0 & KEY {
            return None;
        }
        let waiting = (may_wait && seen & WAITS == 0).then(|| self.wait(request, seen)).flatten();
        Some(match waiting {
            Some(waiting) => Early::Waits(Duration::from_millis(left_ms), waiting),
            None => Early::IsRefused(left_ms.div_ceil(1_000) as u32),
        })
    }

    /// Lets it wait, unless as many do as may, or another one of its kind has come first.
    fn wait(&self, request: Key, seen: u64) -> Option<Waiting> {
        let one_more = |waiting| (waiting < EARLY_WAITING_MAX).then_some(waiting + 1);
        self.0.waiting.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).ok()?;
        let mark = seen | WAITS;
        let took = self.place(request).compare_exchange(seen, mark, Ordering::Relaxed, Ordering::Relaxed);
        // Dropping it decrements the count; a mark of zero clears no slot.
        let waiting = Waiting { refused: self.clone(), request, mark: if took.is_ok() { mark } else { 0 } };
        took.is_ok().then_some(waiting)
    }

    /// The same sender asks for the same.
    pub(crate) fn key_of(&self, asked: &Asked<'_>) -> Key {
        Key(self.0.keys.hash_one(asked))
    }

    fn millis(&self, now: Instant) -> u64 {
        now.saturating_duration_since(self.0.origin).as_millis() as u64
    }

    fn place(&self, request: Key) -> &AtomicU64 {
        &self.0.places[request.0 as usize % REFUSED_REMEMBERED_MAX]
    }
}

/// Bits of a count of refusals: of so many no tenth of a second is full.
const COUNT_BITS: u32 = 24;
/// The part of a place that says until when: enough for a hundred days.
const UNTIL: u64 = (1 << 33) - 1;
/// The part of it that says that a client is to wait until then.
const WAITS: u64 = 1 << 33;
/// The rest of it, which is of a key.
const KEY: u64 = !(UNTIL | WAITS);

/// By whose token, in which traffic and for what: who was refused at one envelope may
/// open another, and a refused rehearsal says nothing about live traffic.
#[derive(Hash)]
pub(crate) struct Asked<'a> {
    pub(crate) token: Option<&'a [u8]>,
    pub(crate) is_marked: bool,
    pub(crate) path: &'a str,
}

/// A request as [`Asked`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(u64);

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn open(user: &'static str, path: &'static str) -> Asked<'static> {
        Asked { token: Some(user.as_bytes()), is_marked: false, path }
    }

    /// How long it waits, or the seconds for which it is refused.
    fn outcome(early: &Option<Early>) -> Option<Result<Duration, u32>> {
        early.as_ref().map(|early| match early {
            Early::Waits(time, _) => Ok(*time),
            Early::IsRefused(seconds) => Err(*seconds),
        })
    }

    #[test]
    fn who_comes_again_too_early_is_known_until_its_time_and_for_its_own_request_alone() {
        let refused = Refused::default();
        let began = Instant::now();
        let key = |path| refused.key_of(&open("li", path));
        let early = |path, after: Duration| refused.early(|_| key(path), true, began + after);
        let storm = |at: Duration| {
            for _ in 0..ADMISSION_ANSWERS_MIN {
                refused.remember(key("/other"), 1, began + at);
            }
        };
        refused.remember(key("/a"), 3, began);
        assert_eq!(outcome(&early("/a", MS)), None, "one refusal is no storm");
        storm(100 * MS);
        let waits = early("/a", 900 * MS);
        assert_eq!(outcome(&waits), Some(Ok(2_100 * MS)));
        assert_eq!(outcome(&early("/a", 950 * MS)), Some(Err(3)), "one waits already");
        drop(waits);
        assert_eq!(outcome(&early("/a", 950 * MS)), Some(Ok(2_050 * MS)), "it has gone");
        assert_eq!(outcome(&refused.early(|_| key("/a"), false, began + 950 * MS)), Some(Err(3)), "none may wait here");
        assert_eq!(outcome(&early("/b", 900 * MS)), None, "it was not refused");
        for (other, whose) in
            [(open("wang", "/a"), "somebody else's"), (Asked { is_marked: true, ..open("li", "/a") }, "a rehearsal's")]
        {
            let early = refused.early(|_| refused.key_of(&other), true, began + 900 * MS);
            assert_eq!(outcome(&early), None, "{whose}");
        }
        assert_eq!(outcome(&early("/a", 1_200 * MS)), None, "the storm is over");
        storm(2_000 * MS);
        let waits = early("/a", 2_100 * MS);
        assert_eq!(outcome(&waits), Some(Ok(900 * MS)), "and back");
        assert_eq!(outcome(&early("/a", 3_000 * MS)), None, "its time has come");
        storm(3_000 * MS);
        refused.remember(key("/a"), 1, began + 3_000 * MS);
        drop(waits);
        assert_eq!(outcome(&early("/a", 3_100 * MS)), Some(Ok(900 * MS)), "it was refused anew");
    }

    #[test]
    fn no_more_wait_than_may() {
        let refused = Refused::default();
        let now = Instant::now();
        let asked: Vec<Key> =
            (0..2 * EARLY_WAITING_MAX as u64).map(|n| Key(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))).collect();
        asked.iter().for_each(|key| refused.remember(*key, 4, now));
        let early = |key: &Key| refused.early(|_| *key, true, now);
        let all: Vec<Early> = asked.iter().filter_map(early).collect();
        let waiting = all.iter().filter(|early| matches!(early, Early::Waits(..))).count();
        assert_eq!(waiting, EARLY_WAITING_MAX);
        assert!(all.len() > EARLY_WAITING_MAX, "{}", all.len());
        drop(all);
        assert!(asked.iter().filter_map(early).any(|early| matches!(early, Early::Waits(..))), "they have gone");
    }
}
