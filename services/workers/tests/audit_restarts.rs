//! The audit of databases that die while it reads: a guard starts them anew before
//! one call of the audit after the other, with what was durable then. On a real
//! MariaDB, see `mariadb.rs`.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

use common::{World, ZONE_S, open_store, run_until_idle};
use hongbao_core::audit::Breach;
use hongbao_core::{Transfer, TransferOutcome};
use hongbao_database::sqlite::copy::{Copy, copy};
use hongbao_database::sqlite::file::Mode;
use hongbao_store::sqlite::file_name;
use hongbao_store::{Store, StoreError};
use hongbao_testkit::faults::{FaultInjectingStore, Replaceable, StoreFaults, StoreVerb};
use hongbao_testkit::faults::{FaultInjectingWallet, WalletFaults, WalletVerb};
use hongbao_wallet::sqlite::{FILE, SqliteWallet};
use hongbao_wallet::{Wallet, WalletError};
use hongbao_workers::credit::Credit;
use hongbao_workers::{AuditError, AuditReport, SetStore, audit};
use tempfile::TempDir;

/// A database server that is started anew once.
struct Server<T: ?Sized> {
    /// What can be read.
    visible: Arc<Replaceable<T>>,
    /// What a crash leaves.
    durable: Arc<T>,
    /// Calls until it dies.
    calls_left: AtomicI32,
    starts: AtomicU64,
}

impl<T: ?Sized> Server<T> {
    /// One that dies before the call of this number, from 0 on.
    fn dying(visible: &Arc<T>, durable: &Arc<T>, before_call: i32) -> Arc<Server<T>> {
        Arc::new(Server {
            visible: Arc::new(Replaceable::new(visible.clone())),
            durable: durable.clone(),
            calls_left: AtomicI32::new(before_call),
            starts: AtomicU64::new(0),
        })
    }

    fn is_called(&self) {
        if self.calls_left.fetch_sub(1, Ordering::SeqCst) == 0 {
            self.visible.replace(self.durable.clone());
            self.starts.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn has_died(&self) -> bool {
        self.starts.load(Ordering::SeqCst) > 0
    }
}

impl StoreFaults for Server<dyn Store> {
    async fn before(&self, _: StoreVerb<'_>) -> Result<(), StoreError> {
        self.is_called();
        Ok(())
    }

    fn starts(&self) -> u64 {
        self.starts.load(Ordering::SeqCst)
    }
}

impl WalletFaults for Server<dyn Wallet> {
    async fn before(&self, _: WalletVerb) -> Result<(), WalletError> {
        self.is_called();
        Ok(())
    }

    fn starts(&self) -> u64 {
        self.starts.load(Ordering::SeqCst)
    }
}

/// A copy of a file of the world, as a crash leaves it.
async fn durable(world: &World, file: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    copy(&[Copy { from: world.dir.path().join(file), to: folder.path().join(file) }]).await.unwrap();
    folder
}

/// The verdict, and what was named as broken before it.
async fn audited(store: Arc<dyn Store>, wallet: &dyn Wallet) -> (Result<AuditReport, AuditError>, Vec<String>) {
    let mut named = Vec::new();
    let mut tell = |breach: &Breach| named.push(breach.to_string());
    let verdict = audit(&[SetStore::whole(store)], wallet, &mut tell).await;
    (verdict, named)
}

/// It was not said that anything is broken, nor that all is well, unless the server
/// died before anything was read.
fn assert_no_verdict(verdict: Result<AuditReport, AuditError>, named: &[String], before_call: i32, database: &str) {
    assert!(named.is_empty(), "started anew before call {before_call}: {named:#?}");
    match verdict {
        Ok(_) if before_call == 0 => {}
        Err(AuditError::Restarted(which)) => assert_eq!(which, database, "started anew before call {before_call}"),
        other => panic!("started anew before call {before_call}: {other:?}"),
    }
}

#[tokio::test]
async fn whenever_the_database_of_a_set_is_started_anew_the_audit_names_nothing_and_must_be_run_again() {
    let world = World::new().await;
    let running = world.active(1_000, 10).await;
    world.open_many(running, "a", 4).await;
    run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 100).await;
    let paid = world.created_at(world.now(), 1_000, 10).await;
    world.transfer(Transfer::send(&paid, world.now()), TransferOutcome::Done).await;
    let folder = durable(&world, &file_name(0)).await;
    let durable = open_store(folder.path(), 1).await;
    // What can be read, and is not durable.
    world.open_many(running, "lost", 3).await;
    world.store.activate(paid.id, world.now().plus_millis(common::LIFETIME_MS)).await.unwrap();
    world.open(paid.id, "lost").await;
    world.created_at(world.now(), 1_000, 10).await;

    for before_call in 0.. {
        let server = Server::dying(&world.store, &durable, before_call);
        let store = Arc::new(FaultInjectingStore::replaceable(server.visible.clone(), server.clone()));
        let (verdict, named) = audited(store.clone(), &*world.wallet).await;
        if !server.has_died() {
            assert!(before_call > 60, "each table is read");
            assert_eq!((verdict.unwrap().entries, named.len()), (8, 0));
            break;
        }
        assert_no_verdict(verdict, &named, before_call, "the database of SET whole");
        if before_call < 3 {
            let (verdict, named) = audited(store, &*world.wallet).await;
            assert_eq!((verdict.unwrap().entries, named.len()), (4, 0), "run again, it tells what is there");
        }
    }
}

#[tokio::test]
async fn whenever_the_database_of_the_wallet_is_started_anew_the_audit_names_nothing_and_must_be_run_again() {
    let world = World::new().await;
    let running = world.active(1_000, 10).await;
    world.open_many(running, "a", 4).await;
    run_until_idle(&mut Credit::new(world.ports(), ZONE_S, &world.limits()), 100).await;
    world.open(running, "lost").await;
    let unpaid = world.created_at(world.now(), 1_000, 10).await;
    let folder = durable(&world, FILE).await;
    let durable: Arc<dyn Wallet> = Arc::new(SqliteWallet::open(folder.path(), Mode::Volatile).await.unwrap());
    // What can be read, and is not durable.
    let entry = world.journal(running).await.pop().expect("it was opened");
    world.transfer(Transfer::credit(&entry, &common::user("sender")), TransferOutcome::Done).await;
    world.transfer(Transfer::send(&unpaid, world.now()), TransferOutcome::Done).await;

    for before_call in 0.. {
        let server = Server::dying(&world.wallet, &durable, before_call);
        let wallet = FaultInjectingWallet::replaceable(server.visible.clone(), server.clone());
        let (verdict, named) = audited(world.store.clone(), &wallet).await;
        if !server.has_died() {
            assert!(before_call > 6, "transfers, balances, accounts and books are read, between barriers");
            assert_eq!((verdict.unwrap().transfers, named.len()), (1 + 1 + 4 + 2, 0));
            break;
        }
        assert_no_verdict(verdict, &named, before_call, "a database of the wallet");
        let (verdict, named) = audited(world.store.clone(), &wallet).await;
        assert_eq!((verdict.unwrap().transfers, named.len()), (1 + 1 + 4, 0), "run again, it tells what is there");
    }
}
