//! The ground that all schemes stand on: one MariaDB with full durability, and
//! a Redis for the one that needs it.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use deadpool_redis::redis;
use hongbao_core::id::TableRef;
use hongbao_core::{EnvelopeId, Seed};
use hongbao_load::{Cluster, Fallible, Wanted, ZONE_OFFSET_S, interrupt};
use hongbao_testbed::{FOLD, Part};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{ConnectOptions as _, Executor as _, Row as _};
use tokio::runtime::Runtime;

use super::alternative::tables;
use super::alternative::{self, PENDING, shares_key};
use super::audit::Entry;
use super::scheme::Scheme;

/// What decides over durability; printed with the figures.
const DURABILITY: [&str; 5] =
    ["version", "innodb_flush_log_at_trx_commit", "innodb_flush_method", "innodb_doublewrite", "log_bin"];
/// Redis as those run it who keep money in it: nothing is evicted, everything goes
/// to a file that is flushed every second. That the file is not rewritten while
/// it is measured is to the alternative's favour.
const REDIS: &str = "--maxmemory 0 --maxmemory-policy noeviction --appendonly yes --appendfsync everysec \
                     --auto-aof-rewrite-percentage 0";
/// How long it may take to read that file.
const REDIS_READY_WITHIN: Duration = Duration::from_secs(30);
/// Values in one message to Redis while seeding.
const PUSHED_AT_ONCE: usize = 10_000;

/// The MariaDB of all schemes.
pub struct Database {
    /// `host:port`.
    pub node: String,
    pub pid: u32,
    pub dir: PathBuf,
    /// Present when it is not that of Hongbao's cluster; it lives as long as this value.
    _own: Option<Part>,
}

/// The servers. They live as long as their value.
pub struct Testbed {
    /// Present when Hongbao itself is compared: then its MariaDB serves all.
    cluster: Option<Cluster>,
    pub database: Database,
    redis: Option<Part>,
    runtime: Runtime,
}

