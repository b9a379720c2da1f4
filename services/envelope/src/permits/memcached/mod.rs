//! Permits counted in the memcached of the host, for all its processes.
//!
//! A process whose openings all go through lanes holds one permit of every envelope
//! (`standing.rs`), under a cap of eight or more: entering asks nothing then, and what
//! the host holds is written and read four times a second.
//!
//! All others ask for each envelope. One key for each, `hongbao:permit:<id>`, says who holds how many permits;
//! it is changed by `gets` and `cas`, or by `add` when it is absent. A permit
//! that was left is kept for half a second to a second and used again without a
//! question; other processes of the host may be refused for that long where the cap is
//! reached. Held permits are renewed at half their time to live; what a crash leaked ends
//! after it, and so does what is dropped unwritten because a process holds too many.
//!
//! So of an envelope no more transactions are in the database than its key and the
//! standing permits say together.
//!
//! memcached throttles and decides nothing. While a connection to it is broken,
//! which one late answer does, this process counts for itself under the same
//! cap: the processes of a host may then let in as many times the cap as they
//! are. A caller that waits too long behind others for a connection that works is refused.
//!
//! | entry | questions to memcached |
//! |---|---|
//! | with a standing permit, or a kept one | none |
//! | the first, no other inside | one (`add`) |
//! | the first, others inside | two or three (`add`, `gets`, `cas`) |
//! | giving back, renewing | two (`gets`, `cas`), on a task of its own |

mod answers;
mod link;
mod metrics;
mod standing;
mod state;
mod value;

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hongbao_core::limits::{PERMIT_WAIT_MS_MAX, PERMIT_WRITES_MAX, PERMITS_HELD_MAX};
use hongbao_core::{Clock, EnvelopeId, Traffic};
use parking_lot::Mutex;
use tokio::time::{MissedTickBehavior, interval, timeout_at};

use self::link::{Link, Terms};
pub use self::metrics::PermitMetrics;
use self::standing::tell_host;
use self::state::{Admission, KEPT_FOR, PermitStates, RetentionPolicy};
use super::{Counter, Permits};

/// Connections; an envelope's questions always go through the same one.
const LINKS: usize = 4;

/// How often permits are given back and connections mended.
const TEND_EVERY: Duration = Duration::from_millis(250);

/// How memcached is asked.
#[derive(Clone, Debug)]
pub struct MemcachedOptions {
    /// `host:port` of this host's memcached.
    pub address: String,
    /// How long one question may take before the connection is given up.
    pub answer_within: Duration,
    /// How long a permit lasts that its process does not renew, in seconds.
    pub ttl_s: u32,
    /// Whose transactions: each kind of traffic counts its own.
    pub traffic: Traffic,
    /// Whether all of them go through lanes, so that no two of an envelope are under way at once.
    pub lanes: bool,
}

impl MemcachedOptions {
    /// For live traffic without lanes, with the usual times: 20 ms for an answer, 20 s to live.
    pub fn new(address: impl Into<String>) -> MemcachedOptions {
        let answer_within = Duration::from_millis(20);
        MemcachedOptions { address: address.into(), answer_within, ttl_s: 20, traffic: Traffic::Live, lanes: false }
    }
}

/// Permits counted in memcached. Dropped, it keeps no connection and no task.
pub struct MemcachedPermits(Arc<Inner>);

struct Inner {
    terms: Terms,
    cap: AtomicU32,
    states: Mutex<PermitStates>,
    links: [tokio::sync::Mutex<Link>; LINKS],
    /// Taken to give back and to renew, so that the last to do so knows
    /// that nothing is under way.
    writing: tokio::sync::Mutex<()>,
    /// Some connection is broken: what it is asked is counted here instead.
    away: AtomicBool,
    /// Nothing is taken any more.
    closed: AtomicBool,
}

impl MemcachedPermits {
    /// At most `cap` transactions per envelope, counted by the memcached of
    /// `options`, which need not be there yet. `holder` names this process: a
    /// random number.
    pub async fn start(
        options: MemcachedOptions,
        holder: u64,
        cap: u32,
        clock: Arc<dyn Clock>,
        metrics: PermitMetrics,
    ) -> MemcachedPermits {
        let MemcachedOptions { address, answer_within, ttl_s, traffic, lanes } = options;
        let inner = Arc::new(Inner {
            terms: Terms { address, holder, answer_within, ttl_s, traffic, lanes, clock, metrics },
            cap: AtomicU32::new(cap),
            states: Mutex::default(),
            links: std::array::from_fn(|_| tokio::sync::Mutex::new(Link::new())),
            writing: tokio::sync::Mutex::new(()),
            away: AtomicBool::new(true),
            closed: AtomicBool::new(false),
        });
        inner.reconnect().await;
        inner.take_part().await;
        tokio::spawn(maintain(Arc::downgrade(&inner)));
        MemcachedPermits(inner)
    }
}

