//! How much may be under way at once, so that each answer comes in time.
//!
//! A bound in number does not bound the wait: what 8,192 openings take depends on
//! how fast they are answered. By Little's law as many are under way as come in
//! an answer's time, so a bound on the wait is a bound on the number that moves
//! with the rate. [`AdaptiveLimit`] finds it from the answers alone.
//!
//! - It looks at what the **quickest quarter** of the answers of a tenth of a second took. A
//!   standing queue delays all of them; a stall (a checkpoint, a processor quota
//!   that is used up) delays only those that it meets. CoDel takes the very least
//!   delay for the same reason (Nichols and Jacobson, 2012); a quarter, because a
//!   scheduler that now and then runs the newest task first always has some quick one.
//! - The goal is a wait *beyond* what an answer takes without a queue, as gradient
//!   limits have it (Netflix concurrency-limits, Envoy): where every commit takes
//!   60 ms, refusing half of them would make none quicker.
//! - That time is known when next to nothing is under way, and under load from what
//!   a cut of the limit has left of it: a wait falls with the number under way, and
//!   what does not is the time without a queue.

use std::time::{Duration, Instant};

use crate::limits::{ADMISSION_ANSWERS_MIN, ADMISSION_UNLOADED_GOALS_MAX, ADMISSION_WINDOW_MS};

/// What an [`AdaptiveLimit`] moves within.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AdmissionBounds {
    /// So many are always let in. With no more under way there is no queue to speak of.
    pub least: usize,
    /// So many are let in as long as nothing is known; after a quiet time at least so many.
    pub initial: usize,
    /// Never more than this.
    pub most: usize,
    /// What the quickest quarter of the answers may take beyond their time without a queue.
    pub goal: Duration,
}

/// A limit on what is under way that follows the rate of the answers.
#[derive(Debug)]
pub struct AdaptiveLimit {
    bounds: AdmissionBounds,
    limit: usize,
    under_way: usize,
    window: Window,
    /// What the quickest quarter takes without a queue.
    unloaded: Option<Duration>,
    /// The window before the limit was cut.
    before: Option<Seen>,
}

/// What a window has seen.
#[derive(Clone, Copy, Debug)]
struct Seen {
    under_way: usize,
    /// What the quickest quarter took.
    quick: Duration,
}

impl AdaptiveLimit {
    /// Nothing is under way, and nothing is known.
    pub fn new(bounds: AdmissionBounds) -> AdaptiveLimit {
        let most = bounds.most.max(1);
        let bounds = AdmissionBounds {
            least: bounds.least.clamp(1, most),
            initial: bounds.initial.clamp(1, most),
            most,
            ..bounds
        };
        AdaptiveLimit {
            bounds,
            limit: bounds.initial,
            under_way: 0,
            window: Window::default(),
            unloaded: None,
            before: None,
        }
    }

    /// What may be under way.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// What is under way.
    pub fn under_way(&self) -> usize {
        self.under_way
    }

    /// What may still be let in; not below zero when the limit has fallen.
    pub fn free(&self) -> usize {
        self.limit.saturating_sub(self.under_way)
    }

    /// Lets one more in. Whether there is room asks [`AdaptiveLimit::free`].
    pub fn enter(&mut self) {
        self.under_way += 1;
        self.window.under_way_max = self.window.under_way_max.max(self.under_way);
    }

    /// Notes a refusal: only a limit that refuses need grow.
    pub fn turned_away(&mut self) {
        self.window.turned_away = true;
    }

    /// Notes that one was let in and turned away behind it, where there is a limit
    /// of its own: a refusal there costs more than one here, so the goal here is
    /// half of what it is without.
    pub fn turned_away_there(&mut self) {
        self.window.turned_away_there += 1;
    }

    /// One that was let in has left.
    pub fn leave(&mut self) {
        self.under_way = self.under_way.saturating_sub(1);
    }

    /// An answer came at `now`, after it `took` so long. Those that say nothing
    /// about how long answers take, such as a refusal, are left out.
    pub fn measure(&mut self, took: Duration, now: Instant) {
        let began = *self.window.began.get_or_insert(now);
        self.window.answers += 1;
        self.window.took.add(took);
        let lasted = now.saturating_duration_since(began);
        let window = Duration::from_millis(ADMISSION_WINDOW_MS);
        // Few answers say little; but a second is long enough for any.
        if lasted >= window && (self.window.answers >= ADMISSION_ANSWERS_MIN || lasted >= 10 * window) {
            self.close_window(lasted);
            self.window = Window { began: Some(now), under_way_max: self.under_way, ..Window::default() };
        }
    }

