//! Shares split ahead: a row each, drawn when the envelope is made. An opening takes a free
//! row with SELECT ... FOR UPDATE SKIP LOCKED LIMIT 1, writes its user into it, and commits.
//!
//! No opener waits for another one of the same envelope, and all of it is one message: a
//! procedure, which the server has parsed.
//!
//! | tried, 64 openers of one envelope | processor time of MariaDB an opening |
//! |---|---|
//! | an index over the free rows, or the unique key with its NULLs, from its start | 810-900 us |
//! | the unique key, after the last row that this process took | 840-850 us |
//! | free rows in a table of their own, deleted when taken, from its start | 490-660 us |
//! | an index over the free rows, or that table, after the last row that this process took | 290-360 us |
//! | that table, each opener after a row of its own | 420-660 us |
//! | the index, each opener after a row of its own | 270-280 us |
//! | the primary key, after the last row that this process took | 240-260 us |
//! | the primary key, each opener after a row of its own; two messages | 210-230 us |
//! | **the same in a procedure** | 200-230 us, and a quarter less in this process |
//! | the same as one message of SQL and user variables, without a row of its own | 260-270 us |
//!
//! One to four runs each, unoptimised, on two cores that others used too: compare, no more. That a procedure
//! saves MariaDB anything these runs do not show; it saves a round trip, and this process its work.
//!
//! From the start of an index each opener walks over the rows that others hold and, it seems, over those
//! that were taken and that purge has not removed. An ORDER BY that sorts is worse: it locks every
//! free row, and 140,000 of them, 32 times, ended a server with a buffer pool of 256 MiB.

use std::collections::HashMap;

use hongbao_core::wire::Outcome;
use hongbao_core::{Clock as _, EnvelopeId, Seed, SystemClock, Timestamp, UserId};
use parking_lot::Mutex;
use sqlx::mysql::MySqlConnection;
use sqlx::{Executor as _, Row as _};

use super::failure::Failure;
use super::pool::{DEADLOCK, LOCKED, Pool, number};
use super::tables::{literal, opened, split};
use crate::compare::scheme::Scheme;

/// Envelopes of which it is remembered where to look; all are forgotten when there are more.
const REMEMBERED_MAX: usize = 100_000;
/// Rows in one statement while seeding.
const SEED_ROWS: usize = 5_000;

/// The shares, and the journal as the other alternatives have it.
const TABLES: &str = "\
CREATE TABLE share (
    envelope_id BINARY(16) NOT NULL, seq BIGINT NOT NULL, amount_fen BIGINT NOT NULL,
    user_id VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin NULL, at_ms BIGINT NULL,
    PRIMARY KEY (envelope_id, seq), UNIQUE KEY one_share_a_user (envelope_id, user_id));
CREATE VIEW entry AS
    SELECT envelope_id, user_id, seq, amount_fen, CAST(0 AS SIGNED) AS remaining_fen
    FROM share WHERE user_id IS NOT NULL;";

/// Answers with a row `seq, amount_fen, at_ms, replayed`, or with none when nothing is left.
///
/// Where no row is free and unlocked, one that is locked may become free again, by a rollback. So the
/// first of those that are not taken for good is waited for, in the order of the primary key as all
/// others lock: then two never wait for each other.
const PROCEDURE: &str = "\
CREATE PROCEDURE open_share(
    IN of_envelope BINARY(16), IN opener VARCHAR(64) CHARACTER SET ascii COLLATE ascii_bin,
    IN now_ms BIGINT, IN after_seq BIGINT)
BEGIN
    DECLARE free_seq, free_fen, first_seq BIGINT;
    DECLARE CONTINUE HANDLER FOR NOT FOUND BEGIN END;
    DECLARE EXIT HANDLER FOR 1062 BEGIN
        ROLLBACK;
        SELECT seq, amount_fen, at_ms, 1 FROM share WHERE envelope_id = of_envelope AND user_id = opener;
        COMMIT;
    END;
    SELECT seq, amount_fen INTO free_seq, free_fen FROM share FORCE INDEX (PRIMARY)
        WHERE envelope_id = of_envelope AND seq > after_seq AND user_id IS NULL
        ORDER BY seq LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF free_seq IS NULL THEN
        SELECT MIN(seq) INTO first_seq FROM share FORCE INDEX (one_share_a_user)
            WHERE envelope_id = of_envelope AND user_id IS NULL;
        SELECT seq, amount_fen INTO free_seq, free_fen FROM share FORCE INDEX (PRIMARY)
            WHERE envelope_id = of_envelope AND seq >= first_seq AND user_id IS NULL
            ORDER BY seq LIMIT 1 FOR UPDATE;
    END IF;
    IF free_seq IS NULL THEN
        SELECT seq, amount_fen, at_ms, 1 FROM share WHERE envelope_id = of_envelope AND user_id = opener;
        COMMIT;
    ELSE
        UPDATE share SET user_id = opener, at_ms = now_ms WHERE envelope_id = of_envelope AND seq = free_seq;
        COMMIT;
        SELECT free_seq, free_fen, now_ms, 0;
    END IF;
