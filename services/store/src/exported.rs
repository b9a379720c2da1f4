//! Reading exported tables from their files.

use std::hash::Hash;
use std::sync::{Arc, OnceLock};

use hongbao_core::id::TableRef;
use hongbao_core::limits::{EXPORT_FOOTERS_BYTES_MAX, EXPORT_IDS_KEPT_MAX, EXPORT_ROWS_KEPT_MAX};
use hongbao_core::{Entry, EntryKind, Envelope, EnvelopeId, Journal, Opened, UserId};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};

use crate::{Archive, Exported, Outline, Rows, StoreError, TableFile};

/// Files that were open at the same time mostly; a hint for the cache.
const OPEN_FILES: usize = 64;
const KEPT_PARTS: usize = 16;

/// An open file, and how large its footer is.
#[derive(Clone)]
struct OpenFile {
    file: Arc<dyn TableFile>,
    footer_bytes: u64,
}

#[derive(Clone)]
struct OfFooter;

impl Weighter<TableRef, OpenFile> for OfFooter {
    fn weight(&self, _: &TableRef, file: &OpenFile) -> u64 {
        file.footer_bytes.max(1)
    }
}

#[derive(Clone)]
struct OfRows;

impl Weighter<(TableRef, usize), Arc<Rows>> for OfRows {
    fn weight(&self, _: &(TableRef, usize), rows: &Arc<Rows>) -> u64 {
        rows.iter().map(|(_, journal)| 1 + journal.len() as u64).sum::<u64>().max(1)
    }
}

#[derive(Clone)]
struct OfIds;

impl Weighter<(TableRef, usize), Arc<Vec<EnvelopeId>>> for OfIds {
    fn weight(&self, _: &(TableRef, usize), ids: &Arc<Vec<EnvelopeId>>) -> u64 {
        (ids.len() as u64).max(1)
    }
}

/// What a process remembers of exported tables that it has read.
pub struct ExportedReads {
    archive: OnceLock<Arc<dyn Archive>>,
    files: Cache<TableRef, OpenFile, OfFooter>,
    ids: Cache<(TableRef, usize), Arc<Vec<EnvelopeId>>, OfIds>,
    parts: Cache<(TableRef, usize), Arc<Rows>, OfRows>,
}

/// A cache in one piece: one of several, each with its share of the room, has none for what is larger than a share.
fn cache<K: Eq + Hash, V: Clone, W: Weighter<K, V> + Clone>(items: usize, weight: u64, of: W) -> Cache<K, V, W> {
    let options = OptionsBuilder::new().shards(1).estimated_items_capacity(items).weight_capacity(weight).build();
    Cache::with_options(options.expect("all is given"), of, DefaultHashBuilder::default(), DefaultLifecycle::default())
}

impl Default for ExportedReads {
    fn default() -> ExportedReads {
        ExportedReads {
            archive: OnceLock::new(),
            files: cache(OPEN_FILES, EXPORT_FOOTERS_BYTES_MAX, OfFooter),
            ids: cache(KEPT_PARTS, EXPORT_IDS_KEPT_MAX, OfIds),
            parts: cache(KEPT_PARTS, EXPORT_ROWS_KEPT_MAX, OfRows),
        }
    }
}

impl ExportedReads {
    /// Exported tables are read here from now on; the first archive stays.
    pub fn read_in(&self, archive: Arc<dyn Archive>) {
        let _ = self.archive.set(archive);
    }

    /// Where they are read.
    pub fn archive(&self) -> Option<Arc<dyn Archive>> {
        self.archive.get().cloned()
    }

    /// Forgets what was read.
    pub fn forget(&self) {
        self.files.clear();
        self.ids.clear();
        self.parts.clear();
    }

    fn reading_in(&self) -> Result<&Arc<dyn Archive>, StoreError> {
        let unknown =
            "the rows of its date are exported, and no archive is configured here ([archive] in hongbao.toml)";
        self.archive.get().ok_or_else(|| StoreError::Unavailable(unknown.to_owned()))
    }
}

/// A store some of whose tables are exported.
pub trait ExportedSource: Sync {
    /// What this process remembers of them.
    fn exported_reads(&self) -> &ExportedReads;

    /// Where the rows of a table went, as the database says.
    fn exported_as(&self, table: TableRef) -> impl Future<Output = Result<Option<Exported>, StoreError>> + Send;
}

/// The file of a table, which is opened unless it is remembered.
async fn file_of(store: &impl ExportedSource, table: TableRef) -> Result<Arc<dyn TableFile>, StoreError> {
    let reads = store.exported_reads();
    if let Some(open) = reads.files.get(&table) {
        return Ok(open.file);
    }
    let archive = reads.reading_in()?;
    let Some(Exported { manifest_hash, file, .. }) = store.exported_as(table).await? else {
        return Err(StoreError::Unavailable(format!("{table:?} was exported, and is not any more: was it restored?")));
    };
    let open = archive.open(&file, manifest_hash).await?;
    reads.files.insert(table, OpenFile { file: open.clone(), footer_bytes: file.footer_bytes });
    Ok(open)
}

/// A part of a file, which is read unless it is remembered.
async fn part_of(
    store: &impl ExportedSource,
    table: TableRef,
    file: &dyn TableFile,
    number: usize,
) -> Result<Arc<Rows>, StoreError> {
    let reads = store.exported_reads();
    if let Some(rows) = reads.parts.get(&(table, number)) {
        return Ok(rows);
    }
    let rows = Arc::new(file.part(number).await?);
    reads.parts.insert((table, number), rows.clone());
    Ok(rows)
}

