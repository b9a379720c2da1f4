//! An alternative's two tables, and what they share in reading them.
//!
//! The record's primary key is (envelope, user): the row itself is the guard
//! against a second share, and the insert is its check. The serial scheme has a
//! single writer that must find where it stopped, so its key is (envelope, seq),
//! and the guard is a second one.

use hongbao_core::wire::Outcome;
use hongbao_core::{EnvelopeId, Fen, Seed, Timestamp, UserId};
use sqlx::mysql::{MySqlConnection, MySqlRow};
use sqlx::{Executor as _, Row as _};

use super::failure::Failure;
use super::pool::{DUPLICATE, number};
use crate::compare::scheme::Scheme;

/// The most that one share may hold.
const SHARE_FEN_MAX: i64 = 20_000;
/// Envelopes in one statement while seeding.
const SEED_ROWS: usize = 500;

/// Reads what [`Stock::of_row`] takes, without a lock.
pub const READ: &str = "SELECT seed, shares, remaining_shares, remaining_fen, version FROM envelope WHERE id = ?";

/// What is left of an envelope, as its row says.
pub struct Stock {
    /// What its draws come from.
    pub seed: Seed,
    pub shares: u32,
    pub left: u32,
    /// Money left.
    pub remaining_fen: i64,
    /// Counts the changes of the row.
    pub version: i64,
}

/// The next share of a stock.
pub struct Draw {
    /// Its place, from 1.
    pub seq: u32,
    pub amount_fen: i64,
    /// What is left after it.
    pub remaining_fen: i64,
}

impl Stock {
    /// Reads `seed, shares, remaining_shares, remaining_fen, version`.
    pub fn of_row(row: &MySqlRow) -> Result<Stock, Failure> {
        let seed: &[u8] = row.try_get(0)?;
        let seed = Seed::from_slice(seed).ok_or_else(|| Failure::Unknown("a seed has 32 bytes".into()))?;
        let (shares, left): (i64, i64) = (row.try_get(1)?, row.try_get(2)?);
        Ok(Stock {
            seed,
            shares: shares as u32,
            left: left as u32,
            remaining_fen: row.try_get(3)?,
            version: row.try_get(4)?,
        })
    }

    /// Draws the next share; there must be one.
    pub fn draw(&self) -> Draw {
        let seq = self.shares - self.left + 1;
        let fen = |fen| Fen::new(fen).expect("a stock is never below zero");
        let cap = fen(SHARE_FEN_MAX);
        let amount_fen =
            hongbao_core::split::lucky_share(&self.seed, seq, fen(self.remaining_fen), self.left, cap).get();
        Draw { seq, amount_fen, remaining_fen: self.remaining_fen - amount_fen }
    }

    pub fn take(&mut self, draw: &Draw) {
        self.left -= 1;
        self.remaining_fen = draw.remaining_fen;
    }
}

/// All shares of an envelope, drawn beforehand.
pub fn split(seed: &Seed, shares: u32, total_fen: i64) -> Vec<i64> {
    let mut stock = Stock { seed: *seed, shares, left: shares, remaining_fen: total_fen, version: 0 };
    let mut next = || {
        let draw = stock.draw();
        stock.take(&draw);
        draw.amount_fen
    };
    (0..shares).map(|_| next()).collect()
}

pub fn opened(seq: u32, amount_fen: i64, at: Timestamp, replayed: bool) -> Outcome {
    let amount_fen = Fen::new(amount_fen).expect("a share is never below zero");
    Outcome::Opened { amount_fen, seq, opened_at: at, replayed }
}

/// What the user got earlier, or that nothing is left.
pub async fn existing(
    connection: &mut MySqlConnection,
    envelope: EnvelopeId,
    user: &UserId,
) -> Result<Outcome, Failure> {
    let ask = sqlx::query("SELECT seq, amount_fen, at_ms FROM entry WHERE envelope_id = ? AND user_id = ?")
        .bind(&envelope.as_bytes()[..])
        .bind(user.as_str());
    let Some(row) = connection.fetch_optional(ask).await? else { return Ok(Outcome::Empty) };
    let (seq, amount_fen, at_ms): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
    Ok(opened(seq as u32, amount_fen, Timestamp::from_millis(at_ms), true))
}

