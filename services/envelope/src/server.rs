//! The verbs of the envelope server, without HTTP.
//!
//! Each verb checks, in the order a reader would ask: is the envelope ours,
//! does it exist, may this user; then decides. What a client is told about
//! failures stands in [`crate::refusal`].

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::id::SLOTS;
use hongbao_core::request::{Birth, CreateEnvelope};
use hongbao_core::ticket::TicketKey;
use hongbao_core::wire::{Detail, EnvelopeView, GrabAnswer, OpenView, Outcome, Ready, ReadyTag};
use hongbao_core::{
    Clock, Envelope, EnvelopeId, GroupId, Journal, Limits, Opened, Seed, Slot, Stage, State, Timestamp, Transfer,
    TransferId, TransferOutcome, UserId, limits,
};
use hongbao_store::{Durable, Store, StoreError, durably};
use hongbao_wallet::Wallet;
use prometheus_client::registry::Registry;
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::direct;
use crate::lane::{Accepted, Lane, LaneContext, LaneQueue, OpenAnswer, OpenJob};
use crate::live::{LiveEnvelope, LiveEnvelopes, LiveJournal, NotLive};
use crate::metrics::{LaneMetrics, ServerMetrics};
use crate::permits::Permits;
use crate::presence::Presence;
use crate::refusal::Refusal;
use crate::shared::SharedViews;
use crate::shared::snapshot::{SafeGrab, Snapshot};

/// Ids that are minted until one has a slot of this server's: even where it holds
/// a single one of the hundred, all of these miss it once in 20,000 times.
const MINT_TRIES_MAX: u32 = 1_000;

const DAY_MS: i64 = 86_400_000;

/// What an operator may configure of a server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerOptions {
    /// Whether openings go through lanes. Off: straight to the database, slower and still correct.
    pub lanes: bool,
    /// Openings that one lane may hold, waiting or in its batch, however fast it answers them.
    pub lane_queue_max: usize,
    /// Transactions of one envelope that may be in the database at once.
    pub permit_cap: u32,
    /// Milliseconds after which a waiting opening is dropped before its transaction.
    pub open_deadline_ms: i64,
    /// Milliseconds that a client waits for an answer before it is told `outcome_unknown`.
    pub answer_within_ms: u64,
    /// Envelopes in memory at most.
    pub live_envelopes_max: usize,
    /// Milliseconds without use after which an envelope leaves memory.
    pub live_idle_ms: i64,
    /// Envelopes that may be read from the database at once.
    pub loads_max: usize,
}

impl Default for ServerOptions {
    fn default() -> ServerOptions {
        ServerOptions {
            lanes: true,
            lane_queue_max: 8_192,
            permit_cap: 16,
            open_deadline_ms: 2_000,
            answer_within_ms: 10_000,
            live_envelopes_max: 1_000_000,
            live_idle_ms: 600_000,
            loads_max: 256,
        }
    }
}

impl ServerOptions {
    /// Says what does not fit together, in words for an operator.
    pub fn check(&self) -> Result<(), String> {
        let rules = [
            ((1..=1_000_000).contains(&self.lane_queue_max), "lane_queue_max must be 1 to 1000000"),
            ((1..=limits::PERMIT_CAP_MAX).contains(&self.permit_cap), "permit_cap must be 1 to 10000"),
            ((1..=60_000).contains(&self.open_deadline_ms), "open_deadline_ms must be 1 to 60000"),
            (
                i128::from(self.answer_within_ms) > i128::from(self.open_deadline_ms),
                "answer_within_ms must exceed open_deadline_ms",
            ),
            ((1..=100_000_000).contains(&self.live_envelopes_max), "live_envelopes_max must be 1 to 100000000"),
            (self.live_idle_ms >= 1_000, "live_idle_ms must be at least 1000"),
            ((1..=100_000).contains(&self.loads_max), "loads_max must be 1 to 100000"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            Some((_, words)) => Err(format!("server: {words}")),
            None => Ok(()),
        }
    }
}

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
    pub shared: Option<Arc<SharedViews>>,
    /// Makes and checks tickets.
    pub tickets: TicketKey,
    /// What a request may ask for.
    pub limits: Limits,
    /// Which slots this server's SET holds.
    pub slots: Vec<Slot>,
    /// The zone's offset from UTC, in seconds.
    pub zone_offset_s: i32,
    /// The rest.
    pub options: ServerOptions,
}