#[async_trait]
impl Permits for MemcachedPermits {
    async fn enter(&self, ids: &[EnvelopeId]) -> Vec<bool> {
        let inner = &*self.0;
        let (cap, now) = (inner.cap(), Instant::now());
        let mut entered = vec![false; ids.len()];
        let mut to_ask: [Vec<usize>; LINKS] = Default::default();
        {
            let mut states = inner.states.lock();
            for (place, id) in ids.iter().enumerate() {
                match states.enter(*id, cap, now) {
                    Admission::Entered => entered[place] = true,
                    Admission::Full => {}
                    Admission::Ask => to_ask[link_of(*id)].push(place),
                }
            }
        }
        if to_ask.iter().any(|places| !places.is_empty()) {
            let [a, b, c, d] = &to_ask;
            let ask = |link, places| inner.ask(link, ids, places, cap);
            let asking = async { tokio::join!(ask(0, a), ask(1, b), ask(2, c), ask(3, d)) };
            let answers = Box::pin(asking).await;
            for place in [answers.0, answers.1, answers.2, answers.3].into_iter().flatten() {
                entered[place] = true;
            }
            inner.terms.metrics.wait.observe(now.elapsed().as_secs_f64());
        }
        inner.terms.metrics.refused.inc_by(entered.iter().filter(|entered| !**entered).count() as u64);
        entered
    }

    fn leave(&self, ids: &[EnvelopeId]) {
        let mut states = self.0.states.lock();
        for id in ids {
            states.leave(*id);
        }
    }

    fn cap(&self) -> u32 {
        self.0.cap()
    }

    fn set_cap(&self, cap: u32) {
        self.0.cap.store(cap, Ordering::Relaxed);
    }

    fn counter(&self) -> Counter {
        if self.0.away.load(Ordering::Relaxed) { Counter::Local } else { Counter::Memcached }
    }

    async fn close(&self) {
        self.0.closed.store(true, Ordering::Relaxed);
        if self.0.states.lock().standing.stop() {
            // What is not taken back expires.
            let _ = standing::leave_host(&mut *self.0.links[0].lock().await, &self.0.terms).await;
        }
        // What is idle at one look has been idle long enough at the next.
        self.0.write_due(Duration::ZERO).await;
        for _ in 0..=PERMITS_HELD_MAX / PERMIT_WRITES_MAX {
            if self.0.write_due(Duration::ZERO).await == 0 {
                return;
            }
        }
    }
}

impl Inner {
    fn cap(&self) -> u32 {
        self.cap.load(Ordering::Relaxed)
    }

    /// Asks for one permit for each of the envelopes at these places, all of one
    /// link; gives the places that have entered.
    async fn ask(&self, link: usize, ids: &[EnvelopeId], places: &[usize], cap: u32) -> Vec<usize> {
        let mut entered = Vec::new();
        if places.is_empty() {
            return entered;
        }
        let until = Instant::now() + Duration::from_millis(PERMIT_WAIT_MS_MAX);
        let Ok(mut link) = timeout_at(until.into(), self.links[link].lock()).await else { return entered };
        for &place in places {
            let id = ids[place];
            // While we waited, another may have left or been refused.
            let door = self.states.lock().enter(id, cap, Instant::now());
            let enters = match door {
                Admission::Entered => true,
                Admission::Full => false,
                Admission::Ask if !link.is_up() => self.enter_locally(id, cap),
                // memcached counts, but has no time for us: a process that counted alone now would exceed the host's cap.
                Admission::Ask if Instant::now() >= until => false,
                Admission::Ask => self.ask_one(&mut link, id, cap).await,
            };
            if enters {
                entered.push(place);
            }
        }
        entered
    }

