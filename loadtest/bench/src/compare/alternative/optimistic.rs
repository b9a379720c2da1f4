//! Optimistic version: read the stock without a lock, change it only if its version is
//! still the same (`WHERE version = ?`), insert the record, commit.
//!
//! The update comes before the insert, so that a loser has nothing to roll back but the
//! lock. It tries again, a few times, after a random pause that grows, so that the same
//! ones do not collide again; then the user is answered `busy`.

use std::time::Duration;

use hongbao_core::wire::Outcome;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, UserId};
use rand::Rng as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use sqlx::Executor as _;
use sqlx::mysql::MySqlConnection;

use super::failure::Failure;
use super::pool::{DEADLOCK, LOCKED, Pool, number};
use super::tables::{READ, Stock, existing, record};

/// Tries before the user is answered `busy`.
const TRIES_MAX: u32 = 4;
/// The pause before a second try is at most this long; it doubles with each.
const PAUSE_US_MAX: u64 = 1_000;

const CHANGE: &str = "UPDATE envelope SET remaining_shares = remaining_shares - 1, remaining_fen = ?, \
                      version = version + 1 WHERE id = ? AND version = ?";

pub struct Optimistic {
    pool: Pool,
    random: parking_lot::Mutex<SmallRng>,
}

impl Optimistic {
    /// Over these connections.
    pub fn new(pool: Pool) -> Optimistic {
        Optimistic { pool, random: parking_lot::Mutex::new(SmallRng::seed_from_u64(1)) }
    }

    /// Opens, in a few tries.
    pub async fn open(&self, envelope: EnvelopeId, user: &UserId) -> Result<Outcome, Failure> {
        for number in 0..TRIES_MAX {
            if number > 0 {
                let pause = self.random.lock().random_range(0..PAUSE_US_MAX << (number - 1));
                tokio::time::sleep(Duration::from_micros(pause)).await;
            }
            // No connection is held during the pause.
            match self.pool.on_connection(async |connection| self.once(connection, envelope, user).await).await {
                Err(Failure::Busy) => (),
                settled => return settled,
            }
        }
        Err(Failure::Busy)
    }

    /// One try; `Busy` when another opener was faster.
    async fn once(
        &self,
        connection: &mut MySqlConnection,
        envelope: EnvelopeId,
        user: &UserId,
    ) -> Result<Outcome, Failure> {
        let read = sqlx::query(READ).bind(&envelope.as_bytes()[..]);
        let Some(row) = connection.fetch_optional(read).await? else { return Err(Failure::NotFound) };
        let stock = Stock::of_row(&row)?;
        if stock.left == 0 {
            return existing(connection, envelope, user).await;
        }
        let (draw, at) = (stock.draw(), SystemClock.now());
        let change = sqlx::query(CHANGE).bind(draw.remaining_fen).bind(&envelope.as_bytes()[..]).bind(stock.version);
        match connection.execute(change).await {
            // MariaDB keeps the lock of a row that does not fit, even under READ COMMITTED.
            Ok(done) if done.rows_affected() == 0 => {
                connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
                return Err(Failure::Busy);
            }
            Ok(_) => (),
            Err(error) if matches!(number(&error), Some(LOCKED | DEADLOCK)) => return Err(Failure::Busy),
            Err(error) => return Err(error.into()),
        }
        record(connection, envelope, user, &draw, at, "").await
    }
}
