//! Ids that were minted by another clock than the server's.

use std::sync::Arc;

use hongbao_core::id::Fold;
use hongbao_core::limits::ID_AHEAD_MS_MAX;
use hongbao_core::request::CreateEnvelope;
use hongbao_core::ticket::TicketKey;
use hongbao_core::time::ManualClock;
use hongbao_core::{EnvelopeId, Limits, Seed, Slot, Timestamp, UserId};
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server, ServerOptions, ServerParts};
use hongbao_http::{Code, Problem};
use hongbao_store::sqlite::SqliteStore;
use hongbao_store::sqlite::file::Mode;
use hongbao_wallet::sqlite::SqliteWallet;
use prometheus_client::registry::Registry;

const NOW: Timestamp = Timestamp::from_millis(1_800_000_000_000);

#[tokio::test]
async fn an_envelope_that_a_wrong_clock_has_dated_is_refused_with_the_offset() {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Fold::new(1, 1).unwrap(), 0, Mode::Volatile).await.unwrap();
    let parts = ServerParts {
        store: Arc::new(store),
        wallet: Arc::new(SqliteWallet::open(dir.path(), Mode::Volatile).await.unwrap()),
        clock: Arc::new(ManualClock::at(NOW)),
        permits: Arc::new(LocalPermits::new(64)),
        tickets: TicketKey::new(b"a secret that only this test knows"),
        shared: None,
        limits: Limits::default(),
        slots: Slot::all().collect(),
        zone_offset_s: 0,
        options: ServerOptions::default(),
    };
    let (server, _) = Server::start(parts, &mut Registry::default());
    let user = UserId::parse("li").unwrap();
    let caller = Caller { user: &user, groups: &[] };
    let create = async |ahead_ms| {
        let request: CreateEnvelope = serde_json::from_value(serde_json::json!({
            "total_fen": 100, "shares": 2, "kind": "lucky",
        }))
        .unwrap();
        let id = EnvelopeId::mint(NOW.plus_millis(ahead_ms), [7; 10]);
        (id, server.create(id, request, &caller, Seed::new([1; 32])).await)
    };
    create(0).await.1.unwrap();
    create(ID_AHEAD_MS_MAX).await.1.unwrap();
    for (ahead_ms, words) in [(3_600_000, "3600.0 s ahead"), (-400 * 86_400_000, "-34560000.0 s ahead")] {
        let (id, refused) = create(ahead_ms).await;
        let problem = Problem::from(refused.unwrap_err());
        assert_eq!(problem.code, Code::Unavailable);
        assert!(problem.detail.contains(words), "{}", problem.detail);
        assert!(matches!(server.grab(id, &caller).await, Err(Refusal::NotFound)), "to all others it is unknown");
    }
}