/// The same, and ends the transaction in which that was found.
pub async fn existing_instead(
    connection: &mut MySqlConnection,
    envelope: EnvelopeId,
    user: &UserId,
) -> Result<Outcome, Failure> {
    let outcome = existing(connection, envelope, user).await?;
    connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
    Ok(outcome)
}

/// Inserts what was drawn, does `more`, and commits, in one message. A user who was
/// here before gets what it got then.
///
/// Text is safe here: an id is in hex, and a user's name has only letters, digits,
/// `_` and `-`.
pub async fn record(
    connection: &mut MySqlConnection,
    envelope: EnvelopeId,
    user: &UserId,
    draw: &Draw,
    at: Timestamp,
    more: &str,
) -> Result<Outcome, Failure> {
    let Draw { seq, amount_fen, remaining_fen } = draw;
    let (id, name, at_ms) = (literal(envelope), user.as_str(), at.millis());
    let record = format!(
        "INSERT INTO entry (envelope_id, user_id, seq, amount_fen, remaining_fen, at_ms) \
         VALUES ({id}, '{name}', {seq}, {amount_fen}, {remaining_fen}, {at_ms}); {more}COMMIT"
    );
    match connection.execute(sqlx::raw_sql(&record)).await {
        Ok(_) => Ok(opened(*seq, *amount_fen, at, false)),
        Err(error) if number(&error) == Some(DUPLICATE) => existing_instead(connection, envelope, user).await,
        Err(error) => Err(error.into()),
    }
}

/// An id as SQL, for statements that are sent as text.
pub fn literal(envelope: EnvelopeId) -> String {
    envelope.as_bytes().iter().fold("0x".to_owned(), |text, byte| text + &format!("{byte:02x}"))
}

/// Makes a scheme's tables anew, with these envelopes in them, all of the same
/// total and number of shares.
pub async fn seed(
    connection: &mut MySqlConnection,
    scheme: Scheme,
    envelopes: &[(EnvelopeId, Seed)],
    shares: u32,
    total_fen: i64,
) -> Result<(), sqlx::Error> {
    let name = scheme.database();
    let keys = match scheme {
        Scheme::Serial => "PRIMARY KEY (envelope_id, seq), UNIQUE KEY one_share_a_user (envelope_id, user_id)",
        _ => "PRIMARY KEY (envelope_id, user_id)",
    };
    let tables = format!(
        "DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}; \
         CREATE TABLE {name}.envelope (\
             id BINARY(16) NOT NULL PRIMARY KEY, seed BINARY(32) NOT NULL, shares BIGINT NOT NULL, \
             total_fen BIGINT NOT NULL, remaining_shares BIGINT NOT NULL, remaining_fen BIGINT NOT NULL, \
             version BIGINT NOT NULL); \
         CREATE TABLE {name}.entry (\
             envelope_id BINARY(16) NOT NULL, \
             user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NOT NULL, \
             seq BIGINT NOT NULL, amount_fen BIGINT NOT NULL, remaining_fen BIGINT NOT NULL, \
             at_ms BIGINT NOT NULL, {keys})"
    );
    connection.execute(sqlx::raw_sql(&tables)).await?;
    for some in envelopes.chunks(SEED_ROWS) {
        let rows: Vec<String> = some
            .iter()
            .map(|(id, seed)| {
                format!("({}, 0x{}, {shares}, {total_fen}, {shares}, {total_fen}, 0)", literal(*id), seed.reveal())
            })
            .collect();
        let insert = format!("INSERT INTO {name}.envelope VALUES {}", rows.join(", "));
        connection.execute(sqlx::raw_sql(&insert)).await?;
    }
    Ok(())
}
