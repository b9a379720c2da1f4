//! I1: money is neither made nor lost.

use std::collections::HashMap;
use std::sync::Arc;

use hongbao_core::audit::{Books, check_balance};
use hongbao_core::id::stable_hash;
use hongbao_core::{Transfer, TransferKind, TransferOutcome};

use super::reading::stored;
use super::{balance, cancel, of_envelope, one, open, send, top_up};
use hongbao_wallet::{Boundaries, Wallet};

/// Random numbers from a seed: each is below `bound`.
pub(super) struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, bound: u64) -> u64 {
        self.0 += 1;
        stable_hash(&self.0.to_be_bytes()) % bound
    }

    /// Few users, envelopes and amounts, so that repeats and refusals are common.
    fn transfer(&mut self) -> Transfer {
        let name = format!("user_{}", self.roll(7));
        let amount = 1 + self.roll(200) as i64;
        let number = self.roll(40);
        match self.roll(8) {
            0 => top_up(self.roll(100), &name, amount),
            1 | 2 => send(number, &name, amount),
            3 => cancel(number, &name),
            4 => of_envelope(TransferKind::Refund, number, 1 + self.roll(3) as u32, &name, amount),
            _ => open(number, 1 + self.roll(3) as u32, &name, amount),
        }
    }
}

/// I1: every balance is what the executed transfers make it, each account is the
/// sum of its transfers, and all accounts together are zero.
pub async fn all_accounts_add_up_to_zero_after_random_transfers(wallet: Arc<dyn Wallet>) {
    let mut dice = Dice(20_260_216);
    let mut expected: HashMap<String, i64> = HashMap::new();
    let mut outcomes_seen: HashMap<String, u32> = HashMap::new();
    for _ in 0..60 {
        let batch: Vec<_> = (0..1 + dice.roll(40)).map(|_| dice.transfer()).collect();
        let outcomes = wallet.transfer(batch.clone()).await.unwrap();
        assert_eq!(outcomes.len(), batch.len());
        for (transfer, outcome) in batch.iter().zip(outcomes) {
            *outcomes_seen.entry(format!("{outcome:?}")).or_default() += 1;
            if outcome == TransferOutcome::Done {
                *expected.entry(transfer.user.to_string()).or_default() += transfer.signed_amount();
            }
        }
    }
    for outcome in ["Done", "AlreadyDone", "InsufficientFunds", "Cancelled", "AlreadyPaid", "Conflict"] {
        assert!(outcomes_seen.contains_key(outcome), "the dice should have led to {outcome}: {outcomes_seen:?}");
    }
    let accounts = wallet.accounts(None, u32::MAX, &Boundaries::default()).await.unwrap();
    assert_eq!(accounts.iter().map(|row| i128::from(stored(row))).sum::<i128>(), 0);
    for row in &accounts {
        assert_eq!(check_balance(&row.account, stored(row), row.transfers_sum_fen), None);
        if !row.is_of_system() {
            assert_eq!(stored(row), expected[&row.account]);
            assert_eq!(balance(&wallet, &row.account).await, stored(row));
        }
    }
    assert_eq!(accounts.iter().filter(|row| !row.is_of_system()).count(), expected.len());
    let books = wallet.books().await.unwrap();
    assert_eq!(books.check(), None);
    assert_eq!(books.balances_fen, expected.values().map(|fen| i128::from(*fen)).sum::<i128>());
}

/// Balances of users fit, and yet their sum may not.
pub async fn sums_beyond_64_bits_are_told(wallet: Arc<dyn Wallet>) {
    assert_eq!(one(&wallet, top_up(1, "ann", i64::MAX)).await, TransferOutcome::Done);
    // Credits that no payment stands behind drive the clearing account below zero.
    assert_eq!(one(&wallet, open(1, 1, "bob", i64::MAX)).await, TransferOutcome::Done);
    let most = i128::from(i64::MAX);
    let books = wallet.books().await.unwrap();
    assert_eq!(books, Books { balances_fen: 2 * most, outstanding_fen: -most, top_ups_fen: most, ..Books::default() });
    for row in wallet.accounts(None, u32::MAX, &Boundaries::default()).await.unwrap() {
        assert_eq!(i128::from(stored(&row)), row.transfers_sum_fen, "{}", row.account);
    }
}
