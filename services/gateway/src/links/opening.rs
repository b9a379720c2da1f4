//! A connection of HTTP becomes a link, on the gateway's side.

use std::time::Duration;

use axum::body::Bytes;
use hongbao_http::link::{LINK_PATH, LINK_PROTOCOL};
use hongbao_http::{Stream, error_chain};
use http::header::{CONNECTION, HOST, UPGRADE};
use http::uri::{Authority, Scheme};
use http::{Request, StatusCode, Uri};
use http_body_util::Empty;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::task::JoinSet;
use tower::{BoxError, Service as _, ServiceExt as _};

use crate::connect::ServerConnector;

/// Why there is no link.
#[derive(Debug)]
pub(super) enum NotOpened {
    /// The server answered that it offers none, or no further one.
    Refused(StatusCode),
    /// There was no such answer.
    Failed(String),
}

/// Opens a link; gives its connection, and what has come on it already.
pub(super) async fn open(
    connector: ServerConnector,
    server: Authority,
    within: Duration,
) -> Result<(Stream, Bytes), NotOpened> {
    let opening = tokio::time::timeout(within, upgrade(connector, server));
    opening.await.unwrap_or_else(|_| Err(NotOpened::Failed("no answer in time".to_owned())))
}

async fn upgrade(mut connector: ServerConnector, server: Authority) -> Result<(Stream, Bytes), NotOpened> {
    let uri = Uri::builder().scheme(Scheme::HTTP).authority(server.clone()).path_and_query(LINK_PATH).build();
    let uri = uri.expect("scheme, authority and path are a URI");
    let connection = connector.ready().await.map_err(not_made)?.call(uri).await.map_err(not_made)?;
    let (mut sender, talk) = http1::handshake(connection).await.map_err(failed)?;
    // Its task ends with the upgrade, or when this is dropped.
    let mut talking = JoinSet::new();
    talking.spawn(talk.with_upgrades());
    let request = Request::get(LINK_PATH)
        .header(HOST, server.as_str())
        .header(CONNECTION, "upgrade")
        .header(UPGRADE, LINK_PROTOCOL)
        .body(Empty::<Bytes>::new())
        .expect("a path and headers are a request");
    let response = sender.send_request(request).await.map_err(failed)?;
    let is_ours = response.headers().get(UPGRADE).is_some_and(|protocol| protocol == LINK_PROTOCOL);
    if response.status() != StatusCode::SWITCHING_PROTOCOLS || !is_ours {
        return Err(NotOpened::Refused(response.status()));
    }
    let upgraded = hyper::upgrade::on(response).await.map_err(failed)?;
    let parts = upgraded.downcast::<TokioIo<Stream>>();
    let parts = parts.map_err(|_| NotOpened::Failed("the connection is of another type".to_owned()))?;
    Ok((parts.io.into_inner(), parts.read_buf))
}

fn failed(error: impl std::error::Error + 'static) -> NotOpened {
    NotOpened::Failed(error_chain(&error))
}

fn not_made(error: BoxError) -> NotOpened {
    NotOpened::Failed(error_chain(&*error))
}
