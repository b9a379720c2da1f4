//! What a month was, from its transfers in order, and the parts of it that are kept beside its manifest.

use std::collections::BTreeMap;

use sha2::{Digest as _, Sha256};

use super::bytes::{Bytes, Hash};
use super::month::{MonthContent, MonthEnd};
use super::tie::{Tie, kind_number};
use crate::date::Date;
use crate::transfer::{Transfer, TransferKind};

/// Transfers of a month that follow each other: so many that one can be read again by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Block {
    /// The position of its last transfer. It begins behind the block before it.
    pub last_position: i64,
    /// Its transfers.
    pub transfers: u64,
    /// Over all columns of them, in order.
    pub rows_hash: Hash,
}

/// Reads the rows of a block in order.
#[derive(Clone, Debug, Default)]
pub struct BlockSealer {
    rows: Sha256,
    transfers: u64,
}

impl BlockSealer {
    /// Takes the next transfer, with its place and the balance that it leads to.
    pub fn add(&mut self, position: i64, transfer: &Transfer, balance_fen: i64) {
        let Transfer { id, kind, user, amount, at } = transfer;
        let mut bytes = Bytes::default();
        bytes.signed(position).raw(&id.to_key()).text(user.as_str()).number(kind_number(*kind)).signed(amount.get());
        bytes.signed(balance_fen).signed(at.millis());
        self.rows.update(bytes.take());
        self.transfers += 1;
    }

    /// The block that they are.
    pub fn end(self, last_position: i64) -> Block {
        Block { last_position, transfers: self.transfers, rows_hash: self.rows.finalize().into() }
    }
}

/// The hash over parts of a month, taken one after the other.
#[derive(Clone, Debug, Default)]
pub struct PartsHash(Sha256);

impl PartsHash {
    /// Takes the next block.
    pub fn add_block(&mut self, block: &Block) {
        let mut bytes = Bytes::default();
        bytes.signed(block.last_position).number(block.transfers).raw(&block.rows_hash);
        self.0.update(bytes.take());
    }

    /// Takes the next user's balance.
    pub fn add_balance(&mut self, user: &str, balance_fen: i64) {
        let mut bytes = Bytes::default();
        bytes.text(user).signed(balance_fen);
        self.0.update(bytes.take());
    }

    /// Takes the next tie.
    pub fn add_tie(&mut self, date: Date, tie: &Tie) {
        let mut bytes = Bytes::default();
        bytes.signed(date.number().into()).number(tie.transfers).signed(tie.amount_fen).raw(&tie.hash);
        self.0.update(bytes.take());
    }

    /// Over all that were taken.
    pub fn end(self) -> Hash {
        self.0.finalize().into()
    }
}

/// Reads the transfers of a month in the order of their positions, then the balances of its users in the
/// order of their ids, and says what the month was.
#[derive(Clone, Debug)]
pub struct MonthSealer {
    zone_offset_s: i32,
    content: MonthContent,
    block: BlockSealer,
    blocks: PartsHash,
    balances: PartsHash,
    ties: BTreeMap<Date, Tie>,
}

impl MonthSealer {
    /// For the month behind one that ended so; `MonthEnd::default()` for the first one.
    pub fn behind(end: MonthEnd, zone_offset_s: i32) -> MonthSealer {
        MonthSealer {
            zone_offset_s,
            content: MonthContent { end, ..MonthContent::default() },
            block: BlockSealer::default(),
            blocks: PartsHash::default(),
            balances: PartsHash::default(),
            ties: BTreeMap::new(),
        }
    }

    /// Takes the next transfer.
    pub fn add(&mut self, position: i64, transfer: &Transfer, balance_fen: i64) {
        self.block.add(position, transfer, balance_fen);
        let (content, amount) = (&mut self.content, transfer.amount.get());
        let (sum, sign) = match transfer.kind {
            TransferKind::TopUp => (&mut content.topped_up_fen, 1),
            TransferKind::Send => (&mut content.sent_fen, 1),
            TransferKind::Open => (&mut content.opened_fen, 1),
            TransferKind::Refund | TransferKind::Cancel => (&mut content.refunded_fen, 1),
            TransferKind::Charge => (&mut content.charged_fen, 1),
            TransferKind::PayoutPaid => (&mut content.paid_out_fen, 1),
            TransferKind::PayoutReturned => (&mut content.paid_out_fen, -1),
            // On their way or back from it: the balance of their account at the end tells.
            TransferKind::Payout | TransferKind::PayoutFailed => (&mut content.paid_out_fen, 0),
        };
        *sum = sum.saturating_add(sign * amount);
        // One that does not fit is damage, which the sum of the balances at the end shows.
        content.end.system = content.end.system.after(transfer.kind, transfer.amount).unwrap_or(content.end.system);
        // What was cancelled may be removed, and a cancel moves nothing.
        if let Some(id) = transfer.id.envelope_id().filter(|_| transfer.kind != TransferKind::Cancel) {
            self.ties.entry(Date::of(id.minted_at(), self.zone_offset_s)).or_default().add(transfer);
        }
    }

    /// Ends a block at this position.
    pub fn end_block(&mut self, last_position: i64) -> Block {
        let block = std::mem::take(&mut self.block).end(last_position);
        self.blocks.add_block(&block);
        self.content.transfers += block.transfers;
        block
    }

    /// Takes the balance of a user who had transfers in the month, and the one at the end of the
    /// month before, if there was one.
    pub fn add_balance(&mut self, user: &str, balance_fen: i64, before_fen: Option<i64>) {
        self.balances.add_balance(user, balance_fen);
        let end = &mut self.content.end;
        end.users += u64::from(before_fen.is_none());
        end.balances_fen = end.balances_fen.saturating_add(balance_fen).saturating_sub(before_fen.unwrap_or(0));
    }

    /// The ties of its transfers to the envelopes, by the date of these.
    pub fn ties(&self) -> Vec<(Date, Tie)> {
        self.ties.iter().map(|(date, tie)| (*date, *tie)).collect()
    }

    /// What the month was, after its last balance.
    pub fn content(&self) -> MonthContent {
        MonthContent {
            rows_hash: self.blocks.clone().end(),
            balances_hash: self.balances.clone().end(),
            ties_hash: hash_of_ties(self.ties.iter().map(|(date, tie)| (*date, *tie))),
            ..self.content.clone()
        }
    }
}

/// The hash over ties in order.
pub fn hash_of_ties(ties: impl IntoIterator<Item = (Date, Tie)>) -> Hash {
    let mut hash = PartsHash::default();
    ties.into_iter().for_each(|(date, tie)| hash.add_tie(date, &tie));
    hash.end()
}

/// The hash over blocks in order.
pub fn hash_of_blocks<'a>(blocks: impl IntoIterator<Item = &'a Block>) -> Hash {
    let mut hash = PartsHash::default();
    blocks.into_iter().for_each(|block| hash.add_block(block));
    hash.end()
}
