//! The keys that tokens are checked with, each by its name, the token's `kid`.
//!
//! A token is checked with the key that it names and with no other, by the one algorithm of that key: what its header
//! says of algorithms chooses nothing (RFC 8725, 3.1). One key may have no name; it is for tokens that name none.

use std::collections::HashMap;

use hongbao_core::limits::{TOKEN_KEYS_MAX, TOKEN_KID_CHARS_MAX, TOKEN_SECRET_BYTES_MIN};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::de::DeserializeOwned;

use super::hs256::{Forged, Hs256, usual_headers};

const FORGED: &str = "the token's signature is wrong";
const ED25519_BYTES: usize = 32;

/// A key that cannot be used. It says why, and never what the key is.
#[derive(Debug, thiserror::Error)]
#[error("the token key{} cannot be used: {reason}", named(.kid.as_deref()))]
pub struct KeyError {
    kid: Option<String>,
    reason: String,
}

fn named(kid: Option<&str>) -> String {
    kid.map(|kid| format!(" {kid:?}")).unwrap_or_default()
}

/// A key, and what tokens call it.
#[derive(Clone, PartialEq, Eq)]
pub struct TokenKey {
    kid: Option<String>,
    material: Material,
}

#[derive(Clone, PartialEq, Eq)]
enum Material {
    Secret(Box<[u8]>),
    Ed25519([u8; ED25519_BYTES]),
}

impl TokenKey {
    /// For HS256 tokens that are signed with `secret`, of at least 32 bytes.
    pub fn hs256(kid: Option<&str>, secret: &[u8]) -> Result<TokenKey, KeyError> {
        check_secret(secret).map_err(|error| KeyError { kid: kid.map(str::to_owned), ..error })?;
        TokenKey::new(kid, Material::Secret(secret.into()))
    }

    /// For EdDSA tokens that are signed by the owner of an Ed25519 public key in PEM.
    pub fn eddsa_pem(kid: Option<&str>, public_key_pem: &[u8]) -> Result<TokenKey, KeyError> {
        let of_library = |error: jsonwebtoken::errors::Error| refused(kid, error.to_string());
        let key = DecodingKey::from_ed_pem(public_key_pem).map_err(of_library)?;
        TokenKey::eddsa(kid, key.try_get_as_bytes().map_err(of_library)?)
    }

    /// The same of the public key's bytes (RFC 8032, 5.1.5).
    pub fn eddsa(kid: Option<&str>, public_key: &[u8]) -> Result<TokenKey, KeyError> {
        let no_key = || refused(kid, "it is no public key of Ed25519, which has 32 bytes".to_owned());
        let bytes = <[u8; ED25519_BYTES]>::try_from(public_key).map_err(|_| no_key())?;
        // The library says no before it looks at the signature, which is none.
        jsonwebtoken::crypto::verify("", b"", &DecodingKey::from_ed_der(&bytes), Algorithm::EdDSA)
            .map_err(|_| no_key())?;
        TokenKey::new(kid, Material::Ed25519(bytes))
    }

    fn new(kid: Option<&str>, material: Material) -> Result<TokenKey, KeyError> {
        let is_name = |kid: &str| {
            (1..=TOKEN_KID_CHARS_MAX).contains(&kid.len()) && kid.bytes().all(|byte| byte.is_ascii_graphic())
        };
        if kid.is_some_and(|kid| !is_name(kid)) {
            let reason = format!("its `kid` must be 1 to {TOKEN_KID_CHARS_MAX} ASCII characters without spaces");
            return Err(refused(kid, reason));
        }
        Ok(TokenKey { kid: kid.map(str::to_owned), material })
    }

    /// What tokens call it; none: it is for tokens that name no key.
    pub fn kid(&self) -> Option<&str> {
        self.kid.as_deref()
    }

    /// The only algorithm that it is used with, as tokens write it.
    pub fn algorithm(&self) -> &'static str {
        match self.material {
            Material::Secret(_) => "HS256",
            Material::Ed25519(_) => "EdDSA",
        }
    }
}

fn refused(kid: Option<&str>, reason: String) -> KeyError {
    // It may be as long as a file, and hold anything.
    KeyError { kid: kid.map(|kid| kid.chars().take(TOKEN_KID_CHARS_MAX).collect()), reason }
}

