//! Many at the same time, with lanes and without.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Barrier;
use std::time::Duration;

use serde_json::{Value, json};
use sqlx::sqlite::SqliteConnectOptions;
use sqlx::{ConnectOptions as _, Connection as _};

use crate::support::{Answer, Service, User, lucky, number_of, with};

const WITH_LANES: &str = "";
const WITHOUT_LANES: &str = "[server]\nlanes = false";
const SOON: Duration = Duration::from_secs(10);

#[test]
fn fifty_at_once_open_exactly_ten_shares_with_lanes() {
    fifty_at_once_open_exactly_ten_shares(WITH_LANES);
}

#[test]
fn fifty_at_once_open_exactly_ten_shares_without_lanes() {
    fifty_at_once_open_exactly_ten_shares(WITHOUT_LANES);
}

fn fifty_at_once_open_exactly_ten_shares(settings: &str) {
    let service = Service::start(settings);
    let li = service.user("li");
    li.top_up(1_000);
    let id = li.send(&lucky(1_000, 10));
    let users: Vec<User> = (0..50).map(|number| service.user(&format!("u{number}"))).collect();
    let tickets: Vec<String> = users.iter().map(|user| user.ticket(&id)).collect();

    let together = Barrier::new(users.len());
    let open = |user: &User, ticket: &str| {
        together.wait();
        settled(user, &id, ticket)
    };
    let outcomes: Vec<Value> = std::thread::scope(|threads| {
        let open = &open;
        let pairs = users.iter().zip(&tickets);
        let running: Vec<_> = pairs.map(|(user, ticket)| threads.spawn(move || open(user, ticket))).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });

    let opened: Vec<&Value> = outcomes.iter().filter(|outcome| outcome["outcome"] == "opened").collect();
    assert_eq!(opened.len(), 10, "{outcomes:?}");
    assert_eq!(outcomes.iter().filter(|outcome| outcome["outcome"] == "empty").count(), 40);
    assert_eq!(opened.iter().map(|outcome| number_of(&outcome["amount_fen"])).sum::<i64>(), 1_000);
    let seqs: HashSet<i64> = opened.iter().map(|outcome| number_of(&outcome["seq"])).collect();
    assert_eq!(seqs, (1..=10).collect());

    for ((user, ticket), outcome) in users.iter().zip(&tickets).zip(&outcomes) {
        let mut again = outcome.clone();
        if again["outcome"] == "opened" {
            again["replayed"] = json!(true);
        }
        assert_eq!(user.open(&id, ticket).ok(200), again);
        assert_eq!(user.grab(&id).ok(200), again);
        user.wait_for_balance(outcome["amount_fen"].as_i64().unwrap_or(0), SOON);
    }
    assert_eq!(li.detail(&id)["envelope"]["state"], "finished");
    service.check();
}

