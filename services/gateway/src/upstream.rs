//! One server as a gateway sees it.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use hongbao_core::Traffic;
use hongbao_core::admission::{AdaptiveLimit, AdmissionBounds};
use hongbao_core::limits::{FORWARD_WAIT_MS_GOAL, FORWARDS_AT_FIRST, FORWARDS_MIN};
use hongbao_core::topology::Address;
use hongbao_http::tls::TlsTowardsServers;
use http::uri::Authority;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::answers::AnswerCounts;

/// What a server is believed to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Health {
    /// It answers and wants requests; also one that nothing is known of yet.
    Up = 0,
    /// It is going away, and still answers.
    Draining = 1,
    /// It answers that it cannot serve.
    NotReady = 2,
    /// It does not answer.
    Dead = 3,
}

/// How often a request that waits looks whether its server has died.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Why an answer is not waited for any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoAnswer {
    /// Its time is over.
    InTime,
    /// The server is dead.
    AnyMore,
}

/// One server. It outlives a change of the topology that keeps its name, its
/// address and where that leads, and with it what is known of it.
#[derive(Debug)]
pub(crate) struct Upstream {
    pub(crate) set: String,
    pub(crate) name: String,
    pub(crate) address: Address,
    /// Where its address leads; `None` if its name is not resolved.
    pub(crate) reached: Option<SocketAddr>,
    pub(crate) authority: Authority,
    /// Speaks TLS with it.
    pub(crate) tls: Option<TlsTowardsServers>,
    health: AtomicU8,
    /// What it said last of new envelopes; at first nothing is known against it.
    takes_new: AtomicBool,
    /// Changes of its standing.
    changes: AtomicU64,
    /// Answers to requests, of whatever kind: each is a sign of life.
    answers: AtomicU64,
    /// How requests of live traffic ended here.
    pub(crate) answers_by_time: AnswerCounts,
    /// How many requests may be there, so that it answers them in time.
    admission: Mutex<AdaptiveLimit>,
    /// Wakes its probe.
    pub(crate) probe_now: Notify,
}

/// Tells servers apart, for as long as a weak reference to the server is kept beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ServerKey(usize);

impl ServerKey {
    pub(crate) fn of(server: &Arc<Upstream>) -> ServerKey {
        ServerKey(Arc::as_ptr(server).addr())
    }
}

impl Upstream {
    /// Never are more than `forwards_max` requests there, however fast it is. One whose name leads nowhere is dead
    /// from the beginning.
    pub(crate) fn new(
        set: &str,
        name: &str,
        address: &Address,
        reached: Option<SocketAddr>,
        forwards_max: usize,
    ) -> Upstream {
        let health = if reached.is_some() { Health::Up } else { Health::Dead };
        let admission = AdaptiveLimit::new(AdmissionBounds {
            least: FORWARDS_MIN,
            initial: FORWARDS_AT_FIRST,
            most: forwards_max,
            goal: Duration::from_millis(FORWARD_WAIT_MS_GOAL),
        });
        Upstream {
            set: set.to_owned(),
            name: name.to_owned(),
            address: address.clone(),
            reached,
            authority: Authority::try_from(address.to_string()).expect("a host and a port are an authority"),
            tls: None,
            health: AtomicU8::new(health as u8),
            takes_new: AtomicBool::new(true),
            changes: AtomicU64::new(0),
            answers: AtomicU64::new(0),
            answers_by_time: AnswerCounts::new(),
            admission: Mutex::new(admission),
            probe_now: Notify::new(),
        }
    }

    pub(crate) fn with_tls(self, tls: Option<TlsTowardsServers>) -> Upstream {
        Upstream { tls, ..self }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.health.load(Ordering::Relaxed) == Health::Up as u8
    }

    pub(crate) fn is_dead(&self) -> bool {
        self.health() == Health::Dead
    }

    pub(crate) fn health(&self) -> Health {
        match self.health.load(Ordering::Relaxed) {
            0 => Health::Up,
            1 => Health::Draining,
            2 => Health::NotReady,
            _ => Health::Dead,
        }
    }

