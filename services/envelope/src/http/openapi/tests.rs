use std::collections::BTreeSet;

use hongbao_core::request::CreateEnvelope;
use hongbao_core::wire::{DevTokenRequest, OpenRequest, OrderRequest, PayRequest, TopUpRequest};

use super::super::freezes::FreezeRequest;
use super::super::operator::PermitsRequest;
use super::*;

/// Of a service that offers everything.
fn whole_document() -> Value {
    document_of(&Limits::default())
}

fn document_of(limits: &Limits) -> Value {
    document(&Offer {
        limits,
        takes_rehearsals: true,
        issues_tokens: true,
        makes_money: true,
        has_provider: true,
        asked_directly: true,
    })
}

/// The statuses under which a call answers.
fn statuses(document: &Value, path: &str, method: &str) -> Vec<String> {
    let answers = document["paths"][path][method]["responses"].as_object();
    answers.unwrap_or_else(|| panic!("{method} {path}")).keys().cloned().collect()
}

#[test]
fn every_call_names_the_problems_that_it_may_answer_with() {
    let document = whole_document();
    let always = ["400", "413", "414", "422", "431", "500", "503"];
    for (path, method, own) in [
        ("/v1/envelopes", "post", &["201", "401", "403", "408", "409", "421", "429", "504"][..]),
        (
            "/v1/envelopes/{id}/pay",
            "post",
            &["200", "202", "401", "402", "403", "404", "408", "409", "421", "429", "504"],
        ),
        ("/v1/envelopes/{id}/grab", "post", &["200", "401", "403", "404", "409", "421", "429"]),
        ("/v1/envelopes/{id}/open", "post", &["200", "401", "403", "404", "408", "409", "421", "429", "504"]),
        ("/v1/envelopes/{id}", "get", &["200", "401", "403", "404", "421", "429"]),
        ("/v1/wallet", "get", &["200", "401", "403", "429"]),
        ("/v1/wallet/transfers", "get", &["200", "401", "403", "429"]),
        ("/v1/wallet/envelopes", "get", &["200", "401", "403", "429"]),
        ("/v1/charges", "post", &["201", "401", "403", "404", "408", "409", "429", "504"]),
        ("/v1/charges", "get", &["200", "401", "403", "404", "429"]),
        ("/v1/charges/{order}", "get", &["200", "401", "403", "404", "429"]),
        ("/v1/payouts", "post", &["201", "401", "402", "403", "404", "408", "409", "429", "504"]),
        ("/v1/payouts", "get", &["200", "401", "403", "404", "429"]),
        ("/v1/payouts/{order}", "get", &["200", "401", "403", "404", "429"]),
        ("/v1/events", "get", &["200", "401", "403", "429"]),
        ("/v1/events/stream", "get", &["200", "401", "403", "429"]),
        ("/v1/operator/permits", "get", &["200", "401", "403", "429"]),
        ("/v1/operator/permits", "put", &["200", "401", "403", "408", "429"]),
        ("/v1/operator/frozen-users", "get", &["200", "401", "403", "429"]),
        ("/v1/operator/frozen-users", "put", &["200", "401", "403", "408", "429", "504"]),
        ("/v1/operator/freeze-log", "get", &["200", "401", "403", "429"]),
        ("/v1/dev/token", "post", &["200", "403", "408"]),
        ("/v1/dev/top-up", "post", &["200", "401", "403", "408", "409", "429", "504"]),
    ] {
        let mut expected: Vec<String> = always.iter().chain(own).map(|status| (*status).to_owned()).collect();
        expected.sort_unstable();
        assert_eq!(statuses(&document, path, method), expected, "{method} {path}");
        for status in expected.iter().filter(|status| !status.starts_with('2')) {
            let answer = &document["paths"][path][method]["responses"][status];
            let schema = &answer["content"]["application/problem+json"]["schema"]["$ref"];
            assert_eq!(schema, "#/components/schemas/ProblemBody", "{status}");
        }
    }
}

#[test]
fn every_call_of_the_table_has_a_handler_and_no_handler_is_for_another() {
    let document = whole_document();
    let paths = document["paths"].as_object().unwrap();
    let of_path = |(path, methods): (&String, &Value)| {
        let methods = methods.as_object().unwrap().keys();
        methods.map(|method| format!("{} {path}", method.to_uppercase())).collect::<Vec<_>>()
    };
    let handled: BTreeSet<String> = paths.iter().flat_map(of_path).collect();
    let calls = Call::ALL.into_iter().filter(|call| !matches!(call, Call::Document | Call::Docs)).map(Call::info);
    let called: BTreeSet<String> = calls.map(|call| format!("{} {}", call.method.as_str(), call.path)).collect();
    assert_eq!(handled, called);
}

