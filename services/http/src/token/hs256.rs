//! Tokens as their issuers mostly write them: HS256, with a header of `alg`, `typ` and, where the key has a name, `kid`.
//!
//! A peak brings each token for the first time, and then its check is the dearest part of a request. Here a key is
//! prepared once, a header is compared, and the claims are read once. What is not exactly so is not judged here.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use serde::de::DeserializeOwned;
use sha2::Sha256;

const MAC_BYTES: usize = 32;

/// The signature of a usual token is not its secret's.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Forged;

/// A secret, prepared for many tokens.
#[derive(Clone)]
pub(crate) struct Hs256(Hmac<Sha256>);

impl Hs256 {
    pub(crate) fn new(secret: &[u8]) -> Hs256 {
        Hs256(Hmac::new_from_slice(secret).expect("HMAC takes a key of any length"))
    }

    /// The claims of a token with this header, which is a usual one, unless it is forged; `None` for a token that is
    /// not judged here.
    pub(crate) fn claims<C: DeserializeOwned>(&self, token: &str, header: &str) -> Option<Result<C, Forged>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let payload = signed.strip_prefix(header)?.strip_prefix('.')?;
        let mut mac = [0; MAC_BYTES];
        if URL_SAFE_NO_PAD.decode_slice(signature, &mut mac) != Ok(MAC_BYTES) {
            return None;
        }
        // Compares in constant time.
        if self.0.clone().chain_update(signed).verify_slice(&mac).is_err() {
            return Some(Err(Forged));
        }
        let claims = URL_SAFE_NO_PAD.decode(payload).ok()?;
        // Claims are an object (RFC 7519, 7.2); serde would take them from an array as well.
        let is_object = claims.first() == Some(&b'{');
        serde_json::from_slice(&claims).ok().filter(|_| is_object).map(Ok)
    }
}

/// The headers, in base64, that issuers mostly write for a key of this name.
pub(crate) fn usual_headers(kid: Option<&str>) -> Vec<Box<str>> {
    const ALG: &str = r#""alg":"HS256""#;
    const TYP: &str = r#""typ":"JWT""#;
    let texts = match kid {
        None => vec![format!("{{{ALG},{TYP}}}"), format!("{{{TYP},{ALG}}}")],
        Some(kid) => {
            let kid = format!("\"kid\":{}", serde_json::Value::from(kid));
            [[ALG, TYP, &kid], [ALG, &kid, TYP], [TYP, ALG, &kid], [TYP, &kid, ALG], [&kid, ALG, TYP], [&kid, TYP, ALG]]
                .map(|members| format!("{{{}}}", members.join(",")))
                .to_vec()
        }
    };
    texts.into_iter().map(|text| URL_SAFE_NO_PAD.encode(text).into()).collect()
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"a secret of more than thirty-two bytes";
    /// What a name may hold that JSON writes otherwise.
    const KIDS: [Option<&str>; 3] = [None, Some("2026-11"), Some(r#"a"b\c/"#)];

    fn token_of(claims: &Value, kid: Option<&str>) -> String {
        let header = Header { kid: kid.map(str::to_owned), ..Header::new(Algorithm::HS256) };
        jsonwebtoken::encode(&header, claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    fn by_us(secret: &[u8], kid: Option<&str>, token: &str) -> Option<Result<Value, Forged>> {
        let (header, _) = token.split_once('.')?;
        let is_usual = usual_headers(kid).iter().any(|usual| **usual == *header);
        is_usual.then(|| Hs256::new(secret).claims(token, header))?
    }

    fn by_the_library(token: &str) -> Option<Value> {
        let mut validation = Validation::new(Algorithm::HS256);
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.required_spec_claims.clear();
        jsonwebtoken::decode(token, &DecodingKey::from_secret(SECRET), &validation).ok().map(|data| data.claims)
    }

    #[test]
    fn a_usual_token_has_the_claims_that_the_library_reads() {
        for kid in KIDS {
            for claims in
                [json!({ "sub": "li", "exp": 4_000_000_000_u32 }), json!({ "sub": "\u{1f9e7}", "groups": ["a"] })]
            {
                let token = token_of(&claims, kid);
                assert_eq!(by_us(SECRET, kid, &token), Some(Ok(claims.clone())));
                assert_eq!(by_the_library(&token), Some(claims));
            }
        }
    }

    #[test]
    fn usual_headers_are_what_they_are_said_to_be() {
        let texts = |kid| usual_headers(kid).iter().map(|header| text_of(header)).collect::<Vec<_>>();
        assert_eq!(texts(None), [r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"typ":"JWT","alg":"HS256"}"#]);
        assert_eq!(
            texts(Some("k1")),
            [
                r#"{"alg":"HS256","typ":"JWT","kid":"k1"}"#,
                r#"{"alg":"HS256","kid":"k1","typ":"JWT"}"#,
                r#"{"typ":"JWT","alg":"HS256","kid":"k1"}"#,
                r#"{"typ":"JWT","kid":"k1","alg":"HS256"}"#,
                r#"{"kid":"k1","alg":"HS256","typ":"JWT"}"#,
                r#"{"kid":"k1","typ":"JWT","alg":"HS256"}"#,
            ]
        );
        for kid in KIDS {
            for header in usual_headers(kid) {
                let header = jsonwebtoken::decode_header(format!("{header}.e30.AA")).unwrap();
                assert_eq!((header.kid.as_deref(), header.alg), (kid, Algorithm::HS256));
            }
        }
    }

    fn text_of(header: &str) -> String {
        String::from_utf8(URL_SAFE_NO_PAD.decode(header).unwrap()).unwrap()
    }

    #[test]
    fn what_is_altered_anywhere_has_no_claims_and_is_forged_only_if_the_library_refuses_it() {
        for kid in KIDS {
            let token = token_of(&json!({ "sub": "li", "exp": 4_000_000_000_u32 }), kid);
            for place in 0..token.len() {
                for other in ["A", "B", ".", "=", "~", ""] {
                    let altered = format!("{}{other}{}", &token[..place], &token[place + 1..]);
                    let here = by_us(SECRET, kid, &altered);
                    assert!(!matches!(here, Some(Ok(_))) || altered == token, "{altered}");
                    assert!(here != Some(Err(Forged)) || by_the_library(&altered).is_none(), "{altered}");
                }
            }
            let header = token.split('.').next().unwrap();
            for other in ["", ".", "..", &format!("{token}."), &format!("{token}A"), &token[1..], "a.b.c", header] {
                assert_eq!(by_us(SECRET, kid, other), None, "{other}");
            }
            assert_eq!(by_us(SECRET, kid, &format!("{header}.{}", "A".repeat(43))), None, "two parts");
            assert_eq!(by_us(b"another secret", kid, &token), Some(Err(Forged)));
        }
    }

    #[test]
    fn claims_that_are_no_object_are_not_judged_here() {
        for claims in [json!(["li", 4_000_000_000_u32, null, null, null, [], null]), json!("li"), json!(1)] {
            assert_eq!(by_us(SECRET, None, &token_of(&claims, None)), None, "{claims}");
        }
    }
}
