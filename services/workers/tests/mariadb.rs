//! Workers on a real MariaDB: who runs a job, who follows whom, and that nothing
//! is doubled without any lease.

mod common;

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use common::columns::{self, Damage, Database, MYSQL_SYSTEM, Side};
use common::damage::with_names;
use common::service::Made;
use common::{DAY_MS, World, ZONE_S, before, long, open_store, run_until_idle, sealed};
use hongbao_core::audit::Breach;
use hongbao_core::id::Fold;
use hongbao_core::{Clock as _, Date, Limits, Slot, SystemClock, Transfer, TransferId, TransferOutcome};
use hongbao_database::mysql::connection::MysqlOptions;
use hongbao_store::lease::Leases as _;
use hongbao_store::mysql::{Layout, MysqlStore, migrate};
use hongbao_store::{Append, Journals as _, Rotation as _, Store, StoreError};
use hongbao_testbed::{LogStall, Part};
use hongbao_wallet::Wallet as _;
use hongbao_wallet::mysql::{DatabaseServer, MysqlWallet};
use hongbao_workers::credit::Credit;
use hongbao_workers::purge::Purge;
use hongbao_workers::{
    AuditError, AuditReport, Job as _, LeaseHolder, Ports, SetStore, WorkerOptions, WorkerSet, audit,
};
use prometheus_client::registry::Registry;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection, MySqlSslMode};
use sqlx::{ConnectOptions as _, Executor as _, Row as _};
use tokio::sync::{OnceCell, oneshot};
use tokio::task::JoinHandle;

/// Databases over all slots.
const FOLD: u8 = 10;
const LEASE: Duration = Duration::from_millis(400);

fn mariadb() -> &'static Part {
    static MARIADB: OnceLock<Part> = OnceLock::new();
    MARIADB.get_or_init(|| Part::mariadb(&[]))
}

fn options(part: &Part) -> MysqlOptions {
    MysqlOptions {
        nodes: vec![part.node().parse().unwrap()],
        user: "hongbao".to_owned(),
        password: "hongbao".to_owned(),
        ..MysqlOptions::default()
    }
}

/// Each test has a SET of its own in the one MariaDB: the databases of one slot.
async fn set(slot: u8) -> Arc<MysqlStore> {
    static MIGRATED: OnceCell<()> = OnceCell::const_new();
    let every = layout(Slot::all().take(FOLD.into()));
    MIGRATED.get_or_init(|| migrated(mariadb(), &every)).await;
    open(mariadb(), layout(Slot::new(slot))).await
}

async fn set_on(part: &Part, slot: u8) -> Arc<MysqlStore> {
    let layout = layout(Slot::new(slot));
    migrated(part, &layout).await;
    open(part, layout).await
}

fn layout(slots: impl IntoIterator<Item = Slot>) -> Layout {
    Layout::always(slots, Fold::new(FOLD, 1).unwrap(), ZONE_S, hongbao_core::Traffic::Live)
}

async fn migrated(part: &Part, layout: &Layout) {
    // A world begins on 16 February; the processes rotate to the wall clock.
    migrate(options(part), layout, Date::parse("20260217").unwrap()).await.unwrap();
}

async fn open(part: &Part, layout: Layout) -> Arc<MysqlStore> {
    Arc::new(MysqlStore::open(options(part), layout).await.unwrap())
}

/// A process's wallet, in one database.
async fn wallet_on(part: &Part) -> Arc<MysqlWallet> {
    let homes = vec![DatabaseServer {
        options: options(part),
        slots: Slot::all().collect(),
        traffic: hongbao_core::Traffic::Live,
    }];
    hongbao_wallet::mysql::migrate(&homes, 1).await.unwrap();
    Arc::new(MysqlWallet::open(homes, 1).await.unwrap())
}

/// A connection of our own.
async fn raw() -> MySqlConnection {
    raw_on(mariadb()).await
}

/// The same to this one.
async fn raw_on(part: &Part) -> MySqlConnection {
    let address = part.address();
    let options = MySqlConnectOptions::new().host("127.0.0.1").port(address.port());
    options.username("hongbao").password("hongbao").ssl_mode(MySqlSslMode::Disabled).connect().await.unwrap()
}

