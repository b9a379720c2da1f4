//! The rules of the ledger: a pure fold over what the database knows of a batch.
//!
//! Deciding happens in memory and writing comes after it, so that a refusal has
//! nothing to roll back.

use std::collections::{HashMap, HashSet};

use hongbao_core::{Fen, Transfer, TransferId, TransferKind, TransferOutcome, UserId};

use crate::{CLEARING, TOP_UPS};

/// What makes two transfers under one id the same. The time may differ: a
/// repeat is asked for later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Content {
    pub kind: TransferKind,
    pub user: UserId,
    pub amount: Fen,
}

/// The part of the books that a batch touches.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// Ids of the batch that are taken.
    held: HashMap<TransferId, Content>,
    /// Balances of the batch's users; who is absent has nothing.
    users: HashMap<UserId, Fen>,
    clearing: i64,
    top_ups: i64,
    changed: HashSet<UserId>,
}

impl Ledger {
    /// Takes in a stored transfer.
    pub fn hold(&mut self, id: TransferId, content: Content) {
        self.held.insert(id, content);
    }

    /// Takes in a stored balance of a user.
    pub fn set_user(&mut self, user: UserId, balance: Fen) {
        self.users.insert(user, balance);
    }

    /// Takes in the stored balance of a system account.
    pub fn set_system(&mut self, account: &str, balance_fen: i64) {
        match account {
            CLEARING => self.clearing = balance_fen,
            _ => self.top_ups = balance_fen,
        }
    }

    /// Executes one transfer, or says why not. Only [`TransferOutcome::Done`] changes anything.
    ///
    /// A transfer that contradicts itself is a conflict: its id is for something else.
    pub fn execute(&mut self, transfer: &Transfer) -> TransferOutcome {
        if !is_sound(transfer) {
            return TransferOutcome::Conflict;
        }
        if let Some(held) = self.held.get(&transfer.id) {
            return repeated(held, transfer);
        }
        if transfer.kind != TransferKind::Cancel
            && let Some(refusal) = self.post(transfer)
        {
            return refusal;
        }
        let content = Content { kind: transfer.kind, user: transfer.user.clone(), amount: transfer.amount };
        self.held.insert(transfer.id, content);
        TransferOutcome::Done
    }

    /// Moves the money on both sides, or says why not.
    fn post(&mut self, transfer: &Transfer) -> Option<TransferOutcome> {
        let balance = self.users.get(&transfer.user).copied().unwrap_or(Fen::ZERO);
        let balance = if transfer.kind.debits_user() {
            let Some(left) = balance.checked_sub(transfer.amount) else {
                return Some(TransferOutcome::InsufficientFunds);
            };
            left
        } else {
            let Some(sum) = balance.checked_add(transfer.amount) else {
                return Some(TransferOutcome::Overflow);
            };
            sum
        };
        let contra = if contra_of(transfer.kind) == CLEARING { &mut self.clearing } else { &mut self.top_ups };
        let Some(contra_balance) = contra.checked_sub(transfer.signed_amount()) else {
            return Some(TransferOutcome::Overflow);
        };
        *contra = contra_balance;
        self.users.insert(transfer.user.clone(), balance);
        self.changed.insert(transfer.user.clone());
        None
    }

    /// The balances that changed, in fen and in the order of the accounts, the
    /// system's among them; empty if nobody's did.
    pub fn changes(&self) -> Vec<(&str, i64)> {
        if self.changed.is_empty() {
            return Vec::new();
        }
        let users = self.changed.iter().map(|user| (user.as_str(), self.users[user].get()));
        let mut changes: Vec<_> = users.chain([(CLEARING, self.clearing), (TOP_UPS, self.top_ups)]).collect();
        // In the order of the key, neighbours lie on the same page.
        changes.sort_unstable();
        changes
    }
}

/// The account on the other side.
pub(crate) const fn contra_of(kind: TransferKind) -> &'static str {
    match kind {
        TransferKind::TopUp => TOP_UPS,
        TransferKind::Send | TransferKind::Open | TransferKind::Refund | TransferKind::Cancel => CLEARING,
    }
}

/// The id is of the kind's class, and a cancel moves nothing.
fn is_sound(transfer: &Transfer) -> bool {
    match (transfer.kind, transfer.id) {
        (TransferKind::TopUp, TransferId::TopUp(_)) => true,
        (TransferKind::Send, TransferId::Envelope(_, 0)) => true,
        (TransferKind::Cancel, TransferId::Envelope(_, 0)) => transfer.amount.is_zero(),
        (TransferKind::Open | TransferKind::Refund, TransferId::Envelope(_, 1..)) => true,
        _ => false,
    }
}

fn repeated(held: &Content, asked: &Transfer) -> TransferOutcome {
    match (held.kind, asked.kind) {
        (TransferKind::Cancel, TransferKind::Send) => TransferOutcome::Cancelled,
        (TransferKind::Send, TransferKind::Cancel) => TransferOutcome::AlreadyPaid,
        (before, now) if before == now && held.user == asked.user && held.amount == asked.amount => {
            TransferOutcome::AlreadyDone
        }
        _ => TransferOutcome::Conflict,
    }
}
