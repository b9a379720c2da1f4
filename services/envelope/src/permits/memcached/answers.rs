//! Lets only through what memcached can answer.
//!
//! The client library trusts the other side: it would allocate whatever length a
//! `VALUE` line names, read a line without an end, and take an unknown word for
//! a success. So the bytes are checked on their way in, line by line.

use std::io::{Error, ErrorKind, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use hongbao_core::limits::{PERMIT_LINE_BYTES_MAX, PERMIT_VALUE_BYTES_MAX};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// A connection whose incoming bytes are checked.
pub struct Checked<S> {
    stream: S,
    expected: Expected,
}

enum Expected {
    /// A line, of which this has come so far.
    Line(Vec<u8>),
    /// So many bytes of a value, with its line end.
    Value(usize),
}

/// How the answers to what is asked here begin.
const ANSWERS: [&[u8]; 9] =
    [b"END", b"STORED", b"NOT_STORED", b"EXISTS", b"NOT_FOUND", b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR", b"VERSION"];

impl<S> Checked<S> {
    /// Checks what comes from `stream`.
    pub fn new(stream: S) -> Checked<S> {
        Checked { stream, expected: Expected::Line(Vec::new()) }
    }

    fn check(&mut self, mut bytes: &[u8]) -> Result<()> {
        while !bytes.is_empty() {
            match &mut self.expected {
                Expected::Value(left) => {
                    let taken = bytes.len().min(*left);
                    *left -= taken;
                    bytes = &bytes[taken..];
                    if *left == 0 {
                        self.expected = Expected::Line(Vec::new());
                    }
                }
                Expected::Line(line) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let (part, rest) = bytes.split_at(end.map_or(bytes.len(), |end| end + 1));
                    line.extend_from_slice(part);
                    bytes = rest;
                    if line.len() > PERMIT_LINE_BYTES_MAX {
                        return Err(garbage());
                    }
                    if end.is_some() {
                        match value_bytes(line)? {
                            Some(length) => self.expected = Expected::Value(length + b"\r\n".len()),
                            None => line.clear(),
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The length of the value that follows a line; `None` if the line is the whole answer.
fn value_bytes(line: &[u8]) -> Result<Option<usize>> {
    let line = line.trim_ascii_end();
    let word = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    if word != b"VALUE" {
        return if ANSWERS.contains(&word) { Ok(None) } else { Err(garbage()) };
    }
    let length = line.split(|byte| *byte == b' ').nth(3).and_then(|length| std::str::from_utf8(length).ok());
    let length = length.and_then(|length| length.parse().ok()).filter(|length| *length <= PERMIT_VALUE_BYTES_MAX);
    length.map(Some).ok_or_else(garbage)
}

fn garbage() -> Error {
    Error::new(ErrorKind::InvalidData, "this is no answer of a memcached")
}

impl<S: AsyncRead + Unpin> AsyncRead for Checked<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        Poll::Ready(self.check(&buffer.filled()[before..]))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Checked<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accepts(chunks: &[&[u8]]) -> bool {
        let mut checked = Checked::new(());
        chunks.iter().all(|chunk| checked.check(chunk).is_ok())
    }

    #[test]
    fn answers_pass_however_they_are_cut() {
        let answers = b"VALUE k 0 11 7\r\nVALUE x 0 9\r\nEND\r\nNOT_STORED\r\nSERVER_ERROR out of memory\r\nEND\r\n";
        for cut in 0..answers.len() {
            assert!(accepts(&[&answers[..cut], &answers[cut..]]), "cut at {cut}");
        }
    }

    #[test]
    fn what_memcached_cannot_say_does_not_pass() {
        for garbage in [
            &b"HTTP/1.1 400 Bad Request\r\n"[..],
            b"VALUE k 0 99999999999 1\r\n",
            b"VALUE k 0 -1 1\r\n",
            b"VALUE\r\n",
            b"\r\n",
            b"STOREDX\r\n",
            &[b'E'; PERMIT_LINE_BYTES_MAX + 1],
        ] {
            assert!(!accepts(&[garbage]), "{}", String::from_utf8_lossy(garbage));
        }
    }
}