#[test]
fn what_is_not_offered_is_not_in_the_document() {
    let limits = Limits::default();
    let document = document(&Offer {
        limits: &limits,
        takes_rehearsals: false,
        issues_tokens: false,
        makes_money: false,
        has_provider: false,
        asked_directly: false,
    });
    let calls = &document["paths"];
    let is_offered = |path: &String| path.starts_with("/v1/dev/") || path.starts_with("/v1/operator/");
    assert!(!calls.as_object().unwrap().keys().any(is_offered));
    assert!(!calls.to_string().contains(REHEARSAL.as_str()));
    assert!(!statuses(&document, "/v1/wallet", "get").contains(&"403".to_owned()));
}

#[test]
fn every_code_that_the_service_can_answer_with_is_listed() {
    let document = whole_document();
    let schemas = &document["components"]["schemas"];
    assert_eq!(schemas["ProblemBody"]["properties"]["code"]["$ref"], "#/components/schemas/ProblemCode");
    // The schema is made from the variants, so that this also finds one that `ALL` or its text forgets.
    let listed = serde_json::json!(Code::ALL.map(Code::as_str));
    assert_eq!(schemas["ProblemCode"]["enum"], listed);
}

#[test]
fn every_code_that_a_call_names_exists_and_has_the_status_that_it_stands_under() {
    let document = whole_document();
    let mut named = 0;
    let calls = document["paths"].as_object().unwrap().values().flat_map(|path| path.as_object().unwrap().values());
    for (status, answer) in calls.flat_map(|call| call["responses"].as_object().unwrap()) {
        if answer["content"]["application/problem+json"].is_null() {
            continue;
        }
        let codes = answer["description"].as_str().unwrap().split('`').skip(1).step_by(2);
        for text in codes.filter(|text| *text != "Retry-After") {
            let code = Code::ALL.into_iter().find(|code| code.as_str() == text);
            let code = code.unwrap_or_else(|| panic!("there is no code {text}"));
            assert_eq!(code.status().to_string(), *status, "{text}");
            named += 1;
        }
    }
    assert!(named > 50, "{named}");
}

/// Whether it says which values are good.
fn is_bounded(schema: &Value) -> bool {
    let has = |name: &str| schema.get(name).is_some();
    let types: Vec<&str> = match &schema["type"] {
        Value::String(one) => vec![one],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        // A reference, or one of several.
        _ => return has("$ref") || has("oneOf"),
    };
    types.iter().all(|type_of| match *type_of {
        "integer" => has("minimum") && has("maximum"),
        "string" => has("pattern") || has("enum") || has("const") || schema["format"] == "uuid",
        "array" => has("maxItems") && is_bounded(&schema["items"]),
        "null" | "boolean" => true,
        other => panic!("nothing is known of {other}"),
    })
}

#[test]
fn everything_that_a_client_sends_is_bounded_in_the_document() {
    let document = whole_document();
    let schemas = &document["components"]["schemas"];
    let mut fields = 0;
    let calls = document["paths"].as_object().unwrap().iter();
    for (path, call) in calls.flat_map(|(path, item)| item.as_object().unwrap().values().map(move |c| (path, c))) {
        for parameter in call["parameters"].as_array().into_iter().flatten() {
            // Any will do, or it is a token.
            if parameter["in"] != "header" {
                assert!(is_bounded(&parameter["schema"]), "{path}: {parameter}");
                fields += 1;
            }
        }
        let Some(body) = call["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str() else {
            continue;
        };
        // That of a payment has defaults for all that is in it.
        assert_eq!(call["requestBody"]["required"], path != Call::Pay.path(), "{path}");
        let body = &schemas[body.rsplit('/').next().unwrap()];
        assert_eq!(body["additionalProperties"], false, "{path}: unknown fields are refused");
        for (name, field) in body["properties"].as_object().unwrap() {
            assert!(is_bounded(field), "{path}: {name}: {field}");
            fields += 1;
        }
    }
    assert!(fields >= 20, "{fields}");
}

#[test]
fn the_bounds_are_those_of_the_configuration() {
    let limits = Limits { expires_in_s_min: 1, shares_max: 7, greeting_chars_max: 3, ..Limits::default() };
    let document = document_of(&limits);
    let create = &document["components"]["schemas"]["CreateEnvelope"]["properties"];
    assert_eq!((&create["shares"]["minimum"], &create["shares"]["maximum"]), (&json!(1), &json!(7)));
    assert_eq!(create["total_fen"]["maximum"], 7 * 20_000);
    assert_eq!(create["greeting"]["maxLength"], 3);
    assert_eq!((&create["expires_in_s"]["minimum"], &create["expires_in_s"]["maximum"]), (&json!(1), &json!(86_400)));
}

#[test]
fn a_field_that_may_be_null_is_there_all_the_same() {
    let document = whole_document();
    let schemas = &document["components"]["schemas"];
    for (name, field) in [("EnvelopeView", "expires_at"), ("Detail", "luckiest"), ("TransfersPage", "next_cursor")] {
        let required = schemas[name]["required"].as_array().unwrap();
        assert!(required.contains(&json!(field)), "{name}: {required:?}");
    }
}

