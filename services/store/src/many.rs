//! Reading many envelopes at once: only those that lie in their day tables, where all that is in use lies.
//!
//! What is not found there, or cannot be read, is left out of the answer, and is read one by one by those who ask.

use std::collections::{BTreeMap, HashMap, HashSet};

use hongbao_core::id::TableRef;
use hongbao_core::{Entry, Envelope, EnvelopeId, Journal};
use hongbao_database::StoredRow;

use crate::day_tables::Place;
use crate::place::DayTableStore;
use crate::rows::{self, envelope_and_journal, envelope_id};

/// Envelopes by the day tables that they lead to.
pub struct ByDayTable {
    /// Those whose table may hold them still.
    pub tables: BTreeMap<TableRef, Vec<EnvelopeId>>,
    /// Those of them that do not exist unless they lie there.
    only_there: HashSet<EnvelopeId>,
}

impl ByDayTable {
    /// As this process knows it before it reads.
    pub fn new(store: &impl DayTableStore, ids: impl Iterator<Item = EnvelopeId>) -> ByDayTable {
        let (mut tables, mut only_there) = (BTreeMap::<TableRef, Vec<EnvelopeId>>::new(), HashSet::new());
        for id in ids {
            let (day_table, date) = store.day_table_of(id);
            match store.day_tables().place(day_table, date) {
                Place::Day => _ = only_there.insert(id),
                Place::DayUnlessRenamed => {}
                Place::Dated(_) | Place::Exported(_) | Place::Nowhere { .. } => continue,
            }
            tables.entry(day_table).or_default().push(id);
        }
        ByDayTable { tables, only_there }
    }

    /// What all rows of these tables with these ids say, each an envelope and the fold of its journal.
    pub fn envelopes<R: StoredRow>(self, rows: &[R]) -> HashMap<EnvelopeId, Option<(Envelope, Journal)>> {
        let mut absent = self.only_there;
        let mut found = HashMap::with_capacity(rows.len() + absent.len());
        for row in rows {
            // Whose row it is cannot be said, so of none that it is absent.
            let Ok(id) = envelope_id(row, 0) else { return HashMap::new() };
            absent.remove(&id);
            if let Ok(envelope) = envelope_and_journal(row) {
                found.insert(id, Some(envelope));
            }
        }
        found.extend(absent.into_iter().map(|id| (id, None)));
        found
    }
}

/// The journals that these entries make, which come in any order; those that have a gap, or a row that is damaged,
/// are left out.
pub fn journals<R: StoredRow>(rows: &[R]) -> HashMap<EnvelopeId, Vec<Entry>> {
    let mut journals: HashMap<EnvelopeId, Vec<Entry>> = HashMap::new();
    for entry in rows.iter().filter_map(|row| rows::entry(row, 0).ok()) {
        journals.entry(entry.envelope_id).or_default().push(entry);
    }
    for journal in journals.values_mut() {
        journal.sort_unstable_by_key(|entry| entry.seq);
    }
    journals.retain(|_, journal| journal.last().is_some_and(|last| last.seq as usize == journal.len()));
    journals
}
