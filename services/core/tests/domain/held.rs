//! Which ids a SET holds, and what its databases' fences accept.

use hongbao_core::fence::{Accepted, Fence, Holds, difference};
use hongbao_core::held::{BEGINNING, HeldSlots, HeldSpan, NEVER};
use hongbao_core::id::Fold;
use hongbao_core::limits::FENCE_KNOWN_MS;
use hongbao_core::{Slot, Timestamp};
use proptest::prelude::*;

use crate::sample::{NEW_YEAR, id_in};

fn slot(number: u8) -> Slot {
    Slot::new(number).unwrap()
}

fn fold(databases: u8) -> Fold {
    Fold::new(databases, 1).unwrap()
}

fn accepted(number: u8, from: i64, until: i64, databases: u8) -> Accepted {
    let [from, until] = [from, until].map(Timestamp::from_millis);
    Accepted { slot: slot(number), from, until, databases }
}

/// Slots 3 and 7 in 4 databases; from New Year on 7 alone, in 20.
fn changing() -> HeldSlots {
    HeldSlots::new(vec![
        HeldSpan { from: BEGINNING, until: NEW_YEAR, slots: vec![slot(3), slot(7)], fold: fold(4) },
        HeldSpan { from: NEW_YEAR, until: NEVER, slots: vec![slot(7)], fold: fold(20) },
    ])
}

#[test]
fn each_database_accepts_the_ids_that_lead_there() {
    let held = changing();
    let change = NEW_YEAR.millis();
    assert_eq!(held.databases(), [3, 7].into());
    assert_eq!(held.accepted_in(3), [accepted(3, 0, change, 4), accepted(7, 0, change, 4)]);
    assert_eq!(held.accepted_in(7), [accepted(7, change, i64::MAX, 20)]);
    assert_eq!((held.fold_of(3), held.fold_of(7), held.fold_of(0)), (Some(fold(4)), Some(fold(20)), None));
}

#[test]
fn what_goes_on_unchanged_is_one_piece() {
    let span = |from, until| HeldSpan { from, until, slots: vec![slot(5)], fold: fold(100) };
    let held = HeldSlots::new(vec![span(BEGINNING, NEW_YEAR), span(NEW_YEAR, NEVER)]);
    assert_eq!(held.accepted_in(5), [accepted(5, 0, i64::MAX, 100)]);
}

#[test]
fn a_fence_says_whose_an_id_is_as_long_as_what_was_read_holds() {
    let held = changing();
    let rows = |database| held.accepted_in(database).into_iter().map(move |row| (database, row));
    let all: Vec<(u8, Accepted)> = rows(3).chain(rows(7)).collect();
    let fence = Fence::new(&held, &all, NEW_YEAR);
    let before = NEW_YEAR.plus_millis(-1);
    assert_eq!((fence.holds(id_in(3, before)), fence.holds(id_in(3, NEW_YEAR))), (Holds::Here, Holds::Elsewhere));
    assert_eq!((fence.holds(id_in(7, before)), fence.holds(id_in(7, NEW_YEAR))), (Holds::Here, Holds::Here));
    let last = NEW_YEAR.plus_millis(FENCE_KNOWN_MS - 1);
    assert_eq!(fence.holds(id_in(7, last)), Holds::Here);
    assert_eq!(fence.holds(id_in(7, last.plus_millis(1))), Holds::Unknown);

    // A file that is older or newer than the fence: what both say.
    let old = HeldSlots::always([slot(3), slot(7)], fold(4));
    let fence = Fence::new(&old, &all, NEW_YEAR);
    assert_eq!((fence.holds(id_in(7, before)), fence.holds(id_in(7, NEW_YEAR))), (Holds::Here, Holds::Elsewhere));
    let in_force: Vec<(u8, Accepted)> = old.accepted_in(3).into_iter().map(|row| (3, row)).collect();
    let fence = Fence::new(&held, &in_force, NEW_YEAR);
    assert_eq!((fence.holds(id_in(7, before)), fence.holds(id_in(7, NEW_YEAR))), (Holds::Here, Holds::Elsewhere));
    assert!(matches!(Fence::open().holds(id_in(42, last.plus_millis(1))), Holds::Here));
}

#[test]
fn rows_of_another_fold_accept_nothing() {
    let held = HeldSlots::always([slot(7)], fold(4));
    let fence = Fence::new(&held, &[(3, accepted(7, 0, i64::MAX, 2))], NEW_YEAR);
    assert_eq!(fence.holds(id_in(7, NEW_YEAR)), Holds::Elsewhere);
}

fn pieces() -> impl Strategy<Value = Vec<Accepted>> {
    let piece = (0..2_u8, 0..20_i64, 1..8_i64, prop::sample::select(vec![4_u8, 20]));
    proptest::collection::vec(piece.prop_map(|(slot, from, long, fold)| accepted(slot, from, from + long, fold)), 0..6)
}

proptest! {
    #[test]
    fn a_difference_holds_what_is_in_the_one_and_not_in_the_other(these in pieces(), others in pieces()) {
        let is_in = |pieces: &[Accepted], number: u8, databases: u8, at: i64| {
            let at = Timestamp::from_millis(at);
            let holds = |piece: &Accepted| piece.from <= at && at < piece.until;
            pieces.iter().any(|one| one.slot == slot(number) && one.databases == databases && holds(one))
        };
        let left = difference(&these, &others);
        for number in 0..2 {
            for databases in [4, 20] {
                for at in 0..30 {
                    let wanted = is_in(&these, number, databases, at) && !is_in(&others, number, databases, at);
                    prop_assert_eq!(is_in(&left, number, databases, at), wanted, "slot {} at {}", number, at);
                }
            }
        }
        prop_assert!(left.iter().all(|piece| piece.from < piece.until));
    }
}
