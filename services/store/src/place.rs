//! Finding an envelope by its id, in its day table or in the table of its date.

use std::collections::BTreeSet;

use hongbao_core::id::TableRef;
use hongbao_core::{Date, EnvelopeId};

use crate::StoreError;
use crate::day_tables::{DayTables, Place};

/// A store whose day tables are renamed to their dates.
pub trait DayTableStore: Sync {
    /// What this process knows of them.
    fn day_tables(&self) -> &DayTables;

    /// The day table that an id leads to, and the id's date.
    fn day_table_of(&self, id: EnvelopeId) -> (TableRef, Date);

    /// Reads anew which date a day table holds, and then whether `date` has a table of its own.
    fn look_at(&self, day_table: TableRef, date: Date) -> impl Future<Output = Result<(), StoreError>> + Send;

    /// Whether a table is one in which an envelope may lie: its day table, or that of its date.
    fn may_hold(&self, table: TableRef, id: EnvelopeId) -> bool {
        let (day_table, date) = self.day_table_of(id);
        table == day_table || table == day_table.dated(date)
    }

    /// The table of an envelope, as far as this process knows.
    fn table_for(&self, id: EnvelopeId) -> TableRef {
        let (day_table, date) = self.day_table_of(id);
        match self.day_tables().place(day_table, date) {
            Place::Dated(table) => table,
            Place::Day | Place::DayUnlessRenamed | Place::Nowhere { .. } => day_table,
        }
    }
}

/// What `find` finds of an envelope in the table that it lies in. One that is not in
/// its day table any more is looked for in the table of its date.
pub async fn find_by_id<T, F: Future<Output = Result<Option<T>, StoreError>>>(
    store: &impl DayTableStore,
    id: EnvelopeId,
    find: impl Fn(TableRef) -> F,
) -> Result<Option<T>, StoreError> {
    let (day_table, date) = store.day_table_of(id);
    match store.day_tables().place(day_table, date) {
        Place::Day => find(day_table).await,
        Place::Dated(table) => find(table).await,
        Place::Nowhere { is_young: false } => Ok(None),
        place @ (Place::DayUnlessRenamed | Place::Nowhere { is_young: true }) => {
            if place == Place::DayUnlessRenamed
                && let Some(found) = find(day_table).await?
            {
                return Ok(Some(found));
            }
            store.look_at(day_table, date).await?;
            match store.day_tables().place(day_table, date) {
                Place::Dated(table) => find(table).await,
                Place::Day | Place::DayUnlessRenamed | Place::Nowhere { .. } => Ok(None),
            }
        }
    }
}

/// Reads anew where these envelopes lie that may not be in their day tables any more:
/// for verbs that change what they find, and say nothing of what they do not.
pub async fn look_for_renamed(
    store: &impl DayTableStore,
    ids: impl Iterator<Item = EnvelopeId> + Send,
) -> Result<(), StoreError> {
    let tables: BTreeSet<(TableRef, Date)> = ids.map(|id| store.day_table_of(id)).collect();
    for (day_table, date) in tables {
        if store.day_tables().place(day_table, date) == Place::DayUnlessRenamed {
            store.look_at(day_table, date).await?;
        }
    }
    Ok(())
}