#[test]
fn every_field_of_an_answer_is_bounded_in_the_document() {
    let document = whole_document();
    let free = ["ProblemBody.title", "ProblemBody.detail", "ProblemBody.field"];
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        for (field, schema) in schema["properties"].as_object().into_iter().flatten() {
            let is_free = free.contains(&format!("{name}.{field}").as_str());
            assert!(is_free || is_bounded(schema), "{name}.{field}: {schema}");
        }
    }
    // What the constants say and the patterns repeat.
    let names = format!("{{1,{}}}$", hongbao_core::limits::NAME_CHARS_MAX);
    assert!(hongbao_core::user::NAME_PATTERN.ends_with(&names));
}

#[test]
fn each_outcome_has_a_schema_of_its_own_and_the_field_that_tells_them_apart() {
    let document = whole_document();
    let schemas = &document["components"]["schemas"];
    for (name, field, forms) in [
        ("Outcome", "outcome", &["opened", "empty", "expired"][..]),
        ("GrabAnswer", "outcome", &["ready", "opened", "empty", "expired"]),
        ("AudienceBody", "type", &["link", "group", "user"]),
    ] {
        let union = &schemas[name];
        assert_eq!(union["discriminator"]["propertyName"], field, "{name}");
        let mapping = union["discriminator"]["mapping"].as_object().unwrap();
        assert_eq!(mapping.keys().map(String::as_str).collect::<BTreeSet<_>>(), forms.iter().copied().collect());
        for (value, reference) in mapping {
            let form = document.pointer(reference.as_str().unwrap().trim_start_matches('#')).unwrap();
            assert_eq!(form["properties"][field]["const"], *value, "{reference}");
            assert!(form["required"].as_array().unwrap().contains(&json!(field)), "{reference}");
            assert!(union["oneOf"].as_array().unwrap().contains(&json!({ "$ref": reference })), "{reference}");
        }
    }
}

#[test]
fn every_call_has_a_name_a_summary_a_tag_that_is_described_and_examples() {
    let mut document = whole_document();
    let tags: Vec<Value> = document["tags"].as_array().unwrap().iter().map(|tag| tag["name"].clone()).collect();
    let mut names = BTreeSet::new();
    for call in parts::operations(&mut document) {
        assert!(names.insert(call["operationId"].as_str().unwrap().to_owned()), "{}", call["operationId"]);
        assert!(call["summary"].as_str().is_some_and(|summary| !summary.contains(". ")), "{call}");
        assert!(tags.contains(&call["tags"][0]), "{}", call["tags"]);
        let body = call.get("requestBody").map(|body| &body["content"]["application/json"]["example"]);
        assert!(body.is_none_or(Value::is_object), "{}", call["operationId"]);
        for (status, answer) in call["responses"].as_object().unwrap() {
            assert!(answer["description"].as_str().is_some_and(|text| !text.is_empty()), "{status}");
            let contents = answer["content"].as_object();
            assert!(contents.is_some() || status == "204", "{} {status}", call["operationId"]);
            let mut contents = contents.into_iter().flat_map(|contents| contents.values());
            assert!(contents.all(|content| content["examples"].is_object()), "{} {status}", call["operationId"]);
        }
    }
}

#[test]
fn the_examples_of_requests_are_good_requests() {
    for limits in [Limits::default(), Limits { shares_max: 1, ..Limits::default() }] {
        for (call, body) in examples::requests(&limits) {
            match call {
                Call::Create => {
                    let request: CreateEnvelope = serde_json::from_value(body).unwrap();
                    let total = request.total_fen.within(&(1..=i64::MAX)).unwrap();
                    let shares = request.shares.within(&limits.shares()).unwrap();
                    assert!(limits.total_fen(shares as u32).contains(&total));
                }
                Call::Pay => drop(serde_json::from_value::<PayRequest>(body).unwrap()),
                Call::Charge | Call::Payout => {
                    let request: OrderRequest = serde_json::from_value(body).unwrap();
                    let bounds = if call == Call::Charge { limits.charge_fen() } else { limits.payout_fen() };
                    assert!(request.amount_fen.within(&bounds).is_some());
                }
                Call::Open => drop(serde_json::from_value::<OpenRequest>(body).unwrap()),
                Call::SetPermits => drop(serde_json::from_value::<PermitsRequest>(body).unwrap()),
                Call::SetFrozenUser => drop(serde_json::from_value::<FreezeRequest>(body).unwrap()),
                Call::DevToken => drop(serde_json::from_value::<DevTokenRequest>(body).unwrap()),
                Call::DevTopUp => drop(serde_json::from_value::<TopUpRequest>(body).unwrap()),
                call => panic!("{call:?} takes no body"),
            }
        }
    }
}
