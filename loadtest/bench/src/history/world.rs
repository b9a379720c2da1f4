//! The cluster that a history is written into, and what its workers are to do with it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use hongbao_core::limits::{EXPORT_AFTER_DAYS, ROTATION_AHEAD_DAYS, SEAL_AFTER_DAYS};
use hongbao_core::{Date, Slot, Timestamp, Traffic};
use hongbao_load::{Cluster, Fallible, Wanted, interrupt, machine, wait_until_idle, zone_with_noon_at};
use hongbao_store::mysql::{Layout, MysqlStore};
use hongbao_store::{Rotated, Rotation as _};
use hongbao_testbed::FOLD;
use rustix::process::Signal;
use serde::Deserialize;
use sqlx::mysql::MySqlConnection;
use sqlx::{ConnectOptions as _, Executor as _, Row as _};
use tokio::runtime::Runtime;

use super::fill::{Filler, WALLET_DATABASES, options};
use crate::compare::alternative::server_options;
use crate::options::Common;

/// The processes that are started anew to do something else.
const WORKERS: [&str; 2] = ["a-w1", "a-w2"];
/// Those that must not run while their databases are filled.
const PROCESSES: [&str; 3] = ["a1", "a-w1", "a-w2"];
/// The name of the archive that tables are exported to.
const ARCHIVE_ID: &str = "history";
/// The share of a processor that the wallet's database uses at most when no credits are left; jobs that may be late
/// read it, too.
const WALLET_IDLE: f64 = 0.25;
/// From one look at how far the workers are to the next.
const LOOK: Duration = Duration::from_millis(500);
/// After so long without any progress something is wrong.
const STANDSTILL: Duration = Duration::from_secs(300);
/// What each MariaDB keeps in memory, as a real one would of so much data.
const BUFFER_POOL: &str = "SET GLOBAL innodb_buffer_pool_size = 3221225472";

/// Days after which the workers seal a table, if they do.
pub const SEAL_AFTER: u32 = *SEAL_AFTER_DAYS.start();
/// Days after which nothing is sealed that is measured here.
const NEVER: u32 = *SEAL_AFTER_DAYS.end();

/// What the workers do with old tables.
#[derive(Clone, Copy)]
pub struct Duties {
    pub seals: bool,
    pub exports: bool,
    /// All the time, and not for the share of it that is configured.
    pub is_busy: bool,
}

/// They leave them alone.
pub const QUIET: Duties = Duties { seals: false, exports: false, is_busy: false };

/// Some dates in a row.
#[derive(Clone, Copy)]
pub struct Dates {
    pub first_days_ago: u32,
    pub count: u32,
}

impl Dates {
    /// How many tables of envelopes a SET has for them.
    pub fn tables(self) -> u64 {
        u64::from(self.count) * u64::from(FOLD.databases()) * u64::from(FOLD.tables())
    }

    fn in_order(self, today: Date) -> impl Iterator<Item = Date> {
        (0..self.count).map(move |day| today.plus_days(day as i32 - self.first_days_ago as i32))
    }
}

/// How many tables and months of the wallet are sealed, and how many tables exported.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Done {
    pub tables: u64,
    pub months: u64,
    pub exported: u64,
}

/// What an audit has read, by its report.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Audited {
    pub duration_ms: u64,
    pub entries: u64,
    pub sealed: Sealed,
}

/// What it took by its manifests.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Sealed {
    pub envelopes: u64,
    pub entries: u64,
    pub transfers: u64,
}

/// See the module.
pub struct World {
    pub cluster: Cluster,
    today: Date,
    zone_offset_s: i32,
    runtime: Runtime,
    set: MySqlConnection,
    wallet: MySqlConnection,
    settings: String,
    archive: PathBuf,
    /// How many days were rotated ahead of their time.
    rotated_days: i32,
}

