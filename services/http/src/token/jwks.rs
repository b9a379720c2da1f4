//! Keys as their issuers publish them: a JWK Set (RFC 7517, 5), with secrets (`oct`, RFC 7518, 6.4) and public keys
//! of Ed25519 (`OKP`, RFC 8037, 2).
//!
//! Keys that are not for checking signatures are passed over. Any other that cannot be used is an error: its tokens
//! would be refused, and the file would not look wrong.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hongbao_core::limits::TOKEN_KID_CHARS_MAX;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, KeyAlgorithm, KeyOperations, PublicKeyUse};
use serde_json::Value;

use super::keys::TokenKey;

/// Reads the keys for signatures.
///
/// # Errors
/// What is wrong, for the operator, naming the key and never saying what it is.
pub fn read(text: &str) -> Result<Vec<TokenKey>, String> {
    // An error of the parser names the place alone.
    let set: Value = serde_json::from_str(text).map_err(|error| format!("it is not JSON: {error}"))?;
    let keys = set["keys"].as_array().ok_or("it is no JWK Set: an object with a list `keys`")?;
    let read = keys.iter().enumerate().map(|(at, key)| {
        key_of(key).map_err(|reason| match key["kid"].as_str() {
            Some(kid) => format!("key {:?}: {reason}", kid.chars().take(TOKEN_KID_CHARS_MAX).collect::<String>()),
            None => format!("key {} (without `kid`): {reason}", at + 1),
        })
    });
    let read: Vec<TokenKey> = read.filter_map(Result::transpose).collect::<Result<_, _>>()?;
    if read.is_empty() {
        return Err("it has no key for checking signatures".to_owned());
    }
    Ok(read)
}

