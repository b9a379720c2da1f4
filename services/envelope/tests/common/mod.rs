//! A server's parts, a store on a MariaDB of the test's own, and envelopes in it.

// Each test file uses its part of this.
#![allow(dead_code)]

use std::sync::Arc;

use hongbao_core::fence::Fence;
use hongbao_core::id::Fold;
use hongbao_core::ticket::TicketKey;
use hongbao_core::{Clock, Date, Envelope, EnvelopeId, Fen, Kind, Limits, Slot, Timestamp, Traffic};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::server::{ServerOptions, ServerParts};
use hongbao_store::Store;
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_testbed::Part;
use hongbao_testkit::store_suite::created;
use hongbao_wallet::Wallet;

const LIFETIME_MS: i64 = 3_600_000;

/// A server of all slots over these, with the usual limits.
pub fn parts(store: Arc<dyn Store>, wallet: Arc<dyn Wallet>, clock: Arc<dyn Clock>) -> ServerParts {
    ServerParts {
        store,
        wallet,
        clock,
        permits: Arc::new(LocalPermits::new(64)),
        tickets: TicketKey::new(b"a secret that only this test knows"),
        shared: None,
        limits: Limits::default(),
        zone_offset_s: 0,
        fence: Fence::open(),
        payments: None,
        options: ServerOptions::default(),
    }
}

/// How to reach it as somebody, with these bounds.
pub fn options(mariadb: &Part, user: &str, password: &str, bounds: MysqlOptions) -> MysqlOptions {
    let (user, password) = (user.to_owned(), password.to_owned());
    MysqlOptions { nodes: vec![mariadb.node().parse().unwrap()], user, password, ..bounds }
}

/// One database with one table a day, made as of `now` if it is not there.
pub async fn open(options: MysqlOptions, now: Timestamp) -> Arc<dyn Store> {
    let fold = Fold::new(1, 1).unwrap();
    let layout = Layout::always(Slot::all(), fold, 0, Traffic::Live);
    migrate(options.clone(), &layout, Date::of(now, 0)).await.unwrap();
    Arc::new(MysqlStore::open(options, layout).await.unwrap())
}

/// Stores a paid envelope of one fen a share.
pub async fn make_active(store: &Arc<dyn Store>, now: Timestamp, number: u8, shares: u32) -> EnvelopeId {
    let id = EnvelopeId::mint(now, [number; 10]);
    let total = Fen::new(i64::from(shares)).unwrap();
    let envelope =
        Envelope { kind: Kind::Equal, total, shares, created_at: now, lifetime_ms: LIFETIME_MS, ..created(id) };
    store.create(&[envelope]).await.unwrap();
    store.activate(id, now.plus_millis(LIFETIME_MS)).await.unwrap();
    id
}
