//! A SET that runs: its databases, two servers and its workers.

use std::sync::Arc;

use hongbao_core::fence::Fence;
use hongbao_core::ticket::TicketKey;
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::server::{Server, ServerOptions, ServerParts, ServerTasks};
use hongbao_store::Store;
use hongbao_testkit::faults::{FaultInjectingStore, FaultInjectingWallet};
use hongbao_wallet::Wallet;
use hongbao_workers::job::Ports;
use prometheus_client::registry::Registry;
use rand::Rng as _;
use rand::rngs::StdRng;

use super::clock::ShiftedClock;
use super::databases::SetDatabases;
use super::files::File;
use crate::crash::Fuse;
use crate::workers::{Workers, limits};

pub const SERVERS: usize = 2;

struct Running {
    file: Arc<File>,
    server: Arc<Server>,
    tasks: ServerTasks,
}

pub struct Set {
    number: usize,
    databases: Arc<SetDatabases>,
    wallet: Arc<dyn Wallet>,
    clock: ShiftedClock,
    fuse: Arc<Fuse>,
    /// One that is not there has not been started with a file that knows the SET.
    servers: [Option<Running>; SERVERS],
    workers: Option<Workers>,
}

impl Set {
    pub fn new(number: usize, databases: Arc<SetDatabases>, wallet: Arc<dyn Wallet>, clock: ShiftedClock) -> Set {
        let fuse = Arc::default();
        Set { number, databases, wallet, clock, fuse, servers: Default::default(), workers: None }
    }

    /// All of its processes die. What is left of them reaches no database any more.
    pub fn die(&mut self) {
        self.fuse.arm(1, false);
        self.fuse = Arc::default();
        (0..SERVERS).for_each(|number| self.stop_server(number));
        self.workers = None;
    }

    fn stop_server(&mut self, number: usize) {
        if let Some(Running { server, tasks, .. }) = self.servers[number].take() {
            drop(server);
            tokio::spawn(tasks.drained());
        }
    }

    pub fn has_died(&self) -> bool {
        self.fuse.is_blown()
    }

    pub fn maybe_arm_a_crash(&self, dice: &mut StdRng) {
        if dice.random_ratio(1, 10) {
            self.fuse.arm(dice.random_range(1..=8), dice.random());
        }
    }

    /// Starts one server anew; it does not come up where its file does not know the SET, or the SET is not made.
    pub async fn start_server(&mut self, number: usize, file: &Arc<File>) {
        self.stop_server(number);
        let Some((store, wallet)) = self.connect(file) else { return };
        let Ok(fence) = store.fence().await else { return };
        let parts = self.parts(store, wallet, fence, number == 0);
        let (server, tasks) = Server::start(parts, &mut Registry::default());
        self.servers[number] = Some(Running { file: file.clone(), server, tasks });
    }

    /// Most servers read their fence anew: they are started with the file that they have.
    pub async fn read_fences(&mut self, dice: &mut StdRng) {
        for number in 0..SERVERS {
            if let Some(file) = self.servers[number].as_ref().map(|running| running.file.clone())
                && dice.random_ratio(3, 4)
            {
                self.start_server(number, &file).await;
            }
        }
    }

    /// Starts the workers anew.
    pub fn start_workers(&mut self, file: &File) {
        let ports = |(store, wallet)| Ports { store, wallet, clock: Arc::new(self.clock.clone()) };
        self.workers = self.connect(file).map(|connected| Workers::start(ports(connected), None));
    }

    pub async fn start_all(&mut self, file: &Arc<File>) {
        for number in 0..SERVERS {
            self.start_server(number, file).await;
        }
        self.start_workers(file);
    }

    /// Any of its servers that runs.
    pub fn server(&self, dice: &mut StdRng) -> Option<Arc<Server>> {
        let first = dice.random_range(0..SERVERS);
        [first, 1 - first].into_iter().find_map(|number| Some(self.servers[number].as_ref()?.server.clone()))
    }

    pub fn workers(&mut self) -> Option<&mut Workers> {
        self.workers.as_mut()
    }

    fn connect(&self, file: &File) -> Option<(Arc<dyn Store>, Arc<dyn Wallet>)> {
        let held = file.held(self.number).filter(|_| !self.databases.read(&self.clock).is_empty())?;
        let store = FaultInjectingStore::new(self.databases.connect(held), self.fuse.clone());
        let wallet = FaultInjectingWallet::new(self.wallet.clone(), self.fuse.clone());
        Some((Arc::new(store), Arc::new(wallet)))
    }

    fn parts(&self, store: Arc<dyn Store>, wallet: Arc<dyn Wallet>, fence: Fence, lanes: bool) -> ServerParts {
        ServerParts {
            store,
            wallet,
            clock: Arc::new(self.clock.clone()),
            permits: Arc::new(LocalPermits::new(4)),
            shared: None,
            tickets: TicketKey::new(b"simulation"),
            limits: limits(),
            zone_offset_s: 0,
            fence,
            payments: None,
            options: ServerOptions { lanes, ..ServerOptions::default() },
        }
    }
}
