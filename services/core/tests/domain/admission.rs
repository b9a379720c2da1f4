//! The limit that follows the rate of answers, against a queue that is played
//! through in steps of a tenth of a millisecond.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use hongbao_core::admission::{AdaptiveLimit, AdmissionBounds};

const BOUNDS: AdmissionBounds =
    AdmissionBounds { least: 32, initial: 2_048, most: 8_192, goal: Duration::from_millis(25) };
const STEP: Duration = Duration::from_micros(100);

/// A FIFO that answers `per_second` while it works, each `delay` after its turn.
struct Queue {
    limit: AdaptiveLimit,
    now: Instant,
    waiting: VecDeque<Instant>,
    /// Those that had their turn, with the time of their answer.
    leaving: VecDeque<(Instant, Instant)>,
    per_second: f64,
    delay: Duration,
    /// Of every 100 ms it works only in the first so many.
    works_ms: u128,
    began: Instant,
    due: f64,
    turns: f64,
}

/// What came of a while.
#[derive(Default)]
struct Seen {
    answered: usize,
    refused: usize,
    took: Vec<Duration>,
}

impl Seen {
    fn p99(&mut self) -> Duration {
        self.took.sort();
        self.took[self.took.len() * 99 / 100]
    }
}

impl Queue {
    fn new(per_second: f64) -> Queue {
        let now = Instant::now();
        let (waiting, leaving) = (VecDeque::new(), VecDeque::new());
        let limit = AdaptiveLimit::new(BOUNDS);
        let (delay, works_ms) = (Duration::ZERO, 100);
        Queue { limit, now, waiting, leaving, per_second, delay, works_ms, began: now, due: 0.0, turns: 0.0 }
    }

    /// Offers so many a second for so long.
    fn offer(&mut self, per_second: f64, seconds: f64) -> Seen {
        let mut seen = Seen::default();
        let until = self.now + Duration::from_secs_f64(seconds);
        while self.now < until {
            self.due += per_second * STEP.as_secs_f64();
            while self.due >= 1.0 {
                self.due -= 1.0;
                if self.limit.free() > 0 {
                    self.limit.enter();
                    self.waiting.push_back(self.now);
                } else {
                    self.limit.turned_away();
                    seen.refused += 1;
                }
            }
            self.step(&mut seen);
        }
        seen
    }

    fn step(&mut self, seen: &mut Seen) {
        self.now += STEP;
        if (self.now - self.began).as_millis() % 100 < self.works_ms {
            // A worker without work saves up nothing.
            self.turns = (self.turns + self.per_second * STEP.as_secs_f64()).min(self.waiting.len() as f64 + 1.0);
        }
        while self.turns >= 1.0 {
            let Some(came) = self.waiting.pop_front() else { break };
            self.turns -= 1.0;
            self.leaving.push_back((came, self.now + self.delay));
        }
        while let Some(&(came, at)) = self.leaving.front()
            && at <= self.now
        {
            self.leaving.pop_front();
            self.limit.leave();
            self.limit.measure(self.now - came, self.now);
            seen.answered += 1;
            seen.took.push(self.now - came);
        }
    }
}

#[test]
fn three_times_the_capacity_is_answered_at_the_full_rate_and_in_time() {
    for per_second in [800.0, 1_640.0, 8_000.0, 40_000.0] {
        let mut queue = Queue::new(per_second);
        queue.offer(3.0 * per_second, 2.0);
        let mut seen = queue.offer(3.0 * per_second, 5.0);
        assert!(seen.answered as f64 >= 0.98 * 5.0 * per_second, "{per_second}/s: {}", seen.answered);
        assert!(seen.refused as f64 >= 1.9 * 5.0 * per_second, "{per_second}/s: {}", seen.refused);
        assert!(seen.p99() <= Duration::from_millis(55), "{per_second}/s: {:?}", seen.p99());
    }
}

#[test]
fn nobody_is_refused_below_the_capacity() {
    let mut queue = Queue::new(5_000.0);
    assert_eq!(queue.offer(4_000.0, 5.0).refused, 0);
    // Nor is a burst that is answered within the goal.
    assert_eq!(queue.offer(30_000.0, 0.02).refused, 0);
}

