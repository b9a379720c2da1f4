//! The life of an envelope, by users who do everything right.

use std::time::Duration;

use hongbao_core::Seed;
use serde_json::{Value, json};

use crate::support::{Service, User, hongbao, lucky, number_of, text, text_of, wait_until, with};

/// Plenty for what should take a second.
const SOON: Duration = Duration::from_secs(10);

/// What a user is told who has opened this before.
fn replayed(opened: &Value) -> Value {
    with(opened.clone(), "replayed", true)
}

#[test]
fn a_new_envelope_has_every_field_and_exists_only_for_its_sender() {
    let service = Service::start("");
    let li = service.user("li");
    let created = li.post("/v1/envelopes", &lucky(100, 10)).ok(201);
    for (field, value) in [
        ("sender", json!("li")),
        ("kind", json!("lucky")),
        ("total_fen", json!(100)),
        ("shares", json!(10)),
        ("greeting", json!("恭喜发财，大吉大利")),
        ("audience", json!({ "type": "link" })),
        ("state", json!("created")),
        ("expires_at", Value::Null),
        ("remaining_fen", json!(100)),
        ("remaining_shares", json!(10)),
    ] {
        assert_eq!(created[field], value, "{field}");
    }
    let id = text_of(&created["id"]);
    assert_eq!(uuid::Uuid::parse_str(id).unwrap().get_version_num(), 7);
    let created_at = text_of(&created["created_at"]);
    assert!(created_at.len() == "2026-02-16T16:00:00.000Z".len() && created_at.ends_with('Z'), "{created_at}");
    let commitment = text_of(&created["draw_commitment"]);
    assert!(commitment.len() == 64 && commitment.bytes().all(|b| b.is_ascii_hexdigit()), "{commitment}");

    let detail = li.detail(id);
    assert_eq!(detail["envelope"], created);
    assert_eq!(detail["opens"], json!([]));
    for field in ["next_seq", "mine", "luckiest", "draw_seed"] {
        assert_eq!(detail[field], Value::Null, "{field}");
    }
    li.grab(id).problem(404, "not_found");
    service.user("wang").grab(id).problem(404, "not_found");
    service.user("wang").get(&format!("/v1/envelopes/{id}")).problem(404, "not_found");
    service.check();
}

#[test]
fn what_the_sender_wished_for_is_what_is_made() {
    let service = Service::start("");
    let wished = json!({
        "kind": "equal", "total_fen": 100, "shares": 4, "greeting": "新年快乐 🧧",
        "audience": { "type": "group", "id": "family" }, "expires_in_s": 60,
    });
    let li = service.user("li");
    li.top_up(100);
    let id = li.send(&wished);
    let envelope = li.detail(&id)["envelope"].clone();
    for field in ["kind", "total_fen", "shares", "greeting", "audience"] {
        assert_eq!(envelope[field], wished[field], "{field}");
    }
    let millis = |field: &str| chrono_millis(text_of(&envelope[field]));
    let lifetime_ms = millis("expires_at") - millis("created_at");
    assert!((60_000..70_000).contains(&lifetime_ms), "{lifetime_ms} ms from its creation, 60 s from its payment");
    service.check();
}

fn chrono_millis(at: &str) -> i64 {
    hongbao_core::Timestamp::parse_rfc3339(at).unwrap().millis()
}

#[test]
fn a_repeated_payment_answers_the_same_and_debits_once() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(1_000);
    let created = li.post("/v1/envelopes", &lucky(300, 3)).ok(201);
    let id = text_of(&created["id"]);
    let paid = li.pay(id).ok(200);
    assert_eq!(paid["state"], "active");
    assert!(paid["expires_at"].is_string());
    assert_eq!(paid, li.pay(id).ok(200));
    assert_eq!(li.balance(), 700);
    service.check();
}

