//! Which tokens are good, and what the others are told.

#[path = "../common/mod.rs"]
mod common;
mod keys;

use std::sync::Arc;

use axum::Router;
use axum::extract::{FromRef, Request};
use axum::middleware::{self, Next};
use axum::routing::get;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use common::{Wire, patient, start};
use hongbao_core::time::ManualClock;
use hongbao_core::wire::Role;
use hongbao_core::{Clock, GroupId, Timestamp, UserId, limits};
use hongbao_http::{Caller, Code, Issuer, Parties, Verifier, json_response};
use http::StatusCode;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

const SECRET: &[u8; 32] = b"a secret that only the tests use";
const OTHER_SECRET: &[u8; 32] = b"another secret, of other servers";
const NOW_S: i64 = 1_771_257_600;

const ED_PUBLIC: &str = "-----BEGIN PUBLIC KEY-----
MCowBQYDK2VwAyEAbi5Ub8I5KGs7kL3qqgIkuQqOdLxOP5IgQI2FcwnWWt0=
-----END PUBLIC KEY-----
";
const ED_PRIVATE: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIMSVNJtm/+UDLJ084nN3mdHWyCHOrdFmkWlO3Jb6/v46
-----END PRIVATE KEY-----
";
const ED_PRIVATE_OTHER: &str = "-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEINpdOYoNhguel5gzcwXuJrafTK6EthXKTPtQ1YBY4usl
-----END PRIVATE KEY-----
";

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::at(Timestamp::from_millis(NOW_S * 1_000)))
}

fn verifier() -> Verifier {
    Verifier::hs256(SECRET, clock()).unwrap()
}

fn hs256(claims: &Value) -> String {
    sign(Algorithm::HS256, claims, &EncodingKey::from_secret(SECRET))
}

fn sign(algorithm: Algorithm, claims: &Value, key: &EncodingKey) -> String {
    jsonwebtoken::encode(&Header::new(algorithm), claims, key).unwrap()
}

fn good() -> Value {
    json!({"sub": "anna", "exp": NOW_S + 60})
}

fn with(change: Value) -> Value {
    let mut claims = good();
    for (key, value) in change.as_object().unwrap() {
        claims[key] = value.clone();
    }
    claims
}

fn refused(verifier: &Verifier, token: &str) {
    let problem = verifier.verify(token).unwrap_err();
    assert_eq!(problem.code, Code::Unauthorized, "{token}");
}

#[test]
fn a_good_token_gives_its_caller() {
    let token = hs256(&json!({
        "sub": "anna", "exp": NOW_S + 60, "groups": ["g1", "g2"], "role": "operator", "iss": "elsewhere", "jti": "7",
    }));
    let caller = verifier().verify(&token).unwrap();
    assert_eq!(caller.user.as_str(), "anna");
    assert_eq!(caller.groups.iter().map(GroupId::as_str).collect::<Vec<_>>(), ["g1", "g2"]);
    assert!(caller.operator);
    assert!(caller.require_operator().is_ok());
    let plain = verifier().verify(&hs256(&good())).unwrap();
    assert!(plain.groups.is_empty() && !plain.operator);
    assert_eq!(plain.require_operator().unwrap_err().code, Code::Forbidden);
    assert!(!verifier().verify(&hs256(&with(json!({"role": "clerk"})))).unwrap().operator);
}

#[test]
fn a_token_expires_by_the_clock_that_was_passed_in_to_the_millisecond() {
    let clock = clock();
    let verifier = Verifier::hs256(SECRET, clock.clone()).unwrap();
    let (whole, fraction) = (hs256(&good()), hs256(&with(json!({"exp": NOW_S as f64 + 60.5}))));
    // Twice: the second time it is remembered.
    for _ in 0..2 {
        assert!(verifier.verify(&whole).is_ok());
        assert!(verifier.verify(&fraction).is_ok());
    }
    clock.advance_millis(59_999);
    assert!(verifier.verify(&whole).is_ok());
    clock.advance_millis(1);
    refused(&verifier, &whole);
    assert!(verifier.verify(&fraction).is_ok());
    clock.advance_millis(500);
    refused(&verifier, &fraction);
    refused(&Verifier::hs256(SECRET, clock).unwrap(), &whole);
}

