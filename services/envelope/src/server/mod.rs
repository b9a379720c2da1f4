//! The verbs of the envelope server, without HTTP.
//!
//! A file holds one verb; here is what they share. Each checks, in the order a reader would ask: is the envelope ours,
//! does it exist, may this user; then decides. What failures
//! become stands in [`crate::refusal`].

mod create;
mod detail;
mod freeze;
mod grab;
mod limited;
mod open;
mod options;
mod orders;
mod pay;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::fence::Fence;
use hongbao_core::id::SLOTS;
use hongbao_core::limits::MINT_TRIES_MAX;
use hongbao_core::ticket::TicketKey;
use hongbao_core::wire::Outcome;
use hongbao_core::{Clock, Envelope, EnvelopeId, GroupId, Limits, Opened, Timestamp, UserClass, UserId, limits};
use hongbao_provider::Payments;
use hongbao_store::{DatabaseClock, Store};
use hongbao_trace::in_current;
use hongbao_wallet::Wallet;
use prometheus_client::registry::Registry;
use tokio::task::JoinHandle;

use crate::answer::OpenAnswer;
use crate::context::OpeningContext;
use crate::event_tail::EventTail;
use crate::frozen::FrozenUsers;
use crate::held::HeldIds;
use crate::lane::{Lane, LaneQueue};
use crate::live::{LiveEnvelope, LiveEnvelopes, NotLive};
use crate::metrics::{KeyedMetrics, LaneMetrics, LimitedMetrics, ServerMetrics};
use crate::permits::Permits;
use crate::presence::Presence;
use crate::received::ReceivedToday;
use crate::refusal::Refusal;
use crate::shared::SnapshotCache;
use crate::shared::snapshot::Snapshot;

pub use self::open::Opening;
pub use self::options::ServerOptions;
pub use self::orders::PaidFromProvider;

const DAY_MS: i64 = 86_400_000;

/// What a server works with.
pub struct ServerParts {
    /// Where envelopes are.
    pub store: Arc<dyn Store>,
    /// Where balances are.
    pub wallet: Arc<dyn Wallet>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Caps the transactions of one envelope.
    pub permits: Arc<dyn Permits>,
    /// What the servers of the SET show each other; `None` where there is no Redis.
    pub shared: Option<Arc<SnapshotCache>>,
    /// Makes and checks tickets.
    pub tickets: TicketKey,
    /// What a request may ask for.
    pub limits: Limits,
    /// Seconds that the zone whose days the limits of users count is ahead of UTC.
    pub zone_offset_s: i32,
    /// Which ids the databases accept, read from them just now.
    pub fence: Fence,
    /// The payment provider; `None` where there is none, and money neither comes in nor goes out.
    pub payments: Option<Payments>,
    /// The rest.
    pub options: ServerOptions,
}

/// The envelope server.
pub struct Server {
    parts: ServerParts,
    held: Arc<HeldIds>,
    live: Arc<LiveEnvelopes>,
    presence: Presence,
    /// By number of the [writer](Store::writer_of).
    lanes: Vec<Option<LaneQueue>>,
    direct: Arc<OpeningContext>,
    events: Arc<EventTail>,
    keyed: KeyedMetrics,
    limited: LimitedMetrics,
    received: ReceivedToday,
    frozen: Arc<FrozenUsers>,
}

/// The tasks of a server: its lanes, its sweeper, and what reads the fence and who is frozen.
pub struct ServerTasks {
    lanes: Vec<JoinHandle<()>>,
    sweeper: JoinHandle<()>,
    fence: JoinHandle<()>,
    events: JoinHandle<()>,
    frozen: JoinHandle<()>,
    permits: Arc<dyn Permits>,
}

impl ServerTasks {
    /// Waits until the lanes have answered everything; they end once the
    /// [`Server`] has been dropped.
    pub async fn drained(self) {
        for lane in self.lanes {
            // A lane that panicked has nothing left to drain.
            let _ = lane.await;
        }
        self.sweeper.abort();
        self.fence.abort();
        self.events.abort();
        self.frozen.abort();
        self.permits.close().await;
    }
}

