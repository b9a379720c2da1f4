//! Who is refused before anything is done for a request, because requests wait
//! too long for a processor or because this one comes again too early.
//!
//! When more comes in than the processors can do, requests wait where no bound in
//! number sees them: in the queue of tasks that were woken. So the time that each
//! connection's task waits for its turn is measured, and as long as most
//! requests wait longer than [`WAIT_MS_TARGET`], those that did are told `busy`
//! before a header is looked at. What is refused costs little, so the queue gets
//! short again, and it is never empty: nothing of the processor is lost.
//!
//! *Most* of a tenth of a second, as in CoDel: a process that was stopped for
//! a moment finds some requests that waited, and no queue behind them.
//!
//! Who was told to come again in some seconds and asks for the same before is refused
//! for the rest of them. So those who ask often get no more than those who ask once.

use std::hash::{BuildHasher as _, Hash as _, Hasher as _, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, Instant};

use hongbao_core::limits::{
    ADMISSION_ANSWERS_MIN, ADMISSION_WINDOW_MS, REFUSED_REMEMBERED_MAX, REFUSED_REMEMBERED_MS, WAIT_MS_TARGET,
};
use http::HeaderValue;
use parking_lot::Mutex;

/// How long a task that was woken waited for its turn.
pub(crate) struct Turn {
    origin: Instant,
    /// Microseconds from `origin` to the first waking since the last turn; 0 if there was none.
    woken_us: AtomicU64,
    waker: Mutex<Option<Waker>>,
}

impl Turn {
    /// For a task that is woken now, for the first time.
    pub(crate) fn woken_now() -> Arc<Turn> {
        Arc::new(Turn { origin: Instant::now(), woken_us: AtomicU64::new(1), waker: Mutex::new(None) })
    }

    /// The task's turn has come; it is to be woken by `waker`. Gives how long it waited.
    pub(crate) fn begin(&self, waker: &Waker) -> Duration {
        let mut known = self.waker.lock();
        if !known.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *known = Some(waker.clone());
        }
        drop(known);
        match self.woken_us.swap(0, Ordering::Relaxed) {
            0 => Duration::ZERO,
            woken => self.origin.elapsed().saturating_sub(Duration::from_micros(woken)),
        }
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Turn>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Turn>) {
        if self.woken_us.load(Ordering::Relaxed) == 0 {
            let now = (self.origin.elapsed().as_micros() as u64).max(1);
            // Only the first waking counts; if two are at the same time, either is it.
            let _ = self.woken_us.compare_exchange(0, now, Ordering::Relaxed, Ordering::Relaxed);
        }
        if let Some(waker) = &*self.waker.lock() {
            waker.wake_by_ref();
        }
    }
}

/// Whether most requests wait too long, of the tasks of one runtime.
pub(crate) struct Waiting {
    origin: Instant,
    window_began_us: AtomicU64,
    requests: AtomicU32,
    late: AtomicU32,
    is_long: AtomicBool,
    /// Late requests since the wait is long.
    refusals: AtomicU32,
}

impl Waiting {
    pub(crate) fn new() -> Waiting {
        Waiting {
            origin: Instant::now(),
            window_began_us: AtomicU64::new(0),
            requests: AtomicU32::new(0),
            late: AtomicU32::new(0),
            is_long: AtomicBool::new(false),
            refusals: AtomicU32::new(0),
        }
    }

    /// Takes in that a request waited so long, and says whether to refuse it.
    pub(crate) fn refuses(&self, waited: Duration, now: Instant) -> bool {
        let is_late = waited > Duration::from_millis(WAIT_MS_TARGET);
        let requests = self.requests.fetch_add(1, Ordering::Relaxed) + 1;
        if is_late {
            self.late.fetch_add(1, Ordering::Relaxed);
        }
        let now_us = now.saturating_duration_since(self.origin).as_micros() as u64;
        let (mut began_us, window_us) = (self.window_began_us.load(Ordering::Relaxed), 1_000 * ADMISSION_WINDOW_MS);
        if requests == 1 && now_us.saturating_sub(began_us) >= window_us {
            // A pause before it is no part of the window.
            self.window_began_us.store(now_us, Ordering::Relaxed);
            began_us = now_us;
        }
        let lasted_us = now_us.saturating_sub(began_us);
        // Few requests say little; but a second is long enough for any.
        let is_over = lasted_us >= window_us && (requests >= ADMISSION_ANSWERS_MIN || lasted_us >= 10 * window_us);
        // Of those who see the end one closes it.
        if is_over
            && self.window_began_us.compare_exchange(began_us, now_us, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            self.close_window();
        }
        // Some get through all the same: if it is not requests that the processor is busy
        // with, refusing all of them would make none quicker.
        is_late
            && self.is_long.load(Ordering::Relaxed)
            && !self.refusals.fetch_add(1, Ordering::Relaxed).is_multiple_of(LATE_LET_THROUGH)
    }

    /// The wait is long from when half of the requests are late until a tenth are.
    fn close_window(&self) {
        let requests = self.requests.swap(0, Ordering::Relaxed);
        let late = self.late.swap(0, Ordering::Relaxed);
        let share = if self.is_long.load(Ordering::Relaxed) { requests / 10 } else { requests / 2 };
        self.is_long.store(requests >= ADMISSION_ANSWERS_MIN && late > share, Ordering::Relaxed);
    }
}

/// Of so many late requests one is let through.
const LATE_LET_THROUGH: u32 = 16;

