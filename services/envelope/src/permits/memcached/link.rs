//! One connection to memcached, and the one thing that is asked of it: to set
//! our part of a count, unless the whole would go over the cap.

use std::fmt::Display;
use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::limits::{PERMIT_BACKOFF_MAX, PERMIT_BACKOFF_MIN, PERMIT_TRIES_MAX};
use hongbao_core::{Clock, Traffic};
use memcache_async::ascii::Protocol;
use tokio::net::TcpStream;
use tokio::time::error::Elapsed;
use tokio::time::timeout;

use super::answers::Checked;
use super::metrics::PermitMetrics;
use super::value::Holders;

/// A key whose value says nothing goes after a second.
const EMPTY_TTL_S: u32 = 1;

/// Who counts, and by which times.
pub struct Terms {
    /// `host:port`.
    pub address: String,
    /// Our parts' name: unique on this host.
    pub holder: u64,
    /// How long one answer may take.
    pub answer_within: Duration,
    /// How long a part lasts that is not renewed, in seconds.
    pub ttl_s: u32,
    /// Whose transactions are counted.
    pub traffic: Traffic,
    /// Whether all of them go through lanes.
    pub lanes: bool,
    /// Tells until when a part lasts.
    pub clock: Arc<dyn Clock>,
    /// Counts the questions.
    pub metrics: PermitMetrics,
}

impl Terms {
    /// The time in whole seconds.
    pub fn now_s(&self) -> i64 {
        self.clock.now().millis() / 1_000
    }

    fn key(&self, name: impl Display) -> String {
        format!("{}permit:{name}", self.traffic.key_prefix())
    }
}

/// A connection that has answered.
pub type Connection = Protocol<Checked<TcpStream>>;

/// A connection to memcached that answers. Not part of [`Link`], so that an entry
/// does not wait for it.
pub async fn connect(terms: &Terms) -> Result<Connection> {
    let connecting = async {
        let stream = TcpStream::connect(&terms.address).await?;
        stream.set_nodelay(true)?;
        let mut connection = Protocol::new(Checked::new(stream));
        connection.version().await?;
        Ok(connection)
    };
    timeout(terms.answer_within, connecting).await.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()))
}

/// The place of a connection; broken until it is mended.
pub struct Link {
    protocol: Option<Connection>,
    mend_at: Instant,
    backoff: Duration,
}

impl Link {
    /// Not connected yet.
    pub fn new() -> Link {
        Link { protocol: None, mend_at: Instant::now(), backoff: PERMIT_BACKOFF_MIN }
    }

    /// Whether it can be asked.
    pub fn is_up(&self) -> bool {
        self.protocol.is_some()
    }

    /// Whether it is time to connect again.
    pub fn wants_mending(&self) -> bool {
        !self.is_up() && Instant::now() >= self.mend_at
    }

    /// From now on, this connection is used.
    pub fn mended(&mut self, connection: Connection) {
        self.protocol = Some(connection);
    }

    /// Connecting failed: the next time later.
    pub fn not_mended(&mut self) {
        self.wait_longer();
    }

    fn wait_longer(&mut self) {
        self.mend_at = Instant::now() + self.backoff;
        self.backoff = (self.backoff * 2).min(PERMIT_BACKOFF_MAX);
    }

    /// Makes our part of a count `count`; false if the whole would exceed `cap`. After
    /// an error the link is broken.
    pub async fn put(&mut self, name: impl Display, count: u32, cap: Option<u32>, terms: &Terms) -> Result<bool> {
        let mut protocol = self.take()?;
        let part = Part { key: terms.key(name), count, cap, now_s: terms.now_s(), terms };
        let done = timeout(terms.answer_within, part.put(&mut protocol)).await;
        self.put_back(protocol, done)
    }

    /// Who holds how many now. After an error the link is broken.
    pub async fn read(&mut self, name: impl Display, terms: &Terms) -> Result<Holders> {
        let mut protocol = self.take()?;
        terms.metrics.round_trips.inc();
        let key = terms.key(name);
        let found = timeout(terms.answer_within, protocol.get(&key)).await.map(|found| match found {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(Vec::new()),
            found => found,
        });
        Ok(Holders::parse(&self.put_back(protocol, found)?).at(terms.now_s()))
    }

