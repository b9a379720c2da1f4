//! Day tables of before there were dates: they hold whatever was written into them,
//! after a month of service two months at once.

use std::collections::BTreeSet;

use hongbao_core::Date;
use hongbao_core::id::TableRef;
use hongbao_core::limits::SORTED_AT_ONCE_MAX;
use hongbao_database::StoredRow as _;
use hongbao_database::mysql::connection::{Lease, within};
use sqlx::Executor as _;

use super::ddl::execute;
use super::layout::{Layout, TableNames, comment};
use super::rotation_lease::RotationLease;
use crate::StoreError;
use crate::day_tables::for_date;
use crate::failure::{committing, reading};
use crate::rows::{self, ENTRY_COLUMNS, ENVELOPE_COLUMNS};

/// Leaves one date in a day table and gives it: that of its newest rows, or where it has none the one before
/// `next` with this day of month. Rows of earlier dates go to the tables of these.
///
/// Only where it is `next`, so that the table stays in its place, is the date written into its comment. Such a
/// table does not get the constraint, for which the whole of it would have to be copied; it gives its place to
/// one that has it when its next date comes, and [`Creation::create`] compares the dates until then.
///
/// To be called on a connection of its own, whose statements may take their time, while no
/// process of an earlier version serves: one that writes another date meanwhile would not find it again.
///
/// [`Creation::create`]: crate::Creation::create
pub async fn date(
    lease: &mut Lease,
    rotation: &RotationLease,
    layout: &Layout,
    table: TableRef,
    next: Date,
) -> Result<Date, NotSorted> {
    let names = layout.names(table);
    let mut dates = dates(lease, layout, &names).await?;
    let Some(held) = dates.pop_last() else { return Ok(next.plus_days(-1).last_with(next.day())) };
    for date in dates {
        move_rows(lease, rotation, layout, table, date).await?;
    }
    if held == next {
        // That of the envelopes is what is read, so it comes last.
        for name in [&names.entry, &names.envelope] {
            let text = format!("ALTER TABLE {name} COMMENT = '{}'", comment(held));
            execute(lease, &text).await.map_err(|broken| match broken.is_locked() {
                true => NotSorted::InUse,
                false => NotSorted::Failed(committing(broken)),
            })?;
        }
    }
    Ok(held)
}

/// Why a table is as it was.
pub enum NotSorted {
    /// Statements use it, or another process has taken the rotation over.
    InUse,
    /// Something went wrong.
    Failed(StoreError),
}

impl From<StoreError> for NotSorted {
    fn from(error: StoreError) -> NotSorted {
        NotSorted::Failed(error)
    }
}

/// The dates of which there are rows.
async fn dates(lease: &mut Lease, layout: &Layout, names: &TableNames) -> Result<BTreeSet<Date>, StoreError> {
    let mut dates = BTreeSet::new();
    for (name, id) in [(&names.envelope, "id"), (&names.entry, "envelope_id")] {
        let mut from = "00".to_owned();
        loop {
            let text = format!("SELECT {id} FROM {name} WHERE {id} >= x'{from}' ORDER BY {id} LIMIT 1");
            let limit = lease.limit();
            let found = within(limit, lease.connection().fetch_optional(sqlx::raw_sql(&text))).await;
            let Some(row) = found.map_err(reading)? else { break };
            let date = Date::of(rows::envelope_id(&row, 0)?.minted_at(), layout.zone_offset_s);
            dates.insert(date);
            from = for_date("{until}", 0, date, layout.zone_offset_s);
        }
    }
    Ok(dates)
}

/// A part at a time, each of which is moved as a whole or not at all.
async fn move_rows(
    lease: &mut Lease,
    rotation: &RotationLease,
    layout: &Layout,
    table: TableRef,
    date: Date,
) -> Result<(), NotSorted> {
    let (from, to) = (layout.names(table), layout.names(table.dated(date)));
    for statement in to.creation(table.table, date, layout.zone_offset_s) {
        execute(lease, &statement).await.map_err(committing)?;
    }
    let within_date = |id: &str| {
        let of_date = format!("{id} >= x'{{from}}' AND {id} < x'{{until}}'");
        for_date(&of_date, table.table, date, layout.zone_offset_s)
    };
    // Entries without an envelope are damage, which moves too.
    for (name, id) in [(&from.envelope, "id"), (&from.entry, "envelope_id")] {
        loop {
            if !rotation.hold().await? {
                return Err(NotSorted::InUse);
            }
            let of_date = within_date(id);
            let text = format!(
                "SELECT hex(max(id)) FROM (SELECT {id} AS id FROM {name} WHERE {of_date} ORDER BY {id} \
                 LIMIT {SORTED_AT_ONCE_MAX}) AS part"
            );
            let limit = lease.limit();
            let last = within(limit, lease.connection().fetch_one(sqlx::raw_sql(&text))).await.map_err(reading)?;
            let Some(last) = last.text_or_null(0).map_err(StoreError::from)? else { break };
            let part = |id: &str| format!("{} AND {id} <= x'{last}'", within_date(id));
            move_part(lease, &from, &to, part).await?;
        }
    }
    Ok(())
}

async fn move_part(
    lease: &mut Lease,
    from: &TableNames,
    to: &TableNames,
    part: impl Fn(&str) -> String,
) -> Result<(), StoreError> {
    let envelope_columns = ENVELOPE_COLUMNS.join(", ");
    let entry_columns = format!("{}, position", ENTRY_COLUMNS.join(", "));
    // What is deleted is what was copied.
    let mut text = "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE; START TRANSACTION; ".to_owned();
    for (from, to, id, columns) in
        [(&from.envelope, &to.envelope, "id", envelope_columns), (&from.entry, &to.entry, "envelope_id", entry_columns)]
    {
        let part = part(id);
        text.push_str(&format!(
            "INSERT INTO {to} ({columns}) SELECT {columns} FROM {from} WHERE {part}; DELETE FROM {from} WHERE {part};"
        ));
    }
    // What fails ends with its connection, which is not given back.
    execute(lease, &text).await.map_err(committing)?;
    execute(lease, "COMMIT").await.map_err(committing)
}
