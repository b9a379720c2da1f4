//! How to get past rows that cannot be read.
//!
//! A cursor moves by what was read, so damage would end a list. But cursors can
//! also be made, from a time or a position. From the last
//! row that was read this looks in growing steps for a place behind which rows
//! can be read again, and then, halving, for the first such place. The damage
//! of one row is passed exactly; if there is more, rows between may be passed
//! with it, and so the gap is reported as a whole.

use hongbao_core::{EnvelopeId, Timestamp};

/// The greatest id of a millisecond.
pub fn last_id_at(at: Timestamp) -> EnvelopeId {
    EnvelopeId::mint(at, [u8::MAX; 10])
}

/// A search for the place behind a gap. It does no reading itself.
#[derive(Debug)]
pub struct Gap {
    /// From here, the next row cannot be read.
    unreadable: i64,
    /// From here it can.
    readable: Option<i64>,
    step: i64,
    last: i64,
}

/// What the search wants.
#[derive(Debug, PartialEq, Eq)]
pub enum Step {
    /// To be told whether the row after this place can be read.
    Ask(i64),
    /// Nothing more: reading goes on after this place.
    Behind(i64),
    /// Nothing more: nothing can be read up to the last place.
    NoEnd,
}

impl Gap {
    /// The row after `unreadable` cannot be read; `last` is the last place there can be.
    pub fn after(unreadable: i64, last: i64) -> Gap {
        Gap { unreadable, readable: None, step: 1, last }
    }

    /// What to do next; it comes to an end after at most two steps for each bit of a place.
    pub fn next(&self) -> Step {
        match self.readable {
            None if self.unreadable >= self.last => Step::NoEnd,
            None => Step::Ask(self.unreadable.saturating_add(self.step).min(self.last)),
            Some(readable) if readable.abs_diff(self.unreadable) <= 1 => Step::Behind(readable),
            Some(readable) => Step::Ask(i64::midpoint(self.unreadable, readable)),
        }
    }

    /// Answers [`Step::Ask`].
    pub fn told(&mut self, place: i64, is_readable: bool) {
        if is_readable {
            self.readable = Some(place);
        } else {
            self.unreadable = place;
            self.step = self.step.saturating_mul(2);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Where reading goes on behind `after`, when the rows at these places are damaged.
    fn passed(after: i64, last: i64, damaged: &[i64]) -> Step {
        let mut gap = Gap::after(after, last);
        for _ in 0..130 {
            match gap.next() {
                // The next row is damaged if no sound one lies before it; here every place has a row.
                Step::Ask(place) => gap.told(place, !damaged.contains(&place.saturating_add(1))),
                end => return end,
            }
        }
        panic!("it never ends");
    }

    #[test]
    fn one_damaged_row_is_passed_exactly() {
        assert_eq!(passed(41, i64::MAX, &[42]), Step::Behind(42));
        assert_eq!(passed(0, 5, &[1]), Step::Behind(1));
        assert_eq!(passed(i64::MIN, i64::MAX, &[i64::MIN + 1]), Step::Behind(i64::MIN + 1));
    }

    #[test]
    fn a_run_of_damaged_rows_is_passed_whole() {
        assert_eq!(passed(9, i64::MAX, &[10, 11, 12, 13, 14]), Step::Behind(14));
    }

    #[test]
    fn damage_up_to_the_end_has_no_place_behind_it() {
        assert_eq!(passed(0, 3, &[1, 2, 3, 4]), Step::NoEnd);
    }

    #[test]
    fn far_damage_is_reached_in_few_steps() {
        // Nothing can be read before 2026, and all can be after it.
        let first_readable = 1_771_214_400_000;
        let (mut gap, mut asked) = (Gap::after(-1, (1 << 48) - 1), 0);
        let behind = loop {
            match gap.next() {
                Step::Ask(place) => gap.told(place, place >= first_readable),
                end => break end,
            }
            asked += 1;
        };
        assert_eq!(behind, Step::Behind(first_readable));
        assert!(asked <= 96, "{asked}");
    }
}
