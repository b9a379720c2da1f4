//! The fault of a connection that is cut.

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::body::{Body, Bytes};
use axum::response::{IntoResponse as _, Response};
use futures_util::stream;

/// Half of an answer that says that it is longer, and then the end of the connection.
pub fn cut(body: &[u8]) -> Response {
    let half = Bytes::copy_from_slice(&body[..body.len() / 2]);
    let parts = [Ok(half), Err(std::io::Error::other("cut, as it was asked for"))];
    let length = [(CONTENT_LENGTH, body.len().to_string())];
    (length, [(CONTENT_TYPE, "application/json")], Body::from_stream(stream::iter(parts))).into_response()
}
