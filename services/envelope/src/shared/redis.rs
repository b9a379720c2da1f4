//! The way to Redis: a few connections, time limits, and a breaker.
//!
//! After a few failures in a row it is not asked any more, so that a Redis that is
//! slow or gone costs the requests nothing; then a probe asks in their stead,
//! with their time limit, and its first answer lets them in again. A Redis that
//! answers a write with a refusal is not slow or gone: it can still be read.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{
    AsyncConnectionConfig, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo,
    Pipeline, RedisError, cmd,
};
use deadpool_redis::{Connection, Pool};
use hongbao_core::limits::{
    CACHE_CONNECTIONS_MAX, CACHE_FAILURES_MAX, CACHE_READ_MS_MAX, CACHE_WRITE_MS_MAX, SNAPSHOT_BYTES_MAX,
    SNAPSHOT_LIFE_MS,
};
use hongbao_core::{EnvelopeId, Traffic};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::place::Place;
pub use super::place::RedisTls;

const WRITE_WITHIN: Duration = Duration::from_millis(CACHE_WRITE_MS_MAX);

/// Why a call to Redis came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum CallFailed {
    /// There is something else under the key.
    #[error("what is under the key is no snapshot")]
    NoSnapshot,
    /// Every connection was in use for too long.
    #[error("every connection is in use")]
    Crowded,
    /// No answer in time.
    #[error("no answer in time")]
    TimedOut,
    /// It answers, and does not keep what it is given: it is full, for example.
    #[error("it refuses to keep snapshots: {0}")]
    Refused(String),
    /// Not reachable, or an answer that is an error.
    #[error("{0}")]
    Redis(String),
}

/// A snapshot on its way to Redis.
pub struct Written {
    /// The envelope.
    pub id: EnvelopeId,
    /// The snapshot, encoded.
    pub bytes: Vec<u8>,
    /// Whether it takes the place of what is there.
    pub overwrites: bool,
}

/// How Redis is asked.
#[derive(Clone)]
pub struct RedisOptions {
    /// Where it is, by TLS if it begins with `rediss://`; there may be a password in it.
    pub url: String,
    /// The files that TLS goes by.
    pub tls: RedisTls,
    /// How long a request may wait for a connection, and then for the answer.
    pub read_within: Duration,
}

impl RedisOptions {
    /// With the usual limit.
    pub fn new(url: impl Into<String>) -> RedisOptions {
        RedisOptions {
            url: url.into(),
            tls: RedisTls::default(),
            read_within: Duration::from_millis(CACHE_READ_MS_MAX),
        }
    }
}

/// Says what is wrong with a URL, as the start of what uses it would.
///
/// # Errors
/// For the operator, without the URL.
pub fn check_url(url: &str) -> Result<(), String> {
    place_of(url).map(drop)
}

fn place_of(url: &str) -> Result<ConnectionInfo, String> {
    // Neither the URL nor what is said about it: there may be a password in it.
    let info = url.into_connection_info().map_err(|error| format!("no URL of a Redis: {}", error.category()))?;
    match info.addr() {
        ConnectionAddr::TcpTls { insecure: true, .. } => {
            Err("a Redis is reached by TLS with its certificate checked, or without TLS: leave #insecure out"
                .to_owned())
        }
        _ => Ok(info),
    }
}

/// The Redis of a SET.
pub struct Link {
    place: Place,
    /// Anew whenever the files of TLS are others.
    pool: Mutex<Pool>,
    /// Of the last call that came to nothing.
    last_failure: Mutex<String>,
    read_within: Duration,
    /// One for each connection.
    turns: Semaphore,
    failures_in_a_row: AtomicU32,
    traffic: Traffic,
}

