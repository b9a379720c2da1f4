//! What a frozen user is answered, with lanes and without.

mod common;

use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_core::time::ManualClock;
use hongbao_core::wire::{GrabAnswer, Outcome};
use hongbao_core::{EnvelopeId, Timestamp, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::server::{Caller, Server, ServerOptions, ServerParts};
use hongbao_http::{Code, Problem};
use hongbao_store::Store;
use hongbao_store::sqlite::SqliteStore;
use hongbao_wallet::FreezeChange;
use hongbao_wallet::sqlite::SqliteWallet;
use prometheus_client::registry::Registry;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

struct Bench {
    _dir: tempfile::TempDir,
    server: Arc<Server>,
    ids: [EnvelopeId; 2],
    li: UserId,
}

impl Bench {
    async fn new(lanes: bool) -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), Fold::new(1, 1).unwrap(), 0, Mode::Volatile).await.unwrap();
        let store: Arc<dyn Store> = Arc::new(store);
        let ids = [common::make_active(&store, NOW, 1, 5).await, common::make_active(&store, NOW, 2, 5).await];
        let wallet = Arc::new(SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap());
        let parts = common::parts(store, wallet, Arc::new(ManualClock::at(NOW)));
        let options = ServerOptions { lanes, ..ServerOptions::default() };
        let (server, _) = Server::start(ServerParts { options, ..parts }, &mut Registry::default());
        Bench { _dir: dir, server, ids, li: UserId::parse("li").unwrap() }
    }

    fn li(&self) -> Caller<'_> {
        Caller { user: &self.li, groups: &[], class: None }
    }

    async fn ticket(&self, id: EnvelopeId) -> String {
        match self.server.grab(id, &self.li()).await.unwrap() {
            GrabAnswer::Ready(ready) => ready.ticket,
            other => panic!("{other:?}"),
        }
    }

    async fn open(&self, id: EnvelopeId, ticket: &str) -> Result<Outcome, Code> {
        let opened = self.server.open(id, &self.li(), ticket, None).await;
        opened.map(|opening| opening.outcome).map_err(|refusal| Problem::from(refusal).code)
    }

    async fn freeze(&self, is_frozen: bool) {
        let operator = UserId::parse("op").unwrap();
        let change = FreezeChange { user: self.li.clone(), is_frozen, reason: "why".to_owned(), operator, at: NOW };
        assert!(self.server.set_frozen(change).await.unwrap());
    }
}

#[tokio::test]
async fn a_frozen_user_opens_nothing_keeps_its_answers_and_opens_again_when_it_is_free() {
    for lanes in [true, false] {
        let bench = Bench::new(lanes).await;
        let [opened, other] = bench.ids;
        let tickets = [bench.ticket(opened).await, bench.ticket(other).await];
        let first = bench.open(opened, &tickets[0]).await.unwrap();
        bench.freeze(true).await;
        assert_eq!(bench.open(other, &tickets[1]).await, Err(Code::Frozen), "a ticket of before is of no use");
        let grabbed = bench.server.grab(other, &bench.li()).await.map_err(|refusal| Problem::from(refusal).code);
        assert_eq!(grabbed, Err(Code::Frozen));
        let again = bench.open(opened, &tickets[0]).await.unwrap();
        match (first, again) {
            (Outcome::Opened { amount_fen, .. }, Outcome::Opened { amount_fen: same, replayed: true, .. }) => {
                assert_eq!(amount_fen, same);
            }
            other => panic!("{other:?}"),
        }
        bench.freeze(false).await;
        assert!(matches!(bench.open(other, &tickets[1]).await, Ok(Outcome::Opened { replayed: false, .. })));
    }
}
