//! How many transactions of one envelope are in the database at once, measured
//! in the database itself: everybody opens one envelope through two servers, both or one of
//! them with its lanes switched off, and a look at MariaDB's list of processes counts.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::fence::Fence;
use hongbao_core::ticket::TicketKey;
use hongbao_core::wire::Outcome;
use hongbao_core::{Clock as _, EnvelopeId, Limits, SystemClock, UserId};
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_database::sqlite::file::Mode;
use hongbao_envelope::permits::memcached::{MemcachedOptions, PermitMetrics};
use hongbao_envelope::permits::{Counter, MemcachedPermits, Permits};
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Opening, Server, ServerOptions, ServerParts};
use hongbao_store::Store;
use hongbao_testbed::Part;
use hongbao_wallet::sqlite::SqliteWallet;
use prometheus_client::registry::Registry;
use sqlx::Row as _;

use common::make_active;

const OPENERS: u32 = 120;
/// What openings do in the database, by the comments in their statements.
const INSIDE: &str = "SELECT count(*) FROM information_schema.processlist WHERE user = 'hongbao' AND command <> 'Sleep' \
                      AND (info LIKE '%/* append */%' OR info LIKE '%/* load_for */%')";

fn options(mariadb: &Part, user: &str, password: &str) -> MysqlOptions {
    let statement_timeout = Duration::from_secs(20);
    let bounds = MysqlOptions { connections_max: 64, statement_timeout, ..MysqlOptions::default() };
    common::options(mariadb, user, password, bounds)
}

async fn server(
    mariadb: &Part,
    memcached: &Part,
    holder: u64,
    dir: &std::path::Path,
    cap: u32,
    lanes: bool,
) -> (Arc<Server>, Arc<dyn Store>, PermitMetrics) {
    let store = common::open(options(mariadb, "hongbao", "hongbao"), SystemClock.now()).await;
    let mut registry = Registry::default();
    let metrics = PermitMetrics::register(&mut registry);
    // Patient, because the machine may be busy: a late answer would break a connection, and
    // whoever then counts alone rightly lets in the cap once more.
    let answer_within = Duration::from_secs(10);
    let options = MemcachedOptions { answer_within, lanes, ..MemcachedOptions::new(memcached.node()) };
    let permits = MemcachedPermits::start(options, holder, cap, Arc::new(SystemClock), metrics.clone()).await;
    assert_eq!(permits.counter(), Counter::Memcached);
    let parts = ServerParts {
        store: store.clone(),
        wallet: Arc::new(SqliteWallet::open(dir, Mode::Volatile).await.unwrap()),
        clock: Arc::new(SystemClock),
        permits: Arc::new(permits),
        shared: None,
        tickets: TicketKey::new(b"a secret"),
        limits: Limits::default(),
        zone_offset_s: 0,
        fence: Fence::open(),
        payments: None,
        options: ServerOptions {
            lanes,
            permit_cap: cap,
            open_deadline_ms: 30_000,
            answer_within_ms: 40_000,
            ..ServerOptions::default()
        },
    };
    (Server::start(parts, &mut registry).0, store, metrics)
}

/// Opens until it is answered; a refusal is a reason to come again.
async fn open(server: Arc<Server>, id: EnvelopeId, number: u32) -> i64 {
    let user = UserId::parse(&format!("user-{number}")).unwrap();
    let ticket = TicketKey::new(b"a secret").issue(id, &user, SystemClock.now().plus_millis(60_000));
    loop {
        match server.open(id, &Caller { user: &user, groups: &[], class: None }, &ticket, None).await {
            Ok(Opening { outcome: Outcome::Opened { amount_fen, .. }, .. }) => return amount_fen.get(),
            Ok(other) => panic!("{other:?}"),
            Err(Refusal::Busy) => tokio::time::sleep(Duration::from_millis(5)).await,
            Err(refusal) => panic!("{refusal:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_lanes_no_more_than_the_cap_of_an_envelope_are_in_the_database() {
    no_more_than(3, false).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_lane_beside_them_it_is_no_more_than_the_cap_either() {
    no_more_than(8, true).await;
}

/// The second server has lanes or none; the first has none.
async fn no_more_than(cap: u32, second_has_lanes: bool) {
    let (mariadb, memcached) = (Part::mariadb(&[]), Part::memcached());
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    // Two processes of one host, as far as memcached can tell.
    let (first, store, first_counts) = server(&mariadb, &memcached, 1, dirs[0].path(), cap, false).await;
    let (second, _, second_counts) = server(&mariadb, &memcached, 2, dirs[1].path(), cap, second_has_lanes).await;
    let id = make_active(&store, SystemClock.now(), 5, OPENERS).await;

    // Nothing of the journal gets through while it is locked, so that whoever is let in stays in.
    let root = Connections::open(options(&mariadb, "root", "")).await.unwrap();
    let mut gate = root.lease().await.unwrap();
    let day = store.table_of(id).span;
    sqlx::raw_sql(&format!("LOCK TABLES db_00.entry_0_{day} WRITE")).execute(gate.connection()).await.unwrap();

    let opens: Vec<_> = (0..OPENERS)
        .map(|number| tokio::spawn(open(if number % 2 == 0 { first.clone() } else { second.clone() }, id, number)))
        .collect();
    let mut watcher = root.lease().await.unwrap();
    let mut most = 0;
    let mut gate = Some(gate);
    let started = Instant::now();
    while !opens.iter().all(|open| open.is_finished()) {
        let row = sqlx::query(INSIDE).fetch_one(watcher.connection()).await.unwrap();
        let inside: i64 = row.get(0);
        let alone = first_counts.fallbacks.get() + second_counts.fallbacks.get();
        assert_eq!(alone, 0, "memcached was not asked, so the cap of the host could not hold");
        assert!(inside <= i64::from(cap), "{inside} are in the database");
        most = most.max(inside);
        if started.elapsed() > Duration::from_secs(1) {
            // Its connection closes, and the lock goes with it.
            gate = None;
        }
        assert!(started.elapsed() < Duration::from_secs(60), "the openers never end");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert!(gate.is_none() && most == i64::from(cap), "the cap was never reached: {most}");
    let mut sum = 0;
    for open in opens {
        sum += open.await.unwrap();
    }
    assert_eq!(sum, i64::from(OPENERS), "everybody has opened one share of one fen");
}
