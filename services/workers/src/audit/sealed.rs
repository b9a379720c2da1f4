//! Sealed tables: their chain, the sample that is read row by row, and what ties them to the wallet.

use std::collections::{BTreeMap, BTreeSet};

use hongbao_core::audit::{
    exported_file_wrong, manifest_broken, manifest_unreadable, sealed_table_changed, sealed_table_missing,
};
use hongbao_core::id::{Span, TableRef};
use hongbao_core::limits::MANIFESTS_PAGE_MAX;
use hongbao_core::manifest::{Chain, Manifest, Sealer};
use hongbao_store::{Exported, Outline, Store, StoreError};

use super::auditor::{Audit, words_of};
use super::set::AuditError;
use super::table::Walk;
use super::ties::Rows;

/// Which sealed tables, and blocks of sealed months, are read row by row. The others are taken by their manifests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SealedRows {
    /// Each of them.
    All,
    /// So many of each SET, and of each part of the wallet: with the next turn those that follow them.
    Sample {
        /// How many.
        tables: u32,
        /// The samples of turns that follow each other come round to all tables, as long as no other is sealed.
        turn: u64,
    },
}

impl SealedRows {
    /// Those of these, in order, that are to be read.
    pub(super) fn choose<T: Clone>(self, sealed: &[T]) -> Vec<T> {
        let (tables, turn) = match self {
            SealedRows::All => return sealed.to_vec(),
            SealedRows::Sample { tables, turn } => (tables as usize, turn),
        };
        let all = sealed.len().max(1) as u128;
        let first = (u128::from(turn) * tables as u128 % all) as usize;
        sealed.iter().cycle().skip(first).take(tables.min(sealed.len())).cloned().collect()
    }
}

