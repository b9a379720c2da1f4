//! The frames of a link, as bytes.
//!
//! A frame is its length (4 bytes), its kind (1 byte), and fields in a fixed order; numbers
//! are big-endian, the length counts what follows it. Nothing here waits or remembers.

use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use hongbao_core::EnvelopeId;
use hongbao_core::calls::Call;
use hongbao_core::limits::{LINK_BUFFER_BYTES_MAX, LINK_FRAME_BYTES_MAX, LINK_READ_BYTES_MIN, LINK_REQUESTS_MAX};

/// Bytes of a frame's length.
const LENGTH_BYTES: usize = 4;
/// Stands for the length of a field that is absent.
const ABSENT: u32 = u32::MAX;

/// Makes room for a read of many frames, whatever frames that were taken still keep of the buffer.
pub fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() - buffer.len() < LINK_READ_BYTES_MIN {
        buffer.reserve(LINK_BUFFER_BYTES_MAX);
    }
}

/// The first byte after the length.
pub(crate) mod kind {
    pub(crate) const REQUEST: u8 = 1;
    pub(crate) const CANCEL: u8 = 2;
    pub(crate) const ANSWER: u8 = 3;
    pub(crate) const LOST: u8 = 4;
    pub(crate) const LEAVING: u8 = 5;
}

/// Why bytes are no frame. It ends the link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than [`LINK_FRAME_BYTES_MAX`], or empty.
    #[error("a frame of {0} bytes")]
    Length(u32),
    /// Of a kind that this side does not take.
    #[error("a frame of the unknown kind {0}")]
    Kind(u8),
    /// It ends within a field, or says what cannot be.
    #[error("a frame whose {0} is wrong")]
    Field(&'static str),
}

/// The number of a request on its link: a place among [`LINK_REQUESTS_MAX`], and how often
/// the place was used. So no more can be without an answer, and none gets another's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Number(u32);

impl Number {
    /// The number of the `uses`-th use of a place.
    pub fn new(place: usize, uses: u32) -> Number {
        Number(uses.wrapping_mul(LINK_REQUESTS_MAX as u32).wrapping_add(place as u32))
    }

    /// Its place.
    pub fn place(self) -> usize {
        self.0 as usize % LINK_REQUESTS_MAX
    }

    pub(crate) fn put(self, into: &mut Vec<u8>) {
        into.put_u32(self.0);
    }
}

/// An opening or a grab, with what a server looks at; of what else a client sent nothing
/// goes over a link.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkRequest<B> {
    /// [`Call::Open`] or [`Call::Grab`].
    pub call: Call,
    /// The envelope of the path.
    pub id: EnvelopeId,
    /// Milliseconds that are left for the answer.
    pub deadline_ms: u32,
    /// The value of `Authorization`.
    pub token: B,
    /// The mark of a rehearsal.
    pub mark: Option<B>,
    /// The value of `x-request-id`.
    pub request_id: B,
    /// The value of `traceparent`.
    pub traceparent: Option<B>,
    /// The body.
    pub body: B,
}

/// What a gateway sends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ToServer {
    /// A request.
    Request(Number, LinkRequest<Bytes>),
    /// The answer is not waited for any more; [`ToGateway::Lost`] or the answer confirms it.
    Cancel(Number),
}

impl<B: AsRef<[u8]>> LinkRequest<B> {
    /// Appends the frame; false, and nothing appended, if it would be too long.
    #[must_use]
    pub fn encode(&self, number: Number, into: &mut Vec<u8>) -> bool {
        let call = match self.call {
            Call::Open => 1,
            _ => 2,
        };
        framed(into, kind::REQUEST, |into| {
            number.put(into);
            into.put_u8(call);
            into.put_slice(self.id.as_bytes());
            into.put_u32(self.deadline_ms);
            put_field(into, Some(&self.token));
            put_field(into, self.mark.as_ref());
            put_field(into, Some(&self.request_id));
            put_field(into, self.traceparent.as_ref());
            into.put_slice(self.body.as_ref());
        })
    }
}

/// Appends the frame that says that the answer is not waited for any more.
pub fn encode_cancel(number: Number, into: &mut Vec<u8>) {
    encode_small(kind::CANCEL, Some(number), into);
}

/// A frame of a number or of nothing.
pub(crate) fn encode_small(kind: u8, number: Option<Number>, into: &mut Vec<u8>) {
    let fits = framed(into, kind, |into| number.into_iter().for_each(|number| number.put(into)));
    debug_assert!(fits, "a few bytes");
}

