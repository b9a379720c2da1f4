//! The sandbox as it is asked: with what goes wrong about it.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use hongbao_core::date::Date;
use hongbao_core::limits::SANDBOX_ORDERS_MAX;
use hongbao_core::{Clock, Timestamp};
use parking_lot::Mutex;
use rand::rngs::SmallRng;
use rand::{Rng as _, SeedableRng as _};

use super::books::{BOOKS_FILE, Books};
use super::faults::Fault;
use super::notify::Notifier;
use super::options::SandboxOptions;
use super::print::print;
use super::verbs::{Ask, Reply, Verbs};
use crate::signature::SigningKey;
use crate::wire::Standing;

/// How often it is looked whether something happens by itself.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The sandbox; a copy is the same one.
#[derive(Clone)]
pub struct Sandbox {
    inner: Arc<Inner>,
}
struct Inner {
    verbs: Arc<Verbs>,
    chance: Mutex<SmallRng>,
    /// Numbers whose amount has asked for a fault of a request.
    met: Mutex<HashSet<String>>,
    down_until: AtomicI64,
}

impl Sandbox {
    /// Opens the books in this folder, which is made if it is missing.
    ///
    /// # Errors
    /// What is wrong with the books or the options.
    pub fn open(folder: &Path, options: SandboxOptions, clock: Arc<dyn Clock>) -> Result<Sandbox, String> {
        std::fs::create_dir_all(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let books = Books::open(&folder.join(BOOKS_FILE))?;
        let key = SigningKey::new(&options.key_id, &options.secret);
        let notifier = Notifier::new(&options, key.clone(), clock.clone())?;
        // Started again it does not repeat what went wrong before.
        let seed = options.seed.wrapping_add(books.lines());
        let verbs = Arc::new(Verbs { books: Mutex::new(books), options, key, clock, notifier });
        let chance = Mutex::new(SmallRng::seed_from_u64(seed));
        let (met, down_until) = (Mutex::default(), AtomicI64::new(i64::MIN));
        Ok(Sandbox { inner: Arc::new(Inner { verbs, chance, met, down_until }) })
    }

    /// Lets happen what happens by itself, and sends notifications; for ever.
    pub async fn run(&self) {
        let happening = async {
            loop {
                tokio::time::sleep(LOOK_EVERY).await;
                let verbs = self.verbs();
                if !verbs.books.lock().due(verbs.clock.now()).is_empty()
                    && let Err(error) = self.blocking(Verbs::happen).await
                {
                    tracing::warn!(%error, "what happens in the sandbox could not be written");
                }
            }
        };
        tokio::join!(happening, self.verbs().notifier.run());
    }

    /// Answers a request about an order, with what goes wrong about it. A request that the network keeps is taken
    /// up to `fresh_until`.
    pub async fn ask(&self, ask: Ask, fault: Option<Fault>, fresh_until: Timestamp) -> Reply {
        let (inner, verbs) = (&self.inner, self.verbs());
        if inner.is_down() {
            return Reply::Down;
        }
        let fault = fault.or_else(|| inner.fault_of(&ask));
        let pace = verbs.options.pace;
        match fault {
            Some(Fault::Down) => {
                let until = verbs.clock.now().plus_millis(pace.down_ms());
                inner.down_until.store(until.millis(), Ordering::Relaxed);
                return Reply::Down;
            }
            Some(Fault::RateLimited) => return Reply::RateLimited(1),
            Some(Fault::Error500) => return Reply::Error500,
            Some(Fault::TimeoutNotDone) => return Reply::Silent,
            Some(Fault::Delayed) => {
                let later = self.clone();
                tokio::spawn(async move {
                    sleep(pace.silent_ms()).await;
                    if later.verbs().clock.now() <= fresh_until {
                        later.blocking(move |verbs| verbs.answer(ask, None)).await;
                    }
                });
                return Reply::Silent;
            }
            Some(Fault::Slow) => sleep(pace.slow_ms()).await,
            _ => {}
        }
        let reply = self.blocking(move |verbs| verbs.answer(ask, fault)).await;
        if let (Some(Fault::Early), Reply::Standing(standing)) = (fault, &reply) {
            verbs.notifier.send_now(standing).await;
        }
        match (fault, reply) {
            (Some(Fault::TimeoutDone), _) => Reply::Silent,
            (Some(Fault::Cut), Reply::Standing(standing)) => Reply::Cut(standing),
            (_, reply) => reply,
        }
    }

    /// What it works with.
    pub fn verbs(&self) -> &Verbs {
        &self.inner.verbs
    }

    /// How an order stands.
    pub async fn look(&self, number: String) -> Option<Standing> {
        self.blocking(move |verbs| verbs.look(&number)).await
    }

    /// What a person decides on the page of a charge; the first decision counts.
    pub async fn decide(&self, number: String, pays: bool) {
        self.blocking(move |verbs| verbs.decide(number, pays)).await;
    }

    /// The bill of a day.
    pub async fn print_bill(&self, date: Date) -> String {
        self.blocking(move |verbs| print(&verbs.books.lock(), date, verbs.options.zone_offset_s)).await
    }

    /// Writing waits for a disk.
    async fn blocking<T: Send + 'static>(&self, work: impl FnOnce(&Verbs) -> T + Send + 'static) -> T {
        let verbs = self.inner.verbs.clone();
        match tokio::task::spawn_blocking(move || work(&verbs)).await {
            Ok(done) => done,
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        }
    }
}
async fn sleep(millis: i64) {
    tokio::time::sleep(Duration::from_millis(millis.unsigned_abs())).await;
}
impl Inner {
    fn is_down(&self) -> bool {
        self.verbs.clock.now().millis() < self.down_until.load(Ordering::Relaxed)
    }

    /// What goes wrong by amount or by chance.
    fn fault_of(&self, ask: &Ask) -> Option<Fault> {
        if let Ask::Send(_, order) = ask
            && let Some(fault) = Fault::of_amount(order.amount_fen)
        {
            // A request that failed is sent again, and shall come through then.
            let mut met = self.met.lock();
            let is_first = met.len() < SANDBOX_ORDERS_MAX && met.insert(order.number.clone());
            return Some(fault).filter(|fault| is_first || !fault.is_of_request());
        }
        let drawn = self.chance.lock().random_range(0..1_000);
        let is_send = matches!(ask, Ask::Send(..));
        self.verbs.options.chances.draw(drawn).filter(|fault| is_send || fault.is_of_request())
    }
}