/// `None` for one that is not for checking signatures.
fn key_of(value: &Value) -> Result<Option<TokenKey>, String> {
    // An error of the library might repeat the key.
    let jwk: Jwk =
        serde_json::from_value(value.clone()).map_err(|_| "a member is not of the type that RFC 7517 says")?;
    let is_for_signatures = jwk.common.public_key_use.is_none_or(|is_for| is_for == PublicKeyUse::Signature);
    let may_verify = jwk.common.key_operations.is_none_or(|operations| operations.contains(&KeyOperations::Verify));
    if !is_for_signatures || !may_verify {
        return Ok(None);
    }
    let kid = jwk.common.key_id.as_deref();
    let bytes = |encoded: &str| URL_SAFE_NO_PAD.decode(encoded).map_err(|_| "it is not in base64url without padding");
    let (algorithm, key) = match &jwk.algorithm {
        AlgorithmParameters::OctetKey(key) => (KeyAlgorithm::HS256, TokenKey::hs256(kid, &bytes(&key.value)?)),
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            if value.get("d").is_some() {
                return Err("it holds the private part (`d`), which belongs to the issuer alone".to_owned());
            }
            (KeyAlgorithm::EdDSA, TokenKey::eddsa(kid, &bytes(&key.x)?))
        }
        _ => {
            let reason = "it is neither a secret (`kty` oct, with `k`) nor a key of Ed25519 (`kty` OKP, `crv` Ed25519, with `x`)";
            return Err(reason.to_owned());
        }
    };
    if jwk.common.key_algorithm.is_some_and(|named| named != algorithm) {
        return Err(format!("its `alg` is not supported: a key of this `kty` checks {algorithm} alone"));
    }
    key.map(Some).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// 32 bytes, in base64url.
    const K: &str = "AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr8";
    /// Of RFC 8037, appendix A.2.
    const X: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";

    fn read_all(keys: Value) -> Result<Vec<(Option<String>, &'static str)>, String> {
        let keys = read(&json!({ "keys": keys }).to_string())?;
        Ok(keys.iter().map(|key| (key.kid().map(str::to_owned), key.algorithm())).collect())
    }

    fn with(mut key: Value, more: Value) -> Value {
        key.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        key
    }

    fn secret(more: Value) -> Value {
        with(json!({ "kty": "oct", "kid": "a", "k": K }), more)
    }

    fn public(more: Value) -> Value {
        with(json!({ "kty": "OKP", "crv": "Ed25519", "kid": "b", "x": X }), more)
    }

    #[test]
    fn secrets_and_public_keys_are_read_with_their_names() {
        let read = read_all(json!([
            secret(json!({ "use": "sig", "alg": "HS256", "key_ops": ["sign", "verify"], "x5t": "AA", "more": 1 })),
            public(json!({ "alg": "EdDSA" })),
            { "kty": "oct", "k": K },
        ]));
        let names = [(Some("a".to_owned()), "HS256"), (Some("b".to_owned()), "EdDSA"), (None, "HS256")];
        assert_eq!(read.unwrap(), names);
    }

    #[test]
    fn what_is_for_something_else_is_passed_over() {
        let others = json!([
            secret(json!({ "use": "enc" })),
            secret(json!({ "use": "else" })),
            secret(json!({ "key_ops": ["sign"] })),
            secret(json!({ "key_ops": [] })),
            public(json!({ "key_ops": ["sign", "encrypt"] })),
            { "kty": "RSA", "use": "enc", "n": "AQAB", "e": "AQAB" },
            public(json!({})),
        ]);
        assert_eq!(read_all(others).unwrap(), [(Some("b".to_owned()), "EdDSA")]);
    }

    #[test]
    fn what_cannot_be_used_is_refused_by_name_and_never_shown() {
        let not_supported = "key \"a\": it is neither a secret";
        for (key, reason) in [
            (json!({ "kty": "RSA", "kid": "a", "n": "AQAB", "e": "AQAB" }), not_supported),
            (json!({ "kty": "EC", "kid": "a", "crv": "P-256", "x": X, "y": X }), not_supported),
            (json!({ "kty": "OKP", "kid": "a", "crv": "Ed448", "x": X }), not_supported),
            (json!({ "kty": "OKP", "kid": "a", "crv": "X25519", "x": X }), not_supported),
            (json!({ "kty": "AKP", "kid": "a", "pub": X }), not_supported),
            (json!({ "kty": "OCT", "kid": "a", "k": K }), not_supported),
            (json!({ "kty": "oct", "kid": "a" }), not_supported),
            (json!({ "kid": "a", "k": K }), not_supported),
            (secret(json!({ "k": 12_345 })), not_supported),
            (json!({ "kty": "RSA", "n": "AQAB", "e": "AQAB" }), "key 1 (without `kid`): it is neither"),
            (
                secret(json!({ "alg": "HS512" })),
                "key \"a\": its `alg` is not supported: a key of this `kty` checks HS256",
            ),
            (secret(json!({ "alg": "EdDSA" })), "key \"a\": its `alg`"),
            (secret(json!({ "alg": "none" })), "key \"a\": its `alg`"),
            (
                public(json!({ "alg": "HS256" })),
                "key \"b\": its `alg` is not supported: a key of this `kty` checks EdDSA",
            ),
            (
                secret(json!({ "k": "c2hvcnQ" })),
                "key \"a\": the token key \"a\" cannot be used: the secret has 5 bytes",
            ),
            (secret(json!({ "k": format!("{K}=") })), "key \"a\": it is not in base64url"),
            (secret(json!({ "k": K.replace('-', "+") })), "key \"a\": it is not in base64url"),
            (public(json!({ "x": &X[2..] })), "key \"b\": it is not in base64url"),
            (public(json!({ "x": &X[4..] })), "it is no public key of Ed25519"),
            (public(json!({ "x": format!("{X}AAAA") })), "it is no public key of Ed25519"),
            (public(json!({ "x": "" })), "it is no public key of Ed25519"),
            // No point of the curve has this y.
            (public(json!({ "x": "AgAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA" })), "it is no public key of Ed25519"),
            (public(json!({ "d": X })), "key \"b\": it holds the private part"),
            (secret(json!({ "kid": 7 })), "key 1 (without `kid`): a member is not of the type"),
            (secret(json!({ "kid": "" })), "its `kid` must be 1 to 88 ASCII characters without spaces"),
            (secret(json!({ "kid": "a b" })), "its `kid` must be"),
            (secret(json!({ "kid": "\u{7ea2}" })), "its `kid` must be"),
            (secret(json!({ "kid": "k".repeat(89) })), "its `kid` must be"),
            (secret(json!({ "use": 1 })), "key \"a\": a member is not of the type"),
            (json!("a secret of somebody"), "key 1 (without `kid`): a member is not of the type"),
        ] {
            let error = read_all(json!([public(json!({ "kid": "good" })), key.clone()])).unwrap_err();
            let error = error.replace("key 2", "key 1");
            assert!(error.contains(reason), "{key} gave {error}");
            assert!(![K, X, "12345", "of somebody"].iter().any(|hidden| error.contains(hidden)), "{error}");
            assert!(error.len() < 400, "{error}");
        }
        assert!(read_all(json!([secret(json!({ "kid": "k".repeat(88) }))])).is_ok());
        assert!(read_all(json!([secret(json!({ "kid": "\"\\/{}'`$" }))])).is_ok());
    }

    #[test]
    fn what_is_no_set_of_keys_is_refused_in_words() {
        for (text, reason) in [
            ("", "it is not JSON: EOF"),
            ("{\"keys\":[", "it is not JSON: EOF"),
            ("[]", "it is no JWK Set"),
            ("{}", "it is no JWK Set"),
            ("{\"keys\":{}}", "it is no JWK Set"),
            ("{\"keys\":\"a secret\"}", "it is no JWK Set"),
            ("{\"keys\":[]}", "it has no key for checking signatures"),
        ] {
            let error = read(text).err().unwrap();
            assert!(error.starts_with(reason), "{text} gave {error}");
        }
    }
}