impl Testbed {
    /// Starts what the schemes need. `service` is Hongbao's binary, with the settings of its cluster.
    pub fn start(schemes: &[Scheme], service: Option<(&Path, &Wanted)>, dir: &Path) -> Fallible<Testbed> {
        let cluster = service.map(|(binary, wanted)| Cluster::start(binary, dir, 1, wanted)).transpose()?;
        let database = match &cluster {
            Some(cluster) => Database {
                node: cluster.database_addr(0).to_string(),
                pid: cluster.pid("a-mariadb")?,
                dir: cluster.dir().to_owned(),
                _own: None,
            },
            None => {
                let own = Part::mariadb(&[]);
                Database { node: own.node(), pid: own.pid(), dir: own.dir().to_owned(), _own: Some(own) }
            }
        };
        let redis =
            schemes.contains(&Scheme::MemoryFirst).then(|| Part::redis_with(&REDIS.split(' ').collect::<Vec<_>>()));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Testbed { cluster, database, redis, runtime })
    }

    pub fn hongbao(&self) -> Fallible<&Cluster> {
        self.cluster.as_ref().ok_or_else(|| "Hongbao needs a cluster".into())
    }

    pub fn redis(&self) -> Option<SocketAddr> {
        self.redis.as_ref().map(Part::address)
    }

    /// Ends Redis at once if the scheme keeps money in it.
    pub fn kill_redis_of(&mut self, scheme: Scheme) {
        if let (Scheme::MemoryFirst, Some(redis)) = (scheme, &mut self.redis) {
            redis.kill();
        }
    }

    /// Starts Redis again, with what its file holds.
    pub fn restart_redis(&mut self) -> Fallible<()> {
        let Some(redis) = &mut self.redis else { return Ok(()) };
        redis.restart();
        let address = redis.address();
        let until = Instant::now() + REDIS_READY_WITHIN;
        self.runtime.block_on(async {
            let mut redis = alternative::redis_connection(address).await?;
            loop {
                // It takes connections while it still reads, and says so.
                let answer: Result<String, _> = redis::cmd("PING").query_async(&mut redis).await;
                match answer {
                    Ok(_) => return Ok(()),
                    Err(error) if Instant::now() > until => return Err(error.into()),
                    Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
                }
            }
        })
    }

    /// The settings of MariaDB that decide over durability, and its version.
    pub fn durability(&self) -> Fallible<String> {
        let names = DURABILITY.join("', '");
        let ask = format!("SHOW VARIABLES WHERE Variable_name IN ('{names}')");
        let rows = self.rows(&ask)?;
        let pair = |row: &MySqlRow| Ok(format!("{}={}", row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?));
        Ok(rows.iter().map(pair).collect::<Result<Vec<_>, sqlx::Error>>()?.join(" "))
    }

    /// Makes an alternative's tables anew, with these envelopes in them.
    pub fn seed(&self, scheme: Scheme, envelopes: &[(EnvelopeId, Seed)], shares: u32, total_fen: i64) -> Fallible<()> {
        self.runtime.block_on(async {
            let mut database = connect(&self.database.node).await?;
            tables::seed(&mut database, scheme, envelopes, shares, total_fen).await?;
            if let (Scheme::MemoryFirst, Some(redis)) = (scheme, self.redis()) {
                fill_redis(redis, envelopes, shares, total_fen).await?;
            }
            Ok(())
        })
    }

    /// Waits until all that Redis had was written to MariaDB; how long that took.
    pub fn wait_until_persisted(&self, scheme: Scheme, within: Duration) -> Fallible<Option<Duration>> {
        let (Scheme::MemoryFirst, Some(redis)) = (scheme, self.redis()) else { return Ok(None) };
        let started = Instant::now();
        self.runtime.block_on(async {
            let mut redis = alternative::redis_connection(redis).await?;
            loop {
                interrupt::check()?;
                let waiting: u64 = redis::cmd("LLEN").arg(PENDING).query_async(&mut redis).await?;
                if waiting == 0 {
                    return Ok(Some(started.elapsed()));
                }
                if started.elapsed() > within {
                    return Err(format!("{waiting} openings were still not in MariaDB").into());
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        })
    }

    /// The openings of these envelopes as they stand in the database.
    pub fn entries(&self, scheme: Scheme, envelopes: &[EnvelopeId]) -> Fallible<Vec<Entry>> {
        let places: HashMap<&[u8], u32> =
            envelopes.iter().zip(0..).map(|(id, place)| (&id.as_bytes()[..], place)).collect();
        let tables = match scheme {
            Scheme::Hongbao => day_tables(envelopes),
            alternative => vec![format!("{}.entry", alternative.database())],
        };
        // Ids begin with the time, so those of this run are the last ones.
        let first = envelopes.iter().min().map_or_else(|| "0x00".into(), |id| tables::literal(*id));
        let mut entries = Vec::new();
        for table in tables {
            let ask = format!(
                "SELECT envelope_id, user_id, seq, amount_fen, remaining_fen FROM {table} WHERE envelope_id >= {first}"
            );
            for row in self.rows(&ask)? {
                if let Some(place) = places.get(row.try_get::<&[u8], _>(0)?) {
                    // A collation `_bin` makes text bytes for sqlx.
                    let (user, seq): (Vec<u8>, i64) = (row.try_get(1)?, row.try_get(2)?);
                    entries.push(Entry {
                        envelope: *place,
                        user: String::from_utf8(user)?,
                        seq: seq as u32,
                        amount_fen: row.try_get(3)?,
                        remaining_fen: row.try_get(4)?,
                    });
                }
            }
        }
        Ok(entries)
    }

    fn rows(&self, ask: &str) -> Fallible<Vec<MySqlRow>> {
        self.runtime.block_on(async { Ok(connect(&self.database.node).await?.fetch_all(sqlx::raw_sql(ask)).await?) })
    }
}

async fn connect(node: &str) -> Fallible<MySqlConnection> {
    Ok(alternative::server_options(node)?.connect().await?)
}

/// The service's journals that hold these envelopes.
fn day_tables(envelopes: &[EnvelopeId]) -> Vec<String> {
    let table = |id: &EnvelopeId| FOLD.table_of(id.placement(ZONE_OFFSET_S as i32));
    let tables: BTreeSet<TableRef> = envelopes.iter().map(table).collect();
    let name = |table: TableRef| format!("db_{:02}.entry_{}_{}", table.database, table.table, table.span);
    tables.into_iter().map(name).collect()
}

/// Puts the shares of all envelopes there, drawn beforehand.
async fn fill_redis(
    address: SocketAddr,
    envelopes: &[(EnvelopeId, Seed)],
    shares: u32,
    total_fen: i64,
) -> Fallible<()> {
    let mut redis = alternative::redis_connection(address).await?;
    let _: () = redis::cmd("FLUSHALL").query_async(&mut redis).await?;
    for (id, seed) in envelopes {
        for some in tables::split(seed, shares, total_fen).chunks(PUSHED_AT_ONCE) {
            let _: () = redis::cmd("RPUSH").arg(shares_key(*id)).arg(some).query_async(&mut redis).await?;
        }
    }
    Ok(())
}
