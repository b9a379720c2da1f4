//! Charges and payouts under the keys of requests, through two gateways and over kills: one order and one debit for each
//! key. The provider does not answer, so that nothing but the requests makes orders.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::backup_installation::user;
use crate::installation_two_sets::World;
use crate::support::{User, text_of};

const REPEATS: usize = 100;
const FUNDS_FEN: i64 = 1_000_000;

/// Two SETs with two gateways, and a provider that is away.
fn world() -> World {
    let world = World::new(
        "[provider]\nkind = 'http'\nurl = 'http://127.0.0.1:9'\nsecret = 'a secret of the provider in tests'\n",
    );
    let id = "00000000-0000-4000-8000-000000000001";
    user("li", world.at["g1"]).post("/v1/dev/top-up", &json!({ "amount_fen": FUNDS_FEN, "id": id })).ok(200);
    world
}

/// A user with this key, who asks through the gateways by turns.
fn keyed(world: &World, turn: usize, key: &str) -> User {
    user("li", world.at[["g1", "g2"][turn % 2]]).with_header("idempotency-key", key)
}

fn ids(orders: &Value) -> Vec<String> {
    orders["orders"].as_array().unwrap().iter().map(|order| text_of(&order["id"]).to_owned()).collect()
}

#[test]
fn a_hundred_concurrent_repeats_of_a_payout_through_two_gateways_are_one_payout_and_one_debit() {
    let world = world();
    let body = json!({ "amount_fen": 700 });
    let answers: BTreeSet<String> = std::thread::scope(|scope| {
        let ask = |number| {
            let (user, body) = (keyed(&world, number, "hundred"), &body);
            scope.spawn(move || text_of(&user.post("/v1/payouts", body).ok(201)["id"]).to_owned())
        };
        let asked: Vec<_> = (0..REPEATS).map(ask).collect();
        asked.into_iter().map(|asked| asked.join().unwrap()).collect()
    });
    assert_eq!(answers.len(), 1, "{answers:?}");
    let li = user("li", world.at["g2"]);
    assert_eq!(ids(&li.get("/v1/payouts").ok(200)), Vec::from_iter(answers));
    assert_eq!(li.balance(), FUNDS_FEN - 700);
    keyed(&world, 1, "hundred").post("/v1/payouts", &json!({ "amount_fen": 701 })).problem(409, "idempotency_conflict");
}

#[test]
fn servers_and_gateways_are_killed_and_each_key_has_one_payout_and_one_debit() {
    let mut world = world();
    let until = Instant::now() + Duration::from_secs(4);
    let at = [world.at["g1"], world.at["g2"]];
    let seen: Vec<BTreeSet<String>> = std::thread::scope(|scope| {
        let work = |worker: usize| {
            scope.spawn(move || {
                let mut seen = Vec::new();
                for number in 0.. {
                    if Instant::now() > until {
                        break;
                    }
                    let (key, mut ids, mut turn) = (format!("w{worker}-{number}"), BTreeSet::new(), 0);
                    // Twice through each gateway, however often that takes.
                    while turn < 4 {
                        let user = user("li", at[turn % 2]).with_header("idempotency-key", &key);
                        match user.try_call("POST", "/v1/payouts", Some(br#"{"amount_fen":7}"#)) {
                            Ok(answer) if answer.status == 201 => {
                                ids.insert(text_of(&answer.json()["id"]).to_owned());
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
                    seen.push(ids);
                }
                seen
            })
        };
        let working: Vec<_> = (0..4).map(work).collect();
        let kills = world.kill_in_turns(until);
        assert!(kills > 4, "{kills} kills");
        working.into_iter().flat_map(|working| working.join().unwrap()).collect()
    });
    assert!(seen.iter().all(|ids| ids.len() == 1), "{seen:?}");
    let seen: BTreeSet<String> = seen.into_iter().flatten().collect();
    let li = user("li", world.at["g1"]);
    let (mut stored, mut path) = (BTreeSet::new(), "/v1/payouts?limit=500".to_owned());
    loop {
        let page = li.get(&path).ok(200);
        stored.extend(ids(&page));
        let Some(next) = page["next_cursor"].as_str() else { break };
        path = format!("/v1/payouts?limit=500&cursor={next}");
    }
    assert_eq!(stored, seen, "none that has no key");
    assert_eq!(li.balance(), FUNDS_FEN - 7 * seen.len() as i64);
    println!("{} keys", seen.len());
    assert!(seen.len() > 10, "{}", seen.len());
}
