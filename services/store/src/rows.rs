//! Rows and the values they stand for, whatever database they come from.
//!
//! The columns come in the order of [`ENVELOPE_COLUMNS`] and [`ENTRY_COLUMNS`].
//! What is read is parsed again: a row that no value can stand for is damage,
//! and is reported rather than guessed at.

use hongbao_core::{
    Audience, Entry, EntryKind, Envelope, EnvelopeId, Fen, GroupId, Journal, Kind, Opened, Seed, Stage, Timestamp,
    UserId,
};

use hongbao_database::StoredRow;
use hongbao_database::row as column;

use crate::{PendingPage, StoreError, TailEntry, Waiting};

/// Columns of an envelope row.
pub const ENVELOPE_COLUMNS: [&str; 15] = [
    "id",
    "sender",
    "kind",
    "total_fen",
    "shares",
    "share_cap_fen",
    "greeting",
    "audience_type",
    "audience_id",
    "seed",
    "created_at_ms",
    "lifetime_ms",
    "stage",
    "expires_at_ms",
    "settled_seq",
];
/// Columns of an entry.
pub const ENTRY_COLUMNS: [&str; 6] = ["envelope_id", "seq", "user_id", "amount_fen", "remaining_fen", "at_ms"];
/// How many there are; what else a row holds follows them.
pub const ENVELOPE_WIDTH: usize = ENVELOPE_COLUMNS.len();
/// See [`ENVELOPE_WIDTH`].
pub const ENTRY_WIDTH: usize = ENTRY_COLUMNS.len();
/// Stands in an entry for the user of a refund. No user can have this id.
pub const REFUND: &str = "#refund";

/// The envelope whose columns begin at `start`.
pub fn envelope(row: &impl StoredRow, start: usize) -> Result<Envelope, StoreError> {
    let at = |column: usize| start + column;
    Ok(Envelope {
        id: envelope_id(row, at(0))?,
        sender: user(row, at(1))?,
        kind: match row.text(at(2))? {
            "lucky" => Kind::Lucky,
            "equal" => Kind::Equal,
            other => return Err(damaged("kind", other)),
        },
        total: fen(row, at(3))?,
        shares: small(row, at(4))?,
        share_cap: fen(row, at(5))?,
        greeting: row.text(at(6))?.to_owned(),
        audience: audience(row, at(7))?,
        seed: Seed::from_slice(row.bytes(at(9))?).ok_or_else(|| damaged("seed", "not 32 bytes"))?,
        created_at: Timestamp::from_millis(row.int(at(10))?),
        lifetime_ms: row.int(at(11))?,
        stage: stage(row, at(12))?,
        expires_at: time(row, at(13))?,
        settled_seq: small(row, at(14))?,
    })
}

/// The audience whose type and id are the columns from `start`.
fn audience(row: &impl StoredRow, start: usize) -> Result<Audience, StoreError> {
    let id = row.text_or_null(start + 1)?;
    let audience = match (row.text(start)?, id) {
        ("link", None) => Some(Audience::Link),
        ("group", Some(group)) => GroupId::parse(group).map(Audience::Group),
        ("user", Some(user)) => UserId::parse(user).map(Audience::User),
        _ => None,
    };
    audience.ok_or_else(|| damaged("audience", id))
}

/// The entry whose columns begin at `start`.
pub fn entry(row: &impl StoredRow, start: usize) -> Result<Entry, StoreError> {
    let kind = if row.text(start + 2)? == REFUND { EntryKind::Refund } else { EntryKind::Open(user(row, start + 2)?) };
    Ok(Entry {
        envelope_id: envelope_id(row, start)?,
        seq: small(row, start + 1)?,
        kind,
        amount: fen(row, start + 3)?,
        remaining: fen(row, start + 4)?,
        at: Timestamp::from_millis(row.int(start + 5)?),
    })
}

/// The envelope at the start of a row, and the fold of its journal, whose last
/// entry's `seq`, user and remaining money follow; they are null when there is none.
pub fn envelope_and_journal(row: &impl StoredRow) -> Result<(Envelope, Journal), StoreError> {
    let envelope = envelope(row, 0)?;
    if row.int_or_null(ENVELOPE_WIDTH)?.is_none() {
        let journal = Journal::new(envelope.total);
        return Ok((envelope, journal));
    }
    let refunded = row.text(ENVELOPE_WIDTH + 1)? == REFUND;
    let last_seq = small(row, ENVELOPE_WIDTH)?;
    Ok((envelope, Journal { last_seq, remaining: fen(row, ENVELOPE_WIDTH + 2)?, refunded }))
}

/// The envelope at the start of a row, and the `seq` of its last entry, which follows; 0 for null.
pub fn envelope_and_last_seq<R: StoredRow>(row: &R) -> Result<(Envelope, u32), StoreError> {
    let envelope = envelope(row, 0)?;
    let last_seq = if row.int_or_null(ENVELOPE_WIDTH)?.is_none() { 0 } else { small(row, ENVELOPE_WIDTH)? };
    Ok((envelope, last_seq))
}