async fn world(slot: u8, store: Arc<MysqlStore>) -> World {
    let mut world = World::on(store, tempfile::tempdir().unwrap()).await;
    world.slots = vec![Slot::new(slot).unwrap()];
    world
}

async fn pause(millis: u64) {
    tokio::time::sleep(Duration::from_millis(millis)).await;
}

#[tokio::test]
async fn a_lease_has_one_holder_until_it_ends_or_is_given_back() {
    let (one, two) = (set(0).await.leases(), set(0).await.leases());
    assert!(one.hold("credit", "one", LEASE).await.unwrap());
    assert!(!two.hold("credit", "two", LEASE).await.unwrap());
    assert!(two.hold("refund", "two", LEASE).await.unwrap(), "each job has a lease of its own");

    two.give_back("credit", "two").await.unwrap();
    assert!(!two.hold("credit", "two", LEASE).await.unwrap(), "nobody gives back another's lease");
    one.give_back("credit", "one").await.unwrap();
    assert!(two.hold("credit", "two", LEASE).await.unwrap());
    assert!(!one.hold("credit", "one", LEASE).await.unwrap());

    pause(500).await;
    assert!(one.hold("credit", "one", LEASE).await.unwrap(), "it ended, and nobody renewed it");
    for _ in 0..4 {
        pause(200).await;
        assert!(one.hold("credit", "one", LEASE).await.unwrap(), "renewed, it goes on");
        assert!(!two.hold("credit", "two", LEASE).await.unwrap());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_who_ask_at_once_one_gets_the_lease() {
    let leases = Arc::new(set(1).await.leases());
    for job in ["a", "b", "c", "d", "e"] {
        let mut asking = Vec::new();
        for number in 0..8 {
            let leases = leases.clone();
            asking.push(tokio::spawn(async move {
                leases.hold(job, &format!("holder-{number}"), Duration::from_secs(60)).await.unwrap()
            }));
        }
        let mut holders = 0;
        for asking in asking {
            holders += u32::from(asking.await.unwrap());
        }
        assert_eq!(holders, 1);
    }
}

/// A process with workers. Dropped, it dies without a word.
struct Process {
    runtime: Option<tokio::runtime::Runtime>,
    set: Option<WorkerSet>,
    registry: Registry,
}

impl Process {
    async fn start(world: &World, store: Arc<MysqlStore>, holder: Option<&str>) -> Process {
        let often = WorkerOptions { credit_idle_ms: 10, idle_ms: 10, ..WorkerOptions::default() };
        Process::start_with(&often, world, store, holder).await
    }

    async fn start_with(
        options: &WorkerOptions,
        world: &World,
        store: Arc<MysqlStore>,
        holder: Option<&str>,
    ) -> Process {
        let tenant = match holder {
            Some(holder) => LeaseHolder { leases: Arc::new(store.leases()), holder: holder.to_owned() },
            None => LeaseHolder::alone(),
        };
        store.rotate(Date::of(SystemClock.now(), ZONE_S).plus_days(1)).await.unwrap();
        let ports = Ports { store, wallet: world.wallet.clone(), clock: Arc::new(SystemClock) };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let mut registry = Registry::default();
        let set = {
            let _inside = runtime.enter();
            WorkerSet::spawn(ports, tenant, ZONE_S, &Limits::default(), options, &mut registry)
        };
        Process { runtime: Some(runtime), set: Some(set), registry }
    }

    fn metric(&self, name: &str) -> u64 {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        let line = text.lines().find(|line| line.starts_with(name));
        line.map_or(0, |line| line.rsplit(' ').next().unwrap().parse().unwrap())
    }

    fn leases(&self) -> u64 {
        ["activate", "credit", "refund"]
            .map(|job| self.metric(&format!("hongbao_worker_lease_held{{job=\"{job}\"}}")))
            .into_iter()
            .sum()
    }

    async fn shutdown(mut self) {
        assert!(self.set.take().unwrap().shutdown().await);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
        // Its tasks are gone, so it can tell nobody.
        self.set.take();
    }
}

async fn wait_for(mut holds: impl FnMut() -> bool) -> Duration {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "it never came");
        pause(5).await;
    }
    began.elapsed()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_worker_runs_and_the_other_follows_when_it_dies_or_goes() {
    let world = world(2, set(2).await).await;
    let mut made = Made::default();
    let one = Process::start(&world, set(2).await, Some("one")).await;
    wait_for(|| one.leases() == 3).await;
    let two = Process::start(&world, set(2).await, Some("two")).await;
    made.round(&world, 0).await;
    made.assert_done_once(&world).await;
    pause(700).await;
    assert_eq!((one.leases(), two.leases()), (3, 0));
    let runs_of_two = || two.metric("hongbao_worker_runs_total{job=\"credit\"}");
    assert_eq!(runs_of_two(), 0, "it stands by");

    drop(one);
    made.round(&world, 1).await;
    let without_a_worker = wait_for(|| two.leases() == 3).await;
    assert!(without_a_worker < Duration::from_secs(4), "{without_a_worker:?}");
    made.assert_done_once(&world).await;
    assert!(runs_of_two() > 0, "it does the work now");

    let three = Process::start(&world, set(2).await, Some("three")).await;
    pause(600).await;
    assert_eq!(three.leases(), 0);
    two.shutdown().await;
    let handed_over = wait_for(|| three.leases() == 3).await;
    assert!(handed_over < Duration::from_millis(1_800), "it need not wait for the leases to end: {handed_over:?}");
    made.round(&world, 2).await;
    made.assert_done_once(&world).await;
    three.shutdown().await;
}

/// Neither the waits after failures nor having stood aside add to the time that a
/// database is gone: openings and credits go on as soon as its port answers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn openings_and_credits_go_on_at_once_when_a_killed_database_is_back() {
    let mut own = Part::mariadb(&[]);
    let store = set_on(&own, 9).await;
    let world = world(9, store.clone()).await;
    let options = WorkerOptions::default();
    let worker = Process::start_with(&options, &world, set_on(&own, 9).await, Some("one")).await;
    wait_for(|| worker.leases() == 3).await;
    let now = hongbao_core::Clock::now(&SystemClock);
    let mut fastest = Duration::MAX;
    // After the longer one the jobs have been left to others.
    for gone_for in [Duration::from_secs(3), Duration::from_secs(7)] {
        let (id, name) = (world.active_at(now, 1_000, 1).await, format!("after_{}", gone_for.as_secs()));
        let entry = world.next_entry(id, &name, now).await.unwrap();
        own.kill();
        tokio::time::sleep(gone_for).await;
        own.restart();
        let back = Instant::now();
        while !matches!(store.append(std::slice::from_ref(&entry)).await, Ok(Append::Done)) {
            assert!(back.elapsed() < Duration::from_secs(20), "nothing can be opened");
            pause(10).await;
        }
        let opened = back.elapsed();
        while world.balance(&name).await < 1_000 {
            assert!(back.elapsed() < Duration::from_secs(20), "nothing is credited");
            pause(10).await;
        }
        println!("gone for {gone_for:?}: opened after {opened:?}, credited after {:?}", back.elapsed());
        fastest = fastest.min(back.elapsed());
    }
    // The machine may be busy with something else once.
    assert!(fastest < Duration::from_millis(1_500), "{fastest:?}");
    worker.shutdown().await;
    world.assert_sound().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn i6_two_workers_without_a_lease_double_nothing() {
    let world = world(3, set(3).await).await;
    let one = Process::start(&world, set(3).await, None).await;
    let two = Process::start(&world, set(3).await, None).await;
    let mut made = Made::default();
    for round in 0..15 {
        made.round(&world, round).await;
    }
    made.assert_done_once(&world).await;
    one.shutdown().await;
    two.shutdown().await;
    world.assert_sound().await;
}

/// Two servers write one table, and the one that was handed the lower positions commits last.
#[tokio::test]
async fn an_entry_that_is_committed_late_is_credited_soon() {
    let store = set(4).await;
    let world = world(4, store.clone()).await;
    let mut credit = Credit::new(world.ports(), ZONE_S, &world.limits());
    run_until_idle(&mut credit, 100).await;

    let (late, other) = (world.active(1_000, 1).await, world.active(1_000, 10).await);
    let entry = world.next_entry(late, "late", world.now()).await.unwrap();
    let table = world.table(late);
    let name = format!("db_{:02}.entry_{}_{}", table.database, table.table, table.span);
    let mut server = raw().await;
    server.execute("START TRANSACTION").await.unwrap();
    let sql = format!(
        "INSERT INTO {name} (envelope_id, seq, user_id, amount_fen, remaining_fen, at_ms) VALUES (?, 1, 'late', ?, 0, ?)"
    );
    let insert = sqlx::query(&sql).bind(late.as_bytes().as_slice()).bind(entry.amount.get()).bind(entry.at.millis());
    insert.execute(&mut server).await.unwrap();
    world.open(other, "early").await;
    run_until_idle(&mut credit, 100).await;
    assert!(world.balance("early").await > 0);
    server.execute("COMMIT").await.unwrap();
    run_until_idle(&mut credit, 100).await;
    assert_eq!(world.balance("late").await, 0, "the tail has passed it");

    world.clock.advance_millis(1_000);
    credit.run_once(100).await.unwrap();
    assert_eq!(world.balance("late").await, 1_000);
    world.assert_sound().await;
}

/// Batches of two servers commit in any order, and no last opening may wait for the slow sweep.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_two_servers_write_into_one_table_is_credited_soon() {
    let world = Arc::new(world(5, set(5).await).await);
    let worker = Process::start(&world, set(5).await, Some("one")).await;
    wait_for(|| worker.leases() == 3).await;
    let now = hongbao_core::Clock::now(&SystemClock);
    let mut ids = Vec::new();
    for _ in 0..300 {
        ids.push(world.active_at(now, 1_000, 1).await);
    }
    let mut servers = Vec::new();
    for part in ids.chunks(150) {
        let (world, part, store) = (world.clone(), part.to_vec(), set(5).await);
        servers.push(tokio::spawn(async move {
            for batch in part.chunks(3) {
                let mut entries = Vec::new();
                for id in batch {
                    entries.push(world.next_entry(*id, "opener", now).await.unwrap());
                }
                assert_eq!(store.append(&entries).await.unwrap(), Append::Done);
            }
        }));
    }
    for server in servers {
        server.await.unwrap();
    }
    let began = Instant::now();
    while world.balance("opener").await < 300_000 {
        assert!(began.elapsed() < Duration::from_secs(8), "{} of 300000", world.balance("opener").await);
        pause(20).await;
    }
    worker.shutdown().await;
    world.assert_sound().await;
}