/// The envelope server.
pub struct Server {
    parts: ServerParts,
    /// Bit `n` is set when slot `n` is ours.
    slots: u128,
    live: Arc<LiveEnvelopes>,
    presence: Presence,
    /// By number of the database; a SET has some of them.
    lanes: Vec<Option<LaneQueue>>,
    direct: Arc<LaneContext>,
}

/// The tasks of a server: its lanes and its sweeper.
pub struct ServerTasks {
    lanes: Vec<JoinHandle<()>>,
    sweeper: JoinHandle<()>,
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
        self.permits.close().await;
    }
}

/// How an opening ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// What the user is told.
    pub outcome: Outcome,
    /// Where it stood in the order of its lane; `None` if it went past the lanes.
    pub accepted: Option<Accepted>,
}

/// Who calls.
pub struct Caller<'a> {
    /// The token's subject.
    pub user: &'a UserId,
    /// The token's groups.
    pub groups: &'a [GroupId],
}

impl Server {
    /// Starts the lanes, one for each database of the store.
    pub fn start(parts: ServerParts, registry: &mut Registry) -> (Arc<Server>, ServerTasks) {
        let metrics = ServerMetrics::register(registry, &parts.store.durability().words);
        let live = LiveEnvelopes::new(parts.options.live_envelopes_max, parts.options.loads_max);
        let live = Arc::new(live.shared_through(parts.shared.clone()));
        let context = |lane_metrics: LaneMetrics| {
            Arc::new(LaneContext {
                store: parts.store.clone(),
                live: live.clone(),
                permits: parts.permits.clone(),
                clock: parts.clock.clone(),
                metrics: lane_metrics,
            })
        };
        let databases: BTreeSet<u8> = parts.store.tables().iter().map(|table| table.database).collect();
        let mut lanes: Vec<Option<LaneQueue>> = (0..SLOTS).map(|_| None).collect();
        let mut tasks = Vec::new();
        for &database in &databases {
            let (queue, waiting) = LaneQueue::new(database, parts.options.lane_queue_max, parts.clock.now());
            tasks.push(tokio::spawn(Lane::new(context(metrics.lane(database))).run(waiting)));
            lanes[usize::from(database)] = Some(queue);
        }
        let sweeper = tokio::spawn(sweep(
            live.clone(),
            parts.clock.clone(),
            parts.options.live_idle_ms,
            metrics.live_envelopes.clone(),
        ));
        let direct = context(metrics.direct());
        let slots = parts.slots.iter().fold(0, |bits, slot| bits | 1_u128 << slot.number());
        let tasks = ServerTasks { lanes: tasks, sweeper, permits: parts.permits.clone() };
        let presence = Presence::new(parts.clock.now());
        (Arc::new(Server { parts, slots, live, presence, lanes, direct }), tasks)
    }

    /// Makes an envelope under an id that was minted at the edge.
    pub async fn create(
        &self,
        id: EnvelopeId,
        request: CreateEnvelope,
        caller: &Caller<'_>,
        seed: Seed,
    ) -> Result<EnvelopeView, Refusal> {
        match self.check_ours(id) {
            // Its sender cannot help it: somebody's clock is wrong.
            Err(Refusal::NotFound | Refusal::ClocksApart(_)) => {
                let ahead_ms = id.minted_at().millis().saturating_sub(self.parts.clock.now().millis());
                tracing::warn!(envelope_id = %id, ahead_ms, "a new id is not of our time: is the gateway's clock right?");
                return Err(Refusal::ClocksApart(ahead_ms));
            }
            checked => checked?,
        }
        let now = self.parts.clock.now();
        let birth = Birth { id, sender: caller.user.clone(), seed, now };
        let envelope = request.into_envelope(birth, &self.parts.limits)?;
        let view = EnvelopeView::new(&envelope, &Journal::new(envelope.total), now);
        let (store, made) = (self.parts.store.clone(), envelope.clone());
        match shielded(async move { store.create(&[made]).await }).await? {
            Err(StoreError::Exists) => return self.made_before(&envelope).await,
            made => made?,
        }
        tracing::debug!(envelope_id = %id, sender = %caller.user, "created");
        Ok(view)
    }

