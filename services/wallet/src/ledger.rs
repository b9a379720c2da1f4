//! The rules of the ledger: a pure fold over what the database knows of a batch.
//!
//! Deciding happens in memory and writing comes after it, so that a refusal has
//! nothing to roll back.

use std::collections::HashMap;

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

/// A transfer that is executed, to be written.
pub(crate) struct Post<'a> {
    pub transfer: &'a Transfer,
    /// The user's balance after it.
    pub balance: Fen,
}

/// The part of the books that a batch touches.
#[derive(Default)]
pub(crate) struct PostingPlan<'a> {
    /// Ids of the batch that are taken.
    held: HashMap<TransferId, Content>,
    /// Balances of the batch's users; who is absent has nothing.
    users: HashMap<UserId, Fen>,
    clearing: i64,
    top_ups: i64,
    posts: Vec<Post<'a>>,
}

impl<'a> PostingPlan<'a> {
    /// Takes in a stored transfer.
    pub fn hold(&mut self, id: TransferId, content: Content) {
        self.held.insert(id, content);
    }

    /// Takes in a stored balance of a user.
    pub fn set_user(&mut self, user: UserId, balance: Fen) {
        self.users.insert(user, balance);
    }

    /// Takes in the stored balances of [`CLEARING`] and [`TOP_UPS`], in fen.
    pub fn set_system(&mut self, clearing: i64, top_ups: i64) {
        (self.clearing, self.top_ups) = (clearing, top_ups);
    }

    /// Executes one transfer, or says why not. Only [`TransferOutcome::Done`] changes anything.
    ///
    /// A transfer that contradicts itself is a conflict: its id is for something else.
    pub fn execute(&mut self, transfer: &'a Transfer) -> TransferOutcome {
        if !transfer.is_sound() {
            return TransferOutcome::Conflict;
        }
        if let Some(held) = self.held.get(&transfer.id) {
            return repeated(held, transfer);
        }
        let before = self.users.get(&transfer.user).copied().unwrap_or(Fen::ZERO);
        let after = if transfer.kind.debits_user() {
            let Some(rest) = before.checked_sub(transfer.amount) else { return TransferOutcome::InsufficientFunds };
            rest
        } else {
            let Some(sum) = before.checked_add(transfer.amount) else { return TransferOutcome::Overflow };
            sum
        };
        let contra = if contra_of(transfer.kind) == CLEARING { &mut self.clearing } else { &mut self.top_ups };
        let Some(contra_after) = contra.checked_sub(transfer.signed_amount()) else { return TransferOutcome::Overflow };
        *contra = contra_after;
        self.users.insert(transfer.user.clone(), after);
        let content = Content { kind: transfer.kind, user: transfer.user.clone(), amount: transfer.amount };
        self.held.insert(transfer.id, content);
        self.posts.push(Post { transfer, balance: after });
        TransferOutcome::Done
    }

    /// What was executed, in order.
    pub fn posts(&self) -> &[Post<'a>] {
        &self.posts
    }

    /// The balances of [`CLEARING`] and [`TOP_UPS`] after it, in fen.
    pub fn system(&self) -> (i64, i64) {
        (self.clearing, self.top_ups)
    }
}

/// The account on the other side.
pub(crate) const fn contra_of(kind: TransferKind) -> &'static str {
    match kind {
        TransferKind::TopUp => TOP_UPS,
        TransferKind::Send | TransferKind::Open | TransferKind::Refund | TransferKind::Cancel => CLEARING,
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
