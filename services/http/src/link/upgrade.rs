//! How a connection of HTTP becomes a link, on the server's side.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::response::Response;
use bytes::Bytes;
use hongbao_core::limits::LINK_LINES_PER_S_MAX;
use http::header::{CONNECTION, UPGRADE};
use http::{HeaderValue, Method, Request, StatusCode};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};

use super::{LINK_PATH, LINK_PROTOCOL};
use crate::log_budget::LogBudget;
use crate::metrics::HttpMetrics;

/// Lets in as many links as a server may have.
pub(crate) struct LinkDoor {
    max: usize,
    inside: AtomicUsize,
    pub(crate) metrics: HttpMetrics,
    pub(crate) log: LogBudget,
}

/// That the connection becomes a link when its last answer, which says so, is sent.
#[derive(Default)]
pub(crate) struct Agreed(Mutex<Option<(OnUpgrade, Inside)>>);

impl LinkDoor {
    /// Lets in `max` at the same time; 0: links are not offered at all.
    pub(crate) fn new(max: usize, metrics: HttpMetrics) -> LinkDoor {
        LinkDoor { max, inside: AtomicUsize::new(0), metrics, log: LogBudget::new(LINK_LINES_PER_S_MAX) }
    }

    /// The answer to a request for a link; `None` for any other request, and where links are not offered.
    pub(crate) fn answer<B>(self: &Arc<LinkDoor>, request: &mut Request<B>, agreed: &Agreed) -> Option<Response> {
        if request.uri().path() != LINK_PATH || self.max == 0 || request.method() != Method::GET {
            return None;
        }
        if request.headers().get(UPGRADE).is_none_or(|protocol| protocol != LINK_PROTOCOL) {
            return None;
        }
        let mut response = Response::new(Body::empty());
        let one_more = |inside| (inside < self.max).then_some(inside + 1);
        if self.inside.fetch_update(Ordering::Relaxed, Ordering::Relaxed, one_more).is_err() {
            self.metrics.links().refused();
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return Some(response);
        }
        *agreed.lock() = Some((hyper::upgrade::on(request), Inside(self.clone())));
        *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("upgrade"));
        response.headers_mut().insert(UPGRADE, HeaderValue::from_static(LINK_PROTOCOL));
        Some(response)
    }
}

impl Agreed {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<(OnUpgrade, Inside)>> {
        // Nothing is half done while it is locked.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The connection, and what has come on it already, once HTTP has ended on it; `None` if no link was agreed on, or
    /// the connection failed before.
    pub(crate) async fn connection<S>(&self) -> Option<(S, Bytes, Inside)>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (upgrade, inside) = self.lock().take()?;
        let parts = upgrade.await.ok()?.downcast::<TokioIo<S>>().ok()?;
        Some((parts.io.into_inner(), parts.read_buf, inside))
    }
}

/// A link that was let in; another may be when it is dropped.
pub(crate) struct Inside(Arc<LinkDoor>);

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, Ordering::Relaxed);
    }
}
