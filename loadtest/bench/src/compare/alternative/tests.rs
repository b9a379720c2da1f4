use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, OnceLock};

use hongbao_load::{Client, Generator, RequestSource};

use super::*;
use crate::compare::audit::{Audit, Entry, Free, Stored};
use crate::compare::cell::CellPlan;
use crate::compare::history::History;
use crate::compare::run::Ready;
use crate::compare::testbed::Testbed;
use crate::prepare::{Opening, SHARE_FEN_MEAN, user_id};

const OPENERS: usize = 32;
const ALTERNATIVES: [Scheme; 7] = [
    Scheme::RowLock,
    Scheme::NoWait,
    Scheme::Optimistic,
    Scheme::Presplit,
    Scheme::MemoryFirst,
    Scheme::RedisAlways,
    Scheme::Serial,
];

/// One MariaDB and one Redis for all tests, one after the other.
fn testbed() -> MutexGuard<'static, Testbed> {
    static TESTBED: OnceLock<Mutex<Testbed>> = OnceLock::new();
    let start = || Mutex::new(Testbed::start(&ALTERNATIVES, None, std::path::Path::new("")).unwrap());
    // A test that failed leaves nothing behind that the next would see: tables are made anew.
    TESTBED.get_or_init(start).lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// An alternative in this process. Its connections are closed when the value goes, and
/// with them the locks that would keep the next one's tables from being made.
struct Running {
    addr: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.stop.take());
        self.thread.take().expect("it is joined once").join().unwrap();
    }
}

/// Seeds what the plan needs, and starts an alternative on it.
fn start(testbed: &Testbed, scheme: Scheme, plan: CellPlan) -> (Ready, Running) {
    (Ready::seed(testbed, scheme, plan).unwrap(), start_another(testbed, scheme))
}

/// Starts an alternative on what is there.
fn start_another(testbed: &Testbed, scheme: Scheme) -> Running {
    let listen = ([127, 0, 0, 1], 0).into();
    let args = AlternativeArgs {
        scheme,
        listen,
        database: testbed.database.node.clone(),
        redis: testbed.redis(scheme),
        connections: 16,
    };
    let (send_address, address) = std::sync::mpsc::sync_channel(1);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let router = router(&args).await.unwrap();
            let listener = tokio::net::TcpListener::bind(args.listen).await.unwrap();
            send_address.send(listener.local_addr().unwrap()).unwrap();
            let stopped = async { drop(stopped.await) };
            serve(listener, router, ServeOptions::default(), stopped).await;
        });
    });
    let addr = address.recv().unwrap();
    Running { addr, stop: Some(stop), thread: Some(thread) }
}

/// Sends every request once; gives what was opened, and how often each other answer came.
fn open_all(ready: &Ready, addr: SocketAddr) -> (History, std::collections::BTreeMap<String, u64>) {
    let mut history = History::new(ready.plan.openings.len());
    let mut generator = Generator::connect(addr, OPENERS).unwrap();
    let stats =
        generator.drive(&mut RequestSource::once(&ready.requests), None, |index, answer| history.take(index, answer));
    (history, stats.unwrap().errors)
}

/// `users` users, each of whom opens each of the envelopes.
fn plan(envelopes: u32, shares: u32, users: u32) -> CellPlan {
    let openings = (0..users).flat_map(|user| (0..envelopes).map(move |envelope| Opening { user, envelope }));
    CellPlan { envelopes, shares, openings: openings.collect() }
}

fn audit(testbed: &Testbed, ready: &Ready, history: &History) -> Audit {
    testbed.wait_until_persisted(ready.scheme, std::time::Duration::from_secs(20)).unwrap();
    ready.audit(testbed, history).unwrap()
}

#[test]
fn thirty_two_openers_at_once_get_no_more_than_there_is_and_all_of_it_is_stored() {
    let testbed = testbed();
    for scheme in ALTERNATIVES {
        // Twice as many users as shares.
        let (ready, alternative) = start(&testbed, scheme, plan(3, 100, 200));
        let (history, errors) = open_all(&ready, alternative.addr);
        let audit = audit(&testbed, &ready, &history);
        assert!(audit.holds(), "{scheme:?}: {audit:?}");
        assert_eq!(audit.acknowledged, history.opened());
        let known = ["503 busy", "200 empty"];
        assert!(errors.keys().all(|label| known.contains(&label.as_str())), "{scheme:?}: {errors:?}");
        if !matches!(scheme, Scheme::NoWait | Scheme::Optimistic) {
            assert_eq!((history.opened(), errors["200 empty"]), (300, 300), "{scheme:?}: {errors:?}");
            assert!(!errors.contains_key("503 busy"), "{scheme:?}: {errors:?}");
        }
        assert!(history.opened() > 0, "{scheme:?}: {errors:?}");
    }
}