/// Who calls.
pub struct Caller<'a> {
    /// The token's subject.
    pub user: &'a UserId,
    /// The token's groups.
    pub groups: &'a [GroupId],
    /// The token's class, which says what limits the user has.
    pub class: Option<&'a UserClass>,
}

impl Server {
    /// Starts the lanes, one for each writer of the store.
    pub fn start(parts: ServerParts, registry: &mut Registry) -> (Arc<Server>, ServerTasks) {
        let metrics = ServerMetrics::register(registry, &parts.store.durability().settings);
        let live = LiveEnvelopes::new(parts.options.live_envelopes_max, parts.options.loads_max);
        let live = Arc::new(live.shared_through(parts.shared.clone()));
        let database_clock = Arc::new(DatabaseClock::new(parts.store.clone(), parts.clock.clone()));
        let context = |lane_metrics: LaneMetrics| {
            Arc::new(OpeningContext {
                store: parts.store.clone(),
                live: live.clone(),
                permits: parts.permits.clone(),
                clock: parts.clock.clone(),
                database_clock: database_clock.clone(),
                metrics: lane_metrics,
            })
        };
        let writers: BTreeSet<u8> =
            parts.store.tables().iter().filter_map(|table| parts.store.writer_of(table.database)).collect();
        let mut lanes: Vec<Option<LaneQueue>> = (0..SLOTS).map(|_| None).collect();
        let mut tasks = Vec::new();
        for &writer in &writers {
            let (queue, waiting) = LaneQueue::new(writer, parts.options.lane_queue_max, parts.clock.now());
            tasks.push(tokio::spawn(Lane::new(context(metrics.lane(writer))).run(waiting)));
            lanes[usize::from(writer)] = Some(queue);
        }
        let sweeper = tokio::spawn(sweep(
            live.clone(),
            parts.clock.clone(),
            parts.options.live_idle_ms,
            metrics.live_envelopes.clone(),
        ));
        let direct = context(metrics.direct());
        let held = Arc::new(HeldIds::new(parts.fence.clone()));
        let fence = tokio::spawn(held.clone().follow_forever(parts.store.clone()));
        let (streams_max, of_user_max) = (parts.options.event_streams_max, parts.options.event_streams_of_user_max);
        let events = Arc::new(EventTail::new(streams_max, of_user_max, registry));
        let tailing = events.follow(parts.wallet.clone());
        let frozen = Arc::new(FrozenUsers::new(metrics.frozen_users.clone()));
        let following = tokio::spawn(frozen.clone().follow_forever(parts.wallet.clone()));
        let permits = parts.permits.clone();
        let tasks = ServerTasks { lanes: tasks, sweeper, fence, events: tailing, frozen: following, permits };
        let presence = Presence::new(parts.clock.now());
        let (keyed, limited) = (metrics.keyed.clone(), metrics.limited.clone());
        let received = ReceivedToday::new();
        (
            Arc::new(Server { parts, held, live, presence, lanes, direct, events, keyed, limited, received, frozen }),
            tasks,
        )
    }

    /// An id for a new envelope that is ours, where no gateway has minted one.
    pub fn mint(&self, mut random: impl FnMut() -> Result<[u8; 10], Refusal>) -> Result<EnvelopeId, Refusal> {
        for _ in 0..MINT_TRIES_MAX {
            let id = EnvelopeId::mint(self.parts.clock.now(), random()?);
            if self.check_ours(id).is_ok() {
                return Ok(id);
            }
        }
        Err(Refusal::Misdirected)
    }

    /// The wallet, for what reads it.
    pub fn wallet(&self) -> &Arc<dyn Wallet> {
        &self.parts.wallet
    }

    /// Wakes those who wait for events.
    pub fn event_tail(&self) -> &Arc<EventTail> {
        &self.events
    }

    /// Seconds after which a stream of events ends.
    pub fn event_stream_s_max(&self) -> u64 {
        self.parts.options.event_stream_s_max
    }

    /// The entry permits, for operators.
    pub fn permits(&self) -> &dyn Permits {
        &*self.parts.permits
    }

