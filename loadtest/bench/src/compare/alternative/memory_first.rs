//! Memory first: a script in Redis takes a share atomically, the user is
//! answered, and MariaDB is written later, many openings in one insert.
//!
//! The shares are drawn when the envelope is made and wait in a list. What was
//! taken but is not yet in MariaDB waits in another list in Redis, not in this
//! process, so that the end of this process alone loses nothing. The end of
//! Redis does: there is no other copy.

use std::net::SocketAddr;
use std::time::Duration;

use deadpool_redis::redis;
use deadpool_redis::redis::aio::MultiplexedConnection;
use hongbao_core::wire::Outcome;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, UserId};
use hongbao_load::Fallible;
use sqlx::Executor as _;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};

use super::failure::Failure;
use super::pool::connect;
use super::script::{Script, opened_key, outcome, redis_connection, shares_key};
use super::tables::literal;

/// The list of openings that MariaDB does not know yet.
pub const PENDING: &str = "pending";
/// Openings that may wait for MariaDB; more are answered `busy`.
const PENDING_MAX: usize = 2_000_000;
/// Openings in one insert.
const BATCH_MAX: isize = 1_000;
/// How long the writer pauses when there is nothing to write, or MariaDB is away.
const PAUSE: Duration = Duration::from_millis(5);

/// A repeated opener gets the same; else the next share is taken, the record kept and
/// queued. The first value of the answer says which of it happened.
const TAKE: &str = "\
local mine = redis.call('HGET', KEYS[2], ARGV[1])
if mine then return {1, mine} end
if redis.call('LLEN', KEYS[3]) >= tonumber(ARGV[4]) then return {3, ''} end
local amount = redis.call('LPOP', KEYS[1])
if not amount then return {2, ''} end
local record = (redis.call('HLEN', KEYS[2]) + 1) .. ',' .. amount .. ',' .. ARGV[2]
redis.call('HSET', KEYS[2], ARGV[1], record)
redis.call('RPUSH', KEYS[3], ARGV[3] .. \",'\" .. ARGV[1] .. \"',\" .. record)
return {0, record}";

pub struct MemoryFirst {
    take: Script,
}

impl MemoryFirst {
    /// Connects to both, and starts the writer.
    pub async fn start(database: MySqlConnectOptions, redis: SocketAddr) -> Fallible<MemoryFirst> {
        let take = Script::load(redis, TAKE).await?;
        let own = redis_connection(redis).await?;
        let writer = Writer { redis: own, connection: Some(connect(&database).await?), database };
        tokio::spawn(writer.run());
        Ok(MemoryFirst { take })
    }

    /// Takes a share in Redis.
    pub async fn open(&self, envelope: EnvelopeId, user: &UserId) -> Result<Outcome, Failure> {
        let mut call = self.take.call(3);
        call.arg(shares_key(envelope)).arg(opened_key(envelope)).arg(PENDING);
        call.arg(user.as_str()).arg(SystemClock.now().millis()).arg(literal(envelope)).arg(PENDING_MAX);
        match self.take.send(&call).await? {
            (2, _) => Ok(Outcome::Empty),
            (3, _) => Err(Failure::Busy),
            (what, record) => outcome(&record, what == 1),
        }
    }
}

/// Carries openings from Redis to MariaDB.
struct Writer {
    redis: MultiplexedConnection,
    database: MySqlConnectOptions,
    connection: Option<MySqlConnection>,
}

impl Writer {
    async fn run(mut self) {
        loop {
            match self.write_some().await {
                Ok(true) => (),
                Ok(false) => tokio::time::sleep(PAUSE).await,
                Err(error) => {
                    eprintln!("memory-first: {error:?}");
                    self.connection = None;
                    tokio::time::sleep(20 * PAUSE).await;
                }
            }
        }
    }

    /// Writes what waits, up to a bound, and takes it off the list only when it
    /// is committed: a repeat meets the primary key. Whether there was anything.
    async fn write_some(&mut self) -> Result<bool, Failure> {
        let records: Vec<String> =
            redis::cmd("LRANGE").arg(PENDING).arg(0).arg(BATCH_MAX - 1).query_async(&mut self.redis).await?;
        if records.is_empty() {
            return Ok(false);
        }
        let connection = match &mut self.connection {
            Some(connection) => connection,
            gone => gone.insert(connect(&self.database).await?),
        };
        // A record is ready to stand between the brackets; see TAKE.
        let insert = format!(
            "INSERT IGNORE INTO entry (envelope_id, user_id, seq, amount_fen, at_ms, remaining_fen) VALUES ({},0)",
            records.join(",0),(")
        );
        connection.execute(sqlx::raw_sql(&insert)).await?;
        let _: () = redis::cmd("LTRIM").arg(PENDING).arg(records.len()).arg(-1).query_async(&mut self.redis).await?;
        Ok(true)
    }
}
