//! Sealed months of the wallet: their chains, the parts that are read again, and up to where they are relied on.

use hongbao_core::audit::{manifest_broken, manifest_unreadable, sealed_month_changed, unreadable};
use hongbao_core::limits::{MANIFESTS_PAGE_MAX, MONTH_ROWS_AT_ONCE_MAX};
use hongbao_core::manifest::{Block, BlockSealer, Chain, Month, MonthEnd, PartsHash, hash_of_blocks, hash_of_ties};
use hongbao_wallet::{Boundary, ShardPlace, WalletError};

use super::auditor::Audit;
use super::sealed::SealedRows;
use super::set::AuditError;

/// Balances that are read at once.
const BALANCES_PAGE: u32 = MONTH_ROWS_AT_ONCE_MAX as u32;

/// A block of a sealed month, behind a position.
#[derive(Clone)]
struct Part {
    month: Month,
    after: Option<i64>,
    block: Block,
}

impl Audit<'_> {
    /// The months of each part of the wallet that can be relied on. What is wrong with one is reported, and its
    /// transfers and all later ones are read as if they were not sealed.
    pub(super) async fn months(&mut self, sealed_rows: SealedRows) -> Result<(), AuditError> {
        for place in self.wallet.shards() {
            let (months, parts) = self.chain_of_months(place).await?;
            let Some(last) = months.last() else { continue };
            let boundary = Boundary {
                place,
                number: last.number,
                position: last.last_position,
                zone_offset_s: last.zone_offset_s,
                end: last.content.end,
            };
            self.months.0.insert(place.shard, boundary);
            for part in sealed_rows.choose(&parts) {
                self.block(place, &part).await?;
            }
            let of_balances = match sealed_rows {
                SealedRows::All => SealedRows::All,
                SealedRows::Sample { tables, turn } => SealedRows::Sample { tables: tables.min(1), turn },
            };
            for month in of_balances.choose(&months) {
                self.balances_of(place, &month).await?;
            }
        }
        Ok(())
    }

    /// The months from the first one on that are sound as far as their manifests and parts say.
    async fn chain_of_months(&mut self, place: ShardPlace) -> Result<(Vec<Month>, Vec<Part>), AuditError> {
        let (mut chain, mut number) = (Chain::default(), 0);
        let (mut months, mut parts, mut goes_on) = (Vec::<Month>::new(), Vec::new(), true);
        loop {
            let page = self.wallet.months(place.shard, number, MANIFESTS_PAGE_MAX).await?;
            let is_full = page.len() as u32 == MANIFESTS_PAGE_MAX;
            for row in page {
                number = row.number;
                let stored = match row.month {
                    Ok(stored) => stored,
                    Err(reason) => {
                        chain.pass(number);
                        goes_on = false;
                        let of = format!("the wallet's database {:02}", place.database);
                        self.tell([manifest_unreadable(&of, number, &reason)]);
                        continue;
                    }
                };
                let month = stored.month;
                let breaks = chain.take(&month, stored.hash);
                self.tell(breaks.iter().map(|why| manifest_broken(&words_of(place, &month), number, *why)));
                goes_on &= breaks.is_empty() && !row.is_void;
                if goes_on {
                    let after = months.last().map(|before| before.last_position);
                    goes_on = self.parts_of(place, &month, after, &mut parts).await?;
                }
                if goes_on {
                    months.push(month);
                }
            }
            if !is_full {
                return Ok((months, parts));
            }
        }
    }

    /// Whether the blocks and the ties of a month are those of its manifest. If so they are taken.
    async fn parts_of(
        &mut self,
        place: ShardPlace,
        month: &Month,
        mut after: Option<i64>,
        parts: &mut Vec<Part>,
    ) -> Result<bool, AuditError> {
        let (shard, number) = (place.shard, month.number);
        let blocks = match self.wallet.month_blocks(shard, number).await {
            Err(WalletError::Damaged(reason)) => Err(reason),
            blocks => Ok(blocks?),
        };
        let ties = match self.wallet.month_ties(shard, number).await {
            Err(WalletError::Damaged(reason)) => Err(reason),
            ties => Ok(ties?),
        };
        let is_same = |blocks: &Vec<Block>| {
            let transfers: u64 = blocks.iter().map(|block| block.transfers).sum();
            hash_of_blocks(blocks) == month.content.rows_hash && transfers == month.content.transfers
        };
        let wrong = match (&blocks, &ties) {
            (Err(reason), _) | (_, Err(reason)) => reason.clone(),
            (Ok(blocks), _) if !is_same(blocks) => "its blocks are others".to_owned(),
            (_, Ok(ties)) if hash_of_ties(ties.iter().copied()) != month.content.ties_hash => {
                "its ties to the envelopes are others".to_owned()
            }
            (Ok(blocks), Ok(ties)) => {
                for block in blocks {
                    parts.push(Part { month: month.clone(), after, block: *block });
                    after = Some(block.last_position);
                }
                ties.iter().for_each(|(date, tie)| self.ties.add_found(*date, tie));
                let sums = &mut self.found.sealed;
                sums.months += 1;
                sums.transfers += month.content.transfers;
                return Ok(true);
            }
        };
        self.tell([sealed_month_changed(&words_of(place, month), &wrong)]);
        Ok(false)
    }

    /// Reads a block again. Where it is another one, its transfers are checked one by one.
    async fn block(&mut self, place: ShardPlace, part: &Part) -> Result<(), AuditError> {
        let Part { month, after, block } = part;
        self.found.sealed.blocks_read += 1;
        let (mut sealer, mut read) = (BlockSealer::default(), *after);
        let end = place.base + block.last_position;
        let found = loop {
            let page = match self.wallet.scan(place.behind(read), super::wallet::ROWS_PAGE).await {
                Err(WalletError::Damaged(_)) => break None,
                page => page?,
            };
            for line in page.iter().take_while(|line| line.position <= end) {
                sealer.add(line.position - place.base, &line.transfer, line.balance_fen);
            }
            match page.last() {
                Some(last) if last.position < end => read = Some(last.position - place.base),
                _ => break Some(sealer.end(block.last_position)),
            }
        };
        if found.as_ref() == Some(block) {
            return Ok(());
        }
        let from = after.map_or("the first".to_owned(), |after| format!("those behind {after}"));
        let mut detail = format!("of the transfers from {from} up to {} ", block.last_position);
        detail += &match found {
            None => "some cannot be read".to_owned(),
            Some(found) if found.transfers != block.transfers => {
                format!("{} are there, sealed were {}", found.transfers, block.transfers)
            }
            Some(_) => "some are others".to_owned(),
        };
        self.tell([sealed_month_changed(&words_of(place, month), &detail)]);
        self.lines(place.behind(*after), end, false).await
    }

    /// Reads the balances of a month again.
    async fn balances_of(&mut self, place: ShardPlace, month: &Month) -> Result<(), AuditError> {
        let (mut balances, mut after) = (PartsHash::default(), String::new());
        loop {
            let page = match self.wallet.month_balances(place.shard, month.number, &after, BALANCES_PAGE).await {
                Err(WalletError::Damaged(reason)) => {
                    let of = format!("{}: its balances: {reason}", words_of(place, month));
                    self.tell([unreadable(None, of)]);
                    return Ok(());
                }
                page => page?,
            };
            page.iter().for_each(|(user, balance_fen)| balances.add_balance(user, *balance_fen));
            match page.last().filter(|_| page.len() == BALANCES_PAGE as usize) {
                Some((last, _)) => after.clone_from(last),
                None => break,
            }
        }
        if balances.end() != month.content.balances_hash {
            self.tell([sealed_month_changed(&words_of(place, month), "its balances are others")]);
        }
        Ok(())
    }

    /// Whether the balances at the boundaries, over all users, are those of the manifests.
    pub(super) fn check_sealed_balances(&mut self, users: u64, balances_fen: i128) {
        let ends = || self.months.0.values().map(|boundary| boundary.end);
        let due_fen: i128 = ends().map(|MonthEnd { balances_fen, .. }| i128::from(balances_fen)).sum();
        let due: u64 = ends().map(|end| end.users).sum();
        if (users, balances_fen) != (due, due_fen) {
            let detail =
                format!("at its end {users} users have {balances_fen} fen, sealed were {due} users with {due_fen} fen");
            self.tell([sealed_month_changed("the wallet", &detail)]);
        }
    }
}

fn words_of(place: ShardPlace, month: &Month) -> String {
    format!("the wallet's database {:02} month {}", place.database, month.month)
}
