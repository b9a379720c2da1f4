//! The wallet's own rows: balances, transfers, and the books of the whole system.

use serde::Serialize;

use crate::money::Fen;
use crate::transfer::{SystemBalances, Transfer, TransferKind};

use super::findings::Breach;

/// Checks one account: its balance is the sum of its transfers (I1).
pub fn check_balance(account: &str, balance_fen: i64, transfers_sum_fen: i128) -> Option<Breach> {
    (i128::from(balance_fen) != transfers_sum_fen).then(|| Breach {
        invariant: "I1",
        code: "balance_off",
        envelope_id: None,
        user_id: Some(account.to_owned()),
        detail: format!("the balance is {balance_fen} fen, its transfers add up to {transfers_sum_fen}"),
    })
}

/// The row of a system account is gone, and its balance with it (I1).
pub fn account_missing(account: &str, transfers_sum_fen: i128) -> Breach {
    Breach {
        invariant: "I1",
        code: "account_missing",
        envelope_id: None,
        user_id: Some(account.to_owned()),
        detail: format!("there is no balance; its transfers add up to {transfers_sum_fen} fen"),
    }
}

/// The balances that a user's transfers led to, one after the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct RunningBalance {
    /// As the transfers so far make it.
    due_fen: i128,
    /// As it stands in the last row.
    stored_fen: i128,
}

impl RunningBalance {
    /// Behind a row that leads to this balance.
    pub fn behind(balance_fen: i64) -> RunningBalance {
        RunningBalance { due_fen: balance_fen.into(), stored_fen: balance_fen.into() }
    }

    /// Checks the next row of the account, at this position: its balance is the
    /// one before and what it changes (I1). After a wrong row either may be it, so
    /// that one wrong row is reported once.
    pub fn check(&mut self, account: &str, position: i64, change_fen: i64, balance_fen: i64) -> Option<Breach> {
        let (change, balance) = (i128::from(change_fen), i128::from(balance_fen));
        let due_fen = self.due_fen + change;
        let is_right = balance == due_fen || balance == self.stored_fen + change;
        *self = RunningBalance { due_fen: if is_right { balance } else { due_fen }, stored_fen: balance };
        (!is_right).then(|| Breach {
            invariant: "I1",
            code: "running_balance_off",
            envelope_id: None,
            user_id: Some(account.to_owned()),
            detail: format!("transfer {position} of {change_fen} fen leads to {balance_fen} fen, due were {due_fen}"),
        })
    }
}

/// Checks a user's balance at the end of the sealed months: what the transfers say, and what was sealed (I1).
pub fn check_sealed_balance(account: &str, row_fen: Option<i64>, sealed_fen: Option<i64>) -> Option<Breach> {
    let words = |fen: Option<i64>| fen.map_or("nothing".to_owned(), |fen| format!("{fen} fen"));
    (row_fen != sealed_fen).then(|| Breach {
        invariant: "I1",
        code: "sealed_balance_off",
        envelope_id: None,
        user_id: Some(account.to_owned()),
        detail: format!(
            "at the end of the sealed months the transfers lead to {}, sealed was {}",
            words(row_fen),
            words(sealed_fen)
        ),
    })
}

/// A transfer whose id, kind and amount contradict each other (I1).
pub fn check_transfer(transfer: &Transfer) -> Option<Breach> {
    let moves_something = !transfer.amount.is_zero() || transfer.kind == TransferKind::Cancel;
    (!transfer.is_sound() || !moves_something).then(|| Breach {
        invariant: "I1",
        code: "transfer_impossible",
        envelope_id: transfer.id.envelope_id(),
        user_id: Some(transfer.user.to_string()),
        detail: format!("{} moved {} fen as {:?}", transfer.id, transfer.amount.get(), transfer.kind),
    })
}

/// The books of the whole system.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Books {
    /// All users' balances.
    pub balances_fen: i128,
    /// Money that left a balance for an envelope and has not reached one yet.
    pub outstanding_fen: i128,
    /// All that ever came from outside by top-ups.
    pub top_ups_fen: i128,
    /// What was charged at the provider, less what was paid out there.
    pub provider_fen: i128,
    /// What has left balances for payouts and has not left the provider's account yet.
    pub payouts_fen: i128,
}

impl Books {
    /// From the balances of all users and those of the system's accounts.
    pub fn new(balances_fen: i128, system: SystemBalances) -> Books {
        let SystemBalances { clearing_fen, top_ups_fen, provider_fen, payouts_fen } = system;
        Books {
            balances_fen,
            outstanding_fen: clearing_fen.into(),
            top_ups_fen: -i128::from(top_ups_fen),
            provider_fen: -i128::from(provider_fen),
            payouts_fen: payouts_fen.into(),
        }
    }

    /// Those of two ledgers together.
    #[must_use]
    pub fn plus(self, other: Books) -> Books {
        Books {
            balances_fen: self.balances_fen + other.balances_fen,
            outstanding_fen: self.outstanding_fen + other.outstanding_fen,
            top_ups_fen: self.top_ups_fen + other.top_ups_fen,
            provider_fen: self.provider_fen + other.provider_fen,
            payouts_fen: self.payouts_fen + other.payouts_fen,
        }
    }

    /// I1 over the system: balances + outstanding + payouts under way = top-ups + what the provider holds for us.
    pub fn check(&self) -> Option<Breach> {
        let inside_fen = self.balances_fen + self.outstanding_fen + self.payouts_fen;
        (inside_fen != self.top_ups_fen + self.provider_fen).then(|| Breach {
            invariant: "I1",
            code: "books_off",
            envelope_id: None,
            user_id: None,
            detail: format!(
                "balances {} + outstanding {} + payouts {} are not the top-ups {} + what came from the provider {}",
                self.balances_fen, self.outstanding_fen, self.payouts_fen, self.top_ups_fen, self.provider_fen
            ),
        })
    }

    /// Outstanding money in yuan, for people; never negative in sound books.
    pub fn outstanding(&self) -> Option<Fen> {
        i64::try_from(self.outstanding_fen).ok().and_then(Fen::new)
    }
}
