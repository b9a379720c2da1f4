//! Slots of users as a set.

use std::fmt;

use hongbao_core::Slot;
use hongbao_core::id::SLOTS;

/// A set of slots. As text, `meta` and `ledger` have it: "00 04 08".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct SlotSet(u128);

const _: () = assert!(SLOTS as u32 <= u128::BITS);

impl SlotSet {
    /// Reads the text; `None` for any other.
    pub fn parse(text: &str) -> Option<SlotSet> {
        let slot = |word: &str| Slot::new(word.parse().ok()?);
        let set = text.split_ascii_whitespace().map(slot).collect::<Option<SlotSet>>()?;
        (set.to_string() == text).then_some(set)
    }

    /// Whether a slot is one of them.
    pub fn contains(self, slot: Slot) -> bool {
        self.0 & (1 << slot.number()) != 0
    }

    /// Whether all of these are among them.
    pub fn includes(self, others: SlotSet) -> bool {
        others.0 & !self.0 == 0
    }

    /// Those that are in both.
    pub fn and(self, others: SlotSet) -> SlotSet {
        SlotSet(self.0 & others.0)
    }

    /// Those that are in either.
    pub fn or(self, others: SlotSet) -> SlotSet {
        SlotSet(self.0 | others.0)
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }
}

impl FromIterator<Slot> for SlotSet {
    fn from_iter<I: IntoIterator<Item = Slot>>(slots: I) -> SlotSet {
        SlotSet(slots.into_iter().fold(0, |set, slot| set | 1 << slot.number()))
    }
}

impl fmt::Display for SlotSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut between = "";
        for slot in Slot::all().filter(|slot| self.contains(*slot)) {
            write!(f, "{between}{:02}", slot.number())?;
            between = " ";
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_of_slots_is_read_as_it_is_written() {
        for text in ["", "00", "00 04 99"] {
            assert_eq!(SlotSet::parse(text).unwrap().to_string(), text);
        }
        for text in ["100", "4", "04 00", "00  04", "00,04", "x"] {
            assert_eq!(SlotSet::parse(text), None, "{text}");
        }
        let [some, all] = ["00 99", "00 50 99"].map(|text| SlotSet::parse(text).unwrap());
        assert!(all.includes(some) && !some.includes(all) && some.includes(SlotSet::default()));
    }
}
