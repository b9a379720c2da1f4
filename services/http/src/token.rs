//! Who is calling: tokens, their verification, and the caller that comes out.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts};
use hongbao_core::limits::{GROUPS_MAX, TOKEN_CACHE_BYTES_MAX, TOKEN_SECRET_BYTES_MIN, TOKEN_YEARS_MAX};
use hongbao_core::wire::Role;
use hongbao_core::{Clock, GroupId, Timestamp, UserId};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use http::request::Parts;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use serde::{Deserialize, Deserializer, Serialize};

use crate::hs256::{Forged, Hs256};
use crate::problem::{Code, Problem};
use crate::request_log::note_user;

/// Who calls, as the token says. Cheap to clone; handlers take it as an argument.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The token's `sub`.
    pub user: UserId,
    /// The token's `groups`.
    pub groups: Arc<[GroupId]>,
    /// Whether the token's `role` is `operator`.
    pub operator: bool,
}

impl Caller {
    /// Refuses everybody but operators.
    pub fn require_operator(&self) -> Result<(), Problem> {
        if self.operator { Ok(()) } else { Err(Problem::new(Code::Forbidden, "this call is for operators")) }
    }
}

const YEAR_MS: i64 = 365 * 86_400_000;

/// What a token says. Other claims are of no concern here.
#[derive(Deserialize)]
struct Claims {
    sub: UserId,
    /// Seconds since the epoch, possibly with a fraction (RFC 7519, NumericDate).
    exp: f64,
    nbf: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Audiences>,
    #[serde(default)]
    groups: Vec<GroupId>,
    role: Option<String>,
}

/// `aud`: one audience, or a list of them (RFC 7519, 4.1.3).
#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Several(Vec<String>),
}

impl Audiences {
    fn name(&self, audience: &str) -> bool {
        match self {
            Audiences::One(one) => one == audience,
            Audiences::Several(several) => several.iter().any(|one| one == audience),
        }
    }
}

/// A claim that is there must be what it should be: `null` is not the same as nothing.
fn present<'de, D: Deserializer<'de>, T: Deserialize<'de>>(deserializer: D) -> Result<Option<T>, D::Error> {
    T::deserialize(deserializer).map(Some)
}

/// Whom tokens must be for, and from whom; what is not given is not demanded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Parties {
    /// Our name: the token's `aud` must name it. Where we have no name, a token
    /// that names an audience is not for us, whichever it names (RFC 7519, 4.1.3).
    pub audience: Option<String>,
    /// The token's `iss` must be this; not given, any or none is good.
    pub issuer: Option<String>,
}

impl Parties {
    /// What is wrong with a token that says this of them.
    fn check(&self, claims: &Claims) -> Result<(), &'static str> {
        match (&self.audience, &claims.aud) {
            (None, None) => {}
            (None, Some(_)) => return Err("the token is for an audience (`aud`), and this service has none"),
            (Some(_), None) => return Err("the token does not say that it is for this service (`aud`)"),
            (Some(ours), Some(theirs)) if theirs.name(ours) => {}
            (Some(_), Some(_)) => return Err("the token is for another service (`aud`)"),
        }
        match &self.issuer {
            Some(wanted) if claims.iss.as_ref() != Some(wanted) => {
                Err("the token is not from the issuer that is trusted here (`iss`)")
            }
            _ => Ok(()),
        }
    }
}

/// A token that was found good, and when it ceases to be.
#[derive(Clone)]
struct Verified {
    caller: Caller,
    exp: Timestamp,
}

/// Checks tokens: one key, one algorithm. Cheap to clone.
#[derive(Clone)]
pub struct Verifier(Arc<Inner>);

struct Inner {
    key: DecodingKey,
    /// For most tokens, where the key is a secret.
    hs256: Option<Hs256>,
    validation: Validation,
    parties: Parties,
    cache_bytes_max: usize,
    clock: Arc<dyn Clock>,
    verified: Cache<Box<str>, Verified, Weight>,
}

/// A key that cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("the token key cannot be used: {0}")]
pub struct KeyError(String);

impl Verifier {
    /// Accepts HS256 tokens signed with `secret`, of at least 32 bytes.
    pub fn hs256(secret: &[u8], clock: Arc<dyn Clock>) -> Result<Verifier, KeyError> {
        check_secret(secret)?;
        Ok(Verifier::of_secret(secret, clock, TOKEN_CACHE_BYTES_MAX))
    }

    /// Accepts EdDSA (Ed25519) tokens signed by the owner of a public key in PEM.
    pub fn eddsa(public_key_pem: &[u8], clock: Arc<dyn Clock>) -> Result<Verifier, KeyError> {
        let key = DecodingKey::from_ed_pem(public_key_pem).map_err(|error| KeyError(error.to_string()))?;
        Ok(Verifier::new(Algorithm::EdDSA, key, None, clock, TOKEN_CACHE_BYTES_MAX))
    }

