//! Looking at an envelope page by page, on a real database: what a page costs,
//! and what it may not miss.

mod common;

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use hongbao_core::fence::Fence;
use hongbao_core::limits::{DETAIL_AGE_MS_MAX, PAGE_MAX};
use hongbao_core::ticket::TicketKey;
use hongbao_core::time::ManualClock;
use hongbao_core::wire::Detail;
use hongbao_core::{Clock as _, Entry, EntryKind, EnvelopeId, Fen, Limits, State, Timestamp, UserId};
use hongbao_database::mysql::connection::{Connections, MysqlOptions};
use hongbao_envelope::permits::LocalPermits;
use hongbao_envelope::refusal::Refusal;
use hongbao_envelope::server::{Caller, Server, ServerOptions, ServerParts};
use hongbao_store::{Append, Store, StoreError};
use hongbao_testbed::Part;
use hongbao_testkit::faults::{FaultInjectingStore, StoreFaults, StoreVerb};
use hongbao_wallet::sqlite::SqliteWallet;
use prometheus_client::registry::Registry;
use sqlx::{Executor as _, Row as _};
use tokio::task::JoinSet;

/// Enough that reading all for each page is found out; `HONGBAO_LONG_JOURNAL=1000000` is the longest of a rehearsal.
const OPENINGS: u32 = 40_000;
const START: Timestamp = Timestamp::from_millis(1_771_254_000_000);
const LIFETIME_MS: i64 = 3_600_000;

/// The rows that it reads are counted, so nobody else may use it meanwhile.
static MARIADB: OnceLock<Part> = OnceLock::new();
static ONE_AT_A_TIME: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Counts what the server reads.
#[derive(Default)]
struct Reads(AtomicU32);

