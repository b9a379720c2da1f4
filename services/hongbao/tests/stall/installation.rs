//! An installation: two SETs and a wallet with two homes, each a MariaDB whose
//! log can be stalled; a Redis and three servers a SET, of which one only looks;
//! workers.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use hongbao_core::id::{Fold, stable_hash};
use hongbao_core::{Clock as _, Date, Slot, SystemClock, Traffic, UserId};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_testbed::{LogStall, Part};
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet};

use crate::process::{ServerProcess, WorkerProcess};

/// Zone of the day tables.
pub const ZONE_OFFSET_S: i32 = 0;
/// An envelope that was not paid after so many seconds is cancelled.
pub const PAY_WITHIN_S: u32 = 20;
/// Databases of the wallet over all slots: one in each home.
pub const WALLET_DATABASES: u8 = 1;
/// SETs.
pub const SETS: usize = 2;
/// Databases that can be stalled: those of the SETs, then those of the wallet.
pub const DATABASES: usize = SETS + 2;
/// Servers of a SET. The last one is asked for grabs and details alone, so that
/// it answers from what the others show it.
pub const SERVERS: usize = 3;

/// Lines of a database's log that are shown.
const LOG_LINES: usize = 100;
/// A process that starts again tries so often, a moment apart.
const START_TRIES: usize = 400;
const START_AGAIN_AFTER: Duration = Duration::from_millis(25);

/// What every process of a SET is started with.
#[derive(Clone)]
pub struct SetShape {
    /// How the SET's database is reached.
    pub options: MysqlOptions,
    /// Its part of the envelopes.
    pub layout: Layout,
    /// The wallet.
    pub homes: Vec<DatabaseServer>,
    /// What the servers show each other through.
    pub redis_url: String,
    /// How long its processes wait for a statement.
    pub patience: Duration,
}

/// For what the test itself does, which is to come to an end however busy the machine is.
const PATIENT: Duration = Duration::from_secs(30);

/// One SET.
pub struct Set {
    /// What its processes are started with.
    pub shape: SetShape,
    /// The databases, over connections of the test.
    pub store: Arc<MysqlStore>,
    servers: [Mutex<Option<Arc<ServerProcess>>>; SERVERS],
    worker: Mutex<Option<WorkerProcess>>,
}

/// Everything that runs.
pub struct Installation {
    databases: [Mutex<Part>; DATABASES],
    _redis: [Part; SETS],
    /// The SETs.
    pub sets: Vec<Set>,
    /// The wallet, over connections of the test.
    pub wallet: Arc<MysqlWallet>,
    /// Whose log is stalled.
    stalls: [AtomicBool; DATABASES],
}

/// How envelopes are folded into databases and tables: a database in each SET.
pub fn fold() -> Fold {
    Fold::new(SETS as u8, 1).expect("it divides 100")
}

/// The SET, by number, of a slot.
pub fn set_of(slot: Slot) -> usize {
    usize::from(slot.number()) % SETS
}

/// The database, by number, that holds the balances of a slot.
fn home_of_slot(slot: u64) -> usize {
    SETS + slot as usize * (DATABASES - SETS) / 100
}

/// The database, by number, that holds a user's balance.
pub fn home_of(user: &UserId) -> usize {
    home_of_slot(stable_hash(user.as_str().as_bytes()) % 100)
}

