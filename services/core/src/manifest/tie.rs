//! How the rows of a table tie to the wallet: the transfers that they are due.

use sha2::{Digest as _, Sha256};

use super::bytes::{Bytes, Hash};
use crate::transfer::{Transfer, TransferKind};

/// A set of transfers in three figures. The order in which they were added does not
/// count, so the wallet's transfers can be gone through in its own order.
///
/// The hash is the sum of the transfers' SHA-256, modulo 2^256: a transfer that is missing,
/// doubled or changed changes it, and no damage cancels another out, as it could with an exclusive or.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tie {
    /// How many there are.
    pub transfers: u64,
    /// Their amounts, whatever their direction.
    pub amount_fen: i64,
    /// The sum of their hashes.
    pub hash: Hash,
}

impl Tie {
    /// Adds one.
    pub fn add(&mut self, transfer: &Transfer) {
        self.add_all(&Tie { transfers: 1, amount_fen: transfer.amount.get(), hash: hash_of(transfer) });
    }

    /// Adds all of another set.
    pub fn add_all(&mut self, other: &Tie) {
        self.transfers += other.transfers;
        self.amount_fen = self.amount_fen.saturating_add(other.amount_fen);
        let mut carry = 0;
        for (sum, byte) in self.hash.iter_mut().zip(other.hash).rev() {
            let digit = u16::from(*sum) + u16::from(byte) + carry;
            *sum = digit as u8;
            carry = digit >> 8;
        }
    }
}

fn hash_of(transfer: &Transfer) -> Hash {
    let mut bytes = Bytes::default();
    bytes.raw(&transfer.id.to_key()).number(kind_number(transfer.kind)).text(transfer.user.as_str());
    bytes.signed(transfer.amount.get()).signed(transfer.at.millis());
    Sha256::digest(bytes.take()).into()
}

/// The number of a kind in what is hashed.
pub(super) fn kind_number(kind: TransferKind) -> u8 {
    match kind {
        TransferKind::TopUp => 1,
        TransferKind::Send => 2,
        TransferKind::Open => 3,
        TransferKind::Refund => 4,
        TransferKind::Cancel => 5,
        TransferKind::Charge => 6,
        TransferKind::Payout => 7,
        TransferKind::PayoutPaid => 8,
        TransferKind::PayoutFailed => 9,
        TransferKind::PayoutReturned => 10,
    }
}
