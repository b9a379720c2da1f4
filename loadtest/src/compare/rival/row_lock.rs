//! Row lock: SELECT ... FOR UPDATE, insert the record, update the stock, commit.
//!
//! | step | round trips |
//! |---|---|
//! | lock and read the stock (this begins the transaction: autocommit is off) | 1 |
//! | insert, update and commit in one message | 1 |
//!
//! So the lock is held for one round trip and one flush of the log. With NOWAIT
//! who meets the lock is told `busy`.

use std::sync::Arc;

use hongbao_core::wire::Outcome;
use hongbao_core::{Clock, EnvelopeId, UserId};
use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use super::Failure;
use super::pool::{DUPLICATE, LOCKED, LOCKED_NOWAIT, Pool, number};
use super::tables::{Draw, Stock, existing, literal, opened};

const LOCK: &str =
    "SELECT seed, shares, remaining_shares, remaining_fen, version FROM envelope WHERE id = ? FOR UPDATE";
const LOCK_NOWAIT: &str =
    "SELECT seed, shares, remaining_shares, remaining_fen, version FROM envelope WHERE id = ? FOR UPDATE NOWAIT";

/// The scheme, waiting or not.
pub struct RowLock {
    pool: Pool,
    lock: &'static str,
    clock: Arc<dyn Clock>,
}

impl RowLock {
    /// Over these connections.
    pub fn new(pool: Pool, waits: bool, clock: Arc<dyn Clock>) -> RowLock {
        RowLock { pool, lock: if waits { LOCK } else { LOCK_NOWAIT }, clock }
    }

    /// Opens, once it has a connection.
    pub async fn open(&self, envelope: EnvelopeId, user: &UserId) -> Result<Outcome, Failure> {
        let mut lease = self.pool.take().await?;
        let done = self.open_on(lease.get(), envelope, user).await;
        // After any other failure the connection is closed, and with it whatever was begun.
        if matches!(done, Ok(_) | Err(Failure::Busy | Failure::NotFound)) {
            lease.give_back();
        }
        done
    }

    async fn open_on(
        &self,
        connection: &mut MySqlConnection,
        envelope: EnvelopeId,
        user: &UserId,
    ) -> Result<Outcome, Failure> {
        let lock = sqlx::query(self.lock).bind(&envelope.as_bytes()[..]);
        let row = match connection.fetch_optional(lock).await {
            Ok(row) => row,
            // Nothing is locked and nothing was changed: the transaction may as well go on.
            Err(error) if matches!(number(&error), Some(LOCKED | LOCKED_NOWAIT)) => return Err(Failure::Busy),
            Err(error) => return Err(error.into()),
        };
        let Some(row) = row else { return Err(Failure::NotFound) };
        let stock = Stock::of_row(&row)?;
        if stock.left == 0 {
            let outcome = existing(connection, envelope, user).await?;
            connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
            return Ok(outcome);
        }
        let (draw, at) = (stock.draw(), self.clock.now());
        match connection.execute(sqlx::raw_sql(&record(envelope, user, &draw, at.millis()))).await {
            Ok(_) => Ok(opened(draw.seq, draw.amount_fen, at, false)),
            Err(error) if number(&error) == Some(DUPLICATE) => {
                let outcome = existing(connection, envelope, user).await?;
                connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
                Ok(outcome)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Text is safe here: an id is in hex, and a user's name has only letters,
/// digits, `_` and `-`.
fn record(envelope: EnvelopeId, user: &UserId, draw: &Draw, at_ms: i64) -> String {
    let (id, user) = (literal(envelope), user.as_str());
    let Draw { seq, amount_fen, remaining_fen } = draw;
    format!(
        "INSERT INTO entry (envelope_id, user_id, seq, amount_fen, remaining_fen, at_ms) \
         VALUES ({id}, '{user}', {seq}, {amount_fen}, {remaining_fen}, {at_ms}); \
         UPDATE envelope SET remaining_shares = remaining_shares - 1, remaining_fen = {remaining_fen} WHERE id = {id}; \
         COMMIT"
    )
}