#[test]
fn a_user_who_asks_thirty_two_times_at_once_gets_one_share_and_hears_of_it_every_time() {
    let testbed = testbed();
    for scheme in ALTERNATIVES {
        let openings = vec![Opening { user: 7, envelope: 0 }; 320];
        let (ready, alternative) = start(&testbed, scheme, CellPlan { envelopes: 1, shares: 40, openings });
        let (history, errors) = open_all(&ready, alternative.addr);
        assert_eq!(history.opened(), 1, "{scheme:?}: {errors:?}");
        let known = ["200 opened replayed", "503 busy"];
        assert!(errors.keys().all(|label| known.contains(&label.as_str())), "{scheme:?}: {errors:?}");
        assert!(errors["200 opened replayed"] > 0, "{scheme:?}: {errors:?}");
        testbed.wait_until_persisted(scheme, std::time::Duration::from_secs(20)).unwrap();
        let entries = ready.stored(&testbed).unwrap().entries;
        assert_eq!((entries.len(), entries[0].user.as_str()), (1, user_id(7).as_str()), "{scheme:?}");
        // Each holds a row, and the first that writes may hold any of them.
        assert!(entries[0].seq == 1 || scheme == Scheme::Presplit, "{scheme:?}: {entries:?}");
    }
}

/// What is left of each envelope of one of the schemes that split ahead, all of whose shares were asked for.
fn all_is_taken(testbed: &Testbed, ready: &Ready, shares: usize) {
    let Stored { entries, free } = ready.stored(testbed).unwrap();
    assert!(free.is_some_and(|free| free.iter().all(|free| *free == Free::default())), "{:?}", ready.scheme);
    assert_eq!(entries.len(), shares, "{:?}", ready.scheme);
    for of in [|entry: &Entry| entry.seq.to_string(), |entry: &Entry| entry.user.clone()] {
        let different: HashSet<(u32, String)> = entries.iter().map(|entry| (entry.envelope, of(entry))).collect();
        assert_eq!(different.len(), shares, "{:?}", ready.scheme);
    }
    let paid: i64 = entries.iter().map(|entry| entry.amount_fen).sum();
    assert_eq!(paid, shares as i64 * SHARE_FEN_MEAN, "{:?}", ready.scheme);
}

#[test]
fn shares_that_repeats_let_go_are_given_to_others_until_all_are_taken() {
    let testbed = testbed();
    for scheme in [Scheme::Presplit, Scheme::RedisAlways] {
        // Each of as many users as there are shares asks eight times at once.
        let openings = (0..80).flat_map(|user| [Opening { user, envelope: 0 }; 8]).collect();
        let (ready, alternative) = start(&testbed, scheme, CellPlan { envelopes: 1, shares: 80, openings });
        let (history, errors) = open_all(&ready, alternative.addr);
        assert_eq!((history.opened(), errors.get("200 opened replayed")), (80, Some(&560)), "{scheme:?}: {errors:?}");
        all_is_taken(&testbed, &ready, 80);
    }
}

#[test]
fn two_servers_of_the_same_envelopes_give_each_user_one_share_and_none_twice() {
    let testbed = testbed();
    for scheme in [Scheme::Presplit, Scheme::RedisAlways] {
        let (ready, alternative) = start(&testbed, scheme, plan(3, 100, 150));
        let another = start_another(&testbed, scheme);
        // Every user asks both.
        let opened = std::thread::scope(|scope| {
            let threads = [&alternative, &another].map(|server| scope.spawn(|| open_all(&ready, server.addr)));
            threads.map(|thread| thread.join().unwrap())
        });
        let known = ["200 opened replayed", "200 empty"];
        let errors = || opened.iter().flat_map(|(_, errors)| errors);
        assert!(
            errors().all(|(label, _)| known.contains(&label.as_str())),
            "{scheme:?}: {:?}",
            errors().collect::<Vec<_>>()
        );
        assert_eq!(opened.iter().map(|(history, _)| history.opened()).sum::<u64>(), 300, "{scheme:?}");
        all_is_taken(&testbed, &ready, 300);
    }
}

#[test]
fn a_record_in_redis_comes_back_whole_from_its_file() {
    let mut testbed = testbed();
    let (ready, alternative) = start(&testbed, Scheme::RedisAlways, plan(3, 100, 150));
    let (history, _) = open_all(&ready, alternative.addr);
    testbed.kill_redis_of(Scheme::RedisAlways);
    testbed.restart_redis(Scheme::RedisAlways).unwrap();
    let audit = audit(&testbed, &ready, &history);
    assert!(audit.holds() && audit.acknowledged == 300, "{audit:?}");
    assert!(testbed.durability().unwrap().ends_with("redis-always appendonly=yes appendfsync=always"));
}

#[test]
fn a_alternative_checks_token_ticket_and_id_as_the_service_does() {
    let testbed = testbed();
    let (ready, alternative) = start(&testbed, Scheme::RowLock, plan(1, 2, 1));
    let id = ready.envelopes()[0];
    let client = Client::new(alternative.addr, SECRET);
    let call = |path: &str, body: &str| client.one("POST", path, "li", body).unwrap_err().to_string();
    let path = format!("/v1/envelopes/{id}/open");
    assert!(call(&path, r#"{"ticket":"made-up"}"#).contains("403 ticket_invalid"));
    assert!(call(&path, r#"{"ticket":"made-up","more":1}"#).contains("422 invalid_request"));
    assert!(call("/v1/envelopes/1/open", r#"{"ticket":"made-up"}"#).contains("404 not_found"));
    let stranger = Client::new(alternative.addr, "some other secret of enough bytes for a key");
    let refused = stranger.one("POST", &path, "li", r#"{"ticket":"made-up"}"#).unwrap_err().to_string();
    assert!(refused.contains("401 unauthorized"), "{refused}");
}
