//! Manifests, and whether those of a database follow each other.

use sha2::{Digest as _, Sha256};

use super::bytes::{Bytes, Hash};
use super::content::Content;
use crate::date::Date;
use crate::id::{Span, TableRef};

/// The manifest of one sealed table. It is written once and never changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its place in the chain of its database, from 1.
    pub number: u64,
    /// `xx` of the database.
    pub database: u8,
    /// `y` of the table.
    pub table: u8,
    /// The date of the table.
    pub date: Date,
    /// What the table holds.
    pub content: Content,
    /// The hash of the manifest before it; zeros for the first one.
    pub previous: Hash,
}

impl Manifest {
    /// The table that it is of.
    pub fn table_ref(&self) -> TableRef {
        TableRef { database: self.database, table: self.table, span: Span::Date(self.date) }
    }

    /// The hash over all of it, which the next manifest holds.
    pub fn hash(&self) -> Hash {
        let Content { envelopes, entries, paid_fen, opened_fen, refunded_fen, ends, rows_hash, tie } = &self.content;
        let mut bytes = Bytes::of("hongbao manifest 1");
        bytes.number(self.number).number(self.database).number(self.table).signed(self.date.number().into());
        bytes.number(*envelopes).number(*entries).signed(*paid_fen).signed(*opened_fen).signed(*refunded_fen);
        match ends {
            Some((first, last)) => bytes.number(1_u8).raw(first.as_bytes()).raw(last.as_bytes()),
            None => bytes.number(0_u8),
        };
        bytes.raw(rows_hash).number(tie.transfers).signed(tie.amount_fen).raw(&tie.hash).raw(&self.previous);
        Sha256::digest(bytes.take()).into()
    }
}

/// What a chain looks at in a manifest, of whatever kind it is.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    /// Its place, from 1.
    pub number: u64,
    /// The hash that it holds of the one before it; zeros for the first one.
    pub previous: Hash,
    /// The hash over all of it, which the next one holds.
    pub hash: Hash,
    /// Whether its figures do not contradict each other.
    pub adds_up: bool,
}

impl From<&Manifest> for Link {
    fn from(manifest: &Manifest) -> Link {
        let Manifest { number, previous, content, .. } = manifest;
        Link { number: *number, previous: *previous, hash: manifest.hash(), adds_up: content.adds_up() }
    }
}

/// Why a manifest does not go on from the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Break {
    /// Its place is not the next one: manifests between are gone.
    Number,
    /// It holds another hash than that of the one before.
    Previous,
    /// The hash that is stored with it is not its own: it was changed.
    Content,
    /// Its figures contradict each other.
    Figures,
}

/// The chain up to some manifest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chain {
    number: u64,
    hash: Hash,
}

impl Chain {
    /// The chain that ends with this manifest.
    pub fn up_to(last: impl Into<Link>) -> Chain {
        let Link { number, hash, .. } = last.into();
        Chain { number, hash }
    }

    /// The place of the next manifest, and the hash that it holds of the one before.
    pub fn next(&self) -> (u64, Hash) {
        (self.number + 1, self.hash)
    }

    /// Passes a manifest that cannot be read: the next one cannot be seen to go on from it.
    pub fn pass(&mut self, number: u64) {
        *self = Chain { number, ..Chain::default() };
    }

    /// Takes the next manifest, with the hash that is stored with it; gives what is wrong. After
    /// a break the chain goes on from the manifest as it was stored, so that one break is one.
    pub fn take(&mut self, manifest: impl Into<Link>, stored: Hash) -> Vec<Break> {
        let manifest = manifest.into();
        let (number, previous) = self.next();
        let breaks = [
            (manifest.number != number).then_some(Break::Number),
            (manifest.previous != previous).then_some(Break::Previous),
            (manifest.hash != stored).then_some(Break::Content),
            (!manifest.adds_up).then_some(Break::Figures),
        ];
        *self = Chain { number: manifest.number, hash: stored };
        breaks.into_iter().flatten().collect()
    }
}
