//! Keys of requests over two SETs and two gateways: the gateway that mints an id, and the server that it asks first, know
//! nothing of what was made before, and yet there is one envelope for each key.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use hongbao_core::EnvelopeId;
use serde_json::json;

use crate::backup_installation::user;
use crate::installation_two_sets::World;
use crate::support::{User, lucky, text_of, wait_until, with};

const SOON: Duration = Duration::from_secs(60);
const REPEATS: usize = 100;

/// A user with this key, who asks through the gateways by turns.
fn keyed(world: &World, turn: usize, key: &str) -> User {
    user("li", world.at[["g1", "g2"][turn % 2]]).with_header("idempotency-key", key)
}

fn id_of(answer: &serde_json::Value) -> EnvelopeId {
    EnvelopeId::parse(text_of(&answer["id"])).unwrap()
}

#[test]
fn a_hundred_concurrent_repeats_through_two_gateways_make_one_envelope_and_a_set_that_is_down_makes_no_other() {
    let mut world = World::new("");
    let answers: Vec<_> = std::thread::scope(|scope| {
        let ask = |number| {
            let user = keyed(&world, number, "hundred");
            scope.spawn(move || user.post("/v1/envelopes", &lucky(500, 5)).ok(201))
        };
        let asked: Vec<_> = (0..REPEATS).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert!(answers.iter().all(|answer| *answer == answers[0]), "{answers:#?}");
    assert_eq!(world.envelopes(0).len() + world.envelopes(1).len(), 1);
    assert!(world.envelopes(usize::from(id_of(&answers[0]).slot().number() >= 50)).contains(&id_of(&answers[0])));

    // What a body says decides, and not how; and nothing of it is stored where the request is refused.
    let li = keyed(&world, 0, "hundred");
    li.post_text("/v1/envelopes", r#"{ "shares": 5, "total_fen": 5e2, "kind": "lucky" }"#).ok(201);
    li.post("/v1/envelopes", &lucky(501, 5)).problem(409, "idempotency_conflict");
    for bad in ["", "a b", "红包", "\"quoted\"", &"x".repeat(65)] {
        keyed(&world, 0, bad).post("/v1/envelopes", &lucky(500, 5)).invalid(Some("Idempotency-Key"));
    }
    let twice = keyed(&world, 0, "one").with_header("idempotency-key", "other");
    twice.post("/v1/envelopes", &lucky(500, 5)).invalid(Some("Idempotency-Key"));
    keyed(&world, 1, "late").post("/v1/envelopes", &lucky(0, 5)).invalid(Some("total_fen"));
    keyed(&world, 1, "late").post("/v1/envelopes", &lucky(5, 5)).ok(201);

    // Of a hundred keys some stand for envelopes of either SET. One SET goes.
    let key = |number: usize| format!("k{number}");
    let made: Vec<_> = (0..16)
        .map(|number| id_of(&keyed(&world, number, &key(number)).post("/v1/envelopes", &lucky(5, 5)).ok(201)))
        .collect();
    let is_of_b = |id: &EnvelopeId| id.slot().number() >= 50;
    assert!(made.iter().any(is_of_b) && !made.iter().all(is_of_b), "two SETs get their parts: {made:?}");
    world.kill("b1");
    for (number, id) in made.iter().enumerate() {
        let ask = || keyed(&world, number + 1, &key(number)).post("/v1/envelopes", &lucky(5, 5));
        if is_of_b(id) {
            // Minting knows only after the first probes that a SET is gone.
            wait_until(SOON, "the SET to be unavailable", || {
                let answer = ask();
                assert_ne!(answer.status, 201, "{}", answer.text());
                answer.status == 503
            });
        } else {
            let mut answer = ask();
            wait_until(SOON, "the other SET to answer", || {
                answer = ask();
                answer.status == 201
            });
            assert_eq!(id_of(&answer.json()), *id);
        }
    }
    world.start("b1");
    for (number, id) in made.iter().enumerate() {
        let mut answer = keyed(&world, number, &key(number)).post("/v1/envelopes", &lucky(5, 5));
        wait_until(SOON, "the SET to be back", || {
            answer = keyed(&world, number, &key(number)).post("/v1/envelopes", &lucky(5, 5));
            answer.status == 201
        });
        assert_eq!(id_of(&answer.json()), *id);
    }
    assert_eq!(world.envelopes(0).len() + world.envelopes(1).len(), 18, "one for each key");
}

#[test]
fn servers_and_gateways_are_killed_and_each_key_has_one_envelope() {
    let mut world = World::new("");
    let until = Instant::now() + Duration::from_secs(5);
    let at = [world.at["g1"], world.at["g2"]];
    let seen: Vec<Vec<(String, BTreeSet<EnvelopeId>)>> = std::thread::scope(|scope| {
        let work = |worker: usize| {
            scope.spawn(move || {
                let mut seen = Vec::new();
                for number in 0.. {
                    if Instant::now() > until {
                        break;
                    }
                    let (key, mut ids) = (format!("w{worker}-{number}"), BTreeSet::new());
                    let (mut turn, body) = (0, with(lucky(5, 5), "greeting", key.clone()));
                    // Twice through each gateway, however often that takes.
                    while turn < 4 {
                        let user = user("li", at[turn % 2]).with_header("idempotency-key", &key);
                        match user.try_call("POST", "/v1/envelopes", Some(body.to_string().as_bytes())) {
                            Ok(answer) if answer.status == 201 => {
                                ids.insert(id_of(&answer.json()));
                                turn += 1;
                            }
                            Ok(answer) => {
                                assert!([503, 504].contains(&answer.status), "{}", answer.text());
                                std::thread::sleep(Duration::from_millis(10));
                            }
                            // The gateway was killed.
                            Err(_) => std::thread::sleep(Duration::from_millis(10)),
                        }
                    }
                    seen.push((key, ids));
                }
                seen
            })
        };
        let working: Vec<_> = (0..4).map(work).collect();
        let kills = world.kill_in_turns(until);
        assert!(kills > 8, "{kills} kills");
        working.into_iter().map(|working| working.join().unwrap()).collect()
    });
    let seen: Vec<_> = seen.into_iter().flatten().collect();
    let mut all = BTreeSet::new();
    for (key, ids) in &seen {
        assert_eq!(ids.len(), 1, "{key}: {ids:?}");
        all.extend(ids);
    }
    let stored: BTreeSet<EnvelopeId> = world.envelopes(0).union(&world.envelopes(1)).copied().collect();
    assert_eq!(stored, all, "none that has no key");
    println!("{} keys", json!(seen.len()));
    assert!(seen.len() > 20, "{}", seen.len());
}
