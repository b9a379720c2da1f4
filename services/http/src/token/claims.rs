//! What a token says, and between whom it must be.

use hongbao_core::{GroupId, UserId};
use serde::{Deserialize, Deserializer};

/// What a token says. Other claims are of no concern here.
#[derive(Deserialize)]
pub(super) struct Claims {
    pub(super) sub: UserId,
    /// Seconds since the epoch, possibly with a fraction (RFC 7519, NumericDate).
    pub(super) exp: f64,
    pub(super) nbf: Option<f64>,
    #[serde(default, deserialize_with = "present")]
    iss: Option<String>,
    #[serde(default, deserialize_with = "present")]
    aud: Option<Audiences>,
    #[serde(default)]
    pub(super) groups: Vec<GroupId>,
    pub(super) role: Option<String>,
    pub(super) class: Option<String>,
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
    pub(super) fn check(&self, claims: &Claims) -> Result<(), &'static str> {
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
