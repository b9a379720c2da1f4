//! Where money comes in and goes out: charges, payouts, and an envelope that is paid from the provider. The provider
//! is the sandbox that `hongbao dev` brings along, which does what the amount asks for.

use std::time::Duration;

use hongbao_provider::sandbox::Fault;
use serde_json::{Value, json};

use crate::support::{Service, User, lucky, text_of, wait_until};

/// Plenty for what the sandbox does within a second.
const SOON: Duration = Duration::from_secs(10);

fn order(user: &User, path: &str, amount_fen: i64) -> Value {
    user.post(path, &json!({ "amount_fen": amount_fen })).ok(201)
}

/// Waits until an order is over; gives it as it is then.
fn over(user: &User, path: &str, order: &Value) -> Value {
    over_within(user, path, order, SOON)
}

fn over_within(user: &User, path: &str, order: &Value, within: Duration) -> Value {
    let path = format!("{path}/{}", text_of(&order["id"]));
    let mut last = Value::Null;
    wait_until(within, &format!("{path} to be over"), || {
        last = user.get(&path).ok(200);
        last["state"] != "pending"
    });
    last
}

fn charge(user: &User, amount_fen: i64) -> Value {
    over(user, "/v1/charges", &order(user, "/v1/charges", amount_fen))
}

fn payout(user: &User, amount_fen: i64) -> Value {
    over(user, "/v1/payouts", &order(user, "/v1/payouts", amount_fen))
}

#[test]
fn what_is_charged_is_in_the_balance_and_what_is_paid_out_has_left_it() {
    let service = Service::start("");
    let (li, wang) = (service.user("li"), service.user("wang"));
    let pending = order(&li, "/v1/charges", 1_000);
    assert_eq!((&pending["state"], &pending["amount_fen"]), (&json!("pending"), &json!(1_000)));
    assert!(text_of(&pending["action"]["url"]).contains("/sandbox/pay/"), "{pending}");
    let charged = over(&li, "/v1/charges", &pending);
    assert_eq!((&charged["state"], charged.get("action")), (&json!("succeeded"), None));
    assert_eq!(li.balance(), 1_000);
    wang.get(&format!("/v1/charges/{}", text_of(&charged["id"]))).problem(404, "not_found");
    li.get(&format!("/v1/payouts/{}", text_of(&charged["id"]))).problem(404, "not_found");

    let paid = payout(&li, 700);
    assert_eq!((&paid["state"], li.balance()), (&json!("succeeded"), 300));
    li.post("/v1/payouts", &json!({ "amount_fen": 301 })).problem(402, "insufficient_funds");
    let transfers = li.get("/v1/wallet/transfers").ok(200);
    let listed: Vec<(&Value, &Value, &Value)> = (transfers["transfers"].as_array().unwrap().iter())
        .map(|transfer| (&transfer["kind"], &transfer["amount_fen"], &transfer["id"]))
        .collect();
    assert_eq!(
        listed,
        [(&json!("payout"), &json!(-700), &paid["id"]), (&json!("charge"), &json!(1_000), &charged["id"])]
    );
    assert_eq!(li.get("/v1/payouts").ok(200), json!({ "orders": [paid], "next_cursor": null }));

    order(&li, "/v1/charges", 5);
    let first = li.get("/v1/charges?limit=1").ok(200);
    let next = li.get(&format!("/v1/charges?limit=1&cursor={}", text_of(&first["next_cursor"]))).ok(200);
    assert_eq!(next, json!({ "orders": [charged], "next_cursor": null }), "newest first");
    service.check();
}

