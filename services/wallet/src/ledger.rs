//! The rules of the ledger: a pure fold over what the database knows of a batch.
//!
//! Deciding happens in memory and writing comes after it, so that a refusal has
//! nothing to roll back.

use std::collections::{BTreeSet, HashMap, HashSet};

use hongbao_core::{Fen, SystemBalances, Transfer, TransferId, TransferKind, TransferOutcome, UserId};

use crate::quotas::QuotaPlan;

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
    /// Those of them whose money stays where it is.
    frozen: HashSet<UserId>,
    system: SystemBalances,
    posts: Vec<Post<'a>>,
    /// What counts against limits of users.
    pub quotas: QuotaPlan,
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

    /// Takes in the stored balances of the system's accounts.
    pub fn set_system(&mut self, system: SystemBalances) {
        self.system = system;
    }

    /// What a transfer under this id is, if it is taken.
    pub fn kind_of(&self, id: TransferId) -> Option<TransferKind> {
        self.held.get(&id).map(|held| held.kind)
    }

    /// Whether an operator has frozen a user who pays in this batch, or is to be paid out.
    pub fn is_frozen(&self, user: &UserId) -> bool {
        self.frozen.contains(user)
    }

    /// Takes in that an operator has frozen a user.
    pub fn freeze(&mut self, user: UserId) {
        self.frozen.insert(user);
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
        if transfer.kind.is_refused_to_frozen() && self.frozen.contains(&transfer.user) {
            return TransferOutcome::Frozen;
        }
        if let Some(limit) = self.quotas.refusal(transfer) {
            return TransferOutcome::LimitExceeded(limit);
        }
        let before = self.users.get(&transfer.user).copied().unwrap_or(Fen::ZERO);
        let after = match transfer.kind.user_sign() {
            -1 => match before.checked_sub(transfer.amount) {
                Some(rest) => rest,
                None => return TransferOutcome::InsufficientFunds,
            },
            0 => before,
            _ => match before.checked_add(transfer.amount) {
                Some(sum) => sum,
                None => return TransferOutcome::Overflow,
            },
        };
        let Some(system) = self.system.after(transfer.kind, transfer.amount) else { return TransferOutcome::Overflow };
        self.system = system;
        self.users.insert(transfer.user.clone(), after);
        let content = Content { kind: transfer.kind, user: transfer.user.clone(), amount: transfer.amount };
        self.held.insert(transfer.id, content);
        self.quotas.execute(transfer);
        self.posts.push(Post { transfer, balance: after });
        TransferOutcome::Done
    }

    /// What was executed, in order.
    pub fn posts(&self) -> &[Post<'a>] {
        &self.posts
    }

    /// The balances of the system's accounts after it.
    pub fn system(&self) -> SystemBalances {
        self.system
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

/// The users of whom it has to be known whether they are frozen.
pub(crate) fn asked_if_frozen<'a>(transfers: &[&'a Transfer]) -> BTreeSet<&'a UserId> {
    let asked = |kind: TransferKind| kind.is_refused_to_frozen() || kind == TransferKind::Payout;
    transfers.iter().filter(|transfer| asked(transfer.kind)).map(|transfer| &transfer.user).collect()
}
