//! Ids that were minted by another clock than the server's, and ids that exist.

mod common;

use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_core::limits::{ID_AHEAD_DAYS_MAX, ID_AHEAD_MS_MAX, ID_AHEAD_RETRY_S_MAX};
use hongbao_core::request::CreateEnvelope;
use hongbao_core::time::ManualClock;
use hongbao_core::wire::{EnvelopeView, GrabAnswer};
use hongbao_core::{EnvelopeId, Fen, Seed, Timestamp, Transfer, UserId};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server};
use hongbao_http::{Code, Problem};
use hongbao_store::sqlite::SqliteStore;
use hongbao_wallet::Wallet;
use hongbao_wallet::sqlite::SqliteWallet;
use prometheus_client::registry::Registry;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
const DAY_MS: i64 = 86_400_000;

/// A server on a clock that is moved by hand.
struct Bench {
    _dir: tempfile::TempDir,
    clock: Arc<ManualClock>,
    server: Arc<Server>,
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

impl Bench {
    async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(dir.path(), Fold::new(1, 1).unwrap(), 0, Mode::Volatile).await.unwrap();
        let wallet = SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap();
        let id = serde_json::from_value(serde_json::json!("00000000-0000-4000-8000-000000000001")).unwrap();
        let money = Transfer::top_up(id, user("li"), Fen::new(1_000).unwrap(), NOW);
        wallet.transfer(vec![money]).await.unwrap();
        let clock = Arc::new(ManualClock::at(NOW));
        let parts = common::parts(Arc::new(store), Arc::new(wallet), clock.clone());
        let (server, _) = Server::start(parts, &mut Registry::default());
        Bench { _dir: dir, clock, server }
    }

    async fn create(&self, id: EnvelopeId, name: &str, total_fen: i64, seed: u8) -> Result<EnvelopeView, Refusal> {
        let request: CreateEnvelope = serde_json::from_value(serde_json::json!({
            "total_fen": total_fen, "shares": 2, "kind": "lucky",
        }))
        .unwrap();
        let user = user(name);
        self.server
            .create(id, request, None, &Caller { user: &user, groups: &[], class: None }, Seed::new([seed; 32]))
            .await
    }
}

fn id_at(at: Timestamp) -> EnvelopeId {
    EnvelopeId::mint(at, [7; 10])
}

fn told<T: std::fmt::Debug>(answer: Result<T, Refusal>) -> Problem {
    Problem::from(answer.unwrap_err())
}

#[tokio::test]
async fn an_envelope_that_a_wrong_clock_has_dated_is_refused_with_the_offset() {
    let bench = Bench::new().await;
    let li = user("li");
    let caller = Caller { user: &li, groups: &[], class: None };
    for ahead_ms in [0, ID_AHEAD_MS_MAX] {
        bench.create(id_at(NOW.plus_millis(ahead_ms)), "li", 100, 1).await.unwrap();
    }
    for (ahead_ms, reason) in [(3_600_000, "3600.0 s ahead"), (-400 * DAY_MS, "-34560000.0 s ahead")] {
        let problem = told(bench.create(id_at(NOW.plus_millis(ahead_ms)), "li", 100, 1).await);
        assert_eq!(problem.code, Code::Unavailable);
        assert!(problem.detail.contains(reason), "{}", problem.detail);
    }
    // Too old for any table, or made up: to all others it is unknown for good.
    for ahead_ms in [-400 * DAY_MS, (ID_AHEAD_DAYS_MAX + 1) * DAY_MS] {
        let refused = bench.server.grab(id_at(NOW.plus_millis(ahead_ms)), &caller).await;
        assert!(matches!(refused, Err(Refusal::NotFound)), "{ahead_ms}: {refused:?}");
    }
}

#[tokio::test]
async fn what_is_not_known_yet_because_the_clock_was_stepped_back_is_to_be_asked_again() {
    let bench = Bench::new().await;
    let (clock, server) = (&bench.clock, &bench.server);
    let li = user("li");
    let caller = Caller { user: &li, groups: &[], class: None };
    let id = id_at(NOW);
    bench.create(id, "li", 100, 1).await.unwrap();
    server.pay(id, &caller).await.unwrap();
    let GrabAnswer::Ready(ready) = server.grab(id, &caller).await.unwrap() else { panic!("it is active") };

    clock.advance_millis(-66_000);
    for problem in [
        told(server.grab(id, &caller).await),
        told(server.open(id, &caller, &ready.ticket, None).await),
        told(server.detail(id, &caller, 0, 1).await),
        told(server.pay(id, &caller).await),
    ] {
        assert!(problem.code.is_retryable(), "{problem:?}");
        assert_eq!((problem.code, problem.retry_after_s), (Code::Unavailable, Some(7)), "{}", problem.detail);
    }
    clock.advance_millis(7_000);
    assert!(matches!(server.grab(id, &caller).await.unwrap(), GrabAnswer::Ready(_)));
    // However far it was stepped back, nobody waits for longer than makes sense.
    clock.advance_millis(-20 * DAY_MS);
    assert_eq!(told(server.grab(id, &caller).await).retry_after_s, Some(ID_AHEAD_RETRY_S_MAX));
}

#[tokio::test]
async fn a_repeated_create_under_one_id_answers_the_same_and_another_one_is_refused_for_good() {
    let bench = Bench::new().await;
    let id = id_at(NOW);
    let first = bench.create(id, "li", 100, 1).await.unwrap();
    // The answer was lost. The second request has drawn another seed and comes later.
    bench.clock.advance_millis(5_000);
    let again = bench.create(id, "li", 100, 2).await.unwrap();
    assert_eq!(again.draw_commitment, first.draw_commitment);
    assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&first).unwrap());
    // By then it may be paid: it is the same envelope, and not made anew.
    let li = user("li");
    let paid = bench.server.pay(id, &Caller { user: &li, groups: &[], class: None }).await.unwrap();
    let again = bench.create(id, "li", 100, 3).await.unwrap();
    assert_eq!(serde_json::to_value(&again).unwrap(), serde_json::to_value(&paid).unwrap());

    for (name, total_fen) in [("wang", 100), ("li", 101)] {
        let problem = told(bench.create(id, name, total_fen, 1).await);
        assert_eq!(problem.code, Code::IdConflict, "{name} {total_fen}");
        assert!(!problem.code.is_retryable());
    }
}