#[test]
fn an_envelope_is_paid_from_the_provider() {
    let service = Service::start("");
    let (li, wang) = (service.user("li"), service.user("wang"));
    let id = text_of(&li.post("/v1/envelopes", &lucky(500, 5)).ok(201)["id"]).to_owned();
    let pay = |user: &User, body: &Value| user.post(&format!("/v1/envelopes/{id}/pay"), body);
    let from_provider = json!({ "from": "provider" });
    pay(&wang, &from_provider).problem(403, "not_sender");
    pay(&li, &json!({ "from": "bank" })).invalid(Some("from"));
    pay(&li, &json!({ "from": null })).invalid(Some("from"));
    pay(&li, &json!({ "form": "provider" })).invalid(Some("form"));
    let unpaid = pay(&li, &from_provider).ok(202);
    assert_eq!((&unpaid["state"], text_of(&unpaid["id"])), (&json!("created"), id.as_str()));
    let again = pay(&li, &from_provider);
    assert!([200, 202].contains(&again.status), "{again:?}");
    let charged = over(&li, "/v1/charges", &json!({ "id": unpaid["charge_id"] }));
    assert_eq!((&charged["state"], &charged["envelope_id"]), (&json!("succeeded"), &json!(id)));
    // By the worker, or by the sender who asks again.
    assert_eq!(pay(&li, &from_provider).ok(200)["state"], "active");
    assert_eq!(pay(&li, &json!({})).ok(200)["state"], "active");
    assert_eq!(li.balance(), 0, "the money never was in the balance");
    assert_eq!(li.get("/v1/charges").ok(200)["orders"].as_array().unwrap().len(), 1, "there is one charge");
    wang.grab_and_open(&id);
    service.check();
}

#[test]
fn a_worker_activates_an_envelope_whose_sender_does_not_ask_again() {
    let service = Service::start("");
    let li = service.user("li");
    let id = text_of(&li.post("/v1/envelopes", &lucky(500, 5)).ok(201)["id"]).to_owned();
    li.post(&format!("/v1/envelopes/{id}/pay"), &json!({ "from": "provider" })).ok(202);
    li.wait_for_state(&id, "active", SOON);
    service.check();
}

#[test]
fn what_fails_moves_no_money_and_what_comes_back_is_back() {
    let service = Service::start("");
    let li = service.user("li");
    let refused = charge(&li, Fault::Refusal.amount().get());
    assert_eq!((&refused["state"], li.balance()), (&json!("failed"), 0));
    assert!(!text_of(&refused["failure"]).is_empty());
    li.top_up(100_000);
    assert_eq!(payout(&li, Fault::Refusal.amount().get())["state"], "failed");
    assert_eq!(li.balance(), 100_000);
    let forged = payout(&li, Fault::Forged.amount().get());
    assert_eq!((&forged["state"], li.balance()), (&json!("failed"), 100_000));
    // A wrong amount: a person has to look at it.
    let wrong = order(&li, "/v1/charges", Fault::WrongAmount.amount().get());
    wait_until(SOON, "the order to need attention", || {
        service.nobody().get("/metrics").text().contains("hongbao_orders_need_attention 1")
    });
    let path = format!("/v1/charges/{}", text_of(&wrong["id"]));
    assert_eq!((&li.get(&path).ok(200)["state"], li.balance()), (&json!("pending"), 100_000));
    service.check();
}

#[test]
fn an_answer_that_is_lost_is_asked_for() {
    let service = Service::start("");
    let li = service.user("li");
    for fault in [Fault::TimeoutDone, Fault::Cut, Fault::Error500, Fault::Duplicate, Fault::Early, Fault::OutOfOrder] {
        let before = li.balance();
        let amount = fault.amount().get();
        let ended = over_within(&li, "/v1/charges", &order(&li, "/v1/charges", amount), SOON * 6);
        assert_eq!((&ended["state"], li.balance()), (&json!("succeeded"), before + amount), "{fault}");
    }
    service.check();
}

