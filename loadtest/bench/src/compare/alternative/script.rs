//! A script in Redis, called over a few multiplexed connections.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use deadpool_redis::redis::aio::MultiplexedConnection;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{
    self, AsyncConnectionConfig, Client, Cmd, ConnectionAddr, IntoConnectionInfo as _, RedisError,
};
use hongbao_core::wire::Outcome;
use hongbao_core::{EnvelopeId, Timestamp};

use super::failure::Failure;
use super::tables::{literal, opened};

/// Multiplexed connections: a few suffice.
const CONNECTIONS: usize = 4;
/// How long Redis may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// A connection without delay.
pub async fn redis_connection(address: SocketAddr) -> Result<MultiplexedConnection, RedisError> {
    let to = ConnectionAddr::Tcp(address.ip().to_string(), address.port());
    let info = to.into_connection_info()?.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let config = AsyncConnectionConfig::new().set_response_timeout(Some(ANSWER_WITHIN));
    Client::open(info)?.get_multiplexed_async_connection_with_config(&config).await
}

/// The list of the amounts that are not taken yet.
pub fn shares_key(envelope: EnvelopeId) -> String {
    key("shares", envelope)
}

/// The hash of what each user has got.
pub fn opened_key(envelope: EnvelopeId) -> String {
    key("opened", envelope)
}

/// The list of openings in their order, where the record is in Redis.
pub fn journal_key(envelope: EnvelopeId) -> String {
    key("journal", envelope)
}

fn key(kind: &str, envelope: EnvelopeId) -> String {
    format!("{kind}:{}", literal(envelope))
}

impl From<RedisError> for Failure {
    fn from(error: RedisError) -> Failure {
        Failure::Unknown(error.to_string())
    }
}

/// A script that Redis knows.
pub struct Script {
    connections: Vec<MultiplexedConnection>,
    next: AtomicUsize,
    /// What Redis calls it.
    sha: String,
}

impl Script {
    /// Opens the connections and sends the text, once.
    pub async fn load(address: SocketAddr, text: &str) -> Result<Script, RedisError> {
        let mut connections = Vec::with_capacity(CONNECTIONS);
        for _ in 0..CONNECTIONS {
            connections.push(redis_connection(address).await?);
        }
        let sha = redis::cmd("SCRIPT").arg("LOAD").arg(text).query_async(&mut connections[0]).await?;
        Ok(Script { connections, next: AtomicUsize::new(0), sha })
    }

    /// A call of it, which wants its keys and arguments.
    pub fn call(&self, keys: usize) -> Cmd {
        let mut call = redis::cmd("EVALSHA");
        call.arg(&self.sha).arg(keys);
        call
    }

    /// Sends a call over the next connection. The script answers what happened, by a number, and the
    /// record of the opening.
    pub async fn send(&self, call: &Cmd) -> Result<(u8, String), Failure> {
        let next = self.next.fetch_add(1, Ordering::Relaxed);
        let mut connection = self.connections[next % CONNECTIONS].clone();
        Ok(call.query_async(&mut connection).await?)
    }
}

/// The outcome that a record `seq,amount_fen,at_ms` stands for.
pub fn outcome(record: &str, replayed: bool) -> Result<Outcome, Failure> {
    let mut parts = record.split(',').map(|part| part.parse::<i64>().ok());
    let (Some(Some(seq)), Some(Some(amount_fen)), Some(Some(at_ms))) = (parts.next(), parts.next(), parts.next())
    else {
        return Err(Failure::Unknown(format!("Redis has answered {record:?}")));
    };
    Ok(opened(seq as u32, amount_fen, Timestamp::from_millis(at_ms), replayed))
}