#[test]
fn everybody_opens_one_share_then_it_is_empty_and_the_sum_is_the_total() {
    let service = Service::start("");
    let [li, wang, zhao, late] = ["li", "wang", "zhao", "late"].map(|name| service.user(name));
    li.top_up(1_000);
    let id = li.send(&lucky(1_000, 3));
    let too_late = late.ticket(&id);

    let openers = [&wang, &zhao, &li];
    let mut opened = Vec::new();
    for (seq, user) in (1..).zip(openers) {
        let before = user.detail(&id);
        assert_eq!(before["envelope"]["state"], "active");
        assert!(before["luckiest"].is_null() && before["draw_seed"].is_null(), "the draw is open: {before}");
        let ticket = user.ticket(&id);
        let first = user.open(&id, &ticket).ok(200);
        assert_eq!(
            (&first["outcome"], &first["seq"], &first["replayed"]),
            (&json!("opened"), &json!(seq), &json!(false))
        );
        assert_eq!(user.open(&id, &ticket).ok(200), replayed(&first));
        assert_eq!(user.grab(&id).ok(200), replayed(&first));
        opened.push((user, ticket, first));
    }
    assert_eq!(opened.iter().map(|(_, _, opened)| number_of(&opened["amount_fen"])).sum::<i64>(), 1_000);

    assert_eq!(late.grab(&id).ok(200), json!({ "outcome": "empty" }));
    assert_eq!(late.open(&id, &too_late).ok(200), json!({ "outcome": "empty" }));
    for (user, ticket, first) in &opened {
        assert_eq!(user.open(&id, ticket).ok(200), replayed(first), "also after it is empty");
        assert_eq!(user.grab(&id).ok(200), replayed(first), "also after it is empty");
    }

    let detail = wang.detail(&id);
    let envelope = &detail["envelope"];
    assert_eq!((&envelope["state"], &envelope["remaining_fen"]), (&json!("finished"), &json!(0)));
    assert_eq!(envelope["remaining_shares"], 0);
    let views: Vec<Value> = opened.iter().map(|(user, _, opened)| view_of(user, opened)).collect();
    assert_eq!(detail["opens"], json!(views));
    assert_eq!(detail["mine"], views[0]);
    assert!(late.detail(&id)["mine"].is_null());
    let most = views.iter().map(|view| number_of(&view["amount_fen"])).max().unwrap();
    let luckiest = views.iter().find(|view| view["amount_fen"] == most).unwrap();
    assert_eq!(&detail["luckiest"], luckiest, "the earliest of the largest");
    let seed = Seed::from_hex(text_of(&detail["draw_seed"])).unwrap();
    assert_eq!(seed.commitment(), text_of(&envelope["draw_commitment"]));

    for (user, _, opened) in &opened {
        user.wait_for_balance(number_of(&opened["amount_fen"]), SOON);
    }
    service.check();
}

/// An opening as the detail shows it.
fn view_of(user: &User, opened: &Value) -> Value {
    json!({
        "seq": opened["seq"], "user_id": user.name, "amount_fen": opened["amount_fen"], "opened_at": opened["opened_at"],
    })
}

#[test]
fn what_nobody_opens_goes_back_and_who_opened_is_told_so_for_ever() {
    let service = Service::start("");
    let [li, wang, late] = ["li", "wang", "late"].map(|name| service.user(name));
    li.top_up(1_000);
    let id = li.send(&with(lucky(1_000, 10), "expires_in_s", 2));
    let (ticket, too_late) = (wang.ticket(&id), late.ticket(&id));
    let opened = wang.open(&id, &ticket).ok(200);

    wang_is_told(&wang, &id, &ticket, &opened);
    li.wait_for_state(&id, "refunded", SOON);
    wang_is_told(&wang, &id, &ticket, &opened);
    assert_eq!(late.grab(&id).ok(200), json!({ "outcome": "expired" }));
    assert_eq!(late.open(&id, &too_late).ok(200), json!({ "outcome": "expired" }));

    let rest = 1_000 - number_of(&opened["amount_fen"]);
    li.wait_for_balance(rest, SOON);
    let refund = li.get("/v1/wallet/transfers?limit=1").ok(200)["transfers"][0].clone();
    assert_eq!((&refund["kind"], &refund["amount_fen"]), (&json!("refund"), &json!(rest)));
    assert_eq!(refund["envelope_id"], id);

    let detail = wang.detail(&id);
    assert_eq!(detail["envelope"]["remaining_fen"], 0);
    assert_eq!(detail["envelope"]["remaining_shares"], 0);
    assert_eq!(detail["luckiest"], view_of(&wang, &opened));
    assert!(detail["draw_seed"].is_string());
    service.check();
}

fn wang_is_told(wang: &User, id: &str, ticket: &str, opened: &Value) {
    assert_eq!(wang.grab(id).ok(200), replayed(opened));
    assert_eq!(wang.open(id, ticket).ok(200), replayed(opened));
}

