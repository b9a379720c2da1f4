//! How journals are read: no statement reads more than [`JOURNAL_PAGE_MAX`]
//! entries, so none takes long, however many openings an envelope may have.
//!
//! # Why they are of one moment
//! An envelope is read with the `seq` of its last entry, by one statement. A
//! journal is append-only, so its entries up to that one are what it was at
//! that moment, whenever and in however many pages they are read. What came
//! later is left out: the row knows nothing of it, and might contradict it.

use std::collections::HashMap;

use hongbao_core::id::TableRef;
use hongbao_core::limits::JOURNAL_PAGE_MAX;
use hongbao_core::{Entry, Envelope, EnvelopeId, Timestamp};
use hongbao_store::{Store, StoreError};

/// How many envelopes of a page, from its start, have their journals in one
/// page of entries; the first of them may have a longer one.
pub fn fitting(page: &[(Envelope, u32)]) -> usize {
    let mut entries = 0;
    let fits = |(_, last_seq): &&(Envelope, u32)| {
        entries += u64::from(*last_seq);
        entries < u64::from(JOURNAL_PAGE_MAX)
    };
    page.iter().take_while(fits).count().max(1)
}

/// The journals of envelopes that follow each other in a table, the first of
/// them after `after`, and what else has entries between them. `None`: they have
/// to be read one by one, because there is only one, or much lies between them.
///
/// # Errors
/// [`StoreError::Damaged`] when a row cannot be read, theirs or one between them.
pub async fn at_once(
    store: &dyn Store,
    table: TableRef,
    after: Option<EnvelopeId>,
    batch: &[(Envelope, u32)],
) -> Result<Option<HashMap<EnvelopeId, Vec<Entry>>>, StoreError> {
    let [_, .., (last, _)] = batch else { return Ok(None) };
    let entries = store.scan_entries(table, after, last.id, JOURNAL_PAGE_MAX).await?;
    if entries.len() >= JOURNAL_PAGE_MAX as usize {
        return Ok(None);
    }
    let last_seqs: HashMap<EnvelopeId, u32> =
        batch.iter().map(|(envelope, last_seq)| (envelope.id, *last_seq)).collect();
    let mut journals: HashMap<EnvelopeId, Vec<Entry>> = HashMap::with_capacity(batch.len());
    for entry in entries {
        // Of an envelope that is not in the batch, all are of interest.
        if last_seqs.get(&entry.envelope_id).is_none_or(|last_seq| entry.seq <= *last_seq) {
            journals.entry(entry.envelope_id).or_default().push(entry);
        }
    }
    Ok(Some(journals))
}

/// The journal of one envelope up to `last_seq`, page by page.
pub async fn of_one(store: &dyn Store, id: EnvelopeId, last_seq: u32) -> Result<Vec<Entry>, StoreError> {
    // The first page leaves out no row, even one before the first entry there can be.
    let mut journal = store.scan_entries(store.table_of(id), id_before(id), id, JOURNAL_PAGE_MAX).await?;
    let mut page_end = journal.last().map(|entry| entry.seq);
    // Entries that are missing from the end are for the check to name.
    while let Some(read) = page_end
        && read < last_seq
    {
        let page = store.entries(id, read, JOURNAL_PAGE_MAX).await?;
        page_end = page.last().map(|entry| entry.seq);
        journal.extend(page);
    }
    journal.truncate(journal.partition_point(|entry| entry.seq <= last_seq));
    Ok(journal)
}

/// The greatest id that is less than `id`.
pub fn id_before(id: EnvelopeId) -> Option<EnvelopeId> {
    /// The version and the variant, which all ids have in common: minting puts them back.
    const COMMON: u128 = 0xf000_c000_0000_0000_0000;
    let before = (u128::from_be_bytes(*id.as_bytes()) & !COMMON).checked_sub(1)?;
    let bytes = before.to_be_bytes();
    let (millis, random) = bytes.split_at(6);
    let mut at = [0; 8];
    at[2..].copy_from_slice(millis);
    let random = random.try_into().expect("6 of 16 bytes are split off");
    Some(EnvelopeId::mint(Timestamp::from_millis(i64::from_be_bytes(at)), random))
}

#[cfg(test)]
mod tests {
    use hongbao_testkit::store_suite::{NOW, created, id_at};

    use super::*;

    #[test]
    fn a_statement_is_for_journals_that_fit_in_a_page_or_for_one() {
        let page = |lengths: &[u32]| -> Vec<(Envelope, u32)> {
            (0..).zip(lengths).map(|(number, last_seq)| (created(id_at(NOW, number)), *last_seq)).collect()
        };
        let max = JOURNAL_PAGE_MAX;
        for (lengths, fitting_in) in [
            (&[0, 3, 0][..], 3),
            (&[max - 1, 0], 2),
            (&[max - 1, 1], 1),
            (&[max, 0], 1),
            (&[u32::MAX, u32::MAX], 1),
            (&[0, 0, 100 * max], 2),
        ] {
            assert_eq!(fitting(&page(lengths)), fitting_in, "{lengths:?}");
        }
    }

    #[test]
    fn the_id_before_is_the_next_smaller_one() {
        let id = |text: &str| EnvelopeId::parse(text).unwrap();
        for (of, before) in [
            ("01234567-89ab-7cde-8123-456789abcdef", "01234567-89ab-7cde-8123-456789abcdee"),
            ("01234567-89ab-7cde-8123-456789abcd00", "01234567-89ab-7cde-8123-456789abccff"),
            ("01234567-89ab-7cde-8000-000000000000", "01234567-89ab-7cdd-bfff-ffffffffffff"),
            ("01234567-89ab-7000-8000-000000000000", "01234567-89aa-7fff-bfff-ffffffffffff"),
        ] {
            assert_eq!(id_before(id(of)), Some(id(before)));
        }
        assert_eq!(id_before(id("00000000-0000-7000-8000-000000000000")), None);
    }
}