fn options(part: &Part, patience: Duration) -> MysqlOptions {
    MysqlOptions {
        nodes: vec![part.node().parse().expect("a part has an address")],
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        statement_timeout: patience,
        ..MysqlOptions::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("no holder of the lock panics")
}

impl Installation {
    /// Starts one whose processes wait so long for a statement: with less than a
    /// stall takes, its outcome is unknown; with more, it ends well where the
    /// database lives.
    pub async fn start(patience: Duration) -> Installation {
        let parts = std::thread::scope(|scope| {
            let parts = [(); DATABASES].map(|()| {
                let small = ["--innodb-buffer-pool-size=32M", "--skip-performance-schema"];
                scope.spawn(move || Part::mariadb_with_a_log_that_stalls("ib_logfile0", &small))
            });
            parts.map(|part| part.join().expect("MariaDB starts"))
        });
        let home = |number: usize| {
            let of_home = |slot: &Slot| home_of_slot(slot.number().into()) == SETS + number;
            let slots = Slot::all().filter(of_home).collect();
            DatabaseServer { options: options(&parts[SETS + number], patience), slots, traffic: Traffic::Live }
        };
        let homes = vec![home(0), home(1)];
        let redis = [(); SETS].map(|()| Part::redis());
        let mut sets = Vec::new();
        for number in 0..SETS {
            let slots = Slot::all().filter(|slot| set_of(*slot) == number);
            let layout = Layout::always(slots, fold(), ZONE_OFFSET_S, Traffic::Live);
            let patient = options(&parts[number], PATIENT);
            migrate(patient.clone(), &layout, Date::of(SystemClock.now(), ZONE_OFFSET_S))
                .await
                .expect("an empty database takes the tables");
            let store = MysqlStore::open(patient, layout.clone()).await.expect("the database is there");
            let shape = SetShape {
                options: options(&parts[number], patience),
                layout,
                homes: homes.clone(),
                redis_url: format!("redis://{}", redis[number].node()),
                patience,
            };
            let store = Arc::new(store);
            sets.push(Set { shape, store, servers: Default::default(), worker: Mutex::default() });
        }
        let patient: Vec<DatabaseServer> = homes
            .iter()
            .map(|home| DatabaseServer {
                options: MysqlOptions { statement_timeout: PATIENT, ..home.options.clone() },
                ..home.clone()
            })
            .collect();
        hongbao_wallet::mysql::migrate(&patient, WALLET_DATABASES).await.expect("an empty database takes the tables");
        let databases = parts.map(Mutex::new);
        let wallet = MysqlWallet::open(patient, WALLET_DATABASES).await.expect("the databases are there");
        let installation =
            Installation { wallet: Arc::new(wallet), databases, _redis: redis, sets, stalls: Default::default() };
        for set in &installation.sets {
            for number in 0..SERVERS {
                set.restart_server(number).await;
            }
        }
        installation
    }

    /// Starts the jobs of all SETs.
    pub async fn start_workers(&self) {
        for set in &self.sets {
            *lock(&set.worker) = Some(started(|| WorkerProcess::start(set.shape.clone())).await);
        }
    }

    /// Stalls a log, for whoever kills its database himself.
    pub fn stall_log(&self, database: usize) -> LogStall {
        lock(&self.databases[database]).stall_log()
    }

    /// Kills a database, whose log is stalled, and starts it again. Blocks.
    pub fn kill_and_restart(&self, database: usize, stall: LogStall) {
        let mut part = lock(&self.databases[database]);
        part.kill();
        drop(stall);
        part.restart();
    }

    /// Where a database listens, for whoever looks into it himself.
    pub fn address_of(&self, database: usize) -> std::net::SocketAddr {
        lock(&self.databases[database]).address()
    }

    /// What a database has written last.
    pub fn log_of(&self, database: usize) -> String {
        let log = lock(&self.databases[database]).log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(LOG_LINES)..].join("\n")
    }

    /// How many logs are stalled now.
    pub fn stalled(&self) -> usize {
        self.stalls.iter().filter(|stall| stall.load(Ordering::SeqCst)).count()
    }

    /// Whether the log of a database is stalled now.
    pub fn is_stalled(&self, database: usize) -> bool {
        self.stalls[database].load(Ordering::SeqCst)
    }

    /// Stalls a log for a while; then the database is killed, stays away for a
    /// while and comes back, or it lives and its log goes on. Blocks.
    pub fn stall(&self, database: usize, length: Duration, killed: Option<Duration>) {
        let mut part = lock(&self.databases[database]);
        let stall = part.stall_log();
        self.stalls[database].store(true, Ordering::SeqCst);
        std::thread::sleep(length);
        match killed {
            Some(away) => kill_and_restart(&mut part, stall, away, &self.stalls[database]),
            None => {
                drop(stall);
                self.stalls[database].store(false, Ordering::SeqCst);
            }
        }
    }
}

fn kill_and_restart(part: &mut Part, stall: LogStall, away: Duration, is_stalled: &AtomicBool) {
    part.kill();
    drop(stall);
    is_stalled.store(false, Ordering::SeqCst);
    std::thread::sleep(away);
    part.restart();
}

impl Set {
    /// A server, unless it is not there now.
    pub fn server(&self, number: usize) -> Option<Arc<ServerProcess>> {
        lock(&self.servers[number]).clone()
    }

    /// Kills a server, if it runs, and starts it again, as soon as its database lets it.
    pub async fn restart_server(&self, number: usize) {
        // Those who wait for an answer of the old one get none.
        let killed = lock(&self.servers[number]).take();
        if let Some(killed) = killed {
            killed.kill();
        }
        let process = started(|| ServerProcess::start(self.shape.clone())).await;
        *lock(&self.servers[number]) = Some(Arc::new(process));
    }
}

async fn started<T, F: Future<Output = Result<T, String>>>(start: impl Fn() -> F) -> T {
    let mut reason = String::new();
    for _ in 0..START_TRIES {
        match start().await {
            Ok(process) => return process,
            Err(error) => reason = error,
        }
        tokio::time::sleep(START_AGAIN_AFTER).await;
    }
    panic!("a process does not start: {reason}");
}
