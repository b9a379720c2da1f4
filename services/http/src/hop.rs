//! What a gateway tells a server beside the request itself. Gateways take these
//! headers away from what clients send.

use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName};
use std::time::Duration;

/// The id that was minted for a new envelope. In the answer to one that is misdirected: the id that its key stands for,
/// whose owner the gateway asks next.
pub const ENVELOPE_ID: HeaderName = HeaderName::from_static("x-hongbao-envelope-id");
/// Milliseconds that are left for the answer.
pub const DEADLINE_MS: HeaderName = HeaderName::from_static("x-hongbao-deadline-ms");

/// Of an answered opening: where it stood in the order in which its lane accepted
/// them. Goes to the client as well: a rehearsal holds it against the journal.
pub const ACCEPTED: HeaderName = HeaderName::from_static("x-hongbao-accepted");

/// The type of an answer that goes on until its server ends it: gateways pass it on for as long.
pub const EVENT_STREAM: &str = "text/event-stream";

/// Whether an answer with these headers goes on for as long as its handler likes.
pub fn is_event_stream(headers: &HeaderMap) -> bool {
    headers.get(CONTENT_TYPE).is_some_and(|kind| kind == EVENT_STREAM)
}

/// How long the caller still waits; `None` without a sensible value.
pub fn time_left(headers: &HeaderMap) -> Option<Duration> {
    let millis = headers.get(DEADLINE_MS)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_millis(millis))
}
