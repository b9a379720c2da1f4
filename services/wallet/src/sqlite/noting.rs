//! What of notes is written in a transaction.

use hongbao_core::event::Note;
use hongbao_core::{Transfer, TransferOutcome};
use hongbao_database::row::StoredRow as _;
use sqlx::sqlite::SqliteConnection;

use crate::WalletError;
use crate::events::{EventPlan, NewEvent, looked_up};
use crate::row::hex;

const LAST_POSITION: &str = "SELECT last_position FROM event_end WHERE one = 1";
/// A list of places: each a subject in hexadecimal digits, a series, a feed.
const WRITTEN: &str = "SELECT value ->> 2, unhex(value ->> 0), value ->> 1, \
       (SELECT max(last_seq) FROM event \
        WHERE subject = unhex(value ->> 0) AND series = value ->> 1 AND feed = value ->> 2) FROM json_each(?1)";
/// A list of rows. A failure rolls the whole transaction back, as with transfers.
const INSERT: &str = "INSERT OR ROLLBACK INTO event \
       (position, feed, is_copy, subject, series, last_seq, at_ms, body) \
     SELECT value ->> 0, value ->> 1, value ->> 2, unhex(value ->> 3), value ->> 4, value ->> 5, value ->> 6, \
       unhex(value ->> 7) FROM json_each(?1)";
const SET_LAST_POSITION: &str = "UPDATE event_end SET last_position = ?1 WHERE one = 1";

/// Writes what of the notes is new, within the transaction of their transfers.
pub(super) async fn note(
    connection: &mut SqliteConnection,
    transfers: &[&Transfer],
    outcomes: &[TransferOutcome],
    notes: &[&Note],
) -> Result<(), WalletError> {
    if notes.is_empty() {
        return Ok(());
    }
    let mut plan = EventPlan::default();
    let row = sqlx::query(LAST_POSITION).fetch_one(&mut *connection).await.map_err(failed)?;
    plan.set_last_position(row.int(0)?);
    let places: Vec<String> = looked_up(notes, false).into_iter().map(place).collect();
    if !places.is_empty() {
        let rows = sqlx::query(WRITTEN).bind(format!("[{}]", places.join(","))).fetch_all(&mut *connection);
        for row in rows.await.map_err(failed)? {
            let Some(last_seq) = row.int_or_null(3)? else { continue };
            let subject = row.bytes(1)?.try_into().expect("it was asked for by 16 bytes");
            plan.hold(row.text(0)?.to_owned(), subject, row.int(2)?, u32::try_from(last_seq).unwrap_or(u32::MAX));
        }
    }
    plan.decide(transfers, outcomes, notes);
    if plan.rows().is_empty() {
        return Ok(());
    }
    let row = |new: &NewEvent<'_>| {
        let (note, body) = (new.note, &new.body);
        format!(
            r#"[{},"{}",{},"{}",{},{},{},"{}"]"#,
            new.position,
            note.feed,
            u8::from(note.is_copy),
            hex(note.subject.as_bytes()),
            body.series().code(),
            body.last_seq(),
            body.at_ms(),
            hex(&body.to_json())
        )
    };
    let rows: Vec<String> = plan.rows().iter().map(row).collect();
    let insert = sqlx::query(INSERT).bind(format!("[{}]", rows.join(",")));
    insert.execute(&mut *connection).await.map_err(failed)?;
    sqlx::query(SET_LAST_POSITION).bind(plan.ends().1).execute(connection).await.map_err(failed)?;
    Ok(())
}

/// Names hold nothing that JSON escapes.
fn place(note: &Note) -> String {
    format!(r#"["{}",{},"{}"]"#, hex(note.subject.as_bytes()), note.body.series().code(), note.feed)
}

fn failed(error: sqlx::Error) -> WalletError {
    WalletError::Unavailable(error.to_string())
}