/// A user's own opening, whose `seq`, amount and time follow the journal's columns.
pub fn opened(row: &impl StoredRow) -> Result<Option<Opened>, StoreError> {
    const START: usize = ENVELOPE_WIDTH + 3;
    if row.int_or_null(START)?.is_none() {
        return Ok(None);
    }
    let at = Timestamp::from_millis(row.int(START + 2)?);
    Ok(Some(Opened { seq: small(row, START)?, amount: fen(row, START + 1)?, at }))
}

/// An entry, followed by its position, the envelope's sender, how far it is settled, and its audience.
pub fn tail_entry<R: StoredRow>(row: &R) -> Result<TailEntry, StoreError> {
    Ok(TailEntry {
        entry: entry(row, 0)?,
        position: row.int(ENTRY_WIDTH)?,
        sender: user(row, ENTRY_WIDTH + 1)?,
        settled_seq: small(row, ENTRY_WIDTH + 2)?,
        audience: audience(row, ENTRY_WIDTH + 3)?,
    })
}

/// A count of envelopes, how many of them are behind, and the first and last of them, which are null where there is none.
pub fn pending_page(row: &impl StoredRow) -> Result<PendingPage, StoreError> {
    let count = |column| Ok::<u64, StoreError>(small(row, column)?.into());
    let envelopes = count(0)?;
    let ends = if envelopes == 0 { None } else { Some((envelope_id(row, 2)?, envelope_id(row, 3)?)) };
    Ok(PendingPage { envelopes, behind: count(1)?, ends })
}

/// An id to come after, as it is compared; all ids come after the empty text of bytes.
pub fn cursor(after: &Option<EnvelopeId>) -> &[u8] {
    after.as_ref().map_or(&[], |id| id.as_bytes().as_slice())
}

/// A stage.
pub fn stage(row: &impl StoredRow, column: usize) -> Result<Stage, StoreError> {
    match row.int(column)? {
        0 => Ok(Stage::Created),
        1 => Ok(Stage::Active),
        2 => Ok(Stage::Cancelled),
        3 => Ok(Stage::Settled),
        other => Err(damaged("stage", other)),
    }
}

/// What is left to be done in a table.
pub fn waiting(row: &impl StoredRow) -> Result<Waiting, StoreError> {
    Ok(Waiting { has_unpaid: row.int(0)? > 0, has_cancelled: row.int(1)? > 0, first_expiry: time(row, 2)? })
}

/// A stage, as it is stored.
pub fn stage_number(stage: Stage) -> i64 {
    match stage {
        Stage::Created => 0,
        Stage::Active => 1,
        Stage::Cancelled => 2,
        Stage::Settled => 3,
    }
}

/// A kind, as it is stored.
pub fn kind_name(kind: Kind) -> &'static str {
    match kind {
        Kind::Lucky => "lucky",
        Kind::Equal => "equal",
    }
}

/// An audience, as it is stored: its type, and the id that it names.
pub fn audience_columns(audience: &Audience) -> (&'static str, Option<&str>) {
    match audience {
        Audience::Link => ("link", None),
        Audience::Group(group) => ("group", Some(group.as_str())),
        Audience::User(user) => ("user", Some(user.as_str())),
    }
}

/// The user of an entry, as it is stored.
pub fn entry_user(entry: &Entry) -> &str {
    match &entry.kind {
        EntryKind::Open(user) => user.as_str(),
        EntryKind::Refund => REFUND,
    }
}

/// A time that may be missing.
pub fn time(row: &impl StoredRow, column: usize) -> Result<Option<Timestamp>, StoreError> {
    Ok(row.int_or_null(column)?.map(Timestamp::from_millis))
}

/// A user.
pub fn user(row: &impl StoredRow, column: usize) -> Result<UserId, StoreError> {
    let text = row.text(column)?;
    UserId::parse(text).ok_or_else(|| damaged("user", text))
}

/// A number that is a count.
pub fn small(row: &impl StoredRow, column: usize) -> Result<u32, StoreError> {
    let number = row.int(column)?;
    u32::try_from(number).map_err(|_| damaged("count", number))
}

/// Columns with the alias of their table.
pub fn columns(alias: &str, names: &[&str]) -> String {
    names.iter().map(|name| format!("{alias}.{name}")).collect::<Vec<_>>().join(", ")
}

/// The id of an envelope.
pub fn envelope_id(row: &impl StoredRow, column: usize) -> Result<EnvelopeId, StoreError> {
    let bytes = row.bytes(column)?;
    EnvelopeId::from_bytes(bytes).ok_or_else(|| damaged("envelope id", bytes))
}

fn fen(row: &impl StoredRow, column: usize) -> Result<Fen, StoreError> {
    let fen = row.int(column)?;
    Fen::new(fen).ok_or_else(|| damaged("amount", fen))
}

fn damaged(what: &str, found: impl std::fmt::Debug) -> StoreError {
    column::damaged(what, found).into()
}