    pub(crate) fn set_health(&self, health: Health) {
        self.health.store(health as u8, Ordering::Relaxed);
        self.changes.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether new envelopes may be placed here, as long as it is up.
    pub(crate) fn takes_new(&self) -> bool {
        self.takes_new.load(Ordering::Relaxed)
    }

    pub(crate) fn set_takes_new(&self, takes_new: bool) {
        self.takes_new.store(takes_new, Ordering::Relaxed);
    }

    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed)
    }

    /// It has answered a request.
    pub(crate) fn answered(&self) {
        self.answers.fetch_add(1, Ordering::Relaxed);
    }

    /// How often it has answered requests: while this grows it lives.
    pub(crate) fn answers(&self) -> u64 {
        self.answers.load(Ordering::Relaxed)
    }

    pub(crate) fn in_flight(&self) -> usize {
        self.admission.lock().under_way()
    }

    /// Waits for an answer until a moment, or until the server, which lived at the
    /// beginning, has been dead for this long.
    pub(crate) async fn wait<T>(
        &self,
        until: Instant,
        dead_for: Duration,
        answer: impl Future<Output = T>,
    ) -> Result<T, NoAnswer> {
        let is_dead = || self.is_dead();
        let was_dead = is_dead();
        let mut answer = pin!(answer);
        let mut dead_since: Option<Instant> = None;
        loop {
            let next = until.min(Instant::now() + LOOK_EVERY);
            if let Ok(answer) = timeout_at(next, answer.as_mut()).await {
                return Ok(answer);
            }
            if next == until {
                return Err(NoAnswer::InTime);
            }
            dead_since = is_dead().then(|| dead_since.unwrap_or(next));
            if !was_dead && dead_since.is_some_and(|since| since.elapsed() >= dead_for) {
                return Err(NoAnswer::AnyMore);
            }
        }
    }

    /// What may be there at the same time, at the rate at which it answers now.
    pub(crate) fn in_flight_max(&self) -> usize {
        self.admission.lock().limit()
    }

    /// Whether one more request would be let through now.
    pub(crate) fn has_room(&self, traffic: Traffic) -> bool {
        has_room(&mut self.admission.lock(), traffic)
    }

    /// Room for one more request, until what is given is dropped; `None` when it
    /// could not be answered in time.
    pub(crate) fn enter(self: &Arc<Upstream>, traffic: Traffic) -> Option<InFlight> {
        let mut admission = self.admission.lock();
        if !has_room(&mut admission, traffic) {
            return None;
        }
        admission.enter();
        Some(InFlight { upstream: self.clone(), traffic, since: Instant::now() })
    }
}

/// However hard is rehearsed, half of the places are for what is real.
fn has_room(admission: &mut AdaptiveLimit, traffic: Traffic) -> bool {
    let has_room = match traffic {
        Traffic::Live => admission.free() > 0,
        Traffic::Shadow => admission.under_way() < (admission.limit() / 2).max(1),
    };
    if !has_room {
        admission.turned_away();
    }
    has_room
}

/// A request that is at a server.
#[derive(Debug)]
pub(crate) struct InFlight {
    upstream: Arc<Upstream>,
    traffic: Traffic,
    since: Instant,
}

impl InFlight {
    /// The head of its answer has come: how long that took says how much the server has to do.
    pub(crate) fn answered(&self) {
        let now = Instant::now();
        self.upstream.admission.lock().measure(now - self.since, now.into_std());
    }

    /// The server refused it, mostly because it had no room.
    pub(crate) fn refused(&self) {
        self.upstream.admission.lock().turned_away_there();
    }

    /// Whether it ended in an error, for the rule of a canary; `None` if it had no answer.
    pub(crate) fn ended(&self, is_error: Option<bool>) {
        match (self.traffic, is_error) {
            (Traffic::Shadow, _) => {}
            (Traffic::Live, Some(is_error)) => self.upstream.answers_by_time.answered(is_error, self.since.elapsed()),
            (Traffic::Live, None) => self.upstream.answers_by_time.unanswered(),
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.upstream.admission.lock().leave();
    }
}