    /// What a request may ask for.
    pub fn limits(&self) -> &Limits {
        &self.parts.limits
    }

    /// The clock.
    pub fn clock(&self) -> &dyn Clock {
        &*self.parts.clock
    }

    /// Refuses who is known to be frozen.
    fn check_not_frozen(&self, user: &UserId) -> Result<(), Refusal> {
        if self.frozen.contains(user) { Err(Refusal::Frozen) } else { Ok(()) }
    }

    fn check_ours(&self, id: EnvelopeId) -> Result<(), Refusal> {
        let now = self.parts.clock.now();
        // An id from a time that no table holds costs no query. (That of an old one does the store find out.)
        let ahead_ms = id.minted_at().millis().saturating_sub(now.millis());
        if ahead_ms > limits::ID_AHEAD_DAYS_MAX * DAY_MS {
            return Err(Refusal::NotFound);
        }
        // Our clock may have been stepped back: that it does not exist would be a final answer.
        if ahead_ms > limits::ID_AHEAD_MS_MAX {
            return Err(Refusal::ClocksApart(ahead_ms));
        }
        self.held.check(id)?;
        self.presence.asked(now);
        Ok(())
    }

    /// What another server has shown of an envelope that is not live here.
    async fn snapshot(&self, id: EnvelopeId, now: Timestamp) -> Option<Arc<Snapshot>> {
        let shared = self.parts.shared.as_ref()?;
        if !self.parts.options.lanes || self.live.get(id, &*self.parts.store, now).is_some() {
            return None;
        }
        shared.find(id).await
    }

    async fn live(&self, id: EnvelopeId, now: Timestamp) -> Result<Arc<LiveEnvelope>, Refusal> {
        self.live.get_or_load(id, &self.parts.store, now).await.map_err(refusal_of)
    }
}

/// Bytes for a new id.
fn random() -> Result<[u8; 10], Refusal> {
    let mut random = [0; 10];
    getrandom::fill(&mut random).map_err(|error| Refusal::Unavailable(error.to_string()))?;
    Ok(random)
}

/// Runs money work on a task of its own, so that a client that goes away cannot
/// stop it between two statements.
async fn spawn_uncancellable<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Refusal> {
    tokio::spawn(in_current(work)).await.map_err(|error| Refusal::Unknown(format!("work on money panicked: {error}")))
}

async fn sweep(
    live: Arc<LiveEnvelopes>,
    clock: Arc<dyn Clock>,
    idle_ms: i64,
    live_envelopes: prometheus_client::metrics::gauge::Gauge,
) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        live.forget_idle(clock.now(), idle_ms);
        live_envelopes.set(live.len() as i64);
    }
}

/// Who opened it keeps its answer, also after leaving the group.
fn check_invited(envelope: &Envelope, opened: Option<&Opened>, caller: &Caller<'_>) -> Result<(), Refusal> {
    if opened.is_some() || envelope.admits(caller.user, caller.groups) { Ok(()) } else { Err(Refusal::NotInvited) }
}

fn refusal_of(not_live: NotLive) -> Refusal {
    match not_live {
        // For whom it is not meant yet, it does not exist.
        NotLive::NotFound | NotLive::NotPaid(_) => Refusal::NotFound,
        NotLive::Busy => Refusal::Busy,
        NotLive::Store(error) => error.into(),
    }
}

fn outcome_of(answer: OpenAnswer) -> Result<Outcome, Refusal> {
    match answer {
        OpenAnswer::Opened { opened, replayed } => Ok(Outcome::opened(&opened, replayed)),
        OpenAnswer::Empty => Ok(Outcome::Empty),
        OpenAnswer::Expired => Ok(Outcome::Expired),
        OpenAnswer::NotFound => Err(Refusal::NotFound),
        OpenAnswer::Busy => Err(Refusal::Busy),
        OpenAnswer::Unavailable(cause) => Err(Refusal::Unavailable(cause)),
        OpenAnswer::Unknown(cause) => Err(Refusal::Unknown(cause)),
    }
}
