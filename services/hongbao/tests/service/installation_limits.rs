//! Limits of users, over two servers, two gateways and MariaDB: exact however many requests come at the same time.

use std::time::Duration;

use hongbao_core::Timestamp;
use serde_json::{Value, json};

use crate::backup_installation::user;
use crate::installation_two_sets::World;
use crate::support::{Answer, Service, TOKEN_SECRET, User, seconds_from_now, sign, text_of, wait_until};

const FUNDS_FEN: i64 = 1_000_000;
const AT_A_TIME: usize = 100;

/// A user of a class, at a gateway.
fn of_class(world: &World, name: &str, class: &str, turn: usize) -> User {
    let token = sign(&json!({ "sub": name, "class": class, "exp": seconds_from_now(3_600) }), TOKEN_SECRET);
    user(name, world.at[gateway(turn)]).with_token(&token)
}

fn gateway(turn: usize) -> &'static str {
    ["g1", "g2"][turn % 2]
}

fn funded(world: &World, name: &str) {
    let id = hongbao_core::id::stable_hash(name.as_bytes());
    let id = format!("00000000-0000-4000-8000-{:012x}", id >> 16);
    user(name, world.at["g1"]).post("/v1/dev/top-up", &json!({ "amount_fen": FUNDS_FEN, "id": id })).ok(200);
}

fn create(user: &User, fen: i64) -> Value {
    user.post("/v1/envelopes", &json!({ "kind": "equal", "total_fen": fen, "shares": 1 })).ok(201)
}

/// Asks many times at once through both gateways; how many were answered so, the others being over this limit.
fn done(limit: &str, status: u16, ask: impl Fn(usize) -> Answer + Sync) -> usize {
    std::thread::scope(|scope| {
        let ask = &ask;
        let asked: Vec<_> = (0..AT_A_TIME).map(|number| scope.spawn(move || ask(number))).collect();
        let answers = asked.into_iter().map(|asked| asked.join().unwrap());
        answers.filter(|answer| answer.status == status || !is_over(answer, limit)).count()
    })
}

fn is_over(answer: &Answer, limit: &str) -> bool {
    let problem = answer.problem(409, "limit_exceeded");
    assert_eq!(problem["limit"], limit);
    assert!(Timestamp::parse_rfc3339(text_of(&problem["resets_at"])).is_some(), "{problem}");
    true
}

#[test]
fn limits_are_exact_under_a_hundred_requests_at_a_time_through_two_gateways() {
    let world = World::new(
        "[limits.users]\nsent_count_a_day = 37\n[limits.classes.amount]\nsent_count_a_day = 1000\nsent_fen_a_day = 203\n\
         [limits.classes.unpaid]\nunpaid_envelopes = 21\nenvelope_fen = 500",
    );
    ["li", "ann"].into_iter().for_each(|name| funded(&world, name));
    let envelopes: Vec<String> = (0..AT_A_TIME)
        .map(|turn| text_of(&create(&user("li", world.at[gateway(turn)]), 10)["id"]).to_owned())
        .collect();
    let pay = |number: usize| user("li", world.at[gateway(number)]).pay(&envelopes[number]);
    assert_eq!(done("sent_count_a_day", 200, pay), 37);
    assert_eq!(user("li", world.at["g1"]).balance(), FUNDS_FEN - 370);

    let envelopes: Vec<String> = (0..AT_A_TIME)
        .map(|turn| text_of(&create(&of_class(&world, "ann", "amount", turn), 7)["id"]).to_owned())
        .collect();
    let pay = |number: usize| of_class(&world, "ann", "amount", number).pay(&envelopes[number]);
    assert_eq!(done("sent_fen_a_day", 200, pay), 29);
    assert_eq!(user("ann", world.at["g1"]).balance(), FUNDS_FEN - 29 * 7);

    let new = json!({ "kind": "equal", "total_fen": 500, "shares": 1 });
    let create_one = |number: usize| of_class(&world, "bob", "unpaid", number).post("/v1/envelopes", &new);
    assert_eq!(done("unpaid_envelopes", 201, create_one), 21);
    let too_much = json!({ "kind": "equal", "total_fen": 501, "shares": 1 });
    let problem = of_class(&world, "eve", "unpaid", 0).post("/v1/envelopes", &too_much).problem(409, "limit_exceeded");
    assert_eq!((&problem["limit"], &problem["resets_at"]), (&json!("envelope_fen"), &Value::Null));
}

#[test]
fn who_has_received_enough_today_opens_no_more_and_keeps_the_answers_of_before() {
    let service = Service::start("[limits.users]\nreceived_fen_a_day = 20");
    let (sender, opener) = (service.user("wang"), service.user("zoe"));
    sender.top_up(1_000);
    let envelopes: Vec<String> = (0..4)
        .map(|_| {
            let id = text_of(&create(&sender, 10)["id"]).to_owned();
            sender.pay(&id).ok(200);
            id
        })
        .collect();
    let ticket = opener.ticket(&envelopes[2]);
    for id in &envelopes[..2] {
        assert_eq!(opener.grab_and_open(id)["outcome"], "opened");
    }
    wait_until(Duration::from_secs(20), "what was opened is credited, and read", || {
        opener.grab(&envelopes[3]).status == 409
    });
    assert_eq!(opener.balance(), 20);
    assert!(is_over(&opener.grab(&envelopes[3]), "received_fen_a_day"));
    assert!(is_over(&opener.open(&envelopes[2], &ticket), "received_fen_a_day"));
    assert_eq!(opener.grab(&envelopes[0]).ok(200)["outcome"], "opened");
    let other = service.user("ann");
    assert_eq!(other.grab_and_open(&envelopes[3])["outcome"], "opened", "others have limits of their own");
}

#[test]
fn a_payment_makes_room_for_a_further_envelope_and_what_no_day_has_room_for_never_resets() {
    let unpaid = Service::start("[limits.users]\nunpaid_envelopes = 2");
    let wang = unpaid.user("wang");
    wang.top_up(1_000);
    let new = json!({ "kind": "equal", "total_fen": 10, "shares": 1 });
    let first = text_of(&create(&wang, 10)["id"]).to_owned();
    create(&wang, 10);
    assert!(is_over(&wang.post("/v1/envelopes", &new), "unpaid_envelopes"));
    wang.pay(&first).ok(200);
    create(&wang, 10);
    assert!(is_over(&wang.post("/v1/envelopes", &new), "unpaid_envelopes"));

    let sent = Service::start("[limits.users]\nsent_fen_a_day = 20");
    let wang = sent.user("wang");
    wang.top_up(1_000);
    let much = text_of(&create(&wang, 21)["id"]).to_owned();
    let problem = wang.pay(&much).problem(409, "limit_exceeded");
    assert_eq!((&problem["limit"], &problem["resets_at"]), (&json!("sent_fen_a_day"), &Value::Null));
}
