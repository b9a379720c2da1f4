//! The document of the contract, held against the service that serves it.

use serde_json::{Value, json};

use crate::support::{Service, User, lucky, text_of, with};

/// An order that there is not.
const ORDER: &str = "0199c0de-0000-7000-8000-000000000001";

fn document(user: &User) -> Value {
    user.get("/openapi.json").ok(200)
}

/// Every call of the document: method, path with an id of this user's in it, and what is said of it.
fn calls(document: &Value, id: &str) -> Vec<(String, String, Value)> {
    let paths = document["paths"].as_object().unwrap();
    let calls = paths.iter().flat_map(|(path, item)| {
        let path = path.replace("{id}", id).replace("{order}", ORDER);
        item.as_object().unwrap().iter().map(move |(method, call)| (method.to_uppercase(), path.clone(), call.clone()))
    });
    calls.collect()
}

/// Parameters without which a call is not made.
fn required(call: &Value) -> String {
    let all = call["parameters"].as_array().into_iter().flatten();
    let needed = all.filter(|one| one["in"] == "query" && one["required"] == true);
    needed
        .map(|one| format!("{}={}&", one["name"].as_str().unwrap(), one["schema"]["enum"][0].as_str().unwrap_or("li")))
        .collect()
}

#[test]
fn every_call_refuses_a_query_field_that_it_does_not_know_by_name() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(1_000);
    let id = li.send(&lucky(100, 10));
    let calls = calls(&document(&li), &id);
    assert!(calls.len() >= 12, "{}", calls.len());
    for (method, path, call) in &calls {
        let asked = |query: &str| li.call(method, &format!("{path}?{}{query}", required(call)), None);
        asked("unknown=li").invalid(Some("unknown"));
    }
    li.get("/openapi.json?x=1").invalid(Some("x"));
    li.get("/v1/wallet?").ok(200);
    service.check();
}

#[test]
fn the_bounds_of_every_number_in_a_query_are_those_that_are_kept() {
    let service = Service::start("");
    let li = service.user("li");
    li.top_up(1_000);
    let id = li.send(&lucky(100, 10));
    let token = li.post("/v1/dev/token", &json!({ "user_id": "op", "role": "operator" })).ok(200);
    let operator = service.bearer("op", text_of(&token["token"]));
    let mut bounds = 0;
    for (method, path, call) in calls(&document(&li), &id) {
        for parameter in call["parameters"].as_array().into_iter().flatten() {
            let (name, schema) = (parameter["name"].as_str().unwrap(), &parameter["schema"]);
            let (Some(min), Some(max)) = (schema["minimum"].as_i64(), schema["maximum"].as_i64()) else { continue };
            let asker = if path.starts_with("/v1/operator/") { &operator } else { &li };
            let asked = |value: i64| asker.call(&method, &format!("{path}?{}{name}={value}", required(&call)), None);
            for good in [min, max] {
                asked(good).ok(200);
            }
            for bad in [min - 1, max + 1] {
                asked(bad).invalid(Some(name));
            }
            bounds += 2;
        }
    }
    assert!(bounds >= 8, "{bounds}");
    for path in ["/v1/wallet/transfers?", "/v1/wallet/envelopes?role=sent&"] {
        li.get(&format!("{path}cursor=999999999999999999")).ok(200);
        for bad in ["", "+1", "-1", "1000000000000000000", "0x1", "1.0"] {
            li.get(&format!("{path}cursor={bad}")).invalid(Some("cursor"));
        }
    }
    service.check();
}

#[test]
fn the_bounds_of_every_number_in_a_body_are_those_that_are_kept() {
    let service = Service::start("");
    let li = service.user("li");
    let schemas = document(&li)["components"]["schemas"].clone();
    let create = |body: Value| li.post("/v1/envelopes", &body);
    let top_up = |body: Value| li.post("/v1/dev/top-up", &body);
    // Each field by itself, beside others that fit to it.
    let wide = &json!({ "kind": "lucky", "total_fen": 500, "shares": 500 });
    let money = json!({ "amount_fen": 1, "id": "00000000-0000-4000-8000-000000000001" });
    for (schema, field, good) in [
        ("CreateEnvelope", "expires_in_s", wide.clone()),
        ("CreateEnvelope", "total_fen", wide.clone()),
        ("CreateEnvelope", "shares", wide.clone()),
        ("TopUpRequest", "amount_fen", money),
    ] {
        let bounds = &schemas[schema]["properties"][field];
        let (min, max) = (bounds["minimum"].as_i64().unwrap(), bounds["maximum"].as_i64().unwrap());
        let ask = |value: i64| {
            let body = with(good.clone(), field, value);
            match (field, value) {
                // The least that one share can hold.
                ("total_fen", 1) => create(with(body, "shares", 1)),
                _ if schema == "TopUpRequest" => {
                    let id = format!("00000000-0000-4000-8000-{:012x}", value.max(0));
                    top_up(with(body, "id", id))
                }
                _ => create(body),
            }
        };
        for value in [min, max] {
            let status = ask(value).status;
            assert!([200, 201].contains(&status), "{field} = {value}: {status}");
        }
        for value in [min - 1, max + 1] {
            ask(value).invalid(Some(field));
        }
    }
    let chars = schemas["CreateEnvelope"]["properties"]["greeting"]["maxLength"].as_u64().unwrap() as usize;
    create(with(wide.clone(), "greeting", "红".repeat(chars))).ok(201);
    create(with(wide.clone(), "greeting", "红".repeat(chars + 1))).invalid(Some("greeting"));
    // To JSON, 500.0 and 5e2 are the integer 500.
    for total in ["500.0", "5e2"] {
        li.post_text("/v1/envelopes", &format!(r#"{{"kind":"lucky","total_fen":{total},"shares":500}}"#)).ok(201);
    }
    service.check();
}