#[test]
fn a_processor_that_is_cut_to_a_fifth_is_followed_within_a_second() {
    let mut queue = Queue::new(20_000.0);
    queue.offer(60_000.0, 3.0);
    queue.per_second = 4_000.0;
    queue.offer(12_000.0, 1.0);
    let mut seen = queue.offer(12_000.0, 3.0);
    assert!(seen.answered as f64 >= 0.98 * 3.0 * 4_000.0, "{}", seen.answered);
    assert!(seen.p99() <= Duration::from_millis(60), "{:?}", seen.p99());
    queue.per_second = 20_000.0;
    queue.offer(60_000.0, 1.0);
    let seen = queue.offer(60_000.0, 1.0);
    assert!(seen.answered as f64 >= 0.98 * 20_000.0, "{} after it was given back", seen.answered);
}

/// A quota of the Linux scheduler: it works for 20 ms and stands for 80.
#[test]
fn the_pauses_of_a_processor_quota_are_not_taken_for_a_queue() {
    let mut queue = Queue::new(20_000.0);
    queue.works_ms = 20;
    assert_eq!(queue.offer(3_200.0, 5.0).refused, 0, "at eight tenths of what it can");
    queue.offer(12_000.0, 2.0);
    let mut seen = queue.offer(12_000.0, 5.0);
    assert!(seen.answered as f64 >= 0.95 * 5.0 * 4_000.0, "{}", seen.answered);
    assert!(seen.p99() <= Duration::from_millis(250), "{:?}", seen.p99());
}

#[test]
fn where_every_answer_takes_long_refusing_some_would_help_nobody() {
    let mut queue = Queue::new(10_000.0);
    queue.delay = Duration::from_millis(60);
    queue.offer(100.0, 3.0);
    let seen = queue.offer(8_000.0, 5.0);
    assert_eq!(seen.refused, 0);
    // Also where it was never quiet enough to find that out beforehand.
    let mut queue = Queue::new(10_000.0);
    queue.delay = Duration::from_millis(60);
    queue.offer(8_000.0, 5.0);
    let seen = queue.offer(8_000.0, 3.0);
    assert!(seen.answered as f64 >= 0.9 * 3.0 * 8_000.0, "{}", seen.answered);
}

/// A batch takes a while however small it is: the fewer are let in, the smaller are
/// the batches, and none is quicker.
#[test]
fn a_time_that_does_not_depend_on_how_many_are_let_in_cuts_no_rate() {
    let mut limit = AdaptiveLimit::new(BOUNDS);
    let mut now = Instant::now();
    let (clients, batch_takes) = (256, |openings: usize| Duration::from_micros(25_000 + 100 * openings as u64));
    let mut answered = 0;
    for cycle in 0..400 {
        let openings = clients.min(limit.limit());
        (0..openings).for_each(|_| limit.enter());
        if openings < clients {
            limit.turned_away();
        }
        let took = batch_takes(openings);
        now += took;
        for _ in 0..openings {
            limit.leave();
            limit.measure(took, now);
        }
        answered += if cycle >= 100 { openings } else { 0 };
    }
    assert!(answered >= 300 * 8 / 10 * clients, "{} in a batch", answered / 300);
}

#[test]
fn a_slow_moment_without_load_refuses_nobody_of_the_burst_after_it() {
    let mut queue = Queue::new(40_000.0);
    queue.offer(100.0, 3.0);
    queue.delay = Duration::from_millis(70);
    queue.offer(50.0, 1.0);
    queue.delay = Duration::ZERO;
    assert_eq!(queue.offer(60_000.0, 0.02).refused, 0);
}

#[test]
fn after_a_storm_everything_is_let_in_again() {
    let mut queue = Queue::new(2_000.0);
    queue.offer(6_000.0, 3.0);
    assert!(queue.limit.limit() < 200, "{}", queue.limit.limit());
    queue.offer(500.0, 3.0);
    assert_eq!(queue.limit.limit(), BOUNDS.initial);
}

#[test]
fn who_leaves_gives_the_place_back() {
    let mut limit = AdaptiveLimit::new(AdmissionBounds { most: 2, ..BOUNDS });
    limit.enter();
    limit.enter();
    assert_eq!((limit.limit(), limit.under_way(), limit.free()), (2, 2, 0));
    limit.leave();
    assert_eq!((limit.under_way(), limit.free()), (1, 1));
}