    fn close_window(&mut self, lasted: Duration) {
        let seen = Seen { under_way: self.window.under_way_max, quick: self.window.took.quickest_quarter() };
        let AdmissionBounds { least, most, goal, .. } = self.bounds;
        self.learn_unloaded(seen);
        let goal = if self.window.turned_away_there > self.window.answers / 8 { goal / 2 } else { goal };
        let allowed = goal + self.unloaded.unwrap_or_default();
        if self.is_light(seen) {
            // However slow it is, it is no queue that they wait in.
            self.rest(lasted);
        } else if seen.quick > allowed {
            // In proportion to what was under way: the limit itself may be far above it.
            let ratio = allowed.as_secs_f64() / seen.quick.as_secs_f64();
            let share = if ratio < FAR { CUT_WHEN_FAR } else { ratio.max(CUT_MAX) };
            let fits = seen.under_way.min(self.limit) as f64 * share;
            self.limit = (fits as usize).clamp(least, most);
        } else if self.window.turned_away {
            let more = (allowed.as_secs_f64() / seen.quick.as_secs_f64().max(f64::EPSILON)).min(GROWTH_MAX);
            self.limit = ((self.limit as f64 * more) as usize).max(self.limit + 1).min(most);
        } else {
            self.rest(lasted);
        }
    }

    /// Goes back towards its beginning, where nothing was refused.
    fn rest(&mut self, lasted: Duration) {
        if self.limit < self.bounds.initial {
            let windows = (lasted.as_millis() / u128::from(ADMISSION_WINDOW_MS)).min(100) as i32;
            let more = (self.limit + 1) as f64 * REST_GROWTH.powi(windows);
            self.limit = (more as usize).min(self.bounds.initial);
        }
    }

    fn is_light(&self, seen: Seen) -> bool {
        seen.under_way <= self.bounds.least / LIGHT
    }

    /// Less than was known is always believed. More only slowly, for it may have
    /// been a stall: what was seen with next to nothing under way, or what a cut
    /// has left.
    fn learn_unloaded(&mut self, seen: Seen) {
        let left_by_cut = self.before.and_then(|before| left_by_cut(before, seen));
        let is_same_cut = |before: Seen| {
            seen.under_way < before.under_way && !is_cut(before, seen) && seen.quick <= before.quick + before.quick / 8
        };
        if !self.before.is_some_and(is_same_cut) {
            self.before = Some(seen);
        }
        let learned = if self.is_light(seen) { Some(seen.quick) } else { left_by_cut };
        let unloaded = match (self.unloaded, learned) {
            (Some(known), _) if seen.quick <= known => seen.quick,
            (Some(known), Some(learned)) => (known * (LEARNED_OF - 1) + learned) / LEARNED_OF,
            (None, Some(learned)) => learned,
            (_, None) => return,
        };
        self.unloaded = Some(unloaded.min(ADMISSION_UNLOADED_GOALS_MAX * self.bounds.goal));
    }
}

/// Whether so much less is under way that it shows in the time, if that is a wait.
fn is_cut(before: Seen, after: Seen) -> bool {
    5 * after.under_way <= 4 * before.under_way
}

/// What an answer would take with none under way, if its time grows with the number
/// as between these two windows; `None` where a cut does not explain the change.
fn left_by_cut(before: Seen, after: Seen) -> Option<Duration> {
    let gained = before.quick.checked_sub(after.quick).filter(|_| is_cut(before, after))?;
    let each = gained.as_secs_f64() / (before.under_way - after.under_way) as f64;
    Some(after.quick.saturating_sub(Duration::from_secs_f64(each * after.under_way as f64)))
}

/// With this part of the least number under way nothing waits for anything.
const LIGHT: usize = 4;
/// What is learned of the time without a queue counts for one of so many parts.
const LEARNED_OF: u32 = 4;
/// A window keeps at least this share of what was under way: what is seen in one may be an accident.
const CUT_MAX: f64 = 0.5;
/// Unless the goal is further away than this, which is no accident: then it keeps so much.
const FAR: f64 = 0.125;
/// See [`FAR`].
const CUT_WHEN_FAR: f64 = 0.25;
/// By how much a window may raise the limit where requests were refused.
const GROWTH_MAX: f64 = 1.5;
/// By how much a window without refusals brings it back towards its beginning.
const REST_GROWTH: f64 = 1.25;

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    answers: u32,
    under_way_max: usize,
    turned_away: bool,
    turned_away_there: u32,
    took: Times,
}

/// Times, counted by their size: four classes to a doubling.
#[derive(Debug)]
struct Times([u32; CLASSES]);

/// Enough for 2^26 µs, more than a minute.
const CLASSES: usize = 27 * 4;

impl Default for Times {
    fn default() -> Times {
        Times([0; CLASSES])
    }
}

impl Times {
    fn add(&mut self, time: Duration) {
        self.0[class_of(time)] += 1;
    }

    /// What the slowest of the quickest quarter took, at most.
    fn quickest_quarter(&self) -> Duration {
        let all: u32 = self.0.iter().sum();
        let mut seen = 0;
        let class = self.0.iter().position(|count| {
            seen += count;
            4 * seen >= all.max(1)
        });
        top_of(class.unwrap_or(CLASSES - 1))
    }
}

fn class_of(time: Duration) -> usize {
    let us = (time.as_micros() as u64).max(4);
    let doublings = us.ilog2();
    let quarter = (us >> (doublings - 2)) & 3;
    (doublings as usize * 4 + quarter as usize).min(CLASSES - 1)
}

fn top_of(class: usize) -> Duration {
    let (doublings, quarter) = (class as u32 / 4, class as u64 % 4);
    if doublings < 2 {
        return Duration::from_micros(4);
    }
    Duration::from_micros((4 + quarter + 1) << (doublings - 2))
}
