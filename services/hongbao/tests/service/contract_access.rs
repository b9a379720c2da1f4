//! Who may do what: tokens, audiences, tickets, payers.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hongbao_core::ticket::TicketKey;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, UserId};
use serde_json::json;

use crate::support::{
    Folder, Service, TICKET_SECRET, TOKEN_SECRET, lucky, seconds_from_now, sign, sign_with_header, text_of, with,
};

#[test]
fn only_a_good_token_names_a_caller() {
    let service = Service::start("");
    let later = seconds_from_now(3_600);
    let good = json!({ "sub": "li", "exp": later });
    let signed = |claims| sign(&claims, TOKEN_SECRET);
    let with_alg = |alg: &str| sign_with_header(&json!({ "alg": alg, "typ": "JWT" }), &good, TOKEN_SECRET);
    let unsigned = |alg: &str| with_alg(alg).rsplit_once('.').unwrap().0.to_owned() + ".";
    let (head, signature) = {
        let token = signed(good.clone());
        let (head, signature) = token.rsplit_once('.').unwrap();
        (head.to_owned(), signature.to_owned())
    };
    let other_claims = URL_SAFE_NO_PAD.encode(json!({ "sub": "wang", "exp": later }).to_string());
    for (what, token) in [
        ("empty", String::new()),
        ("no JWT", "x".into()),
        ("no JWT, in three parts", "a.b.c".into()),
        ("no signature", head.clone()),
        ("an empty signature", format!("{head}.")),
        ("a forged signature", format!("{head}.{}", signature.chars().rev().collect::<String>())),
        ("others' claims", format!("{}.{other_claims}.{signature}", head.split('.').next().unwrap())),
        ("another secret", sign(&good, "a secret that is not the one of the service")),
        ("no secret", sign(&good, "")),
        ("alg none", unsigned("none")),
        ("alg None", unsigned("None")),
        ("alg none and a signature", with_alg("none")),
        ("another HMAC", with_alg("HS512")),
        ("another kind of key", with_alg("EdDSA")),
        ("no alg", sign_with_header(&json!({ "typ": "JWT" }), &good, TOKEN_SECRET)),
        ("expired", signed(json!({ "sub": "li", "exp": seconds_from_now(-1) }))),
        ("expired long ago", signed(json!({ "sub": "li", "exp": 0 }))),
        ("not valid yet", signed(json!({ "sub": "li", "exp": later, "nbf": later }))),
        ("without exp", signed(json!({ "sub": "li" }))),
        ("exp null", signed(json!({ "sub": "li", "exp": null }))),
        ("exp is text", signed(json!({ "sub": "li", "exp": "tomorrow" }))),
        ("without sub", signed(json!({ "exp": later }))),
        ("an empty sub", signed(json!({ "sub": "", "exp": later }))),
        ("sub is a number", signed(json!({ "sub": 7, "exp": later }))),
        ("sub is no plain name", signed(json!({ "sub": "#clearing", "exp": later }))),
        ("sub is too long", signed(json!({ "sub": "x".repeat(65), "exp": later }))),
        ("groups are no list", signed(json!({ "sub": "li", "exp": later, "groups": "family" }))),
        ("a group is no plain name", signed(json!({ "sub": "li", "exp": later, "groups": ["a b"] }))),
        ("claims are a list", signed(json!(["li", later]))),
    ] {
        let answer = service.bearer("li", &token).get("/v1/wallet");
        assert_eq!(answer.status, 401, "{what}: {}", answer.text());
        answer.problem(401, "unauthorized");
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"), "{what}");
    }
    service.bearer("li", &signed(good)).get("/v1/wallet").ok(200);
    service.check();
}

#[test]
fn every_call_of_a_user_needs_one_bearer_token() {
    let service = Service::start("");
    let id = EnvelopeId::mint(SystemClock.now(), [1; 10]);
    let nobody = service.nobody();
    for (method, path) in [
        ("POST", "/v1/envelopes".to_owned()),
        ("POST", format!("/v1/envelopes/{id}/pay")),
        ("POST", format!("/v1/envelopes/{id}/grab")),
        ("POST", format!("/v1/envelopes/{id}/open")),
        ("GET", format!("/v1/envelopes/{id}")),
        ("GET", "/v1/wallet".to_owned()),
        ("GET", "/v1/wallet/transfers".to_owned()),
        ("GET", "/v1/wallet/envelopes?role=sent".to_owned()),
        ("POST", "/v1/dev/top-up".to_owned()),
    ] {
        nobody.call(method, &path, None).problem(401, "unauthorized");
    }
    let token = sign(&json!({ "sub": "li", "exp": seconds_from_now(60) }), TOKEN_SECRET);
    for headers in [
        format!("authorization: Basic {token}"),
        format!("authorization: {token}"),
        format!("authorization: Bearer {token}\r\nauthorization: Bearer {token}"),
        "authorization: Bearer".to_owned(),
        "authorization: Bearer \u{80}\u{ff}".to_owned(),
    ] {
        let request = format!("GET /v1/wallet HTTP/1.1\r\nhost: hongbao\r\n{headers}\r\n\r\n");
        service.raw(request.as_bytes()).problem(401, "unauthorized");
    }
    service.check();
}

