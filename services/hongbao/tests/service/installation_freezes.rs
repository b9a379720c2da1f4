//! Freezes over two SETs: asked of one server, in force at all.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::backup_installation::user;
use crate::installation_two_sets::World;
use crate::support::{TOKEN_SECRET, User, fresh_bytes, lucky, seconds_from_now, sign};

/// What is promised for openings, and what a busy machine adds.
const OPENINGS_WITHIN: Duration = Duration::from_secs(2);
const FROZEN_USERS: &str = "/v1/operator/frozen-users";

fn operator(world: &World, server: &str) -> User {
    let claims = json!({ "sub": "op", "role": "operator", "exp": seconds_from_now(3_600) });
    User::new("op", Some(format!("Bearer {}", sign(&claims, TOKEN_SECRET))), world.at[server])
}

#[test]
fn a_freeze_at_one_server_stops_payments_at_once_and_openings_within_two_seconds_in_every_set() {
    let world = World::new("");
    let (li, wang) = (user("li", world.at["g1"]), user("wang", world.at["g2"]));
    for user in [&li, &wang] {
        let body = json!({ "amount_fen": 1_000, "id": uuid::Uuid::from_bytes(fresh_bytes()) });
        user.post("/v1/dev/top-up", &body).ok(200);
    }
    // Envelopes in both SETs, which li may open or could pay for.
    let open: Vec<String> = (0..16).map(|_| wang.send(&lucky(5, 5))).collect();
    let unpaid: Vec<String> =
        (0..16).map(|_| li.post("/v1/envelopes", &lucky(5, 5)).ok(201)["id"].as_str().unwrap().to_owned()).collect();
    assert_eq!(li.grab_and_open(&open[0])["outcome"], "opened");

    let freeze = |frozen: bool, reason: &str| json!({ "user_id": "li", "frozen": frozen, "reason": reason });
    li.at(world.at["a1"])
        .call("PUT", FROZEN_USERS, Some(freeze(false, "mine").to_string().as_bytes()))
        .problem(403, "forbidden");
    let put = |server: &str, body: serde_json::Value| {
        operator(&world, server).call("PUT", FROZEN_USERS, Some(body.to_string().as_bytes()))
    };
    let began = Instant::now();
    let view = put("a1", freeze(true, "the phone is lost")).ok(200);
    assert_eq!((&view["frozen"], &view["operator"]), (&json!(true), &json!("op")), "{view}");
    // At once, wherever the envelope lies: the shard of the payer decides.
    for id in &unpaid {
        li.pay(id).problem(403, "frozen");
    }
    while open.iter().skip(1).any(|id| li.grab(id).status == 200) {
        assert!(began.elapsed() < OPENINGS_WITHIN, "openings go on");
        std::thread::sleep(Duration::from_millis(20));
    }
    println!("no grab after {:?}", began.elapsed());
    li.grab(&open[1]).problem(403, "frozen");
    assert_eq!(li.grab(&open[0]).ok(200)["outcome"], "opened", "what was opened keeps its answer");
    wang.grab_and_open(&open[2]);
    li.post("/v1/envelopes", &lucky(5, 5)).problem(403, "frozen");

    // Every server shows who is frozen, and why; and sets free.
    let listed = operator(&world, "b1").get(FROZEN_USERS).ok(200);
    assert_eq!(listed["users"], json!([view]));
    put("b1", freeze(false, "it was found")).ok(200);
    assert_eq!(operator(&world, "a1").get(FROZEN_USERS).ok(200)["users"], json!([]));
    let log = operator(&world, "a1").get("/v1/operator/freeze-log?user_id=li").ok(200);
    let reasons: Vec<_> = log["changes"].as_array().unwrap().iter().map(|change| change["reason"].clone()).collect();
    assert_eq!(reasons, ["it was found", "the phone is lost"]);
    for id in &unpaid {
        li.pay(id).ok(200);
    }
    while !open.iter().skip(1).all(|id| li.grab(id).status == 200) {
        assert!(began.elapsed() < 2 * OPENINGS_WITHIN, "openings do not go on");
        std::thread::sleep(Duration::from_millis(20));
    }

    // Each field.
    for (body, field) in [
        (json!({ "user_id": "a b", "frozen": true, "reason": "why" }), "user_id"),
        (json!({ "user_id": "li", "frozen": 1, "reason": "why" }), "frozen"),
        (json!({ "user_id": "li", "frozen": true, "reason": "" }), "reason"),
        (json!({ "user_id": "li", "frozen": true, "reason": "a\nb" }), "reason"),
        (json!({ "user_id": "li", "frozen": true, "reason": "x".repeat(501) }), "reason"),
        (json!({ "user_id": "li", "frozen": true }), "reason"),
    ] {
        put("a1", body).invalid(Some(field));
    }
    operator(&world, "a1").get("/v1/operator/freeze-log?user_id=a%20b").invalid(Some("user_id"));
    operator(&world, "a1").get("/v1/operator/freeze-log").invalid(Some("user_id"));
    operator(&world, "a1").get("/v1/operator/frozen-users?after_user=%23").invalid(Some("after_user"));
}
