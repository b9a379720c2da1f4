//! Rows of feeds and what they mean, whatever database they come from.

use std::collections::HashMap;

use hongbao_core::event::{EventBody, EventRow, Feed, Series, Subject};
use hongbao_core::{EnvelopeId, OrderId, Slot, Timestamp};
use hongbao_database::row::StoredRow;

use crate::{EventsBehind, FeedsPage, FeedsWritten, WalletError, WebhookPlace};

/// What a row is read from, where the table is called `e`.
pub(crate) const EVENT_COLUMNS: &str = "e.position, e.feed, e.subject, e.series, e.body";

/// Reads [`EVENT_COLUMNS`].
pub(crate) fn event_row(row: &impl StoredRow) -> Result<EventRow, WalletError> {
    let position = row.int(0)?;
    let damaged = |what| WalletError::Damaged(format!("the event at position {position}: {what} means nothing"));
    let feed = Feed::parse(row.text(1)?).ok_or_else(|| damaged("its feed"))?;
    let subject = match Series::of_code(row.int(3)?) {
        Some(Series::Journal | Series::Timer) => EnvelopeId::from_bytes(row.bytes(2)?).map(Subject::Envelope),
        Some(Series::Order) => OrderId::from_bytes(row.bytes(2)?).map(Subject::Order),
        None => None,
    };
    let subject = subject.ok_or_else(|| damaged("its subject"))?;
    let body = EventBody::parse(row.bytes(4)?).ok_or_else(|| damaged("its body"))?;
    Ok(EventRow { position, feed, subject, body })
}

/// The page that these rows of one shard make, of which at most `rows_max` were asked for; `end` is where its events
/// ended before they were read, and the last pair up to where they were removed, and before which time.
pub(crate) fn page(
    feeds: &[(Feed, i64)],
    mut rows: Vec<EventRow>,
    rows_max: u32,
    end: i64,
    purged: (i64, i64),
) -> FeedsPage {
    let last = rows.last().map(|row| row.position);
    let is_full = rows.len() >= rows_max as usize;
    let read_to = match last {
        Some(last) if is_full => last,
        Some(last) => last.max(end),
        None => end,
    };
    // All were read from the same position on.
    let afters: HashMap<&Feed, i64> = feeds.iter().map(|(feed, after)| (feed, *after)).collect();
    rows.retain(|row| afters.get(&row.feed).is_some_and(|after| row.position > *after));
    let mut slots: Vec<Slot> = feeds.iter().map(|(feed, _)| Slot::of_name(feed.name())).collect();
    slots.sort_unstable();
    slots.dedup();
    let (purged_to, purged_before) = (purged.0, Timestamp::from_millis(purged.1));
    FeedsPage { slots, rows, read_to, is_full, purged_to, purged_before }
}

/// What rows of `position, feed` say, of a shard that ended there before they were read.
pub(crate) fn feeds_of(shard: u8, end: i64, rows: &[impl StoredRow]) -> Result<FeedsWritten, WalletError> {
    let mut feeds = Vec::with_capacity(rows.len());
    for row in rows {
        feeds.extend(Feed::parse(row.text(1)?));
    }
    let last = rows.last().map(|row| row.int(0)).transpose()?;
    Ok(FeedsWritten { shard, end: last.unwrap_or(end), feeds })
}

/// The last of rows of `position, at_ms` that happened before a time and have no later one before them, and when the
/// latest of these happened.
pub(crate) fn purged(rows: &[impl StoredRow], before: Timestamp) -> Result<Option<(i64, i64)>, WalletError> {
    let mut last: Option<(i64, i64)> = None;
    for row in rows {
        let (position, at_ms) = (row.int(0)?, row.int(1)?);
        if at_ms >= before.millis() {
            break;
        }
        last = Some((position, last.map_or(at_ms, |(_, latest)| latest.max(at_ms))));
    }
    Ok(last)
}

/// What these rows of a shard make, of which at most `rows_max` were asked for: behind [`EVENT_COLUMNS`] stands whether
/// each is a copy. `end` is where the events ended before, and `durable_to` how far no crash takes them back.
pub(crate) fn behind(
    rows: &[impl StoredRow],
    rows_max: u32,
    (after, end, purged_to): (i64, i64, i64),
    is_here: impl Fn(&str) -> bool,
) -> Result<EventsBehind, WalletError> {
    let mut found = Vec::new();
    let mut last = None;
    for row in rows {
        last = Some(row.int(0)?);
        if row.int(5)? == 0 {
            let row = event_row(row)?;
            found.extend(Some(row).filter(|row| is_here(row.feed.name())));
        }
    }
    let read_to = match last {
        Some(last) if rows.len() >= rows_max as usize => last,
        last => last.unwrap_or(after).max(end),
    };
    Ok(EventsBehind { rows: found, read_to, end, purged_to })
}

/// Reads `position, failures, due_at_ms`.
pub(crate) fn webhook_place(row: &impl StoredRow) -> Result<WebhookPlace, WalletError> {
    let failures = u32::try_from(row.int(1)?).unwrap_or(u32::MAX);
    Ok(WebhookPlace { position: row.int(0)?, failures, due_at: Timestamp::from_millis(row.int(2)?) })
}