END";

/// The scheme.
pub struct Presplit {
    pool: Pool,
    /// Of each envelope the row after which the next opener looks. It only saves a walk: rows
    /// decide.
    after: Mutex<HashMap<EnvelopeId, i64>>,
}

impl Presplit {
    /// Over these connections.
    pub fn new(pool: Pool) -> Presplit {
        Presplit { pool, after: Mutex::default() }
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
        let after = self.next(envelope);
        let call = sqlx::query("CALL open_share(?, ?, ?, ?)")
            .bind(&envelope.as_bytes()[..])
            .bind(user.as_str())
            .bind(SystemClock.now().millis())
            .bind(after);
        let rows = match connection.fetch_all(call).await {
            Ok(rows) => rows,
            Err(error) if matches!(number(&error), Some(LOCKED | DEADLOCK)) => {
                connection.execute(sqlx::raw_sql("ROLLBACK")).await?;
                self.took(envelope, None, after);
                return Err(Failure::Busy);
            }
            Err(error) => return Err(error.into()),
        };
        let Some(row) = rows.first() else { return Ok(Outcome::Empty) };
        let (seq, amount_fen, at_ms): (i64, i64, i64) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let replayed = row.try_get::<i64, _>(3)? == 1;
        self.took(envelope, (!replayed).then_some(seq), after);
        Ok(opened(seq as u32, amount_fen, Timestamp::from_millis(at_ms), replayed))
    }

    /// The row after which this opener looks: each has one of its own, so that they do not meet.
    fn next(&self, envelope: EnvelopeId) -> i64 {
        let mut after = self.after.lock();
        if after.len() >= REMEMBERED_MAX {
            after.clear();
        }
        let next = after.entry(envelope).or_default();
        *next += 1;
        *next - 1
    }

    /// What an opener took that looked after `after`: the next ones look behind it, or where it
    /// looked if it has left that row free.
    fn took(&self, envelope: EnvelopeId, seq: Option<i64>, after: i64) {
        if let Some(next) = self.after.lock().get_mut(&envelope) {
            *next = seq.map_or_else(|| (*next).min(after), |seq| (*next).max(seq));
        }
    }
}

/// Makes the tables anew, with all shares of these envelopes in them.
pub async fn seed(
    connection: &mut MySqlConnection,
    envelopes: &[(EnvelopeId, Seed)],
    shares: u32,
    total_fen: i64,
) -> Result<(), sqlx::Error> {
    let name = Scheme::Presplit.database();
    let tables = format!("DROP DATABASE IF EXISTS {name}; CREATE DATABASE {name}; USE {name}; {TABLES}");
    connection.execute(sqlx::raw_sql(&tables)).await?;
    connection.execute(sqlx::raw_sql(PROCEDURE)).await?;
    let mut rows = Vec::with_capacity(SEED_ROWS);
    for (id, seed) in envelopes {
        let id = literal(*id);
        for (seq, amount_fen) in (1..).zip(split(seed, shares, total_fen)) {
            rows.push(format!("({id}, {seq}, {amount_fen})"));
            if rows.len() == SEED_ROWS {
                insert(connection, &mut rows).await?;
            }
        }
    }
    insert(connection, &mut rows).await
}

async fn insert(connection: &mut MySqlConnection, rows: &mut Vec<String>) -> Result<(), sqlx::Error> {
    if !rows.is_empty() {
        let insert = format!("INSERT INTO share (envelope_id, seq, amount_fen) VALUES {}", rows.join(", "));
        connection.execute(sqlx::raw_sql(&insert)).await?;
        rows.clear();
    }
    Ok(())
}
