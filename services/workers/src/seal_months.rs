//! Seal months: the wallet's transfers of a month that is over get a manifest, database by database.
//!
//! A sealed month is a range of positions. Positions rise in the order of the commits, so nothing ever comes in
//! among those that are there, and no fence is needed; any end would do, and the one that is taken is where
//! the first transfer of a later month lies ([`due`]).
//!
//! In this order, each step of which may be repeated, also by two workers at the same time:
//!
//! 1. An attempt begins, which ends all others and removes what they have left.
//! 2. The transfers are read in order, a part in each visit, and checked as the audit does: each makes sense, and leads
//!    from its user's balance before it to the one after it. Each 10,000 of them are a block, which is written.
//! 3. All users are gone through: who had a transfer in the month gets a row with the balance at its end; of
//!    all others the balance has to be the one that was sealed.
//! 4. The ties to the envelopes are written, and all that was written is read once more.
//! 5. The manifest goes to the end of the chain, unless another attempt has begun or users have left meanwhile.
//!
//! What is read is durable, by a barrier, before anything follows from it. A worker that dies in between leaves rows
//! that count for nothing. A worker whose attempt was ended by another one leaves the database to that one
//! for hours, so the workers of all SETs may do this.

mod due;
mod under_way;
mod why;

use std::collections::HashMap;

use async_trait::async_trait;
use hongbao_core::Timestamp;
use hongbao_database::durable::{Reading, read_across_a_start};
use hongbao_wallet::{ShardPlace, WalletError};

use self::under_way::UnderWay;
use self::why::Why;
use crate::job::{Job, JobError, Ports, RunReport, bounded};

const NAME: &str = "seal_months";

/// What a visit came to.
enum Visit {
    /// So many rows were read.
    Read(u32),
    /// There is nothing to do now.
    Not(Why),
}

/// The job.
pub struct SealMonths {
    ports: Ports,
    zone_offset_s: i32,
    /// How far the months have been read that are being sealed: a hint.
    under_way: HashMap<u8, UnderWay>,
    /// What is left alone, and until when.
    rests: HashMap<u8, (Why, Timestamp)>,
}

impl SealMonths {
    /// The job for these ports.
    pub fn new(ports: Ports, zone_offset_s: i32) -> SealMonths {
        SealMonths { ports, zone_offset_s, under_way: HashMap::new(), rests: HashMap::new() }
    }

    /// Reads on in a database, for at least `limit` rows, and seals its month at the end.
    async fn visit(&mut self, place: ShardPlace, now: Timestamp, limit: u32) -> Result<Visit, JobError> {
        let wallet = self.ports.wallet.clone();
        let reading = Reading::begin(&*wallet);
        let generations = wallet.generations();
        // Taken out: after a failure the month is begun anew.
        let under_way = self.under_way.remove(&place.shard).filter(|begun| begun.generations == generations);
        let mut under_way = match under_way {
            Some(begun) => begun,
            None => match due::begin(&*wallet, place, self.zone_offset_s, now).await? {
                Ok(begun) => begun,
                Err(why) => return Ok(Visit::Not(why)),
            },
        };
        let (mut rows, mut is_whole) = (0, false);
        while rows < limit && !is_whole {
            let Some(read) = under_way.read(&*wallet).await? else { return Ok(Visit::Not(Why::Taken)) };
            rows = rows.saturating_add(read);
            is_whole = under_way.is_whole();
        }
        if reading.end(()).await?.is_none() {
            return Err(read_across_a_start().into());
        }
        if !is_whole {
            self.under_way.insert(place.shard, under_way);
            return Ok(Visit::Read(rows));
        }
        let month = under_way.month();
        if !wallet.seal_month(&under_way.attempt, &month).await? {
            return Ok(Visit::Not(Why::Taken));
        }
        let (database, transfers) = (name_of(place), month.content.transfers);
        tracing::info!(database, month = %month.month, manifest = month.number, transfers, "a month is sealed");
        Ok(Visit::Read(rows.max(1)))
    }

    fn failed(&mut self, place: ShardPlace, error: &JobError, now: Timestamp) {
        let is_unsound = matches!(error, JobError::Wallet(WalletError::Damaged(_)));
        let why = if is_unsound { Why::Unsound } else { Why::Failed };
        tracing::error!(job = NAME, database = name_of(place), %error, "a month cannot be sealed");
        self.rest(place, why, now);
    }

    fn rest(&mut self, place: ShardPlace, why: Why, now: Timestamp) {
        self.rests.insert(place.shard, (why, now.plus_millis(why.rest_ms())));
    }
}

#[async_trait]
impl Job for SealMonths {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn run_once(&mut self, limit: u32) -> Result<RunReport, JobError> {
        let now = self.ports.clock.now();
        self.rests.retain(|_, (_, until)| *until > now);
        let mut report = RunReport::default();
        let mut capacity_left = bounded(limit);
        for place in self.ports.wallet.shards() {
            if self.rests.contains_key(&place.shard) {
                continue;
            }
            if capacity_left == 0 {
                report.more = true;
                break;
            }
            match self.visit(place, now, capacity_left).await {
                Ok(Visit::Read(rows)) => {
                    capacity_left = capacity_left.saturating_sub(rows.max(1));
                    report.rows = report.rows.saturating_add(rows);
                    report.more = true;
                }
                Ok(Visit::Not(why)) => self.rest(place, why, now),
                Err(error) => {
                    self.failed(place, &error, now);
                    report.failures += 1;
                }
            }
        }
        Ok(report)
    }

    fn start_over(&mut self) {
        self.under_way.clear();
    }

    fn forget_failures(&mut self) {
        self.rests.retain(|_, (why, _)| *why != Why::Failed);
    }
}

/// The database of the wallet that a place is in.
fn name_of(place: ShardPlace) -> String {
    format!("wallet_{:02}", place.database)
}
