//! How the feeds are read.

use async_trait::async_trait;
use hongbao_core::event::Feed;
use hongbao_database::row::StoredRow as _;

use super::SqliteWallet;
use super::transaction::{json_list, unavailable};
use crate::events::{EVENT_COLUMNS, event_row, page};
use crate::{FeedsPage, WalletError, WalletEvents};

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
}
