//! A user's own money.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::support::{Service, User, lucky, number_of, text_of, with};

const SOON: Duration = Duration::from_secs(10);

/// All items of a list, by pages of `limit`; requires that no page is too long
/// and that only the last has no cursor.
fn all(user: &User, path: &str, list: &str, limit: usize) -> Vec<Value> {
    let mut items = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = user.get(&format!("{path}limit={limit}{cursor}")).ok(200);
        let on_page = page[list].as_array().unwrap();
        items.extend(on_page.iter().cloned());
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return items,
        }
        assert_eq!(on_page.len(), limit, "only the last page is short");
    }
}

#[test]
fn transfers_are_listed_newest_first_with_their_signs_and_add_up_to_the_balance() {
    let service = Service::start("");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    let top_up = json!({ "amount_fen": 1_000, "id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301" });
    li.post("/v1/dev/top-up", &top_up).ok(200);
    let refunded = li.send(&with(lucky(300, 3), "expires_in_s", 1));
    li.wait_for_state(&refunded, "refunded", SOON);
    li.wait_for_balance(1_000, SOON);
    let opened = li.send(&lucky(400, 2));
    let mine = number_of(&li.grab_and_open(&opened)["amount_fen"]);
    let theirs = number_of(&wang.grab_and_open(&opened)["amount_fen"]);
    li.wait_for_balance(600 + mine, SOON);
    wang.wait_for_balance(theirs, SOON);

    let transfers = li.get("/v1/wallet/transfers").ok(200);
    assert_eq!(transfers["next_cursor"], Value::Null);
    let transfers = transfers["transfers"].as_array().unwrap();
    let shown: Vec<Value> =
        transfers.iter().map(|one| json!([one["kind"], one["amount_fen"], one["envelope_id"]])).collect();
    assert_eq!(
        shown,
        [
            json!(["open", mine, opened]),
            json!(["send", -400, opened]),
            json!(["refund", 300, refunded]),
            json!(["send", -300, refunded]),
            json!(["top_up", 1_000, null]),
        ]
    );
    assert_eq!(transfers.iter().map(|one| number_of(&one["amount_fen"])).sum::<i64>(), li.balance());
    assert_eq!(text_of(&transfers[4]["id"]), text_of(&top_up["id"]));
    let mut ids: Vec<&str> = transfers.iter().map(|one| text_of(&one["id"])).collect();
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 5, "each has its own id");
    let times: Vec<&str> = transfers.iter().map(|one| text_of(&one["at"])).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");

    for limit in [1, 2, 4, 5, 500] {
        assert_eq!(&all(&li, "/v1/wallet/transfers?", "transfers", limit), transfers, "pages of {limit}");
    }
    service.check();
}

#[test]
fn sent_and_received_envelopes_are_listed_newest_first() {
    let service = Service::start("");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    li.top_up(1_000);
    li.post("/v1/envelopes", &lucky(100, 1)).ok(201);
    let sent: Vec<String> = (0..3).map(|_| li.send(&lucky(100, 2))).collect();
    let mut total = 0;
    for id in &sent[..2] {
        total += number_of(&wang.grab_and_open(id)["amount_fen"]);
        wang.wait_for_balance(total, SOON);
    }

    let ids = |user: &User, role: &str, limit| -> Vec<String> {
        let items = all(user, &format!("/v1/wallet/envelopes?role={role}&"), "envelopes", limit);
        items.iter().map(|item| text_of(&item["id"]).to_owned()).collect()
    };
    for limit in [1, 2, 3, 500] {
        assert_eq!(ids(&li, "sent", limit), [&*sent[2], &sent[1], &sent[0]], "what was never paid is not sent");
        assert_eq!(ids(&wang, "received", limit), [&*sent[1], &sent[0]]);
    }
    assert!(ids(&li, "received", 5).is_empty());
    assert!(ids(&wang, "sent", 5).is_empty());
    service.check();
}

