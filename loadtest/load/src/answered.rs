//! What the service answered about money: the other side of the books.

/// What the service said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answered {
    /// The envelope is paid for.
    Paid,
    /// The user has this share.
    Opened {
        /// Its place in the envelope's journal.
        seq: u32,
        /// What is in it.
        amount_fen: i64,
        /// Whether it had been opened before.
        replayed: bool,
        /// When the server accepted it, as it reports itself.
        accepted: Option<Accepted>,
    },
    /// Nothing left, or too late: final.
    Nothing,
    /// Refused, and nothing happened.
    Refused,
    /// It may have happened or not.
    Unknown,
}

impl Answered {
    /// Whether a request to open that was answered so may have opened.
    pub fn may_have_opened(self) -> bool {
        matches!(self, Answered::Opened { .. } | Answered::Unknown)
    }
}

/// The place of an opening in the order in which a server accepted them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Which lane of which server since which start; places of different ones do not compare.
    pub lane: u64,
    /// The place.
    pub place: u64,
}

impl Accepted {
    /// Reads the header `x-hongbao-accepted`, `LANE-PLACE`, both hexadecimal.
    pub fn read(header: &[u8]) -> Option<Accepted> {
        let (lane, place) = std::str::from_utf8(header).ok()?.split_once('-')?;
        Some(Accepted { lane: u64::from_str_radix(lane, 16).ok()?, place: u64::from_str_radix(place, 16).ok()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_that_a_server_reports_is_read_and_nonsense_is_not() {
        assert_eq!(Accepted::read(b"1f-a"), Some(Accepted { lane: 31, place: 10 }));
        for nonsense in [&b""[..], b"1f", b"-", b"x-1", b"1-", b"\xff-1"] {
            assert_eq!(Accepted::read(nonsense), None);
        }
    }
}
