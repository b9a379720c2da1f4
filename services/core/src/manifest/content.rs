//! What a table holds, in figures.

use super::bytes::Hash;
use super::tie::Tie;
use crate::id::EnvelopeId;

/// What a sealed table holds. Tables with other rows, or with the same in another order, differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Content {
    /// Envelopes.
    pub envelopes: u64,
    /// Entries of their journals.
    pub entries: u64,
    /// What the envelopes were paid with, in fen.
    pub paid_fen: i64,
    /// What was opened.
    pub opened_fen: i64,
    /// What went back to senders. Nothing was cancelled: such envelopes are removed before.
    pub refunded_fen: i64,
    /// The least and the greatest id; `None` for a table without rows.
    pub ends: Option<(EnvelopeId, EnvelopeId)>,
    /// Over all rows, each envelope before its journal, in the order of the ids.
    pub rows_hash: Hash,
    /// The transfers that the envelopes' payments and entries are in the wallet.
    pub tie: Tie,
}

impl Content {
    /// Whether what was paid is what was opened and refunded, and each payment and entry is a transfer.
    pub fn adds_up(&self) -> bool {
        let moved = i128::from(self.opened_fen) + i128::from(self.refunded_fen);
        i128::from(self.paid_fen) == moved
            && u128::from(self.tie.transfers) == u128::from(self.envelopes) + u128::from(self.entries)
            && i128::from(self.tie.amount_fen) == i128::from(self.paid_fen) + moved
    }

    /// In which figures `found` differs, for people; empty if in none.
    pub fn differences(&self, found: &Content) -> String {
        let of = |name: &str, sealed: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
            let (sealed, found) = (sealed.to_string(), found.to_string());
            (sealed != found).then(|| format!("{name}: sealed were {sealed}, found {found}"))
        };
        let ends =
            |content: &Content| content.ends.map_or("none".to_owned(), |(first, last)| format!("{first} to {last}"));
        let hash = |hash: &Hash| hash[..4].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
        let all = [
            of("envelopes", &self.envelopes, &found.envelopes),
            of("entries", &self.entries, &found.entries),
            of("fen paid", &self.paid_fen, &found.paid_fen),
            of("fen opened", &self.opened_fen, &found.opened_fen),
            of("fen refunded", &self.refunded_fen, &found.refunded_fen),
            of("ids", &ends(self), &ends(found)),
            of("hash of the rows", &hash(&self.rows_hash), &hash(&found.rows_hash)),
            of("transfers due", &self.tie.transfers, &found.tie.transfers),
            of("hash of the transfers due", &hash(&self.tie.hash), &hash(&found.tie.hash)),
        ];
        all.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }
}
