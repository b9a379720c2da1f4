//! Tokens as their issuers mostly write them: HS256, with one of two headers.
//!
//! A peak brings each token for the first time, and then its check is the dearest part of a request. Here a key is
//! prepared once, a header is compared, and the claims are read once. What is not exactly so is not judged here.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use hmac::{Hmac, Mac as _};
use serde::de::DeserializeOwned;
use sha2::Sha256;

/// `{"alg":"HS256","typ":"JWT"}` and `{"typ":"JWT","alg":"HS256"}`, with the dot that follows.
const USUAL_HEADERS: [&str; 2] = ["eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.", "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9."];
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

    /// The claims of a token with a usual header, unless it is forged; `None` for a token that is not judged here.
    pub(crate) fn claims<C: DeserializeOwned>(&self, token: &str) -> Option<Result<C, Forged>> {
        let (signed, signature) = token.rsplit_once('.')?;
        let payload = USUAL_HEADERS.iter().find_map(|header| signed.strip_prefix(header))?;
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

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
    use serde_json::{Value, json};

    use super::*;

    const SECRET: &[u8] = b"a secret of more than thirty-two bytes";

    fn token_of(claims: &Value) -> String {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(SECRET)).unwrap()
    }

    fn by_the_library(token: &str) -> Option<Value> {
        let mut validation = Validation::new(Algorithm::HS256);
        (validation.validate_exp, validation.validate_aud) = (false, false);
        validation.required_spec_claims.clear();
        jsonwebtoken::decode(token, &DecodingKey::from_secret(SECRET), &validation).ok().map(|data| data.claims)
    }

    #[test]
    fn a_usual_token_has_the_claims_that_the_library_reads() {
        for claims in [json!({ "sub": "li", "exp": 4_000_000_000_u32 }), json!({ "sub": "\u{1f9e7}", "groups": ["a"] })]
        {
            let token = token_of(&claims);
            assert_eq!(Hs256::new(SECRET).claims::<Value>(&token), Some(Ok(claims.clone())));
            assert_eq!(by_the_library(&token), Some(claims));
        }
    }

    #[test]
    fn both_usual_headers_are_what_they_are_said_to_be() {
        for (header, text) in
            USUAL_HEADERS.iter().zip([r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"typ":"JWT","alg":"HS256"}"#])
        {
            assert_eq!(header.strip_suffix('.'), Some(&*URL_SAFE_NO_PAD.encode(text)));
        }
    }

    #[test]
    fn what_is_altered_anywhere_has_no_claims_and_is_forged_only_if_the_library_refuses_it() {
        let token = token_of(&json!({ "sub": "li", "exp": 4_000_000_000_u32 }));
        let key = Hs256::new(SECRET);
        for place in 0..token.len() {
            for other in ["A", "B", ".", "=", "~", ""] {
                let altered = format!("{}{other}{}", &token[..place], &token[place + 1..]);
                let here = key.claims::<Value>(&altered);
                assert!(!matches!(here, Some(Ok(_))) || altered == token, "{altered}");
                assert!(here != Some(Err(Forged)) || by_the_library(&altered).is_none(), "{altered}");
            }
        }
        for other in ["", ".", "..", &format!("{token}."), &format!("{token}A"), &token[1..], "a.b.c"] {
            assert_eq!(key.claims::<Value>(other), None, "{other}");
        }
        assert_eq!(Hs256::new(b"another secret").claims::<Value>(&token), Some(Err(Forged)));
    }

    #[test]
    fn claims_that_are_no_object_are_not_judged_here() {
        for claims in [json!(["li", 4_000_000_000_u32, null, null, null, [], null]), json!("li"), json!(1)] {
            assert_eq!(Hs256::new(SECRET).claims::<Value>(&token_of(&claims)), None, "{claims}");
        }
    }
}
