//! What happened to a user's money.

use axum::http::StatusCode;
use axum::response::Response;
use hongbao_core::calls::Call;
use hongbao_core::event::{EventCursor, EventsPage};
use hongbao_core::limits::EVENT_CURSOR_CHARS_MAX;
use hongbao_http::{Caller, Problem, Query, json_response};
use serde::Deserialize;

use super::envelopes::page_limit;
use super::traffic::SelectedServer;
use crate::feeds::FeedReader;
use crate::refusal::Refusal;
use crate::server::Server;

/// The cursor behind everything that there is.
pub(super) const END: &str = "end";

/// A page of events.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct EventsQuery {
    /// `next_cursor` of the page before, or `end` to begin with what comes from now on; without it the page begins with
    /// the first event that is kept.
    cursor: Option<String>,
    /// Events on the page, 1 to 500; 100 by default.
    #[param(value_type = Option<u32>)]
    limit: Option<String>,
}

/// What happened to the caller's money, and to the envelopes of the caller's groups, oldest first.
///
/// Those of an envelope come in order, from one feed; a page without any is the last one for now. An event may come
/// more than once, with the same `id`.
#[utoipa::path(get, path = Call::Events.path(), operation_id = "listEvents", tag = "events",
    params(EventsQuery), responses((status = 200, description = "One page.", body = EventsPage)))]
pub async fn events(
    SelectedServer(server): SelectedServer,
    caller: Caller,
    Query(query): Query<EventsQuery>,
) -> Result<Response, Problem> {
    let limit = page_limit(query.limit.as_deref())?;
    let (mut reader, is_at_end) = reader(&server, &caller, query.cursor.as_deref()).await?;
    let given = match is_at_end {
        true => Default::default(),
        false => reader.next(&**server.wallet(), limit).await.map_err(|error| Refusal::from(error).of_reading())?,
    };
    let events = given.events.into_iter().map(|(event, _)| event).collect();
    let page = EventsPage { events, next_cursor: reader.cursor().to_text(), lost_before: given.lost_before };
    Ok(json_response(StatusCode::OK, &page))
}

/// What reads the caller's feeds from a cursor on, and whether that is the end of them.
pub(super) async fn reader(
    server: &Server,
    caller: &Caller,
    cursor: Option<&str>,
) -> Result<(FeedReader, bool), Problem> {
    let is_at_end = cursor == Some(END);
    let cursor = match cursor {
        None => EventCursor::default(),
        Some(_) if is_at_end => EventCursor::default(),
        Some(text) => cursor_of(text)?,
    };
    let mut reader = FeedReader::new(&caller.user, &caller.groups, cursor);
    if is_at_end {
        reader.skip_to_end(&**server.wallet()).await.map_err(|error| Refusal::from(error).of_reading())?;
    }
    Ok((reader, is_at_end))
}

fn cursor_of(text: &str) -> Result<EventCursor, Problem> {
    let cursor = Some(text).filter(|text| text.len() <= EVENT_CURSOR_CHARS_MAX).and_then(EventCursor::parse);
    cursor.ok_or_else(|| Problem::invalid_field("cursor", "must be `end`, or the next_cursor of another page"))
}