    /// Pays for an envelope; a repeat answers the same.
    pub async fn pay(&self, id: EnvelopeId, caller: &Caller<'_>) -> Result<EnvelopeView, Refusal> {
        self.check_ours(id)?;
        let store = &self.parts.store;
        let found = durably::<_, StoreError, _>(&**store, || store.load(id)).await?.ok_or(Refusal::NotFound)?;
        if *caller.user != found.0.sender {
            return Err(Refusal::NotSender);
        }
        let (mut envelope, fold) = (*found).clone();
        if envelope.stage == Stage::Created {
            let now = self.parts.clock.now();
            let (store, wallet) = (store.clone(), self.parts.wallet.clone());
            let unpaid = found.map(|(envelope, _)| envelope);
            (envelope.stage, envelope.expires_at) =
                shielded(async move { pay_and_activate(&*store, &*wallet, &unpaid, now).await }).await??;
        }
        if envelope.stage == Stage::Cancelled {
            return Err(Refusal::Cancelled);
        }
        tracing::debug!(envelope_id = %id, sender = %caller.user, "paid");
        Ok(EnvelopeView::new(&envelope, &fold, self.parts.clock.now()))
    }

    /// Asks whether there is something to open. Writes nothing.
    pub async fn grab(&self, id: EnvelopeId, caller: &Caller<'_>) -> Result<GrabAnswer, Refusal> {
        self.check_ours(id)?;
        let now = self.parts.clock.now();
        if let Some(answer) = self.grab_shared(id, caller, now).await {
            return answer;
        }
        let (state, before) = if self.parts.options.lanes {
            let live = self.live_for_grab(id, caller.user, now).await.map_err(Refusal::of_reading)?;
            let journal = live.journal();
            let before = journal.opened_by(caller.user);
            check_invited(&live.envelope, before.as_ref(), caller)?;
            (live.envelope.state(&journal.fold, now), before)
        } else {
            let store = &*self.parts.store;
            let found = durably::<_, StoreError, _>(store, || store.load_for(id, caller.user)).await;
            let found = found.map_err(|error| Refusal::of_reading(error.into()))?.ok_or(Refusal::NotFound)?;
            let (envelope, fold, before) = found.into_inner();
            check_paid(&envelope)?;
            check_invited(&envelope, before.as_ref(), caller)?;
            (envelope.state(&fold, now), before)
        };
        if let Some(opened) = before {
            return Ok(GrabAnswer::Outcome(Outcome::opened(&opened, true)));
        }
        Ok(match state {
            State::Active => GrabAnswer::Ready(self.ready(id, caller.user, now)),
            State::Finished => GrabAnswer::Outcome(Outcome::Empty),
            State::Refunded => GrabAnswer::Outcome(Outcome::Expired),
            State::Expired => {
                let answer = direct::confirm_expired(&self.direct, id, caller.user, now, false).await;
                GrabAnswer::Outcome(outcome_of(answer).map_err(Refusal::of_reading)?)
            }
            State::Created | State::Cancelled => return Err(Refusal::NotFound),
        })
    }

    /// Refuses an opening that its lane could not answer in time, before its body is
    /// read. Whoever is known to have opened the envelope needs no place in the lane.
    pub fn check_room(&self, id: EnvelopeId, user: impl FnOnce() -> Option<UserId>) -> Result<(), Refusal> {
        match self.lane_of(id) {
            Ok(lane) if self.parts.options.lanes && !lane.has_room(id) => {}
            _ => return Ok(()),
        }
        let live = self.live.get(id, &*self.parts.store, self.parts.clock.now());
        let has_opened = live.zip(user()).is_some_and(|(live, user)| live.journal().opened_by(&user).is_some());
        if has_opened { Ok(()) } else { Err(self.refuse_full()) }
    }

