//! One permit of every envelope, for processes whose openings all go through lanes.

use super::*;

/// Permits of a process with lanes.
async fn with_lanes(address: SocketAddr, holder: u64, cap: u32) -> (MemcachedPermits, PermitMetrics) {
    let metrics = PermitMetrics::register(&mut Registry::default());
    let answer_within = Duration::from_secs(5);
    let options = MemcachedOptions { answer_within, lanes: true, ..MemcachedOptions::new(address.to_string()) };
    (MemcachedPermits::start(options, holder, cap, Arc::new(SystemClock), metrics.clone()).await, metrics)
}

/// How many enter one after the other before one is refused.
async fn enter_all(permits: &MemcachedPermits, id: EnvelopeId) -> u32 {
    let mut inside = 0;
    while enters(permits, id).await {
        inside += 1;
    }
    inside
}

#[tokio::test]
async fn what_is_opened_in_lanes_asks_nothing_and_the_host_sees_who_has_lanes() {
    let memcached = Part::memcached();
    let (permits, metrics) = with_lanes(memcached.address(), 1, 16).await;
    assert!(stored(&memcached, "standing").await.starts_with("1=1@"));
    for (standing, rounds) in [(true, 20), (false, 1)] {
        if !standing {
            permits.set_cap(7);
            within(Duration::from_secs(10), "it asks", async || metrics.standing.get() == 0).await;
        }
        let (asked, ours, theirs) =
            (metrics.round_trips.get(), cpu_time(std::process::id()), cpu_time(memcached.pid()));
        let ids: Vec<_> = (0..10_000).map(id).collect();
        for batch in (0..rounds).flat_map(|_| ids.chunks(8)) {
            assert!(permits.enter(batch).await.iter().all(|entered| *entered));
            permits.leave(batch);
        }
        let asked = metrics.round_trips.get() - asked;
        println!(
            "standing {standing}: a permit takes {:?} here and {:?} in memcached; {asked} questions",
            (cpu_time(std::process::id()) - ours) / (rounds * 10_000),
            (cpu_time(memcached.pid()) - theirs) / (rounds * 10_000)
        );
        assert!(if standing { asked < 500 } else { asked >= 10_000 }, "{asked}");
    }
}

fn cpu_time(pid: u32) -> Duration {
    hongbao_testbed::cpu_time(pid).unwrap()
}

#[tokio::test]
async fn a_process_that_asks_leaves_room_for_those_that_do_not() {
    let memcached = Part::memcached();
    let (lanes, lanes_metrics) = with_lanes(memcached.address(), 1, 8).await;
    assert!(enters(&lanes, id(1)).await);
    let (direct, _) = process(memcached.address(), 2, 8).await;
    assert_eq!(enter_all(&direct, id(1)).await, 7);
    assert!(!enters(&lanes, id(1)).await, "a second transaction asks, and is refused");
    assert_eq!(enter_all(&direct, id(2)).await, 7, "one of the other process may be inside, whether it is or not");

    within(Duration::from_secs(10), "it asks as well", async || lanes_metrics.standing.get() == 0).await;
    assert!(stored(&memcached, "standing").await.starts_with("1=1@"), "what has entered by it is counted");
    assert!(!enters(&lanes, id(2)).await, "never more than the cap");
    lanes.leave(&[id(1)]);
    within(Duration::from_secs(10), "it is given back", async || stored(&memcached, "standing").await.is_empty()).await;
    within(Duration::from_secs(10), "all of the cap is theirs", async || enters(&direct, id(1)).await).await;
    assert!(!enters(&lanes, id(1)).await && !enters(&direct, id(1)).await);

    direct.close().await;
    within(Duration::from_secs(10), "no process asks any more", async || lanes_metrics.standing.get() == 1).await;
}

#[tokio::test]
async fn a_process_with_lanes_asks_from_its_start_where_another_one_asks() {
    let memcached = Part::memcached();
    let (direct, _) = process(memcached.address(), 1, 8).await;
    assert_eq!(enter_all(&direct, id(1)).await, 8);
    let (lanes, metrics) = with_lanes(memcached.address(), 2, 8).await;
    assert!(!enters(&lanes, id(1)).await, "the cap is reached");
    assert!(enters(&lanes, id(2)).await);
    assert_eq!(enter_all(&direct, id(2)).await, 7);
    assert_eq!(metrics.standing.get(), 0);
}

#[tokio::test]
async fn a_cap_that_is_lowered_holds_at_once_in_lanes_too() {
    let memcached = Part::memcached();
    let (one, one_metrics) = with_lanes(memcached.address(), 1, 16).await;
    let (other, other_metrics) = with_lanes(memcached.address(), 2, 16).await;
    assert!(enters(&one, id(1)).await && enters(&other, id(1)).await);
    one.set_cap(0);
    other.set_cap(0);
    assert!(!enters(&one, id(2)).await && !enters(&other, id(2)).await, "nothing enters");
    one.leave(&[id(1)]);
    other.leave(&[id(1)]);
    one.set_cap(1);
    other.set_cap(1);
    within(Duration::from_secs(10), "both ask", async || {
        stored(&memcached, "standing").await.is_empty()
            && one_metrics.standing.get() + other_metrics.standing.get() == 0
    })
    .await;
    within(Duration::from_secs(10), "one enters", async || enters(&one, id(2)).await).await;
    assert!(!enters(&other, id(2)).await, "and not the other");
}

#[tokio::test]
async fn at_most_half_of_the_cap_stands_and_the_other_processes_ask_for_the_rest() {
    let memcached = Part::memcached();
    let mut processes = Vec::new();
    for holder in 1..=10 {
        processes.push(with_lanes(memcached.address(), holder, 8).await);
    }
    let mut entered = Vec::new();
    for (permits, _) in &processes {
        entered.push(enters(permits, id(1)).await);
    }
    assert_eq!(entered.iter().filter(|entered| **entered).count(), 8);
    let standing = processes.iter().filter(|(_, metrics)| metrics.standing.get() == 1).count();
    assert_eq!(standing, 4);
}

#[tokio::test]
async fn the_standing_permits_are_told_to_a_memcached_that_has_lost_them_or_was_away() {
    let mut memcached = Part::memcached();
    let (permits, metrics) = with_lanes(memcached.address(), 1, 16).await;
    let stream = TcpStream::connect(memcached.address()).await.unwrap();
    Protocol::new(stream).flush().await.unwrap();
    within(Duration::from_secs(10), "it is written again", async || {
        stored(&memcached, "standing").await.starts_with("1=1@")
    })
    .await;

    memcached.kill();
    within(Duration::from_secs(10), "it is missed", async || permits.counter() == Counter::Local).await;
    assert!(enters(&permits, id(1)).await);
    assert_eq!((metrics.standing.get(), metrics.fallbacks.get()), (0, 1), "it is counted here");
    memcached.restart();
    within(Duration::from_secs(10), "it stands again", async || metrics.standing.get() == 1).await;
    assert!(stored(&memcached, "standing").await.starts_with("1=1@"));
    permits.close().await;
    assert_eq!(stored(&memcached, "standing").await, "", "one that ends gives it back");
}
