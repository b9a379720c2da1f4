//! Many short byte strings in one allocation: a million prepared requests cost
//! their bytes and eight more each.

/// A list of byte strings that only grows.
#[derive(Default)]
pub struct RequestBuffer {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl RequestBuffer {
    /// Adds what `write` appends to the buffer, which must not be shortened.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// The string at `index`.
    pub fn get(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.bytes[start..self.ends[index]]
    }

    /// How many strings there are.
    pub fn count(&self) -> usize {
        self.ends.len()
    }

    /// How many bytes they have together.
    pub fn bytes_len(&self) -> usize {
        self.bytes.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_come_back_as_they_went_in_the_empty_one_too() {
        let mut request_buffer = RequestBuffer::default();
        for text in ["one", "", "three"] {
            request_buffer.push(|out| out.extend_from_slice(text.as_bytes()));
        }
        assert_eq!(request_buffer.count(), 3);
        assert_eq!(request_buffer.bytes_len(), 8);
        assert_eq!([request_buffer.get(0), request_buffer.get(1), request_buffer.get(2)], [&b"one"[..], b"", b"three"]);
    }
}
