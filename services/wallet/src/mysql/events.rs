//! How the feeds of a shard are read.

use async_trait::async_trait;
use hongbao_core::event::Feed;
use hongbao_core::limits::EVENT_FEEDS_LOOK_MAX;
use hongbao_core::{Slot, Timestamp};
use hongbao_database::mysql::connection::within;
use hongbao_database::mysql::failure::committing;
use hongbao_database::mysql::row::put;
use hongbao_database::row::StoredRow as _;
use sqlx::Executor as _;
use sqlx::mysql::MySqlRow;
use tokio::task::JoinSet;

use super::shard::{Shard, put_name};
use super::wallet::MysqlWallet;
use crate::events::{EVENT_COLUMNS, behind, event_row, feeds_of, page, purged, webhook_place};
use crate::{EventsBehind, FeedsPage, FeedsWritten, WalletError, WalletEvents, WebhookPlace};

fn text_of_feeds(db: &str, feeds: &[(Feed, i64)], after: i64, rows_max: u32) -> String {
    let mut sql = format!(
        "SELECT /* event end */ last_position, purged_position, purged_before_ms FROM {db}.event_end WHERE one = 1; \
         SELECT /* feeds */ {EVENT_COLUMNS} FROM (SELECT position FROM {db}.event FORCE INDEX (feed) WHERE feed IN ("
    );
    for (number, (feed, _)) in feeds.iter().enumerate() {
        sql.push_str(if number == 0 { "" } else { "," });
        put_name(&mut sql, &feed.to_string());
    }
    put(
        &mut sql,
        format_args!(
            ") AND position > {after} ORDER BY position LIMIT {rows_max}) p \
             JOIN {db}.event e ON e.position = p.position ORDER BY e.position"
        ),
    );
    sql
}

async fn read_shard(shard: &Shard, feeds: &[(Feed, i64)], rows_max: u32) -> Result<FeedsPage, WalletError> {
    let after = feeds.iter().map(|(_, after)| *after).min().unwrap_or(0);
    let slots = feeds.iter().map(|(feed, _)| Slot::of_name(feed.name())).collect();
    let sql = text_of_feeds(&shard.db, feeds, after, rows_max);
    let read = |found: Vec<MySqlRow>| {
        let missing = || WalletError::Damaged(format!("{}.event_end has no row", shard.db));
        let (end, rows) = found.split_first().ok_or_else(missing)?;
        let end = (end.int(0)?, (end.int(1)?, end.int(2)?));
        let rows: Vec<_> = rows.iter().map(event_row).collect::<Result<_, WalletError>>()?;
        let newest = rows.last().map_or(0, |row| row.position);
        Ok((newest, (end, rows)))
    };
    let (((end, purged), rows), durable_to) = shard.fetch_events(slots, &sql, read).await?;
    // A reader goes on behind what no crash takes back: the same position may mean another row after one.
    Ok(page(feeds, rows, rows_max, end.min(durable_to), purged))
}

/// Where a shard's events end, durably.
async fn end_of_shard(shard: &Shard, feeds: &[(Feed, i64)]) -> Result<FeedsPage, WalletError> {
    let slots = feeds.iter().map(|(feed, _)| Slot::of_name(feed.name())).collect();
    let sql = format!(
        "SELECT /* event end */ last_position, purged_position, purged_before_ms FROM {}.event_end WHERE one = 1",
        shard.db
    );
    let read = |found: Vec<MySqlRow>| {
        let missing = || WalletError::Damaged(format!("{}.event_end has no row", shard.db));
        let end = found.first().ok_or_else(missing)?;
        Ok((end.int(0)?, (end.int(0)?, (end.int(1)?, end.int(2)?))))
    };
    let ((end, purged), _) = shard.fetch_events(slots, &sql, read).await?;
    Ok(page(feeds, Vec::new(), 1, end, purged))
}

#[async_trait]
impl WalletEvents for MysqlWallet {
    async fn read_feeds(&self, feeds: &[(Feed, i64)], rows_max: u32) -> Result<Vec<FeedsPage>, WalletError> {
        let mut asked: JoinSet<Result<FeedsPage, WalletError>> = JoinSet::new();
        for (shard, feeds) in self.shards_of_feeds(feeds) {
            asked.spawn(async move { read_shard(&shard, &feeds, rows_max).await });
        }
        all(asked).await
    }

    async fn ends_of_feeds(&self, feeds: &[Feed]) -> Result<Vec<FeedsPage>, WalletError> {
        let feeds: Vec<(Feed, i64)> = feeds.iter().map(|feed| (feed.clone(), 0)).collect();
        let mut asked = JoinSet::new();
        for (shard, feeds) in self.shards_of_feeds(&feeds) {
            asked.spawn(async move { end_of_shard(&shard, &feeds).await });
        }
        all(asked).await
    }

