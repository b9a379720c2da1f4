//! The verbs of a store, by who uses them: a server creates envelopes and opens
//! them; the jobs of the workers credit, refund and remove; the audit scans.

use std::collections::HashMap;
use std::ops::RangeInclusive;

use async_trait::async_trait;
use hongbao_core::fence::Fence;
use hongbao_core::id::TableRef;
use hongbao_core::{Audience, Date, Entry, Envelope, EnvelopeId, Journal, Opened, Stage, Timestamp, UserId};
use hongbao_database::returns::Returning;
use hongbao_database::{Barrier, Durability};

use crate::StoreError;
use crate::exporting::Exporting;
use crate::sealing::Sealing;

/// What became of a batch of entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Append {
    /// All of it is durable.
    Done,
    /// A key was taken by another writer: nothing of it was written.
    Fenced,
}

/// An entry that was written, with what crediting it needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TailEntry {
    /// Its place in the order of writing of its table.
    pub position: i64,
    /// The entry.
    pub entry: Entry,
    /// Who gets the refund.
    pub sender: UserId,
    /// For whom the envelope is.
    pub audience: Audience,
    /// How far the envelope is settled.
    pub settled_seq: u32,
}

/// How far an envelope has been credited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// The envelope.
    pub envelope_id: EnvelopeId,
    /// All entries up to this one have reached the wallet.
    pub settled_seq: u32,
    /// This was the journal's last entry: the envelope becomes [`Stage::Settled`].
    pub ended: bool,
}

/// A page of envelopes for which something is left to be done, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PendingPage {
    /// Envelopes of the page.
    pub envelopes: u64,
    /// Those of them whose journal goes beyond `settled_seq`.
    pub behind: u64,
    /// The first and the last of them; `None` where the page is empty.
    pub ends: Option<(EnvelopeId, EnvelopeId)>,
}

/// What is left to be done in a table, as far as one look tells.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    /// There are envelopes that wait for a payment.
    pub has_unpaid: bool,
    /// There are envelopes that were cancelled.
    pub has_cancelled: bool,
    /// When the first of the active envelopes expires, or has; `None` where there are none.
    pub first_expiry: Option<Timestamp>,
}

/// Envelopes and journals. Each verb that writes is one transaction, durable when
/// it returns; what a verb reads is *visible*, and durable after a [`Barrier`].
///
/// A verb that was started finishes even when its caller's future is dropped
/// only if it is run on a task of its own; request handlers do that.
#[async_trait]
pub trait Store:
    Creation + Journals + Crediting + Maintenance + Scans + Rotation + Sealing + Exporting + Barrier + 'static
{
    /// The physical table of an envelope, as far as this process knows.
    fn table_of(&self, id: EnvelopeId) -> TableRef;

    /// Whether a table is one in which an envelope may lie: it is renamed at some time.
    fn may_lie_in(&self, table: TableRef, id: EnvelopeId) -> bool;

    /// All day tables, and the dated tables that this process knows, but for those that were dropped after
    /// their [export](Exporting).
    fn tables(&self) -> Vec<TableRef>;

    /// The tables in which something may still happen: [`Store::tables`] without those
    /// that this process knows to be sealed.
    fn unsealed_tables(&self) -> Vec<TableRef>;

    /// The durability in force.
    fn durability(&self) -> Durability;

    /// Why every commit is refused, if it is: the database has become less than it
    /// promised when it was opened. It is so until it keeps its promises again.
    fn refusal(&self) -> Option<String> {
        None
    }

    /// Tells when the database answers again after it did not.
    fn returns(&self) -> Returning {
        Returning::never()
    }

    /// Whether the database did not answer when it was asked last, which may be a moment's matter.
    fn is_away(&self) -> bool {
        false
    }

    /// Changes whenever a database may have lost what was read from it before:
    /// its connection was made anew, so it may have been restored, or be
    /// another node. What is remembered from an earlier epoch is old.
    fn epoch(&self, _database: u8) -> u64 {
        0
    }

    /// Which writer appends to a database; `None` if the store does not have that one. Entries for the databases of
    /// one writer can be written by one [`append`](Journals::append).
    fn writer_of(&self, database: u8) -> Option<u8>;

    /// Which ids the databases accept, as they say now.
    async fn fence(&self) -> Result<Fence, StoreError> {
        Ok(Fence::open())
    }

    /// Between which moments the database's clock is, if it has one of its own: by its answer of now, or of a moment ago.
    async fn clock(&self) -> Result<Option<RangeInclusive<Timestamp>>, StoreError> {
        Ok(None)
    }
}

