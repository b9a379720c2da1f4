//! A connection with at most one request under way.

use std::io::{self, ErrorKind, Read, Write};

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};

use crate::http::{self, Answer};
use crate::site::Site;
use crate::tls::Session;

/// The first size of what an answer is read into; it grows for larger ones.
const INBOX_BYTES: usize = 2 * 1024;

/// A connection whose events come from a poll.
pub struct Connection {
    stream: TcpStream,
    tls: Option<Box<Session>>,
    outbox: Vec<u8>,
    written: usize,
    /// Bytes of the outbox that may go out by now: a slow client holds some back.
    released: usize,
    inbox: Vec<u8>,
    filled: usize,
}

impl Connection {
    /// Begins to connect, without waiting: what is sent goes out once the connection stands.
    /// Its events come with `token`.
    pub fn open(site: &Site, poll: &Poll, token: usize) -> io::Result<Connection> {
        Connection::on(TcpStream::connect(site.addr(token))?, site, poll, token)
    }

    /// The same, and waits until it stands; TLS begins with the first request.
    pub fn connect(site: &Site, poll: &Poll, token: usize) -> io::Result<Connection> {
        let stream = std::net::TcpStream::connect(site.addr(token))?;
        stream.set_nonblocking(true)?;
        Connection::on(TcpStream::from_std(stream), site, poll, token)
    }

    fn on(mut stream: TcpStream, site: &Site, poll: &Poll, token: usize) -> io::Result<Connection> {
        let tls = site.tls().map(|client| client.session().map(Box::new)).transpose()?;
        poll.registry().register(&mut stream, Token(token), Interest::READABLE | Interest::WRITABLE)?;
        // Fails only where the connection has failed, which is found out by using it.
        let _ = stream.set_nodelay(true);
        let inbox = vec![0; INBOX_BYTES];
        Ok(Connection { stream, tls, outbox: Vec::new(), written: 0, released: 0, inbox, filled: 0 })
    }

    /// Sends what `write` appends; only the first half of it, if the client is slow.
    pub fn send(&mut self, slow: bool, write: impl FnOnce(&mut Vec<u8>)) {
        self.outbox.clear();
        write(&mut self.outbox);
        self.written = 0;
        self.released = if slow { self.outbox.len() / 2 } else { self.outbox.len() };
        self.flush();
    }

    /// Lets the rest of a slow client's request go.
    pub fn release(&mut self) {
        self.released = self.outbox.len();
        self.flush();
    }

    /// Whether the server may have seen the whole request.
    pub fn has_sent_all(&self) -> bool {
        self.written == self.outbox.len() && self.tls.as_ref().is_none_or(|session| session.has_sent_all())
    }

    /// Writes what the socket takes. A failure shows as an event.
    pub fn flush(&mut self) {
        if let Some(session) = &mut self.tls {
            self.written += session.write(&mut self.stream, &self.outbox[self.written..self.released]);
            return;
        }
        while self.written < self.released {
            match self.stream.write(&self.outbox[self.written..self.released]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::Interrupted => (),
                Err(_) => return,
            }
        }
    }

    /// Bytes of the request.
    pub fn request_len(&self) -> usize {
        self.outbox.len()
    }

    /// Reads what has come: the length of the answer that was handed to `take`, if
    /// one is complete.
    ///
    /// # Errors
    /// With a label, when the connection is of no more use.
    pub fn read(&mut self, take: impl FnOnce(&Answer<'_>)) -> Result<Option<usize>, String> {
        loop {
            let read = match &mut self.tls {
                None => self.stream.read(&mut self.inbox[self.filled..]),
                Some(session) => session.read(&mut self.stream, &mut self.inbox[self.filled..]),
            };
            match read {
                Ok(0) => return Err("connection closed".into()),
                Ok(read) => self.filled += read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    // TLS may have room for more of a request only now.
                    if self.tls.is_some() {
                        self.flush();
                    }
                    return Ok(None);
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::InvalidData => return Err(format!("TLS: {error}")),
                Err(error) => return Err(format!("connection lost: {}", error.kind())),
            }
            match http::parse(&self.inbox[..self.filled])? {
                Some((answer, used)) if used == self.filled => {
                    self.filled = 0;
                    take(&answer);
                    return Ok(Some(used));
                }
                Some(_) => return Err("more than one answer".into()),
                None if self.filled == self.inbox.len() => self.inbox.resize(2 * self.inbox.len(), 0),
                None => (),
            }
        }
    }
}