impl Link {
    /// Says what is wrong with the URL; connects only when it is needed.
    pub fn new(options: RedisOptions, traffic: Traffic) -> Result<Link, String> {
        let RedisOptions { url, tls, read_within } = options;
        let info = place_of(&url)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(WRITE_WITHIN))
            .set_response_timeout(Some(WRITE_WITHIN.max(read_within)));
        let place = Place::new(info, config, tls);
        let pool = Mutex::new(place.pool()?);
        let turns = Semaphore::new(CACHE_CONNECTIONS_MAX);
        let (failures_in_a_row, last_failure) = (AtomicU32::new(0), Mutex::default());
        Ok(Link { place, pool, last_failure, read_within, turns, failures_in_a_row, traffic })
    }

    /// Connects anew if the files of TLS have changed; what cannot be used of them is left until it can be.
    pub fn take_changed_files(&self) {
        match self.place.pool_if_files_changed() {
            Ok(None) => {}
            Ok(Some(pool)) => {
                tracing::info!("redis is connected to anew: the files of its TLS have changed");
                *self.pool.lock() = pool;
            }
            Err(reason) => tracing::warn!(reason, "the files of TLS to redis have changed and cannot be used"),
        }
    }

    /// Why the last call that came to nothing did.
    pub fn last_failure(&self) -> String {
        self.last_failure.lock().clone()
    }

    /// Whether it failed so often that no request should ask.
    pub fn is_away(&self) -> bool {
        self.failures_in_a_row.load(Ordering::Relaxed) >= CACHE_FAILURES_MAX
    }

    /// What is kept of an envelope; no more than one byte too much of it.
    pub async fn get(&self, id: EnvelopeId) -> Result<Option<Vec<u8>>, CallFailed> {
        // The value may be a gigabyte that another program has written.
        let mut get = cmd("GETRANGE");
        get.arg(self.key(id)).arg(0).arg(SNAPSHOT_BYTES_MAX);
        let bytes: Vec<u8> = self.call(&get, self.read_within).await?;
        Ok((!bytes.is_empty()).then_some(bytes))
    }

    /// Keeps these snapshots, for as long as a snapshot lives.
    pub async fn set(&self, snapshots: &[Written]) -> Result<(), CallFailed> {
        let mut pipeline = Pipeline::with_capacity(snapshots.len());
        for Written { id, bytes, overwrites } in snapshots {
            pipeline.cmd("SET").arg(self.key(*id)).arg(bytes.as_slice()).arg("PX").arg(SNAPSHOT_LIFE_MS);
            if !overwrites {
                pipeline.arg("NX");
            }
            pipeline.ignore();
        }
        self.call(&pipeline, WRITE_WITHIN).await
    }

    fn key(&self, id: EnvelopeId) -> String {
        format!("{}snapshot:{id}", self.traffic.key_prefix())
    }

    /// Asks for a sign of life, as quick as a request needs it. To be connected to it may take longer.
    pub async fn probe(&self) -> Result<(), CallFailed> {
        let connected = timeout(WRITE_WITHIN, self.pool().get()).await;
        if let Ok(Err(error)) = &connected {
            *self.last_failure.lock() = error.to_string();
            return Err(CallFailed::Redis(error.to_string()));
        }
        drop(connected);
        self.call::<String>(&cmd("PING"), self.read_within).await.map(|_| ())
    }

    async fn call<T: FromRedisValue>(&self, query: &impl Query, within: Duration) -> Result<T, CallFailed> {
        // A caller waits for a connection no longer than for an answer.
        let turn = timeout(within, self.turns.acquire()).await;
        let Ok(Ok(_turn)) = turn else { return Err(CallFailed::Crowded) };
        let result = Box::pin(self.try_call(query, Instant::now() + within)).await;
        match &result {
            // A Redis that refuses writes can still be read.
            Ok(_) | Err(CallFailed::NoSnapshot | CallFailed::Refused(_)) => {
                self.failures_in_a_row.store(0, Ordering::Relaxed)
            }
            Err(error) => {
                self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
                *self.last_failure.lock() = error.to_string();
            }
        }
        result
    }

    fn pool(&self) -> Pool {
        self.pool.lock().clone()
    }

    async fn try_call<T: FromRedisValue>(&self, query: &impl Query, until: Instant) -> Result<T, CallFailed> {
        let mut connection = match timeout_at(until, self.pool().get()).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => return Err(CallFailed::Redis(error.to_string())),
            Err(_) => return Err(CallFailed::TimedOut),
        };
        let failed = match timeout_at(until, query.ask(&mut connection)).await {
            Ok(Ok(answer)) => return Ok(answer),
            Ok(Err(error)) if error.code() == Some("WRONGTYPE") => return Err(CallFailed::NoSnapshot),
            Ok(Err(error)) if query.writes() && is_an_answer(&error) => {
                return Err(CallFailed::Refused(error.to_string()));
            }
            Ok(Err(error)) => CallFailed::Redis(error.to_string()),
            Err(_) => CallFailed::TimedOut,
        };
        // Whether the connection is of any use is not worth finding out.
        drop(Connection::take(connection));
        Err(failed)
    }
}

/// Redis itself said so: `OOM`, `READONLY`, `MISCONF` and their like.
fn is_an_answer(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension)
}

/// One command, or several at once.
trait Query: Sync {
    /// Whether it changes what Redis holds.
    fn writes(&self) -> bool;

    fn ask<T: FromRedisValue>(&self, connection: &mut Connection)
    -> impl Future<Output = Result<T, RedisError>> + Send;
}

/// Commands are asked one by one: they read.
impl Query for Cmd {
    fn writes(&self) -> bool {
        false
    }

    async fn ask<T: FromRedisValue>(&self, connection: &mut Connection) -> Result<T, RedisError> {
        self.query_async(connection).await
    }
}

/// A round of snapshots.
impl Query for Pipeline {
    fn writes(&self) -> bool {
        true
    }

    async fn ask<T: FromRedisValue>(&self, connection: &mut Connection) -> Result<T, RedisError> {
        self.query_async(connection).await
    }
}