    async fn feeds_written(&self, shard: u8, after: Option<i64>) -> Result<FeedsWritten, WalletError> {
        let shard = self.shard(shard)?;
        let db = &shard.db;
        let missing = || WalletError::Damaged(format!("{db}.event_end has no row"));
        let mut sql = format!("SELECT /* event end */ last_position FROM {db}.event_end WHERE one = 1");
        if let Some(after) = after {
            put(
                &mut sql,
                format_args!(
                    "; SELECT /* feeds written */ position, feed FROM {db}.event WHERE position > {after} \
                     ORDER BY position LIMIT {EVENT_FEEDS_LOOK_MAX}"
                ),
            );
        }
        let found = shard.fetch(&sql).await?.rows;
        let (end, rows) = found.split_first().ok_or_else(missing)?;
        feeds_of(shard.number, end.int(0)?, rows)
    }

    async fn events_behind(&self, shard: u8, after: i64, rows_max: u32) -> Result<EventsBehind, WalletError> {
        let shard = self.shard(shard)?;
        let db = &shard.db;
        let sql = format!(
            "SELECT /* event end */ last_position, purged_position FROM {db}.event_end WHERE one = 1; \
             SELECT /* events behind */ {EVENT_COLUMNS}, e.is_copy FROM {db}.event e WHERE e.position > {after} \
             ORDER BY e.position LIMIT {rows_max}"
        );
        let read = |found: Vec<MySqlRow>| {
            let missing = || WalletError::Damaged(format!("{db}.event_end has no row"));
            let (end, rows) = found.split_first().ok_or_else(missing)?;
            let is_here = |name: &str| shard.slots().contains(Slot::of_name(name));
            let behind = behind(rows, rows_max, (after, end.int(0)?, end.int(1)?), is_here)?;
            Ok((behind.read_to, behind))
        };
        Ok(shard.fetch_events(shard.slots(), &sql, read).await?.0)
    }

    async fn take_webhook(
        &self,
        shard: u8,
        by: &str,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<Option<WebhookPlace>, WalletError> {
        let shard = self.shard(shard)?;
        let (db, now, until) = (&shard.db, now.millis(), until.millis());
        let sql = format!(
            "UPDATE /* take webhook */ {db}.webhook SET claimed_by = '{by}', claimed_until_ms = {until} WHERE one = 1 \
             AND due_at_ms <= {now} AND (claimed_until_ms <= {now} OR claimed_by = '{by}'); \
             SELECT position, failures, due_at_ms FROM {db}.webhook \
             WHERE one = 1 AND claimed_by = '{by}' AND claimed_until_ms = {until}"
        );
        shard.fetch(&sql).await?.rows.first().map(webhook_place).transpose()
    }

    async fn leave_webhook(&self, shard: u8, by: &str, place: WebhookPlace) -> Result<bool, WalletError> {
        let shard = self.shard(shard)?;
        let WebhookPlace { position, failures, due_at } = place;
        let (db, due) = (&shard.db, due_at.millis());
        let sql = format!(
            "UPDATE /* leave webhook */ {db}.webhook SET position = {position}, failures = {failures}, \
             due_at_ms = {due}, claimed_until_ms = 0 WHERE one = 1 AND claimed_by = '{by}'"
        );
        let mut lease = shard.connections.lease().await?;
        let limit = lease.limit();
        let done = within(limit, lease.connection().execute(sqlx::raw_sql(&sql))).await;
        Ok(lease.done(done).map_err(committing)?.rows_affected() == 1)
    }

    async fn purge_events(&self, shard: u8, before: Timestamp, limit: u32) -> Result<u32, WalletError> {
        let shard = self.shard(shard)?;
        let db = &shard.db;
        // While slots leave, what was carried is compared.
        let oldest = format!(
            "SELECT /* purge events */ position, at_ms FROM {db}.event WHERE NOT EXISTS (SELECT 1 FROM {db}.slot_move \
             WHERE arrival IS NULL AND target_id IS NULL) ORDER BY position LIMIT {limit}"
        );
        let Some((position, at_ms)) = purged(&shard.fetch(&oldest).await?.rows, before)? else { return Ok(0) };
        // It never says that more is there than is.
        let sql = format!(
            "UPDATE /* purge events */ {db}.event_end SET purged_position = GREATEST(purged_position, {position}), \
             purged_before_ms = GREATEST(purged_before_ms, {at_ms} + 1) WHERE one = 1; \
             DELETE /* purge events */ FROM {db}.event WHERE position <= {position}"
        );
        let mut lease = shard.connections.lease().await?;
        let limit = lease.limit();
        let done = within(limit, lease.connection().execute(sqlx::raw_sql(&sql))).await;
        let done = lease.done(done).map_err(committing)?;
        Ok(u32::try_from(done.rows_affected().saturating_sub(1)).unwrap_or(u32::MAX))
    }
}

/// The pages of all shards, in the order of their first slots.
async fn all(mut asked: JoinSet<Result<FeedsPage, WalletError>>) -> Result<Vec<FeedsPage>, WalletError> {
    let mut pages = Vec::with_capacity(asked.len());
    while let Some(page) = asked.join_next().await {
        pages.push(page.map_err(|error| WalletError::Unavailable(error.to_string()))??);
    }
    pages.sort_by_key(|page| page.slots.first().copied());
    Ok(pages)
}