#[tokio::test]
async fn the_audit_names_damage_on_the_third_page_of_a_journal() {
    let world = world(6, set(6).await).await;
    let damage = async |id, sql: &str| {
        let sql = with_names(&world, id, sql, "db_06.");
        assert_eq!(raw().await.execute(sqlx::raw_sql(&sql)).await.unwrap().rows_affected(), 1, "{sql}");
    };
    long::damage_on_the_third_page_is_named(&world, damage).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_audit_raises_no_false_alarm_while_a_long_journal_grows() {
    long::no_false_alarm_while_it_grows(Arc::new(world(7, set(7).await).await)).await;
}

#[tokio::test]
async fn the_audit_names_rows_before_the_first_entry() {
    let world = world(8, set(8).await).await;
    let damage = async |id, sql: &str| {
        let sql = format!("SET check_constraint_checks = 0; {}", with_names(&world, id, sql, "db_08."));
        assert_eq!(raw().await.execute(sqlx::raw_sql(&sql)).await.unwrap().rows_affected(), 1, "{sql}");
    };
    before::rows_before_the_first_entry_are_named(&world, damage).await;
}

/// The verdict of an audit, and what it has named as broken before.
type Audited = (Result<AuditReport, AuditError>, Vec<String>);

/// An audit that has read an opening which waits for the log of its database, and
/// was stopped there.
struct Unfinished {
    part: Part,
    stall: LogStall,
    world: World,
    audit: JoinHandle<Audited>,
    go_on: oneshot::Sender<()>,
}

impl Unfinished {
    async fn new() -> Unfinished {
        let part = Part::mariadb_with_a_log_that_stalls("ib_logfile0", &[]);
        let store = set_on(&part, 9).await;
        let world = world(9, store.clone()).await;
        world.active(1_000, 10).await;
        let second_day = world.now().plus_millis(DAY_MS);
        let opened = world.active_at(second_day, 1_000, 10).await;
        let entry = world.next_entry(opened, "opener", second_day).await.unwrap();
        let writer = set_on(&part, 9).await;

        let (reads, started) = oneshot::channel();
        let (stalls, stalled) = oneshot::channel();
        let (has_read, read) = oneshot::channel();
        let (go_on, goes_on) = oneshot::channel();
        let after_reads: [Pin<Box<dyn Future<Output = ()> + Send>>; 4] = [
            // The envelopes of the first day.
            Box::pin(async move {
                reads.send(()).unwrap();
                stalled.await.unwrap();
            }),
            // Their transfers; the envelopes of the second day.
            Box::pin(async {}),
            Box::pin(async {}),
            // The entries of the second day.
            Box::pin(async move {
                has_read.send(()).unwrap();
                goes_on.await.unwrap();
            }),
        ];
        world.faults.meanwhile.lock().unwrap().extend(after_reads);
        let ports = world.ports();
        let audit = tokio::spawn(async move {
            let mut named = Vec::new();
            let mut tell = |breach: &Breach| named.push(breach.to_string());
            let verdict = audit(&[SetStore::whole(ports.store)], &*ports.wallet, &mut tell).await;
            (verdict, named)
        });
        started.await.unwrap();
        let stall = part.stall_log();
        // Nobody waits for its answer.
        tokio::spawn(async move { writer.append(&[entry]).await });
        while store.entries(opened, 0, 1).await.unwrap().is_empty() {}
        stalls.send(()).unwrap();
        read.await.unwrap();
        Unfinished { part, stall, world, audit, go_on }
    }
}

#[tokio::test]
async fn an_audit_ends_when_all_that_it_has_read_is_durable() {
    let Unfinished { part: _part, stall, world: _world, audit, go_on } = Unfinished::new().await;
    go_on.send(()).unwrap();
    // Long beyond the time that the rest of the audit takes.
    pause(1_000).await;
    assert!(!audit.is_finished(), "it speaks of an opening which a crash takes back");
    drop(stall);
    let (verdict, named) = audit.await.unwrap();
    assert!(named.is_empty(), "{named:#?}");
    assert_eq!(verdict.unwrap().entries, 1);
}

/// Which of the two it is depends on whether it reads more over a connection that is gone.
fn must_be_run_again(verdict: &Result<AuditReport, AuditError>) -> bool {
    match verdict {
        Err(AuditError::Restarted(which)) => which.contains("SET whole"),
        Err(AuditError::Store(set, StoreError::Unavailable(_))) => set == "whole",
        _ => false,
    }
}

#[tokio::test]
async fn an_audit_whose_database_is_killed_and_started_anew_names_nothing_and_must_be_run_again() {
    let Unfinished { mut part, stall, world, audit: unfinished, go_on } = Unfinished::new().await;
    part.kill();
    drop(stall);
    part.restart();
    go_on.send(()).unwrap();
    let (verdict, named) = unfinished.await.unwrap();
    assert!(named.is_empty(), "{named:#?}");
    assert!(must_be_run_again(&verdict), "{verdict:?}");
    let ports = world.ports();
    let mut name = |breach: &Breach| panic!("{breach}");
    let report = loop {
        // Each connection finds out for itself that its server is another one.
        let verdict = audit(&[SetStore::whole(ports.store.clone())], &*ports.wallet, &mut name).await;
        if !must_be_run_again(&verdict) {
            break verdict.unwrap();
        }
    };
    assert_eq!(report.entries, 0, "run again, it tells what is there");
}

/// Without its cancel it can be paid again, and then it has to be there.
#[tokio::test]
async fn an_envelope_is_purged_only_when_its_cancel_is_durable_in_the_wallet() {
    let mut part = Part::mariadb_with_a_log_that_stalls("ib_logfile0", &[]);
    let (wallet, writer) = (wallet_on(&part).await, wallet_on(&part).await);
    let dir = tempfile::tempdir().unwrap();
    let world = World::with(open_store(dir.path(), 1).await, wallet, dir).await;
    let envelope = world.created_at(world.now(), 1_000, 10).await;
    world.store.cancel(envelope.id).await.unwrap();
    let (cancel, send) = (Transfer::cancel(&envelope, world.now()), Transfer::send(&envelope, world.now()));
    world.clock.advance_millis(1_001);
    let mut purge = Purge::new(world.ports(), ZONE_S, &world.limits(), 1);

    let stall = part.stall_log();
    let commit = tokio::spawn(async move { writer.transfer(vec![cancel]).await });
    while world.wallet.find(&[TransferId::Envelope(envelope.id, 0)]).await.unwrap().is_empty() {}
    let run = tokio::spawn(async move {
        // It is over, or has failed: either way the envelope is what counts.
        let _ = purge.run_once(100).await;
        purge
    });
    // Long beyond the time that a run takes.
    pause(1_000).await;
    let there = async || world.store.load(envelope.id).await.unwrap().is_some();
    assert!(there().await && !run.is_finished(), "the cancel could be read, and a crash would have taken it back");
    part.kill();
    drop(stall);
    part.restart();
    assert!(commit.await.unwrap().is_err(), "nobody was told that it is durable");
    let mut purge = run.await.unwrap();
    let paid = loop {
        // Each connection finds out for itself that its server is another one.
        if let Ok(outcomes) = world.wallet.transfer(vec![send.clone()]).await {
            break outcomes[0];
        }
    };
    assert!(matches!(paid, TransferOutcome::Done | TransferOutcome::AlreadyDone), "{paid:?}");
    run_until_idle(&mut purge, 100).await;
    assert!(there().await, "it was paid");
}

/// The databases of one slot, and a wallet in one database.
struct Databases<'a> {
    part: &'a Part,
    store: &'static str,
}

