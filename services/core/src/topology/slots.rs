//! Slots as the topology file writes them.

use serde::{Deserialize, Serialize};

use crate::id::Slot;

/// Slots as they are written: `"00-49"`, `"07"`, or several of these with commas.
/// `"00-98/2"` is every second one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SlotList {
    text: String,
    slots: Vec<Slot>,
}

impl SlotList {
    /// The slots, in the order in which they are written.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// Whether there are none, which cannot be written.
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }
}

impl TryFrom<String> for SlotList {
    type Error = String;

    fn try_from(text: String) -> Result<SlotList, String> {
        let mut slots = Vec::new();
        for part in text.split(',') {
            slots.extend(slots_of(part.trim()).ok_or_else(|| {
                format!("{part:?} is no list of slots: write \"00-49\", \"07\" or \"00-98/2\", joined by commas")
            })?);
        }
        Ok(SlotList { text, slots })
    }
}

impl From<SlotList> for String {
    fn from(list: SlotList) -> String {
        list.text
    }
}

fn slots_of(part: &str) -> Option<Vec<Slot>> {
    let (range, step) = match part.split_once('/') {
        Some((range, step)) => (range, number(step)?),
        None => (part, 1),
    };
    let (first, last) = match range.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(range)?, number(range)?),
    };
    if first > last || step == 0 {
        return None;
    }
    (first..=last).step_by(usize::from(step)).map(Slot::new).collect()
}

fn number(text: &str) -> Option<u8> {
    // Digits alone: "+7" is a number to Rust, and a slip here.
    if text.is_empty() || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    text.parse().ok()
}
