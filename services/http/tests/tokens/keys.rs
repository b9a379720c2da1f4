//! Several keys at the same time, each by its name, and keys that change.

use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hongbao_core::limits::{TOKEN_KEY_FILE_BYTES_MAX, TOKEN_KEYS_MAX, TOKEN_KID_CHARS_MAX};
use hongbao_http::{Caller, KeyFile, Parties, Problem, TokenKey, TokenKeys, Verifier};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};

use crate::{ED_PRIVATE, ED_PUBLIC, SECRET, clock, good, refused};

const SECRET_A: &[u8; 32] = b"the secret of the key that is: a";
const SECRET_B: &[u8; 32] = b"the secret of the key that is: b";
/// What JSON and metrics write otherwise.
const ODD: &str = r#"k"\/{},.=+'`"#;

fn secret(kid: Option<&str>, secret: &[u8]) -> TokenKey {
    TokenKey::hs256(kid, secret).unwrap()
}

fn verifier(keys: Vec<TokenKey>) -> Verifier {
    Verifier::new(TokenKeys::new(keys).unwrap(), Parties::default(), clock())
}

/// One without a name, one of Ed25519, and three with secrets.
fn several() -> Vec<TokenKey> {
    vec![
        secret(Some("a"), SECRET_A),
        TokenKey::eddsa_pem(Some("e"), ED_PUBLIC.as_bytes()).unwrap(),
        secret(None, SECRET),
        secret(Some("b"), SECRET_B),
        secret(Some(ODD), SECRET_B),
    ]
}

/// A token with this header, whatever it says, signed with HS256.
fn signed(header: &Value, secret: &[u8]) -> String {
    signed_text(&header.to_string(), secret)
}

fn signed_text(header: &str, secret: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(good().to_string()));
    let key = EncodingKey::from_secret(secret);
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), &key, Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

fn hs256(kid: Option<&str>, secret: &[u8]) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::HS256) };
    jsonwebtoken::encode(&header, &good(), &EncodingKey::from_secret(secret)).unwrap()
}

fn eddsa(kid: Option<&str>) -> String {
    let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::EdDSA) };
    jsonwebtoken::encode(&header, &good(), &EncodingKey::from_ed_pem(ED_PRIVATE.as_bytes()).unwrap()).unwrap()
}

fn detail(answer: Result<Caller, Problem>) -> String {
    answer.unwrap_err().detail.into_owned()
}

#[test]
fn a_token_is_checked_with_the_key_that_it_names_and_with_no_other() {
    let verifier = verifier(several());
    let by_key = [
        (Some("a"), hs256(Some("a"), SECRET_A)),
        (Some("b"), hs256(Some("b"), SECRET_B)),
        (Some(ODD), hs256(Some(ODD), SECRET_B)),
        (None, hs256(None, SECRET)),
        (Some("e"), eddsa(Some("e"))),
    ];
    for (kid, token) in &by_key {
        // Twice: the second time it is remembered.
        for _ in 0..2 {
            assert_eq!(verifier.verify(token).unwrap().user.as_str(), "anna", "{kid:?}");
        }
    }
    for (kid, other) in
        [(Some("a"), SECRET_B), (Some("b"), SECRET_A), (Some("a"), SECRET), (None, SECRET_A), (Some("e"), SECRET)]
    {
        refused(&verifier, &hs256(kid, other));
    }
    for kid in [None, Some("a"), Some("b")] {
        refused(&verifier, &eddsa(kid));
    }
}

#[test]
fn a_token_is_good_however_its_issuer_writes_the_header() {
    let verifier = verifier(several());
    for header in [
        r#"{"alg":"HS256","kid":"a"}"#,
        r#"{"kid":"a","alg":"HS256"}"#,
        r#"{ "alg": "HS256", "typ": "JWT", "kid": "a" }"#,
        r#"{"alg":"HS256","typ":"JWT","kid":"\u0061"}"#,
        r#"{"alg":"HS256","typ":"at+jwt","kid":"a"}"#,
        r#"{"alg":"HS256","typ":"JWT","kid":"a","cty":"x"}"#,
        r#"{"alg":"HS256","typ":"JWT","kid":"a"}"#,
        r#"{"alg":"HS256","kid":"a","typ":"JWT"}"#,
        r#"{"typ":"JWT","alg":"HS256","kid":"a"}"#,
        r#"{"typ":"JWT","kid":"a","alg":"HS256"}"#,
        r#"{"kid":"a","alg":"HS256","typ":"JWT"}"#,
        r#"{"kid":"a","typ":"JWT","alg":"HS256"}"#,
    ] {
        assert!(verifier.verify(&signed_text(header, SECRET_A)).is_ok(), "{header}");
        assert_eq!(
            detail(verifier.verify(&signed_text(header, SECRET_B))),
            "the token's signature is wrong",
            "{header}"
        );
    }
}