impl StoreFaults for Reads {
    async fn before(&self, verb: StoreVerb<'_>) -> Result<(), StoreError> {
        if matches!(verb, StoreVerb::Load | StoreVerb::LoadFor | StoreVerb::Entries(_)) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

/// A server on a database, where somebody else writes, too.
struct Bench {
    _alone: tokio::sync::MutexGuard<'static, ()>,
    _dir: tempfile::TempDir,
    root: Arc<Connections>,
    store: Arc<dyn Store>,
    reads: Arc<Reads>,
    clock: Arc<ManualClock>,
    server: Arc<Server>,
}

impl Bench {
    async fn new(options: ServerOptions) -> Bench {
        let alone = ONE_AT_A_TIME.lock().await;
        let mariadb = MARIADB.get_or_init(|| Part::mariadb(&[]));
        let of = |user, password| common::options(mariadb, user, password, MysqlOptions::default());
        let store = common::open(of("hongbao", "hongbao"), START).await;
        let root = Connections::open(of("root", "")).await.unwrap();
        let (dir, clock) = (tempfile::tempdir().unwrap(), Arc::new(ManualClock::at(START)));
        let reads = Arc::new(Reads::default());
        let parts = ServerParts {
            store: Arc::new(FaultInjectingStore::new(store.clone(), reads.clone())),
            wallet: Arc::new(
                SqliteWallet::open(dir.path(), hongbao_database::sqlite::file::Mode::Volatile).await.unwrap(),
            ),
            clock: clock.clone(),
            permits: Arc::new(LocalPermits::new(4)),
            shared: None,
            tickets: TicketKey::new(b"the secret of the tickets"),
            limits: Limits::default(),
            zone_offset_s: 0,
            fence: Fence::open(),
            payments: None,
            options,
        };
        let server = Server::start(parts, &mut Registry::default()).0;
        Bench { _alone: alone, _dir: dir, root, store, reads, clock, server }
    }

    /// An envelope of one fen a share that so many have opened.
    async fn opened_by(&self, number: u8, openings: u32, shares: u32) -> EnvelopeId {
        let id = common::make_active(&self.store, START, number, shares).await;
        for first in (1..=openings).step_by(100_000) {
            let last = openings.min(first + 99_999);
            let (hex, table) = (hex(id), self.table_of(id));
            self.sql(&format!(
                "INSERT INTO {table} (envelope_id, seq, user_id, amount_fen, remaining_fen, at_ms) \
                 SELECT 0x{hex}, seq, concat('user-', seq), 1, {shares} - seq, {} FROM db_00.seq_{first}_to_{last}",
                START.millis()
            ))
            .await;
        }
        id
    }

    fn table_of(&self, id: EnvelopeId) -> String {
        format!("db_00.entry_0_{}", self.store.table_of(id).span)
    }

    async fn sql(&self, text: &str) {
        let mut lease = self.root.lease().await.unwrap();
        lease.connection().execute(sqlx::raw_sql(text)).await.unwrap();
        lease.done(Ok(())).unwrap();
    }

    /// Rows that the database has read since it was started.
    async fn rows_read(&self) -> u64 {
        let mut lease = self.root.lease().await.unwrap();
        let ask = sqlx::raw_sql("SHOW GLOBAL STATUS LIKE 'Rows_read'");
        let row = lease.connection().fetch_one(ask).await.unwrap();
        row.get::<String, _>(1).parse().unwrap()
    }

    /// What another process writes next, past the memory of the server.
    async fn written_elsewhere(&self, id: EnvelopeId, kind: EntryKind) {
        let fold = self.store.load(id).await.unwrap().unwrap().1;
        let left = if kind == EntryKind::Refund { 0 } else { fold.remaining.get() - 1 };
        let entry = Entry {
            envelope_id: id,
            seq: fold.last_seq + 1,
            amount: Fen::new(fold.remaining.get() - left).unwrap(),
            remaining: Fen::new(left).unwrap(),
            kind,
            at: self.clock.now(),
        };
        assert_eq!(self.store.append(&[entry]).await.unwrap(), Append::Done);
    }

    async fn page(&self, id: EnvelopeId, name: &str, after_seq: u32, limit: u32) -> Result<Detail, Refusal> {
        self.server.detail(id, &Caller { user: &user(name), groups: &[], class: None }, after_seq, limit).await
    }

    /// What so many see who look at the same time.
    async fn looked_at_by(&self, lookers: u32, id: EnvelopeId) -> Vec<Result<Detail, Refusal>> {
        let mut looks = JoinSet::new();
        for _ in 0..lookers {
            let server = self.server.clone();
            looks.spawn(async move {
                server.detail(id, &Caller { user: &user("li"), groups: &[], class: None }, 10, 10).await
            });
        }
        looks.join_all().await
    }

    fn reads(&self) -> u32 {
        self.reads.0.load(Ordering::SeqCst)
    }
}

fn hex(id: EnvelopeId) -> String {
    id.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
}

fn user(name: &str) -> UserId {
    UserId::parse(name).unwrap()
}

fn openings_wanted() -> u32 {
    match std::env::var("HONGBAO_LONG_JOURNAL") {
        Ok(count) => count.parse().expect("HONGBAO_LONG_JOURNAL is a number of openings"),
        Err(_) => OPENINGS,
    }
}

/// Also where each page is asked for long after the one before, while the
/// envelope can be opened and while its refund is awaited.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_turns_all_the_pages_reads_the_journal_once() {
    let bench = Bench::new(ServerOptions::default()).await;
    let openings = openings_wanted();
    let id = bench.opened_by(1, openings, openings + 1).await;
    for state in [State::Active, State::Expired] {
        let (rows_before, started) = (bench.rows_read().await, Instant::now());
        let (mut next, mut pages, mut seen) = (Some(0), 0, 0);
        while let Some(after_seq) = next {
            let page = bench.page(id, "sender", after_seq, PAGE_MAX).await.unwrap();
            assert!(page.opens.iter().zip(after_seq + 1..).all(|(open, seq)| open.seq == seq));
            assert_eq!((page.envelope.state, page.envelope.remaining_shares), (state, 1));
            (next, pages, seen) = (page.next_seq, pages + 1, seen + page.opens.len() as u32);
            let is_active = state == State::Active;
            bench.clock.advance_millis(if is_active { DETAIL_AGE_MS_MAX + 1 } else { 1 });
        }
        assert_eq!(seen, openings);
        let rows = bench.rows_read().await - rows_before;
        println!("{pages} pages of {openings} openings: {rows} rows read in {:?}", started.elapsed());
        assert!(rows < u64::from(openings) * 3 / 2, "{rows} rows were read for {openings} openings");
        bench.clock.advance_millis(LIFETIME_MS);
    }
}

/// With lanes and without.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_in_the_middle_tells_what_others_have_written_since_the_one_before() {
    for (number, lanes) in [(2, true), (3, false)] {
        let bench = Bench::new(ServerOptions { lanes, ..ServerOptions::default() }).await;
        let id = bench.opened_by(number, 30, 100).await;
        let first = bench.page(id, "wang", 0, 10).await.unwrap();
        assert_eq!((first.envelope.remaining_shares, first.next_seq, &first.mine), (70, Some(10), &None));

        bench.written_elsewhere(id, EntryKind::Open(user("wang"))).await;
        bench.clock.advance_millis(if lanes { DETAIL_AGE_MS_MAX + 1 } else { 1 });
        let middle = bench.page(id, "wang", 10, 10).await.unwrap();
        assert_eq!((middle.envelope.remaining_shares, middle.next_seq), (69, Some(20)));
        assert_eq!(middle.mine.map(|mine| mine.seq), Some(31));
        assert_eq!(middle.opens.iter().map(|open| open.seq).collect::<Vec<_>>(), (11..=20).collect::<Vec<_>>());

        bench.clock.advance_millis(LIFETIME_MS);
        let middle = bench.page(id, "wang", 10, 10).await.unwrap();
        assert_eq!((middle.envelope.state, middle.luckiest, middle.draw_seed), (State::Expired, None, None));
        bench.clock.advance_millis(1);
        bench.written_elsewhere(id, EntryKind::Refund).await;
        let middle = bench.page(id, "wang", 10, 10).await.unwrap();
        assert_eq!((middle.envelope.state, middle.envelope.remaining_fen), (State::Refunded, Fen::ZERO));
        assert_eq!(middle.luckiest.map(|luckiest| luckiest.seq), Some(1));
        assert!(middle.draw_seed.is_some() && middle.next_seq == Some(20));
        let last = bench.page(id, "wang", 30, 10).await.unwrap();
        assert_eq!((last.opens.len(), last.next_seq), (1, None), "the refund is no opening");
    }
}

