//! Finding an envelope by its id, in its day table, in the table of its date, or in the file of an exported one.

use std::collections::BTreeSet;

use hongbao_core::id::{Span, TableRef};
use hongbao_core::{Date, Entry, Envelope, EnvelopeId};

use crate::StoreError;
use crate::day_tables::{DayTables, Place, date_of, no_day_table};
use crate::exported::{self, ExportedSource};

/// A store whose day tables are renamed to their dates.
pub trait DayTableStore: ExportedSource {
    /// What this process knows of them.
    fn day_tables(&self) -> &DayTables;

    /// The day table that an id leads to, and the id's date.
    fn day_table_of(&self, id: EnvelopeId) -> (TableRef, Date);

    /// Reads anew which date a day table holds, then whether `date` has a table of its own, and whether it was exported.
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
            Place::Dated(table) | Place::Exported(table) => table,
            Place::Day | Place::DayUnlessRenamed | Place::Nowhere { .. } => day_table,
        }
    }
}

/// What `find` finds of an envelope in the table that it lies in, and `in_file` in the file of an exported one. One
/// that is not in its day table any more is looked for in the table of its date.
pub async fn find_by_id<T, F: Future<Output = Result<Option<T>, StoreError>>>(
    store: &impl DayTableStore,
    id: EnvelopeId,
    find: impl Fn(TableRef) -> F,
    in_file: impl Fn(&Envelope, &[Entry]) -> T,
) -> Result<Option<T>, StoreError> {
    let (day_table, date) = store.day_table_of(id);
    match store.day_tables().place(day_table, date) {
        Place::Day => find(day_table).await,
        place @ (Place::Dated(_) | Place::Exported(_)) => {
            let _turn = store.day_tables().old_read().await?;
            find_old(store, id, place, &find, &in_file).await
        }
        Place::Nowhere { is_young: false } => Ok(None),
        place @ (Place::DayUnlessRenamed | Place::Nowhere { is_young: true }) => {
            if place == Place::DayUnlessRenamed
                && let Some(found) = find(day_table).await?
            {
                return Ok(Some(found));
            }
            let _turn = store.day_tables().old_read().await?;
            store.look_at(day_table, date).await?;
            find_old(store, id, store.day_tables().place(day_table, date), &find, &in_file).await
        }
    }
}

/// The same of one that is not in its day table. A dated table that cannot be read may have been dropped, after its
/// export, since this process looked.
async fn find_old<T, F: Future<Output = Result<Option<T>, StoreError>>>(
    store: &impl DayTableStore,
    id: EnvelopeId,
    place: Place,
    find: &impl Fn(TableRef) -> F,
    in_file: &impl Fn(&Envelope, &[Entry]) -> T,
) -> Result<Option<T>, StoreError> {
    match place {
        Place::Dated(table) => {
            let found = find(table).await;
            if found.is_ok() {
                return found;
            }
            let (day_table, date) = store.day_table_of(id);
            store.look_at(day_table, date).await?;
            match store.day_tables().is_exported(table) {
                true => exported::find(store, table, id, in_file).await,
                false => found,
            }
        }
        Place::Exported(table) => exported::find(store, table, id, in_file).await,
        Place::Day | Place::DayUnlessRenamed | Place::Nowhere { .. } => Ok(None),
    }
}

/// Whether a table that could not be read was exported since this process looked.
pub async fn has_been_exported(store: &impl DayTableStore, table: TableRef) -> bool {
    is_in_database(store, table).await.is_ok() && store.day_tables().is_exported(table)
}

/// Looks whether a dated table is there.
pub async fn is_in_database(store: &impl DayTableStore, table: TableRef) -> Result<bool, StoreError> {
    let Some(date) = date_of(table) else { return Ok(false) };
    store.look_at(TableRef { span: Span::Day(date.day()), ..table }, date).await?;
    Ok(store.day_tables().is_dated(table))
}

/// Refuses to make an envelope where its day table is known to hold an earlier date: not every table refuses it
/// by itself, for those of earlier versions have no constraint.
pub async fn check_day_table(store: &impl DayTableStore, id: EnvelopeId) -> Result<(), StoreError> {
    let (day_table, date) = store.day_table_of(id);
    let is_behind = || store.day_tables().held(day_table).is_some_and(|held| held < date);
    if is_behind() {
        store.look_at(day_table, date).await?;
    }
    if is_behind() { Err(no_day_table()) } else { Ok(()) }
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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hongbao_core::Timestamp;
    use hongbao_core::id::Fold;
    use hongbao_core::limits::{OLD_READ_WAIT, OLD_READS_MAX};

    use super::*;
    use crate::Exported;
    use crate::day_tables::Found;
    use crate::exported::ExportedReads;

    /// A store whose only dated table is that of 17 January 2026.
    struct Old(DayTables);

    impl ExportedSource for Old {
        fn exported_reads(&self) -> &ExportedReads {
            self.0.exported_reads()
        }

        async fn exported_as(&self, _: TableRef) -> Result<Option<Exported>, StoreError> {
            Ok(None)
        }
    }

    impl DayTableStore for Old {
        fn day_tables(&self) -> &DayTables {
            &self.0
        }

        fn day_table_of(&self, id: EnvelopeId) -> (TableRef, Date) {
            let placement = id.placement(0);
            (Fold::new(1, 1).unwrap().table_of(placement), placement.date)
        }

        async fn look_at(&self, _: TableRef, _: Date) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn id_of(text: &str) -> EnvelopeId {
        EnvelopeId::mint(Timestamp::parse_rfc3339(text).unwrap(), [1; 10])
    }

    #[tokio::test]
    async fn reads_of_old_envelopes_are_few_at_a_time_and_hold_up_no_others() {
        let (old, young) = (id_of("2026-01-17T10:00:00Z"), id_of("2026-02-17T10:00:00Z"));
        let store = Old(DayTables::default());
        let (day_table, date) = store.day_table_of(old);
        store.0.learn(Found { dated: vec![day_table.dated(date)], ..Found::default() });
        let slow = |_| async {
            tokio::time::sleep(OLD_READ_WAIT * 2).await;
            Ok(Some(()))
        };
        let quick = |_| async { Ok(Some(())) };
        let nothing = |_: &Envelope, _: &[Entry]| ();
        let all = (0..OLD_READS_MAX).map(|_| find_by_id(&store, old, slow, nothing));
        let others = async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            let refused = find_by_id(&store, old, quick, nothing).await;
            assert!(matches!(refused, Err(StoreError::Locked(_))), "{refused:?}");
            assert_eq!(find_by_id(&store, young, quick, nothing).await.unwrap(), Some(()));
        };
        let (read, ()) = tokio::join!(futures_util::future::join_all(all), others);
        assert!(read.iter().all(Result::is_ok));
        assert_eq!(find_by_id(&store, old, quick, nothing).await.unwrap(), Some(()), "there is room again");
    }
}