#[test]
fn a_token_that_is_dated_in_milliseconds_is_refused_in_words() {
    let verifier = verifier();
    const CENTURY_S: i64 = limits::TOKEN_YEARS_MAX * 365 * 86_400;
    // Twice: nothing of it is remembered.
    for _ in 0..2 {
        for exp in [json!((NOW_S + 60) * 1_000), json!(NOW_S + CENTURY_S + 1), json!(1e300)] {
            let problem = verifier.verify(&hs256(&with(json!({"exp": exp})))).unwrap_err();
            assert_eq!(problem.code, Code::Unauthorized);
            let reason = "the token's `exp` is too far ahead: it must be in seconds, not milliseconds";
            assert_eq!(problem.detail, reason, "{exp}");
        }
    }
    assert!(verifier.verify(&hs256(&with(json!({"exp": NOW_S + CENTURY_S})))).is_ok());
    refused(&verifier, &hs256(&with(json!({"exp": -1e300}))));
}

#[test]
fn a_token_from_the_future_is_not_valid_yet() {
    let clock = clock();
    let verifier = Verifier::hs256(SECRET, clock.clone()).unwrap();
    let token = hs256(&with(json!({"nbf": NOW_S + 10})));
    refused(&verifier, &token);
    clock.advance_millis(10_000);
    assert!(verifier.verify(&token).is_ok());
}

#[test]
fn claims_that_are_missing_or_ill_typed_are_refused() {
    let verifier = verifier();
    for claims in [
        json!({"exp": NOW_S + 60}),
        json!({"sub": "anna"}),
        json!([]),
        with(json!({"sub": 5})),
        with(json!({"sub": ""})),
        with(json!({"sub": "a b"})),
        with(json!({"sub": "x".repeat(65)})),
        with(json!({"exp": "tomorrow"})),
        with(json!({"exp": null})),
        with(json!({"exp": -1})),
        with(json!({"exp": 0})),
        with(json!({"groups": "g1"})),
        with(json!({"groups": ["a b"]})),
        with(json!({"groups": [1]})),
        with(json!({"role": ["operator"]})),
        with(json!({"groups": vec!["g"; limits::GROUPS_MAX + 1]})),
    ] {
        refused(&verifier, &hs256(&claims));
    }
    assert!(verifier.verify(&hs256(&with(json!({"groups": vec!["g"; limits::GROUPS_MAX]})))).is_ok());
}

fn parties(audience: Option<&str>, issuer: Option<&str>) -> Parties {
    Parties { audience: audience.map(str::to_owned), issuer: issuer.map(str::to_owned) }
}

#[test]
fn a_token_for_another_service_or_from_another_issuer_is_refused() {
    // As `aud` and `iss`, and whether that is good where both, one or none is demanded.
    const BOTH: usize = 0;
    const AUDIENCE: usize = 1;
    const ISSUER: usize = 2;
    const NEITHER: usize = 3;
    let verifiers = [
        parties(Some("hongbao"), Some("bank")),
        parties(Some("hongbao"), None),
        parties(None, Some("bank")),
        parties(None, None),
    ]
    .map(|parties| verifier().between(parties));
    for (claims, good_for) in [
        (json!({"aud": "hongbao", "iss": "bank"}), &[BOTH, AUDIENCE][..]),
        (json!({"aud": ["shop", "hongbao"], "iss": "bank"}), &[BOTH, AUDIENCE]),
        (json!({"aud": ["hongbao"], "iss": "thief"}), &[AUDIENCE]),
        (json!({"aud": "hongbao"}), &[AUDIENCE]),
        (json!({"aud": "shop", "iss": "bank"}), &[]),
        (json!({"aud": "Hongbao", "iss": "bank"}), &[]),
        (json!({"aud": "hongbao2", "iss": "bank"}), &[]),
        (json!({"aud": ["shop"], "iss": "bank"}), &[]),
        (json!({"aud": [], "iss": "bank"}), &[]),
        (json!({"aud": "", "iss": "bank"}), &[]),
        (json!({"aud": null, "iss": "bank"}), &[]),
        (json!({"aud": 7, "iss": "bank"}), &[]),
        (json!({"aud": ["hongbao", 7], "iss": "bank"}), &[]),
        (json!({"aud": {"0": "hongbao"}, "iss": "bank"}), &[]),
        (json!({"aud": "hongbao", "iss": ["bank"]}), &[]),
        (json!({"aud": "hongbao", "iss": null}), &[]),
        (json!({"iss": "bank"}), &[ISSUER, NEITHER]),
        (json!({"iss": "thief"}), &[NEITHER]),
        (json!({}), &[NEITHER]),
    ] {
        let token = hs256(&with(claims.clone()));
        for (demanded, verifier) in verifiers.iter().enumerate() {
            // Twice: what was found good is remembered, what was not is not.
            for _ in 0..2 {
                let told = verifier.verify(&token).map_err(|problem| problem.code);
                let wanted = if good_for.contains(&demanded) { Ok("anna") } else { Err(Code::Unauthorized) };
                assert_eq!(told.as_ref().map(|caller| caller.user.as_str()).map_err(|code| *code), wanted, "{claims}");
            }
        }
    }
}

