//! A gateway's side of a link, for tests of the server's.

use bytes::BytesMut;
use hongbao_core::calls::Call;
use hongbao_core::{EnvelopeId, Timestamp};
use hongbao_http::link::frame::take;
use hongbao_http::link::{LINK_PATH, LINK_PROTOCOL, LinkAnswer, LinkRequest, Number, OtherAnswer, ToGateway};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::{PATIENCE, Server};

/// A gateway's side of a link.
pub struct Link {
    pub stream: TcpStream,
    pub buffer: BytesMut,
}

pub fn asking(protocol: &str) -> String {
    format!("GET {LINK_PATH} HTTP/1.1\r\nhost: h\r\nconnection: upgrade\r\nupgrade: {protocol}\r\n\r\n")
}

pub fn opening(number: Number, body: &'static str) -> Vec<u8> {
    let request = LinkRequest {
        call: Call::Open,
        id: EnvelopeId::mint(Timestamp::from_millis(1_771_257_600_000), [1; 10]),
        deadline_ms: 1_234,
        token: &b"Bearer t"[..],
        mark: None,
        request_id: b"id-1",
        traceparent: None,
        body: body.as_bytes(),
    };
    let mut bytes = Vec::new();
    assert!(request.encode(number, &mut bytes));
    bytes
}

impl Link {
    /// `first` follows the request for the link at once.
    pub async fn open(server: &Server, first: &[u8]) -> Link {
        let mut stream = TcpStream::connect(server.address).await.unwrap();
        let mut bytes = asking(LINK_PROTOCOL).into_bytes();
        bytes.extend_from_slice(first);
        stream.write_all(&bytes).await.unwrap();
        let mut buffer = BytesMut::new();
        let end = loop {
            assert!(stream.read_buf(&mut buffer).await.unwrap() > 0);
            if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                break at + 4;
            }
        };
        let head = buffer.split_to(end);
        assert!(head.starts_with(b"HTTP/1.1 101 "), "{head:?}");
        Link { stream, buffer }
    }

    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next frame; `None` when the server has closed the link.
    pub async fn next(&mut self) -> Option<ToGateway> {
        let next = async {
            loop {
                if let Some(frame) = take(&mut self.buffer).unwrap() {
                    return Some(ToGateway::decode(frame).unwrap());
                }
                // Over bytes that were not read, it is closed by a reset.
                if self.stream.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                    assert!(self.buffer.is_empty());
                    return None;
                }
            }
        };
        tokio::time::timeout(PATIENCE, next).await.expect("a frame in time")
    }

    /// The next answer, of a role that answers everything as HTTP.
    pub async fn answer(&mut self) -> (Number, OtherAnswer) {
        match self.next().await {
            Some(ToGateway::Answer(number, LinkAnswer::Other(answer))) => (number, answer),
            other => panic!("no answer, but {other:?}"),
        }
    }
}