#[test]
fn the_algorithm_is_that_of_the_key_whatever_the_header_says() {
    let verifier = verifier(several());
    let not_accepted = "the token's algorithm is not accepted";
    // The classic confusion: the public key, which anybody may know, taken for an HMAC secret.
    let raw = &URL_SAFE_NO_PAD.decode("bi5Ub8I5KGs7kL3qqgIkuQqOdLxOP5IgQI2FcwnWWt0").unwrap();
    for public in [raw, ED_PUBLIC.as_bytes(), ED_PUBLIC.trim().as_bytes()] {
        assert_eq!(detail(verifier.verify(&hs256(Some("e"), public))), not_accepted);
        assert_eq!(
            detail(verifier.verify(&signed(&json!({ "alg": "EdDSA", "kid": "e" }), public))),
            "the token's signature is wrong"
        );
    }
    assert_eq!(detail(verifier.verify(&eddsa(Some("a")))), not_accepted);
    for alg in ["HS384", "HS512", "RS256", "ES256", "EdDSA"] {
        let token = signed(&json!({ "alg": alg, "typ": "JWT", "kid": "a" }), SECRET_A);
        assert_eq!(detail(verifier.verify(&token)), not_accepted, "{alg}");
    }
    for alg in [json!("none"), json!("None"), json!("hs256"), json!(""), json!(null), json!(5)] {
        let token = signed(&json!({ "alg": alg, "kid": "a" }), SECRET_A);
        refused(&verifier, &token);
        refused(&verifier, &format!("{}.", token.rsplit_once('.').unwrap().0));
    }
    // A key that the token brings along is of no concern.
    let brought = json!({ "kty": "oct", "k": URL_SAFE_NO_PAD.encode(SECRET_B) });
    refused(&verifier, &signed(&json!({ "alg": "HS256", "kid": "a", "jwk": brought }), SECRET_B));
}

