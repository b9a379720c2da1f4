//! A Redis that is poisoned, stopped, or none.

use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::time::{Duration, Instant};

use deadpool_redis::redis::cmd;
use hongbao_core::{EnvelopeId, limits};
use hongbao_envelope::shared::redis::{Link, RedisOptions};
use hongbao_testbed::Part;

use crate::common::{Node, World, is_opened, is_ready, key, opened, until};

/// What must hold of an envelope with one opening, by li, whatever Redis says.
async fn answers_are_right(node: &Node, id: EnvelopeId) {
    assert!(is_ready(&node.grab(id, "wang").await));
    assert!(is_opened(&node.grab(id, "li").await, 1));
    let openers = node.detail(id, "li").await.unwrap().opens;
    let openers: Vec<&str> = openers.iter().map(|open| open.user_id.as_str()).collect();
    assert_eq!(openers, ["li"]);
    assert!(opened(&node.open(id, "li").await.unwrap(), 1));
}

#[tokio::test]
async fn a_poisoned_redis_is_passed_over_and_heals() {
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, id, other) = (world.node(), world.envelope(1, 3).await, world.envelope(2, 1).await);
    first.open(id, "li").await.unwrap();
    first.open(other, "chen").await.unwrap();
    let (genuine, others) = (world.until_shared(id, 1).await, world.until_shared(other, 1).await);

    let mut tampered = genuine.clone();
    *tampered.last_mut().unwrap() ^= 1;
    let longer = [&genuine[..], &vec![0; 1 << 20]].concat();
    let poisons: [&[u8]; 6] = [&others, &tampered, b"garbage", &[1], &longer, &genuine[..genuine.len() - 1]];
    for poison in poisons {
        world.put(id, poison).await;
        let node = world.node();
        answers_are_right(&node, id).await;
        assert_eq!(node.count("rejected"), 1);
        world.until_shared(id, 1).await;
    }

    for command in ["LPUSH", "SADD"] {
        let mut connection = world.redis().await;
        let () = cmd("DEL").arg(key(id)).query_async(&mut connection).await.unwrap();
        let () = cmd(command).arg(key(id)).arg("x").query_async(&mut connection).await.unwrap();
        let node = world.node();
        answers_are_right(&node, id).await;
        assert_eq!((node.count("rejected"), node.count("error")), (1, 0), "a wrong type is no failure of Redis");
        world.until_shared(id, 1).await;
    }
}

/// The time that so many grabs take, each of an envelope that is not live.
async fn grabs_of_new_envelopes(world: &World, node: &Node, numbers: std::ops::Range<u8>) -> Duration {
    let mut ids = Vec::new();
    for number in numbers {
        ids.push(world.envelope(number, 1).await);
    }
    let started = Instant::now();
    for id in ids {
        assert!(is_ready(&node.grab(id, "wang").await));
    }
    started.elapsed()
}

#[tokio::test]
async fn a_redis_that_stands_still_costs_a_few_waits_and_no_answer() {
    let redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, second, id) = (world.node(), world.hasty_node(), world.envelope(1, 100).await);
    first.open(id, "li").await.unwrap();
    world.until_shared(id, 1).await;

    redis.pause();
    answers_are_right(&second, id).await;
    let waits = Duration::from_millis(2 * limits::CACHE_READ_MS_MAX);
    let waited = grabs_of_new_envelopes(&world, &second, 10..60).await;
    let (failures, each) = (second.count("error"), waited / 50);
    // Without the breaker it would be 50; a round of snapshots may fail meanwhile too.
    assert!(failures <= u64::from(limits::CACHE_FAILURES_MAX) + 1, "{failures} requests waited");
    assert!(each < waits, "{each:?} for each grab");
    until("the gauge says so", || second.is_away()).await;

    // Lanes do not notice.
    for number in 0..20 {
        assert!(opened(&first.open(id, &format!("user-{number}")).await.unwrap(), number + 2));
    }

    redis.resume();
    until("it is back", || !second.is_away()).await;
    world.until_shared(id, 21).await;
    assert!(is_opened(&world.blind_node().grab(id, "user-19").await, 21));
}

