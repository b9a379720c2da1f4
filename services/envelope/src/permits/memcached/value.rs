//! What stands under one key: who holds how many permits, and until when.
//!
//! Text, so that an operator can read it: `1f=2@1771254030 a0=1@1771254035`. A
//! process writes its own part alone, as an absolute number: whatever became
//! of the write before, the next one is right. A part that its process does not
//! renew ends, also while others keep the key alive: so what a crash leaked heals.

use hongbao_core::limits::PERMIT_VALUE_BYTES_MAX;

/// The holders of one envelope's permits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holders(Vec<Part>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    holder: u64,
    count: u32,
    until_s: i64,
}

impl Holders {
    /// Reads what is stored. What another program has written counts nothing.
    pub fn parse(bytes: &[u8]) -> Holders {
        let text = std::str::from_utf8(bytes).unwrap_or_default();
        let parts: Option<Vec<Part>> = text.split_ascii_whitespace().map(part).collect();
        Holders(parts.unwrap_or_default())
    }

    /// The same with `count` permits for `holder` until `until_s`, and without
    /// what has ended. No other part may last longer: its clock would be wrong.
    pub fn with(mut self, holder: u64, count: u32, now_s: i64, until_s: i64) -> Holders {
        self.0.retain(|part| part.holder != holder && part.until_s > now_s);
        for part in &mut self.0 {
            part.until_s = part.until_s.min(until_s);
        }
        if count > 0 {
            self.0.push(Part { holder, count, until_s });
        }
        self
    }

    /// The same without what has ended.
    pub fn at(mut self, now_s: i64) -> Holders {
        self.0.retain(|part| part.until_s > now_s);
        self
    }

    /// Until when a holder's part lasts, if it has one.
    pub fn until_s(&self, holder: u64) -> Option<i64> {
        self.0.iter().find(|part| part.holder == holder).map(|part| part.until_s)
    }

    /// Permits that others hold.
    pub fn of_others(&self, holder: u64) -> u32 {
        let others = self.0.iter().filter(|part| part.holder != holder);
        others.fold(0, |total, part| total.saturating_add(part.count))
    }

    /// Permits that are held.
    pub fn total(&self) -> u32 {
        self.0.iter().fold(0, |total, part| total.saturating_add(part.count))
    }

    /// What to store; the oldest parts give way if there are too many.
    pub fn to_bytes(&self) -> Vec<u8> {
        let texts = self.0.iter().map(|Part { holder, count, until_s }| format!("{holder:x}={count}@{until_s}"));
        let mut kept: Vec<String> = Vec::new();
        let mut bytes = 0;
        for text in texts.rev() {
            bytes += text.len() + 1;
            if bytes > PERMIT_VALUE_BYTES_MAX {
                break;
            }
            kept.push(text);
        }
        kept.reverse();
        kept.join(" ").into_bytes()
    }
}

fn part(text: &str) -> Option<Part> {
    let (holder, rest) = text.split_once('=')?;
    let (count, until) = rest.split_once('@')?;
    let holder = u64::from_str_radix(holder, 16).ok()?;
    Some(Part { holder, count: count.parse().ok()?, until_s: until.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_replaced_by_its_holder_and_ends_without_it() {
        let both = Holders::default().with(1, 3, 100, 120).with(2, 5, 110, 130);
        assert_eq!(both.total(), 8);
        assert_eq!(Holders::parse(&both.to_bytes()), both);
        assert_eq!(both.clone().with(1, 1, 110, 130).total(), 6);
        assert_eq!(both.clone().with(2, 5, 120, 140).total(), 5, "the first has ended");
        assert!(both.with(1, 0, 130, 150).to_bytes().is_empty());
    }

    #[test]
    fn a_clock_that_is_far_ahead_holds_nothing_for_long() {
        let ahead = Holders::default().with(1, 3, 3_600, 3_620).with(2, 1, 0, 20);
        assert_eq!(ahead.with(2, 1, 21, 41).total(), 1);
    }

    #[test]
    fn what_nobody_of_ours_has_written_counts_nothing() {
        for garbage in [&b"7"[..], b"1=2", b"1=2@x", b"zz=1@5", b"1=-1@5", b"1=1@99999999999999999999", b"\xff\xfe"] {
            assert_eq!(Holders::parse(garbage).total(), 0, "{garbage:?}");
        }
    }
}
