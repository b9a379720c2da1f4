//! The ground that all schemes stand on: one MariaDB with full durability, and
//! a Redis for each that needs one.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hongbao_core::id::TableRef;
use hongbao_core::{EnvelopeId, Seed};
use hongbao_load::{Cluster, Fallible, Wanted, ZONE_OFFSET_S};
use hongbao_testbed::{FOLD, Part};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{ConnectOptions as _, Executor as _, Row as _};
use tokio::runtime::Runtime;

use super::alternative::{self, presplit, tables};
use super::audit::{Entry, Free, Stored};
use super::redis_servers::RedisServers;
use super::scheme::Scheme;

/// What decides over durability; printed with the figures.
const DURABILITY: [&str; 5] =
    ["version", "innodb_flush_log_at_trx_commit", "innodb_flush_method", "innodb_doublewrite", "log_bin"];
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
    redis: RedisServers,
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
        let redis = RedisServers::start(schemes);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        Ok(Testbed { cluster, database, redis, runtime })
    }

    pub fn hongbao(&self) -> Fallible<&Cluster> {
        self.cluster.as_ref().ok_or_else(|| "Hongbao needs a cluster".into())
    }

    /// Where the Redis of a scheme that keeps money in one is.
    pub fn redis(&self, scheme: Scheme) -> Option<SocketAddr> {
        self.redis.address(scheme)
    }

    /// The process that keeps a scheme's record.
    pub fn record_pid(&self, scheme: Scheme) -> u32 {
        match scheme {
            Scheme::RedisAlways => self.redis.pid(scheme).unwrap_or(self.database.pid),
            _ => self.database.pid,
        }
    }

    /// Ends Redis at once if the scheme keeps money in it.
    pub fn kill_redis_of(&mut self, scheme: Scheme) {
        self.redis.kill(scheme);
    }

    /// Starts the scheme's Redis again, with what its file holds.
    pub fn restart_redis(&mut self, scheme: Scheme) -> Fallible<()> {
        self.runtime.block_on(self.redis.restart(scheme))
    }

    /// The settings that decide over durability, and MariaDB's version.
    pub fn durability(&self) -> Fallible<String> {
        let names = DURABILITY.join("', '");
        let ask = format!("SHOW VARIABLES WHERE Variable_name IN ('{names}')");
        let rows = self.rows(&ask)?;
        let pair = |row: &MySqlRow| Ok(format!("{}={}", row.try_get::<String, _>(0)?, row.try_get::<String, _>(1)?));
        let pairs = rows.iter().map(pair).collect::<Result<Vec<_>, sqlx::Error>>()?;
        let redis = self.runtime.block_on(self.redis.durability())?;
        Ok([Some(pairs.join(" ")), redis].into_iter().flatten().collect::<Vec<_>>().join("; "))
    }

    /// Makes what an alternative keeps anew, with these envelopes in it.
    pub fn seed(&self, scheme: Scheme, envelopes: &[(EnvelopeId, Seed)], shares: u32, total_fen: i64) -> Fallible<()> {
        self.runtime.block_on(async {
            let mut database = connect(&self.database.node).await?;
            if scheme == Scheme::Presplit {
                return Ok(presplit::seed(&mut database, envelopes, shares, total_fen).await?);
            }
            tables::seed(&mut database, scheme, envelopes, shares, total_fen).await?;
            self.redis.fill(scheme, envelopes, shares, total_fen).await
        })
    }

    /// Waits until all that Redis had was written to MariaDB; how long that took.
    pub fn wait_until_persisted(&self, scheme: Scheme, within: Duration) -> Fallible<Option<Duration>> {
        match scheme {
            Scheme::MemoryFirst => self.runtime.block_on(self.redis.wait_until_persisted(within)),
            _ => Ok(None),
        }
    }

    /// What the scheme's record holds of these envelopes.
    pub fn stored(&self, scheme: Scheme, envelopes: &[EnvelopeId]) -> Fallible<Stored> {
        if scheme == Scheme::RedisAlways {
            return self.runtime.block_on(self.redis.stored(envelopes));
        }
        let free = (scheme == Scheme::Presplit).then(|| self.free(envelopes)).transpose()?;
        Ok(Stored { entries: self.entries(scheme, envelopes)?, free })
    }

    /// The openings of these envelopes as they stand in the database.
    fn entries(&self, scheme: Scheme, envelopes: &[EnvelopeId]) -> Fallible<Vec<Entry>> {
        let places = places(envelopes);
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

    /// The shares of these envelopes that were split ahead and that no user has.
    fn free(&self, envelopes: &[EnvelopeId]) -> Fallible<Vec<Free>> {
        let places = places(envelopes);
        let ask = format!(
            "SELECT envelope_id, COUNT(*), CAST(SUM(amount_fen) AS SIGNED) FROM {}.share WHERE user_id IS NULL \
             GROUP BY envelope_id",
            Scheme::Presplit.database()
        );
        let mut free = vec![Free::default(); envelopes.len()];
        for row in self.rows(&ask)? {
            if let Some(place) = places.get(row.try_get::<&[u8], _>(0)?) {
                let (shares, fen): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
                free[*place as usize] = Free { shares: shares as u32, fen };
            }
        }
        Ok(free)
    }

    fn rows(&self, ask: &str) -> Fallible<Vec<MySqlRow>> {
        self.runtime.block_on(async { Ok(connect(&self.database.node).await?.fetch_all(sqlx::raw_sql(ask)).await?) })
    }
}

async fn connect(node: &str) -> Fallible<MySqlConnection> {
    Ok(alternative::server_options(node)?.connect().await?)
}

/// Each envelope's place in the plan, by its id.
fn places(envelopes: &[EnvelopeId]) -> HashMap<&[u8], u32> {
    envelopes.iter().zip(0..).map(|(id, place)| (&id.as_bytes()[..], place)).collect()
}

/// The service's journals that hold these envelopes.
fn day_tables(envelopes: &[EnvelopeId]) -> Vec<String> {
    let table = |id: &EnvelopeId| FOLD.table_of(id.placement(ZONE_OFFSET_S as i32));
    let tables: BTreeSet<TableRef> = envelopes.iter().map(table).collect();
    let name = |table: TableRef| format!("db_{:02}.entry_{}_{}", table.database, table.table, table.span);
    tables.into_iter().map(name).collect()
}
