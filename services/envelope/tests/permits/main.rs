//! Permits counted in a real memcached, and in one that misbehaves.

mod standing;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hongbao_core::time::ManualClock;
use hongbao_core::{EnvelopeId, SystemClock, Timestamp};
use hongbao_envelope::permits::memcached::{MemcachedOptions, PermitMetrics};
use hongbao_envelope::permits::{Counter, MemcachedPermits, Permits};
use hongbao_testbed::Part;
use memcache_async::ascii::Protocol;
use prometheus_client::registry::Registry;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

const TTL_S: u32 = 2;

fn id(number: u32) -> EnvelopeId {
    let mut random = [0; 10];
    random[6..].copy_from_slice(&number.to_be_bytes());
    EnvelopeId::mint(Timestamp::from_millis(1_771_254_000_000), random)
}

/// Permits of one process. Patient, because the machine may be busy.
async fn process(address: SocketAddr, holder: u64, cap: u32) -> (MemcachedPermits, PermitMetrics) {
    process_within(address, holder, cap, Duration::from_secs(5)).await
}

async fn process_within(
    address: SocketAddr,
    holder: u64,
    cap: u32,
    answer_within: Duration,
) -> (MemcachedPermits, PermitMetrics) {
    let metrics = PermitMetrics::register(&mut Registry::default());
    let options = MemcachedOptions { answer_within, ttl_s: TTL_S, ..MemcachedOptions::new(address.to_string()) };
    (MemcachedPermits::start(options, holder, cap, Arc::new(SystemClock), metrics.clone()).await, metrics)
}

async fn enters(permits: &MemcachedPermits, id: EnvelopeId) -> bool {
    permits.enter(&[id]).await == [true]
}

/// What memcached says about an envelope, or who stands or asks; empty when it says nothing.
async fn stored(memcached: &Part, name: impl std::fmt::Display) -> String {
    let stream = TcpStream::connect(memcached.address()).await.unwrap();
    let found = Protocol::new(stream).get(format!("hongbao:permit:{name}")).await;
    String::from_utf8(found.unwrap_or_default()).unwrap()
}

