//! Sealed tables, which are taken by their manifests.

use crate::manifest::{Break, Content, Tie};

use super::findings::Breach;

/// A manifest that does not go on from the one before it, or was changed (I3). `place` names
/// the table that it is of; its rows have to be read.
pub fn manifest_broken(place: &str, number: u64, why: Break) -> Breach {
    let (code, what) = match why {
        Break::Number => ("chain_broken", "manifests before it are gone"),
        Break::Previous => ("chain_broken", "the manifest before it is another than when it was written"),
        Break::Content => ("manifest_forged", "it was changed after it was written"),
        Break::Figures => ("manifest_forged", "its figures contradict each other"),
    };
    of_table("I3", code, format!("manifest {number}, of {place}: {what}"))
}

/// A manifest that cannot be read (I3). `place` names its database.
pub fn manifest_unreadable(place: &str, number: u64, reason: &str) -> Breach {
    of_table("I3", "manifest_forged", format!("manifest {number} of {place} cannot be read: {reason}"))
}

/// A table that was sealed, and is gone (I3).
pub fn sealed_table_missing(place: &str, number: u64) -> Breach {
    of_table("I3", "sealed_table_missing", format!("{place} is not there; manifest {number} says what it held"))
}

/// Rows that are not what was sealed (I3).
pub fn sealed_table_changed(place: &str, sealed: &Content, found: &Content) -> Breach {
    of_table("I3", "sealed_table_changed", format!("{place} is not as it was sealed: {}", sealed.differences(found)))
}

/// The file of an exported table is gone, or is not what was exported (I3).
pub fn exported_file_wrong(place: &str, number: u64, reason: &str) -> Breach {
    let detail =
        format!("{place} is exported, and its rows are not to be had: {reason}; manifest {number} says what they were");
    of_table("I3", "exported_file_wrong", detail)
}

/// A month of the wallet that is not what was sealed (I3). `place` names the database and the month.
pub fn sealed_month_changed(place: &str, detail: &str) -> Breach {
    of_table("I3", "sealed_month_changed", format!("{place} is not as it was sealed: {detail}"))
}

/// The wallet's transfers of a sealed table's envelopes are not those that its rows are due (I6).
pub fn sealed_transfers_wrong(place: &str, due: &Tie, found: &Tie) -> Breach {
    let detail = if (due.transfers, due.amount_fen) == (found.transfers, found.amount_fen) {
        "as many as are due and of as much, but not the same".to_owned()
    } else {
        let (due_fen, found_fen) = (due.amount_fen, found.amount_fen);
        format!("{} of {found_fen} fen in all, due are {} of {due_fen}", found.transfers, due.transfers)
    };
    of_table("I6", "sealed_transfers_wrong", format!("the transfers of {place}: {detail}"))
}

fn of_table(invariant: &'static str, code: &'static str, detail: String) -> Breach {
    Breach { invariant, code, envelope_id: None, user_id: None, detail }
}
