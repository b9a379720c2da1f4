//! What of notes is written in a shard's transaction.

use hongbao_core::event::Note;
use hongbao_database::mysql::row::{put, put_bytes};
use hongbao_database::row::StoredRow as _;
use sqlx::mysql::MySqlRow;

use super::shard::put_name;
use crate::WalletError;
use crate::events::EventPlan;

/// Statements of a transaction that holds the ledger's row: where the events end, and what stands in the places of
/// these notes. Each row begins with a number that says what it is.
pub(super) fn put_reads(sql: &mut String, db: &str, notes: &[&Note], end_row: i64, written_row: i64) {
    // Where a node of a cluster has written rows alone, they are numbered all the same.
    put(
        sql,
        format_args!(
            "SELECT /* event end */ {end_row}, GREATEST(last_position, \
             COALESCE((SELECT MAX(position) FROM {db}.event), 0)) FROM {db}.event_end WHERE one = 1; "
        ),
    );
    if notes.is_empty() {
        return;
    }
    sql.push_str("WITH n (subject, series, feed) AS (VALUES ");
    for (number, note) in notes.iter().enumerate() {
        // MySQL wants the word, and MariaDB takes such a comment for one.
        sql.push_str(if number == 0 { "/*!80019 ROW*/(" } else { ",/*!80019 ROW*/(" });
        put_bytes(sql, note.subject.as_bytes());
        put(sql, format_args!(",{},", note.body.series().code()));
        put_name(sql, &note.feed.to_string());
        sql.push(')');
    }
    put(
        sql,
        format_args!(
            ") SELECT /* events written */ {written_row}, n.subject, n.series, n.feed, \
             (SELECT e.last_seq FROM {db}.event e FORCE INDEX (written) WHERE e.subject = n.subject \
             AND e.series = n.series AND e.feed = n.feed ORDER BY e.last_seq DESC LIMIT 1) FROM n; "
        ),
    );
}

/// Takes in a row that says what stands in a place.
pub(super) fn hold(plan: &mut EventPlan<'_>, row: &MySqlRow) -> Result<(), WalletError> {
    let Some(last_seq) = row.int_or_null(4)? else { return Ok(()) };
    let subject = row.bytes(1)?.try_into().expect("it was asked for by 16 bytes");
    plan.hold(row.text(3)?.to_owned(), subject, row.int(2)?, u32::try_from(last_seq).unwrap_or(u32::MAX));
    Ok(())
}

/// Statements that write what the plan says, if it says anything.
pub(super) fn put_writes(sql: &mut String, db: &str, plan: &EventPlan<'_>) {
    if plan.rows().is_empty() {
        return;
    }
    put(
        sql,
        format_args!(
            "INSERT /* events */ INTO {db}.event \
             (position, feed, is_copy, subject, series, last_seq, at_ms, body) VALUES "
        ),
    );
    for (number, new) in plan.rows().iter().enumerate() {
        let (note, body) = (new.note, &new.body);
        let comma = if number == 0 { "" } else { "," };
        put(sql, format_args!("{comma}({},'{}',{},", new.position, note.feed, u8::from(note.is_copy)));
        put_bytes(sql, note.subject.as_bytes());
        put(sql, format_args!(",{},{},{},", body.series().code(), body.last_seq(), body.at_ms()));
        put_bytes(sql, &body.to_json());
        sql.push(')');
    }
    // Behind the rows: it never says that there are fewer than there are.
    put(
        sql,
        format_args!("; UPDATE /* events */ {db}.event_end SET last_position = {} WHERE one = 1; ", plan.ends().1),
    );
}

/// How many rows these statements touch.
pub(super) fn rows_written(plan: &EventPlan<'_>) -> u64 {
    let rows = plan.rows().len() as u64;
    if rows == 0 { 0 } else { rows + 1 }
}
