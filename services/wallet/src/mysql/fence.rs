//! Which users a database does not serve, though it was made for their slots: all of
//! them while it is being filled, and those that were carried to another database.
//!
//! A transaction reads it with the row of `ledger` that it locks, in the same statement
//! and under a lock too: what a statement reads without one is of the moment of its
//! beginning, and it may have waited since for the ledger.
//!
//! A reading of one user reads it in the same statement as the rows, so both are of one
//! moment. One of many rows reads it before them and after them, in the same round trip: a
//! database that was open before had all of them, and who had not left after that had not
//! left when they were read.

use hongbao_core::UserId;
use hongbao_database::row::StoredRow;

use super::layout::slot_of_name;
use super::slots::SlotSet;
use crate::WalletError;

/// What a fence is read from, where the table is called `f`.
pub(super) const FENCE_COLUMNS: &str = "f.is_arriving, f.moved_slots";

/// What a database does not serve.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Fence {
    /// It is being filled from another one.
    pub is_arriving: bool,
    /// These were carried to another one.
    pub moved: SlotSet,
}

/// A statement that reads rows of one user, in one with the fence: of one moment, at the
/// cost of one statement. It gives the fence behind the columns of each row; of no row a row of nulls.
pub(super) fn text_joined_with_fence(db: &str, sql: &str) -> String {
    format!(
        "SELECT d.*, {FENCE_COLUMNS} FROM {db}.fence f LEFT JOIN ({sql}) d ON TRUE WHERE f.one = 1 \
         ORDER BY d.position DESC"
    )
}

/// A statement that reads rows, between two that read the fence: each of these always
/// gives one row, of nulls where there is none. `before` stands before the statement.
pub(super) fn text_with_fence(db: &str, before: &str, sql: &str) -> String {
    let fence = format!("SELECT /* fence */ MAX(is_arriving), MAX(moved_slots) FROM {db}.fence WHERE one = 1");
    format!("{fence}; {before}{sql}; {fence}")
}

/// The rows of such a text, and the fence, which is missing where the table has no row.
pub(super) fn split_fence<R: StoredRow>(mut rows: Vec<R>) -> Result<(Vec<R>, Option<Fence>), WalletError> {
    let after = rows.pop().expect("the fence after the rows is one row");
    let before = rows.remove(0);
    let fences = Fence::read(&before, 0)?.zip(Fence::read(&after, 0)?);
    let both = |(before, after): (Fence, Fence)| Fence { is_arriving: before.is_arriving, moved: after.moved };
    Ok((rows, fences.map(both)))
}

impl Fence {
    /// Reads [`FENCE_COLUMNS`], which begin at `start`; `None` where they are null.
    pub fn read(row: &impl StoredRow, start: usize) -> Result<Option<Fence>, WalletError> {
        let Some((is_arriving, text)) = row.int_or_null(start)?.zip(row.text_or_null(start + 1)?) else {
            return Ok(None);
        };
        let damaged = || WalletError::Damaged(format!("the moved slots of a fence are {text:?}"));
        Ok(Some(Fence { is_arriving: is_arriving != 0, moved: SlotSet::parse(text).ok_or_else(damaged)? }))
    }

    /// Refuses a user whose money is not here.
    pub fn check_user(&self, db: &str, user: &UserId) -> Result<(), WalletError> {
        self.check_name(db, user.as_str())
    }

    /// The same for a user or a group by name.
    pub fn check_name(&self, db: &str, name: &str) -> Result<(), WalletError> {
        let slot = slot_of_name(name);
        if self.moved.contains(slot) {
            return Err(moved(db, &format!("{:02}", slot.number())));
        }
        self.check_open(db)
    }

    /// Refuses where the money of some of these is not here.
    pub fn check_all(&self, db: &str, slots: SlotSet) -> Result<(), WalletError> {
        let gone = self.moved.and(slots);
        if !gone.is_empty() {
            return Err(moved(db, &gone.to_string()));
        }
        self.check_open(db)
    }

    pub fn check_open(&self, db: &str) -> Result<(), WalletError> {
        if self.is_arriving {
            let reason = format!("{db} is being filled from another database: `hongbao move-wallet` opens it");
            return Err(WalletError::Unavailable(reason));
        }
        Ok(())
    }

    /// Whether a row of a user with this name counts no more.
    pub fn has_left(&self, name: &str) -> bool {
        !self.moved.is_empty() && self.moved.contains(slot_of_name(name))
    }
}

fn moved(db: &str, slots: &str) -> WalletError {
    WalletError::Unavailable(format!(
        "the users of slot {slots} were moved from {db} to another database: this process has a topology file of before"
    ))
}
