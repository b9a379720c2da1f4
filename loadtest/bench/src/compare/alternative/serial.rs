//! Serial: a queue for each envelope, one transaction an opening.
//!
//! An envelope belongs to one of some workers, each with a connection of its
//! own, so that no opening ever waits for a lock: the worker keeps what is left,
//! and one insert, committed by itself, is all that an opening needs. Against
//! Hongbao only this is missing: it writes one opening at a time.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use hongbao_core::id::stable_hash;
use hongbao_core::wire::Outcome;
use hongbao_core::{Clock as _, EnvelopeId, SystemClock, UserId};
use hongbao_load::Fallible;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::{Executor as _, Row as _};
use tokio::sync::{mpsc, oneshot};

use super::failure::Failure;
use super::pool::{DUPLICATE, connect, number};
use super::tables::{READ, Stock, existing, opened};

/// Openings that may wait for one worker; more are answered `busy`.
const WAITING_MAX: usize = 4_096;
/// Envelopes that a worker remembers; it forgets all of them when there are more.
const REMEMBERED_MAX: usize = 100_000;

const LAST: &str = "SELECT seq, remaining_fen FROM entry WHERE envelope_id = ? ORDER BY seq DESC LIMIT 1";
const INSERT: &str = "INSERT INTO entry (envelope_id, user_id, seq, amount_fen, remaining_fen, at_ms) \
                      VALUES (?, ?, ?, ?, ?, ?)";

/// The scheme: its workers' queues.
pub struct Serial {
    workers: Vec<mpsc::Sender<Job>>,
}

struct Job {
    envelope: EnvelopeId,
    user: UserId,
    answer: oneshot::Sender<Result<Outcome, Failure>>,
}

impl Serial {
    pub async fn start(options: &MySqlConnectOptions, workers: usize) -> Fallible<Serial> {
        let mut queues = Vec::with_capacity(workers);
        for _ in 0..workers {
            let (queue, jobs) = mpsc::channel(WAITING_MAX);
            let connection = Some(connect(options).await?);
            let worker = Worker { options: options.clone(), connection, stocks: HashMap::new() };
            tokio::spawn(worker.run(jobs));
            queues.push(queue);
        }
        Ok(Serial { workers: queues })
    }

    /// Waits in the envelope's queue, and opens.
    pub async fn open(&self, envelope: EnvelopeId, user: &UserId) -> Result<Outcome, Failure> {
        let index = stable_hash(envelope.as_bytes()) % self.workers.len() as u64;
        let (answer, outcome) = oneshot::channel();
        let job = Job { envelope, user: user.clone(), answer };
        self.workers[index as usize].try_send(job).map_err(|_| Failure::Busy)?;
        outcome.await.unwrap_or_else(|_| Err(Failure::Unknown("the worker has ended".into())))
    }
}

struct Worker {
    options: MySqlConnectOptions,
    /// None after a failure, until the next job.
    connection: Option<MySqlConnection>,
    stocks: HashMap<EnvelopeId, Stock>,
}

impl Worker {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.recv().await {
            let outcome = self.open(job.envelope, &job.user).await;
            if matches!(outcome, Err(Failure::Unknown(_))) {
                self.connection = None;
                self.stocks.remove(&job.envelope);
            }
            // The client may have gone; the opening stands.
            let _ = job.answer.send(outcome);
        }
    }

    async fn open(&mut self, envelope: EnvelopeId, user: &UserId) -> Result<Outcome, Failure> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            gone => gone.insert(connect(&self.options).await?),
        };
        if self.stocks.len() >= REMEMBERED_MAX {
            self.stocks.clear();
        }
        let stock = match self.stocks.entry(envelope) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(unknown) => unknown.insert(load(connection, envelope).await?),
        };
        if stock.left == 0 {
            return existing(connection, envelope, user).await;
        }
        let (draw, at) = (stock.draw(), SystemClock.now());
        let insert = sqlx::query(INSERT)
            .bind(&envelope.as_bytes()[..])
            .bind(user.as_str())
            .bind(i64::from(draw.seq))
            .bind(draw.amount_fen)
            .bind(draw.remaining_fen)
            .bind(at.millis());
        match connection.execute(insert).await {
            Ok(_) => {
                stock.take(&draw);
                Ok(opened(draw.seq, draw.amount_fen, at, false))
            }
            // Only this worker writes the envelope, so the user has opened it before.
            Err(error) if number(&error) == Some(DUPLICATE) => existing(connection, envelope, user).await,
            Err(error) => Err(error.into()),
        }
    }
}

/// The stock as the journal's last entry left it.
async fn load(connection: &mut MySqlConnection, envelope: EnvelopeId) -> Result<Stock, Failure> {
    let id = &envelope.as_bytes()[..];
    let row = connection.fetch_optional(sqlx::query(READ).bind(id)).await?;
    let mut stock = Stock::of_row(&row.ok_or(Failure::NotFound)?)?;
    if let Some(last) = connection.fetch_optional(sqlx::query(LAST).bind(id)).await? {
        let (seq, remaining_fen): (i64, i64) = (last.try_get(0)?, last.try_get(1)?);
        stock.left = stock.shares - seq as u32;
        stock.remaining_fen = remaining_fen;
    }
    Ok(stock)
}