    /// Makes our part of a count `count`, unless it is that and lasts, and the whole would not exceed `cap`; gives
    /// who holds how many then. After an error the link is broken.
    pub async fn keep(&mut self, name: &str, count: u32, cap: Option<u32>, terms: &Terms) -> Result<Holders> {
        let held = self.read(name, terms).await?;
        let renewed_from_s = terms.now_s() + i64::from(terms.ttl_s / 2);
        let is_kept = match held.until_s(terms.holder) {
            Some(until_s) => count > 0 && until_s > renewed_from_s && cap.is_none_or(|cap| held.total() <= cap),
            None => count == 0,
        };
        if is_kept {
            return Ok(held);
        }
        if !self.put(name, count, cap, terms).await? {
            // Nor is there room for a part that was put before.
            self.put(name, 0, None, terms).await?;
        }
        self.read(name, terms).await
    }

    /// The connection, out of its place while it is in use: if this is dropped half
    /// way, the connection is out of step and goes, too.
    fn take(&mut self) -> Result<Connection> {
        self.protocol.take().ok_or_else(|| ErrorKind::NotConnected.into())
    }

    fn put_back<T>(&mut self, protocol: Connection, done: std::result::Result<Result<T>, Elapsed>) -> Result<T> {
        let done = done.unwrap_or_else(|_| Err(ErrorKind::TimedOut.into()));
        if done.is_ok() {
            self.protocol = Some(protocol);
            self.backoff = PERMIT_BACKOFF_MIN;
        } else {
            self.wait_longer();
        }
        done
    }
}

/// Our part of one count, to be written.
struct Part<'a> {
    key: String,
    count: u32,
    cap: Option<u32>,
    now_s: i64,
    terms: &'a Terms,
}

impl Part<'_> {
    async fn put(&self, protocol: &mut Connection) -> Result<bool> {
        // Most envelopes have no permits yet: try that first.
        let mut may_be_absent = self.count == 1;
        for _ in 0..PERMIT_TRIES_MAX {
            if may_be_absent {
                let Some(ours) = self.added_to(Holders::default()) else { return Ok(false) };
                self.terms.metrics.round_trips.inc();
                match protocol.add(&self.key, &ours.to_bytes(), self.terms.ttl_s).await {
                    Ok(()) => return Ok(true),
                    Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                    Err(error) => return Err(error),
                }
            }
            self.terms.metrics.round_trips.inc();
            let (found, cas) = match protocol.gets_cas(&self.key).await {
                Ok(found) => found,
                // Nothing there, and nothing to write.
                Err(error) if error.kind() == ErrorKind::NotFound && self.count == 0 => return Ok(true),
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    may_be_absent = true;
                    continue;
                }
                Err(error) => return Err(error),
            };
            may_be_absent = false;
            let Some(all) = self.added_to(Holders::parse(&found)) else { return Ok(false) };
            let ttl_s = if all.total() == 0 { EMPTY_TTL_S } else { self.terms.ttl_s };
            self.terms.metrics.round_trips.inc();
            match protocol.cas(&self.key, &all.to_bytes(), cas, ttl_s).await {
                Ok(true) => return Ok(true),
                // Another process was first.
                Ok(false) => {}
                Err(error) if is_not_found(&error) => may_be_absent = self.count > 0,
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }

    /// The count with our part in it; `None` if that is over the cap.
    fn added_to(&self, holders: Holders) -> Option<Holders> {
        let until_s = self.now_s + i64::from(self.terms.ttl_s);
        let all = holders.with(self.terms.holder, self.count, self.now_s, until_s);
        if self.cap.is_some_and(|cap| all.total() > cap) { None } else { Some(all) }
    }
}

/// memcached's `NOT_FOUND` to a `cas`, which the library takes for a failure
/// (it looks for a blank): the key has gone since it was read.
fn is_not_found(error: &Error) -> bool {
    error.kind() == ErrorKind::NotFound || error.to_string().starts_with("NOT_FOUND")
}
