//! Envelopes and their journals at rest.
//!
//! [`Store`] is the port: its verbs are whole transactions, and no transaction
//! leaves the verb that opened it. [`sqlite`] and [`mysql`] implement it. `hongbao_testkit`
//! states each behaviour once, to be run on every implementation.
//!
//! The fence: the journal's keys `(envelope_id, seq)` and
//! `(envelope_id, user_id)` let exactly one of two racing writers win. The
//! loser gets [`Append::Fenced`], and nothing of its batch is written.

mod archive;
mod clock;
mod day_tables;
mod error;
mod exported;
mod exporting;
mod failure;
pub mod lease;
mod left;
mod manifests;
mod many;
pub mod mysql;
mod place;
mod port;
pub mod rows;
mod sealing;
pub mod sqlite;
mod statements;

pub use self::archive::{Archive, Archived, ArchivedFile, NewFile, Rows, TableFile};
pub use self::clock::{DatabaseClock, clock_ahead_ms, is_far_off};
pub use self::error::StoreError;
pub use self::exporting::{Exported, Exporting};
pub use self::left::LeftStore;
pub use self::port::{
    Append, Creation, Crediting, Journals, Maintenance, PendingPage, Rotated, Rotation, Scans, Settlement, Store,
    TailEntry, Waiting,
};
pub use self::sealing::{Closed, ManifestRow, Outline, Seal, Sealing, StoredManifest};
