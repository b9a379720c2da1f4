//! How the feeds are read.

use async_trait::async_trait;
use hongbao_core::Timestamp;
use hongbao_core::event::Feed;
use hongbao_core::limits::EVENT_FEEDS_LOOK_MAX;
use hongbao_database::row::StoredRow as _;

use super::SqliteWallet;
use super::transaction::{json_list, unavailable};
use crate::events::{EVENT_COLUMNS, behind, event_row, feeds_of, page, purged, webhook_place};
use crate::{EventsBehind, FeedsPage, FeedsWritten, WalletError, WalletEvents, WebhookPlace};

const WRITTEN: &str = "SELECT position, feed FROM event WHERE position > ?1 ORDER BY position LIMIT ?2";
const WEBHOOK: &str = "SELECT position, failures, due_at_ms FROM webhook WHERE one = 1";
const TAKE_WEBHOOK: &str = "UPDATE webhook SET claimed_by = ?1, claimed_until_ms = ?2 \
     WHERE one = 1 AND due_at_ms <= ?3 AND (claimed_until_ms <= ?3 OR claimed_by = ?1)";
const LEAVE_WEBHOOK: &str = "UPDATE webhook SET position = ?2, failures = ?3, due_at_ms = ?4, claimed_until_ms = 0 \
     WHERE one = 1 AND claimed_by = ?1";
const OLDEST: &str = "SELECT position, at_ms FROM event ORDER BY position LIMIT ?1";
const SET_PURGED: &str = "UPDATE event_end SET purged_position = max(purged_position, ?1), \
     purged_before_ms = max(purged_before_ms, ?2 + 1) WHERE one = 1";
const PURGE: &str = "DELETE FROM event WHERE position <= ?1";
const END: &str = "SELECT last_position, purged_position, purged_before_ms FROM event_end WHERE one = 1";

fn read_text() -> String {
    format!(
        "SELECT {EVENT_COLUMNS} FROM (SELECT position FROM event INDEXED BY event_by_feed \
           WHERE feed IN (SELECT value FROM json_each(?1)) AND position > ?2 ORDER BY position LIMIT ?3) p \
         JOIN event e ON e.position = p.position ORDER BY e.position"
    )
}

#[async_trait]
impl WalletEvents for SqliteWallet {
    async fn read_feeds(&self, feeds: &[(Feed, i64)], rows_max: u32) -> Result<Vec<FeedsPage>, WalletError> {
        let Some(after) = feeds.iter().map(|(_, after)| *after).min() else { return Ok(Vec::new()) };
        // Read first: what it counts is there when the rows are read.
        let end = sqlx::query(END).fetch_one(self.readers()?).await.map_err(unavailable)?;
        let names: Vec<String> = feeds.iter().map(|(feed, _)| feed.to_string()).collect();
        let names = json_list(names.iter().map(String::as_str));
        let text = read_text();
        let rows = sqlx::query(&text).bind(names).bind(after).bind(rows_max).fetch_all(self.readers()?);
        let rows: Vec<_> = rows.await.map_err(unavailable)?.iter().map(event_row).collect::<Result<_, _>>()?;
        Ok(vec![page(feeds, rows, rows_max, end.int(0)?, (end.int(1)?, end.int(2)?))])
    }

    async fn ends_of_feeds(&self, feeds: &[Feed]) -> Result<Vec<FeedsPage>, WalletError> {
        let feeds: Vec<(Feed, i64)> = feeds.iter().map(|feed| (feed.clone(), i64::MAX)).collect();
        // What is visible is durable.
        self.read_feeds(&feeds, 1).await
    }

    async fn feeds_written(&self, shard: u8, after: Option<i64>) -> Result<FeedsWritten, WalletError> {
        let end = sqlx::query(END).fetch_one(self.readers()?).await.map_err(unavailable)?.int(0)?;
        let Some(after) = after.filter(|after| *after < end) else {
            return Ok(FeedsWritten { shard, end, feeds: Vec::new() });
        };
        let rows = sqlx::query(WRITTEN).bind(after).bind(EVENT_FEEDS_LOOK_MAX).fetch_all(self.readers()?);
        feeds_of(shard, end, &rows.await.map_err(unavailable)?)
    }

    async fn events_behind(&self, _shard: u8, after: i64, rows_max: u32) -> Result<EventsBehind, WalletError> {
        let end = sqlx::query(END).fetch_one(self.readers()?).await.map_err(unavailable)?;
        let text = format!(
            "SELECT {EVENT_COLUMNS}, e.is_copy FROM event e WHERE e.position > ?1 ORDER BY e.position LIMIT ?2"
        );
        let rows = sqlx::query(&text).bind(after).bind(rows_max).fetch_all(self.readers()?);
        behind(&rows.await.map_err(unavailable)?, rows_max, (after, end.int(0)?, end.int(1)?), |_| true)
    }

    async fn take_webhook(
        &self,
        _shard: u8,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<WebhookPlace>, WalletError> {
        self.writable()?;
        let mut writer = self.file.writer().await?;
        let taken = sqlx::query(TAKE_WEBHOOK).bind(by).bind(until.millis()).bind(now.millis());
        let taken = taken.execute(&mut *writer).await.map_err(unavailable)?;
        if taken.rows_affected() == 0 {
            return Ok(None);
        }
        let row = sqlx::query(WEBHOOK).fetch_one(&mut *writer).await.map_err(unavailable)?;
        writer.committed()?;
        Ok(Some(webhook_place(&row)?))
    }

    async fn leave_webhook(&self, _shard: u8, by: &str, place: WebhookPlace) -> Result<bool, WalletError> {
        self.writable()?;
        let mut writer = self.file.writer().await?;
        let left = sqlx::query(LEAVE_WEBHOOK).bind(by).bind(place.position).bind(place.failures);
        let left = left.bind(place.due_at.millis()).execute(&mut *writer).await.map_err(unavailable)?;
        writer.committed()?;
        Ok(left.rows_affected() == 1)
    }

    async fn purge_events(&self, _shard: u8, before: Timestamp, limit: u32) -> Result<u32, WalletError> {
        self.writable()?;
        let oldest = sqlx::query(OLDEST).bind(limit).fetch_all(self.readers()?).await.map_err(unavailable)?;
        let Some((position, at_ms)) = purged(&oldest, before)? else { return Ok(0) };
        let mut writer = self.file.writer().await?;
        // It never says that more is there than is.
        sqlx::query(SET_PURGED).bind(position).bind(at_ms).execute(&mut *writer).await.map_err(unavailable)?;
        let done = sqlx::query(PURGE).bind(position).execute(&mut *writer).await.map_err(unavailable)?;
        writer.committed()?;
        Ok(u32::try_from(done.rows_affected()).unwrap_or(u32::MAX))
    }
}
