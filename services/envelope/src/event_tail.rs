//! Wakes those who wait for events.
//!
//! One task of a process looks, while a stream is open, where the events of each database end, and names the feeds that
//! got something new; only the streams that read them ask the database. So what waiting costs does not depend on how
//! many wait.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hongbao_core::UserId;
use hongbao_core::event::Feed;
use hongbao_core::limits::EVENT_LOOK_EVERY_MS;
use hongbao_wallet::{FeedsWritten, Wallet};
use parking_lot::Mutex;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What streams tell Prometheus.
#[derive(Clone, Default)]
struct TailMetrics {
    open: Gauge,
    refused: Counter,
    events: Counter,
    looks_failed: Counter,
}

/// Who waits for which feed.
pub struct EventTail {
    waiting: Mutex<Waiting>,
    streams_max: usize,
    streams_of_user_max: usize,
    /// Wakes the task when the first stream is opened.
    opened: Notify,
    metrics: TailMetrics,
    next_number: AtomicI64,
}

#[derive(Default)]
struct Waiting {
    of_feed: HashMap<Feed, HashMap<i64, Arc<Notify>>>,
    of_user: HashMap<UserId, usize>,
    streams: usize,
}

/// Why a stream is not opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TooMany {
    /// Of this process.
    Here,
    /// Of this user.
    OfUser,
}

impl EventTail {
    /// For so many streams, and so many of one user.
    pub fn new(streams_max: usize, streams_of_user_max: usize, registry: &mut Registry) -> EventTail {
        let metrics = TailMetrics::default();
        registry.register("hongbao_event_streams", "Streams of events that are open", metrics.open.clone());
        registry.register(
            "hongbao_event_streams_refused",
            "Streams of events that were refused because too many were open",
            metrics.refused.clone(),
        );
        registry.register("hongbao_events_streamed", "Events that were sent in streams", metrics.events.clone());
        registry.register(
            "hongbao_event_looks_failed",
            "Looks at a database for new events that failed; streams are late meanwhile",
            metrics.looks_failed.clone(),
        );
        EventTail {
            waiting: Mutex::default(),
            streams_max,
            streams_of_user_max,
            opened: Notify::new(),
            metrics,
            next_number: AtomicI64::new(0),
        }
    }

    /// Starts the task that looks.
    pub fn follow(self: &Arc<EventTail>, wallet: Arc<dyn Wallet>) -> JoinHandle<()> {
        let tail = Arc::clone(self);
        tokio::spawn(async move {
            loop {
                tail.opened.notified().await;
                tail.look_while_open(&*wallet).await;
            }
        })
    }

    /// Where the databases end is forgotten when no stream is left: one that is opened later reads by itself first.
    async fn look_while_open(&self, wallet: &dyn Wallet) {
        let mut ends: HashMap<u8, i64> = HashMap::new();
        while self.waiting.lock().streams > 0 {
            for place in wallet.shards() {
                match wallet.feeds_written(place.shard, ends.get(&place.shard).copied()).await {
                    Ok(FeedsWritten { shard, end, feeds }) => {
                        // A database that was started anew may have lost what was seen: streams read it again.
                        match ends.insert(shard, end) {
                            Some(before) if end >= before => self.wake(&feeds),
                            _ => self.wake_all(),
                        }
                    }
                    Err(error) => {
                        self.metrics.looks_failed.inc();
                        tracing::debug!(%error, "new events cannot be looked for");
                    }
                }
            }
            tokio::time::sleep(Duration::from_millis(EVENT_LOOK_EVERY_MS)).await;
        }
    }

    fn wake(&self, feeds: &[Feed]) {
        let waiting = self.waiting.lock();
        for feed in feeds {
            waiting.of_feed.get(feed).into_iter().flat_map(HashMap::values).for_each(|one| one.notify_one());
        }
    }

    fn wake_all(&self) {
        self.waiting.lock().of_feed.values().flat_map(HashMap::values).for_each(|one| one.notify_one());
    }

    /// Counts events that were sent.
    pub fn sent(&self, events: usize) {
        self.metrics.events.inc_by(events as u64);
    }

    /// Has a stream of a user be woken when one of these feeds gets something, until what is given is dropped.
    ///
    /// # Errors
    /// That too many are open.
    pub fn open(self: &Arc<EventTail>, user: &UserId, feeds: &[Feed]) -> Result<Waker, TooMany> {
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        let woken = Arc::new(Notify::new());
        let mut waiting = self.waiting.lock();
        let of_user = waiting.of_user.get(user).copied().unwrap_or(0);
        let too_many = match (waiting.streams < self.streams_max, of_user < self.streams_of_user_max) {
            (true, true) => None,
            (false, _) => Some(TooMany::Here),
            (true, false) => Some(TooMany::OfUser),
        };
        if let Some(too_many) = too_many {
            self.metrics.refused.inc();
            return Err(too_many);
        }
        waiting.streams += 1;
        waiting.of_user.insert(user.clone(), of_user + 1);
        for feed in feeds {
            waiting.of_feed.entry(feed.clone()).or_default().insert(number, Arc::clone(&woken));
        }
        self.metrics.open.set(waiting.streams as i64);
        drop(waiting);
        self.opened.notify_one();
        Ok(Waker { tail: Arc::clone(self), number, user: user.clone(), feeds: feeds.to_vec(), woken })
    }
}

/// An open stream's place among those that wait.
pub struct Waker {
    tail: Arc<EventTail>,
    number: i64,
    user: UserId,
    feeds: Vec<Feed>,
    woken: Arc<Notify>,
}

impl Waker {
    /// Waits until there may be something new.
    pub async fn woken(&self) {
        self.woken.notified().await;
    }

    /// Counts events that were sent.
    pub fn sent(&self, events: usize) {
        self.tail.sent(events);
    }
}

impl Drop for Waker {
    fn drop(&mut self) {
        let mut waiting = self.tail.waiting.lock();
        waiting.streams -= 1;
        if let Some(left) = waiting.of_user.get_mut(&self.user) {
            *left -= 1;
            if *left == 0 {
                waiting.of_user.remove(&self.user);
            }
        }
        for feed in &self.feeds {
            if let Some(wakers) = waiting.of_feed.get_mut(feed) {
                wakers.remove(&self.number);
                if wakers.is_empty() {
                    waiting.of_feed.remove(feed);
                }
            }
        }
        self.tail.metrics.open.set(waiting.streams as i64);
    }
}