#[test]
fn with_a_public_key_only_its_tokens_count_and_nobody_hands_out_others() {
    const PUBLIC_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAsg5lwZKN3bfCbtbBzNv9O4Lsc5qrigFZdiv8UKZ9A84=\n-----END PUBLIC KEY-----\n";
    /// `{"sub":"li","exp":4102444800}`, signed with the private half, which nobody has kept.
    const TOKEN: &str = "eyJhbGciOiJFZERTQSIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJsaSIsImV4cCI6NDEwMjQ0NDgwMH0.\
        D61SbpOaRJk2gIZBfIuguG-u36eyHzrBS76s7fQwCwsqjHyLqqqwclLZ3nwkULJA-C-v26fkxA7jqJKFC8c_CQ";
    let folder = Folder::new();
    let key = folder.write("key.pem", PUBLIC_KEY);
    let service = Service::start_in(&folder, &format!("[auth]\neddsa_public_key_file = {:?}", key.to_str().unwrap()));
    let li = service.bearer("li", TOKEN);
    assert_eq!(li.get("/v1/wallet").ok(200)["user_id"], "li");
    let claims = json!({ "sub": "li", "exp": seconds_from_now(60) });
    for secret in [TOKEN_SECRET, PUBLIC_KEY, PUBLIC_KEY.trim()] {
        service.bearer("li", &sign(&claims, secret)).get("/v1/wallet").problem(401, "unauthorized");
    }
    let top_up = json!({ "amount_fen": 1, "id": "0190a5b4-0000-7000-8000-000000000000" });
    assert_eq!(li.post("/v1/dev/top-up", &top_up).ok(200)["balance_fen"], 1);
    service.nobody().post("/v1/dev/token", &json!({ "user_id": "li" })).problem(404, "not_found");
    service.check();
}

#[test]
fn only_its_audience_and_its_sender_may_look_grab_and_open() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(1_000);
    let send = |audience| li.send(&with(lucky(100, 5), "audience", audience));
    let to_group = send(json!({ "type": "group", "id": "family" }));
    let to_user = send(json!({ "type": "user", "id": "wang" }));
    let to_all = send(json!({ "type": "link" }));

    let relative = service.member("relative", &["work", "family"]);
    let stranger = service.member("stranger", &["work", "famil", "FAMILY"]);
    let wang = service.user("wang");
    for (id, invited, uninvited) in [(&to_group, &relative, &wang), (&to_user, &wang, &stranger)] {
        for refused in [uninvited, &stranger] {
            refused.grab(id).problem(403, "not_invited");
            refused.get(&format!("/v1/envelopes/{id}")).problem(403, "not_invited");
        }
        assert_eq!(invited.grab_and_open(id)["outcome"], "opened");
        assert!(invited.detail(id)["mine"].is_object());
        assert_eq!(li.grab_and_open(id)["outcome"], "opened", "the sender always may");
    }
    assert_eq!(stranger.grab_and_open(&to_all)["outcome"], "opened");
    service.check();
}

#[test]
fn a_ticket_opens_only_its_own_envelope_for_its_own_user_in_time() {
    let service = Service::start("");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    li.top_up(1_000);
    let [id, other] = [(); 2].map(|()| li.send(&lucky(100, 5)));
    let issue = |secret: &str, life_ms| {
        let (user, id) = (UserId::parse("wang").unwrap(), EnvelopeId::parse(&id).unwrap());
        TicketKey::new(secret.as_bytes()).issue(id, &user, SystemClock.now().plus_millis(life_ms))
    };
    let good = wang.ticket(&id);
    for (what, ticket) in [
        ("another user's", li.ticket(&id)),
        ("of another envelope", wang.ticket(&other)),
        ("expired", issue(TICKET_SECRET, -1)),
        ("of another secret", issue("another secret", 60_000)),
        ("cut", good[1..].to_owned()),
        ("too long", format!("{good}A")),
        ("garbage", "garbage".to_owned()),
        ("no base64", "红包".to_owned()),
        ("empty", String::new()),
        ("huge", "A".repeat(10_000)),
    ] {
        let answer = wang.open(&id, &ticket);
        assert_eq!(answer.status, 403, "{what}: {}", answer.text());
        answer.problem(403, "ticket_invalid");
    }
    let open = format!("/v1/envelopes/{id}/open");
    wang.post_empty(&open).invalid(None);
    wang.post(&open, &json!({})).invalid(Some("ticket"));
    wang.post(&open, &json!({ "ticket": null })).invalid(Some("ticket"));
    wang.post(&open, &json!({ "ticket": 5 })).invalid(Some("ticket"));
    wang.post(&open, &json!({ "ticket": good, "amount_fen": 100 })).invalid(Some("amount_fen"));
    assert_eq!(li.detail(&id)["opens"], json!([]), "none of these opened anything");

    assert_eq!(wang.open(&id, &good).ok(200)["outcome"], "opened");
    service.check();
}