#[test]
fn until_its_refund_is_written_an_expired_envelope_says_so() {
    // Workers that look once in a minute: who asks for a share first writes the refund.
    let service = Service::start("[workers]\nidle_ms = 60000");
    let [li, late] = ["li", "late"].map(|name| service.user(name));
    li.top_up(100);
    let id = li.send(&with(lucky(100, 10), "expires_in_s", 2));
    let too_late = late.ticket(&id);
    li.wait_for_state(&id, "expired", SOON);
    let detail = li.detail(&id);
    assert_eq!(detail["envelope"]["remaining_fen"], 100, "{detail}");
    assert!(detail["luckiest"].is_null() && detail["draw_seed"].is_null(), "it is not closed yet: {detail}");
    assert_eq!(late.grab(&id).ok(200), json!({ "outcome": "expired" }));
    assert_eq!(late.open(&id, &too_late).ok(200), json!({ "outcome": "expired" }));
    let detail = li.detail(&id);
    assert_eq!((&detail["envelope"]["state"], &detail["envelope"]["remaining_fen"]), (&json!("refunded"), &json!(0)));
    service.check();
}

#[test]
fn what_was_never_paid_is_cancelled_and_then_unknown() {
    let service = Service::start("[limits]\npay_within_s = 3\n[workers]\npurge_after_s = 1\nidle_ms = 20");
    let li = service.user("li");
    li.top_up(100);
    let paid = li.send(&lucky(10, 1));
    let id = text_of(&li.post("/v1/envelopes", &lucky(90, 9)).ok(201)["id"]).to_owned();
    let path = format!("/v1/envelopes/{id}");
    wait_until(2 * SOON, "the envelope to be removed", || li.get(&path).status == 404);
    for answer in [li.get(&path), li.pay(&id), li.grab(&id)] {
        assert_eq!((answer.status, text_of(&answer.json()["code"])), (404, "not_found"));
    }
    assert_eq!(li.detail(&paid)["envelope"]["state"], "active");
    li.wait_for_balance(90, SOON);
    service.check();
}

#[test]
fn an_equal_envelope_gives_everybody_the_same_its_sender_too() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(60_000);
    let id = li.send(&json!({ "kind": "equal", "total_fen": 60_000, "shares": 3 }));
    for name in ["wang", "li", "zhao"] {
        assert_eq!(service.user(name).grab_and_open(&id)["amount_fen"], 20_000);
    }
    li.wait_for_balance(20_000, SOON);
    service.check();
}

#[test]
fn openings_are_shown_page_by_page_and_anyone_can_recompute_the_draw() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(5_000);
    let id = li.send(&lucky(5_000, 7));
    for number in 0..7 {
        service.user(&format!("u{number}")).grab_and_open(&id);
    }

    let mut pages = Vec::new();
    let mut after_seq = Some(0);
    while let Some(after) = after_seq {
        let page = li.get(&format!("/v1/envelopes/{id}?after_seq={after}&limit=3")).ok(200);
        after_seq = page["next_seq"].as_i64();
        pages.push(page);
    }
    let seqs = |page: &Value| page["opens"].as_array().unwrap().iter().map(|open| number_of(&open["seq"])).collect();
    let shown: Vec<Vec<i64>> = pages.iter().map(seqs).collect();
    assert_eq!(shown, [vec![1, 2, 3], vec![4, 5, 6], vec![7]]);

    let beyond = li.get(&format!("/v1/envelopes/{id}?after_seq=7")).ok(200);
    assert_eq!((&beyond["opens"], &beyond["next_seq"]), (&json!([]), &Value::Null));
    let whole = li.get(&format!("/v1/envelopes/{id}?limit=7")).ok(200);
    assert_eq!(whole["next_seq"], Value::Null, "a page that is just full is the last one");

    verify_draw(&service, &pages, 0, "7 openings");
    verify_draw(&service, &pages[..2], 1, "opening 7 is missing");
    let least = whole["opens"].as_array().unwrap().iter().min_by_key(|open| number_of(&open["amount_fen"])).unwrap();
    verify_draw(&service, &[with(whole.clone(), "luckiest", least.clone())], 1, "luckiest is given as");
    let amount = number_of(&pages[1]["opens"][0]["amount_fen"]);
    pages[1]["opens"][0]["amount_fen"] = json!(amount + 1);
    verify_draw(&service, &pages, 1, "opening 4");
    service.check();
}

fn verify_draw(service: &Service, pages: &[Value], code: i32, reason: &str) {
    let files = pages.iter().enumerate().map(|(number, page)| {
        service.folder().write(&format!("page-{number}.json"), &page.to_string()).into_os_string()
    });
    let output = hongbao(&["verify-draw"]).args(files).output().unwrap();
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(code), "{said}");
    assert!(said.contains(reason), "{said}");
}

#[test]
fn a_draw_is_not_confirmed_before_it_is_closed() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(100);
    let id = li.send(&lucky(100, 2));
    li.grab_and_open(&id);
    verify_draw(&service, &[li.detail(&id)], 1, "not closed");
    service.check();
}
