//! Redis is the record: a script in Redis takes a share atomically and writes the journal, and
//! there is no other copy to write. With `appendfsync always` Redis flushes its file once for all
//! that it has done in a turn of its loop, and answers after that: so it batches as Hongbao does.
//!
//! Tried, at 1,024 openers of one envelope: one, two, four and eight connections; the amounts in
//! one string of fixed width, so that taking a share is no write; and no journal but the hash of
//! users. All cost Redis 9 to 13 us an opening, no more apart than two runs of the same.

use std::net::SocketAddr;

use deadpool_redis::redis::RedisError;
use hongbao_core::wire::Outcome;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, UserId};

use super::failure::Failure;
use super::script::{Script, journal_key, opened_key, outcome, shares_key};

/// A repeated opener gets the same; else the next share is taken, and the record kept under the
/// user's name and in the journal. The first value of the answer says which of it happened.
const TAKE: &str = "\
local mine = redis.call('HGET', KEYS[2], ARGV[1])
if mine then return {1, mine} end
local amount = redis.call('LPOP', KEYS[1])
if not amount then return {2, ''} end
local record = (redis.call('LLEN', KEYS[3]) + 1) .. ',' .. amount .. ',' .. ARGV[2]
redis.call('HSET', KEYS[2], ARGV[1], record)
redis.call('RPUSH', KEYS[3], ARGV[1] .. ',' .. record)
return {0, record}";

/// The scheme.
pub struct RedisAlways {
    take: Script,
}

impl RedisAlways {
    /// Connects.
    pub async fn start(redis: SocketAddr) -> Result<RedisAlways, RedisError> {
        Ok(RedisAlways { take: Script::load(redis, TAKE).await? })
    }

    /// Takes a share; it is in the file when this returns.
    pub async fn open(&self, envelope: EnvelopeId, user: &UserId) -> Result<Outcome, Failure> {
        let mut call = self.take.call(3);
        call.arg(shares_key(envelope)).arg(opened_key(envelope)).arg(journal_key(envelope));
        call.arg(user.as_str()).arg(SystemClock.now().millis());
        match self.take.send(&call).await? {
            (2, _) => Ok(Outcome::Empty),
            (what, record) => outcome(&record, what == 1),
        }
    }
}
