//! From a request to terms that cannot hold nonsense.

use serde::Deserialize;

use crate::envelope::{Audience, Envelope, Kind, Stage};
use crate::id::EnvelopeId;
use crate::limits::Limits;
use crate::money::Fen;
use crate::split::{self, Seed};
use crate::time::Timestamp;
use crate::user::{GroupId, UserId};

/// What is written on an envelope when the sender writes nothing.
pub const GREETING_DEFAULT: &str = "恭喜发财，大吉大利";

/// The body of `POST /v1/envelopes`, as it came in.
#[derive(Clone, Debug, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEnvelope {
    /// How the total is divided.
    pub kind: Kind,
    /// The money in it.
    pub total_fen: i64,
    /// How many may open it.
    pub shares: i64,
    /// At most 64 characters, no control characters.
    pub greeting: Option<String>,
    /// Who may open it; everybody with the link by default.
    pub audience: Option<AudienceBody>,
    /// How long it can be opened, from its payment.
    pub expires_in_s: Option<i64>,
}

/// An audience on the wire: `{"type":"link"}`, or `group` or `user` with an `id`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AudienceBody {
    /// Which kind of audience.
    #[serde(rename = "type")]
    pub kind: AudienceType,
    /// The group or the user; absent for a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

/// See [`AudienceBody`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AudienceType {
    /// Everybody who has the link.
    Link,
    /// The members of a group.
    Group,
    /// One user.
    User,
}

/// A field that is wrong, and why, in words for a client's developer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct FieldError {
    /// The field's path in the body.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

impl FieldError {
    /// A wrong field.
    pub fn new(field: impl Into<String>, reason: impl Into<String>) -> FieldError {
        FieldError { field: field.into(), reason: reason.into() }
    }
}

/// What only the server gives a new envelope.
pub struct Birth {
    /// Minted at the edge.
    pub id: EnvelopeId,
    /// The caller.
    pub sender: UserId,
    /// From a good random source.
    pub seed: Seed,
    /// The time of creation.
    pub now: Timestamp,
}

impl CreateEnvelope {
    /// Checks every field against the limits and makes the envelope.
    pub fn into_envelope(self, birth: Birth, limits: &Limits) -> Result<Envelope, FieldError> {
        let shares = match u32::try_from(self.shares) {
            Ok(shares) if (1..=limits.shares_max).contains(&shares) => shares,
            _ => return Err(FieldError::new("shares", format!("must be 1 to {}", limits.shares_max))),
        };
        let total = checked_total(self.total_fen, shares, self.kind, limits)?;
        Ok(Envelope {
            id: birth.id,
            sender: birth.sender,
            kind: self.kind,
            total,
            shares,
            share_cap: limits.share_fen_max,
            greeting: checked_greeting(self.greeting, limits)?,
            audience: self.audience.map_or(Ok(Audience::Link), AudienceBody::into_audience)?,
            seed: birth.seed,
            created_at: birth.now,
            lifetime_ms: checked_lifetime_ms(self.expires_in_s, limits)?,
            stage: Stage::Created,
            expires_at: None,
            settled_seq: 0,
        })
    }
}

fn checked_total(total_fen: i64, shares: u32, kind: Kind, limits: &Limits) -> Result<Fen, FieldError> {
    let refuse = |reason: String| Err(FieldError::new("total_fen", reason));
    let cap = limits.share_fen_max;
    let Some(total) = Fen::new(total_fen).filter(|total| split::splits(*total, shares, cap)) else {
        let most = i64::from(shares) * cap.get();
        return refuse(format!("must be {shares} to {most} for {shares} shares of 1 to {} fen", cap.get()));
    };
    if kind == Kind::Equal && total_fen % i64::from(shares) != 0 {
        return refuse(format!("must divide into {shares} equal shares"));
    }
    Ok(total)
}

fn checked_greeting(greeting: Option<String>, limits: &Limits) -> Result<String, FieldError> {
    let Some(greeting) = greeting else { return Ok(GREETING_DEFAULT.to_owned()) };
    if greeting.chars().count() > limits.greeting_chars_max {
        return Err(FieldError::new("greeting", format!("must have at most {} characters", limits.greeting_chars_max)));
    }
    if greeting.chars().any(char::is_control) {
        return Err(FieldError::new("greeting", "must not have control characters"));
    }
    Ok(greeting)
}

fn checked_lifetime_ms(expires_in_s: Option<i64>, limits: &Limits) -> Result<i64, FieldError> {
    let (min, max) = (i64::from(limits.expires_in_s_min), i64::from(limits.expires_in_s_max));
    let seconds = expires_in_s.unwrap_or(max);
    if !(min..=max).contains(&seconds) {
        return Err(FieldError::new("expires_in_s", format!("must be {min} to {max}")));
    }
    Ok(seconds * 1_000)
}

impl AudienceBody {
    fn into_audience(self) -> Result<Audience, FieldError> {
        let bad_id = || FieldError::new("audience.id", "must be 1 to 64 of A-Z a-z 0-9 _ -");
        match (self.kind, self.id) {
            (AudienceType::Link, None) => Ok(Audience::Link),
            (AudienceType::Link, Some(_)) => Err(FieldError::new("audience.id", "must be absent for a link")),
            (AudienceType::Group, Some(id)) => GroupId::parse(&id).map(Audience::Group).ok_or_else(bad_id),
            (AudienceType::User, Some(id)) => UserId::parse(&id).map(Audience::User).ok_or_else(bad_id),
            (_, None) => Err(FieldError::new("audience.id", "is missing")),
        }
    }
}

impl From<&Audience> for AudienceBody {
    fn from(audience: &Audience) -> AudienceBody {
        match audience {
            Audience::Link => AudienceBody { kind: AudienceType::Link, id: None },
            Audience::Group(id) => AudienceBody { kind: AudienceType::Group, id: Some(id.to_string()) },
            Audience::User(id) => AudienceBody { kind: AudienceType::User, id: Some(id.to_string()) },
        }
    }
}
