//! What a server sends on a link.

use axum::body::Bytes;
use bytes::BufMut as _;
use http::header::{
    ALLOW, CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER, TRANSFER_ENCODING, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, response};

use super::frame::{Fields, FrameError, Number, framed, kind, put_field};
use crate::hop::ACCEPTED;
use crate::hot::Found;
use crate::json::JSON;
use crate::request_id::{RequestId, X_REQUEST_ID};

/// The headers of nearly all answers: a frame has their place here, from 1 on, for their name.
const NAMES: [HeaderName; 6] = [CONTENT_TYPE, X_REQUEST_ID, ACCEPTED, RETRY_AFTER, WWW_AUTHENTICATE, ALLOW];
const CONTENT_TYPE_PLACE: u8 = 1;
const REQUEST_ID_PLACE: u8 = 2;
const ACCEPTED_PLACE: u8 = 3;
/// Stands before a name that is none of these.
const OTHER_NAME: u8 = 0;
/// What concerns one connection, or is said anew by the process that sends the answer on.
const OF_ONE_HOP: [HeaderName; 4] = [CONTENT_LENGTH, DATE, CONNECTION, TRANSFER_ENCODING];

/// An answer as it came over a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LinkAnswer {
    /// What nearly all grabs and openings are answered.
    Found(Found),
    /// Any other.
    Other(OtherAnswer),
}

/// An answer as of HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtherAnswer {
    /// Its status.
    pub status: StatusCode,
    /// Its headers, without those of one hop.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
}

/// What a server sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToGateway {
    /// The answer to a request.
    Answer(Number, LinkAnswer),
    /// There will be none: the request was cancelled, or has failed.
    Lost(Number),
    /// No further requests: the server goes away when what it was sent is answered.
    Leaving,
}

/// Appends the frame of an answer; false, and nothing appended, if it would be too long.
#[must_use]
pub fn encode_answer(number: Number, head: &response::Parts, body: &[u8], into: &mut Vec<u8>) -> bool {
    framed(into, kind::ANSWER, |into| {
        number.put(into);
        into.put_u16(head.status.as_u16());
        let headers = || head.headers.iter().filter(|(name, _)| !OF_ONE_HOP.contains(name));
        into.put_u16(headers().count() as u16);
        for (name, value) in headers() {
            match NAMES.iter().position(|known| known == name) {
                Some(place) => into.put_u8(place as u8 + 1),
                None => {
                    into.put_u8(OTHER_NAME);
                    put_field(into, Some(name));
                }
            }
            put_field(into, Some(value));
        }
        into.put_slice(body);
    })
}

/// Appends the frame of an answer 200 to the request with this id, as [`encode_answer`] does.
#[must_use]
pub(super) fn encode_found(number: Number, found: &Found, id: &RequestId, into: &mut Vec<u8>) -> bool {
    framed(into, kind::ANSWER, |into| {
        number.put(into);
        into.put_u16(StatusCode::OK.as_u16());
        let accepted = found.accepted.as_deref().map(|accepted| (ACCEPTED_PLACE, accepted));
        into.put_u16(2 + u16::from(accepted.is_some()));
        let id = (REQUEST_ID_PLACE, id.as_str());
        for (place, value) in [Some((CONTENT_TYPE_PLACE, JSON)), accepted, Some(id)].into_iter().flatten() {
            into.put_u8(place);
            put_field(into, Some(&value));
        }
        into.put_slice(&found.body);
    })
}

/// Reads so many headers and the body, if they are those of [`encode_found`]. The id is that of the request,
/// which the gateway knows.
fn found(count: u16, mut rest: &[u8]) -> Option<Found> {
    let (mut content_type, mut accepted, mut id) = (None, None, None);
    for _ in 0..count {
        let (place, after) = rest.split_first()?;
        let (length, after) = after.split_first_chunk()?;
        let (value, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        let field = match *place {
            CONTENT_TYPE_PLACE => &mut content_type,
            ACCEPTED_PLACE => &mut accepted,
            REQUEST_ID_PLACE => &mut id,
            _ => return None,
        };
        if field.replace(value).is_some() {
            return None;
        }
        rest = after;
    }
    let accepted = match accepted {
        Some(accepted) => Some(plain(accepted)?.to_owned()),
        None => None,
    };
    let is_usual = content_type == Some(JSON.as_bytes()) && id.is_some();
    is_usual.then(|| Found { body: rest.to_vec(), accepted })
}

/// A value of visible characters and blanks.
pub(super) fn plain(value: &[u8]) -> Option<&str> {
    let is_plain = value.iter().all(|byte| byte.is_ascii_graphic() || *byte == b' ');
    std::str::from_utf8(value).ok().filter(|_| is_plain)
}

impl ToGateway {
    /// Reads what [`take`](super::frame::take) gave.
    ///
    /// # Errors
    /// It is no frame of a server.
    pub fn decode(frame: Bytes) -> Result<ToGateway, FrameError> {
        let mut fields = Fields(frame);
        match fields.u8("kind")? {
            kind::ANSWER => {
                let number = fields.number()?;
                let status = StatusCode::from_u16(fields.u16("status")?).map_err(|_| FrameError::Field("status"))?;
                let count = fields.u16("count of headers")?;
                if status == StatusCode::OK
                    && let Some(found) = found(count, &fields.0)
                {
                    return Ok(ToGateway::Answer(number, LinkAnswer::Found(found)));
                }
                let mut headers = HeaderMap::with_capacity(NAMES.len());
                for _ in 0..count {
                    let (name, value) = header(&mut fields)?;
                    headers.try_append(name, value).map_err(|_| FrameError::Field("count of headers"))?;
                }
                let answer = OtherAnswer { status, headers, body: fields.rest() };
                Ok(ToGateway::Answer(number, LinkAnswer::Other(answer)))
            }
            kind::LOST => fields.number().and_then(|number| fields.end(ToGateway::Lost(number))),
            kind::LEAVING => fields.end(ToGateway::Leaving),
            other => Err(FrameError::Kind(other)),
        }
    }
}

fn header(fields: &mut Fields) -> Result<(HeaderName, HeaderValue), FrameError> {
    const NAME: FrameError = FrameError::Field("header's name");
    const VALUE: FrameError = FrameError::Field("header's value");
    let name = match fields.u8("header's name")? {
        OTHER_NAME => {
            let name = fields.field("header's name")?.ok_or(NAME)?;
            HeaderName::from_bytes(&name).map_err(|_| NAME)?
        }
        place => NAMES.get(usize::from(place) - 1).cloned().ok_or(NAME)?,
    };
    let value = fields.field("header's value")?.ok_or(VALUE)?;
    Ok((name, HeaderValue::from_maybe_shared(value).map_err(|_| VALUE)?))
}