#[tokio::test]
async fn a_redis_that_is_killed_and_comes_back_empty_heals() {
    let mut redis = Part::redis();
    let world = World::new(&redis).await;
    let (first, id) = (world.node(), world.envelope(1, 3).await);
    first.open(id, "li").await.unwrap();
    world.until_shared(id, 1).await;

    redis.kill();
    let second = world.node();
    answers_are_right(&second, id).await;
    grabs_of_new_envelopes(&world, &second, 10..20).await;
    until("it is away", || second.is_away()).await;

    redis.restart();
    until("it is back", || !second.is_away()).await;
    assert!(opened(&first.open(id, "wang").await.unwrap(), 2));
    world.until_shared(id, 2).await;
    assert!(is_opened(&world.blind_node().grab(id, "wang").await, 2));
}

/// It still answers what it has, and is not knocked at in every round.
#[tokio::test]
async fn a_full_redis_is_not_away_and_is_written_to_less_and_less_often() {
    let redis = Part::redis_with(&["--maxmemory-policy", "noeviction"]);
    let world = World::new(&redis).await;
    let (first, kept, id) = (world.node(), world.envelope(1, 3).await, world.envelope(2, 50).await);
    first.open(kept, "li").await.unwrap();
    world.until_shared(kept, 1).await;
    let mut connection = world.redis().await;
    let mut allow = async |bytes: u32| {
        let () =
            cmd("CONFIG").arg(&["SET", "maxmemory", &bytes.to_string()]).query_async(&mut connection).await.unwrap();
    };
    // Less than it needs for itself, and so full.
    allow(1 << 16).await;

    let began = Instant::now();
    for number in 1..=20 {
        assert!(opened(&first.open(id, &format!("user-{number}")).await.unwrap(), number));
        tokio::time::sleep(Duration::from_millis(limits::SNAPSHOT_ROUND_MS)).await;
        assert!(!first.is_away(), "it answers");
    }
    assert!(first.is_refused());
    // In as many rounds it rests for 1 s, 2 s, 4 s and so on.
    let tries_max = 2 + (began.elapsed().as_secs() + 1).ilog2();
    assert!((1..=u64::from(tries_max)).contains(&first.count("refused")), "{} tries", first.count("refused"));
    assert_eq!(first.count("error"), 0);
    assert!(is_opened(&world.blind_node().grab(kept, "li").await, 1), "what it has is still read");

    // Without a limit.
    allow(0).await;
    world.until_shared(id, 20).await;
    until("it is told that it keeps them again", || !first.is_refused()).await;
}

/// What listens there is no Redis.
#[tokio::test]
async fn whatever_else_answers_is_passed_over() {
    for answer in [&b"HTTP/1.1 400 Bad Request\r\n\r\n"[..], b"$9999999999\r\nx", b"", b"*-7\r\n", b"+OK\r\n+OK\r\n"] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("redis://{}", listener.local_addr().unwrap());
        // Ends with the process.
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                std::thread::spawn(move || {
                    let mut asked = [0; 4_096];
                    while stream.read(&mut asked).is_ok_and(|count| count > 0) && stream.write_all(answer).is_ok() {}
                });
            }
        });
        let world = World::at(url).await;
        let (node, id) = (world.hasty_node(), world.envelope(1, 3).await);
        node.open(id, "li").await.unwrap();
        let second = world.hasty_node();
        answers_are_right(&second, id).await;
        assert_eq!(second.count("hit"), 0);
    }
}

#[test]
fn a_url_that_is_none_is_refused_without_being_repeated() {
    let options = RedisOptions::new("redis://:password@host:port:x");
    let refused = Link::new(options, hongbao_core::Traffic::Live).err().unwrap();
    assert!(!refused.contains("password"), "{refused}");
}
