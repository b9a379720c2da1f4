//! Rows and the values they stand for.
//!
//! The order of columns is that of [`statements`](super::statements). What is
//! read is parsed again: a row that no value can stand for is damage, and is
//! reported rather than guessed at.

use hongbao_core::{
    Audience, Entry, EntryKind, Envelope, EnvelopeId, Fen, GroupId, Journal, Kind, Opened, Seed, Stage, Timestamp,
    UserId,
};
use sqlx::sqlite::{SqliteArguments, SqliteRow};
use sqlx::{Arguments as _, Decode, Encode, Row as _, Sqlite, Type};

use super::failure::unavailable;
use super::statements::{ENTRY_COLUMNS, ENVELOPE_COLUMNS};
use crate::{Settlement, StoreError};

/// Columns of an envelope; what else a row holds follows them.
pub const ENVELOPE_WIDTH: usize = ENVELOPE_COLUMNS.len();
/// Columns of an entry; what else a row holds follows them.
pub const ENTRY_WIDTH: usize = ENTRY_COLUMNS.len();
/// Stands in an entry for the user of a refund. No user can have this id.
const REFUND: &str = "#refund";

/// Binds an envelope.
pub fn put_envelope<'q>(arguments: &mut SqliteArguments<'q>, envelope: &'q Envelope) {
    let (audience_type, audience_id) = match &envelope.audience {
        Audience::Link => ("link", None),
        Audience::Group(group) => ("group", Some(group.as_str())),
        Audience::User(user) => ("user", Some(user.as_str())),
    };
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
    let user = match &entry.kind {
        EntryKind::Open(user) => user.as_str(),
        EntryKind::Refund => REFUND,
    };
    put(arguments, entry.envelope_id.as_bytes().as_slice());
    put(arguments, entry.seq);
    put(arguments, user);
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

/// The envelope at the start of a row.
pub fn envelope(row: &SqliteRow) -> Result<Envelope, StoreError> {
    let audience_id: Option<&str> = get(row, 8)?;
    let audience = match (get::<&str>(row, 7)?, audience_id) {
        ("link", None) => Some(Audience::Link),
        ("group", Some(group)) => GroupId::parse(group).map(Audience::Group),
        ("user", Some(user)) => UserId::parse(user).map(Audience::User),
        _ => None,
    };
    Ok(Envelope {
        id: envelope_id(row, 0)?,
        sender: user(row, 1)?,
        kind: match get(row, 2)? {
            "lucky" => Kind::Lucky,
            "equal" => Kind::Equal,
            other => return Err(damaged("kind", other)),
        },
        total: fen(row, 3)?,
        shares: get(row, 4)?,
        share_cap: fen(row, 5)?,
        greeting: get(row, 6)?,
        audience: audience.ok_or_else(|| damaged("audience", audience_id))?,
        seed: Seed::from_slice(get(row, 9)?).ok_or_else(|| damaged("seed", "not 32 bytes"))?,
        created_at: Timestamp::from_millis(get(row, 10)?),
        lifetime_ms: get(row, 11)?,
        stage: stage(row, 12)?,
        expires_at: time(row, 13)?,
        settled_seq: get(row, 14)?,
    })
}

/// The entry at the start of a row.
pub fn entry(row: &SqliteRow) -> Result<Entry, StoreError> {
    Ok(Entry {
        envelope_id: envelope_id(row, 0)?,
        seq: get(row, 1)?,
        kind: if get::<&str>(row, 2)? == REFUND { EntryKind::Refund } else { EntryKind::Open(user(row, 2)?) },
        amount: fen(row, 3)?,
        remaining: fen(row, 4)?,
        at: Timestamp::from_millis(get(row, 5)?),
    })
}

/// The fold of a journal whose last entry's `seq`, user and remaining money
/// follow the envelope; they are null when there is none.
pub fn journal(row: &SqliteRow, envelope: &Envelope) -> Result<Journal, StoreError> {
    let Some(last_seq) = get(row, ENVELOPE_WIDTH)? else {
        return Ok(Journal::new(envelope.total));
    };
    let refunded = get::<&str>(row, ENVELOPE_WIDTH + 1)? == REFUND;
    Ok(Journal { last_seq, remaining: fen(row, ENVELOPE_WIDTH + 2)?, refunded })
}

/// A user's own opening, whose `seq`, amount and time follow the journal's columns.
pub fn opened(row: &SqliteRow) -> Result<Option<Opened>, StoreError> {
    const START: usize = ENVELOPE_WIDTH + 3;
    let Some(seq) = get(row, START)? else {
        return Ok(None);
    };
    Ok(Some(Opened { seq, amount: fen(row, START + 1)?, at: Timestamp::from_millis(get(row, START + 2)?) }))
}

/// A stage.
pub fn stage(row: &SqliteRow, column: usize) -> Result<Stage, StoreError> {
    match get::<i64>(row, column)? {
        0 => Ok(Stage::Created),
        1 => Ok(Stage::Active),
        2 => Ok(Stage::Cancelled),
        3 => Ok(Stage::Settled),
        other => Err(damaged("stage", other)),
    }
}

/// A time that may be missing.
pub fn time(row: &SqliteRow, column: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(get::<Option<i64>>(row, column)?.map(Timestamp::from_millis))
}

/// A user.
pub fn user(row: &SqliteRow, column: usize) -> Result<UserId, StoreError> {
    let text: &str = get(row, column)?;
    UserId::parse(text).ok_or_else(|| damaged("user", text))
}

/// Any plain column.
pub fn get<'r, T: Decode<'r, Sqlite> + Type<Sqlite>>(row: &'r SqliteRow, column: usize) -> Result<T, StoreError> {
    row.try_get(column).map_err(unavailable)
}

fn envelope_id(row: &SqliteRow, column: usize) -> Result<EnvelopeId, StoreError> {
    let bytes: &[u8] = get(row, column)?;
    EnvelopeId::from_bytes(bytes).ok_or_else(|| damaged("envelope id", bytes))
}

fn fen(row: &SqliteRow, column: usize) -> Result<Fen, StoreError> {
    let fen: i64 = get(row, column)?;
    Fen::new(fen).ok_or_else(|| damaged("amount", fen))
}

fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Lucky => "lucky",
        Kind::Equal => "equal",
    }
}

fn stage_number(stage: Stage) -> i64 {
    match stage {
        Stage::Created => 0,
        Stage::Active => 1,
        Stage::Cancelled => 2,
        Stage::Settled => 3,
    }
}

fn damaged(what: &str, found: impl std::fmt::Debug) -> StoreError {
    StoreError::Damaged(format!("{what}: {found:?}"))
}
