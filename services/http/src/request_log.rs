//! A line for each request that was answered, where they are asked for (`log.requests`).

use hongbao_core::UserId;
use tracing::Level;

/// The target of these lines, by which they are let through or not.
pub const REQUESTS: &str = "hongbao_http::requests";

/// Whether they are written.
pub(crate) fn are_logged() -> bool {
    tracing::enabled!(target: REQUESTS, Level::INFO)
}

/// Who asks is known now: the line of the present request says so.
pub fn note_user(user: &UserId) {
    if are_logged()
        && let Some(span) = hongbao_trace::current()
    {
        span.record("user_id", user.to_string());
    }
}