#[test]
fn a_ticket_lives_as_long_as_it_says() {
    let service = Service::start("[limits]\nticket_life_ms = 1000");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    li.top_up(100);
    let id = li.send(&lucky(100, 5));
    let grabbed = wang.grab(&id).ok(200);
    let expires_at = hongbao_core::Timestamp::parse_rfc3339(text_of(&grabbed["ticket_expires_at"])).unwrap();
    let life_ms = expires_at.millis_since(SystemClock.now());
    assert!(life_ms <= 1_000, "{life_ms} ms");
    std::thread::sleep(Duration::from_millis(life_ms as u64 + 5));
    wang.open(&id, text_of(&grabbed["ticket"])).problem(403, "ticket_invalid");
    assert_eq!(wang.grab_and_open(&id)["outcome"], "opened");
    service.check();
}

#[test]
fn only_its_sender_pays_for_an_envelope() {
    let service = Service::start("");
    let [li, wang] = ["li", "wang"].map(|name| service.user(name));
    for user in [&li, &wang] {
        user.top_up(100);
    }
    let created = li.post("/v1/envelopes", &lucky(100, 5)).ok(201);
    let id = text_of(&created["id"]);
    wang.pay(id).problem(403, "not_sender");
    assert_eq!((li.balance(), wang.balance()), (100, 100));
    li.pay(id).ok(200);
    wang.pay(id).problem(403, "not_sender");
    assert_eq!((li.balance(), wang.balance()), (0, 100));
    service.check();
}

#[test]
fn who_has_too_little_pays_later() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(99);
    let created = li.post("/v1/envelopes", &lucky(100, 5)).ok(201);
    let id = text_of(&created["id"]);
    for _ in 0..2 {
        li.pay(id).problem(402, "insufficient_funds");
    }
    assert_eq!(li.balance(), 99);
    assert_eq!(li.detail(id)["envelope"]["state"], "created");
    li.top_up(1);
    assert_eq!(li.pay(id).ok(200)["state"], "active");
    assert_eq!(li.balance(), 0);
    service.check();
}

#[test]
fn nobody_opens_what_is_not_paid() {
    let service = Service::start("");
    let li = service.user("li");
    let created = li.post("/v1/envelopes", &lucky(100, 5)).ok(201);
    let id = EnvelopeId::parse(text_of(&created["id"])).unwrap();
    // Not even with a ticket, which a grab would not have given.
    let ticket = TicketKey::new(TICKET_SECRET.as_bytes()).issue(
        id,
        &UserId::parse("li").unwrap(),
        SystemClock.now().plus_millis(60_000),
    );
    li.grab(&id.to_string()).problem(404, "not_found");
    li.open(&id.to_string(), &ticket).problem(404, "not_found");
    li.top_up(100);
    li.pay(&id.to_string()).ok(200);
    assert_eq!(li.open(&id.to_string(), &ticket).ok(200)["outcome"], "opened");
    service.check();
}

#[test]
fn an_envelope_that_is_not_paid_in_time_is_cancelled_for_good() {
    let service = Service::start("[limits]\npay_within_s = 1");
    let li = service.user("li");
    li.top_up(100);
    let created = li.post("/v1/envelopes", &lucky(100, 5)).ok(201);
    let id = text_of(&created["id"]);
    li.wait_for_state(id, "cancelled", Duration::from_secs(15));
    for _ in 0..2 {
        li.pay(id).problem(409, "cancelled");
    }
    li.grab(id).problem(404, "not_found");
    service.user("wang").get(&format!("/v1/envelopes/{id}")).problem(404, "not_found");
    assert_eq!(li.balance(), 100);
    assert_eq!(li.get("/v1/wallet/envelopes?role=sent").ok(200)["envelopes"], json!([]));
    service.check();
}
