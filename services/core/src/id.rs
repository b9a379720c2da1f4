//! Envelope ids and where an id lives: three nested functions, one module.
//!
//! 1. the id's **timestamp** gives its date, in one configured zone, and that the day of month `dd`;
//! 2. a **fixed hash** of its 16 bytes, modulo 1,000, gives `xx` (00..99) and `y` (0..9);
//! 3. the **fold** maps `xx` and `y` to the databases and tables that exist.
//!
//! They nest: growing the fold moves whole slots, and never splits one.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

use crate::date::{Date, Day};
use crate::time::Timestamp;

/// Slots, the logical databases `db_00` to `db_99`.
pub const SLOTS: u8 = 100;
/// Logical tables per slot and day.
pub const TABLES: u8 = 10;

/// The id of an envelope: a UUIDv7 (RFC 9562, section 5.7).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EnvelopeId(Uuid);

impl EnvelopeId {
    /// Makes an id for `now`. `random` must come from a good source: an id that
    /// can be guessed is an invitation.
    pub fn mint(now: Timestamp, random: [u8; 10]) -> EnvelopeId {
        let millis = u64::try_from(now.millis()).unwrap_or(0);
        EnvelopeId(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// Reads the hyphenated text of a UUIDv7, in letters of either case; `None`
    /// for any other text, version or variant.
    pub fn parse(text: &str) -> Option<EnvelopeId> {
        // `Uuid` reads braces, URNs and bare hex too; they are no ids here.
        if text.len() != 36 {
            return None;
        }
        Uuid::try_parse(text).ok().and_then(EnvelopeId::from_uuid)
    }

    /// From stored bytes; `None` unless they are a UUIDv7.
    pub fn from_bytes(bytes: &[u8]) -> Option<EnvelopeId> {
        Uuid::from_slice(bytes).ok().and_then(EnvelopeId::from_uuid)
    }

    fn from_uuid(uuid: Uuid) -> Option<EnvelopeId> {
        let is_v7 = uuid.get_version_num() == 7 && uuid.get_variant() == uuid::Variant::RFC4122;
        is_v7.then_some(EnvelopeId(uuid))
    }

    /// The 16 bytes.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// When the id was minted, in milliseconds.
    pub fn minted_at(&self) -> Timestamp {
        let bytes = self.0.as_bytes();
        let mut millis = [0; 8];
        millis[2..].copy_from_slice(&bytes[..6]);
        Timestamp::from_millis(i64::from_be_bytes(millis))
    }

    /// The slot that this id belongs to.
    pub fn slot(&self) -> Slot {
        // The slot is the same in every zone.
        self.placement(0).slot
    }

    /// Where this id lives, given the zone's offset from UTC in seconds.
    pub fn placement(&self, zone_offset_s: i32) -> Placement {
        let h = (stable_hash(self.0.as_bytes()) % 1_000) as u16;
        Placement {
            slot: Slot((h / u16::from(TABLES)) as u8),
            table: (h % u16::from(TABLES)) as u8,
            date: Date::of(self.minted_at(), zone_offset_s),
        }
    }
}

impl fmt::Display for EnvelopeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl Serialize for EnvelopeId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EnvelopeId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<EnvelopeId, D::Error> {
        let text = String::deserialize(deserializer)?;
        EnvelopeId::parse(&text).ok_or_else(|| D::Error::custom("not a UUIDv7"))
    }
}

/// `xx`: the logical database of an envelope, 0..=99.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(u8);

impl Slot {
    /// A slot by number; `None` from 100 on.
    pub const fn new(number: u8) -> Option<Slot> {
        if number < SLOTS { Some(Slot(number)) } else { None }
    }

    /// That of a user or a group, by name: it says in which database of the wallet its rows lie, and must never change.
    pub fn of_name(name: &str) -> Slot {
        let number = stable_hash(name.as_bytes()) % u64::from(SLOTS);
        Slot(u8::try_from(number).expect("a remainder of 100 is below 100"))
    }

    /// Its number, 0..=99.
    pub const fn number(self) -> u8 {
        self.0
    }

    /// All of them, in order.
    pub fn all() -> impl Iterator<Item = Slot> {
        (0..SLOTS).map(Slot)
    }
}

/// Where an envelope lives, before folding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Placement {
    /// `xx`.
    pub slot: Slot,
    /// `y`, 0..=9.
    pub table: u8,
    /// The date that it was minted on, which says `dd`.
    pub date: Date,
}

/// How many of the 100 databases and 10 tables a day exist physically.
///
/// Both numbers divide their logical count, so that a bigger fold is a
/// refinement of a smaller one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fold {
    databases: u8,
    tables: u8,
}

impl Fold {
    /// A database for each slot, and all tables in each.
    pub const WHOLE: Fold = Fold { databases: SLOTS, tables: TABLES };

    /// `databases` must divide 100 and `tables` must divide 10; else `None`.
    pub const fn new(databases: u8, tables: u8) -> Option<Fold> {
        if databases == 0 || tables == 0 || !SLOTS.is_multiple_of(databases) || !TABLES.is_multiple_of(tables) {
            return None;
        }
        Some(Fold { databases, tables })
    }

    /// Databases that exist.
    pub const fn databases(self) -> u8 {
        self.databases
    }

    /// Tables that exist per database and day.
    pub const fn tables(self) -> u8 {
        self.tables
    }

    /// The number of the database that a slot lies in.
    pub const fn database_of(self, slot: Slot) -> u8 {
        slot.0 % self.databases
    }

    /// The day table of a placement, until it is renamed.
    pub fn table_of(self, placement: Placement) -> TableRef {
        TableRef {
            database: self.database_of(placement.slot),
            table: placement.table % self.tables,
            span: Span::Day(placement.date.day()),
        }
    }
}

/// A physical table of envelopes, with that of their entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TableRef {
    /// `xx` of the database.
    pub database: u8,
    /// `y` of the table.
    pub table: u8,
    /// Whose envelopes it holds.
    pub span: Span,
}

impl TableRef {
    /// Whether it is the table of one of these dates: its day table, or that of the date.
    pub fn is_of(self, dates: &[Date]) -> bool {
        match self.span {
            Span::Day(day) => dates.iter().any(|date| date.day() == day),
            Span::Date(date) => dates.contains(&date),
        }
    }

    /// The same table after it was renamed to the date that it holds.
    pub const fn dated(self, date: Date) -> TableRef {
        TableRef { span: Span::Date(date), ..self }
    }
}

/// As the logs name it, by the database and the table there: `db_07 envelope_3_20261126`. Dated tables are in
/// `db_07_cold`, those of rehearsals in databases with a suffix.
impl fmt::Display for TableRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "db_{:02} envelope_{}_{}", self.database, self.table, self.span)
    }
}

/// Which part of time a table holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Span {
    /// A *day table*: the envelopes of one date with this day of month. It comes
    /// round, and is renamed to that date before.
    Day(Day),
    /// A *dated table*: the envelopes of one date for good.
    Date(Date),
}

/// As it stands in the table's name: `26`, or `20261126`.
impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Span::Day(day) => write!(f, "{:02}", day.number()),
            Span::Date(date) => date.fmt(f),
        }
    }
}

/// The fixed hash: FNV-1a, 64 bits, finished with MurmurHash3's `fmix64` so that
/// all bits of the result depend on all bits of the input. It decides where
/// money lies: it must never change.
pub fn stable_hash(bytes: &[u8]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for &byte in bytes {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash ^= hash >> 33;
    hash = hash.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    hash ^ (hash >> 33)
}
