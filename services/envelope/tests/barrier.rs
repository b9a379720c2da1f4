//! What is told of an envelope that somebody is making, on a MariaDB whose log
//! stalls and that is killed: its row can be read before it survives.

mod common;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use hongbao_core::request::CreateEnvelope;
use hongbao_core::time::ManualClock;
use hongbao_core::wire::{Detail, EnvelopeView};
use hongbao_core::{EnvelopeId, Seed, Timestamp, UserId};
use hongbao_database::Reading;
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server};
use hongbao_store::Store;
use hongbao_testbed::Part;
use hongbao_wallet::sqlite::SqliteWallet;
use prometheus_client::registry::Registry;
use serde_json::json;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);
/// For a statement: far beyond what a stall takes here.
const PATIENT: Duration = Duration::from_secs(30);
/// Long beyond the time that a commit takes on a busy machine.
const WHILE: Duration = Duration::from_millis(700);

/// What becomes of the database whose log stalls.
#[derive(Clone, Copy)]
enum Fate {
    Lives,
    IsKilled,
}

fn id() -> EnvelopeId {
    EnvelopeId::mint(NOW, [1; 10])
}

async fn create(server: Arc<Server>) -> Result<EnvelopeView, Refusal> {
    let body = json!({ "kind": "lucky", "total_fen": 500, "shares": 5 });
    let request: CreateEnvelope = serde_json::from_value(body).unwrap();
    let sender = UserId::parse("sender").unwrap();
    server.create(id(), request, None, &Caller { user: &sender, groups: &[], class: None }, Seed::new([7; 32])).await
}

async fn detail(server: Arc<Server>) -> Result<Detail, Refusal> {
    let sender = UserId::parse("sender").unwrap();
    server.detail(id(), &Caller { user: &sender, groups: &[], class: None }, 0, 10).await
}

/// A process with a server, and its store.
async fn process(part: &Part, wallet: &Arc<SqliteWallet>) -> (Arc<Server>, Arc<dyn Store>) {
    let bounds = MysqlOptions { statement_timeout: PATIENT, ..MysqlOptions::default() };
    let store = common::open(common::options(part, "hongbao", "hongbao", bounds), NOW).await;
    let parts = common::parts(store.clone(), wallet.clone(), Arc::new(ManualClock::at(NOW)));
    // So that the barrier's connection is there.
    while Reading::begin(&*store).end(()).await.unwrap().is_none() {}
    (Server::start(parts, &mut Registry::default()).0, store)
}

/// What a server answers that is asked while another one's envelope waits for the log.
async fn told_meanwhile<T, F>(fate: Fate, ask: impl FnOnce(Arc<Server>) -> F) -> Result<T, Refusal>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Refusal>> + Send + 'static,
{
    let mut part = Part::mariadb_with_a_log_that_stalls("ib_logfile0", &[]);
    let dir = tempfile::tempdir().unwrap();
    let wallet = Arc::new(SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap());
    let (maker, _) = process(&part, &wallet).await;
    let (asked, store) = process(&part, &wallet).await;

    let stall = part.stall_log();
    let made = tokio::spawn(create(maker));
    while store.load(id()).await.unwrap().is_none() {}
    let answer = tokio::spawn(ask(asked));
    tokio::time::sleep(WHILE).await;
    assert!(!answer.is_finished(), "it could be read, and a crash would have taken it back");
    match fate {
        Fate::Lives => {
            drop(stall);
            made.await.unwrap().unwrap();
        }
        Fate::IsKilled => {
            part.kill();
            drop(stall);
            part.restart();
            assert!(made.await.unwrap().is_err(), "nobody was told that it is durable");
        }
    }
    answer.await.unwrap()
}

#[tokio::test]
async fn a_repeated_create_is_answered_when_the_envelope_is_durable() {
    assert_eq!(told_meanwhile(Fate::Lives, create).await.unwrap().id, id());
}

#[tokio::test]
async fn a_repeated_create_of_what_a_crash_takes_back_is_not_answered_as_made() {
    let told = told_meanwhile(Fate::IsKilled, create).await;
    assert!(matches!(told, Err(Refusal::Unavailable(_) | Refusal::Unknown(_))), "{told:?}");
}

#[tokio::test]
async fn the_sender_is_shown_an_unpaid_envelope_when_it_is_durable() {
    assert_eq!(told_meanwhile(Fate::Lives, detail).await.unwrap().envelope.id, id());
}

#[tokio::test]
async fn an_unpaid_envelope_that_a_crash_takes_back_is_not_shown() {
    let told = told_meanwhile(Fate::IsKilled, detail).await;
    assert!(matches!(told, Err(Refusal::NotFound | Refusal::Unavailable(_) | Refusal::Unknown(_))), "{told:?}");
}
