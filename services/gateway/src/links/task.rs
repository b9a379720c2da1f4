//! What reads and writes on a link.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use bytes::BytesMut;
use hongbao_core::limits::{FORWARD_IDLE_MS_MAX, LINK_CLOSE_WITHIN};
use hongbao_http::Stream;
use hongbao_http::link::frame::{make_room, take};
use hongbao_http::link::{LinkMetrics, ToGateway};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::link::{Link, Next, Standing};

/// How often it is looked whether a link is used.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Reads and writes until the link ends; an error says why it broke.
pub(super) async fn run(
    link: &Arc<Link>,
    mut stream: Stream,
    received: Bytes,
    metrics: &LinkMetrics,
) -> Result<(), String> {
    match &mut stream {
        Stream::Plain(tcp) => {
            let (reader, writer) = tcp.split();
            run_on(link, reader, writer, received, metrics).await
        }
        Stream::Tls(tls) => {
            let (reader, writer) = tokio::io::split(tls);
            run_on(link, reader, writer, received, metrics).await
        }
    }
}

async fn run_on(
    link: &Arc<Link>,
    reader: impl AsyncRead + Unpin,
    writer: impl AsyncWrite + Unpin,
    received: Bytes,
    metrics: &LinkMetrics,
) -> Result<(), String> {
    tokio::select! {
        // What has come is taken in before anything is written: a link that has ended is written to no more.
        biased;
        result = read(link, reader, received, metrics) => result,
        result = write(link, writer, metrics) => result.map_err(|error| error.to_string()),
        result = watch(link) => result,
    }
}

async fn read(
    link: &Link,
    mut reader: impl AsyncRead + Unpin,
    received: Bytes,
    metrics: &LinkMetrics,
) -> Result<(), String> {
    let mut buffer = BytesMut::from(received);
    loop {
        let mut taken = 0;
        while let Some(frame) = take(&mut buffer).map_err(|error| error.to_string())? {
            link.deliver(ToGateway::decode(frame).map_err(|error| error.to_string())?)?;
            taken += 1;
        }
        if taken > 0 {
            metrics.received(taken);
        }
        make_room(&mut buffer);
        let read = match reader.read_buf(&mut buffer).await {
            // A process that ends closes its sockets, and has no time to say so within TLS.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => 0,
            read => read.map_err(|error| error.to_string())?,
        };
        if read == 0 {
            return match link.usage() {
                (_, false) if buffer.is_empty() => Ok(()),
                _ => Err("the server has closed it".to_owned()),
            };
        }
    }
}

async fn write(link: &Link, mut writer: impl AsyncWrite + Unpin, metrics: &LinkMetrics) -> io::Result<()> {
    let mut frames = Vec::new();
    loop {
        match link.next_soon(&mut frames).await {
            Some(count) => metrics.sent(count),
            // Within TLS an end that was not announced is a broken connection. How this ends changes nothing here.
            None => return timeout(LINK_CLOSE_WITHIN, writer.shutdown()).await.unwrap_or(Ok(())).or(Ok(())),
        }
        let mut rest = &frames[..];
        while !rest.is_empty() {
            let written = writer.write(rest).await?;
            link.wrote(written);
            rest = &rest[written..];
        }
        // TLS may have kept some.
        writer.flush().await?;
    }
}

impl Link {
    /// What is to be written next; `None` if nothing ever.
    async fn next_soon(&self, frames: &mut Vec<u8>) -> Option<u64> {
        self.work.notified().await;
        // Requests that become ready in the same turn of the runtime go in the same write.
        yield_now().await;
        loop {
            match self.next(frames) {
                Next::Write(count) => return Some(count),
                Next::End => return None,
                Next::Wait => self.work.notified().await,
            }
        }
    }
}

/// Closes the link when it is not used, and breaks it when the server is silent.
async fn watch(link: &Link) -> Result<(), String> {
    let (mut last_asked, mut since) = (0, Instant::now());
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if link.is_dead() {
            return Err("the server is silent".to_owned());
        }
        let (asked, is_used) = link.usage();
        if asked != last_asked || is_used {
            (last_asked, since) = (asked, Instant::now());
        } else if since.elapsed() >= Duration::from_millis(FORWARD_IDLE_MS_MAX) && link.standing() == Standing::Open {
            link.close();
        }
    }
}
