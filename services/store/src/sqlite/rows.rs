//! Values as SQLite takes and gives them.

use hongbao_core::{Entry, Envelope, Timestamp};
use sqlx::sqlite::SqliteArguments;
use sqlx::{Arguments as _, Encode, Sqlite, Type};

use crate::Settlement;
use crate::rows::{audience_columns, entry_user, kind_name, stage_number};

/// Binds an envelope.
pub fn put_envelope<'q>(arguments: &mut SqliteArguments<'q>, envelope: &'q Envelope) {
    let (audience_type, audience_id) = audience_columns(&envelope.audience);
    put(arguments, envelope.id.as_bytes().as_slice());
    put(arguments, envelope.sender.as_str());
    put(arguments, kind_name(envelope.kind));
    put(arguments, envelope.total.get());
    put(arguments, envelope.shares);
    put(arguments, envelope.share_cap.get());
    put(arguments, envelope.greeting.as_str());
    put(arguments, audience_type);
    put(arguments, audience_id);
    put(arguments, envelope.seed.as_bytes().as_slice());
    put(arguments, envelope.created_at.millis());
    put(arguments, envelope.lifetime_ms);
    put(arguments, stage_number(envelope.stage));
    put(arguments, envelope.expires_at.map(Timestamp::millis));
    put(arguments, envelope.settled_seq);
}

/// Binds an entry.
pub fn put_entry<'q>(arguments: &mut SqliteArguments<'q>, entry: &'q Entry) {
    put(arguments, entry.envelope_id.as_bytes().as_slice());
    put(arguments, entry.seq);
    put(arguments, entry_user(entry));
    put(arguments, entry.amount.get());
    put(arguments, entry.remaining.get());
    put(arguments, entry.at.millis());
}

/// Binds a settlement.
pub fn put_settlement<'q>(arguments: &mut SqliteArguments<'q>, settlement: &'q Settlement) {
    put(arguments, settlement.envelope_id.as_bytes().as_slice());
    put(arguments, settlement.settled_seq);
    put(arguments, settlement.ended);
}

/// Binds one value.
pub fn put<'q, T: Encode<'q, Sqlite> + Type<Sqlite> + 'q>(arguments: &mut SqliteArguments<'q>, value: T) {
    arguments.add(value).expect("numbers, text and bytes always encode");
}
