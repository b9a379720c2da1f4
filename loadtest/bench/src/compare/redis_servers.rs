//! The Redis of the schemes that keep money in one: each has a server of its own.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use deadpool_redis::redis;
use hongbao_core::{EnvelopeId, Seed};
use hongbao_load::{Fallible, interrupt};
use hongbao_testbed::Part;

use super::alternative::{PENDING, journal_key, opened_key, redis_connection, shares_key, tables};
use super::audit::{Entry, Free, Stored};
use super::scheme::Scheme;

/// Redis as those run it who keep money in it: nothing is evicted, everything goes
/// to a file. That the file is not rewritten while it is measured is to the
/// alternative's favour.
const KEEPS_ALL: &str =
    "--maxmemory 0 --maxmemory-policy noeviction --appendonly yes --auto-aof-rewrite-percentage 0 --appendfsync";
/// What decides over durability; printed with the figures.
const DURABILITY: [&str; 2] = ["appendonly", "appendfsync"];
/// How long it may take to read that file.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// Values in one message while seeding.
const PUSHED_AT_ONCE: usize = 10_000;
/// Between two looks at what it does.
const LOOK: Duration = Duration::from_millis(20);

/// When a scheme's Redis flushes its file: each second, or before each answer.
fn flushes(scheme: Scheme) -> Option<&'static str> {
    match scheme {
        Scheme::MemoryFirst => Some("everysec"),
        Scheme::RedisAlways => Some("always"),
        _ => None,
    }
}

/// The servers, by scheme. They live as long as their value.
pub struct RedisServers(HashMap<Scheme, Part>);

impl RedisServers {
    /// Starts what the schemes need.
    pub fn start(schemes: &[Scheme]) -> RedisServers {
        let server = |scheme: &Scheme| {
            let options: Vec<&str> = KEEPS_ALL.split(' ').chain([flushes(*scheme)?]).collect();
            Some((*scheme, Part::redis_with(&options)))
        };
        RedisServers(schemes.iter().filter_map(server).collect())
    }

    /// Where that of the scheme listens, if it has one.
    pub fn address(&self, scheme: Scheme) -> Option<SocketAddr> {
        self.0.get(&scheme).map(Part::address)
    }

    /// Its process.
    pub fn pid(&self, scheme: Scheme) -> Option<u32> {
        self.0.get(&scheme).map(Part::pid)
    }

    /// The settings that decide over the durability of the one that is a record.
    pub async fn durability(&self) -> Fallible<Option<String>> {
        let Some(address) = self.address(Scheme::RedisAlways) else { return Ok(None) };
        let mut redis = redis_connection(address).await?;
        let mut text = Scheme::RedisAlways.text().to_owned();
        for name in DURABILITY {
            let (name, value): (String, String) =
                redis::cmd("CONFIG").arg("GET").arg(name).query_async(&mut redis).await?;
            text += &format!(" {name}={value}");
        }
        Ok(Some(text))
    }

    /// Ends that of the scheme at once, if it has one.
    pub fn kill(&mut self, scheme: Scheme) {
        if let Some(server) = self.0.get_mut(&scheme) {
            server.kill();
        }
    }

    /// Starts that of the scheme again, and waits until it has read its file.
    pub async fn restart(&mut self, scheme: Scheme) -> Fallible<()> {
        let Some(server) = self.0.get_mut(&scheme) else { return Ok(()) };
        server.restart();
        let until = Instant::now() + READY_WITHIN;
        let mut redis = redis_connection(server.address()).await?;
        loop {
            // It takes connections while it still reads, and says so.
            let answer: Result<String, _> = redis::cmd("PING").query_async(&mut redis).await;
            match answer {
                Ok(_) => return Ok(()),
                Err(error) if Instant::now() > until => return Err(error.into()),
                Err(_) => tokio::time::sleep(LOOK).await,
            }
        }
    }

    /// Forgets all that is in the scheme's, and puts the shares of these envelopes there, drawn
    /// beforehand.
    pub async fn fill(
        &self,
        scheme: Scheme,
        envelopes: &[(EnvelopeId, Seed)],
        shares: u32,
        total_fen: i64,
    ) -> Fallible<()> {
        let Some(address) = self.address(scheme) else { return Ok(()) };
        let mut redis = redis_connection(address).await?;
        let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await?;
        for (id, seed) in envelopes {
            for some in tables::split(seed, shares, total_fen).chunks(PUSHED_AT_ONCE) {
                let _: () = redis::cmd("RPUSH").arg(shares_key(*id)).arg(some).query_async(&mut redis).await?;
            }
        }
        Ok(())
    }

    /// Waits until all that memory-first's had was written to MariaDB; how long that took.
    pub async fn wait_until_persisted(&self, within: Duration) -> Fallible<Option<Duration>> {
        let Some(address) = self.address(Scheme::MemoryFirst) else { return Ok(None) };
        let started = Instant::now();
        let mut redis = redis_connection(address).await?;
        loop {
            interrupt::check()?;
            let waiting: u64 = redis::cmd("LLEN").arg(PENDING).query_async(&mut redis).await?;
            if waiting == 0 {
                return Ok(Some(started.elapsed()));
            }
            if started.elapsed() > within {
                return Err(format!("{waiting} openings were still not in MariaDB").into());
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// What the one that is a record holds. An opening counts only where the journal and the
    /// user's record say the same; of any other the share is missing, which the audit finds.
    pub async fn stored(&self, envelopes: &[EnvelopeId]) -> Fallible<Stored> {
        let address = self.address(Scheme::RedisAlways).ok_or("the record has no server")?;
        let mut redis = redis_connection(address).await?;
        let (mut entries, mut free) = (Vec::new(), Vec::with_capacity(envelopes.len()));
        for (id, place) in envelopes.iter().zip(0..) {
            let (journal, users, shares): (Vec<String>, HashMap<String, String>, Vec<i64>) = redis::pipe()
                .cmd("LRANGE")
                .arg(journal_key(*id))
                .arg(0)
                .arg(-1)
                .cmd("HGETALL")
                .arg(opened_key(*id))
                .cmd("LRANGE")
                .arg(shares_key(*id))
                .arg(0)
                .arg(-1)
                .query_async(&mut redis)
                .await?;
            free.push(Free { shares: shares.len() as u32, fen: shares.iter().sum() });
            for line in &journal {
                let (user, record) = line.split_once(',').ok_or_else(|| format!("{line:?} is no entry"))?;
                let parts = record.split(',').map(str::parse::<i64>).collect::<Result<Vec<_>, _>>()?;
                let &[seq, amount_fen, _at_ms] = &parts[..] else { return Err(format!("{line:?} is no entry").into()) };
                if users.get(user).is_some_and(|kept| kept == record) {
                    let (user, seq) = (user.to_owned(), seq as u32);
                    entries.push(Entry { envelope: place, user, seq, amount_fen, remaining_fen: 0 });
                }
            }
        }
        Ok(Stored { entries, free: Some(free) })
    }
}