#[test]
fn a_repeated_top_up_is_the_same_and_its_id_is_good_for_no_other() {
    let service = Service::start("");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    let top_up = json!({ "amount_fen": 500, "id": "3f2504e0-4f89-41d3-9a0c-0305e82c3301" });
    for _ in 0..3 {
        let balance = li.post("/v1/dev/top-up", &top_up).ok(200);
        assert_eq!(balance, json!({ "user_id": "li", "balance_fen": 500 }));
    }
    li.post("/v1/dev/top-up", &with(top_up.clone(), "amount_fen", 501)).problem(409, "id_conflict");
    wang.post("/v1/dev/top-up", &top_up).problem(409, "id_conflict");
    assert_eq!((li.balance(), wang.balance()), (500, 0));
    service.check();
}

#[test]
fn a_top_up_is_bounded() {
    let service = Service::start("");
    let li = service.user("li");
    let id = "3f2504e0-4f89-41d3-9a0c-0305e82c3301";
    for amount in ["0", "-1", "1000000001", "9223372036854775807", "-9223372036854775808", "9223372036854775808"] {
        let body = format!(r#"{{"amount_fen":{amount},"id":"{id}"}}"#);
        li.post_text("/v1/dev/top-up", &body).invalid(Some("amount_fen"));
    }
    for bad_id in [json!("x"), json!(5), json!(null), json!("")] {
        li.post("/v1/dev/top-up", &json!({ "amount_fen": 1, "id": bad_id })).invalid(Some("id"));
    }
    li.post("/v1/dev/top-up", &json!({ "amount_fen": 1 })).invalid(Some("id"));
    li.post("/v1/dev/top-up", &json!({ "amount_fen": 1, "id": id, "user_id": "wang" })).invalid(Some("user_id"));
    assert_eq!(li.balance(), 0);
    li.post("/v1/dev/top-up", &json!({ "amount_fen": 1_000_000_000, "id": id })).ok(200);
    service.check();
}

#[test]
fn a_dev_token_is_for_a_plain_name_and_a_bounded_list_of_groups() {
    let service = Service::start("");
    let nobody = service.nobody();
    let token = nobody.post("/v1/dev/token", &json!({ "user_id": "li", "groups": ["family"], "role": "operator" }));
    let li = service.bearer("li", text_of(&token.ok(200)["token"]));
    li.top_up(100);
    assert_eq!(li.get("/v1/wallet").ok(200), json!({ "user_id": "li", "balance_fen": 100 }));

    let names = |count: usize| (0..count).map(|number| format!("g{number}")).collect::<Vec<_>>();
    nobody.post("/v1/dev/token", &json!({ "user_id": "li", "groups": names(1_000) })).ok(200);
    for (body, field) in [
        (json!({ "user_id": "li", "groups": names(1_001) }), "groups"),
        (json!({ "user_id": "li", "groups": ["a b"] }), "groups[0]"),
        (json!({ "user_id": "li", "groups": "family" }), "groups"),
        (json!({ "user_id": "li", "role": "king" }), "role"),
        (json!({ "user_id": "" }), "user_id"),
        (json!({ "user_id": "红包" }), "user_id"),
        (json!({ "user_id": "x".repeat(65) }), "user_id"),
        (json!({ "groups": [] }), "user_id"),
        (json!({ "user_id": "li", "exp": 1 }), "exp"),
    ] {
        nobody.post("/v1/dev/token", &body).invalid(Some(field));
    }
    service.check();
}

#[test]
fn an_opening_is_credited_within_a_second() {
    let service = Service::start("");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    li.top_up(1_000);
    // A machine that is busy with other tests may be late, but not every time.
    let mut total = 0;
    let mut fastest = Duration::MAX;
    for _ in 0..4 {
        let id = li.send(&lucky(100, 1));
        total += number_of(&wang.grab_and_open(&id)["amount_fen"]);
        let opened = Instant::now();
        wang.wait_for_balance(total, SOON);
        fastest = fastest.min(opened.elapsed());
    }
    assert!(fastest < Duration::from_secs(1), "{fastest:?}");
    service.check();
}
