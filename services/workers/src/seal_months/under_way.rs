//! A month that is being sealed.

use hongbao_core::audit::{Breach, RunningBalance, check_sealed_balance, check_transfer};
use hongbao_core::limits::{MONTH_BLOCK_TRANSFERS, MONTH_ROWS_AT_ONCE_MAX};
use hongbao_core::manifest::{Hash, Month, MonthSealer, PartsHash, YearMonth, hash_of_blocks, hash_of_ties};
use hongbao_database::Generations;
use hongbao_wallet::{Line, MonthAttempt, MonthPart, ShardPlace, StoredMonth, Wallet, WalletError};

/// Users, and transfers, that are read at once.
const PAGE: u32 = MONTH_ROWS_AT_ONCE_MAX as u32;

/// The transfers that belong to a month.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub month: YearMonth,
    /// The position at which the month before ended; `None` for the first one.
    pub after: Option<i64>,
    /// The position of its last transfer.
    pub until: i64,
}

/// How far it has come.
#[derive(Clone, Debug)]
enum Step {
    /// Transfers are read from behind this position on.
    Transfers(Option<i64>),
    /// Users are read from behind this one on.
    Users(String),
    /// All was written, and read again.
    Whole,
}

/// A month that is being sealed, as far as it has been read.
#[derive(Clone)]
pub(super) struct UnderWay {
    pub attempt: MonthAttempt,
    /// The databases that it is read from.
    pub generations: Generations,
    place: ShardPlace,
    span: Span,
    zone_offset_s: i32,
    previous: Hash,
    sealer: MonthSealer,
    step: Step,
}

impl UnderWay {
    /// Behind the last manifest.
    pub fn begin(
        attempt: MonthAttempt,
        place: ShardPlace,
        span: Span,
        zone_offset_s: i32,
        last: Option<&StoredMonth>,
        generations: Generations,
    ) -> UnderWay {
        let end = last.map(|last| last.month.content.end).unwrap_or_default();
        let previous = last.map_or([0; 32], |last| last.hash);
        let (sealer, step) = (MonthSealer::behind(end, zone_offset_s), Step::Transfers(span.after));
        UnderWay { attempt, generations, place, span, zone_offset_s, previous, sealer, step }
    }

    /// Whether nothing is left but its manifest.
    pub fn is_whole(&self) -> bool {
        matches!(self.step, Step::Whole)
    }

    /// Its manifest.
    pub fn month(&self) -> Month {
        Month {
            number: self.attempt.number,
            database: self.place.database,
            month: self.span.month,
            zone_offset_s: self.zone_offset_s,
            moved_slots: self.attempt.moved_slots.clone(),
            last_position: self.span.until,
            content: self.sealer.content(),
            previous: self.previous,
        }
    }

    /// Reads on, and writes what comes of it; gives the rows that were read, `None` where another attempt has begun.
    ///
    /// # Errors
    /// [`WalletError::Damaged`] where what was read must not be sealed.
    pub async fn read(&mut self, wallet: &dyn Wallet) -> Result<Option<u32>, WalletError> {
        match self.step.clone() {
            Step::Transfers(after) => self.read_block(wallet, after).await,
            Step::Users(after) => self.read_users(wallet, &after).await,
            Step::Whole => Ok(Some(0)),
        }
    }

    async fn read_block(&mut self, wallet: &dyn Wallet, mut after: Option<i64>) -> Result<Option<u32>, WalletError> {
        let mut rows = 0;
        while rows < MONTH_BLOCK_TRANSFERS && after.is_none_or(|after| after < self.span.until) {
            let limit = PAGE.min(MONTH_BLOCK_TRANSFERS - rows);
            let page = wallet.scan(self.place.behind(after), limit).await?;
            let end = self.place.base + self.span.until;
            for line in page.iter().take_while(|line| line.position <= end) {
                let position = line.position - self.place.base;
                check(line)?;
                self.sealer.add(position, &line.transfer, line.balance_fen);
                (rows, after) = (rows + 1, Some(position));
            }
            if page.last().is_none_or(|last| last.position >= end) {
                after = Some(self.span.until);
            }
        }
        let block = self.sealer.end_block(after.unwrap_or(self.span.until));
        let is_last = block.last_position >= self.span.until;
        self.step = if is_last { Step::Users(String::new()) } else { Step::Transfers(Some(block.last_position)) };
        Ok(wallet.put_month(&self.attempt, MonthPart::Block(block)).await?.then_some(rows))
    }

