//! How to get past rows that cannot be read.
//!
//! A cursor moves by what was read, so damage would end a list. But cursors can
//! also be made: times for envelopes, positions for transfers. From the last
//! row that was read this looks in growing steps for a place behind which rows
//! can be read again, and then, halving, for the first such place. The damage
//! of one row is passed exactly; if there is more, rows between may be passed
//! with it, and so the gap is told as a whole.

use hongbao_core::id::TableRef;
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_store::StoreError;
use hongbao_wallet::{Wallet, WalletError};

use super::{AuditError, SetStore};

/// The last millisecond that an id can name: a UUIDv7 has 48 bits for it.
const LAST_MS: i64 = (1 << 48) - 1;

/// The greatest id of a millisecond.
pub fn last_id_at(at: Timestamp) -> EnvelopeId {
    EnvelopeId::mint(at, [u8::MAX; 10])
}

/// The first millisecond behind which the envelopes of a table can be read again.
pub async fn behind_envelope(
    set: &SetStore,
    table: TableRef,
    after: Option<EnvelopeId>,
) -> Result<Option<Timestamp>, AuditError> {
    let from = after.map_or(0, |id| id.minted_at().millis());
    let mut gap = Gap::after(from - 1, LAST_MS);
    loop {
        let place = match gap.next() {
            Step::Ask(place) => place,
            Step::Behind(place) => return Ok(Some(Timestamp::from_millis(place))),
            Step::NoEnd => return Ok(None),
        };
        match set.store.scan(table, Some(last_id_at(Timestamp::from_millis(place))), 1).await {
            Ok(_) => gap.told(place, true),
            Err(StoreError::Damaged(_)) => gap.told(place, false),
            Err(error) => return Err(set.failed(error)),
        }
    }
}

/// The first position behind which transfers can be read again.
pub async fn behind_transfer(wallet: &dyn Wallet, after: i64) -> Result<Option<i64>, AuditError> {
    let mut gap = Gap::after(after, i64::MAX);
    loop {
        let place = match gap.next() {
            Step::Ask(place) => place,
            Step::Behind(place) => return Ok(Some(place)),
            Step::NoEnd => return Ok(None),
        };
        match wallet.scan(place, 1).await {
            Ok(_) => gap.told(place, true),
            Err(WalletError::Damaged(_)) => gap.told(place, false),
            Err(error) => return Err(error.into()),
        }
    }
}

/// A search for the place behind a gap. It does no reading itself.
#[derive(Debug)]
struct Gap {
    /// From here, the next row cannot be read.
    unreadable: i64,
    /// From here it can.
    readable: Option<i64>,
    step: i64,
    last: i64,
}

/// What the search wants.
#[derive(Debug, PartialEq, Eq)]
enum Step {
    /// To be told whether the row after this place can be read.
    Ask(i64),
    /// Nothing more: reading goes on after this place.
    Behind(i64),
    /// Nothing more: nothing can be read up to the last place.
    NoEnd,
}

impl Gap {
    /// The row after `unreadable` cannot be read; `last` is the last place there can be.
    fn after(unreadable: i64, last: i64) -> Gap {
        Gap { unreadable, readable: None, step: 1, last }
    }

    /// What to do next; it comes to an end after at most two steps for each bit of a place.
    fn next(&self) -> Step {
        match self.readable {
            None if self.unreadable >= self.last => Step::NoEnd,
            None => Step::Ask(self.unreadable.saturating_add(self.step).min(self.last)),
            Some(readable) if readable.abs_diff(self.unreadable) <= 1 => Step::Behind(readable),
            Some(readable) => Step::Ask(i64::midpoint(self.unreadable, readable)),
        }
    }

    /// Answers [`Step::Ask`].
    fn told(&mut self, place: i64, is_readable: bool) {
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