/// Whether a part may have an envelope: its ids say so, which are read, unless they or its rows are remembered. An id that never existed
/// costs no more, however many of them are asked for.
async fn may_have(
    store: &impl ExportedSource,
    table: TableRef,
    file: &dyn TableFile,
    number: usize,
    id: EnvelopeId,
) -> Result<bool, StoreError> {
    let reads = store.exported_reads();
    if reads.parts.peek(&(table, number)).is_some() {
        return Ok(true);
    }
    let ids = match reads.ids.get(&(table, number)) {
        Some(ids) => ids,
        None => {
            let ids = Arc::new(file.ids(number).await?);
            reads.ids.insert((table, number), ids.clone());
            ids
        }
    };
    Ok(ids.binary_search(&id).is_ok())
}

/// What `read` makes of an envelope and its journal; `None` if the table has no such envelope, for which no rows are
/// read.
pub async fn find<T>(
    store: &impl ExportedSource,
    table: TableRef,
    id: EnvelopeId,
    read: impl Fn(&Envelope, &[Entry]) -> T,
) -> Result<Option<T>, StoreError> {
    let file = file_of(store, table).await?;
    let number = file.parts().partition_point(|(_, last)| *last < id);
    if file.parts().get(number).is_none_or(|(first, _)| *first > id) {
        return Ok(None);
    }
    if !may_have(store, table, &*file, number, id).await? {
        return Ok(None);
    }
    let rows = part_of(store, table, &*file, number).await?;
    let found = rows.binary_search_by_key(&id, |(envelope, _)| envelope.id).ok();
    Ok(found.map(|place| read(&rows[place].0, &rows[place].1)))
}

/// As [`Scans::scan`](crate::Scans::scan).
pub async fn scan(
    store: &impl ExportedSource,
    table: TableRef,
    after: Option<EnvelopeId>,
    limit: u32,
) -> Result<Vec<(Envelope, u32)>, StoreError> {
    let mut page = Vec::new();
    let file = file_of(store, table).await?;
    let first = file.parts().partition_point(|(_, last)| after.is_some_and(|after| *last <= after));
    for number in first..file.parts().len() {
        let rows = part_of(store, table, &*file, number).await?;
        let behind = rows.partition_point(|(envelope, _)| after.is_some_and(|after| envelope.id <= after));
        for (envelope, journal) in &rows[behind..] {
            if page.len() == limit as usize {
                return Ok(page);
            }
            page.push((envelope.clone(), fold(envelope, journal).last_seq));
        }
    }
    Ok(page)
}

/// As [`Scans::scan_entries`](crate::Scans::scan_entries).
pub async fn scan_entries(
    store: &impl ExportedSource,
    table: TableRef,
    after: Option<EnvelopeId>,
    until: EnvelopeId,
    limit: u32,
) -> Result<Vec<Entry>, StoreError> {
    let mut page = Vec::new();
    let file = file_of(store, table).await?;
    let first = file.parts().partition_point(|(_, last)| after.is_some_and(|after| *last <= after));
    for number in first..file.parts().len() {
        if file.parts()[number].0 > until {
            break;
        }
        let rows = part_of(store, table, &*file, number).await?;
        let within = |id: EnvelopeId| after.is_none_or(|after| id > after) && id <= until;
        for (_, journal) in rows.iter().filter(|(envelope, _)| within(envelope.id)) {
            let room = limit as usize - page.len();
            page.extend(journal.iter().take(room).cloned());
            if page.len() == limit as usize {
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// As [`Sealing::outline`](crate::Sealing::outline): what the footer of its file says.
pub async fn outline(store: &impl ExportedSource, table: TableRef) -> Result<Outline, StoreError> {
    // What is remembered says nothing of what is there now.
    store.exported_reads().files.remove(&table);
    let file = file_of(store, table).await?;
    let ends = file.parts().first().zip(file.parts().last()).map(|((first, _), (_, last))| (*first, *last));
    Ok(Outline { is_quiet: true, ends, has_entries: file.entries() > 0 })
}

/// The fold of a journal.
pub fn fold(envelope: &Envelope, journal: &[Entry]) -> Journal {
    journal.last().map_or(Journal::new(envelope.total), Journal::after)
}

/// The opening of a user.
pub fn opened_by(journal: &[Entry], user: &UserId) -> Option<Opened> {
    let of_user = |entry: &&Entry| matches!(&entry.kind, EntryKind::Open(opener) if opener == user);
    let entry = journal.iter().find(of_user)?;
    Some(Opened { seq: entry.seq, amount: entry.amount, at: entry.at })
}

/// A page of a journal.
pub fn page(journal: &[Entry], after_seq: u32, limit: u32) -> Vec<Entry> {
    journal.iter().filter(|entry| entry.seq > after_seq).take(limit as usize).cloned().collect()
}

/// The error of a drop of what was not exported.
pub fn not_exported() -> StoreError {
    StoreError::Unavailable("the table was not exported, and is not dropped".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone)]
    struct OfItself;

    impl Weighter<u8, u64> for OfItself {
        fn weight(&self, _: &u8, value: &u64) -> u64 {
            *value
        }
    }

    #[test]
    fn a_footer_or_a_part_that_takes_most_of_the_room_is_remembered() {
        for (items, weight) in [(OPEN_FILES, EXPORT_FOOTERS_BYTES_MAX), (KEPT_PARTS, EXPORT_ROWS_KEPT_MAX)] {
            let cache = cache(items, weight, OfItself);
            let large = weight / 4 * 3;
            cache.insert(1, large);
            assert_eq!(cache.get(&1), Some(large));
        }
    }
}
