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
    AsyncConnectionConfig, Cmd, ConnectionInfo, ErrorKind, FromRedisValue, IntoConnectionInfo, Pipeline, RedisError,
    cmd,
};
use deadpool_redis::{Connection, Manager, Pool, Runtime};
use hongbao_core::limits::{
    CACHE_CONNECTIONS_MAX, CACHE_FAILURES_MAX, CACHE_READ_MS_MAX, CACHE_WRITE_MS_MAX, SNAPSHOT_BYTES_MAX,
    SNAPSHOT_LIFE_MS,
};
use hongbao_core::{EnvelopeId, Traffic};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

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
    /// Where it is; there may be a password in it.
    pub url: String,
    /// How long a request may wait for a connection, and then for the answer.
    pub read_within: Duration,
}

impl RedisOptions {
    /// With the usual limit.
    pub fn new(url: impl Into<String>) -> RedisOptions {
        RedisOptions { url: url.into(), read_within: Duration::from_millis(CACHE_READ_MS_MAX) }
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
    url.into_connection_info().map_err(|error| format!("no URL of a Redis: {}", error.category()))
}

/// The Redis of a SET.
pub struct Link {
    pool: Pool,
    read_within: Duration,
    /// One for each connection.
    turns: Semaphore,
    failures_in_a_row: AtomicU32,
    traffic: Traffic,
}

impl Link {
    /// Says what is wrong with the URL; connects only when it is needed.
    pub fn new(options: RedisOptions, traffic: Traffic) -> Result<Link, String> {
        let RedisOptions { url, read_within } = options;
        let info = place_of(&url)?;
        let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(WRITE_WITHIN))
            .set_response_timeout(Some(WRITE_WITHIN.max(read_within)));
        let manager = Manager::new_with_config(info, config).map_err(|error| error.category().to_owned())?;
        let pool = Pool::builder(manager).max_size(CACHE_CONNECTIONS_MAX).runtime(Runtime::Tokio1).build();
        let pool = pool.map_err(|error| error.to_string())?;
        let turns = Semaphore::new(CACHE_CONNECTIONS_MAX);
        Ok(Link { pool, read_within, turns, failures_in_a_row: AtomicU32::new(0), traffic })
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

    /// Asks for a sign of life, as quick as a request needs it.
    pub async fn probe(&self) -> Result<(), CallFailed> {
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
            Err(_) => {
                self.failures_in_a_row.fetch_add(1, Ordering::Relaxed);
            }
        }
        result
    }

    async fn try_call<T: FromRedisValue>(&self, query: &impl Query, until: Instant) -> Result<T, CallFailed> {
        let mut connection = match timeout_at(until, self.pool.get()).await {
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
