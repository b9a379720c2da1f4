//! One call at a time over a connection of its own, as a phone would make it.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

use crate::error::Fallible;
use crate::http::{ANSWER_BYTES_MAX, parse, push_request};
use crate::request_buffer::RequestBuffer;

/// How long an answer may take.
const ANSWER_WITHIN: Duration = Duration::from_secs(15);

/// A connection of one user.
pub struct Caller {
    stream: TcpStream,
    token: String,
}

impl Caller {
    /// Connects as the user of a token; an empty token is nobody's.
    pub fn connect(addr: SocketAddr, token: &str) -> Fallible<Caller> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(ANSWER_WITHIN))?;
        Ok(Caller { stream, token: token.to_owned() })
    }

    /// Sends a request and gives the body of a success; everything else is an error.
    pub fn call(&mut self, method: &str, path: &str, body: &str) -> Fallible<Value> {
        let mut request = RequestBuffer::default();
        push_request(&mut request, method, path, &self.token, body);
        self.stream.write_all(request.get(0))?;

        let mut received = Vec::new();
        let mut piece = [0; 16 * 1024];
        while received.len() < ANSWER_BYTES_MAX {
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                break;
            }
            received.extend_from_slice(&piece[..read]);
            if let Some((answer, _)) = parse(&received)? {
                let value: Value = serde_json::from_slice(answer.body)?;
                if (200..300).contains(&answer.status) {
                    return Ok(value);
                }
                return Err(format!("{method} {path}: {} {value}", answer.status).into());
            }
        }
        Err(format!("{method} {path}: the answer did not arrive whole").into())
    }
}