/// Who was refused lately, and until when they were told to wait. Bounded: of two
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
    /// Half of a key, and the millisecond until which it was told to wait.
    places: Box<[AtomicU64]>,
}

impl Default for Refused {
    fn default() -> Refused {
        Refused(Arc::new(Remembered {
            origin: Instant::now(),
            keys: RandomState::new(),
            refusals: AtomicU64::new(0),
            many_ms: AtomicU64::new(0),
            places: (0..REFUSED_REMEMBERED_MAX).map(|_| AtomicU64::new(0)).collect(),
        }))
    }
}

impl Refused {
    /// Remembers that this request was told to come again in so many seconds.
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
        self.place(request).store(request.0 & !UNTIL | until_ms, Ordering::Relaxed);
    }

    /// Seconds that this request was told to wait and has not; `None` as well when
    /// not many have been refused lately, for then there is room for it.
    pub(crate) fn is_early(&self, request: impl FnOnce(&Refused) -> Key, now: Instant) -> Option<u32> {
        let (many_ms, now_ms) = (self.0.many_ms.load(Ordering::Relaxed), self.millis(now));
        if many_ms == 0 || now_ms > many_ms + REFUSED_REMEMBERED_MS {
            return None;
        }
        let request = request(self);
        let place = self.place(request).load(Ordering::Relaxed);
        let left_ms = (place & UNTIL).checked_sub(now_ms & UNTIL).filter(|left| *left > 0)?;
        let is_same = place & !UNTIL == request.0 & !UNTIL;
        is_same.then(|| left_ms.div_ceil(1_000) as u32)
    }

    /// By whose token and for what: who was refused at one envelope may open another.
    pub(crate) fn key_of(&self, token: Option<&HeaderValue>, path: &str) -> Key {
        let mut hasher = self.0.keys.build_hasher();
        token.map_or(&[][..], |token| token.as_bytes()).hash(&mut hasher);
        path.hash(&mut hasher);
        Key(hasher.finish())
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

/// A request by its sender and its path.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Key(u64);

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Requests of one tenth of a second of which so many in a hundred are late.
    fn window(waiting: &Waiting, began: Instant, number: u32, late: u32) -> u32 {
        let at = |n: u32| began + number * 100 * MS + n * MS;
        (0..100).map(|n| u32::from(waiting.refuses(if n % 10 < late / 10 { 30 * MS } else { MS }, at(n)))).sum()
    }

    #[test]
    fn requests_that_waited_are_refused_once_most_did_and_until_few_do() {
        let (waiting, began) = (Waiting::new(), Instant::now());
        assert_eq!(window(&waiting, began, 1, 90), 0, "one bad moment is none");
        assert_eq!(window(&waiting, began, 2, 0), 0, "and what comes after it did not wait");
        window(&waiting, began, 3, 90);
        assert!((44..50).contains(&window(&waiting, began, 4, 50)), "nearly all of those that waited");
        assert!((26..30).contains(&window(&waiting, began, 5, 30)), "although most did not");
        window(&waiting, began, 6, 0);
        assert_eq!(window(&waiting, began, 7, 40), 0, "it is over");
        assert_eq!(window(&waiting, began, 8, 40), 0, "and does not begin by less than half");
    }

    #[test]
    fn a_few_requests_are_no_queue_however_long_they_waited() {
        let (waiting, began) = (Waiting::new(), Instant::now());
        for n in 0..50 {
            assert!(!waiting.refuses(500 * MS, began + n * 100 * MS));
        }
    }

    #[test]
    fn the_turn_of_a_task_says_how_long_it_waited() {
        let turn = Turn::woken_now();
        std::thread::sleep(5 * MS);
        assert!(turn.begin(Waker::noop()) >= 5 * MS);
        assert_eq!(turn.begin(Waker::noop()), Duration::ZERO, "nobody woke it");
        std::thread::sleep(20 * MS);
        Waker::from(turn.clone()).wake();
        std::thread::sleep(5 * MS);
        turn.wake_by_ref();
        let waited = turn.begin(Waker::noop());
        assert!(waited >= 5 * MS && waited < turn.origin.elapsed() - 20 * MS, "{waited:?}");
    }

    #[test]
    fn who_comes_again_too_early_is_known_until_its_time_and_for_its_own_request_alone() {
        let refused = Refused::default();
        let began = Instant::now();
        let li = HeaderValue::from_static("Bearer li");
        let key = |path: &str| refused.key_of(Some(&li), path);
        let early = |path: &str, after: Duration| refused.is_early(|_| key(path), began + after);
        let storm = |at: Duration| {
            for number in 0..ADMISSION_ANSWERS_MIN {
                refused.remember(key(&format!("/{number}")), 1, began + at);
            }
        };
        refused.remember(key("/a"), 3, began);
        assert_eq!(early("/a", MS), None, "one refusal is no storm");
        storm(100 * MS);
        assert_eq!(early("/a", 900 * MS), Some(3));
        assert_eq!(early("/b", 900 * MS), None, "it was not refused");
        assert_eq!(refused.is_early(|_| refused.key_of(None, "/a"), began + 900 * MS), None, "somebody else");
        assert_eq!(early("/a", 1_200 * MS), None, "the storm is over");
        storm(2_000 * MS);
        assert_eq!(early("/a", 2_100 * MS), Some(1), "and back");
        assert_eq!(early("/a", 3_000 * MS), None, "its time has come");
    }
}