async fn within(limit: Duration, what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let until = Instant::now() + limit;
    while !holds().await {
        assert!(Instant::now() < until, "not in time: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_processes_of_a_host_never_exceed_the_cap_together() {
    let memcached = Part::memcached();
    let (a, _) = process(memcached.address(), 1, 4).await;
    let (b, _) = process(memcached.address(), 2, 4).await;
    let processes = [Arc::new(a), Arc::new(b)];
    let inside = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let most = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..32 {
        let (permits, inside, most) = (processes[number % 2].clone(), inside.clone(), most.clone());
        tasks.spawn(async move {
            let mut entered = 0;
            for _ in 0..100 {
                if enters(&permits, id(1)).await {
                    entered += 1;
                    let now = 1 + inside.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                    most.fetch_max(now, std::sync::atomic::Ordering::SeqCst);
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    inside.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
                    permits.leave(&[id(1)]);
                } else {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            }
            entered
        });
    }
    let entered: u32 = tasks.join_all().await.iter().sum();
    assert!(entered > 100, "{entered}");
    assert_eq!(most.load(std::sync::atomic::Ordering::SeqCst), 4, "all are used and none more");
    within(Duration::from_secs(10), "nothing is held after use", async || stored(&memcached, id(1)).await.is_empty())
        .await;
}

#[tokio::test]
async fn a_batch_enters_at_once_and_a_kept_permit_asks_nothing() {
    let memcached = Part::memcached();
    let (permits, metrics) = process(memcached.address(), 1, 1).await;
    let ids: Vec<EnvelopeId> = (0..100).map(id).collect();
    assert!(permits.enter(&ids).await.iter().all(|entered| *entered));
    // Beside them it asks what the other processes of the host are.
    let of_host = 0..30;
    assert!(of_host.contains(&(metrics.round_trips.get() - 100)), "one question for each that no process held");
    for _ in 0..5 {
        permits.leave(&ids);
        assert!(permits.enter(&ids).await.iter().all(|entered| *entered));
    }
    assert!(of_host.contains(&(metrics.round_trips.get() - 100)));

    let (other, refusals) = process(memcached.address(), 2, 1).await;
    assert!(other.enter(&ids).await.iter().all(|entered| !entered), "they count for the whole host");
    assert_eq!(refusals.refused.get(), 100);
    permits.leave(&ids);
    within(Duration::from_secs(10), "the other gets them soon", async || enters(&other, ids[0]).await).await;
    permits.close().await;
    other.leave(&ids[..1]);
    other.close().await;
    for id in &ids {
        assert_eq!(stored(&memcached, *id).await, "");
    }
}

#[tokio::test]
async fn the_permits_of_many_envelopes_are_given_back_over_all_connections() {
    let memcached = Part::memcached();
    let (permits, metrics) = process(memcached.address(), 1, 1).await;
    let ids: Vec<EnvelopeId> = (0..5_000).map(id).collect();
    let mut inside = Vec::new();
    // However busy the machine is, whoever was refused for lack of time comes again.
    for ids in ids.chunks(500) {
        within(Duration::from_secs(20), "all enter", async || {
            let missing: Vec<_> = ids.iter().filter(|id| !inside.contains(*id)).copied().collect();
            let entered = permits.enter(&missing).await;
            inside.extend(missing.iter().zip(entered).filter(|(_, entered)| *entered).map(|(id, _)| *id));
            ids.iter().all(|id| inside.contains(id))
        })
        .await;
    }
    permits.leave(&ids);
    within(Duration::from_secs(20), "none is held", async || metrics.held.get() == 0).await;
    permits.close().await;
    for id in ids.iter().step_by(250) {
        assert_eq!(stored(&memcached, *id).await, "");
    }
}

#[tokio::test]
async fn what_a_crash_leaked_ends_and_what_is_in_use_does_not() {
    let memcached = Part::memcached();
    let (crashing, _) = process(memcached.address(), 1, 3).await;
    let (living, _) = process(memcached.address(), 2, 3).await;
    assert!(enters(&crashing, id(1)).await && enters(&crashing, id(1)).await);
    assert!(enters(&living, id(1)).await && !enters(&living, id(1)).await);
    // Nobody gives its permits back any more.
    drop(crashing);
    // The living process keeps the key alive, and its own permit with it.
    let limit = Duration::from_secs(u64::from(TTL_S) * 5);
    within(limit, "the leaked permits end", async || enters(&living, id(1)).await).await;
    assert!(enters(&living, id(1)).await && !enters(&living, id(1)).await);
}

#[tokio::test]
async fn the_cap_changes_at_run_time() {
    let memcached = Part::memcached();
    let (permits, _) = process(memcached.address(), 1, 1).await;
    assert!(enters(&permits, id(1)).await && !enters(&permits, id(1)).await);
    permits.set_cap(2);
    assert_eq!(permits.cap(), 2);
    assert!(enters(&permits, id(1)).await);
    permits.set_cap(1);
    permits.leave(&[id(1)]);
    assert!(!enters(&permits, id(1)).await, "those inside stay inside, and count");
    permits.leave(&[id(1)]);
    assert!(enters(&permits, id(1)).await);
}

#[tokio::test]
async fn without_memcached_each_process_counts_for_itself_until_it_is_back() {
    let mut memcached = Part::memcached();
    let (permits, metrics) = process(memcached.address(), 1, 2).await;
    assert_eq!((permits.counter(), metrics.local.get()), (Counter::Memcached, 0));
    assert!(enters(&permits, id(1)).await);
    memcached.kill();
    assert!(enters(&permits, id(1)).await, "the one that is inside counts on");
    assert!(!enters(&permits, id(1)).await, "under the same cap");
    assert_eq!((permits.counter(), metrics.local.get()), (Counter::Local, 1));
    assert!(metrics.fallbacks.get() >= 1);

    memcached.restart();
    within(Duration::from_secs(10), "it counts again", async || permits.counter() == Counter::Memcached).await;
    assert_eq!(metrics.local.get(), 0);
    within(Duration::from_secs(10), "what is held is told to the new one", async || {
        stored(&memcached, id(1)).await.starts_with("1=1@")
    })
    .await;
}

#[tokio::test]
async fn a_memcached_that_stands_still_costs_one_short_wait() {
    let memcached = Part::memcached();
    let (permits, metrics) = process_within(memcached.address(), 1, 1, Duration::from_millis(50)).await;
    memcached.pause();
    let started = Instant::now();
    let ids: Vec<EnvelopeId> = (0..1_000).map(id).collect();
    assert!(permits.enter(&ids).await.iter().all(|entered| *entered));
    permits.leave(&ids);
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
    // It may have answered a few before the signal reached all its threads.
    assert!(metrics.fallbacks.get() > 900, "{}", metrics.fallbacks.get());
    memcached.resume();
    within(Duration::from_secs(10), "it counts again", async || permits.counter() == Counter::Memcached).await;
}

/// A server that says the same to every question after the first.
async fn liar(answer: &'static [u8]) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut question = [0; 4_096];
                let mut said: &[u8] = b"VERSION 1.6\r\n";
                while stream.read(&mut question).await.is_ok_and(|length| length > 0) {
                    if stream.write_all(said).await.is_err() {
                        return;
                    }
                    said = answer;
                }
            });
        }
    });
    address
}

