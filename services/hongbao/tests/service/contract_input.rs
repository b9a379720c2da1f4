//! Bad input: each gets the contract's answer, and the service goes on.

use hongbao_core::{Clock as _, SystemClock};
use serde_json::json;

use crate::support::{Answer, Service, User, fresh_bytes, lucky, text_of, with};

/// Requires that each body is refused for the field named, and that the user
/// can still send.
fn refused(li: &User, bodies: &[(String, Option<&str>)]) {
    for (body, field) in bodies {
        let answer = li.post_text("/v1/envelopes", body);
        assert_eq!(answer.status, 422, "{body}: {}", answer.text());
        let problem = answer.problem(422, "invalid_request");
        assert_eq!(problem["field"].as_str(), *field, "{body}: {problem}");
    }
    li.top_up(100);
    li.send(&lucky(100, 10));
}

#[test]
fn a_body_that_is_no_json_object_is_refused() {
    let service = Service::start("");
    let bodies = [
        "",
        " ",
        "lucky",
        "null",
        "5",
        "\"lucky\"",
        "[]",
        "[\"lucky\",100,10]",
        "{",
        "}",
        "{\"kind\":}",
        "{'kind':'lucky'}",
        "{\"kind\":\"lucky\",\"total_fen\":100,\"shares\":10",
        "{\"kind\":\"lucky\",\"total_fen\":100,\"shares\":10,}",
        "{\"kind\":\"lucky\",\"total_fen\":100,\"shares\":10}{}",
        "{\"kind\":\"lucky\",\"total_fen\":0100,\"shares\":10}",
        "kind=lucky&total_fen=100&shares=10",
        "\u{feff}{\"kind\":\"lucky\",\"total_fen\":100,\"shares\":10}",
        "{\"kind\":\"lucky\",\"total_fen\":NaN,\"shares\":10}",
    ];
    let li = service.user("li");
    refused(&li, &bodies.map(|body| (body.to_owned(), None)));
    let not_utf8 = b"{\"kind\":\"lucky\",\"total_fen\":100,\"shares\":10,\"greeting\":\"\xff\xfe\"}";
    li.call("POST", "/v1/envelopes", Some(not_utf8)).problem(422, "invalid_request");
    li.call("POST", "/v1/envelopes", None).invalid(None);
    service.check();
}

#[test]
fn unknown_missing_doubled_and_ill_typed_fields_are_named() {
    let service = Service::start("");
    let good = lucky(100, 10);
    let mut bodies: Vec<(String, Option<&str>)> = Vec::new();
    for (field, values) in [
        ("kind", vec![json!("fair"), json!("Lucky"), json!(""), json!(1), json!(null), json!(["lucky"])]),
        ("total_fen", vec![json!("100"), json!(100.5), json!(1e30), json!(null), json!(true), json!([100]), json!({})]),
        ("shares", vec![json!("10"), json!(1.5), json!(null), json!(false), json!([10])]),
        ("greeting", vec![json!(5), json!(["x"]), json!({ "text": "x" }), json!(true)]),
        ("expires_in_s", vec![json!("60"), json!(60.5), json!([60])]),
        ("audience", vec![json!("link"), json!(5), json!([])]),
        ("colour", vec![json!("red"), json!(null)]),
        ("Total_fen", vec![json!(100)]),
        ("id", vec![json!("0190a5b4-0000-7000-8000-000000000000")]),
        ("sender", vec![json!("wang")]),
    ] {
        bodies.extend(values.into_iter().map(|value| (with(good.clone(), field, value).to_string(), Some(field))));
    }
    for field in ["kind", "total_fen", "shares"] {
        let mut body = good.clone();
        body.as_object_mut().unwrap().remove(field);
        bodies.push((body.to_string(), Some(field)));
    }
    let doubled = r#"{"kind":"lucky","total_fen":100,"shares":10,"total_fen":200}"#;
    bodies.push((doubled.to_owned(), Some("total_fen")));
    refused(&service.user("li"), &bodies);
    service.check();
}