/// Refuses a secret that could be guessed.
pub(super) fn check_secret(secret: &[u8]) -> Result<(), KeyError> {
    if secret.len() < TOKEN_SECRET_BYTES_MIN {
        return Err(refused(
            None,
            format!("the secret has {} bytes, {TOKEN_SECRET_BYTES_MIN} are needed", secret.len()),
        ));
    }
    Ok(())
}

/// The keys that are in force at the same time.
pub struct TokenKeys {
    keys: Vec<TokenKey>,
    /// The same, in the same order.
    prepared: Vec<Prepared>,
    /// Headers as issuers mostly write them, by the key that they name.
    usual: HashMap<Box<str>, usize>,
}

struct Prepared {
    key: DecodingKey,
    validation: Validation,
    /// For most tokens, where the key is a secret.
    hs256: Option<Hs256>,
}

impl TokenKeys {
    /// One or more keys; no two of the same name.
    pub fn new(keys: Vec<TokenKey>) -> Result<TokenKeys, KeyError> {
        if keys.is_empty() || keys.len() > TOKEN_KEYS_MAX {
            return Err(refused(None, format!("there are {} keys: 1 to {TOKEN_KEYS_MAX} are needed", keys.len())));
        }
        for (at, key) in keys.iter().enumerate() {
            if keys[..at].iter().any(|other| other.kid == key.kid) {
                return Err(refused(key.kid(), "there is another key of that `kid`, or two without one".to_owned()));
            }
        }
        let with_secret = keys.iter().enumerate().filter(|(_, key)| matches!(key.material, Material::Secret(_)));
        let usual =
            with_secret.flat_map(|(at, key)| usual_headers(key.kid()).into_iter().map(move |header| (header, at)));
        Ok(TokenKeys { usual: usual.collect(), prepared: keys.iter().map(Prepared::new).collect(), keys })
    }

    /// The keys as they were given.
    pub fn keys(&self) -> &[TokenKey] {
        &self.keys
    }

    /// The claims of a token whose signature is good; else what is wrong with it, for its owner.
    pub(super) fn claims<C: DeserializeOwned>(&self, token: &str) -> Result<C, &'static str> {
        match self.claims_of_usual(token) {
            Some(Ok(claims)) => Ok(claims),
            Some(Err(Forged)) => Err(FORGED),
            None => self.claims_of_any(token),
        }
    }

    /// `None` for a token that is not judged so.
    fn claims_of_usual<C: DeserializeOwned>(&self, token: &str) -> Option<Result<C, Forged>> {
        let (header, _) = token.split_once('.')?;
        let at = *self.usual.get(header)?;
        self.prepared[at].hs256.as_ref()?.claims(token, header)
    }

    fn claims_of_any<C: DeserializeOwned>(&self, token: &str) -> Result<C, &'static str> {
        let header = jsonwebtoken::decode_header(token).map_err(|error| reason(error.kind()))?;
        let named = self.keys.iter().position(|key| key.kid == header.kid);
        let Prepared { key, validation, .. } = match named {
            Some(at) => &self.prepared[at],
            None if header.kid.is_some() => return Err("the token's key (`kid`) is not in force here"),
            None => return Err("the token does not name its key (`kid`), and each key here has a name"),
        };
        let checked = jsonwebtoken::decode::<C>(token, key, validation);
        checked.map(|data| data.claims).map_err(|error| reason(error.kind()))
    }
}

impl Prepared {
    fn new(key: &TokenKey) -> Prepared {
        let (algorithm, hs256, key) = match &key.material {
            Material::Secret(secret) => (Algorithm::HS256, Some(Hs256::new(secret)), DecodingKey::from_secret(secret)),
            Material::Ed25519(bytes) => (Algorithm::EdDSA, None, DecodingKey::from_ed_der(bytes)),
        };
        let mut validation = Validation::new(algorithm);
        // The times are checked by the verifier, by the clock that was passed in, and so are the
        // parties, with messages of our own.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        Prepared { key, validation, hs256 }
    }
}

/// Says no more than what the token's owner can see anyway.
fn reason(error: &ErrorKind) -> &'static str {
    match error {
        ErrorKind::InvalidSignature => FORGED,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "the token's algorithm is not accepted",
        ErrorKind::Json(_) => "the token's header or claims are not as they should be",
        _ => "the token is not a JWT",
    }
}