#[tokio::test]
async fn whatever_a_false_memcached_answers_the_cap_holds_in_this_process() {
    let endless: &'static [u8] = Vec::leak(vec![b'x'; 1_000_000]);
    for answer in [
        &b"HTTP/1.1 400 Bad Request\r\n\r\n"[..],
        b"\r\n",
        b"\xff\xfe\x00\r\n",
        b"VALUE k 0 99999999999999 1\r\n",
        b"VALUE k 0 18446744073709551615 1\r\n",
        b"END\r\n",
        b"NOT_STORED\r\n",
        b"SERVER_ERROR out of memory storing object\r\n",
        b"",
        endless,
    ] {
        let address = liar(answer).await;
        let (permits, _) = process_within(address, 1, 2, Duration::from_millis(50)).await;
        let shown = String::from_utf8_lossy(&answer[..answer.len().min(40)]);
        let mut inside = 0;
        for _ in 0..5 {
            inside += u32::from(enters(&permits, id(1)).await);
        }
        assert_eq!(inside, 2, "inside after {shown:?}");
    }
}

#[tokio::test]
async fn a_value_that_nobody_of_ours_wrote_counts_nothing_and_goes() {
    let memcached = Part::memcached();
    let stream = TcpStream::connect(memcached.address()).await.unwrap();
    let mut client = Protocol::new(stream);
    let key = format!("hongbao:permit:{}", id(1));
    client.set(&key, b"64 gremlins", 0).await.unwrap();
    client.version().await.unwrap();
    let (permits, _) = process(memcached.address(), 1, 1).await;
    assert!(enters(&permits, id(1)).await);
    assert!(stored(&memcached, id(1)).await.starts_with("1=1@"));
}

/// Processes of one host share a clock; if one is wrong all the same, it only
/// throttles wrongly, and not for long.
#[tokio::test]
async fn a_process_whose_clock_is_an_hour_ahead_blocks_nobody_for_long() {
    let memcached = Part::memcached();
    let hour_ahead = hongbao_core::Clock::now(&SystemClock).plus_millis(3_600_000);
    let options = MemcachedOptions { ttl_s: TTL_S, ..MemcachedOptions::new(memcached.node()) };
    let metrics = PermitMetrics::register(&mut Registry::default());
    let clock = Arc::new(ManualClock::at(hour_ahead));
    let ahead = MemcachedPermits::start(options, 1, 2, clock, metrics).await;
    let (right, _) = process(memcached.address(), 2, 2).await;
    assert!(enters(&ahead, id(1)).await && enters(&right, id(1)).await);
    drop(ahead);
    let limit = Duration::from_secs(u64::from(TTL_S) * 5);
    within(limit, "its permit ends", async || enters(&right, id(1)).await).await;
}