impl Databases<'_> {
    /// Takes down what keeps transfers append-only.
    async fn unguard(&self) {
        let unguarded = ["update", "delete"].map(|what| format!("DROP TRIGGER wallet_00.transfer_refuses_{what}"));
        self.execute(Side::Wallet, &unguarded.join("; ")).await;
    }
}

impl Database for Databases<'_> {
    fn prefix(&self, side: Side) -> &'static str {
        if side == Side::Store { self.store } else { "wallet_00." }
    }

    async fn execute(&self, _: Side, sql: &str) -> u64 {
        let mut connection = raw_on(self.part).await;
        connection.execute("SET check_constraint_checks = 0").await.unwrap();
        let mut rows = 0;
        for statement in sql.split("; ") {
            let done = connection.execute(sqlx::raw_sql(statement)).await;
            rows = done.unwrap_or_else(|error| panic!("{statement}: {error}")).rows_affected();
        }
        rows
    }

    async fn columns(&self, _: Side, table: &str) -> Vec<String> {
        let (database, table) = table.split_once('.').unwrap();
        let sql = format!(
            "SELECT CAST(column_name AS CHAR) FROM information_schema.columns \
             WHERE table_schema = '{database}' AND table_name = '{table}'"
        );
        let mut connection = raw_on(self.part).await;
        connection.fetch_all(sqlx::raw_sql(&sql)).await.unwrap().iter().map(|row| row.get(0)).collect()
    }

    fn system(&self) -> (&'static str, &'static [Damage]) {
        ("ledger", MYSQL_SYSTEM)
    }
}

