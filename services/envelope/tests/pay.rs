//! What the sender is told when a payment got half way.

mod common;

use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_core::time::ManualClock;
use hongbao_core::{EnvelopeId, Fen, State, Timestamp, Transfer, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::server::{Caller, Server};
use hongbao_http::{Code, Problem};
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::{Store, StoreError};
use hongbao_testkit::faults::{FaultInjectingStore, StoreFaults, StoreVerb};
use hongbao_testkit::faults::{FaultInjectingWallet, WalletFaults, WalletVerb};
use hongbao_testkit::store_suite::created;
use hongbao_wallet::sqlite::SqliteWallet;
use hongbao_wallet::{Wallet, WalletError};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

/// How the next activation, or the next look into the wallet, fails.
#[derive(Default)]
struct Failing {
    activation: Mutex<Option<StoreError>>,
    look: Mutex<Option<WalletError>>,
}

impl StoreFaults for Failing {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        match verb {
            StoreVerb::Activate => self.activation.lock().take().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }
}

impl WalletFaults for Failing {
    async fn before(&self, verb: WalletVerb) -> Result<(), WalletError> {
        match verb {
            WalletVerb::Find => self.look.lock().take().map_or(Ok(()), Err),
            _ => Ok(()),
        }
    }
}

/// A server, and a sender who has the money for one envelope that is not paid.
struct Bench {
    _dir: tempfile::TempDir,
    server: Arc<Server>,
    wallet: Arc<dyn Wallet>,
    failing: Arc<Failing>,
    id: EnvelopeId,
    sender: UserId,
}

impl Bench {
    async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let failing = Arc::new(Failing::default());
        let inner = SqliteStore::open(dir.path(), Fold::new(1, 1).unwrap(), 0, Mode::Volatile).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(FaultInjectingStore::new(Arc::new(inner), failing.clone()));
        let inner = SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap();
        let wallet: Arc<dyn Wallet> = Arc::new(FaultInjectingWallet::new(Arc::new(inner), failing.clone()));
        let envelope = created(EnvelopeId::mint(NOW, [1; 10]));
        let top_up = serde_json::from_value(serde_json::json!("00000000-0000-4000-8000-000000000001")).unwrap();
        wallet.transfer(vec![Transfer::top_up(top_up, envelope.sender.clone(), envelope.total, NOW)]).await.unwrap();
        store.create(std::slice::from_ref(&envelope)).await.unwrap();
        let parts = common::parts(store, wallet.clone(), Arc::new(ManualClock::at(NOW)));
        let (server, _) = Server::start(parts, &mut Registry::default());
        Bench { _dir: dir, server, wallet, failing, id: envelope.id, sender: envelope.sender }
    }

    async fn pay(&self) -> Result<State, Code> {
        let caller = Caller { user: &self.sender, groups: &[], class: None };
        let paid = self.server.pay(self.id, &caller).await;
        paid.map(|view| view.state).map_err(|refusal| Problem::from(refusal).code)
    }

    async fn balance(&self) -> Fen {
        self.wallet.balance(&self.sender).await.unwrap()
    }
}

#[tokio::test]
async fn whose_money_has_moved_is_never_told_that_nothing_happened() {
    for error in [StoreError::Unavailable("it is away".to_owned()), StoreError::Locked("held".to_owned())] {
        let bench = Bench::new().await;
        *bench.failing.activation.lock() = Some(error);
        assert_eq!(bench.pay().await, Err(Code::OutcomeUnknown));
        assert_eq!(bench.balance().await, Fen::ZERO, "the debit was made");
        assert_eq!(bench.pay().await, Ok(State::Active));
        assert_eq!(bench.balance().await, Fen::ZERO, "once");
    }
}

#[tokio::test]
async fn a_repeated_payment_that_cannot_be_looked_up_is_of_unknown_outcome() {
    for error in [WalletError::Unavailable("it is away".to_owned()), WalletError::Busy] {
        let bench = Bench::new().await;
        *bench.failing.activation.lock() = Some(StoreError::Unavailable("it is away".to_owned()));
        assert_eq!(bench.pay().await, Err(Code::OutcomeUnknown));
        *bench.failing.look.lock() = Some(error);
        assert_eq!(bench.pay().await, Err(Code::OutcomeUnknown), "the money has moved before");
        assert_eq!(bench.pay().await, Ok(State::Active));
    }
}
