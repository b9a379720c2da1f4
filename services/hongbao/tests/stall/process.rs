//! Processes of the service, each with memory, connections and a runtime of its
//! own, so that one can die while the others go on.

use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hongbao_core::ticket::TicketKey;
use hongbao_core::{Limits, SystemClock, Traffic};
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::server::{Server, ServerOptions, ServerParts, ServerTasks};
use hongbao_envelope::shared::SnapshotCache;
use hongbao_envelope::shared::snapshot::SnapshotKey;
use hongbao_store::Store;
use hongbao_store::mysql::MysqlStore;
use hongbao_wallet::mysql::MysqlWallet;
use hongbao_workers::{LeaseHolder, OptionalJobs, Ports, WorkerOptions, WorkerSet};
use prometheus_client::registry::Registry;
use tokio::runtime::Runtime;

use crate::installation::{PAY_WITHIN_S, SetShape, WALLET_DATABASES, ZONE_OFFSET_S};

/// What signs tickets and snapshots.
pub const SECRET: &[u8] = b"the secret of the tickets of this test";
/// Nobody waits longer for an answer of a process: beyond all of its own limits.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// A server of a SET.
pub struct ServerProcess {
    /// Absent once it was killed.
    running: Mutex<Option<(Runtime, Arc<Server>)>>,
    _tasks: ServerTasks,
}

/// The workers of a SET.
pub struct WorkerProcess {
    _jobs: WorkerSet,
    runtime: Option<Runtime>,
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads can be started")
}

/// What a request may ask for: envelopes may end within the test.
fn limits() -> Limits {
    Limits { expires_in_s_min: 1, pay_within_s: PAY_WITHIN_S, ..Limits::default() }
}

/// The databases, over connections of this process.
async fn connect(shape: &SetShape) -> Result<(Arc<MysqlStore>, Arc<MysqlWallet>), String> {
    let store = MysqlStore::open(shape.options.clone(), shape.layout.clone()).await;
    let wallet = MysqlWallet::open_what_is_up(shape.homes.clone(), WALLET_DATABASES).await;
    let reason = |error: &dyn std::fmt::Display| error.to_string();
    Ok((Arc::new(store.map_err(|error| reason(&error))?), Arc::new(wallet.map_err(|error| reason(&error))?)))
}

impl ServerProcess {
    /// Starts a server that remembers nothing.
    pub async fn start(shape: SetShape) -> Result<ServerProcess, String> {
        let runtime = runtime();
        let started = runtime.spawn(async move {
            let (store, wallet) = connect(&shape).await?;
            let mut registry = Registry::default();
            let shared = SnapshotCache::start(
                Traffic::Live,
                &shape.redis_url,
                SnapshotKey::derive(SECRET),
                store.clone(),
                &mut registry,
            )?;
            let parts = ServerParts {
                store: store.clone() as Arc<dyn Store>,
                wallet,
                clock: Arc::new(SystemClock),
                permits: Arc::new(LocalPermits::new(8)),
                shared: Some(shared),
                tickets: TicketKey::new(SECRET),
                limits: limits(),
                zone_offset_s: 0,
                fence: store.fence().await.map_err(|error| error.to_string())?,
                payments: None,
                options: ServerOptions {
                    open_deadline_ms: shape.patience.as_millis() as i64,
                    answer_within_ms: shape.patience.as_millis() as u64 * 2,
                    ..ServerOptions::default()
                },
            };
            Ok::<_, String>(Server::start(parts, &mut registry))
        });
        match started.await {
            Ok(Ok((server, tasks))) => {
                Ok(ServerProcess { running: Mutex::new(Some((runtime, server))), _tasks: tasks })
            }
            Ok(Err(reason)) => {
                runtime.shutdown_background();
                Err(reason)
            }
            Err(error) => panic!("a server could not be started: {error}"),
        }
    }

    /// Lets the server do something; `None` if it died before it answered.
    pub async fn ask<T, F>(&self, ask: impl FnOnce(Arc<Server>) -> F) -> Option<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let answer = {
            let running = self.running.lock().expect("no holder of the lock panics");
            let (runtime, server) = running.as_ref()?;
            runtime.spawn(ask(server.clone()))
        };
        tokio::time::timeout(ANSWER_WITHIN, answer).await.ok()?.ok()
    }
}

impl ServerProcess {
    /// Ends it at once: nothing that it had begun is finished.
    pub fn kill(&self) {
        let running = self.running.lock().expect("no holder of the lock panics").take();
        if let Some((runtime, _)) = running {
            runtime.shutdown_background();
        }
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

impl WorkerProcess {
    /// Starts all jobs, without a lease: it lies in the SET's database, so that a
    /// stall would keep the jobs from running, and it is a courtesy and no fence.
    pub async fn start(shape: SetShape) -> Result<WorkerProcess, String> {
        let runtime = runtime();
        let started = runtime.spawn(async move {
            let (store, wallet) = connect(&shape).await?;
            let ports = Ports { store, wallet, clock: Arc::new(SystemClock) };
            let options = WorkerOptions { credit_idle_ms: 20, idle_ms: 50, ..WorkerOptions::default() };
            let mut registry = Registry::default();
            Ok::<_, String>(WorkerSet::spawn(
                ports,
                LeaseHolder::alone(),
                ZONE_OFFSET_S,
                &limits(),
                &options,
                OptionalJobs::default(),
                &mut registry,
            ))
        });
        match started.await {
            Ok(Ok(jobs)) => Ok(WorkerProcess { _jobs: jobs, runtime: Some(runtime) }),
            Ok(Err(reason)) => {
                runtime.shutdown_background();
                Err(reason)
            }
            Err(error) => panic!("workers could not be started: {error}"),
        }
    }
}

impl Drop for WorkerProcess {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
