//! A rehearsal beside the service, on SQLite: who may mark it, and what it sees.

use std::time::Duration;

use serde_json::json;

use crate::support::{
    Folder, Service, TOKEN_SECRET, User, hongbao, lucky, seconds_from_now, sign, text, text_of, wait_until, with,
};

const MARK: &str = "x-hongbao-rehearsal";
const SOON: Duration = Duration::from_secs(10);

fn operator() -> String {
    sign(&json!({ "sub": "op", "exp": seconds_from_now(3_600), "role": "operator" }), TOKEN_SECRET)
}

fn rehearsing(user: &User) -> User {
    user.with_header(MARK, &operator())
}

fn audit_shadow_of(folder: &Folder) -> Option<i32> {
    let data = folder.data();
    let data = data.to_str().expect("temporary folders have plain names");
    let audit = hongbao(&["audit", "--data", data, "--shadow"]).output().unwrap();
    println!("{}{}", text(&audit.stdout), text(&audit.stderr));
    audit.status.code()
}

#[test]
fn where_rehearsals_are_off_a_marked_request_is_refused_and_never_real() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(1_000);
    let id = li.send(&lucky(100, 2));
    let marked = rehearsing(&li);
    marked.get("/v1/wallet").problem(403, "rehearsal_off");
    marked.post("/v1/envelopes", &lucky(100, 1)).problem(403, "rehearsal_off");
    marked.grab(&id).problem(403, "rehearsal_off");
    marked.post("/v1/dev/top-up", &json!({ "amount_fen": 1, "id": uuid::Uuid::nil() })).problem(403, "rehearsal_off");
    li.with_header(MARK, "").get("/v1/wallet").problem(403, "rehearsal_off");
    assert_eq!(li.balance(), 900);
    assert!(!service.folder().data().join("shadow").exists(), "nothing is made for what is off");
    service.check();
}

#[test]
fn only_an_operator_marks_a_rehearsal_and_a_bad_mark_is_never_served_as_real() {
    let service = Service::start("[rehearsal]\nenabled = true");
    let li = service.user("li");
    li.top_up(1_000);
    let claims = |role: &str| json!({ "sub": "op", "exp": seconds_from_now(3_600), "role": role });
    let expired = json!({ "sub": "op", "exp": seconds_from_now(-1), "role": "operator" });
    for mark in [
        String::new(),
        "true".to_owned(),
        sign(&claims("user"), TOKEN_SECRET),
        sign(&json!({ "sub": "op", "exp": seconds_from_now(3_600) }), TOKEN_SECRET),
        sign(&claims("operator"), "a secret that is not the one of the service"),
        sign(&expired, TOKEN_SECRET),
    ] {
        let marked = li.with_header(MARK, &mark);
        marked.get("/v1/wallet").problem(403, "rehearsal_refused");
        marked.post("/v1/envelopes", &lucky(100, 1)).problem(403, "rehearsal_refused");
    }
    rehearsing(&li).with_header(MARK, &operator()).get("/v1/wallet").problem(403, "rehearsal_refused");
    let nobody = service.nobody();
    rehearsing(&nobody).get("/v1/wallet").problem(401, "unauthorized");
    assert_eq!((li.balance(), rehearsing(&li).balance()), (1_000, 0));
    service.check();
}

#[test]
fn a_rehearsal_lives_beside_the_service_and_neither_sees_the_other() {
    let mut service = Service::start("[rehearsal]\nenabled = true");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    let [marked_li, marked_wang] = [&li, &wang].map(rehearsing);
    li.top_up(1_000);
    // The same id is a top-up of its own in each world.
    let top_up = json!({ "amount_fen": 70, "id": uuid::Uuid::nil() });
    li.post("/v1/dev/top-up", &top_up).ok(200);
    marked_li.post("/v1/dev/top-up", &with(top_up, "amount_fen", 50_000)).ok(200);
    assert_eq!((li.balance(), marked_li.balance()), (1_070, 50_000));

    let real = li.send(&lucky(500, 2));
    let rehearsed = marked_li.send(&lucky(40_000, 2));
    let (ticket, marked_ticket) = (wang.ticket(&real), marked_wang.ticket(&rehearsed));
    for (user, id, ticket_of_other) in [(&wang, &rehearsed, &marked_ticket), (&marked_wang, &real, &ticket)] {
        user.grab(id).problem(404, "not_found");
        user.pay(id).problem(404, "not_found");
        user.get(&format!("/v1/envelopes/{id}")).problem(404, "not_found");
        user.open(id, ticket_of_other).problem(403, "ticket_invalid");
    }
    wang.open(&real, &marked_ticket).problem(403, "ticket_invalid");
    marked_wang.open(&rehearsed, &ticket).problem(403, "ticket_invalid");

    let opened = wang.open(&real, &ticket).ok(200)["amount_fen"].as_i64().unwrap();
    let rehearsed_opening = marked_wang.open(&rehearsed, &marked_ticket).ok(200);
    let marked_opened = rehearsed_opening["amount_fen"].as_i64().unwrap();
    wang.wait_for_balance(opened, SOON);
    marked_wang.wait_for_balance(marked_opened, SOON);
    assert_eq!((li.balance(), marked_li.balance()), (570, 10_000));

    // A worker counts what it has paid a moment after it has paid it.
    let counted = "\nrehearsal_hongbao_worker_rows_total{worker_job=\"credit\"} 1\n";
    wait_until(SOON, counted, || service.nobody().get("/metrics").text().contains(counted));
    let metrics = service.nobody().get("/metrics").text();
    for line in [
        "\nhongbao_open_outcomes_total{outcome=\"opened\"} 1\n",
        "\nrehearsal_hongbao_open_outcomes_total{outcome=\"opened\"} 1\n",
        "\nrehearsal_hongbao_http_requests_total{route=\"POST /v1/envelopes\",status=\"2xx\"} 1\n",
        "\nhongbao_http_requests_total{route=\"POST /v1/envelopes\",status=\"2xx\"} 1\n",
    ] {
        assert!(metrics.contains(line), "{line} is not in {metrics}");
    }
    service.check();
    assert_eq!(audit_shadow_of(service.folder()), Some(0));

    // Rehearsals are over: what they left is out of reach, and what is real goes on.
    service.kill();
    let service = Service::start_in(&service.folder().clone(), "");
    let [li, wang] = [&li, &wang].map(|user| user.at(service.address()));
    rehearsing(&li).get("/v1/wallet").problem(403, "rehearsal_off");
    assert_eq!((li.balance(), wang.balance()), (570, opened));
    assert_eq!(text_of(&wang.detail(&real)["envelope"]["state"]), "active");
    service.check();
}

#[test]
fn a_rehearsal_uses_up_nobody_s_requests() {
    let limits = "[rate_limit]\nuser_per_s = 1\nuser_burst = 2\n[rehearsal]\nenabled = true\nglobal_per_s = 3";
    let service = Service::start(limits);
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    for user in [&li, &wang] {
        rehearsing(user).get("/v1/wallet").ok(200);
    }
    rehearsing(&li).get("/v1/wallet").ok(200);
    rehearsing(&li).get("/v1/wallet").problem(429, "rate_limited");
    rehearsing(&service.user("zhao")).get("/v1/wallet").problem(429, "rate_limited");
    for _ in 0..2 {
        li.get("/v1/wallet").ok(200);
    }
    li.get("/v1/wallet").problem(429, "rate_limited");
    service.check();
}