/// It was restored to an earlier moment, and others went on from there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_page_tells_what_the_database_does_not_have() {
    let bench = Bench::new(ServerOptions::default()).await;
    let id = bench.opened_by(4, 30, 100).await;
    let (table, of_id) = (bench.table_of(id), format!("envelope_id = 0x{}", hex(id)));
    let last = async |after_seq| {
        bench.clock.advance_millis(DETAIL_AGE_MS_MAX + 1);
        let page = bench.page(id, "sender", after_seq, 10).await.unwrap();
        (page.opens.last().map(|open| (open.seq, open.user_id.to_string())), page.envelope.remaining_shares)
    };
    assert_eq!(last(20).await, (Some((30, "user-30".to_owned())), 70));
    // As many openings and as much money left as before: but another history.
    bench.sql(&format!("UPDATE {table} SET user_id = concat('b-', seq) WHERE {of_id} AND seq > 25")).await;
    assert_eq!(last(20).await, (Some((30, "b-30".to_owned())), 70));
    bench.sql(&format!("DELETE FROM {table} WHERE {of_id} AND seq > 28")).await;
    assert_eq!(last(20).await, (Some((28, "b-28".to_owned())), 72));
    bench.sql(&format!("DELETE FROM {table} WHERE {of_id}")).await;
    assert_eq!(last(0).await, (None, 100));
}

/// Also where the server may read a single envelope at a time, and of an
/// envelope that nobody has opened.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn those_who_look_at_the_same_time_share_one_read() {
    let bench = Bench::new(ServerOptions { loads_max: 1, ..ServerOptions::default() }).await;
    for (number, openings) in [(5, 30), (6, 0)] {
        let id = bench.opened_by(number, openings, 100).await;
        bench.page(id, "sender", 0, 10).await.unwrap();
        bench.clock.advance_millis(DETAIL_AGE_MS_MAX + 1);
        let reads_before = bench.reads();
        for seen in bench.looked_at_by(200, id).await {
            assert_eq!(seen.unwrap().opens.len(), openings.min(10) as usize);
        }
        assert_eq!(bench.reads() - reads_before, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_the_database_hangs_nobody_waits_for_all_who_looked_before() {
    let bench = Bench::new(ServerOptions::default()).await;
    let id = bench.opened_by(7, 30, 100).await;
    bench.page(id, "sender", 0, 10).await.unwrap();
    bench.clock.advance_millis(DETAIL_AGE_MS_MAX + 1);
    let mariadb = MARIADB.get().expect("the bench has started it");
    mariadb.pause();
    let started = Instant::now();
    let seen = bench.looked_at_by(50, id).await;
    let took = started.elapsed();
    mariadb.resume();
    assert!(seen.iter().all(Result::is_err), "nobody was told what may be old");
    // One waits for the time that a statement has, 5 s, and the others for that one.
    assert!(took < Duration::from_secs(15), "{took:?}");
}