    /// Takes the next share for the holder of a ticket.
    ///
    /// Whoever asks may say how long it still waits: an opening that could not
    /// be answered in time is better not begun.
    pub async fn open(
        &self,
        id: EnvelopeId,
        caller: &Caller<'_>,
        ticket: &str,
        time_left: Option<Duration>,
    ) -> Result<Opening, Refusal> {
        self.check_ours(id)?;
        let now = self.parts.clock.now();
        if !self.parts.tickets.admits(ticket, id, caller.user, now) {
            return Err(Refusal::TicketInvalid);
        }
        let asked_within = time_left.unwrap_or(Duration::MAX);
        let open_within = Duration::from_millis(self.parts.options.open_deadline_ms.unsigned_abs()).min(asked_within);
        let deadline = now.plus_millis(open_within.as_millis() as i64);
        let (answer_to, answer) = oneshot::channel();
        let accepted = if self.parts.options.lanes {
            let live = self.live(id, now).await?;
            // Who asks again does not stand in the way of those who ask for the first time.
            let before = live.journal().opened_by(caller.user);
            if let Some(opened) = before {
                let outcome = Outcome::opened(&opened, true);
                self.direct.metrics.count(&OpenAnswer::Opened { opened, replayed: true });
                return Ok(Opening { outcome, accepted: None });
            }
            let (user, accepted) = (caller.user.clone(), Instant::now());
            let job = OpenJob { live, user, accepted, deadline, answer: answer_to, place: None };
            Some(self.lane_of(id)?.accept(job).ok_or_else(|| self.refuse_full())?)
        } else {
            // On a task of its own: a client that goes away cannot stop it half way.
            let (context, user) = (self.direct.clone(), caller.user.clone());
            tokio::spawn(async move {
                // The client may be gone; the opening has happened all the same.
                let _ = answer_to.send(direct::open(&context, id, &user, deadline).await);
            });
            None
        };
        let wait = Duration::from_millis(self.parts.options.answer_within_ms).min(asked_within);
        match tokio::time::timeout(wait, answer).await {
            Ok(Ok(answer)) => Ok(Opening { outcome: outcome_of(answer)?, accepted }),
            Ok(Err(_)) => Err(Refusal::Unknown("the lane gave no answer".to_owned())),
            Err(_) => Err(Refusal::Unknown("the lane is too slow".to_owned())),
        }
    }

    /// The envelope and a page of its openings.
    pub async fn detail(
        &self,
        id: EnvelopeId,
        caller: &Caller<'_>,
        after_seq: u32,
        limit: u32,
    ) -> Result<Detail, Refusal> {
        self.check_ours(id)?;
        let now = self.parts.clock.now();
        if let Some(snapshot) = self.snapshot(id, now).await
            && let Snapshot::Ended { envelope, journal } = &*snapshot
        {
            return detail_of(envelope, journal, caller, after_seq, limit, now);
        }
        let live = match self.live_for_detail(id, now).await {
            Err(NotLive::NotPaid(envelope)) if envelope.sender == *caller.user => {
                let store = &*self.parts.store;
                let found = durably::<_, StoreError, _>(store, || store.load(id)).await;
                let found = found.map_err(|error| Refusal::of_reading(error.into()))?.ok_or(Refusal::NotFound)?;
                return Ok(unpaid_detail(&found.0, now));
            }
            found => found.map_err(|not_live| Refusal::of_reading(refusal_of(not_live)))?,
        };
        detail_of(&live.envelope, &live.journal(), caller, after_seq, limit, now)
    }

    /// An id for a new envelope whose slot is ours, where no gateway has minted one.
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

    fn check_ours(&self, id: EnvelopeId) -> Result<(), Refusal> {
        let placement = id.placement(self.parts.zone_offset_s);
        if self.slots & (1 << placement.slot.number()) == 0 {
            return Err(Refusal::Misdirected);
        }
        let now = self.parts.clock.now();
        self.presence.asked(now);
        // An id from a time that no table holds costs no query.
        let ahead_ms = id.minted_at().millis().saturating_sub(now.millis());
        if !(-limits::ID_AGE_DAYS_MAX * DAY_MS..=limits::ID_AHEAD_DAYS_MAX * DAY_MS).contains(&ahead_ms) {
            return Err(Refusal::NotFound);
        }
        // Our clock may have been stepped back: that it does not exist would be a final answer.
        if ahead_ms > limits::ID_AHEAD_MS_MAX {
            return Err(Refusal::ClocksApart(ahead_ms));
        }
        Ok(())
    }