/// Envelopes until they are paid.
#[async_trait]
pub trait Creation: Send + Sync {
    /// Writes new envelopes, all of one writer's databases: all of them or none, which is
    /// [`StoreError::Exists`] if one of the ids is taken, and [`StoreError::NotHeld`] if the databases'
    /// [`fence`](Store::fence) does not accept one.
    async fn create(&self, envelopes: &[Envelope]) -> Result<(), StoreError>;

    /// A paid envelope becomes active, unless it has gone further or was
    /// cancelled. Gives the stage and expiry in force afterwards, `None` if it does not exist.
    async fn activate(
        &self,
        id: EnvelopeId,
        expires_at: Timestamp,
    ) -> Result<Option<(Stage, Option<Timestamp>)>, StoreError>;

    /// An envelope that was never paid becomes cancelled, unless it has gone
    /// further. Gives the stage in force afterwards.
    async fn cancel(&self, id: EnvelopeId) -> Result<Option<Stage>, StoreError>;
}

/// An envelope and its journal.
#[async_trait]
pub trait Journals: Send + Sync {
    /// The row and the fold of its journal, as of one moment.
    async fn load(&self, id: EnvelopeId) -> Result<Option<(Envelope, Journal)>, StoreError>;

    /// The row, the fold, and the user's own opening, as of one moment.
    async fn load_for(
        &self,
        id: EnvelopeId,
        user: &UserId,
    ) -> Result<Option<(Envelope, Journal, Option<Opened>)>, StoreError>;

    /// Rows and folds of many envelopes at once, each as [`Journals::load`] gives it, `None` for one that does not
    /// exist. Those that are not among them are to be loaded one by one: they may lie in a table of their date or in
    /// the archive, or their row is damaged. It is for envelopes of any databases, each at most once.
    async fn load_many(
        &self,
        _ids: &[EnvelopeId],
    ) -> Result<HashMap<EnvelopeId, Option<(Envelope, Journal)>>, StoreError> {
        Ok(HashMap::new())
    }

    /// The entries up to `through_seq` of many journals at once, in order. Those that are not among them have none,
    /// or are to be read one by one, for the same reasons as in [`Journals::load_many`].
    async fn load_journals(
        &self,
        _ids: &[EnvelopeId],
        _through_seq: u32,
    ) -> Result<HashMap<EnvelopeId, Vec<Entry>>, StoreError> {
        Ok(HashMap::new())
    }

    /// A page of the journal after `after_seq`, in order.
    async fn entries(&self, id: EnvelopeId, after_seq: u32, limit: u32) -> Result<Vec<Entry>, StoreError>;

    /// Appends entries of envelopes of one [writer](Store::writer_of)'s databases: all of them or none. Those
    /// of one envelope come in the order of their `seq`; beyond the two keys the
    /// database checks nothing.
    async fn append(&self, entries: &[Entry]) -> Result<Append, StoreError>;
}

/// What the credits follow.
#[async_trait]
pub trait Crediting: Send + Sync {
    /// Entries of a table after `position`, in the order of writing. What two
    /// servers write at the same time may appear behind a position that was
    /// already read past: [`Crediting::unsettled`] finds it.
    async fn tail(&self, table: TableRef, position: i64, limit: u32) -> Result<Vec<TailEntry>, StoreError>;

    /// The position of the last entry of a table; 0 when it is empty.
    async fn tail_position(&self, table: TableRef) -> Result<i64, StoreError>;