#[test]
fn a_refusal_says_in_plain_words_what_is_wanted() {
    let service = Service::start("");
    let li = service.user("li");
    let said = |answer: Answer, field: &str, detail: &str| {
        let problem = answer.problem(422, "invalid_request");
        assert_eq!((&problem["field"], &problem["detail"]), (&json!(field), &json!(format!("`{field}` {detail}"))));
    };
    let total = "must be an integer from 10 to 200000, for 10 shares of 1 to 20000 fen";
    said(li.post("/v1/envelopes", &with(lucky(100, 10), "total_fen", 88.88)), "total_fen", total);
    said(li.post("/v1/envelopes", &with(lucky(100, 10), "total_fen", "100")), "total_fen", total);
    let shares = "must be an integer from 1 to 500";
    said(li.post("/v1/envelopes", &with(lucky(100, 10), "shares", 2.5)), "shares", shares);
    let life = "must be an integer from 1 to 86400";
    said(li.post("/v1/envelopes", &with(lucky(100, 10), "expires_in_s", "1h")), "expires_in_s", life);
    let audience = r#"must be an object, such as {"type":"link"} or {"type":"group","id":"family"}"#;
    said(li.post("/v1/envelopes", &with(lucky(100, 10), "audience", "link")), "audience", audience);
    let top_up = "must be an integer from 1 to 1000000000";
    said(li.post("/v1/dev/top-up", &json!({ "amount_fen": 88.88, "id": "x" })), "id", "must be a UUID");
    let id = uuid::Uuid::from_bytes(fresh_bytes());
    said(li.post("/v1/dev/top-up", &json!({ "amount_fen": 88.88, "id": id })), "amount_fen", top_up);
    said(li.get("/v1/wallet/transfers?limit=-1"), "limit", "must be an integer from 1 to 500");
    said(li.get("/v1/wallet/envelopes?role=both"), "role", "must be `sent` or `received`");
    let id = li.post("/v1/envelopes", &lucky(100, 10)).ok(201);
    let page = format!("/v1/envelopes/{}?after_seq=first", text_of(&id["id"]));
    said(li.get(&page), "after_seq", "must be an integer from 0 to 4294967295");
    service.check();
}