#[test]
fn a_claim_that_stands_there_twice_is_refused() {
    let verifier = verifier().between(parties(Some("hongbao"), None));
    let key = EncodingKey::from_secret(SECRET);
    let twice = format!(r#"{{"sub":"anna","exp":{},"aud":"shop","aud":"hongbao"}}"#, NOW_S + 60);
    let head = URL_SAFE_NO_PAD.encode(r#"{"alg":"HS256"}"#);
    let signed = format!("{head}.{}", URL_SAFE_NO_PAD.encode(twice));
    let signature = jsonwebtoken::crypto::sign(signed.as_bytes(), &key, Algorithm::HS256).unwrap();
    refused(&verifier, &format!("{signed}.{signature}"));
}

#[test]
fn an_issued_token_names_the_parties_that_are_demanded() {
    let parties = parties(Some("hongbao"), Some("bank"));
    let issuer = Issuer::hs256(SECRET, clock()).unwrap();
    let anna = UserId::parse("anna").unwrap();
    let verifier = verifier().between(parties.clone());
    refused(&verifier, &issuer.issue(&anna, &[], None, 60));
    assert!(verifier.verify(&issuer.between(parties).issue(&anna, &[], Some(Role::Operator), 60)).unwrap().operator);
}

#[test]
fn a_forged_or_foreign_token_is_refused() {
    let verifier = verifier();
    refused(&verifier, &sign(Algorithm::HS256, &good(), &EncodingKey::from_secret(OTHER_SECRET)));
    let token = hs256(&good());
    let [header, claims, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("three parts") };
    let other_claims = URL_SAFE_NO_PAD.encode(with(json!({"sub": "otto"})).to_string());
    for forged in [
        format!("{header}.{other_claims}.{signature}"),
        format!("{header}.{claims}."),
        format!("{header}.{claims}"),
        format!("{header}.{claims}.{signature}.{signature}"),
        format!("{header}.{claims}.{}A", &signature[..signature.len() - 2]),
        format!("{header}..{signature}"),
        format!(".{claims}.{signature}"),
        format!(" {token}"),
        format!("{token}="),
        "..".to_owned(),
        ".".to_owned(),
        String::new(),
        "红.包.🧧".to_owned(),
    ] {
        refused(&verifier, &forged);
    }
    // None of them has disturbed the good one.
    assert!(verifier.verify(&token).is_ok());
}

#[test]
fn only_the_configured_algorithm_is_accepted() {
    let verifier = verifier();
    let claims = URL_SAFE_NO_PAD.encode(good().to_string());
    for header in [r#"{"alg":"none"}"#, r#"{"alg":"None","typ":"JWT"}"#, r#"{"typ":"JWT"}"#, r#"{"alg":5}"#, "{}", "x"]
    {
        let header = URL_SAFE_NO_PAD.encode(header);
        refused(&verifier, &format!("{header}.{claims}."));
        refused(&verifier, &format!("{header}.{claims}.{}", URL_SAFE_NO_PAD.encode([0; 32])));
    }
    for algorithm in [Algorithm::HS384, Algorithm::HS512] {
        refused(&verifier, &sign(algorithm, &good(), &EncodingKey::from_secret(SECRET)));
    }
    let ed = EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).unwrap();
    refused(&verifier, &sign(Algorithm::EdDSA, &good(), &ed));
}

#[test]
fn eddsa_takes_tokens_of_its_key_alone() {
    let verifier = Verifier::eddsa(ED_PUBLIC.as_bytes(), clock()).unwrap();
    let token = |pem: &str| sign(Algorithm::EdDSA, &good(), &EncodingKey::from_ed_pem(pem.as_bytes()).unwrap());
    for _ in 0..2 {
        assert_eq!(verifier.verify(&token(ED_PRIVATE)).unwrap().user.as_str(), "anna");
    }
    refused(&verifier, &token(ED_PRIVATE_OTHER));
    refused(&verifier, &hs256(&good()));
    // The classic confusion: the public key taken for an HMAC secret.
    for secret in [ED_PUBLIC.as_bytes(), ED_PUBLIC.trim().as_bytes()] {
        refused(&verifier, &sign(Algorithm::HS256, &good(), &EncodingKey::from_secret(secret)));
    }
}

#[test]
fn a_key_that_cannot_protect_anything_is_refused_at_the_start() {
    assert!(Verifier::hs256(b"short", clock()).is_err());
    assert!(Verifier::hs256(b"", clock()).is_err());
    assert!(Issuer::hs256(b"short", clock()).is_err());
    assert!(Verifier::eddsa(b"not a PEM", clock()).is_err());
    assert!(Verifier::eddsa(ED_PRIVATE.as_bytes(), clock()).is_err());
}

#[test]
fn an_issued_token_is_accepted_until_it_expires() {
    let clock = clock();
    let issuer = Issuer::hs256(SECRET, clock.clone()).unwrap();
    let verifier = Verifier::hs256(SECRET, clock.clone()).unwrap();
    let (user, group) = (UserId::parse("anna").unwrap(), GroupId::parse("g1").unwrap());
    let token = issuer.issue(&user, std::slice::from_ref(&group), Some(Role::Operator), 30);
    let caller = verifier.verify(&token).unwrap();
    assert_eq!((caller.user, &caller.groups[..], caller.operator), (user.clone(), &[group][..], true));
    clock.advance_millis(30_000);
    refused(&verifier, &token);
    assert!(verifier.verify(&issuer.issue(&user, &[], None, 30)).is_ok());
}

#[derive(Clone)]
struct App {
    verifier: Verifier,
}

impl FromRef<App> for Verifier {
    fn from_ref(app: &App) -> Verifier {
        app.verifier.clone()
    }
}

async fn whoami(caller: Caller) -> axum::response::Response {
    json_response(StatusCode::OK, &json!({"user": caller.user, "groups": caller.groups.len()}))
}

fn router(clock: Arc<dyn Clock>) -> Router {
    Router::new().route("/me", get(whoami)).with_state(App { verifier: Verifier::hs256(SECRET, clock).unwrap() })
}

#[tokio::test]
async fn the_authorization_header_is_a_bearer_token_or_a_401() {
    let server = start(router(clock()), patient()).await;
    let mut wire = Wire::open(&server).await;
    let token = hs256(&good());
    for scheme in ["Bearer", "bearer", "BEARER"] {
        wire.send(format!("GET /me HTTP/1.1\r\nhost: x\r\nauthorization: {scheme} {token}\r\n\r\n")).await;
        assert_eq!(wire.reply().await.body, r#"{"groups":0,"user":"anna"}"#);
    }
    for header in [
        String::new(),
        "authorization: \r\n".to_owned(),
        "authorization: Bearer\r\n".to_owned(),
        "authorization: Bearer \r\n".to_owned(),
        format!("authorization: {token}\r\n"),
        format!("authorization: Basic {token}\r\n"),
        format!("authorization: Bearer {token} {token}\r\n"),
        format!("authorization: Bearer {token}\r\nauthorization: Bearer {token}\r\n"),
        format!("authorization: Bearer \u{7ea2}{token}\r\n"),
        format!("authorization: Bearer {}\r\n", "a".repeat(30_000)),
        format!("authorization: Bearer {}\r\n", "a.".repeat(10_000)),
    ] {
        wire.send(format!("GET /me HTTP/1.1\r\nhost: x\r\n{header}\r\n")).await;
        let reply = wire.reply().await;
        reply.problem(401, "unauthorized");
        assert_eq!(reply.header("www-authenticate"), Some("Bearer"));
    }
}

#[tokio::test]
async fn a_caller_that_a_layer_has_found_out_is_not_asked_again() {
    let known = Caller { user: UserId::parse("otto").unwrap(), groups: Arc::new([]), operator: false, class: None };
    let layer = middleware::from_fn(move |mut request: Request, next: Next| {
        request.extensions_mut().insert(known.clone());
        next.run(request)
    });
    let server = start(router(clock()).layer(layer), patient()).await;
    assert_eq!(Wire::open(&server).await.get("/me").await.body, r#"{"groups":0,"user":"otto"}"#);
}