/// Opens until there is an answer: `busy` says that nothing happened.
fn settled(user: &User, id: &str, ticket: &str) -> Value {
    loop {
        let answer = user.open(id, ticket);
        if answer.status == 200 {
            return answer.ok(200);
        }
        answer.problem(503, "busy");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn one_user_who_opens_many_times_at_once_gets_one_share_with_lanes() {
    one_user_who_opens_many_times_at_once_gets_one_share(WITH_LANES);
}

#[test]
fn one_user_who_opens_many_times_at_once_gets_one_share_without_lanes() {
    one_user_who_opens_many_times_at_once_gets_one_share(WITHOUT_LANES);
}

fn one_user_who_opens_many_times_at_once_gets_one_share(settings: &str) {
    let service = Service::start(settings);
    let li = service.user("li");
    li.top_up(1_000);
    let id = li.send(&lucky(1_000, 10));
    let ticket = service.user("wang").ticket(&id);
    let outcomes: Vec<Value> = std::thread::scope(|threads| {
        let open = || settled(&service.user("wang"), &id, &ticket);
        let running: Vec<_> = (0..20).map(|_| threads.spawn(open)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(outcomes.iter().filter(|outcome| outcome["replayed"] == false).count(), 1, "{outcomes:?}");
    for outcome in &outcomes {
        assert_eq!(with(outcome.clone(), "replayed", true), with(outcomes[0].clone(), "replayed", true));
    }
    let wang = service.user("wang");
    wang.wait_for_balance(number_of(&outcomes[0]["amount_fen"]), SOON);
    assert_eq!(li.detail(&id)["opens"].as_array().unwrap().len(), 1);
    service.check();
}

/// I8.
#[test]
fn a_full_queue_says_busy_and_nothing_has_happened() {
    until_somebody_is_refused("[server]\nlane_queue_max = 1");
}

#[test]
fn without_lanes_a_full_database_says_busy_and_nothing_has_happened() {
    until_somebody_is_refused("[server]\nlanes = false\npermit_cap = 1");
}

/// Opens by 20 at once, again and again, until one of them came upon `busy`.
fn until_somebody_is_refused(settings: &str) {
    let service = Service::start(settings);
    let li = service.user("li");
    let users: Vec<User> = (0..20).map(|number| service.user(&format!("u{number}"))).collect();
    li.top_up(100_000);
    let refused = (0..50).any(|_| {
        let id = li.send(&lucky(100, 20));
        let together = Barrier::new(users.len());
        let open = |user: &User| {
            let ticket = user.ticket(&id);
            together.wait();
            (user.open(&id, &ticket), ticket)
        };
        let answers: Vec<(Answer, String)> = std::thread::scope(|threads| {
            let running: Vec<_> = users.iter().map(|user| threads.spawn(|| open(user))).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let opened = li.detail(&id)["opens"].as_array().unwrap().len();
        let busy = answers.iter().filter(|(answer, _)| answer.status != 200).count();
        assert_eq!(opened, users.len() - busy, "busy means that nothing happened");
        for (user, (answer, ticket)) in users.iter().zip(&answers) {
            let was_opened = answer.status == 200;
            if !was_opened {
                answer.problem(503, "busy");
            }
            assert_eq!(settled(user, &id, ticket)["replayed"], was_opened);
        }
        busy > 0
    });
    assert!(refused, "20 at once always found room for all of them");
    service.check();
}

#[test]
fn an_unknown_outcome_is_said_to_be_and_asking_again_settles_it() {
    for settings in ["", "lanes = false\n"] {
        let service = Service::start(&format!("[server]\n{settings}open_deadline_ms = 200\nanswer_within_ms = 300"));
        let li = service.user("li");
        li.top_up(100);
        let id = li.send(&lucky(100, 2));
        let ticket = li.ticket(&id);
        // Another process that writes for longer than a client is kept waiting.
        let writing = hold_write_lock(&service.folder().data().join("db_00.sqlite"));
        li.open(&id, &ticket).problem(504, "outcome_unknown");
        writing.release();
        let opened = settled(&li, &id, &ticket);
        assert_eq!(opened["outcome"], "opened");
        assert_eq!(li.open(&id, &ticket).ok(200), with(opened, "replayed", true));
        service.check();
    }
}

/// A transaction that keeps every other writer out of a database.
struct WriteLock(tokio::runtime::Runtime, sqlx::SqliteConnection);

fn hold_write_lock(database: &Path) -> WriteLock {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let connection = runtime.block_on(async {
        let mut connection = SqliteConnectOptions::new().filename(database).connect().await.unwrap();
        sqlx::query("BEGIN IMMEDIATE").execute(&mut connection).await.unwrap();
        connection
    });
    WriteLock(runtime, connection)
}

impl WriteLock {
    fn release(self) {
        let WriteLock(runtime, connection) = self;
        // Closing rolls back.
        runtime.block_on(connection.close()).unwrap();
    }
}

#[test]
fn paying_many_times_at_once_debits_once() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(1_000);
    let id = li.post("/v1/envelopes", &lucky(600, 10)).ok(201)["id"].as_str().unwrap().to_owned();
    let paid: Vec<Value> = std::thread::scope(|threads| {
        let pay = || service.user("li").pay(&id).ok(200);
        let running: Vec<_> = (0..20).map(|_| threads.spawn(pay)).collect();
        running.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(paid.iter().all(|envelope| *envelope == paid[0]), "{paid:?}");
    assert_eq!(li.balance(), 400);
    service.check();
}

#[test]
fn without_lanes_an_envelope_lives_as_it_does_with_them() {
    let service = Service::start(WITHOUT_LANES);
    let [li, wang, zhao, late] = ["li", "wang", "zhao", "late"].map(|name| service.user(name));
    li.top_up(1_000);
    let id = li.send(&with(lucky(600, 3), "expires_in_s", 2));
    let tickets = [&wang, &zhao].map(|user| user.ticket(&id));
    let too_late = late.ticket(&id);
    let first = wang.open(&id, &tickets[0]).ok(200);
    let second = zhao.open(&id, &tickets[1]).ok(200);
    assert_eq!((&first["seq"], &second["seq"]), (&json!(1), &json!(2)));
    assert_eq!(wang.open(&id, &tickets[0]).ok(200), with(first.clone(), "replayed", true));
    assert_eq!(wang.detail(&id)["mine"]["amount_fen"], first["amount_fen"]);
    service.user("stranger").open(&id, &tickets[0]).problem(403, "ticket_invalid");

    li.wait_for_state(&id, "refunded", SOON);
    assert_eq!(wang.open(&id, &tickets[0]).ok(200), with(first.clone(), "replayed", true));
    assert_eq!(wang.grab(&id).ok(200), with(first.clone(), "replayed", true));
    assert_eq!(late.open(&id, &too_late).ok(200), json!({ "outcome": "expired" }));
    assert_eq!(late.grab(&id).ok(200), json!({ "outcome": "expired" }));
    let given = number_of(&first["amount_fen"]) + number_of(&second["amount_fen"]);
    li.wait_for_balance(1_000 - given, SOON);

    let id = li.send(&lucky(100, 1));
    let ticket = late.ticket(&id);
    assert_eq!(wang.grab_and_open(&id)["amount_fen"], 100);
    assert_eq!(late.open(&id, &ticket).ok(200), json!({ "outcome": "empty" }));
    assert_eq!(late.grab(&id).ok(200), json!({ "outcome": "empty" }));
    let unpaid = li.post("/v1/envelopes", &lucky(100, 1)).ok(201);
    late.grab(unpaid["id"].as_str().unwrap()).problem(404, "not_found");
    service.check();
}
