//! Row lock: SELECT ... FOR UPDATE, insert the record, update the stock, commit.
//!
//! | step | round trips |
//! |---|---|
//! | lock and read the stock (this begins the transaction: autocommit is off) | 1 |
//! | insert, update and commit in one message | 1 |
//!
//! So the lock is held for one round trip and one flush of the log. With NOWAIT
//! an opener that meets the lock is answered `busy`.

use hongbao_core::wire::Outcome;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, UserId};
use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use super::failure::Failure;
use super::pool::{LOCKED, LOCKED_NOWAIT, Pool, number};
use super::tables::{READ, Stock, existing_instead, literal, record};

/// The scheme, waiting or not.
pub struct RowLock {
    pool: Pool,
    lock: String,
}

impl RowLock {
    /// Over these connections.
    pub fn new(pool: Pool, waits: bool) -> RowLock {
        RowLock { pool, lock: format!("{READ} FOR UPDATE{}", if waits { "" } else { " NOWAIT" }) }
    }

    /// Opens, once it has a connection.
    pub async fn open(&self, envelope: EnvelopeId, user: &UserId) -> Result<Outcome, Failure> {
        self.pool.on_connection(async |connection| self.open_on(connection, envelope, user).await).await
    }

    async fn open_on(
        &self,
        connection: &mut MySqlConnection,
        envelope: EnvelopeId,
        user: &UserId,
    ) -> Result<Outcome, Failure> {
        let lock = sqlx::query(&self.lock).bind(&envelope.as_bytes()[..]);
        let row = match connection.fetch_optional(lock).await {
            Ok(row) => row,
            // Nothing is locked and nothing was changed: the transaction may as well go on.
            Err(error) if matches!(number(&error), Some(LOCKED | LOCKED_NOWAIT)) => return Err(Failure::Busy),
            Err(error) => return Err(error.into()),
        };
        let Some(row) = row else { return Err(Failure::NotFound) };
        let stock = Stock::of_row(&row)?;
        if stock.left == 0 {
            return existing_instead(connection, envelope, user).await;
        }
        let (draw, at) = (stock.draw(), SystemClock.now());
        let update = format!(
            "UPDATE envelope SET remaining_shares = remaining_shares - 1, remaining_fen = {} WHERE id = {}; ",
            draw.remaining_fen,
            literal(envelope)
        );
        record(connection, envelope, user, &draw, at, &update).await
    }
}
