//! A SET of servers on one database, and their Redis.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::{AsyncConnectionConfig, Client, ClientTlsConfig, TlsCertificates, cmd};
use hongbao_core::fence::Fence;
use hongbao_core::id::Fold;
use hongbao_core::ticket::TicketKey;
use hongbao_core::time::ManualClock;
use hongbao_core::wire::{Detail, GrabAnswer, Outcome};
use hongbao_core::{Audience, Envelope, EnvelopeId, Fen, GroupId, Kind, Limits, Timestamp, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server, ServerOptions, ServerParts};
use hongbao_envelope::shared::SnapshotCache;
use hongbao_envelope::shared::redis::{RedisOptions, RedisTls};
use hongbao_envelope::shared::snapshot::{Snapshot, SnapshotKey};
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Store, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::faults::{FaultInjectingStore, StoreFaults, StoreVerb};
use hongbao_testkit::store_suite::created;
use hongbao_wallet::Wallet;
use hongbao_wallet::sqlite::SqliteWallet;
use prometheus_client::registry::Registry;

pub const START: Timestamp = Timestamp::from_millis(1_771_254_000_000);
pub const LIFETIME_MS: i64 = 3_600_000;
const SECRET: &[u8] = b"the secret of the tickets";

/// What a server can do with its database.
#[derive(Default)]
pub struct Faults {
    /// It cannot read envelopes.
    pub unreadable: AtomicBool,
    pub reads: AtomicU32,
    /// Pages of journals that were read.
    pub pages: AtomicU32,
    pub epoch: AtomicU64,
}

impl StoreFaults for Faults {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        if matches!(verb, StoreVerb::Entries(_)) {
            self.pages.fetch_add(1, Ordering::SeqCst);
        }
        if !matches!(verb, StoreVerb::Load | StoreVerb::LoadFor) {
            return Ok(());
        }
        self.reads.fetch_add(1, Ordering::SeqCst);
        match self.unreadable.load(Ordering::SeqCst) {
            true => Err(StoreError::Unavailable("cannot be read".to_owned())),
            false => Ok(()),
        }
    }

    fn epoch(&self, _: u64) -> u64 {
        self.epoch.load(Ordering::SeqCst)
    }
}

/// What the servers of the SET have in common.
pub struct World {
    _dir: tempfile::TempDir,
    pub redis_url: String,
    pub tls: RedisTls,
    pub store: Arc<dyn Store>,
    wallet: Arc<dyn Wallet>,
    pub clock: Arc<ManualClock>,
}

/// One server.
pub struct Node {
    pub server: Arc<Server>,
    pub faults: Arc<Faults>,
    registry: Registry,
}

impl World {
    pub async fn new(redis: &Part) -> World {
        World::at(format!("redis://{}", redis.node())).await
    }

    pub async fn at(redis_url: String) -> World {
        let dir = tempfile::tempdir().unwrap();
        let fold = Fold::new(1, 1).unwrap();
        let store = Arc::new(SqliteStore::open(dir.path(), fold, 0, Mode::Volatile).await.unwrap());
        let wallet = Arc::new(SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap());
        World { _dir: dir, redis_url, store, wallet, tls: RedisTls::default(), clock: Arc::new(ManualClock::at(START)) }
    }

    /// The same, whose Redis is reached by these files.
    pub fn with(self, tls: RedisTls) -> World {
        World { tls, ..self }
    }

    /// A server that remembers nothing yet. Patient, because the machine may be busy.
    pub fn node(&self) -> Node {
        self.node_with(RedisOptions { read_within: Duration::from_secs(10), ..self.options() })
    }

    /// One that waits for Redis no longer than any server does.
    pub fn hasty_node(&self) -> Node {
        self.node_with(self.options())
    }

    fn options(&self) -> RedisOptions {
        RedisOptions { tls: self.tls.clone(), ..RedisOptions::new(&self.redis_url) }
    }

    fn node_with(&self, redis: RedisOptions) -> Node {
        let (mut registry, faults) = (Registry::default(), Arc::new(Faults::default()));
        let store = Arc::new(FaultInjectingStore::new(self.store.clone(), faults.clone()));
        let real = hongbao_core::Traffic::Live;
        let shared =
            SnapshotCache::start_with(real, redis, SnapshotKey::derive(SECRET), store.clone(), &mut registry).unwrap();
        let parts = ServerParts {
            store,
            wallet: self.wallet.clone(),
            clock: self.clock.clone(),
            permits: Arc::new(LocalPermits::new(4)),
            shared: Some(shared),
            tickets: TicketKey::new(SECRET),
            limits: Limits::default(),
            zone_offset_s: 0,
            fence: Fence::open(),
            payments: None,
            options: ServerOptions::default(),
        };
        let server = Server::start(parts, &mut registry).0;
        Node { server, faults, registry }
    }

    /// A server that remembers nothing and cannot read an envelope: what it
    /// answers, it has from Redis.
    pub fn blind_node(&self) -> Node {
        let node = self.node();
        node.faults.unreadable.store(true, Ordering::SeqCst);
        node
    }

    /// A paid envelope of 10 fen a share.
    pub async fn envelope(&self, number: u8, shares: u32) -> EnvelopeId {
        self.envelope_for(number, shares, Audience::Link).await
    }

