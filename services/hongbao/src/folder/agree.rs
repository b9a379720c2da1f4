//! Whether the files of a folder belong together.

use hongbao_database::sqlite::mark::{Found, Mark};

/// What a folder is.
#[derive(Debug, PartialEq, Eq)]
pub enum FolderState {
    /// Nothing is in it.
    New,
    /// It was being made, taken over from before there were marks, or opened, and that did not end.
    Unfinished,
    /// Of before there were marks, and whole as far as can be seen.
    Unmarked,
    /// All files agree.
    Whole,
}

/// Compares what was found under the names of a folder's files, the first file first.
///
/// # Errors
/// A message that names the file that is missing, empty, another folder's or an old copy.
pub fn check(found: &[(String, Found)]) -> Result<FolderState, String> {
    let Some(((first_name, first), others)) = found.split_first() else { return Ok(FolderState::New) };
    match first {
        Found::Absent | Found::Empty => match others.iter().find(|(_, other)| !other.is_nothing()) {
            None => Ok(FolderState::New),
            Some((other, _)) => Err(format!("{first_name} is {}, though {other} is there", state(first))),
        },
        Found::Unmarked => {
            others.iter().try_for_each(|(name, other)| is_not_taken(name, other).and(is_there(name, other)))?;
            Ok(FolderState::Unmarked)
        }
        // Until it was whole once, what is not there has not been made yet.
        Found::Marked(mark) if mark.starts == 0 => {
            others.iter().try_for_each(|(name, other)| is_not_taken(name, other))?;
            Ok(FolderState::Unfinished)
        }
        Found::Marked(mark) => {
            others.iter().try_for_each(|(name, other)| is_of(mark, name, other))?;
            Ok(if mark.complete { FolderState::Whole } else { FolderState::Unfinished })
        }
    }
}

fn state(found: &Found) -> &'static str {
    if *found == Found::Absent { "missing" } else { "empty" }
}

fn is_there(name: &str, found: &Found) -> Result<(), String> {
    if found.is_nothing() { Err(format!("{name} is {}", state(found))) } else { Ok(()) }
}

fn is_not_taken(name: &str, found: &Found) -> Result<(), String> {
    match found {
        Found::Marked(mark) if mark.starts > 0 => Err(foreign(name)),
        _ => Ok(()),
    }
}

fn is_of(folder: &Mark, name: &str, found: &Found) -> Result<(), String> {
    is_there(name, found)?;
    // The last start that all files certainly had a part in.
    let last = if folder.complete { folder.starts } else { folder.starts - 1 };
    match found {
        // The first start takes the files in, and it may have stopped half way.
        Found::Marked(mark) if mark.starts == 0 && last == 0 => Ok(()),
        Found::Marked(mark) if mark.id != folder.id => Err(foreign(name)),
        Found::Marked(mark) if (last..=folder.starts).contains(&mark.starts) => Ok(()),
        Found::Marked(mark) => Err(format!(
            "{name} is of another time than the rest: the folder was started {} times, and this file {} times",
            folder.starts, mark.starts
        )),
        _ => Err(foreign(name)),
    }
}

fn foreign(name: &str) -> String {
    format!("{name} belongs to another folder")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marked(id: u8, starts: i64, complete: bool) -> Found {
        Found::Marked(Mark { id: [id; 16], files: Vec::new(), starts, complete })
    }

    fn of(found: [Found; 3]) -> Result<FolderState, String> {
        let names = ["db_00.sqlite", "db_01.sqlite", "wallet_00.sqlite"].map(str::to_owned);
        check(&names.into_iter().zip(found).collect::<Vec<_>>())
    }

    #[test]
    fn a_folder_is_new_unfinished_or_whole() {
        use Found::{Absent, Empty, Unmarked};
        for (found, state) in [
            ([Absent, Absent, Absent], FolderState::New),
            ([Empty, Absent, Absent], FolderState::New),
            ([marked(1, 0, false), Absent, Absent], FolderState::Unfinished),
            ([marked(1, 0, false), marked(2, 0, false), Empty], FolderState::Unfinished),
            ([marked(1, 0, false), Unmarked, Unmarked], FolderState::Unfinished),
            ([marked(1, 1, false), marked(1, 1, true), marked(3, 0, false)], FolderState::Unfinished),
            ([marked(1, 5, false), marked(1, 5, true), marked(1, 4, true)], FolderState::Unfinished),
            ([Unmarked, Unmarked, Unmarked], FolderState::Unmarked),
            ([Unmarked, marked(2, 0, false), Unmarked], FolderState::Unmarked),
            ([marked(1, 5, true), marked(1, 5, true), marked(1, 5, true)], FolderState::Whole),
        ] {
            assert_eq!(of(found.clone()), Ok(state), "{found:?}");
        }
    }

    #[test]
    fn what_is_missing_empty_foreign_or_old_is_named() {
        use Found::{Absent, Empty, Unmarked};
        let first = || marked(1, 5, true);
        for (found, reason) in [
            ([Absent, first(), first()], "db_00.sqlite is missing, though db_01.sqlite is there"),
            ([Empty, Absent, first()], "db_00.sqlite is empty, though wallet_00.sqlite is there"),
            ([Absent, Absent, Unmarked], "db_00.sqlite is missing"),
            ([first(), first(), Absent], "wallet_00.sqlite is missing"),
            ([first(), first(), Empty], "wallet_00.sqlite is empty"),
            ([first(), Absent, first()], "db_01.sqlite is missing"),
            ([first(), first(), marked(2, 5, true)], "wallet_00.sqlite belongs to another folder"),
            ([first(), first(), marked(2, 0, false)], "wallet_00.sqlite belongs to another folder"),
            ([first(), first(), Unmarked], "wallet_00.sqlite belongs to another folder"),
            ([first(), first(), marked(1, 4, true)], "wallet_00.sqlite is of another time"),
            ([first(), first(), marked(1, 6, true)], "wallet_00.sqlite is of another time"),
            ([marked(1, 5, false), marked(1, 3, true), marked(1, 5, true)], "db_01.sqlite is of another time"),
            ([marked(1, 5, false), marked(1, 5, true), Absent], "wallet_00.sqlite is missing"),
            ([marked(1, 5, false), marked(1, 0, true), marked(1, 5, true)], "db_01.sqlite is of another time"),
            ([Unmarked, Unmarked, Absent], "wallet_00.sqlite is missing"),
            ([Unmarked, Empty, Unmarked], "db_01.sqlite is empty"),
            ([Unmarked, Unmarked, marked(2, 1, true)], "wallet_00.sqlite belongs to another folder"),
            ([marked(1, 0, false), marked(2, 3, true), Absent], "db_01.sqlite belongs to another folder"),
        ] {
            let refused = of(found.clone()).unwrap_err();
            assert!(refused.contains(reason), "{found:?}: {refused}");
        }
    }
}