impl World {
    /// A cluster of one SET, of which nothing is old yet.
    pub fn start(common: &Common, dir: &Path, shares_max: u32) -> Fallible<World> {
        // At noon no midnight comes while it is measured.
        let now = machine::wall_clock();
        let zone_offset_s = zone_with_noon_at(now);
        let wanted = Wanted { shares_max, zone_offset_s, ..Wanted::default() };
        fs::create_dir_all(dir)?;
        let cluster = Cluster::start(&common.server, dir, 1, &wanted)?;
        for part in ["a-mariadb", "wallet-mariadb"] {
            let done = cluster.sql_client(part, BUFFER_POOL).output()?;
            if !done.status.success() {
                return Err(format!("{part}: {}", String::from_utf8_lossy(&done.stderr)).into());
            }
        }
        let archive = dir.canonicalize()?.join("archive");
        fs::create_dir_all(&archive)?;
        fs::write(archive.join("hongbao-archive"), ARCHIVE_ID)?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let connect = |node: std::net::SocketAddr| -> Fallible<MySqlConnection> {
            Ok(runtime.block_on(server_options(&node.to_string())?.connect())?)
        };
        let (set, wallet) = (connect(cluster.database_addr(0))?, connect(cluster.wallet_addr())?);
        let settings = fs::read_to_string(cluster.dir().join("hongbao.toml"))?;
        let since = now.duration_since(std::time::SystemTime::UNIX_EPOCH)?;
        let zone_offset_s = zone_offset_s as i32;
        let today = Date::of(Timestamp::from_millis(since.as_millis() as i64), zone_offset_s);
        Ok(World { cluster, today, zone_offset_s, runtime, set, wallet, settings, archive, rotated_days: 0 })
    }

    /// Writes entries of these dates. Servers and workers do not run afterwards.
    pub fn fill(&self, dates: Dates, entries: u64) -> Fallible<()> {
        let running: Vec<&str> = PROCESSES.into_iter().filter(|name| self.cluster.pid(name).is_ok()).collect();
        running.iter().try_for_each(|name| self.cluster.processes().end(name, Signal::TERM))?;
        let dates: Vec<Date> = dates.in_order(self.today).collect();
        self.runtime
            .block_on(async { Filler::connect(&self.cluster, self.zone_offset_s).await?.fill(&dates, entries).await })
    }

    /// The months of these dates, in all databases of the wallet.
    pub fn months(&self, old: Dates, younger: Dates) -> u64 {
        let dates = old.in_order(self.today).chain(younger.in_order(self.today));
        let months: BTreeSet<u32> = dates.map(Date::year_and_month).collect();
        months.len() as u64 * u64::from(WALLET_DATABASES)
    }

    /// Starts what does not run.
    pub fn start_processes(&self) -> Fallible<()> {
        let ended: Vec<&str> = PROCESSES.into_iter().filter(|name| self.cluster.pid(name).is_err()).collect();
        self.cluster.run(&ended)
    }

    /// Starts the workers anew, with these duties.
    pub fn workers(&self, duties: Duties) -> Fallible<()> {
        let after_days = if duties.seals { SEAL_AFTER } else { NEVER };
        let mut settings = format!("{}\n[workers]\nseal_after_days = {after_days}\n", self.settings);
        if duties.is_busy {
            settings += "late_duty_percent = 100\nidle_ms = 20\n";
        }
        let (url, after_days) =
            (self.archive.display(), if duties.exports { EXPORT_AFTER_DAYS.start() } else { EXPORT_AFTER_DAYS.end() });
        settings += &format!("[archive]\nurl = 'file://{url}'\nid = '{ARCHIVE_ID}'\nafter_days = {after_days}\n");
        fs::write(self.cluster.dir().join("hongbao.toml"), settings)?;
        for name in WORKERS.into_iter().filter(|name| self.cluster.pid(name).is_ok()) {
            self.cluster.processes().end(name, Signal::TERM)?;
        }
        self.start_processes()
    }

    /// Waits until the openings are credited: nothing else keeps the wallet busy.
    pub fn wait_until_credited(&self) -> Fallible<()> {
        match wait_until_idle(WALLET_IDLE, || Ok(self.cluster.cpu_times()?["wallet-mariadb"]))? {
            Some(_) => Ok(()),
            None => Err("the openings were not credited in time".into()),
        }
    }