    pub async fn envelope_for(&self, number: u8, shares: u32, audience: Audience) -> EnvelopeId {
        let id = EnvelopeId::mint(START, [number; 10]);
        let envelope = Envelope {
            kind: Kind::Equal,
            total: Fen::new(i64::from(shares) * 10).unwrap(),
            shares,
            audience,
            created_at: START,
            lifetime_ms: LIFETIME_MS,
            ..created(id)
        };
        self.store.create(&[envelope]).await.unwrap();
        self.store.activate(id, START.plus_millis(LIFETIME_MS)).await.unwrap();
        id
    }

    pub async fn redis(&self) -> MultiplexedConnection {
        let patient = AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(10)));
        let read = |path: &std::path::Path| std::fs::read(path).unwrap();
        let client = match &self.tls {
            RedisTls { ca_file: Some(ca), client: Some((certificate, key)) } => {
                let client = ClientTlsConfig { client_cert: read(certificate), client_key: read(key) };
                let certificates = TlsCertificates { client_tls: Some(client), root_cert: Some(read(ca)) };
                Client::build_with_tls(self.redis_url.as_str(), certificates).unwrap()
            }
            _ => Client::open(self.redis_url.as_str()).unwrap(),
        };
        client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
    }

    /// What Redis has under the envelope's key.
    pub async fn stored(&self, id: EnvelopeId) -> Option<Vec<u8>> {
        // Whatever a test has put there; no string is no snapshot.
        cmd("GET").arg(key(id)).query_async(&mut self.redis().await).await.unwrap_or(None)
    }

    pub async fn put(&self, id: EnvelopeId, bytes: &[u8]) {
        let () = cmd("SET").arg(key(id)).arg(bytes).query_async(&mut self.redis().await).await.unwrap();
    }

    /// How many openings the genuine snapshot in Redis has, if there is one.
    pub async fn openings_shared(&self, id: EnvelopeId) -> Option<u32> {
        openings_in(id, &self.stored(id).await?)
    }

    /// Waits until Redis has a genuine snapshot with so many openings.
    pub async fn until_shared(&self, id: EnvelopeId, openings: u32) -> Vec<u8> {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let stored = self.stored(id).await.unwrap_or_default();
            if openings_in(id, &stored) == Some(openings) {
                return stored;
            }
            assert!(Instant::now() < until, "no snapshot with {openings} openings");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

fn openings_in(id: EnvelopeId, stored: &[u8]) -> Option<u32> {
    match Snapshot::decode(id, stored, &SnapshotKey::derive(SECRET))? {
        Snapshot::Open { journal, .. } | Snapshot::Ended { journal, .. } => Some(journal.open_count()),
    }
}

impl Node {
    pub async fn grab(&self, id: EnvelopeId, name: &str) -> Result<GrabAnswer, Refusal> {
        self.server.grab(id, &Caller { user: &user(name), groups: &[], class: None }).await
    }

    /// With a ticket that is good, whatever a grab would say.
    pub async fn open(&self, id: EnvelopeId, name: &str) -> Result<Outcome, Refusal> {
        let ticket = TicketKey::new(SECRET).issue(id, &user(name), START.plus_millis(2 * LIFETIME_MS));
        let opening =
            self.server.open(id, &Caller { user: &user(name), groups: &[], class: None }, &ticket, None).await;
        opening.map(|opening| opening.outcome)
    }

    pub async fn detail(&self, id: EnvelopeId, name: &str) -> Result<Detail, Refusal> {
        self.server.detail(id, &Caller { user: &user(name), groups: &[], class: None }, 0, 500).await
    }

    pub fn reads(&self) -> u32 {
        self.faults.reads.load(Ordering::SeqCst)
    }

    /// How often this happened to a snapshot.
    pub fn count(&self, event: &str) -> u64 {
        self.metric(&format!("hongbao_shared_snapshots_total{{event=\"{event}\"}}"))
    }

    pub fn is_away(&self) -> bool {
        self.metric("hongbao_shared_away") == 1
    }

    /// Whether Redis answers and keeps nothing.
    pub fn is_refused(&self) -> bool {
        self.metric("hongbao_shared_writes_refused") == 1
    }

    fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.expect("the metric is registered").parse().unwrap()
    }
}

/// Waits until it holds.
pub async fn until(what: &str, holds: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !holds() {
        assert!(Instant::now() < until, "never: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub fn key(id: EnvelopeId) -> String {
    format!("hongbao:snapshot:{id}")
}

pub fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

pub fn group(name: &str) -> Audience {
    Audience::Group(GroupId::parse(name).unwrap())
}

pub fn opened(answer: &Outcome, at_seq: u32) -> bool {
    matches!(answer, Outcome::Opened { seq, .. } if *seq == at_seq)
}

pub fn is_ready(answer: &Result<GrabAnswer, Refusal>) -> bool {
    matches!(answer, Ok(GrabAnswer::Ready(_)))
}

pub fn is_opened(answer: &Result<GrabAnswer, Refusal>, at_seq: u32) -> bool {
    matches!(answer, Ok(GrabAnswer::Outcome(outcome)) if opened(outcome, at_seq))
}

/// An envelope's detail as a client gets it.
pub fn json(detail: &Detail) -> serde_json::Value {
    serde_json::to_value(detail).unwrap()
}
