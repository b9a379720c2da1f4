//! Values as bytes, so that no two different rows have the same: numbers are 8
//! bytes, texts begin with their length, and what may be absent with whether it is there.

/// A SHA-256.
pub type Hash = [u8; 32];

/// A text of bytes that grows.
#[derive(Default)]
pub struct Bytes(Vec<u8>);

impl Bytes {
    /// Begins with what it is about.
    pub fn of(what: &str) -> Bytes {
        let mut bytes = Bytes::default();
        bytes.text(what);
        bytes
    }

    /// A number that is not negative.
    pub fn number(&mut self, number: impl Into<u64>) -> &mut Bytes {
        self.raw(&number.into().to_be_bytes())
    }

    /// Any number.
    pub fn signed(&mut self, number: i64) -> &mut Bytes {
        self.raw(&number.to_be_bytes())
    }

    /// Text, with its length.
    pub fn text(&mut self, text: &str) -> &mut Bytes {
        self.number(text.len() as u64).raw(text.as_bytes())
    }

    /// Bytes of a length that is always the same.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Bytes {
        self.0.extend_from_slice(bytes);
        self
    }

    /// What was collected; goes on empty.
    pub fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.0)
    }
}