    fn of_secret(secret: &[u8], clock: Arc<dyn Clock>, cache_bytes_max: usize) -> Verifier {
        let (key, usual) = (DecodingKey::from_secret(secret), Hs256::new(secret));
        Verifier::new(Algorithm::HS256, key, Some(usual), clock, cache_bytes_max)
    }

    fn new(
        algorithm: Algorithm,
        key: DecodingKey,
        hs256: Option<Hs256>,
        clock: Arc<dyn Clock>,
        cache_bytes_max: usize,
    ) -> Verifier {
        let mut validation = Validation::new(algorithm);
        // The times are checked here, by the clock that was passed in, and so are the
        // parties, with messages of our own.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let parties = Parties::default();
        let verified = remembered(cache_bytes_max);
        Verifier(Arc::new(Inner { key, hs256, validation, parties, cache_bytes_max, clock, verified }))
    }

    /// The same, for tokens between these parties alone. It has found none good yet.
    pub fn between(self, parties: Parties) -> Verifier {
        let Inner { key, hs256, validation, clock, cache_bytes_max, .. } = &*self.0;
        Verifier(Arc::new(Inner {
            key: key.clone(),
            hs256: hs256.clone(),
            validation: validation.clone(),
            parties,
            cache_bytes_max: *cache_bytes_max,
            clock: clock.clone(),
            verified: remembered(*cache_bytes_max),
        }))
    }

    /// The caller that a token stands for; 401 if it is not good.
    pub fn verify(&self, token: &str) -> Result<Caller, Problem> {
        let now = self.0.clock.now();
        let verified = match self.0.verified.get(token) {
            Some(verified) => verified,
            None => self.decode(token, now)?,
        };
        if now >= verified.exp {
            return Err(refuse("the token has expired"));
        }
        Ok(verified.caller)
    }

    /// The caller of a request with these headers; 401 if it has no good token.
    pub fn verify_headers(&self, headers: &HeaderMap) -> Result<Caller, Problem> {
        self.verify(bearer(headers)?)
    }

    /// The caller of a request with these headers, if its token has been found good
    /// before: costs no hash of it.
    pub fn remembered(&self, headers: &HeaderMap) -> Option<Caller> {
        self.remembered_of(bearer(headers).ok()?)
    }

    /// The same of a token.
    pub fn remembered_of(&self, token: &str) -> Option<Caller> {
        let verified = self.0.verified.get(token)?;
        (self.0.clock.now() < verified.exp).then_some(verified.caller)
    }

    /// Checks signature and claims, and remembers a token that is good.
    fn decode(&self, token: &str, now: Timestamp) -> Result<Verified, Problem> {
        let inner = &*self.0;
        let claims = match inner.hs256.as_ref().and_then(|usual| usual.claims(token)) {
            Some(Ok(claims)) => claims,
            Some(Err(Forged)) => return Err(refuse(FORGED)),
            None => match jsonwebtoken::decode::<Claims>(token, &inner.key, &inner.validation) {
                Ok(data) => data.claims,
                Err(error) => return Err(refuse(reason(error.kind()))),
            },
        };
        inner.parties.check(&claims).map_err(refuse)?;
        if claims.groups.len() > GROUPS_MAX {
            return Err(refuse("the token names too many groups"));
        }
        if claims.nbf.is_some_and(|nbf| seconds(nbf) > now) {
            return Err(refuse("the token is not valid yet"));
        }
        let caller = Caller {
            user: claims.sub,
            groups: claims.groups.into(),
            operator: claims.role.as_deref() == Some("operator"),
        };
        let verified = Verified { caller, exp: seconds(claims.exp) };
        if now < verified.exp {
            if verified.exp.millis_since(now) > TOKEN_YEARS_MAX * YEAR_MS {
                return Err(refuse("the token's `exp` is too far ahead: it must be in seconds, not milliseconds"));
            }
            inner.verified.insert(token.into(), verified.clone());
        }
        Ok(verified)
    }
}

/// A NumericDate; out of range it stops at the ends.
fn seconds(numeric_date: f64) -> Timestamp {
    Timestamp::from_millis((numeric_date * 1_000.0) as i64)
}

/// The one token of the `Authorization` header.
fn bearer(headers: &HeaderMap) -> Result<&str, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let Some(value) = values.next() else { return Err(refuse("there is no Authorization header")) };
    if values.next().is_some() {
        return Err(refuse("there is more than one Authorization header"));
    }
    match value.to_str().ok().and_then(|text| text.split_once(' ')) {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(refuse("the Authorization header is not `Bearer` and a token")),
    }
}

fn refuse(detail: &'static str) -> Problem {
    Problem::new(Code::Unauthorized, detail)
}

