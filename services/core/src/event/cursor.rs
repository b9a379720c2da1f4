//! Where a reader of several feeds has come to.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::id::Slot;

/// The format of the text.
const VERSION: u8 = 1;

/// How far the feeds of a slot were read: everything before `position`, and of the row there so many events, or all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventPlace {
    /// The position of the row that was read last.
    pub position: i64,
    /// How many of its events were; 0: all of them.
    pub events: u32,
}

/// Where a reader has come to, for each slot that its feeds lie in. A slot's rows keep their positions wherever it is
/// moved to, so that a cursor is good for ever.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventCursor(BTreeMap<u8, EventPlace>);

impl EventCursor {
    /// Where it is in a slot; `None` if it has not read there.
    pub fn place(&self, slot: Slot) -> Option<EventPlace> {
        self.0.get(&slot.number()).copied()
    }

    /// Goes on in a slot.
    pub fn set(&mut self, slot: Slot, place: EventPlace) {
        self.0.insert(slot.number(), place);
    }

    /// Reads what [`EventCursor::to_text`] wrote; `None` for anything else.
    pub fn parse(text: &str) -> Option<EventCursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (version, mut rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let mut places = BTreeMap::new();
        while !rest.is_empty() {
            let slot = Slot::new(u8::try_from(take(&mut rest)?).ok()?)?;
            let position = i64::try_from(take(&mut rest)?).ok()?;
            let events = u32::try_from(take(&mut rest)?).ok()?;
            // In order and each once: a cursor has one text.
            if places.last_key_value().is_some_and(|(last, _)| *last >= slot.number()) {
                return None;
            }
            places.insert(slot.number(), EventPlace { position, events });
        }
        Some(EventCursor(places))
    }

    /// As clients keep it.
    pub fn to_text(&self) -> String {
        let mut bytes = vec![VERSION];
        for (slot, place) in &self.0 {
            put(&mut bytes, u64::from(*slot));
            put(&mut bytes, u64::try_from(place.position).unwrap_or(0));
            put(&mut bytes, u64::from(place.events));
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// Seven bits a byte, the least first; the highest bit says that more follow.
fn put(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

fn take(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0_u64;
    for shift in (0..63).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            // One text for one number.
            return (shift == 0 || *byte != 0).then_some(number);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::EVENT_CURSOR_CHARS_MAX;

    #[test]
    fn a_cursor_is_read_as_it_was_written_and_never_too_long() {
        let mut cursor = EventCursor::default();
        assert_eq!(EventCursor::parse(&cursor.to_text()), Some(cursor.clone()));
        for slot in Slot::all() {
            let events = if slot.number() % 2 == 0 { 0 } else { u32::MAX };
            cursor.set(slot, EventPlace { position: i64::MAX >> slot.number().min(60), events });
        }
        assert_eq!(EventCursor::parse(&cursor.to_text()), Some(cursor.clone()));
        for slot in Slot::all() {
            cursor.set(slot, EventPlace { position: i64::MAX, events: u32::MAX });
        }
        assert!(cursor.to_text().len() <= EVENT_CURSOR_CHARS_MAX, "{}", cursor.to_text().len());
        assert_eq!(cursor.place(Slot::new(7).unwrap()).unwrap().position, i64::MAX);
    }

    #[test]
    fn what_is_no_cursor_is_none() {
        let mut cursor = EventCursor::default();
        cursor.set(Slot::new(3).unwrap(), EventPlace { position: 300, events: 1 });
        let text = cursor.to_text();
        assert!(EventCursor::parse(&text[..text.len() - 2]).is_none(), "cut off");
        for bad in ["", "4711", "AgMB", "a b", "AQMBAAMBAA", "AWQBAA", "AQOAAAA"] {
            assert!(EventCursor::parse(bad).is_none(), "{bad}");
        }
    }
}
