//! Day tables of before there were dates: they hold whatever was written into them,
//! after a month of service two months at once.

use std::collections::BTreeSet;

use hongbao_core::Date;
use hongbao_core::id::TableRef;
use hongbao_database::mysql::connection::{Lease, within};
use sqlx::Executor as _;

use super::ddl::execute;
use super::layout::{Layout, TableNames, comment};
use crate::StoreError;
use crate::day_tables::for_date;
use crate::failure::{committing, reading};
use crate::rows::{self, ENTRY_COLUMNS, ENVELOPE_COLUMNS};

/// Leaves one date in a day table and writes it into its comment: that of its newest
/// rows, or `next` if it has none. Rows of earlier dates go to the tables of these.
///
/// A table that has rows does not get the constraint, for which the whole table would have to be
/// copied; it gives its place to one that has it when its next date comes.
pub async fn date(lease: &mut Lease, layout: &Layout, table: TableRef, next: Date) -> Result<Date, StoreError> {
    let names = layout.names(table);
    let mut dates = dates(lease, layout, &names).await?;
    let held = dates.pop_last();
    for date in dates {
        move_rows(lease, layout, table, date).await?;
    }
    let date = held.unwrap_or(next);
    // That of the envelopes is what is read, so it comes last.
    for (name, id, prefix) in [(&names.entry, "envelope_id", "entry"), (&names.envelope, "id", "envelope")] {
        let constraint = match held {
            Some(_) => String::new(),
            None => for_date(
                &format!(
                    "ADD CONSTRAINT {prefix}_{{y}}_ids_of_{{date}} \
                     CHECK ({id} >= x'{{from}}' AND {id} < x'{{until}}'), "
                ),
                table.table,
                date,
                layout.zone_offset_s,
            ),
        };
        let text = format!("ALTER TABLE {name} {constraint}COMMENT = '{}'", comment(date));
        execute(lease, &text).await.map_err(committing)?;
    }
    Ok(date)
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

/// All of a date or nothing.
async fn move_rows(lease: &mut Lease, layout: &Layout, table: TableRef, date: Date) -> Result<(), StoreError> {
    let (from, to) = (layout.names(table), layout.names(table.dated(date)));
    for statement in to.creation(table.table, date, layout.zone_offset_s) {
        execute(lease, &statement).await.map_err(committing)?;
    }
    let mut text = "START TRANSACTION; ".to_owned();
    let envelope_columns = ENVELOPE_COLUMNS.join(", ");
    let entry_columns = format!("{}, position", ENTRY_COLUMNS.join(", "));
    for (from, to, id, columns) in
        [(from.envelope, to.envelope, "id", envelope_columns), (from.entry, to.entry, "envelope_id", entry_columns)]
    {
        let of_date = format!("{id} >= x'{{from}}' AND {id} < x'{{until}}'");
        let of_date = for_date(&of_date, table.table, date, layout.zone_offset_s);
        text.push_str(&format!(
            "INSERT INTO {to} ({columns}) SELECT {columns} FROM {from} WHERE {of_date}; \
             DELETE FROM {from} WHERE {of_date}; "
        ));
    }
    text.push_str("COMMIT");
    let moved = execute(lease, &text).await;
    if moved.is_err() {
        // If this fails the connection has broken, which the next statement notices.
        let _ = execute(lease, "ROLLBACK").await;
    }
    moved.map_err(committing)
}