    /// [`Crediting::tail_position`] of these tables, in their order.
    async fn tail_positions(&self, tables: &[TableRef]) -> Result<Vec<i64>, StoreError>;

    /// Active envelopes of a table whose journal goes beyond `settled_seq`, by id after `after`: those of which the
    /// first entry beyond lies at a position up to `through`. For what a tail has missed.
    async fn unsettled(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        through: i64,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError>;

    /// Moves settlements forward; never backward. All of one writer's databases.
    async fn settle(&self, settlements: &[Settlement]) -> Result<(), StoreError>;
}

/// Envelopes whose time has come: those to cancel, to remove and to refund.
#[async_trait]
pub trait Maintenance: Send + Sync {
    /// What is left to be done in these tables, in their order.
    async fn waiting(&self, tables: &[TableRef]) -> Result<Vec<Waiting>, StoreError>;

    /// Envelopes of a table that wait for a payment since before `created_before`,
    /// by id after `after`. The cursor lets a worker pass those that may wait
    /// longer, however many they are, and reach the ones behind them.
    async fn unpaid(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<Envelope>, StoreError>;

    /// Envelopes of a table that were made before `created_before` and cancelled, by
    /// id after `after`.
    async fn cancelled(
        &self,
        table: TableRef,
        created_before: Timestamp,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<EnvelopeId>, StoreError>;

    /// Removes those of these envelopes of a table that are cancelled and have no
    /// entry, at most [`SQL_LIST_MAX`]; gives how many it removed.
    ///
    /// [`SQL_LIST_MAX`]: hongbao_core::limits::SQL_LIST_MAX
    async fn purge(&self, table: TableRef, envelopes: &[EnvelopeId]) -> Result<u64, StoreError>;

    /// Active envelopes of a table past their expiry with money left, by expiry
    /// and id after `after`. The cursor lets a worker pass those that it cannot
    /// refund, and reach the ones behind them.
    async fn expired(
        &self,
        table: TableRef,
        now: Timestamp,
        after: Option<(Timestamp, EnvelopeId)>,
        limit: u32,
    ) -> Result<Vec<(Envelope, Journal)>, StoreError>;
}

/// What a rotation came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotated {
    /// Day tables that hold a new date now.
    pub tables: u32,
    /// Day tables that statements were using: their turn comes again.
    pub in_use: u32,
}

/// Day tables come round with the days of month: each is renamed to the date that it
/// holds, and an empty one takes its place.
#[async_trait]
pub trait Rotation: Send + Sync {
    /// Gives each date up to `through` its day table. Where there is nothing to do it reads
    /// little or nothing; it may be repeated, and several processes may do it at the same time.
    async fn rotate(&self, through: Date) -> Result<Rotated, StoreError>;

    /// Learns which tables other processes have renamed.
    async fn look(&self) -> Result<(), StoreError>;
}

/// Whole tables, for the audit and for an operator. One that is exported and dropped between two pages is read on in
/// its file.
#[async_trait]
pub trait Scans: Send + Sync {
    /// Envelopes of a table by id after `after`, each with the `seq` of its last
    /// entry, 0 without one, as of one moment.
    async fn scan(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<Vec<(Envelope, u32)>, StoreError>;

    /// Counts envelopes of a table that are [`Stage::Created`] or [`Stage::Active`], by id after `after`, at most
    /// `limit`; of the other stages none is pending. It reads none that are settled.
    async fn count_pending(
        &self,
        table: TableRef,
        stage: Stage,
        after: Option<EnvelopeId>,
        limit: u32,
    ) -> Result<PendingPage, StoreError>;

    /// Entries of a table, of the envelopes after `after` up to `until`, in the
    /// order of the envelopes and of their journals.
    async fn scan_entries(
        &self,
        table: TableRef,
        after: Option<EnvelopeId>,
        until: EnvelopeId,
        limit: u32,
    ) -> Result<Vec<Entry>, StoreError>;
}