#[test]
fn a_token_that_names_no_key_of_ours_is_refused_however_odd_the_name() {
    let several = verifier(several());
    for kid in ["", " ", "A", "a ", "a\0", "../a", "a,b", "\u{7ea2}", &"a".repeat(60_000), &format!("{ODD}x")] {
        for secret in [SECRET, SECRET_A] {
            let token = signed(&json!({ "alg": "HS256", "typ": "JWT", "kid": kid }), secret);
            assert_eq!(
                detail(several.verify(&token)),
                "the token's key (`kid`) is not in force here",
                "{}",
                token.len()
            );
        }
    }
    for kid in [json!(1), json!(["a"]), json!({ "a": 1 }), json!(true)] {
        refused(&several, &signed(&json!({ "alg": "HS256", "kid": kid }), SECRET_A));
    }
    refused(&several, &signed_text(r#"{"alg":"HS256","kid":"b","kid":"a"}"#, SECRET_A));

    let only_named = verifier(vec![secret(Some("a"), SECRET_A)]);
    let reason = "the token does not name its key (`kid`), and each key here has a name";
    assert_eq!(detail(only_named.verify(&hs256(None, SECRET_A))), reason);
    let only_unnamed = verifier(vec![secret(None, SECRET_A)]);
    assert_eq!(
        detail(only_unnamed.verify(&hs256(Some("a"), SECRET_A))),
        "the token's key (`kid`) is not in force here"
    );
}

#[test]
fn a_key_that_is_taken_away_is_of_no_use_at_once_and_those_that_stay_are() {
    let verifier = verifier(vec![secret(Some("a"), SECRET_A), secret(Some("b"), SECRET_B)]);
    let clone = verifier.clone();
    let [a, b] = [hs256(Some("a"), SECRET_A), hs256(Some("b"), SECRET_B)];
    assert!(verifier.verify(&a).is_ok() && verifier.verify(&b).is_ok());
    assert!(clone.remembered_of(&a).is_some());
    verifier.replace_keys(TokenKeys::new(vec![secret(Some("b"), SECRET_B)]).unwrap());
    for verifier in [&verifier, &clone] {
        assert!(verifier.remembered_of(&a).is_none());
        assert_eq!(detail(verifier.verify(&a)), "the token's key (`kid`) is not in force here");
        assert!(verifier.verify(&b).is_ok());
    }
    // The same name for another key.
    verifier.replace_keys(TokenKeys::new(vec![secret(Some("b"), SECRET_A)]).unwrap());
    assert_eq!(detail(verifier.verify(&b)), "the token's signature is wrong");
    assert!(verifier.verify(&hs256(Some("b"), SECRET_A)).is_ok());
}

#[test]
fn keys_of_the_same_name_too_many_and_none_are_refused() {
    let error = |keys| TokenKeys::new(keys).err().unwrap().to_string();
    assert!(error(vec![]).contains("there are 0 keys"));
    let twice = vec![secret(Some("a"), SECRET_A), secret(Some("b"), SECRET_B), secret(Some("a"), SECRET_B)];
    assert!(error(twice).starts_with("the token key \"a\" cannot be used: there is another"));
    let unnamed = vec![secret(None, SECRET_A), secret(None, SECRET_B)];
    assert!(error(unnamed).starts_with("the token key cannot be used: there is another"));
    let many = |count| (0..count).map(|n: usize| secret(Some(&n.to_string()), SECRET_A)).collect::<Vec<_>>();
    assert!(TokenKeys::new(many(TOKEN_KEYS_MAX)).is_ok());
    assert!(error(many(TOKEN_KEYS_MAX + 1)).contains("there are 33 keys"));
    for kid in ["", "a b", "a\n", "\u{7ea2}", &"a".repeat(TOKEN_KID_CHARS_MAX + 1), &"\u{7ea2}".repeat(100_000)] {
        let error = TokenKey::hs256(Some(kid), SECRET_A).err().unwrap().to_string();
        assert!(error.contains("its `kid` must be 1 to 88") && error.len() < 1_000, "{error}");
    }
    assert!(TokenKey::hs256(Some("a"), &SECRET_A[1..]).err().unwrap().to_string().contains("31 bytes, 32 are needed"));
    // A key of Ed25519 whose bytes are cut short, or are no point of the curve.
    let pem = |bytes: &[u8]| {
        let base64 = base64::engine::general_purpose::STANDARD.encode(bytes);
        format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n")
    };
    let der = |key: &[u8]| {
        let mut der = vec![0x30, 10 + key.len() as u8, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 3, key.len() as u8 + 1, 0];
        der.extend_from_slice(key);
        der
    };
    let mut no_point = [0; 32];
    no_point[0] = 2;
    for key in [&[][..], &[7; 31], &no_point] {
        assert!(TokenKey::eddsa_pem(None, pem(&der(key)).as_bytes()).is_err(), "{key:?}");
    }
}

fn jwk(kid: &str, secret: &[u8]) -> Value {
    json!({ "kty": "oct", "kid": kid, "k": URL_SAFE_NO_PAD.encode(secret) })
}

fn write(path: &Path, keys: Value) {
    std::fs::write(path, json!({ "keys": keys }).to_string()).unwrap();
}

#[test]
fn a_file_of_keys_is_taken_over_whenever_it_is_good_and_left_alone_when_it_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("jwks.json");
    let open = |others| KeyFile::open(&path, others, Parties::default(), clock()).map_err(|reason| reason.to_string());
    assert!(open(vec![]).err().unwrap().contains("jwks.json: No such file"));
    write(&path, json!([jwk("a", SECRET_A)]));
    let twice = open(vec![secret(Some("a"), SECRET)]).err().unwrap();
    assert!(
        twice.ends_with("the token key \"a\" cannot be used: there is another key of that `kid`, or two without one")
    );

    let file: Arc<KeyFile> = open(vec![secret(None, SECRET)]).unwrap();
    let verifier = file.verifier().clone();
    let [unnamed, a, b] = [hs256(None, SECRET), hs256(Some("a"), SECRET_A), hs256(Some("b"), SECRET_B)];
    let good_ones = || [&unnamed, &a, &b].map(|token| verifier.verify(token).is_ok());
    assert_eq!(good_ones(), [true, true, false]);

    write(&path, json!([jwk("b", SECRET_B), jwk("a", SECRET_A)]));
    assert_eq!(good_ones(), [true, true, false], "it has not been read yet");
    file.look();
    assert_eq!(good_ones(), [true, true, true]);

    // Each of them changes nothing, and is counted once; when an operator asks for it, again.
    let bad = [
        "{\"keys\":[".to_owned(),
        String::new(),
        "{\"keys\":[]}".to_owned(),
        json!({ "keys": [jwk("b", SECRET_B), jwk("b", SECRET_A)] }).to_string(),
        json!({ "keys": [jwk("b", SECRET_B), { "kty": "RSA", "kid": "r", "n": "AQAB", "e": "AQAB" }] }).to_string(),
        json!({ "keys": [jwk("b", &SECRET_B[1..])] }).to_string(),
        format!("{}{}", json!({ "keys": [jwk("b", SECRET_B)] }), " ".repeat(TOKEN_KEY_FILE_BYTES_MAX as usize)),
    ];
    for (count, text) in bad.iter().enumerate() {
        std::fs::write(&path, text).unwrap();
        file.look();
        file.look();
        assert_eq!((file.refused(), file.is_refused()), (count as u64 + 1, true), "{text:.60}");
        assert_eq!(good_ones(), [true, true, true]);
    }
    std::fs::remove_file(&path).unwrap();
    file.look();
    file.reread();
    assert_eq!((file.refused(), file.is_refused()), (bad.len() as u64 + 2, true));
    assert_eq!(good_ones(), [true, true, true]);

    // The same keys, written otherwise: what is known of tokens stays.
    std::fs::write(&path, format!("{:#}\n", json!({ "keys": [jwk("b", SECRET_B), jwk("a", SECRET_A)] }))).unwrap();
    file.look();
    assert!(!file.is_refused() && verifier.remembered_of(&a).is_some());
    write(&path, json!([jwk("b", SECRET_B)]));
    file.look();
    assert_eq!(good_ones(), [true, false, true]);
    assert!(verifier.remembered_of(&a).is_none());
}
