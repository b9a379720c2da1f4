//! Sealed tables: their chain, the sample that is read row by row, and what ties them to the wallet.

use std::collections::{BTreeMap, BTreeSet};

use hongbao_core::audit::{manifest_broken, sealed_table_changed, sealed_table_missing, sealed_transfers_wrong};
use hongbao_core::id::{Span, TableRef, stable_hash};
use hongbao_core::limits::MANIFESTS_PAGE_MAX;
use hongbao_core::manifest::{Chain, Manifest, Sealer, Tie};
use hongbao_core::{EnvelopeId, Transfer};

use super::auditor::{Audit, words_of};
use super::set::{AuditError, SetStore};
use super::table::Walk;
use super::ties::Sides;

/// Which sealed tables are read row by row. The others are taken by their manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedRows {
    /// Each of them.
    All,
    /// So many of each SET, drawn by this number: with another number they are others.
    Sample {
        /// How many.
        tables: u32,
        /// Where they begin follows from it.
        draw: u64,
    },
}

impl SealedRows {
    /// Those of these that are to be read.
    pub(super) fn choose(self, sealed: &BTreeMap<TableRef, Manifest>) -> BTreeSet<TableRef> {
        let (tables, draw) = match self {
            SealedRows::All => return sealed.keys().copied().collect(),
            SealedRows::Sample { tables, draw } => (tables as usize, draw),
        };
        let first = stable_hash(&draw.to_be_bytes()) as usize % sealed.len().max(1);
        sealed.keys().cycle().skip(first).take(tables.min(sealed.len())).copied().collect()
    }
}

impl Audit<'_> {
    /// The manifests of a SET that can be relied on. What is wrong with the others is reported,
    /// and their tables are read as if they were not sealed.
    pub(super) async fn manifests(&mut self, number: usize) -> Result<BTreeMap<TableRef, Manifest>, AuditError> {
        let set = &self.sets[number];
        let databases: BTreeSet<u8> = set.store.tables().iter().map(|table| table.database).collect();
        let mut sealed = BTreeMap::new();
        for database in databases {
            let (mut chain, mut after) = (Chain::default(), 0);
            loop {
                let page = set.store.manifests(database, after, MANIFESTS_PAGE_MAX).await;
                let page = page.map_err(|error| set.failed(error))?;
                let is_full = page.len() as u32 == MANIFESTS_PAGE_MAX;
                for stored in page {
                    let manifest = stored.manifest;
                    after = manifest.number;
                    let table = TableRef { database, table: manifest.table, span: Span::Date(manifest.date) };
                    let breaks = chain.take(&manifest, stored.hash);
                    let place = words_of(set, table);
                    self.tell(breaks.iter().map(|why| manifest_broken(&place, manifest.number, *why)));
                    if breaks.is_empty() {
                        sealed.insert(table, manifest);
                    }
                }
                if !is_full {
                    break;
                }
            }
        }
        Ok(sealed)
    }

    /// Takes a table by its manifest.
    pub(super) fn by_manifest(&mut self, number: usize, table: TableRef, manifest: &Manifest) {
        let content = &manifest.content;
        let sums = &mut self.found.sealed;
        sums.tables += 1;
        sums.envelopes += content.envelopes;
        sums.entries += content.entries;
        sums.paid_fen += i128::from(content.paid_fen);
        sums.opened_fen += i128::from(content.opened_fen);
        sums.refunded_fen += i128::from(content.refunded_fen);
        let sides = Sides { due: content.tie, found: Tie::default(), was_read: false };
        self.ties.0.insert((number, table), sides);
    }

    /// Reads a sealed table and compares it with its manifest.
    pub(super) async fn sealed_table(
        &mut self,
        number: usize,
        table: TableRef,
        manifest: &Manifest,
    ) -> Result<(), AuditError> {
        self.by_manifest(number, table, manifest);
        self.found.sealed.tables_read += 1;
        if let Some(sides) = self.ties.0.get_mut(&(number, table)) {
            sides.was_read = true;
        }
        let set = &self.sets[number];
        let mut walk = Walk::begin(table, Some(Sealer::default()));
        self.table(set, &mut walk).await?;
        let found = walk.sealer.map(|sealer| sealer.content());
        if let Some(found) = found.filter(|found| *found != manifest.content) {
            self.tell([sealed_table_changed(&words_of(set, table), &manifest.content, &found)]);
        }
        Ok(())
    }

    /// Sealed tables that are not there.
    pub(super) fn missing<'m>(&mut self, set: &SetStore, tables: impl Iterator<Item = (&'m TableRef, &'m Manifest)>) {
        self.tell(tables.map(|(table, manifest)| sealed_table_missing(&words_of(set, *table), manifest.number)));
    }

    /// Whether a transfer is of an envelope in a sealed table, with which it then is compared at the end.
    pub(super) fn is_tied(&mut self, id: EnvelopeId, transfer: &Transfer) -> bool {
        let number = self.holder_number(id);
        let table = self.sets[number].store.table_of(id);
        let sides = self.ties.0.get_mut(&(number, table));
        sides.is_some_and(|sides| {
            sides.found.add(transfer);
            true
        })
    }

    /// After all transfers: those of each sealed table are what its rows are due. Of a table
    /// where they are not, its rows and the transfers are gone through to say which.
    pub(super) async fn ties(&mut self) -> Result<(), AuditError> {
        let mut wrong = std::mem::take(&mut self.ties.0);
        wrong.retain(|_, sides| sides.due != sides.found);
        for ((number, table), sides) in &wrong {
            let (number, table) = (*number, *table);
            let set = &self.sets[number];
            self.tell([sealed_transfers_wrong(&words_of(set, table), &sides.due, &sides.found)]);
            if !sides.was_read {
                self.table(set, &mut Walk::begin(table, None)).await?;
            }
        }
        match wrong.is_empty() {
            true => Ok(()),
            false => self.transfers_of_no_envelope(&wrong.into_keys().collect()).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use hongbao_core::Date;
    use hongbao_core::manifest::Sealer;

    use super::*;

    fn sealed(count: i32) -> BTreeMap<TableRef, Manifest> {
        let of = |day| {
            let date = Date::parse("20260101").unwrap().plus_days(day);
            let content = Sealer::default().content();
            let manifest = Manifest { number: 1, database: 0, table: 0, date, content, previous: [0; 32] };
            (TableRef { database: 0, table: 0, span: Span::Date(date) }, manifest)
        };
        (0..count).map(of).collect()
    }

    #[test]
    fn a_sample_has_its_size_and_comes_round_to_every_table() {
        let sealed = sealed(100);
        let mut seen = BTreeSet::new();
        for draw in 0..200 {
            let chosen = SealedRows::Sample { tables: 7, draw }.choose(&sealed);
            assert_eq!(chosen.len(), 7);
            seen.extend(chosen);
        }
        assert_eq!(seen.len(), 100);
        assert_eq!(SealedRows::All.choose(&sealed).len(), 100);
    }

    #[test]
    fn of_few_tables_a_sample_is_all_and_of_none_it_is_none() {
        let sample = SealedRows::Sample { tables: 7, draw: 3 };
        assert_eq!((sample.choose(&sealed(3)).len(), sample.choose(&sealed(0)).len()), (3, 0));
    }
}
