//! Folds: an installation grows by moving whole slots, and never splits one.

use std::collections::HashSet;

use hongbao_core::id::{Fold, Placement, Span};
use hongbao_core::{Date, Slot};

/// Every fold that there is, with its two numbers.
fn folds() -> Vec<(u8, u8, Fold)> {
    let pairs = (0..=u8::MAX).flat_map(|databases| (0..=u8::MAX).map(move |tables| (databases, tables)));
    pairs.filter_map(|(databases, tables)| Some((databases, tables, Fold::new(databases, tables)?))).collect()
}

fn placements() -> impl Iterator<Item = Placement> {
    let date = Date::parse("20260217").unwrap();
    Slot::all().flat_map(move |slot| (0..10).map(move |table| Placement { slot, table, date }))
}

#[test]
fn a_fold_takes_divisors_alone() {
    let found: HashSet<(u8, u8)> = folds().into_iter().map(|(databases, tables, _)| (databases, tables)).collect();
    let divisors = [1, 2, 4, 5, 10, 20, 25, 50, 100];
    let expected = divisors.into_iter().flat_map(|databases| [1, 2, 5, 10].map(|tables| (databases, tables))).collect();
    assert_eq!(found, expected);
}

#[test]
fn a_fold_uses_exactly_the_tables_that_exist() {
    for (databases, tables, fold) in folds() {
        assert_eq!((fold.databases(), fold.tables()), (databases, tables));
        let used: HashSet<(u8, u8)> =
            placements().map(|home| fold.table_of(home)).map(|table| (table.database, table.table)).collect();
        assert_eq!(used.len(), usize::from(databases) * usize::from(tables));
        assert!(used.iter().all(|(database, table)| *database < databases && *table < tables));
    }
}

#[test]
fn what_lies_together_in_a_bigger_fold_lies_together_in_a_smaller_one() {
    for (many, many_tables, bigger) in folds() {
        for (few, few_tables, smaller) in folds() {
            if many % few != 0 || many_tables % few_tables != 0 {
                continue;
            }
            // One bigger table maps into one smaller table: growing only ever divides.
            let mut home_of = [[None; 10]; 100];
            for home in placements() {
                let (to, from) = (bigger.table_of(home), smaller.table_of(home));
                let known = home_of[usize::from(to.database)][usize::from(to.table)].get_or_insert(from);
                assert_eq!(*known, from, "{few}x{few_tables} in {many}x{many_tables}");
            }
        }
    }
}

#[test]
fn a_slot_is_never_split_over_databases_and_keeps_its_day() {
    for (_, _, fold) in folds() {
        for slot in Slot::all() {
            let date = Date::parse("20260131").unwrap();
            let homes: HashSet<u8> =
                (0..10).map(|table| fold.table_of(Placement { slot, table, date }).database).collect();
            assert_eq!(homes.len(), 1);
            assert_eq!(fold.table_of(Placement { slot, table: 3, date }).span, Span::Day(date.day()));
        }
    }
}

/// A change here would lose envelopes that exist.
#[test]
fn a_fold_is_the_remainder_of_the_division() {
    let table_of = |databases: u8, tables: u8| {
        let home = Placement { slot: Slot::new(87).unwrap(), table: 9, date: Date::parse("20260201").unwrap() };
        let table = Fold::new(databases, tables).unwrap().table_of(home);
        (table.database, table.table)
    };
    assert_eq!(table_of(1, 1), (0, 0));
    assert_eq!(table_of(4, 2), (3, 1));
    assert_eq!(table_of(10, 5), (7, 4));
    assert_eq!(table_of(25, 10), (12, 9));
}

#[test]
fn the_full_fold_changes_nothing() {
    let full = Fold::new(100, 10).unwrap();
    for home in placements() {
        let table = full.table_of(home);
        assert_eq!(
            (table.database, table.table, table.span),
            (home.slot.number(), home.table, Span::Day(home.date.day()))
        );
    }
}