    /// How far the workers are.
    pub fn done(&mut self) -> Fallible<Done> {
        let mut done = Done::default();
        for number in 0..FOLD.databases() {
            let layout = self.layout();
            let [manifests, exported] = [layout.manifests(number), layout.exported(number)];
            done.tables += self.count(&format!("{manifests} WHERE number IS NOT NULL"), false)?;
            done.exported += self.count(&exported, false)?;
        }
        for months in sealed_months() {
            done.months += self.count(&months, true)?;
        }
        Ok(done)
    }

    fn count(&mut self, of: &str, in_wallet: bool) -> Fallible<u64> {
        let connection = if in_wallet { &mut self.wallet } else { &mut self.set };
        let sql = format!("SELECT count(*) FROM {of}");
        let row = self.runtime.block_on(connection.fetch_one(sqlx::raw_sql(&sql)))?;
        Ok(row.try_get::<i64, _>(0)? as u64)
    }

    /// Waits until the workers are so far; gives how long that took.
    pub fn wait_until(&mut self, mut is_far: impl FnMut(Done) -> bool) -> Fallible<Duration> {
        let (began, mut last) = (Instant::now(), (Instant::now(), self.done()?));
        while !is_far(last.1) {
            interrupt::check()?;
            thread::sleep(LOOK);
            let done = self.done()?;
            if done != last.1 {
                last = (Instant::now(), done);
            } else if last.0.elapsed() > STANDSTILL {
                return Err(format!("the workers have come to a standstill: {done:?}").into());
            }
        }
        Ok(began.elapsed())
    }

    /// Takes back what says that tables and months are sealed.
    pub fn unseal(&mut self) -> Fallible<()> {
        WORKERS.iter().try_for_each(|name| self.cluster.processes().end(name, Signal::TERM))?;
        for number in 0..FOLD.databases() {
            let sql = format!("DELETE FROM {}", self.layout().manifests(number));
            self.runtime.block_on(self.set.execute(sqlx::raw_sql(&sql)))?;
        }
        for months in sealed_months() {
            self.runtime.block_on(self.wallet.execute(sqlx::raw_sql(&format!("DELETE FROM {months}"))))?;
        }
        Ok(())
    }

    /// Audits the installation, and the rows of so many sealed tables: nothing may be wrong.
    pub fn audit(&self, sealed: &str) -> Fallible<Audited> {
        let done = self.cluster.hongbao(&["audit", "--sealed", sealed, "--json"]).output()?;
        let said = String::from_utf8_lossy(&done.stdout);
        if !done.status.success() {
            let errors = String::from_utf8_lossy(&done.stderr);
            return Err(format!("the audit failed, {}: {said}{errors}", done.status).into());
        }
        #[derive(Deserialize)]
        struct Said {
            report: Audited,
        }
        let found: Said = serde_json::from_str(&said)?;
        Ok(found.report)
    }

    /// Rotates the tables of the next day after so long, as a worker does each day; gives when it is joined how many
    /// tables it were, and how long that took.
    pub fn rotate_after(&mut self, wait: Duration) -> thread::JoinHandle<Result<(u32, Duration), String>> {
        self.rotated_days += 1;
        let (node, layout) = (self.cluster.database_addr(0).to_string(), self.layout());
        let through = self.today.plus_days(ROTATION_AHEAD_DAYS + self.rotated_days);
        thread::spawn(move || {
            let failed = |error: &dyn std::fmt::Display| error.to_string();
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.map_err(|error| failed(&error))?.block_on(async {
                let store = MysqlStore::open(options(&node)?, layout).await.map_err(|error| failed(&error))?;
                tokio::time::sleep(wait).await;
                let began = Instant::now();
                let rotated = store.rotate(through).await.map_err(|error| failed(&error))?;
                match rotated {
                    Rotated { tables: 1.., in_use: 0 } => Ok((rotated.tables, began.elapsed())),
                    other => Err(format!("not all tables of a day were rotated: {other:?}")),
                }
            })
        })
    }

    fn layout(&self) -> Layout {
        Layout::always(Slot::all(), FOLD, self.zone_offset_s, Traffic::Live)
    }
}

/// The tables of sealed months in all databases of the wallet.
fn sealed_months() -> impl Iterator<Item = String> {
    (0..WALLET_DATABASES).map(|number| format!("wallet_{number:02}.sealed_month"))
}