#[test]
fn each_bad_field_is_named() {
    let service = Service::start("");
    let li = service.user("li");
    for path in ["/v1/charges", "/v1/payouts"] {
        for amount in [json!(0), json!(-1), json!(0.5), json!("5"), json!(null), json!(10_000_001), json!([5])] {
            li.post(path, &json!({ "amount_fen": amount })).invalid(Some("amount_fen"));
        }
        li.post(path, &json!({})).invalid(Some("amount_fen"));
        li.post(path, &json!({ "amount_fen": 5, "to": "me" })).invalid(Some("to"));
        li.post_text(path, "5").invalid(None);
        li.post_empty(path).invalid(None);
        li.get(&format!("{path}?cursor=1")).invalid(Some("cursor"));
        li.get(&format!("{path}?limit=0")).invalid(Some("limit"));
        li.get(&format!("{path}?page=1")).invalid(Some("page"));
        li.get(&format!("{path}/1")).problem(404, "not_found");
        li.get(&format!("{path}/0199c0de-0000-7000-8000-000000000001")).problem(404, "not_found");
        service.nobody().get(path).problem(401, "unauthorized");
        service.nobody().post(path, &json!({ "amount_fen": 5 })).problem(401, "unauthorized");
    }
    assert_eq!(li.get("/v1/charges").ok(200)["orders"], json!([]), "nothing was made");
    service.check();
}

#[test]
fn a_repeat_under_a_key_is_the_same_charge_or_payout() {
    let service = Service::start("");
    let li = service.user("li");
    charge(&li, 1_000);
    let keyed = li.with_header("idempotency-key", "k");
    for path in ["/v1/charges", "/v1/payouts"] {
        // Nothing is stored of what is refused.
        keyed.post(path, &json!({ "amount_fen": 0 })).invalid(Some("amount_fen"));
        if path == "/v1/payouts" {
            keyed.post(path, &json!({ "amount_fen": 9_999 })).problem(402, "insufficient_funds");
        }
        let made = over(&li, path, &order(&keyed, path, 300));
        assert_eq!(order(&keyed, path, 300), made, "as it is by now");
        assert_eq!(keyed.post_text(path, r#"{ "amount_fen": 3e2 }"#).ok(201), made);
        keyed.post(path, &json!({ "amount_fen": 301 })).problem(409, "idempotency_conflict");
        li.with_header("idempotency-key", "a b")
            .post(path, &json!({ "amount_fen": 300 }))
            .invalid(Some("Idempotency-Key"));
        assert_ne!(order(&li, path, 300)["id"], made["id"], "without a key it is another one");
    }
    service.check();
}

#[test]
fn a_notification_that_is_not_the_provider_s_is_refused() {
    let service = Service::start("");
    let path = "/v1/provider/notifications";
    let body = json!({ "id": "n-1", "number": "0199c0de000070008000000000000001" });
    service.nobody().post(path, &body).problem(401, "unauthorized");
    let now = hongbao_core::Clock::now(&hongbao_core::SystemClock).millis() / 1_000;
    for signature in [
        "".to_owned(),
        "v1=00".to_owned(),
        format!("t={now},v1={}", "0".repeat(64)),
        format!("t={now},k=dev,v1={}", "0".repeat(64)),
        format!("t={},k=dev,v1={}", now - 86_400, "0".repeat(64)),
    ] {
        service.nobody().with_header("hongbao-signature", &signature).post(path, &body).problem(401, "unauthorized");
    }
    service.check();
}

#[test]
fn without_a_provider_there_are_no_such_calls() {
    let service = Service::start("dev_calls = false");
    let li = service.user("li");
    for path in ["/v1/charges", "/v1/payouts"] {
        li.post(path, &json!({ "amount_fen": 5 })).problem(404, "not_found");
        li.get(path).problem(404, "not_found");
    }
    let id = text_of(&li.post("/v1/envelopes", &lucky(500, 5)).ok(201)["id"]).to_owned();
    li.post(&format!("/v1/envelopes/{id}/pay"), &json!({ "from": "provider" })).problem(404, "not_found");
    service.nobody().post("/v1/provider/notifications", &json!({})).problem(404, "not_found");
    let document = service.nobody().get("/openapi.json").ok(200).to_string();
    assert!(!document.contains("/v1/charges") && !document.contains("/v1/provider"));
    service.check();
}