    async fn read_users(&mut self, wallet: &dyn Wallet, after: &str) -> Result<Option<u32>, WalletError> {
        let MonthAttempt { shard, number, .. } = self.attempt;
        let page = wallet.users_at(shard, after, self.span.until, number, PAGE).await?;
        let mut balances = Vec::new();
        for user in &page {
            let is_of_month = user.last.is_some_and(|(position, _)| self.span.after.is_none_or(|end| position > end));
            let row_fen = user.last.map(|(_, balance_fen)| balance_fen);
            match row_fen.filter(|_| is_of_month) {
                Some(balance_fen) => {
                    self.sealer.add_balance(&user.user, balance_fen, user.sealed_fen);
                    balances.push((user.user.clone(), balance_fen));
                }
                None => refuse(check_sealed_balance(&user.user, row_fen, user.sealed_fen))?,
            }
        }
        if !wallet.put_month(&self.attempt, MonthPart::Balances(balances)).await? {
            return Ok(None);
        }
        match page.last().filter(|_| page.len() == PAGE as usize) {
            Some(last) => self.step = Step::Users(last.user.clone()),
            None => {
                for ties in self.sealer.ties().chunks(MONTH_ROWS_AT_ONCE_MAX) {
                    if !wallet.put_month(&self.attempt, MonthPart::Ties(ties.to_vec())).await? {
                        return Ok(None);
                    }
                }
                self.check_written(wallet).await?;
                self.step = Step::Whole;
            }
        }
        Ok(Some(page.len() as u32))
    }

    /// All accounts add up, and what was written is there: on a cluster a node may have taken some of it back.
    async fn check_written(&self, wallet: &dyn Wallet) -> Result<(), WalletError> {
        let MonthAttempt { shard, number, .. } = self.attempt;
        let content = self.sealer.content();
        if !content.adds_up() {
            let reason = format!("the accounts at the end of {} do not add up: {:?}", self.span.month, content.end);
            return Err(WalletError::Damaged(reason));
        }
        let (mut balances, mut after) = (PartsHash::default(), String::new());
        loop {
            let page = wallet.month_balances(shard, number, &after, PAGE).await?;
            page.iter().for_each(|(user, balance_fen)| balances.add_balance(user, *balance_fen));
            match page.last().filter(|_| page.len() == PAGE as usize) {
                Some((last, _)) => after.clone_from(last),
                None => break,
            }
        }
        let is_there = hash_of_blocks(&wallet.month_blocks(shard, number).await?) == content.rows_hash
            && hash_of_ties(wallet.month_ties(shard, number).await?) == content.ties_hash
            && balances.end() == content.balances_hash;
        // Another attempt may have begun, which has removed it.
        let reason = format!("what was written of {} is not there", self.span.month);
        if is_there { Ok(()) } else { Err(WalletError::Unavailable(reason)) }
    }
}

/// Refuses a transfer that an audit would name.
fn check(line: &Line) -> Result<(), WalletError> {
    let Line { position, transfer, balance_fen, before_fen } = line;
    let mut running = RunningBalance::behind(*before_fen);
    let (account, change_fen) = (transfer.user.as_str(), transfer.signed_amount());
    refuse(check_transfer(transfer).or_else(|| running.check(account, *position, change_fen, *balance_fen)))
}

fn refuse(breach: Option<Breach>) -> Result<(), WalletError> {
    breach.map_or(Ok(()), |breach| Err(WalletError::Damaged(format!("the month is not sealed: {breach}"))))
}