#[tokio::test]
async fn each_damaged_column_is_named_or_it_is_told_why_not() {
    let (store, wallet) = (set(9).await, wallet_on(mariadb()).await);
    let mut world = World::with(store, wallet, tempfile::tempdir().unwrap()).await;
    world.slots = vec![Slot::new(9).unwrap()];
    let databases = Databases { part: mariadb(), store: "db_09." };
    databases.unguard().await;
    columns::each_damaged_column_is_named_or_it_is_told_why_not(&world, &databases).await;
}

#[tokio::test]
async fn each_damage_of_sealed_tables_is_named() {
    let part = Part::mariadb(&[]);
    let (store, wallet) = (set_on(&part, 8).await, wallet_on(&part).await);
    let mut world = World::with(store, wallet, tempfile::tempdir().unwrap()).await;
    world.slots = vec![Slot::new(8).unwrap()];
    let databases = Databases { part: &part, store: "db_08." };
    databases.unguard().await;
    let open = async || set_on(&part, 8).await as Arc<dyn Store>;
    sealed::each_damage_of_sealed_tables_is_named(&world, &databases, open).await;
}

#[tokio::test]
async fn an_audit_reads_none_of_many_sealed_rows() {
    let part = Part::mariadb(&[]);
    let mut world = World::with(set_on(&part, 8).await, wallet_on(&part).await, tempfile::tempdir().unwrap()).await;
    world.slots = vec![Slot::new(8).unwrap()];
    sealed::many_sealed_rows_are_not_read(&world).await;
}