const FORGED: &str = "the token's signature is wrong";

/// Says no more than what the token's owner can see anyway.
fn reason(error: &jsonwebtoken::errors::ErrorKind) -> &'static str {
    use jsonwebtoken::errors::ErrorKind;
    match error {
        ErrorKind::InvalidSignature => FORGED,
        ErrorKind::InvalidAlgorithm | ErrorKind::InvalidAlgorithmName => "the token's algorithm is not accepted",
        ErrorKind::Json(_) => "the token's header or claims are not as they should be",
        _ => "the token is not a JWT",
    }
}

/// An empty memory for tokens that were found good.
fn remembered(bytes_max: usize) -> Cache<Box<str>, Verified, Weight> {
    Cache::with_weighter(bytes_max / TOKEN_BYTES_USUAL, bytes_max as u64, Weight)
}

/// What a remembered token takes when it names few groups.
const TOKEN_BYTES_USUAL: usize = 512;

/// How much a remembered token takes, roughly, in bytes.
#[derive(Clone)]
struct Weight;

impl Weighter<Box<str>, Verified> for Weight {
    fn weight(&self, token: &Box<str>, verified: &Verified) -> u64 {
        let groups: usize =
            verified.caller.groups.iter().map(|group| size_of::<GroupId>() + group.as_str().len()).sum();
        (size_of::<(Box<str>, Verified)>() + token.len() + groups + 64) as u64
    }
}

impl<S> FromRequestParts<S> for Caller
where
    S: Sync,
    Verifier: FromRef<S>,
{
    type Rejection = Problem;

    /// Takes the caller that the gateway has put into the extensions, if it has.
    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Caller, Problem> {
        match parts.extensions.get::<Caller>() {
            Some(caller) => Ok(caller.clone()),
            None => {
                let caller: Caller = Verifier::from_ref(state).verify_headers(&parts.headers)?;
                note_user(&caller.user);
                Ok(caller)
            }
        }
    }
}

/// Makes HS256 tokens: for development and tests.
#[derive(Clone)]
pub struct Issuer {
    key: EncodingKey,
    parties: Parties,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct NewClaims<'a> {
    sub: &'a UserId,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
    #[serde(skip_serializing_if = "<[GroupId]>::is_empty")]
    groups: &'a [GroupId],
    #[serde(skip_serializing_if = "Option::is_none")]
    role: Option<Role>,
}

impl Issuer {
    /// Signs with `secret`, of at least 32 bytes.
    pub fn hs256(secret: &[u8], clock: Arc<dyn Clock>) -> Result<Issuer, KeyError> {
        check_secret(secret)?;
        Ok(Issuer { key: EncodingKey::from_secret(secret), parties: Parties::default(), clock })
    }

    /// The same, whose tokens name these parties.
    pub fn between(self, parties: Parties) -> Issuer {
        Issuer { parties, ..self }
    }

    /// A token that is good for `life_s` seconds from now.
    pub fn issue(&self, user: &UserId, groups: &[GroupId], role: Option<Role>, life_s: u32) -> String {
        let exp = self.clock.now().millis().div_euclid(1_000) + i64::from(life_s);
        let (iss, aud) = (self.parties.issuer.as_deref(), self.parties.audience.as_deref());
        let claims = NewClaims { sub: user, exp, iss, aud, groups, role };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key)
            .expect("an HMAC key of any length signs, and the claims are plain JSON")
    }
}

fn check_secret(secret: &[u8]) -> Result<(), KeyError> {
    if secret.len() < TOKEN_SECRET_BYTES_MIN {
        return Err(KeyError(format!("the secret has {} bytes, {TOKEN_SECRET_BYTES_MIN} are needed", secret.len())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use hongbao_core::SystemClock;

    use super::*;

    #[test]
    fn remembered_tokens_take_bounded_memory() {
        let (secret, clock) = ([7; TOKEN_SECRET_BYTES_MIN], Arc::new(SystemClock));
        let cache_bytes_max = 256 * 1024;
        let verifier = Verifier::of_secret(&secret, clock.clone(), cache_bytes_max);
        let issuer = Issuer::hs256(&secret, clock).unwrap();
        let groups: Vec<GroupId> = (0..50).map(|n| GroupId::parse(&format!("group-{n}")).unwrap()).collect();
        for n in 0..2_000 {
            let user = UserId::parse(&format!("user-{n}")).unwrap();
            let token = issuer.issue(&user, if n % 2 == 0 { &groups } else { &[] }, None, 60);
            assert_eq!(verifier.verify(&token).unwrap().user, user);
        }
        let weight = verifier.0.verified.weight();
        assert!((1..=cache_bytes_max as u64).contains(&weight), "{weight}");
        assert!(verifier.0.verified.len() < 1_000, "{}", verifier.0.verified.len());
    }
}
