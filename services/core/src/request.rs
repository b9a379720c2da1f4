//! From a request to terms that cannot hold nonsense.

use serde::{Deserialize, Deserializer, Serialize};

use crate::envelope::{Audience, Envelope, Kind, Stage};
use crate::envelope_limits::Limits;
use crate::field::{self, FieldError, Number};
use crate::id::EnvelopeId;
use crate::money::Fen;
use crate::split::{self, Seed};
use crate::time::Timestamp;
use crate::user::{GroupId, UserId, must_be_a_name};

/// What is written on an envelope when the sender writes nothing.
pub const GREETING_DEFAULT: &str = "恭喜发财，大吉大利";

/// Greetings that may be written, as a regular expression (ECMA-262): no control characters.
pub const GREETING_PATTERN: &str = r"^[^\u0000-\u001f\u007f-\u009f]*$";

/// The body of `POST /v1/envelopes`. Written again, as for the hash of a request under a key, it has what the client
/// gave and no defaults: a field that is added later changes nothing for a body without it.
#[derive(Clone, Debug, Deserialize, Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CreateEnvelope {
    /// How the total is divided.
    #[serde(deserialize_with = "kind")]
    pub kind: Kind,
    /// The money in it.
    #[schema(value_type = i64)]
    pub total_fen: Number,
    /// How many may open it.
    #[schema(value_type = i64)]
    pub shares: Number,
    /// At most 64 characters, no control characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub greeting: Option<String>,
    /// Who may open it; everybody with the link by default.
    #[serde(default, deserialize_with = "audience", skip_serializing_if = "Option::is_none")]
    pub audience: Option<AudienceBody>,
    /// How long it can be opened, from its payment.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<i64>)]
    pub expires_in_s: Option<Number>,
}

fn kind<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Kind, D::Error> {
    field::text(deserializer, "`lucky` or `equal`")
}

fn audience<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<AudienceBody>, D::Error> {
    field::object(deserializer, r#"an object, such as {"type":"link"} or {"type":"group","id":"family"}"#)
}

/// Who may open an envelope: `{"type":"link"}`, or `group` or `user` with an `id`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, serde::Serialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct AudienceBody {
    /// Which kind of audience.
    #[serde(rename = "type", deserialize_with = "audience_type")]
    pub kind: AudienceType,
    /// The group or the user; absent for a link.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
}

fn audience_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<AudienceType, D::Error> {
    field::text(deserializer, "`link`, `group` or `user`")
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

/// What only the server gives a new envelope.
pub struct CreationContext {
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
    pub fn into_envelope(self, birth: CreationContext, limits: &Limits) -> Result<Envelope, FieldError> {
        let shares = self.shares.check("shares", limits.shares())?;
        let shares = u32::try_from(shares).expect("the bound that it was checked against is a u32");
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

fn checked_total(total_fen: Number, shares: u32, kind: Kind, limits: &Limits) -> Result<Fen, FieldError> {
    let refuse = |reason: String| Err(FieldError::new("total_fen", reason));
    let (bounds, cap) = (limits.total_fen(shares), limits.share_fen_max);
    let total = total_fen.within(&bounds).and_then(Fen::new).filter(|total| split::splits(*total, shares, cap));
    let Some(total) = total else {
        let must = field::must_be_within(&bounds);
        return refuse(format!("{must}, for {shares} shares of 1 to {} fen", cap.get()));
    };
    if kind == Kind::Equal && total.get() % i64::from(shares) != 0 {
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

fn checked_lifetime_ms(expires_in_s: Option<Number>, limits: &Limits) -> Result<i64, FieldError> {
    let bounds = limits.expires_in_s();
    let seconds = expires_in_s.unwrap_or((*bounds.end()).into()).check("expires_in_s", bounds)?;
    Ok(seconds * 1_000)
}

impl AudienceBody {
    /// The audience, if it is one.
    pub(crate) fn into_audience(self) -> Result<Audience, FieldError> {
        let bad_id = || FieldError::new("audience.id", must_be_a_name());
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