    async fn ask_one(&self, link: &mut Link, id: EnvelopeId, cap: u32) -> bool {
        let (count, left) = {
            let states = self.states.lock();
            (states.taken(id) + 1, states.left_of(cap))
        };
        let granted = link.put(id, count, Some(left), &self.terms).await;
        match granted {
            Ok(true) => self.states.lock().granted(id, Instant::now()),
            Ok(false) => self.states.lock().refused(id, Instant::now()),
            Err(error) => {
                self.broke(&error);
                return self.enter_locally(id, cap);
            }
        }
        granted.is_ok_and(|granted| granted)
    }

    fn enter_locally(&self, id: EnvelopeId, cap: u32) -> bool {
        self.terms.metrics.fallbacks.inc();
        self.states.lock().enter_locally(id, cap, Instant::now())
    }

    /// Gives back what was not used for `kept_for`, and renews what is held
    /// long; tells of how many envelopes.
    async fn write_due(&self, kept_for: Duration) -> usize {
        let _writing = self.writing.lock().await;
        let ttl = Duration::from_secs(self.terms.ttl_s.into());
        let policy = RetentionPolicy { kept_for, renew_after: ttl / 2, writes_max: PERMIT_WRITES_MAX };
        let ids = self.states.lock().take_due(Instant::now(), &policy);
        let write = |link| self.write_over(link, &ids);
        tokio::join!(write(0), write(1), write(2), write(3));
        ids.len()
    }

    /// Writes our parts of those of the envelopes that go over this link.
    async fn write_over(&self, number: usize, ids: &[EnvelopeId]) {
        for &id in ids.iter().filter(|id| link_of(**id) == number) {
            // Locked anew for each, so that an entry does not wait for all of them.
            let mut link = self.links[number].lock().await;
            if !link.is_up() {
                return;
            }
            let count = self.states.lock().taken(id);
            match link.put(id, count, None, &self.terms).await {
                Ok(_) => self.states.lock().written(id, Instant::now()),
                Err(error) => self.broke(&error),
            }
        }
    }

    /// Connects what is broken.
    async fn reconnect(&self) {
        let mut away = false;
        for link in &self.links {
            if link.lock().await.wants_mending() {
                match link::connect(&self.terms).await {
                    Ok(connection) => {
                        link.lock().await.mended(connection);
                        self.states.lock().write_all_again();
                    }
                    Err(error) => {
                        link.lock().await.not_mended();
                        tracing::debug!(address = self.terms.address, %error, "memcached cannot be reached");
                    }
                }
            }
            away |= !link.lock().await.is_up();
        }
        self.away.store(away, Ordering::Relaxed);
        self.terms.metrics.local.set(away.into());
    }

    /// Tells the other processes of the host what this one is, and learns it of them.
    async fn take_part(&self) {
        let mut link = self.links[0].lock().await;
        if self.closed.load(Ordering::Relaxed) {
            return;
        }
        let stop = || self.states.lock().standing.stop();
        let of_host = match link.is_up() {
            true => tell_host(&mut link, &self.terms, self.cap(), stop).await.inspect_err(|error| self.broke(error)),
            false => Ok((None, 0)),
        };
        // Without memcached each process counts for itself.
        let (usable_until, reserved) = of_host.unwrap_or_default();
        self.states.lock().standing.set(usable_until, reserved);
        self.terms.metrics.standing.set(usable_until.is_some().into());
    }

    fn broke(&self, error: &std::io::Error) {
        self.away.store(true, Ordering::Relaxed);
        self.terms.metrics.local.set(1);
        tracing::warn!(address = self.terms.address, %error, "a connection to memcached is given up");
    }
}

/// Tends what is held and the connections, until the permits are dropped.
async fn maintain(permits: Weak<Inner>) {
    let mut tick = interval(TEND_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let Some(inner) = permits.upgrade() else { return };
        inner.reconnect().await;
        inner.take_part().await;
        // After a full round there is more to write: no pause, unless a connection has to be mended first.
        for _ in 0..=PERMITS_HELD_MAX / PERMIT_WRITES_MAX {
            let is_full = inner.write_due(KEPT_FOR).await == PERMIT_WRITES_MAX;
            if !is_full || inner.away.load(Ordering::Relaxed) {
                break;
            }
        }
        inner.terms.metrics.held.set(inner.states.lock().len() as i64);
    }
}

fn link_of(id: EnvelopeId) -> usize {
    // The last byte of an id is random.
    usize::from(id.as_bytes()[15]) % LINKS
}
