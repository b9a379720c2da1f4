//! What ties sealed tables to the wallet.

use std::collections::BTreeMap;

use hongbao_core::id::TableRef;
use hongbao_core::manifest::Tie;

/// What the wallet owes to sealed tables, by the place of their SET and their own.
#[derive(Default)]
pub(super) struct Ties(pub BTreeMap<(usize, TableRef), Sides>);

/// The rows of a sealed table.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Rows {
    /// They were not read.
    Unread,
    /// They were read.
    Read,
    /// The table, or that of its journals, is not there.
    Missing,
}

/// What is due to a table, and what was found.
pub(super) struct Sides {
    pub due: Tie,
    pub found: Tie,
    /// What becomes of its rows.
    pub rows: Rows,
}