    /// The answer to who makes an envelope under an id that exists: the envelope, if it is the very one that is
    /// asked for, made by a request whose answer was lost. Its seed is that of the first request.
    async fn made_before(&self, asked: &Envelope) -> Result<EnvelopeView, Refusal> {
        let store = &*self.parts.store;
        let found = durably::<_, StoreError, _>(store, || store.load(asked.id)).await?;
        // Whoever holds the key may yet be taken back.
        let found = found.ok_or_else(|| Refusal::Unavailable(StoreError::Exists.to_string()))?;
        let (found, journal) = found.into_inner();
        if !found.has_the_terms_of(asked) {
            return Err(Refusal::IdTaken);
        }
        Ok(EnvelopeView::new(&found, &journal, self.parts.clock.now()))
    }

    /// The answer to a grab, if what another server has shown of the envelope is
    /// enough for it; `ready` never is. Openings never look there.
    async fn grab_shared(
        &self,
        id: EnvelopeId,
        caller: &Caller<'_>,
        now: Timestamp,
    ) -> Option<Result<GrabAnswer, Refusal>> {
        let answer = match self.snapshot(id, now).await?.grab(caller.user, caller.groups, now)? {
            SafeGrab::Opened(opened) => GrabAnswer::Outcome(Outcome::opened(&opened, true)),
            SafeGrab::Empty => GrabAnswer::Outcome(Outcome::Empty),
            SafeGrab::Expired => GrabAnswer::Outcome(Outcome::Expired),
            SafeGrab::NotInvited => return Some(Err(Refusal::NotInvited)),
        };
        Some(Ok(answer))
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
        self.live.get_or_load(id, &*self.parts.store, now).await.map_err(refusal_of)
    }

    /// A copy that tells this user whether it has opened the envelope, also through
    /// another server while nobody asked this one.
    async fn live_for_grab(&self, id: EnvelopeId, user: &UserId, now: Timestamp) -> Result<Arc<LiveEnvelope>, Refusal> {
        let store = &*self.parts.store;
        let live = self.live(id, now).await?;
        let is_told = {
            let journal = live.journal();
            journal.fold.has_ended() || journal.opened_by(user).is_some()
        };
        if is_told
            || !self.presence.may_have_missed(live.complete_at())
            || self.live.catch_up(&live, store, self.clock(), now).await.map_err(refusal_of)?
        {
            return Ok(live);
        }
        self.live.forget_copy(&live);
        self.live(id, now).await
    }

    /// A copy that is good enough to show. Openings of this server are in it at
    /// once; but the refund, and with lanes off the openings, are written past
    /// the memory, and another server may have owned the envelope for a while:
    /// to a copy that may lack something, that is added first. So every page of
    /// a detail is as fresh as the first one, and each costs what is new.
    async fn live_for_detail(&self, id: EnvelopeId, now: Timestamp) -> Result<Arc<LiveEnvelope>, NotLive> {
        let store = &*self.parts.store;
        let live = self.live.get_or_load(id, store, now).await?;
        let age_ms = now.millis() - live.complete_at().millis();
        let state = live.envelope.state(&live.journal().fold, now);
        let may_be_old = match state {
            State::Finished | State::Refunded => false,
            State::Expired => true,
            _ => !self.parts.options.lanes || !(0..=limits::DETAIL_AGE_MS_MAX).contains(&age_ms),
        };
        if !may_be_old || self.live.catch_up(&live, store, self.clock(), now).await? {
            return Ok(live);
        }
        self.live.forget_copy(&live);
        self.live.get_or_load(id, store, now).await
    }

    fn lane_of(&self, id: EnvelopeId) -> Result<&LaneQueue, Refusal> {
        let lane = self.lanes.get(usize::from(self.parts.store.table_of(id).database));
        lane.and_then(Option::as_ref).ok_or(Refusal::Misdirected)
    }

    fn refuse_full(&self) -> Refusal {
        self.direct.metrics.count(&OpenAnswer::Busy);
        Refusal::Busy
    }