impl Audit<'_> {
    /// The manifests of a SET that can be relied on. What is wrong with the others is reported,
    /// and their tables are read as if they were not sealed.
    pub(super) async fn manifests(&mut self, number: usize) -> Result<BTreeMap<TableRef, Manifest>, AuditError> {
        let set = &self.sets[number];
        set.store.look().await.map_err(|error| set.failed(error))?;
        let of_exported = set.store.exported_tables();
        let databases: BTreeSet<u8> =
            set.store.tables().iter().chain(&of_exported).map(|table| table.database).collect();
        let mut sealed = BTreeMap::new();
        for database in databases {
            let (mut chain, mut after) = (Chain::default(), 0);
            loop {
                let page = set.store.manifests(database, after, MANIFESTS_PAGE_MAX).await;
                let page = page.map_err(|error| set.failed(error))?;
                let is_full = page.len() as u32 == MANIFESTS_PAGE_MAX;
                for row in page {
                    after = row.number;
                    let stored = match row.manifest {
                        Ok(stored) => stored,
                        Err(reason) => {
                            chain.pass(after);
                            let place = format!("SET {} database {database:02}", set.name);
                            self.tell([manifest_unreadable(&place, after, &reason)]);
                            continue;
                        }
                    };
                    let manifest = stored.manifest;
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
    fn by_manifest(&mut self, number: usize, table: TableRef, manifest: &Manifest, rows: Rows) {
        let content = &manifest.content;
        let sums = &mut self.found.sealed;
        sums.tables += 1;
        sums.envelopes += content.envelopes;
        sums.entries += content.entries;
        sums.paid_fen += i128::from(content.paid_fen);
        sums.opened_fen += i128::from(content.opened_fen);
        sums.refunded_fen += i128::from(content.refunded_fen);
        self.ties.sealed.insert((number, table), (content.tie, rows));
    }

    /// Compares a sealed table with its manifest: what it shows of itself, and, if this differs
    /// or `reads` it, all of its rows.
    pub(super) async fn sealed_table(
        &mut self,
        number: usize,
        table: TableRef,
        manifest: &Manifest,
        reads: bool,
    ) -> Result<(), AuditError> {
        let set = &self.sets[number];
        if set.store.is_exported(table) {
            return self.exported_table(number, table, manifest, reads).await;
        }
        let outline = set.store.outline(table).await;
        if set.store.is_exported(table) {
            // A worker has exported it meanwhile: what was read is its file.
            return self.exported_table(number, table, manifest, reads).await;
        }
        let seems_the_same = match outline {
            Ok(Some(Outline { is_quiet, ends, has_entries })) => {
                let content = &manifest.content;
                is_quiet && ends == content.ends && has_entries == (content.entries > 0)
            }
            Ok(None) => {
                self.missing(number, table, manifest);
                return Ok(());
            }
            Err(StoreError::Damaged(_)) => false,
            Err(error) => return Err(set.failed(error)),
        };
        if seems_the_same && !reads {
            self.by_manifest(number, table, manifest, Rows::Unread);
            return Ok(());
        }
        self.sealed_rows(number, table, manifest).await
    }

    /// The same of an exported table: the file that has its rows is opened each time, and read if `reads` it.
    async fn exported_table(
        &mut self,
        number: usize,
        table: TableRef,
        manifest: &Manifest,
        reads: bool,
    ) -> Result<(), AuditError> {
        let set = &self.sets[number];
        if self.silent.contains(&number) {
            self.not_checked(number, table, manifest, "its archive did not answer before");
            return Ok(());
        }
        let exported = match set.store.exported(table).await {
            // The database has to answer.
            Err(error) if !matches!(error, StoreError::Damaged(_)) => return Err(set.failed(error)),
            exported => exported,
        };
        let checked = match exported {
            Ok(exported) => check_file(&*set.store, table, exported, manifest, reads).await,
            Err(damaged) => Err(damaged),
        };
        match checked {
            Ok(()) if reads => self.sealed_rows(number, table, manifest).await,
            Ok(()) => {
                self.by_manifest(number, table, manifest, Rows::Unread);
                Ok(())
            }
            Err(StoreError::Damaged(reason)) => {
                self.by_manifest(number, table, manifest, Rows::Missing);
                self.tell([exported_file_wrong(&words_of(set, table), manifest.number, &reason)]);
                Ok(())
            }
            Err(error @ (StoreError::Unavailable(_) | StoreError::Unsupported(_))) => {
                if matches!(error, StoreError::Unavailable(_)) {
                    self.silent.insert(number);
                }
                self.not_checked(number, table, manifest, &error.to_string());
                Ok(())
            }
            Err(error) => Err(set.failed(error)),
        }
    }

    /// Takes an exported table whose file cannot be opened by its manifest: everything else can be checked.
    fn not_checked(&mut self, number: usize, table: TableRef, manifest: &Manifest, reason: &str) {
        self.by_manifest(number, table, manifest, Rows::Missing);
        self.found.not_checked.push(format!("{}: {reason}", words_of(&self.sets[number], table)));
    }

    /// Reads all rows of a sealed table, wherever they are.
    async fn sealed_rows(&mut self, number: usize, table: TableRef, manifest: &Manifest) -> Result<(), AuditError> {
        let set = &self.sets[number];
        self.by_manifest(number, table, manifest, Rows::Read);
        self.found.sealed.tables_read += 1;
        let mut walk = Walk::begin(table, Some(Sealer::default()));
        self.table(set, &mut walk).await?;
        let found = walk.sealer.map(|sealer| sealer.content());
        if let Some(found) = found.filter(|found| *found != manifest.content) {
            self.tell([sealed_table_changed(&words_of(set, table), &manifest.content, &found)]);
        }
        Ok(())
    }

    /// A sealed table that is not there. Its transfers are still those that its manifest says.
    pub(super) fn missing(&mut self, number: usize, table: TableRef, manifest: &Manifest) {
        self.by_manifest(number, table, manifest, Rows::Missing);
        self.missing.push((number, table));
        self.tell([sealed_table_missing(&words_of(&self.sets[number], table), manifest.number)]);
    }
}

/// Whether the file of an exported table is that of its manifest, by its footer, and by all of it if `reads` it.
async fn check_file(
    store: &dyn Store,
    table: TableRef,
    exported: Option<Exported>,
    manifest: &Manifest,
    reads: bool,
) -> Result<(), StoreError> {
    let damaged = |reason: &str| Err(StoreError::Damaged(reason.to_owned()));
    let Some(exported) = exported else { return damaged("where it went is not noted any more") };
    if (exported.number, exported.manifest_hash) != (manifest.number, manifest.hash()) {
        return damaged("it is noted as that of another manifest");
    }
    let content = &manifest.content;
    let seems_the_same =
        |outline: Outline| outline.ends == content.ends && outline.has_entries == (content.entries > 0);
    if !store.outline(table).await?.is_some_and(seems_the_same) {
        return damaged("it does not begin and end as the manifest says");
    }
    match store.archive().filter(|_| reads) {
        Some(archive) => archive.check(&exported.file).await,
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sealed(count: u32) -> Vec<u32> {
        (0..count).collect()
    }

    #[test]
    fn samples_that_follow_each_other_come_round_to_every_table() {
        let sealed = sealed(100);
        let mut seen = BTreeSet::new();
        for turn in 20_000..20_000 + 100_u64.div_ceil(7) {
            let chosen = SealedRows::Sample { tables: 7, turn }.choose(&sealed);
            assert_eq!(chosen.len(), 7);
            seen.extend(chosen);
        }
        assert_eq!(seen.len(), 100);
        assert_eq!(SealedRows::All.choose(&sealed).len(), 100);
    }

    #[test]
    fn of_few_tables_a_sample_is_all_and_of_none_it_is_none() {
        let sample = SealedRows::Sample { tables: 7, turn: 3 };
        assert_eq!((sample.choose(&sealed(3)).len(), sample.choose(&sealed(0)).len()), (3, 0));
    }
}
