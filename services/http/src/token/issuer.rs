//! Makes tokens: for development and tests.

use std::sync::Arc;

use hongbao_core::wire::Role;
use hongbao_core::{Clock, GroupId, UserId};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::claims::Parties;
use super::keys::{KeyError, check_secret};

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