impl ToServer {
    /// Reads what [`take`] gave.
    ///
    /// # Errors
    /// It is no frame of a gateway.
    pub fn decode(frame: Bytes) -> Result<ToServer, FrameError> {
        let mut fields = Fields(frame);
        match fields.u8("kind")? {
            kind::REQUEST => {
                let number = fields.number()?;
                let call = match fields.u8("call")? {
                    1 => Call::Open,
                    2 => Call::Grab,
                    _ => return Err(FrameError::Field("call")),
                };
                let id = fields.take("envelope id", 16)?;
                let request = LinkRequest {
                    call,
                    id: EnvelopeId::from_bytes(&id).ok_or(FrameError::Field("envelope id"))?,
                    deadline_ms: fields.u32("deadline")?,
                    token: fields.field("token")?.ok_or(FrameError::Field("token"))?,
                    mark: fields.field("mark")?,
                    request_id: fields.field("request id")?.ok_or(FrameError::Field("request id"))?,
                    traceparent: fields.field("traceparent")?,
                    body: fields.rest(),
                };
                Ok(ToServer::Request(number, request))
            }
            kind::CANCEL => fields.number().and_then(|number| fields.end(ToServer::Cancel(number))),
            other => Err(FrameError::Kind(other)),
        }
    }
}

/// The next whole frame, without its length, which is taken from the buffer; `None` if it has yet to come.
///
/// # Errors
/// Its length is none that a frame may have.
pub fn take(buffer: &mut BytesMut) -> Result<Option<Bytes>, FrameError> {
    let Some(length) = buffer.first_chunk::<LENGTH_BYTES>() else { return Ok(None) };
    let length = u32::from_be_bytes(*length);
    if length == 0 || length as usize > LINK_FRAME_BYTES_MAX {
        return Err(FrameError::Length(length));
    }
    if buffer.len() < LENGTH_BYTES + length as usize {
        return Ok(None);
    }
    buffer.advance(LENGTH_BYTES);
    Ok(Some(buffer.split_to(length as usize).freeze()))
}

/// Appends a frame; false, and nothing appended, if it would be too long.
#[must_use]
pub(crate) fn framed(into: &mut Vec<u8>, kind: u8, fields: impl FnOnce(&mut Vec<u8>)) -> bool {
    let start = into.len();
    into.put_u32(0);
    into.put_u8(kind);
    fields(into);
    let length = into.len() - start - LENGTH_BYTES;
    if length > LINK_FRAME_BYTES_MAX {
        into.truncate(start);
        return false;
    }
    into[start..start + LENGTH_BYTES].copy_from_slice(&(length as u32).to_be_bytes());
    true
}

/// A field with its length before it.
pub(crate) fn put_field<B: AsRef<[u8]>>(into: &mut Vec<u8>, field: Option<&B>) {
    match field {
        Some(field) => {
            into.put_u32(field.as_ref().len() as u32);
            into.put_slice(field.as_ref());
        }
        None => into.put_u32(ABSENT),
    }
}

/// What is left of a frame.
pub(crate) struct Fields(pub(crate) Bytes);

impl Fields {
    pub(crate) fn u8(&mut self, name: &'static str) -> Result<u8, FrameError> {
        self.0.try_get_u8().map_err(|_| FrameError::Field(name))
    }

    pub(crate) fn u16(&mut self, name: &'static str) -> Result<u16, FrameError> {
        self.0.try_get_u16().map_err(|_| FrameError::Field(name))
    }

    pub(crate) fn u32(&mut self, name: &'static str) -> Result<u32, FrameError> {
        self.0.try_get_u32().map_err(|_| FrameError::Field(name))
    }

    pub(crate) fn number(&mut self) -> Result<Number, FrameError> {
        self.u32("number").map(Number)
    }

    pub(crate) fn take(&mut self, name: &'static str, length: usize) -> Result<Bytes, FrameError> {
        if self.0.len() < length {
            return Err(FrameError::Field(name));
        }
        Ok(self.0.split_to(length))
    }

    /// A field with its length before it; `None` if it is absent.
    pub(crate) fn field(&mut self, name: &'static str) -> Result<Option<Bytes>, FrameError> {
        match self.u32(name)? {
            ABSENT => Ok(None),
            length => self.take(name, length as usize).map(Some),
        }
    }

    pub(crate) fn rest(self) -> Bytes {
        self.0
    }

    /// `read`, if nothing follows it.
    pub(crate) fn end<T>(&self, read: T) -> Result<T, FrameError> {
        if self.0.is_empty() { Ok(read) } else { Err(FrameError::Field("end")) }
    }
}