    fn ready(&self, id: EnvelopeId, user: &UserId, now: Timestamp) -> Ready {
        let ticket_expires_at = now.plus_millis(self.parts.limits.ticket_life_ms);
        let ticket = self.parts.tickets.issue(id, user, ticket_expires_at);
        Ready { outcome: ReadyTag::Ready, ticket, ticket_expires_at }
    }
}

/// Debits the sender, then activates; the wallet's outcome is durable, whoever
/// made the debit. If we die between the two, the activate
/// worker finishes it; a cancel that was first has taken the payment's id.
async fn pay_and_activate(
    store: &dyn Store,
    wallet: &dyn Wallet,
    envelope: &Durable<Envelope>,
    now: Timestamp,
) -> Result<(Stage, Option<Timestamp>), Refusal> {
    let outcome = wallet.transfer(vec![Transfer::send(envelope, now)]).await?.pop();
    match outcome {
        Some(outcome @ (TransferOutcome::Done | TransferOutcome::AlreadyDone)) => {
            let paid_at = if outcome == TransferOutcome::Done { now } else { paid_at(wallet, envelope.id).await? };
            let expires_at = paid_at.plus_millis(envelope.lifetime_ms);
            store.activate(envelope.id, expires_at).await?.ok_or(Refusal::NotFound)
        }
        Some(TransferOutcome::InsufficientFunds) => Err(Refusal::InsufficientFunds),
        Some(TransferOutcome::Cancelled) => {
            store.cancel(envelope.id).await?;
            Err(Refusal::Cancelled)
        }
        other => Err(Refusal::Internal(format!("the payment of {} ended as {other:?}", envelope.id))),
    }
}

/// When an envelope was paid that was paid before. Its lifetime counts from then,
/// whoever activates it, so that the rows tell when it has to expire.
async fn paid_at(wallet: &dyn Wallet, id: EnvelopeId) -> Result<Timestamp, Refusal> {
    let found = wallet.find(&[TransferId::Envelope(id, 0)]).await?.pop();
    found.map(|payment| payment.at).ok_or_else(|| Refusal::Internal(format!("the payment of {id} is gone again")))
}

/// Runs money work on a task of its own, so that a client that goes away cannot
/// stop it between two statements.
async fn shielded<T: Send + 'static>(work: impl Future<Output = T> + Send + 'static) -> Result<T, Refusal> {
    tokio::spawn(work).await.map_err(|error| Refusal::Unknown(format!("work on money panicked: {error}")))
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

fn check_paid(envelope: &Envelope) -> Result<(), Refusal> {
    match envelope.stage {
        Stage::Active | Stage::Settled => Ok(()),
        Stage::Created | Stage::Cancelled => Err(Refusal::NotFound),
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

fn detail_of(
    envelope: &Envelope,
    journal: &LiveJournal,
    caller: &Caller<'_>,
    after_seq: u32,
    limit: u32,
    now: Timestamp,
) -> Result<Detail, Refusal> {
    let mine = journal.opened_by(caller.user);
    check_invited(envelope, mine.as_ref(), caller)?;
    let last = journal.open_count().min(after_seq.saturating_add(limit));
    let opens = (after_seq.saturating_add(1)..=last).filter_map(|seq| journal.open_at(seq));
    let closed = journal.fold.has_ended();
    let view = |(user, opened): (&UserId, Opened)| OpenView::new(user, &opened);
    Ok(Detail {
        envelope: EnvelopeView::new(envelope, &journal.fold, now),
        opens: opens.map(view).collect(),
        next_seq: (last < journal.open_count()).then_some(last),
        mine: mine.map(|opened| OpenView::new(caller.user, &opened)),
        luckiest: journal.luckiest().filter(|_| closed).map(view),
        draw_seed: closed.then(|| envelope.seed.reveal()),
    })
}

fn unpaid_detail(envelope: &Envelope, now: Timestamp) -> Detail {
    Detail {
        envelope: EnvelopeView::new(envelope, &Journal::new(envelope.total), now),
        opens: Vec::new(),
        next_seq: None,
        mine: None,
        luckiest: None,
        draw_seed: None,
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