#[test]
fn amounts_and_shares_that_do_not_fit_are_refused() {
    let service = Service::start("");
    let mut bodies: Vec<(String, Option<&str>)> = Vec::new();
    let mut body = |kind: &str, total_fen: &str, shares: &str, field| {
        bodies.push((format!(r#"{{"kind":"{kind}","total_fen":{total_fen},"shares":{shares}}}"#), Some(field)));
    };
    for kind in ["lucky", "equal"] {
        for total_fen in [
            "0",
            "-0",
            "-1",
            "-100",
            "9",
            "200001",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "-9223372036854775809",
            "18446744073709551615",
            "18446744073709551616",
            "99999999999999999999999999",
            "105e-1",
            "1e400",
            "-1e400",
            "1e-400",
        ] {
            body(kind, total_fen, "10", "total_fen");
        }
        for shares in [
            "0",
            "-1",
            "-10",
            "501",
            "2147483648",
            "4294967295",
            "4294967296",
            "4294967306",
            "9223372036854775807",
            "-9223372036854775808",
            "9223372036854775808",
            "105e-1",
            "1e400",
        ] {
            body(kind, "100", shares, "shares");
        }
        body(kind, "1", "2", "total_fen");
        body(kind, "499", "500", "total_fen");
        body(kind, "20001", "1", "total_fen");
        body(kind, "10000001", "500", "total_fen");
    }
    for (total_fen, shares) in [("100", "3"), ("101", "2"), ("501", "500")] {
        body("equal", total_fen, shares, "total_fen");
    }
    refused(&service.user("li"), &bodies);
    service.check();
}

#[test]
fn the_largest_and_the_smallest_envelopes_are_fine() {
    let service = Service::start("");
    let li = service.user("li");
    for kind in ["lucky", "equal"] {
        for (total_fen, shares) in [(1, 1), (20_000, 1), (500, 500), (10_000_000, 500)] {
            let body = json!({ "kind": kind, "total_fen": total_fen, "shares": shares });
            li.top_up(total_fen);
            let id = li.send(&body);
            assert_eq!(li.detail(&id)["envelope"]["total_fen"], total_fen);
            let share = li.grab_and_open(&id)["amount_fen"].as_i64().unwrap();
            assert!((1..=20_000).contains(&share), "{share} of {body}");
        }
    }
    service.check();
}

#[test]
fn a_greeting_has_at_most_64_characters_and_none_that_controls() {
    let service = Service::start("");
    let li = service.user("li");
    for greeting in ["", " ", &"x".repeat(64), &"喜".repeat(64), &"🧧".repeat(64), "a\"b\\c<d>&e", "e\u{301}"] {
        let created = li.post("/v1/envelopes", &with(lucky(100, 10), "greeting", greeting)).ok(201);
        assert_eq!(created["greeting"], greeting);
        assert_eq!(li.detail(text_of(&created["id"]))["envelope"]["greeting"], greeting);
    }
    let bad = ["x".repeat(65), "喜".repeat(65), "🧧".repeat(65)];
    let controls = ["a\nb", "\t", "\0", "\u{7f}", "\u{85}", "\u{1b}[31m", "a\r\n"].map(str::to_owned);
    let bodies = bad.into_iter().chain(controls).map(|greeting| with(lucky(100, 10), "greeting", greeting));
    let bodies: Vec<_> = bodies.map(|body| (body.to_string(), Some("greeting"))).collect();
    refused(&li, &bodies);
    li.post_text("/v1/envelopes", r#"{"kind":"lucky","total_fen":100,"shares":10,"greeting":"\ud800"}"#)
        .problem(422, "invalid_request");
    service.check();
}

#[test]
fn an_audience_is_a_link_or_a_group_or_user_with_a_plain_name() {
    let service = Service::start("");
    let li = service.user("li");
    let bodies = [
        (json!({}), "audience.type"),
        (json!({ "id": "family" }), "audience.type"),
        (json!({ "type": "all" }), "audience.type"),
        (json!({ "type": null }), "audience.type"),
        (json!({ "type": "group" }), "audience.id"),
        (json!({ "type": "user" }), "audience.id"),
        (json!({ "type": "group", "id": null }), "audience.id"),
        (json!({ "type": "group", "id": "" }), "audience.id"),
        (json!({ "type": "group", "id": 5 }), "audience.id"),
        (json!({ "type": "group", "id": "a b" }), "audience.id"),
        (json!({ "type": "user", "id": "王" }), "audience.id"),
        (json!({ "type": "user", "id": "x".repeat(65) }), "audience.id"),
        (json!({ "type": "user", "id": "#clearing" }), "audience.id"),
        (json!({ "type": "link", "id": "x" }), "audience.id"),
        (json!({ "type": "link", "name": "x" }), "audience.name"),
    ]
    .map(|(audience, field)| (with(lucky(100, 10), "audience", audience).to_string(), Some(field)));
    refused(&li, &bodies);
    for audience in [json!({ "type": "user", "id": "x".repeat(64) }), json!({ "type": "group", "id": "A-z_9" })] {
        let created = li.post("/v1/envelopes", &with(lucky(100, 10), "audience", audience.clone())).ok(201);
        assert_eq!(created["audience"], audience);
    }
    service.check();
}

#[test]
fn an_envelope_lives_a_minute_to_a_day_unless_it_is_configured() {
    let li_may = |service: &Service, good: &[i64], bad: &[i64]| {
        let li = service.user("li");
        for seconds in good {
            li.post("/v1/envelopes", &with(lucky(100, 10), "expires_in_s", *seconds)).ok(201);
        }
        for seconds in bad {
            li.post("/v1/envelopes", &with(lucky(100, 10), "expires_in_s", *seconds)).invalid(Some("expires_in_s"));
        }
        service.check();
    };
    let strict = Service::start("[limits]\nexpires_in_s_min = 60");
    li_may(&strict, &[60, 86_400], &[59, 86_401, 0, -1, i64::MAX, i64::MIN]);
    li_may(&Service::start(""), &[1, 86_400], &[0, 86_401]);
}

#[test]
fn limits_are_what_is_configured() {
    let service = Service::start("[limits]\nshares_max = 3\nshare_fen_max = 10\ngreeting_chars_max = 2");
    let li = service.user("li");
    li.post("/v1/envelopes", &lucky(30, 3)).ok(201);
    li.post("/v1/envelopes", &lucky(31, 3)).invalid(Some("total_fen"));
    li.post("/v1/envelopes", &lucky(4, 4)).invalid(Some("shares"));
    li.post("/v1/envelopes", &with(lucky(30, 3), "greeting", "abc")).invalid(Some("greeting"));
    service.check();
}

#[test]
fn whatever_is_not_the_id_of_an_envelope_names_none() {
    let service = Service::start("");
    let li = service.user("li");
    let now_ms = SystemClock.now().millis() as u64;
    const DAY_MS: u64 = 86_400_000;
    let minted = |millis: u64| {
        let random: [u8; 10] = fresh_bytes()[..10].try_into().unwrap();
        uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid()
    };
    let unknown = minted(now_ms);
    let of_version = |version: u8| {
        let mut bytes = unknown.into_bytes();
        bytes[6] = bytes[6] & 0x0f | version << 4;
        uuid::Uuid::from_bytes(bytes).to_string()
    };
    let of_variant = |bits: u8| {
        let mut bytes = unknown.into_bytes();
        bytes[8] = bytes[8] & 0x1f | bits << 5;
        uuid::Uuid::from_bytes(bytes).to_string()
    };
    let mut ids: Vec<String> = [0, 1, 2, 3, 4, 5, 6, 8, 9, 15].map(of_version).into();
    ids.extend([0b000, 0b011, 0b110, 0b111].map(of_variant));
    ids.extend(
        [now_ms - DAY_MS, now_ms - 29 * DAY_MS, now_ms - 31 * DAY_MS, now_ms - 62 * DAY_MS, 0, 1]
            .map(|millis| minted(millis).to_string()),
    );
    ids.extend([now_ms + 30_000, now_ms + 400 * DAY_MS, (1 << 48) - 1].map(|millis| minted(millis).to_string()));
    ids.extend([unknown.to_string(), unknown.to_string().to_uppercase()]);
    ids.extend([unknown.simple().to_string(), unknown.urn().to_string(), format!("%7B{unknown}%7D")]);
    ids.extend([uuid::Uuid::nil().to_string(), uuid::Uuid::max().to_string()]);
    ids.extend(
        ["x", "1", "-1", "null", "%00", "%ff", "..", "%2e%2e%2f", "%E7%BA%A2", "'%20OR%201=1--", "%"]
            .map(str::to_owned),
    );
    ids.push("0".repeat(36));
    ids.push("7".repeat(2_000));
    ids.push(format!("{unknown}0"));
    for id in &ids {
        for (method, path) in [("GET", ""), ("POST", "/pay"), ("POST", "/grab")] {
            let answer = li.call(method, &format!("/v1/envelopes/{id}{path}"), None);
            assert_eq!(answer.status, 404, "{method} {id}{path}: {}", answer.text());
            answer.problem(404, "not_found");
        }
    }
    // It may have been our clock that was stepped back: what is not known yet is not told as if it were final.
    for ahead_ms in [120_000, 40 * DAY_MS] {
        let id = minted(now_ms + ahead_ms);
        for (method, path) in [("GET", ""), ("POST", "/pay"), ("POST", "/grab")] {
            li.call(method, &format!("/v1/envelopes/{id}{path}"), None).problem(503, "unavailable");
        }
    }
    service.check();
}

#[test]
fn bad_query_parameters_are_named_and_pages_end() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(100);
    let id = li.send(&lucky(100, 10));
    for (path, field) in [
        (format!("/v1/envelopes/{id}?"), "after_seq"),
        ("/v1/wallet/transfers?".to_owned(), "cursor"),
        ("/v1/wallet/envelopes?role=sent&".to_owned(), "cursor"),
    ] {
        for limit in ["0", "501", "-1", "ten", "", "1.5", "4294967296", "99999999999999999999", "%31%20"] {
            li.get(&format!("{path}limit={limit}")).invalid(Some("limit"));
        }
        li.get(&format!("{path}limit=1&limit=2")).invalid(Some("limit"));
        li.get(&format!("{path}page=2")).invalid(Some("page"));
        for garbage in ["x", "-1", "", "1.5", "99999999999999999999", "%00"] {
            li.get(&format!("{path}{field}={garbage}")).invalid(Some(field));
        }
        for limit in [1, 500] {
            li.get(&format!("{path}limit={limit}")).ok(200);
        }
    }
    for role in ["", "Sent", "both", "5"] {
        li.get(&format!("/v1/wallet/envelopes?role={role}")).invalid(Some("role"));
    }
    li.get("/v1/wallet/envelopes").invalid(Some("role"));

    let beyond = li.get(&format!("/v1/envelopes/{id}?after_seq=4294967295")).ok(200);
    assert_eq!((&beyond["opens"], &beyond["next_seq"]), (&json!([]), &json!(null)));
    let beyond = li.get("/v1/wallet/transfers?cursor=0").ok(200);
    assert_eq!(beyond, json!({ "transfers": [], "next_cursor": null }));
    service.check();
}
